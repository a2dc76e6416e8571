"""A model of the queue in plain Python, driven against the real scripts.

Owns the random steps (admissions, claims, completions, cancellations, lost
leases, lost replies, ghosts, drains, passing time) and what must hold after
each. Knows no script's text.
"""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass

from hypothesis import strategies as st
from hypothesis.stateful import RuleBasedStateMachine, invariant, precondition, rule
from redis import Redis

from shared.queue.lifecycle import State, allowed
from tests.leaks import leaks
from tests.queueing import LANE, LEASE_MS, POOL, REGISTRATION_MS, Queue, route_of, task_id

ROUTES = ("aaaaaaaaaaaa", "bbbbbbbbbbbb")
LANES = (LANE, f"{POOL}:5")
LANE_OF = dict(zip(ROUTES, LANES, strict=True))
CLAIMERS = ("w1.a.10", "w2.a.3")
LIMIT = 3
PICK = st.integers(0, 63)


@dataclass(slots=True)
class Known:
    """What the model believes of one admitted task."""

    route: str
    deadline_ms: int
    tries: int
    state: State = State.WAITING
    lease: str = ""
    """Of a running task: its lease, whose owner may never have heard of it."""
    used: int = 0
    started: bool = False
    unwanted: bool = False


class QueueMachine(RuleBasedStateMachine):
    """Subclasses say where the server is, and which mistakes the scripts are to have."""

    client: Redis
    edits: tuple[tuple[str, str, str], ...] = ()

    def __init__(self) -> None:
        super().__init__()
        self.client.flushdb()
        self.queue = Queue(self.client, "model", self.edits)
        self.tasks: dict[str, Known] = {}
        self.answers: Counter[str] = Counter()
        self.wanted_answers: dict[str, str] = {}
        self.registered: dict[str, int] = {}
        self.known_leases: dict[str, set[str]] = {claimer: set() for claimer in CLAIMERS}
        self.read_serial = dict.fromkeys(CLAIMERS, 0)
        self.serial = 0
        self.number = 0
        self.taken_batons: set[str] = set()
        self.last_reap, self.mercy_until = 0, 0
        for route in ROUTES:
            self.queue.declare(LIMIT, route=route)
        for claimer in CLAIMERS:
            self.register(claimer)

    def teardown(self) -> None:
        self.queue.close()

    # Gateway

    @rule(count=st.integers(1, 3), pick=PICK, budget_ms=st.sampled_from([300, 3000, 60_000]), tries=st.integers(1, 2))
    def admit(self, count: int, pick: int, budget_ms: int, tries: int) -> None:
        route = ROUTES[pick % 2]
        names = [str(self.number + i) for i in range(count)]
        self.number += count
        inflight = sum(t.route == route for t in self.tasks.values())
        served = any(end > self.queue.now_ms for end in self.registered.values())
        codes = self.queue.codes(*names, route=route, lane=LANE_OF[route], budget_ms=budget_ms, tries=tries)
        for name, code in zip(names, codes, strict=True):
            assert code == (2 if not served else 4 if inflight >= LIMIT else 0)
            if code == 0:
                inflight += 1
                self.tasks[task_id(name, route)] = Known(route, self.queue.now_ms + budget_ms, tries)

    @rule(pick=PICK)
    def admit_as_a_ghost(self, pick: int) -> None:
        route = ROUTES[pick % 2]
        assert self.queue.admit("ghost", late_ms=-1, route=route, lane=LANE_OF[route]).stale

    @precondition(lambda self: self.tasks)
    @rule(pick=PICK)
    def cancel(self, pick: int) -> None:
        id, task = self._pick(pick)
        (code,) = self.queue.cancel(id)
        assert code == (1 if task.state is State.WAITING else 2)
        if code == 1:
            self._end(id, State.CANCELLED, "cancel")
        else:
            task.unwanted = True

    # Workers

    @rule(pick=PICK, room=st.integers(1, 4), lost=st.booleans())
    def claim(self, pick: int, room: int, lost: bool) -> None:
        """Wake up and claim; a lost reply is one whose connection broke."""
        claimer = CLAIMERS[pick % 2]
        self.serial += 1
        due = {id for id, t in self.tasks.items() if t.state is State.WAITING and t.deadline_ms <= self.queue.now_ms}
        for lane in LANES:
            self.queue.take_baton(lane)
        reply = self.queue.claim(self.serial, claimer=claimer, room=room, lanes=LANES)
        assert len(reply.tasks) <= room
        assert reply.registered == (claimer in self.registered)
        for claimed in reply.tasks:
            task = self.tasks[claimed.id]
            assert claimed.id not in due
            assert claimed.tries_used == task.used
            self._move(task, State.RUNNING, "claim")
            task.lease, task.started = f"{claimer}#{self.serial}#{claimed.id}", False
        for id in due - set(self.queue.waiting(LANES[0])) - set(self.queue.waiting(LANES[1])):
            self._end(id, State.EXPIRED, "claim")
        if not lost:
            self.read_serial[claimer] = self.serial
            self.known_leases[claimer] |= {f"{claimer}#{self.serial}#{claimed.id}" for claimed in reply.tasks}

    @rule(pick=PICK)
    def claim_as_a_ghost(self, pick: int) -> None:
        self.serial += 1
        assert self.queue.claimed(self.serial, claimer=CLAIMERS[pick % 2], lanes=LANES, late_ms=-1) == []

    @rule(pick=PICK)
    def start(self, pick: int) -> None:
        for task in self._held(CLAIMERS[pick % 2]).values():
            task.started = True

    @rule(pick=PICK, twice=st.booleans())
    def complete(self, pick: int, twice: bool) -> None:
        claimer = CLAIMERS[pick % 2]
        known = sorted(self.known_leases[claimer])
        if not known:
            return
        lease = known[pick % len(known)]
        id = lease.rpartition("#")[2]
        task = self.tasks.get(id)
        held = task is not None and task.lease == lease
        assert self.queue.complete(lease) == [held]
        if held:
            self._end(id, State.DONE, "complete")
        if twice:
            assert self.queue.complete(lease) == [False]
        self.known_leases[claimer].discard(lease)

    @rule(pick=PICK)
    def renew(self, pick: int) -> None:
        self.register(CLAIMERS[pick % 2])

    def register(self, claimer: str) -> None:
        leases = sorted(self.known_leases[claimer])
        reply = self.queue.register(claimer, lanes=LANES, leases=leases)
        held = self._held(claimer)
        assert set(reply.gone) == {lease for lease in leases if lease not in held}
        assert set(reply.unwanted) == {lease for lease in leases if lease in held and held[lease].unwanted}
        self.known_leases[claimer] -= set(reply.gone)
        self.registered[claimer] = self.queue.now_ms + REGISTRATION_MS

    @rule(pick=PICK)
    def drain(self, pick: int) -> None:
        """Leave, and give back everything held, saying what had started."""
        claimer = CLAIMERS[pick % 2]
        self.queue.leave(claimer, lanes=LANES)
        self.registered.pop(claimer, None)
        for lease in sorted(self.known_leases[claimer]):
            task = self._held(claimer).get(lease)
            assert self.queue.release(lease, started=bool(task and task.started)) == [task is not None]
            if task:
                self._give_back(lease, task, task.started, "release")
        self.known_leases[claimer].clear()

    @rule(pick=PICK)
    def join(self, pick: int) -> None:
        """Reconnect: what this claimer does not know of goes back."""
        claimer = CLAIMERS[pick % 2]
        known = self.known_leases[claimer]
        missing = {lease: task for lease, task in self._held(claimer).items() if lease not in known}
        assert self.queue.join(self.read_serial[claimer], *known, claimer=claimer) == set(missing)
        for lease, task in missing.items():
            self._give_back(lease, task, int(lease.split("#")[1]) <= self.read_serial[claimer], "join")

    @rule(pick=PICK)
    def forget(self, pick: int) -> None:
        """Lose the memory of the leases, as a claimer whose completions were lost with a server."""
        self.known_leases[CLAIMERS[pick % 2]].clear()

    # Time

    @rule(ms=st.sampled_from([100, 900, 1100, 2400, 3100]))
    def pass_time(self, ms: int) -> None:
        self.queue.advance(ms)

    @rule(ms=st.sampled_from([5000, -1500]))
    def stop_the_server(self, ms: int) -> None:
        """Freeze it, or let its clock step back."""
        self.queue.advance(ms)

    @rule()
    def die_between_baton_and_claim(self) -> None:
        for lane in LANES:
            if self.queue.take_baton(lane):
                self.taken_batons.add(lane)

    @rule()
    def reap(self) -> None:
        before = {claimer: self._held(claimer) for claimer in CLAIMERS}
        now = self.queue.now_ms
        runs = not (self.last_reap and 0 <= now - self.last_reap < 900)
        ends = dict(self._lease_ends())
        reply = self.queue.reap()
        assert reply.ran == runs
        assert reply.garbage == 0
        if not runs:
            return
        if not self.last_reap or not 0 <= now - self.last_reap <= 2500:
            self.mercy_until = now + LEASE_MS
        self.mercy_until = min(self.mercy_until, now + LEASE_MS)
        self.last_reap = now
        self.taken_batons.clear()
        due = [id for id, t in self.tasks.items() if t.deadline_ms <= now and t.state is State.WAITING]
        for lease, task in {**before[CLAIMERS[0]], **before[CLAIMERS[1]]}.items():
            if now >= self.mercy_until and ends[lease] <= now:
                self._give_back(lease, task, True, "reap")
        for id in due:
            self._end(id, State.EXPIRED, "reap")
        self.registered = {claimer: end for claimer, end in self.registered.items() if end > now}

    # What holds after every step

    @invariant()
    def slots_are_waiting_and_running_and_tasks(self) -> None:
        queue, waiting = self.queue, [id for lane in LANES for id in self.queue.waiting(lane)]
        for route in ROUTES:
            slots = queue.slots(route)
            running = [lease.rpartition("#")[2] for lease in queue.running(route)]
            mine = [id for id in waiting if route_of(id) == route]
            assert sorted(slots) == sorted(running + mine)
            assert len(slots) <= LIMIT
            assert queue.running(route) == {t.lease for t in self.tasks.values() if t.route == route and t.lease}
        assert queue.tasks() == set(self.tasks)
        assert set(waiting) == {id for id, t in self.tasks.items() if t.state is State.WAITING}

    @invariant()
    def work_has_a_baton(self) -> None:
        for lane in LANES:
            if self.queue.waiting(lane) and lane not in self.taken_batons:
                assert self.queue.baton(lane) == 1
            assert self.queue.baton(lane) <= 1

    @invariant()
    def each_task_has_at_most_one_answer_and_the_right_one(self) -> None:
        answers = self.queue.replies()
        assert dict(answers) == self.wanted_answers
        assert len(answers) == len(self.wanted_answers)

    @invariant()
    def every_key_has_an_owner_or_a_time_to_live(self) -> None:
        assert leaks(self.client, self.queue.keys) == []

    @invariant()
    def places_are_those_of_the_registered(self) -> None:
        serving = {c.decode() for c in self.client.zrange(self.queue.keys.serving(LANE), 0, -1)}
        places = self.client.hget(self.queue.keys.places(), LANE)
        assert int(places or 0) == sum(int(claimer.rpartition(".")[2]) for claimer in serving)
        assert serving == set(self.registered)

    # The model

    def _pick(self, pick: int) -> tuple[str, Known]:
        return list(self.tasks.items())[pick % len(self.tasks)]

    def _held(self, claimer: str) -> dict[str, Known]:
        return {t.lease: t for t in self.tasks.values() if t.lease.startswith(claimer + "#")}

    def _lease_ends(self) -> list[tuple[str, float]]:
        return [
            (lease.decode(), end)
            for route in ROUTES
            for lease, end in self.client.zrange(self.queue.keys.running(route), 0, -1, withscores=True)
        ]

    def _move(self, task: Known, state: State, script: str) -> None:
        assert allowed(task.state, state, script), f"{script}: {task.state} → {state}"
        task.state, task.lease = state, ""

    def _end(self, id: str, state: State, script: str) -> None:
        task = self.tasks.pop(id)
        self._move(task, State.CANCELLED if task.unwanted else state, script)
        if task.state in (State.DONE, State.EXPIRED, State.LOST):
            assert id not in self.wanted_answers
            self.wanted_answers[id] = task.state.value

    def _give_back(self, lease: str, task: Known, counted: bool, script: str) -> None:
        id = lease.rpartition("#")[2]
        task.used += counted
        if task.unwanted:
            self._end(id, State.CANCELLED, script)
        elif task.deadline_ms <= self.queue.now_ms:
            self._end(id, State.EXPIRED, script)
        elif task.used >= task.tries:
            self._end(id, State.LOST, script)
        else:
            self._move(task, State.WAITING, script)
