"""What the queue should hold, in plain Python: the model that the scripts are compared with.

Owns no server and no script's text. Which of the parked follow, the server says; how
many, the model.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from enum import StrEnum

from floodgate.broker.idempotency import record_of
from tests.engine.queueing import GAP_MS, LEASE_MS, PERIOD_MS, REGISTRATION_MS

HELD_AFTER_MS = 10_000


class State(StrEnum):
    """Where a task is, and how it ended."""

    WAITING = "waiting"
    PARKED = "parked"
    STRANDED = "stranded"
    RUNNING = "running"
    DONE = "done"
    EXPIRED = "expired"
    CANCELLED = "cancelled"
    LOST = "lost"
    DROPPED = "dropped"


@dataclass(slots=True)
class Known:
    """What the model believes of one admitted task."""

    route: str
    deadline_ms: int
    tries: int
    lane: str
    tenant: str = ""
    async_response: bool = False
    gateway: str = "box"
    state: State = State.WAITING
    lease: str = ""
    """Of a running task: its lease, whose owner may never have heard of it."""
    lease_end_ms: int = 0
    used: int = 0
    started: bool = False
    cancelled: bool = False


@dataclass(slots=True)
class Record:
    """What the model believes of one idempotency key; `kept` is how its task ended, once it has."""

    task: str
    retry: bool
    names: dict[str, str] = field(default_factory=dict)
    """Who waits, by id, and at which gateway."""
    kept: str = ""


@dataclass(slots=True)
class Model:
    """The whole queue; `answers` are those that must have been sent so far, `kept` those of detached tasks."""

    tasks: dict[str, Known] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    kept: dict[str, str] = field(default_factory=dict)
    records: dict[str, Record] = field(default_factory=dict)
    registered: dict[str, int] = field(default_factory=dict)
    lanes: Mapping[str, Sequence[str]] = field(default_factory=dict)
    """By consumer."""
    agreed: Mapping[str, str] = field(default_factory=dict)
    """Lane → the lane of another release that sees its route alike."""
    most: dict[str, int] = field(default_factory=dict)
    """How many of a route may run, where that is bounded."""
    presences: dict[str, int] = field(default_factory=dict)
    """Gateway → end; without one it counts as there."""
    dropped_ms: int = 0
    last_reap_ms: int = 0
    mercy_until_ms: int = 0
    grace_until_ms: int = 0

    def inflight(self, route: str) -> int:
        return sum(task.route == route for task in self.tasks.values())

    def unparked(self, route: str) -> int:
        aside = (State.PARKED, State.STRANDED)
        return sum(task.route == route and task.state not in aside for task in self.tasks.values())

    def waiting(self, *lanes: str) -> set[str]:
        return {id for id in self._in(State.WAITING) if not lanes or self.tasks[id].lane in lanes}

    def parked(self, route: str, state: State = State.PARKED) -> set[str]:
        return {id for id in self._in(state) if self.tasks[id].route == route}

    def stranded(self, route: str) -> set[str]:
        return self.parked(route, State.STRANDED)

    def is_served(self, lane: str) -> bool:
        return any(lane in self.lanes[consumer] for consumer in self.registered)

    def home(self, task: Known) -> str:
        """Return the lane of a stranded task, or one of who agrees about its route; '' if nobody serves any."""
        others = [task.lane, self.agreed.get(task.lane, "")]
        return next((lane for lane in others if lane and self.is_served(lane)), "")

    def _in(self, *states: State) -> set[str]:
        return {id for id, task in self.tasks.items() if task.state in states}

    def expired(self, now_ms: int, *states: State) -> set[str]:
        return {id for id in self._in(*(states or (State.WAITING,))) if self.tasks[id].deadline_ms <= now_ms}

    def gone(self, now_ms: int, *states: State) -> set[str]:
        """Return what was never started and waits for a gateway that is gone."""
        since_ms = now_ms - self.last_reap_ms
        if not self.last_reap_ms or now_ms < self.mercy_until_ms or not 0 <= since_ms <= GAP_MS:
            return set()
        tasks = self.tasks
        return {
            id
            for id in self._in(*(states or (State.WAITING,)))
            if not (tasks[id].async_response or tasks[id].used)
            and all(
                self.presences.get(gateway, now_ms + 1) <= now_ms
                for gateway in [tasks[id].gateway, *self.joiners(id).values()]
            )
        }

    def record(self, id: str) -> Record | None:
        """Return the record of a task that is there."""
        found = self.records.get(record_of(id))
        return found if found and found.task == id else None

    def joiners(self, id: str) -> dict[str, str]:
        """Return who waits for a task beside the one that it was admitted for."""
        record = self.record(id)
        return {name: gateway for name, gateway in record.names.items() if name != id} if record else {}

    def leave(self, name: str) -> int:
        """Take out one name, and return what `cancel` says to it."""
        record = self.records[record_of(name)]
        record.names.pop(name, None)
        task = self.tasks[record.task]
        if record.names or task.state is State.RUNNING:
            return 2
        used = task.used
        self.end(record.task, State.CANCELLED)
        return 3 if used else 1

    def _settle(self, id: str, task: Known) -> bool:
        """Settle the record of a task that ends; tell whether the one that it was admitted for still waits."""
        record = self.record(id)
        if record is None:
            return True
        ran = task.state in (State.DONE, State.LOST) or task.used > 0
        outcome = State.LOST if task.state is State.CANCELLED else task.state
        keeps = ran and not (record.retry and outcome in (State.LOST, State.EXPIRED))
        for name in self.joiners(id):
            assert name not in self.answers
            self.answers[name] = "kept" if keeps else outcome.value
        waits = id in record.names
        if keeps:
            record.task, record.names, record.kept = "", {}, outcome.value
        else:
            del self.records[record_of(id)]
        return waits

    def held(self, consumer: str) -> dict[str, Known]:
        """Return what runs under leases of `consumer`, by lease."""
        return {task.lease: task for task in self.tasks.values() if task.lease.startswith(consumer + "#")}

    def tenants(self, now_ms: int) -> tuple[dict[str, set[str]], dict[str, set[str]]]:
        """Return what each tenant holds per route, at most and at least."""
        most: dict[str, set[str]] = {}
        least: dict[str, set[str]] = {}
        for id, task in self.tasks.items():
            if task.tenant:
                most.setdefault(f"{task.route}|{task.tenant}", set()).add(id)
                if task.deadline_ms > now_ms - HELD_AFTER_MS:
                    least.setdefault(f"{task.route}|{task.tenant}", set()).add(id)
        return most, least

    def served(self, lane: str, now_ms: int) -> bool:
        return any(end > now_ms and lane in self.lanes[consumer] for consumer, end in self.registered.items())

    def admit(self, id: str, task: Known) -> None:
        assert id not in self.tasks
        most = self.most.get(task.route)
        state = State.PARKED if most and self.unparked(task.route) >= most else State.WAITING
        task.state = state
        self.tasks[id] = task

    def run(self, id: str, lease: str, now_ms: int) -> None:
        task = self.tasks[id]
        assert task.deadline_ms > now_ms
        self._move(task, State.RUNNING)
        task.lease, task.lease_end_ms, task.started = lease, now_ms + LEASE_MS, False

    def renew(self, consumer: str, leases: set[str], now_ms: int) -> None:
        for lease, task in self.held(consumer).items():
            if lease in leases:
                task.lease_end_ms = now_ms + LEASE_MS
        self.registered[consumer] = now_ms + REGISTRATION_MS

    def end(self, id: str, state: State) -> None:
        """End a task; what nobody waits for is cancelled and not answered."""
        task = self.tasks.pop(id)
        self._move(task, State.CANCELLED if task.cancelled else state)
        if self._settle(id, task) and task.state is not State.CANCELLED:
            assert id not in self.answers
            told_kept = task.async_response and task.gateway in self.presences
            self.answers[id] = "kept" if told_kept else task.state.value
            if task.async_response:
                self.kept[id] = task.state.value

    def follow(self, route: str, left: set[str], script: str) -> None:
        """Let the parked follow that are not among `left`, and check that it is as many as may."""
        before, most = self.parked(route), self.most.get(route)
        room = len(before) if most is None else max(0, most - self.unparked(route))
        taken = before - left
        stranded = {id for id in taken if self.tasks[id].async_response and not self.is_served(self.tasks[id].lane)}
        followed = taken - stranded
        assert len(followed) == room or (len(followed) < room and not left), f"{script}: {len(followed)} followed"
        for id in taken:
            self._move(self.tasks[id], State.STRANDED if id in stranded else State.WAITING)

    def give_back(self, lease: str, counted: bool, now_ms: int) -> None:
        """A run ended without an answer."""
        id = lease.rpartition("#")[2]
        task = self.tasks[id]
        task.used += counted
        if task.cancelled or task.deadline_ms <= now_ms:
            self.end(id, State.EXPIRED)
        elif task.used >= task.tries:
            self.end(id, State.LOST)
        else:
            self._move(task, State.WAITING)

    def reap(self, now_ms: int) -> bool:
        """Do what `reap` does; False when it is too early."""
        if self.last_reap_ms and 0 <= now_ms - self.last_reap_ms < PERIOD_MS:
            return False
        if not self.last_reap_ms or not 0 <= now_ms - self.last_reap_ms <= GAP_MS:
            self.mercy_until_ms = now_ms + LEASE_MS
        if not self.last_reap_ms or not 0 <= now_ms - self.last_reap_ms <= 0.6 * GAP_MS:
            least = self.grace_until_ms = now_ms + REGISTRATION_MS
            self.registered = {consumer: max(end, least) for consumer, end in self.registered.items()}
        self.mercy_until_ms = min(self.mercy_until_ms, now_ms + LEASE_MS)
        self.grace_until_ms = min(self.grace_until_ms, now_ms + REGISTRATION_MS)
        self.last_reap_ms = now_ms
        self.registered = {consumer: end for consumer, end in self.registered.items() if end > now_ms}
        if now_ms >= self.mercy_until_ms:
            for task in [task for task in self.tasks.values() if task.lease and task.lease_end_ms <= now_ms]:
                self.give_back(task.lease, True, now_ms)
        for id in self.expired(now_ms, State.WAITING, State.PARKED, State.STRANDED):
            self.end(id, State.EXPIRED)
        if now_ms >= self.mercy_until_ms:
            since_ms = self.dropped_ms if self.dropped_ms <= now_ms else 0
            for id in self.gone(now_ms, State.WAITING, State.PARKED):
                if self.presences[self.tasks[id].gateway] > since_ms:
                    self.end(id, State.DROPPED)
            self.dropped_ms = now_ms
        self._strand(now_ms)
        return True

    def _strand(self, now_ms: int) -> None:
        """202s leave lanes that nobody serves, and come back from where they are kept, parked as others."""
        for task in self.tasks.values():
            unserved = task.async_response and not self.is_served(task.lane)
            if task.state is State.WAITING and unserved and now_ms >= self.grace_until_ms:
                self._move(task, State.STRANDED)
            if task.state is State.STRANDED and (home := self.home(task)):
                self._move(task, State.PARKED)
                task.lane = home

    def _move(self, task: Known, state: State) -> None:
        task.state, task.lease = state, ""
