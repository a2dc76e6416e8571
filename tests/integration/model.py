"""What the queue should hold, in plain Python: the model that the scripts are compared with.

Owns no server and no script's text; every move is checked against the table in
`shared.queue.lifecycle`.
"""

from __future__ import annotations

from dataclasses import dataclass, field

from shared.queue.lifecycle import State, allowed
from tests.queueing import LEASE_MS, REGISTRATION_MS

PERIOD_MS, GAP_MS = 900, 2500


@dataclass(slots=True)
class Known:
    """What the model believes of one admitted task."""

    route: str
    deadline_ms: int
    tries: int
    state: State = State.WAITING
    lease: str = ""
    """Of a running task: its lease, whose owner may never have heard of it."""
    lease_end_ms: int = 0
    used: int = 0
    started: bool = False
    unwanted: bool = False


@dataclass(slots=True)
class Model:
    """The whole queue; `answers` are those that must have been sent so far."""

    tasks: dict[str, Known] = field(default_factory=dict)
    answers: dict[str, str] = field(default_factory=dict)
    registered: dict[str, int] = field(default_factory=dict)
    last_reap_ms: int = 0
    mercy_until_ms: int = 0

    def inflight(self, route: str) -> int:
        return sum(task.route == route for task in self.tasks.values())

    def waiting(self) -> set[str]:
        return {id for id, task in self.tasks.items() if task.state is State.WAITING}

    def expired(self, now_ms: int) -> set[str]:
        return {id for id in self.waiting() if self.tasks[id].deadline_ms <= now_ms}

    def held(self, claimer: str) -> dict[str, Known]:
        """Return what runs under leases of `claimer`, by lease."""
        return {task.lease: task for task in self.tasks.values() if task.lease.startswith(claimer + "#")}

    def served(self, now_ms: int) -> bool:
        return any(end > now_ms for end in self.registered.values())

    def admit(self, id: str, route: str, deadline_ms: int, tries: int) -> None:
        assert id not in self.tasks
        self.tasks[id] = Known(route, deadline_ms, tries)

    def run(self, id: str, lease: str, now_ms: int) -> None:
        task = self.tasks[id]
        assert task.deadline_ms > now_ms
        self._move(task, State.RUNNING, "claim")
        task.lease, task.lease_end_ms, task.started = lease, now_ms + LEASE_MS, False

    def renew(self, claimer: str, leases: set[str], now_ms: int) -> None:
        for lease, task in self.held(claimer).items():
            if lease in leases:
                task.lease_end_ms = now_ms + LEASE_MS
        self.registered[claimer] = now_ms + REGISTRATION_MS

    def end(self, id: str, state: State, script: str) -> None:
        """End a task; what nobody waits for is cancelled and not answered."""
        task = self.tasks.pop(id)
        self._move(task, State.CANCELLED if task.unwanted else state, script)
        if task.state is not State.CANCELLED:
            assert id not in self.answers
            self.answers[id] = task.state.value

    def give_back(self, lease: str, counted: bool, now_ms: int, script: str) -> None:
        """A run ended without an answer."""
        id = lease.rpartition("#")[2]
        task = self.tasks[id]
        task.used += counted
        if task.unwanted or task.deadline_ms <= now_ms:
            self.end(id, State.EXPIRED, script)
        elif task.used >= task.tries:
            self.end(id, State.LOST, script)
        else:
            self._move(task, State.WAITING, script)

    def reap(self, now_ms: int) -> bool:
        """Do what `reap` does; False when it is too early."""
        if self.last_reap_ms and 0 <= now_ms - self.last_reap_ms < PERIOD_MS:
            return False
        if not self.last_reap_ms or not 0 <= now_ms - self.last_reap_ms <= GAP_MS:
            self.mercy_until_ms = now_ms + LEASE_MS
        self.mercy_until_ms = min(self.mercy_until_ms, now_ms + LEASE_MS)
        self.last_reap_ms = now_ms
        if now_ms >= self.mercy_until_ms:
            for task in [task for task in self.tasks.values() if task.lease and task.lease_end_ms <= now_ms]:
                self.give_back(task.lease, True, now_ms, "reap")
        for id in self.expired(now_ms):
            self.end(id, State.EXPIRED, "reap")
        self.registered = {claimer: end for claimer, end in self.registered.items() if end > now_ms}
        return True

    def _move(self, task: Known, state: State, script: str) -> None:
        assert allowed(task.state, state, script), f"{script}: {task.state} → {state}"
        task.state, task.lease = state, ""
