"""Random histories of the real scripts beside the model, and what must hold after every step.

Owns the steps: admissions, claims, completions, cancellations, lost leases, lost
replies, ghosts, drains, passing time. Knows no script's text.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, rule
from redis import Redis

from shared.queue.lifecycle import State
from tests.integration.model import Model
from tests.leaks import leaks
from tests.queueing import LANE, POOL, Queue, route_of, task_id

ROUTES = ("aaaaaaaaaaaa", "bbbbbbbbbbbb")
LANES = (LANE, f"{POOL}:5")
LANE_OF = dict(zip(ROUTES, LANES, strict=True))
CLAIMERS = ("w1.a.10", "w2.a.3")
LIMIT = 3
BUDGETS_MS = (300, 3000, 60_000, 60_000)
WEIGHTS = {
    "admit": 5, "claim": 6, "claim_unheard": 2, "start": 3, "complete": 4, "renew": 3, "reap": 3, "pass_a_moment": 3,
    "cancel": 2, "drain": 2, "join": 2, "forget": 1, "ghosts": 1, "die_before_claiming": 1, "pass_a_second": 2,
    "stop_the_server": 1,
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
        self.model = Model()
        self.heard: dict[str, set[str]] = {claimer: set() for claimer in CLAIMERS}
        """The leases that each claimer knows of."""
        self.read_serial = dict.fromkeys(CLAIMERS, 0)
        self.serial = self.number = 0
        self.taken_batons: set[str] = set()
        for route in ROUTES:
            self.queue.declare(LIMIT, route=route)
        for number, _ in enumerate(CLAIMERS):
            self.renew(number, 0)

    def teardown(self) -> None:
        self.queue.close()

    @rule(name=st.sampled_from(STEPS), pick=PICK, other=PICK)
    def step(self, name: str, pick: int, other: int) -> None:
        action: Callable[[int, int], None] = getattr(self, name)
        action(pick, other)

    # The gateway

    def admit(self, pick: int, other: int) -> None:
        route, count, tries = ROUTES[pick % 2], other % 3 + 1, other // 3 % 2 + 1
        budget_ms = BUDGETS_MS[pick // 2 % len(BUDGETS_MS)]
        names = [str(self.number + i) for i in range(count)]
        self.number += count
        inflight, now_ms = self.model.inflight(route), self.queue.now_ms
        codes = self.queue.codes(*names, route=route, lane=LANE_OF[route], budget_ms=budget_ms, tries=tries)
        for name, code in zip(names, codes, strict=True):
            expected = 2 if not self.model.served(now_ms) else 4 if inflight >= LIMIT else 0
            assert code == expected or (code == 3 and expected == 0 and inflight)
            if code == 0:
                inflight += 1
                self.model.admit(task_id(name, route), route, now_ms + budget_ms, tries)

    def cancel(self, pick: int, other: int) -> None:
        if self.model.tasks:
            id, task = list(self.model.tasks.items())[pick % len(self.model.tasks)]
            (code,) = self.queue.cancel(id)
            assert code == (2 if task.state is State.RUNNING else 3 if task.used else 1)
            if code != 2:
                self.model.end(id, State.CANCELLED, "cancel")
            else:
                task.unwanted = True

    def ghosts(self, pick: int, other: int) -> None:
        route = ROUTES[pick % 2]
        assert self.queue.admit("ghost", late_ms=-1, route=route, lane=LANE_OF[route]).stale
        self.serial += 1
        assert self.queue.claimed(self.serial, claimer=CLAIMERS[other % 2], lanes=LANES, late_ms=-1) == []

    # The workers

    def claim(self, pick: int, other: int, heard: bool = True) -> None:
        """Wake up and claim."""
        claimer, room, now_ms = CLAIMERS[pick % 2], other % 4 + 1, self.queue.now_ms
        self.serial += 1
        for lane in LANES:
            self.queue.take_baton(lane)
        reply = self.queue.claim(self.serial, claimer=claimer, room=room, lanes=LANES)
        assert len(reply.tasks) <= room
        assert reply.registered == (claimer in self.model.registered)
        assert reply.registered or not reply.tasks
        if reply.registered and self.model.waiting() - self.model.expired(now_ms) == self.model.waiting() != set():
            assert reply.tasks, "work, room and nothing taken"
        for claimed in reply.tasks:
            assert claimed.tries_used == self.model.tasks[claimed.id].used
            self.model.run(claimed.id, f"{claimer}#{self.serial}#{claimed.id}", now_ms)
        left = {id for lane in LANES for id in self.queue.waiting(lane)}
        for id in self.model.expired(now_ms) - left:
            self.model.end(id, State.EXPIRED, "claim")
        if heard:
            self.read_serial[claimer] = self.serial
            self.heard[claimer] |= {f"{claimer}#{self.serial}#{claimed.id}" for claimed in reply.tasks}

    def claim_unheard(self, pick: int, other: int) -> None:
        """Claim, and lose the reply with the connection."""
        self.claim(pick, other, heard=False)

    def start(self, pick: int, other: int) -> None:
        for task in self.model.held(CLAIMERS[pick % 2]).values():
            task.started = True

    def complete(self, pick: int, other: int) -> None:
        claimer = CLAIMERS[pick % 2]
        for lease in sorted(self.heard[claimer])[: other % 3 + 1]:
            held = lease in self.model.held(claimer)
            assert self.queue.complete(lease) == [held]
            if held:
                self.model.end(lease.rpartition("#")[2], State.DONE, "complete")
            if other % 2:  # its answer was lost: it is repeated blindly
                assert self.queue.complete(lease) == [False]
            self.heard[claimer].discard(lease)

    def renew(self, pick: int, other: int) -> None:
        claimer = CLAIMERS[pick % 2]
        leases, held = self.heard[claimer], self.model.held(claimer)
        reply = self.queue.register(claimer, lanes=LANES, leases=sorted(leases))
        assert set(reply.gone) == leases - set(held)
        assert set(reply.unwanted) == {lease for lease in leases & set(held) if held[lease].unwanted}
        self.model.renew(claimer, leases, self.queue.now_ms)
        if other % 4:  # else it runs on for a while, not knowing
            self.heard[claimer] -= set(reply.gone)

    def drain(self, pick: int, other: int) -> None:
        """Leave, and give back everything held, saying what had started."""
        claimer = CLAIMERS[pick % 2]
        self.queue.leave(claimer, lanes=LANES)
        self.model.registered.pop(claimer, None)
        for lease in sorted(self.heard[claimer]):
            task = self.model.held(claimer).get(lease)
            started = bool(task and task.started)
            assert self.queue.release(lease, started=started) == [task is not None]
            if task:
                self.model.give_back(lease, started, self.queue.now_ms, "release")
        self.heard[claimer].clear()

    def join(self, pick: int, other: int) -> None:
        """Reconnect: what this claimer does not know of goes back."""
        claimer = CLAIMERS[pick % 2]
        known, read = self.heard[claimer], self.read_serial[claimer]
        missing = set(self.model.held(claimer)) - known
        assert self.queue.join(read, *known, claimer=claimer) == missing
        for lease in missing:
            self.model.give_back(lease, int(lease.split("#")[1]) <= read, self.queue.now_ms, "join")

    def forget(self, pick: int, other: int) -> None:
        """Lose the memory of the leases: their completions were lost with a server."""
        self.heard[CLAIMERS[pick % 2]].clear()

    def die_before_claiming(self, pick: int, other: int) -> None:
        self.taken_batons |= {lane for lane in LANES if self.queue.take_baton(lane)}

    # Time

    def pass_a_moment(self, pick: int, other: int) -> None:
        self.queue.advance((100, 400, 900)[pick % 3])

    def pass_a_second(self, pick: int, other: int) -> None:
        """Let one or some seconds pass with a reap each, while one claimer is silent."""
        for _ in range(1 if other % 2 else 6):
            self.queue.advance(1000)
            self.renew(pick, 1)
            self.reap(0, 0)

    def stop_the_server(self, pick: int, other: int) -> None:
        """Freeze it, or let its clock step back."""
        self.queue.advance((3000, 8000, -1500)[pick % 3])

    def reap(self, pick: int, other: int) -> None:
        reply = self.queue.reap()
        assert reply.ran == self.model.reap(self.queue.now_ms)
        assert reply.garbage == 0
        if reply.ran:
            self.taken_batons.clear()

    # What holds after every step

    @invariant()
    def slots_are_waiting_and_running_and_tasks(self) -> None:
        waiting = [id for lane in LANES for id in self.queue.waiting(lane)]
        for route in ROUTES:
            slots, leases = self.queue.slots(route), self.queue.running(route)
            mine = [id for id in waiting if route_of(id) == route]
            assert sorted(slots) == sorted([lease.rpartition("#")[2] for lease in leases] + mine)
            assert len(slots) <= LIMIT
            assert leases == {t.lease for t in self.model.tasks.values() if t.route == route and t.lease}
        assert self.queue.tasks() == set(self.model.tasks)
        assert set(waiting) == self.model.waiting()

    @invariant()
    def work_has_one_baton(self) -> None:
        for lane in LANES:
            batons = self.queue.baton(lane)
            assert batons <= 1
            assert batons or lane in self.taken_batons or not self.queue.waiting(lane)

    @invariant()
    def each_task_has_at_most_one_answer_and_the_right_one(self) -> None:
        assert sorted(self.queue.replies()) == sorted(self.model.answers.items())

    @invariant()
    def every_key_has_an_owner_or_a_time_to_live(self) -> None:
        assert leaks(self.client, self.queue.keys) == []

    @invariant()
    def places_are_those_of_the_registered(self) -> None:
        serving: Any = self.client.zrange(self.queue.keys.serving(LANE), 0, -1)
        places: Any = self.client.hget(self.queue.keys.places(), LANE)
        assert {claimer.decode() for claimer in serving} == set(self.model.registered)
        assert int(places or 0) == sum(int(claimer.rpartition(".")[2]) for claimer in self.model.registered)
