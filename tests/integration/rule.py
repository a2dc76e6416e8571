"""The rule of admission in plain Python, written from its description and not from the scripts.

Owns the counts and figures of any number of routes on one lane. Knows no server:
what the real queue tells it is whether the lane's baton lies or a route has tasks
parked, and which tasks a claim took.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

HELD_AFTER_MS = 10_000
"""A tenant holds what overran its deadline for this long before somebody has looked again."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request at the door."""

    id: str
    route: str
    budget_ms: int
    deadline_ms: int
    share: float = 1.0
    tenant: str = ""
    detached: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """One run that ended; `wanted` is false when its client left."""

    id: str
    run_ms: int
    in_time: bool = True
    wanted: bool = True


@dataclass(slots=True)
class Sort:
    """What is measured of tasks that somebody waits for, or of those that nobody does."""

    mean: float | None = None
    seen: int = 0
    done: float = 0.0
    busy: float = 0.0
    mark: int | None = None


@dataclass(slots=True)
class Door:
    """One route."""

    limit: float
    most: float = math.inf
    """`max_running`."""
    tasks: dict[str, Ask] = field(default_factory=dict)
    running: set[str] = field(default_factory=set)
    sorts: dict[bool, Sort] = field(default_factory=lambda: {False: Sort(), True: Sort()})
    since: int | None = None
    missed: float = 0.0
    missed_at: int = 0

    @property
    def waiting(self) -> int:
        return len(self.tasks) - len(self.running)


@dataclass(frozen=True, slots=True)
class Judged:
    """What the rule says to one request; milliseconds, cut to whole ones as a script's reply is."""

    code: int
    wait_ms: int = 0
    remember_ms: int = 0
    retry_after_ms: int = 0


@dataclass(slots=True)
class _Kind:
    saturated: bool
    free: float
    rate: float
    allowed: float
    bound: float


@dataclass(slots=True)
class Rule:
    """All doors of one lane with `places`."""

    places: int
    doors: dict[str, Door] = field(default_factory=dict)

    def admit(self, now: int, baton: bool, asked: Sequence[Ask], missed: dict[str, int] | None = None) -> list[Judged]:
        """Judge a batch, by the state of before it, and take in what it lets in."""
        kinds: dict[tuple[object, ...], _Kind] = {}
        for route in {ask.route for ask in asked}:
            door = self.doors[route]
            if door.waiting == 0:
                door.since = now
                for sort in door.sorts.values():
                    sort.mark = None
            door.since = now if door.since is None else min(now, door.since)
        for ask in asked:
            kinds.setdefault(_name(ask), self._kind(now, baton, ask))
        held = {(a.route, a.tenant): self._held(now, a) for a in asked if a.tenant}
        for route in {ask.route for ask in asked}:
            self._decay(now, self.doors[route], (missed or {}).get(route, 0))
        return [self._judge(now, ask, kinds[_name(ask)], held) for ask in asked]

    def _kind(self, now: int, baton: bool, ask: Ask) -> _Kind:
        door, budget = self.doors[ask.route], ask.budget_ms
        sort = door.sorts[ask.detached]
        par, running = min(self.places, door.most), len(door.running)
        saturated = baton or running >= door.most
        free = 0 if saturated else max(0, par - running)
        mean = max(0.1, budget / 4 if sort.mean is None else sort.mean)
        prior = max(0.0, 1 - sort.busy / max(2000, 4 * mean))
        rate = max(1e-9, (sort.done + prior * par) / max(1e-9, sort.busy + prior * mean))
        if saturated and sort.mark is not None:
            rate = max(1e-9, min(rate, par / max(1e-9, now - sort.mark)))
        allowed = max(0.0, (budget - mean) / 3)
        assert door.since is not None
        if now - door.since > budget:
            allowed = max(allowed * budget / (now - door.since), min(allowed, 2 * mean))
        bound = min(ask.share * door.limit, par + ask.share * allowed * rate)
        return _Kind(saturated, free, rate, allowed, bound)

    def _held(self, now: int, ask: Ask) -> int:
        mine = [task for task in self.doors[ask.route].tasks.values() if task.tenant == ask.tenant]
        return sum(task.deadline_ms >= now - HELD_AFTER_MS for task in mine)

    def _decay(self, now: int, door: Door, missed: int) -> None:
        door.missed = door.missed * math.exp(-max(0, now - door.missed_at) / 10_000) + missed
        door.missed_at = now

    def _judge(self, now: int, ask: Ask, kind: _Kind, held: dict[tuple[str, str], int]) -> Judged:
        door, share, tenant = self.doors[ask.route], ask.share, (ask.route, ask.tenant)
        ahead = door.waiting + 1 - kind.free
        code = 0
        if ask.deadline_ms <= now:
            code = 3
        elif ask.tenant and held[tenant] >= max(1, 0.75 * kind.bound):
            code = 5
        elif len(door.tasks) >= share * door.limit:
            code = 4
        elif ahead > 0 and door.tasks and ahead > share * kind.allowed * kind.rate:
            code = 3
        if code:
            door.missed += 1
            in_time = ask.deadline_ms > now
            remember = min(250, door.waiting / (5 * kind.rate)) if in_time and door.waiting else 0
            place = max(1.0, ahead)
            return Judged(code, 0, int(remember), int(min(60_000, (place + 2 * door.missed) / kind.rate)))
        door.tasks[ask.id] = ask
        if ask.tenant:
            held[tenant] += 1
        sort = door.sorts[ask.detached]
        if kind.saturated and sort.mark is None:
            sort.mark = now
        return Judged(0, int(max(0, min(ask.budget_ms, ahead / kind.rate))))

    def claim(self, now: int, taken: Sequence[str], dropped: Sequence[str]) -> None:
        """Run what was taken; what was dropped had expired, or nobody wanted it."""
        for id in dropped:
            self._end(id)
        for id in taken:
            self._door(id).running.add(id)
        for route, detached in {(id.partition(".")[0], self._door(id).tasks[id].detached) for id in taken}:
            door = self.doors[route]
            if door.waiting == 0:
                for sort in door.sorts.values():
                    sort.mark = None
            elif door.sorts[detached].mark is None:
                door.sorts[detached].mark = now

    def complete(self, now: int, saturated: Mapping[str, bool], ended: Sequence[End]) -> None:
        """End runs. `saturated`, per route and before the first of them: the baton lies, or something is parked."""
        batches: dict[tuple[str, bool], list[tuple[Ask, End]]] = {}
        for end in ended:
            ask = self._end(end.id)
            batches.setdefault((ask.route, ask.detached), []).append((ask, end))
        for (route, detached), batch in batches.items():
            self._measure(now, self.doors[route], detached, saturated[route], batch)

    def _measure(self, now: int, door: Door, detached: bool, saturated: bool, batch: list[tuple[Ask, End]]) -> None:
        sort, in_time = door.sorts[detached], 0
        for ask, end in batch:
            if not end.wanted:
                continue
            in_time += end.in_time
            run = end.run_ms if end.in_time else max(end.run_ms, ask.budget_ms)
            sort.seen = min(20, sort.seen + 1)
            sort.mean = (sort.mean or 0.0) + max(1 / sort.seen, 1 / 20) * (run - (sort.mean or 0.0))
        sort.mean = None if sort.mean is None else _stored(sort.mean)
        if sort.mark is None or door.waiting == 0:
            return
        if saturated:
            passed = max(0, now - sort.mark)
            fade = math.exp(-passed / max(2000, 4 * (sort.mean or 0.0)))
            sort.done = _stored(sort.done * fade + in_time)
            sort.busy = _stored(sort.busy * fade + passed)
        sort.mark = now

    def cancel(self, id: str) -> None:
        """A task that waits goes."""
        self._end(id)

    def _end(self, id: str) -> Ask:
        door = self._door(id)
        door.running.discard(id)
        return door.tasks.pop(id)

    def _door(self, id: str) -> Door:
        return self.doors[id.partition(".")[0]]


def _name(ask: Ask) -> tuple[object, ...]:
    return ask.route, ask.budget_ms, ask.share, ask.detached, ask.tenant


def _stored(value: float) -> float:
    """Round as Redis keeps it."""
    return float(f"{value:.6g}")
