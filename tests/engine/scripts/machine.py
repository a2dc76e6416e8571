"""Random histories of the real scripts beside the model.

Owns the steps: admissions of every sort, claims, completions, cancellations,
lost leases, lost replies, ghosts, drains, changed limits, passing time. What must
hold after each stands in `invariants`. Knows no script's text.
"""

from __future__ import annotations

from collections.abc import Callable

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from redis import Redis

from floodgate.broker.commands import AdmitCode
from floodgate.broker.idempotency import AdmitKey
from tests.engine.queueing import LEASE_MS, START_MS, Queue, task_id
from tests.engine.scripts.invariants import ALL, LANES, NEW_LANES, check
from tests.engine.scripts.model import Known, Model, Record, State

ROUTES = ("aaaaaaaaaaaa", "bbbbbbbbbbbb")
"""Each on its lane; how many of the second may run is bounded."""
LANE_OF = dict(zip(ROUTES, LANES, strict=True))
CONSUMERS = ("w1.a.10", "w2.a.3", "w3.a.5")
"""The last one is of another release, which sees the second route alike."""
OFTEN = (0, 1, 0, 1, 2)
LANES_OF = dict(zip(CONSUMERS, (LANES, LANES, NEW_LANES), strict=True))
LIMITS = dict(zip(ROUTES, (3, 8), strict=True))
BUDGETS_MS = (300, 3000, 60_000, 60_000)
GATEWAYS = ("box", "far")
"""The first one reaps; the second is there now and then."""
TENANTS = ("", "", "t1", "t2")
CLASSES = ((8, 1000), (64, 1000), (1, 600))
WEIGHTS = {
    "admit": 7, "claim": 7, "claim_unheard": 1, "start": 3, "complete": 8, "renew": 4, "reap": 3, "pass_a_moment": 3,
    "cancel": 3, "drain": 1, "join": 2, "forget": 1, "ghosts": 1, "die_before_claiming": 1, "pass_a_second": 2,
    "stop_the_server": 1, "change_the_running_limit": 1,
    "be_there": 2, "roll": 1, "ask_by_key": 5,
}  # fmt: skip
"""One rule that draws its step: hypothesis leaves whole rules out of an example, and then nothing ever ran."""
STEPS = [name for name, weight in WEIGHTS.items() for _ in range(weight)]
PICK = st.integers(0, 999)


class QueueMachine(RuleBasedStateMachine):
    """Subclasses say where the server is, and which mistakes the scripts are to have."""

    client: Redis
    edits: tuple[tuple[str, str, str], ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.client.flushdb()
        self.queue = Queue(self.client, "model", self.edits)
        self.model = Model(most={ROUTES[1]: 2}, lanes=LANES_OF, agreed={LANES[1]: NEW_LANES[1], NEW_LANES[1]: LANES[1]})
        self.heard: dict[str, set[str]] = {consumer: set() for consumer in CONSUMERS}
        """The leases that each consumer knows of."""
        self.read_serial = dict.fromkeys(CONSUMERS, 0)
        self.serial = self.number = 0
        self.taken_markers: set[str] = set()
        self.keys = [0, 0, 0]
        """The generation of each idempotency key: one whose answer is kept is not asked for again and again."""
        self.fingerprints: dict[str, str] = {}
        for route in ROUTES:
            self.declare(route)
        for number in range(2):
            self.renew(number, 0)

    @rule(name=st.sampled_from(STEPS), pick=PICK, other=PICK)
    def step(self, name: str, pick: int, other: int) -> None:
        action: Callable[[int, int], object] = getattr(self, name)
        action(pick, other)

    @invariant()
    def everything_is_as_it_must_be(self) -> None:
        check(self.queue, self.model, LIMITS, self.taken_markers)

    def follow(self, script: str) -> None:
        """After a script that may have made way."""
        for route in ROUTES:
            if self.model.parked(route):
                self.model.follow(route, set(self.queue.parked(route)), script)

    # The gateway

    def declare(self, route: str) -> None:
        self.queue.declare(LIMITS[route], route=route, max_running=self.model.most.get(route, 0), started_ms=START_MS)

    def change_the_running_limit(self, pick: int, other: int) -> None:
        """Raise it, lower it, take it away; the next reap lets follow what may."""
        if pick % 4:
            self.model.most[ROUTES[1]] = pick % 4
        else:
            self.model.most.pop(ROUTES[1], None)
        self.declare(ROUTES[1])
        ran = False
        while not ran:
            self.queue.advance(1000)
            ran = self.reap(0, 0)

    def admit(self, pick: int, other: int) -> None:
        route, count, tries = ROUTES[pick % 2], other % 3 + 1, other // 3 % 2 + 1
        budget_ms, tenant = BUDGETS_MS[pick // 2 % len(BUDGETS_MS)], TENANTS[other // 6 % len(TENANTS)]
        (weight, share), async_response = CLASSES[pick // 8 % len(CLASSES)], other // 24 % 3 == 0
        gateway = GATEWAYS[pick // 3 % 2]
        names = [f"{gateway}{self.number + i}" for i in range(count)]
        self.number += count
        inflight, now_ms = self.model.inflight(route), self.queue.now_ms
        codes = self.queue.codes(
            *names, route=route, lane=LANE_OF[route], budget_ms=budget_ms, tries=tries,
            weight=weight, share=share, tenant=tenant, async_response=async_response, inbox=gateway,
        )  # fmt: skip
        holds = sum(task.route == route and task.tenant == tenant for task in self.model.tasks.values())
        for name, code in zip(names, codes, strict=True):
            full = inflight >= share * LIMITS[route] / 1000
            expected = 2 if not self.model.served(LANE_OF[route], now_ms) else 4 if full else 0
            # the rule itself is shown by examples in test_admission, test_estimated_wait, test_turns and test_tenants
            # late (3) may also come of the other route, if its runs hold the places
            runs = any(task.state is State.RUNNING for task in self.model.tasks.values())
            late = code == 3 and expected == 0 and (inflight or runs)
            assert code == expected or late or (code == 5 and tenant and holds)
            if code == 0:
                inflight, holds = inflight + 1, holds + 1
                self.model.admit(
                    task_id(name, route),
                    Known(route, now_ms + budget_ms, tries, LANE_OF[route], tenant, async_response, gateway),
                )

    def ask_by_key(self, pick: int, other: int) -> None:
        """Come with one of three keys: as another, or once more under a name that waits already."""
        number, gateway = pick % 3, GATEWAYS[pick // 3 % 2]
        route, tries = ROUTES[number % 2], other // 4 % 2 + 1
        key = f"{self.keys[number]}k{number}"
        record, self.number = self.model.records.get(key), self.number + 1
        name = f"{gateway}{self.number}.{key}"
        if record and record.names and other % 4 == 0:
            name = next(iter(record.names)).partition(".")[2]
            gateway = record.names[task_id(name, route)]
        budget_ms, fingerprint = BUDGETS_MS[other % 4], "other" if other % 5 == 0 else "usual"
        asked = self.queue.request(
            name, route=route, lane=LANE_OF[route], budget_ms=budget_ms, tries=tries, inbox=gateway
        )
        told = AdmitKey(fingerprint, gateway, 600, number == 1, async_response=False, full=False)
        inflight, now_ms = self.model.inflight(route), self.queue.now_ms
        (result,) = self.queue.ask(asked, key=[told]).results
        if record is None:
            expected = 2 if not self.model.served(LANE_OF[route], now_ms) else 4 if inflight >= LIMITS[route] else 0
            assert result.code in (expected, 3 if expected == 0 and self.model.tasks else expected)
            if result.code is AdmitCode.ADMITTED:
                self.model.admit(
                    asked.id, Known(route, now_ms + budget_ms, other // 4 % 2 + 1, LANE_OF[route], "", gateway=gateway)
                )
                self.model.records[key] = Record(asked.id, number == 1, {asked.id: gateway})
                self.fingerprints[key] = fingerprint
        elif fingerprint != self.fingerprints[key]:
            assert result.code is AdmitCode.KEY_REUSED
        elif record.kept:
            assert result.code is AdmitCode.ENDED
            self.keys[number] += 1
        elif record.task == asked.id:
            assert result.code is AdmitCode.ADMITTED
        else:
            assert result.code is AdmitCode.JOINED
            assert result.wait_ms == max(0, self.model.tasks[record.task].deadline_ms - now_ms)
            record.names[asked.id] = gateway

    def cancel(self, pick: int, other: int) -> None:
        if self.model.tasks:
            id, task = list(self.model.tasks.items())[pick % len(self.model.tasks)]
            if record := self.model.record(id):
                name = [id, *record.names][other % (len(record.names) + 1)]
                assert self.queue.cancel(name) == [self.model.leave(name)]
                self.follow("cancel")
                return
            (code,) = self.queue.cancel(id)
            assert code == (2 if task.state is State.RUNNING else 3 if task.used else 1)
            if code != 2:
                self.model.end(id, State.CANCELLED)
                self.follow("cancel")
            else:
                task.cancelled = True

    def ghosts(self, pick: int, other: int) -> None:
        route = ROUTES[pick % 2]
        assert self.queue.admit("ghost", late_ms=-1, route=route, lane=LANE_OF[route]).stale
        self.serial += 1
        assert self.queue.claimed(self.serial, consumer=CONSUMERS[other % 2], lanes=LANES, late_ms=-1) == []

    # The workers

    def claim(self, pick: int, other: int, heard: bool = True) -> None:
        """Wake up and claim."""
        consumer, room, now_ms = CONSUMERS[OFTEN[pick % 5]], other % 4 + 1, self.queue.now_ms
        lanes = LANES_OF[consumer]
        self.serial += 1
        for lane in lanes:
            self.queue.take_marker(lane)
        before = self.model.waiting(*lanes)
        pool = lanes[0].rpartition(":")[0]
        reply = self.queue.claim(self.serial, consumer=consumer, free=room, lanes=lanes, pool=pool)
        assert len(reply.tasks) <= room
        assert reply.registered == (consumer in self.model.registered)
        assert reply.registered or not reply.tasks
        gone = self.model.gone(now_ms)
        if reply.registered and before and not (self.model.expired(now_ms) | gone) & before:
            assert reply.tasks, "work, room and nothing taken"
        for claimed in reply.tasks:
            assert claimed.attempts_used == self.model.tasks[claimed.id].used
            self.model.run(claimed.id, f"{consumer}#{self.serial}#{claimed.id}", now_ms)
        left = {id for lane in ALL for id in self.queue.waiting(lane)}
        expired = self.model.expired(now_ms)
        for id in expired - left:
            self.model.end(id, State.EXPIRED)
        assert not gone - expired & {claimed.id for claimed in reply.tasks}
        for id in gone - expired - left:
            self.model.end(id, State.DROPPED)
        self.follow("claim")
        if heard:
            self.read_serial[consumer] = self.serial
            self.heard[consumer] |= {f"{consumer}#{self.serial}#{claimed.id}" for claimed in reply.tasks}

    def claim_unheard(self, pick: int, other: int) -> None:
        """Claim, and lose the reply with the connection."""
        self.claim(pick, other, heard=False)

    def start(self, pick: int, other: int) -> None:
        for task in self.model.held(CONSUMERS[OFTEN[pick % 5]]).values():
            task.started = True

    def complete(self, pick: int, other: int) -> None:
        consumer = CONSUMERS[OFTEN[pick % 5]]
        for lease in sorted(self.heard[consumer])[: other % 3 + 1]:
            held = lease in self.model.held(consumer)
            assert self.queue.complete(lease, **self.inbox_of(lease)) == [held]
            if held:
                self.model.end(lease.rpartition("#")[2], State.DONE)
                self.follow("complete")
            if other % 2:  # its answer was lost: it is repeated blindly
                assert self.queue.complete(lease) == [False]
            self.heard[consumer].discard(lease)

    def inbox_of(self, lease: str) -> dict[str, str]:
        task = self.model.tasks.get(lease.rpartition("#")[2])
        return {} if task is None else {"inbox": f"=60={task.gateway}" if task.async_response else task.gateway}

    def renew(self, pick: int, other: int) -> None:
        consumer = CONSUMERS[OFTEN[pick % 5]]
        leases, held = self.heard[consumer], self.model.held(consumer)
        release = LANES_OF[consumer][0].partition(":")[0]
        self.queue.publish(release, **{f"r{ROUTES[0]}": release, f"r{ROUTES[1]}": "agreed"})
        reply = self.queue.register(consumer, lanes=LANES_OF[consumer], leases=sorted(leases))
        assert set(reply.gone) == leases - set(held)
        assert set(reply.cancelled) == {lease for lease in leases & set(held) if held[lease].cancelled}
        self.model.renew(consumer, leases, self.queue.now_ms)
        if other % 4:  # else it runs on for a while, not knowing
            self.heard[consumer] -= set(reply.gone)

    def drain(self, pick: int, other: int) -> None:
        """Leave, and give back everything held, saying what had started."""
        consumer = CONSUMERS[OFTEN[pick % 5]]
        self.queue.leave(consumer, lanes=LANES_OF[consumer])
        self.model.registered.pop(consumer, None)
        for lease in sorted(self.heard[consumer]):
            task = self.model.held(consumer).get(lease)
            started = bool(task and task.started)
            assert self.queue.release(lease, started=started) == [task is not None]
            if task:
                self.model.give_back(lease, started, self.queue.now_ms)
                self.follow("release")
        self.heard[consumer].clear()

    def roll(self, pick: int, other: int) -> None:
        """The workers of a release leave, at a time when nobody has been interrupted."""
        for number in range(2):
            self.drain(number, other)
        for _ in range(pick % 2 + 2):
            self.queue.advance(1000)
            if other % 3:
                self.renew(4, 1)
            self.reap(0, 0)
        if other % 2:  # and come back
            self.renew(0, 1)
            self.renew(1, 1)

    def join(self, pick: int, other: int) -> None:
        """Reconnect: what this consumer does not know of goes back."""
        consumer = CONSUMERS[OFTEN[pick % 5]]
        known, read = self.heard[consumer], self.read_serial[consumer]
        missing = set(self.model.held(consumer)) - known
        assert self.queue.reclaim(read, *known, consumer=consumer) == missing
        for lease in missing:
            self.model.give_back(lease, int(lease.split("#")[1]) <= read, self.queue.now_ms)
        self.follow("join")

    def forget(self, pick: int, other: int) -> None:
        """Lose the memory of the leases: their completions were lost with a server."""
        self.heard[CONSUMERS[OFTEN[pick % 5]]].clear()

    def die_before_claiming(self, pick: int, other: int) -> None:
        self.taken_markers |= {lane for lane in ALL if self.queue.take_marker(lane)}

    # Time

    def pass_a_moment(self, pick: int, other: int) -> None:
        self.queue.advance((100, 400, 900)[pick % 3])

    def pass_a_second(self, pick: int, other: int) -> None:
        """Let one or some seconds pass with a reap each, while one consumer is silent."""
        for _ in range(1 if other % 2 else 6):
            self.queue.advance(1000)
            self.renew(pick, 1)
            self.reap(0, 0)

    def stop_the_server(self, pick: int, other: int) -> None:
        """Freeze it, or let its clock step back."""
        self.queue.advance((3000, 8000, -1500)[pick % 3])

    def be_there(self, pick: int, other: int) -> None:
        self.reap(pick, other, GATEWAYS[1])

    def reap(self, pick: int, other: int, gateway: str = GATEWAYS[0]) -> bool:
        self.model.presences[gateway] = self.queue.now_ms + LEASE_MS
        reply = self.queue.reap(gateway=gateway)
        assert reply.ran == self.model.reap(self.queue.now_ms)
        assert reply.malformed == 0
        if reply.ran:
            self.follow("reap")
            self.taken_markers.clear()
        return reply.ran
