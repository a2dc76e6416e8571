"""The rule of admission in plain Python, written from its description and not from the scripts.

Owns the counts and statistics of any number of routes on one lane. Knows no server:
what the real queue tells it is whether the lane's marker lies or a route has tasks
parked, and which tasks a claim took.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field

REMEMBERED_MS = 10_000
"""What a queue has shown is forgotten over this time without one."""
HELD_AFTER_MS = 10_000
"""So long a tenant holds what overran its deadline, before somebody has looked again."""
LATELY = 10  # turns: how long a tenant that asked is counted
WEIGHT = 8


@dataclass(frozen=True, slots=True)
class Ask:
    """One request at the door."""

    id: str
    route: str
    budget_ms: int
    deadline_ms: int
    share: float = 1.0
    tenant: str = ""
    async_response: bool = False


@dataclass(frozen=True, slots=True)
class End:
    """One run that ended; `wanted` is false when its client left."""

    id: str
    run_ms: int
    in_time: bool = True
    wanted: bool = True
    failed: bool = False


@dataclass(slots=True)
class Sort:
    """What is measured of tasks that somebody waits for, or of those that nobody does."""

    mean: float | None = None
    seen: int = 0
    done: float = 0.0
    busy: float = 0.0
    mark: int | None = None
    at: int | None = None
    """When `done` and `busy` were last measured."""

    def kept(self, now: int) -> float:
        """Return how much of them still counts."""
        quiet_until = now if self.mark is None else self.mark
        return math.exp(-max(0, quiet_until - (quiet_until if self.at is None else self.at)) / REMEMBERED_MS)


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
    mean: float
    rate: float
    allowed: float
    third: float
    most: float = math.inf
    """What the places of the pool allow, whoever holds them."""
    usual: float | None = None
    """The pace that a refused client is told of."""


@dataclass(frozen=True, slots=True)
class _Sum:
    """What ran in the pool a moment ago: how many, and of each route its pace and when its first is to end."""

    at: int
    runs: int
    parts: Mapping[str, float]
    firsts: Mapping[str, float]


@dataclass(slots=True)
class _Turn:
    step: float
    finish: float
    sharers: int


@dataclass(slots=True)
class Rule:
    """All doors of one lane with `places`."""

    places: int
    doors: dict[str, Door] = field(default_factory=dict)
    virtual: float | None = None
    """The lane's virtual time, as the queue tells it."""
    tags: Sequence[float] = ()
    """Of what waits in the lane, as the queue tells it."""
    parked_tags: Mapping[str, Sequence[float]] = field(default_factory=dict)
    """The same of what is parked, by route."""
    finishes: dict[tuple[str, str, bool], float] = field(default_factory=dict)
    """Of tenants that asked lately, by route, tenant and sort."""
    started: dict[str, int] = field(default_factory=dict)
    """Of what runs: since when."""
    summed: _Sum | None = None
    _turns: dict[tuple[str, str, bool], _Turn] = field(default_factory=dict)
    _found: dict[str, int] = field(default_factory=dict)
    """Both of the batch at hand: turns, and how many waited before it."""

    def admit(self, now: int, marker: bool, asked: Sequence[Ask], missed: dict[str, int] | None = None) -> list[Judged]:
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
            kinds.setdefault(_name(ask), self._kind(now, marker, ask))
        held = {(a.route, a.tenant): self._held(now, a) for a in asked if a.tenant}
        for route in {ask.route for ask in asked}:
            door = self.doors[route]
            door.missed *= math.exp(-max(0, now - door.missed_at) / 10_000)
            door.missed, door.missed_at = door.missed + (missed or {}).get(route, 0), now
        self._turns = {}
        self._found = {route: door.waiting for route, door in self.doors.items()}
        judged = [self._judge(now, ask, kinds[_name(ask)], held) for ask in asked]
        taken = {_flow(ask) for ask, judgement in zip(asked, judged, strict=True) if judgement.code == 0 and ask.tenant}
        self.finishes |= {flow: self._turns[flow].finish for flow in taken}
        return judged

    def _kind(self, now: int, marker: bool, ask: Ask) -> _Kind:
        door, budget = self.doors[ask.route], ask.budget_ms
        sort = door.sorts[ask.async_response]
        par, running = min(self.places, door.most), len(door.running)
        saturated = marker or running >= door.most
        free = 0 if saturated else max(0, min(self.room, door.most - running))
        mean = max(0.1, budget / 4 if sort.mean is None else sort.mean)
        done, busy = sort.done * sort.kept(now), sort.busy * sort.kept(now)
        prior = max(0.0, 1 - busy / max(2000, 4 * mean))
        rate = max(1e-9, (done + prior * par) / max(1e-9, busy + prior * mean))
        if saturated and sort.mark is not None:
            rate = max(1e-9, min(rate, par / max(1e-9, now - sort.mark)))
        allowed = max(0.0, (budget - mean) / 3)
        assert door.since is not None
        if now - door.since > budget:
            allowed = max(allowed * budget / (now - door.since), min(allowed, 2 * mean))
        return _Kind(saturated, free, mean, rate, allowed, third=max(0.0, (budget - mean) / 3))

    @property
    def runs(self) -> int:
        return sum(len(door.running) for door in self.doors.values())

    @property
    def room(self) -> int:
        return max(0, self.places - self.runs)

    def _bound(self, now: int, ask: Ask, kind: _Kind) -> None:
        """No route is faster than places come free, where others hold some."""
        kind.usual, own = kind.rate, len(self.doors[ask.route].running)
        if self.runs <= own:
            return
        if self.summed is None or not 0 <= now - self.summed.at < 50 + 0.5 * min(self.runs, 256):
            self.summed = self._sum_up(now)
        mine = (own + self.room + max(0, self.runs - self.summed.runs)) / kind.mean
        others = sum(part for route, part in self.summed.parts.items() if route != ask.route)
        first = min((at for route, at in self.summed.firsts.items() if route != ask.route), default=math.inf)
        kind.most = mine + (others if first <= now + kind.third else 0.0)
        kind.rate = max(1e-9, min(kind.rate, kind.most))
        kind.usual = max(kind.rate, min(kind.usual, mine + others))

    def _sum_up(self, now: int) -> _Sum:
        running: dict[tuple[str, bool], list[str]] = {}
        for route, door in self.doors.items():
            for id in door.running:
                running.setdefault((route, door.tasks[id].async_response), []).append(id)
        parts, firsts = dict.fromkeys(self.doors, 0.0), dict.fromkeys(self.doors, math.inf)
        for (route, async_response), ids in running.items():
            door = self.doors[route]
            mean = max(1.0, door.sorts[async_response].mean or max(door.tasks[id].budget_ms for id in ids))
            parts[route] += len(ids) / mean
            firsts[route] = min(firsts[route], int(min(self.started[id] for id in ids) + mean))
        return _Sum(now, self.runs, {route: _stored(part) for route, part in parts.items()}, firsts)

    def _turn(self, ask: Ask, held: int) -> _Turn:
        flow = _flow(ask)
        if flow not in self._turns:
            step = self._step(ask)
            since = math.inf if self.virtual is None else self.virtual - LATELY * step
            self.finishes = {f: at for f, at in self.finishes.items() if f[0] != ask.route or at > since}
            finish = min(self.finishes.get(flow, 0.0), (self.virtual or 0.0) + (held + 1) * step)
            self._turns[flow] = _Turn(step, finish, sum(f[0] == ask.route for f in {*self.finishes, flow}))
        return self._turns[flow]

    def _step(self, ask: Ask) -> float:
        return max(1.0, self.doors[ask.route].sorts[ask.async_response].mean or 10.0) / WEIGHT

    def _turns_before(self, ask: Ask, ahead: float, free: float, held: int) -> tuple[float, float] | None:
        """Return a tenant's place as things stand, and at most; None for one that is alone."""
        turn, door, virtual = self._turn(ask, held), self.doors[ask.route], self.virtual or 0.0
        if turn.sharers < 2:
            return None
        tags = [*self.tags, *(self.parked_tags.get(ask.route, ()) if door.most < math.inf else ())]
        first = sum(tag <= max(virtual, turn.finish) for tag in tags)
        own = min(held, max(0.0, turn.finish - virtual) / turn.step)
        place = min(ahead, first + door.waiting - self._found[ask.route] + 1 - free)
        return place, own + 1 + own * min(turn.sharers - 1, door.waiting)

    def _held(self, now: int, ask: Ask) -> int:
        mine = [t.deadline_ms for t in self.doors[ask.route].tasks.values() if t.tenant == ask.tenant]
        return sum(deadline_ms >= now - HELD_AFTER_MS for deadline_ms in mine)

    def _judge(self, now: int, ask: Ask, kind: _Kind, held: dict[tuple[str, str], int]) -> Judged:
        door, share, tenant = self.doors[ask.route], ask.share, (ask.route, ask.tenant)
        ahead: float = door.waiting + 1 - kind.free
        if ahead > 0 and kind.usual is None:
            self._bound(now, ask, kind)
        code, waits = 0, ahead > 0 and (bool(door.tasks) or kind.most * ask.budget_ms < 1)
        if ask.deadline_ms <= now:
            code = 3
        elif ask.tenant and held[tenant] >= 0.75 * share * door.limit:
            code = 5
        elif len(door.tasks) >= share * door.limit:
            code = 4
        elif waits:
            code = 3 if ahead > share * kind.allowed * kind.rate else 0
            turns = self._turns_before(ask, ahead, kind.free, held[tenant]) if ask.tenant else None
            if turns is not None:
                ahead, at_most = turns
                third = share * kind.third * kind.rate
                if ahead > third:
                    code = 3
                elif at_most > 2.4 * third:
                    code, ahead = 5, at_most
                elif share == 1:
                    code = 0
        if code:
            door.missed += 1
            remember = min(250, door.waiting / (5 * kind.rate)) if ask.deadline_ms > now and door.waiting else 0
            return Judged(
                code,
                0,
                int(remember),
                int(min(60_000, (max(1.0, ahead) + 2 * door.missed) / (kind.usual or kind.rate))),
            )
        door.tasks[ask.id] = ask
        if ask.tenant:
            turn = self._turn(ask, held[tenant])
            held[tenant] += 1
            turn.finish = max(self.virtual or 0.0, turn.finish) + turn.step
        sort = door.sorts[ask.async_response]
        if kind.saturated and sort.mark is None:
            sort.mark = now
        return Judged(0, int(max(0, min(ask.budget_ms, ahead / kind.rate))))

    def claim(self, now: int, taken: Sequence[str], dropped: Sequence[str]) -> None:
        """Run what was taken; what was dropped had expired, or nobody wanted it."""
        for id in dropped:
            self._end(id)
        for id in taken:
            self._door(id).running.add(id)
            self.started[id] = now
        for route, async_response in {(id.partition(".")[0], self._door(id).tasks[id].async_response) for id in taken}:
            door = self.doors[route]
            if door.waiting == 0:
                for sort in door.sorts.values():
                    sort.mark = None
            elif door.sorts[async_response].mark is None:
                door.sorts[async_response].mark = now

    def complete(self, now: int, saturated: Mapping[str, bool], ended: Sequence[End]) -> None:
        """End runs. `saturated`, per route and before the first of them: the marker lies, or something is parked."""
        batches: dict[tuple[str, bool], list[tuple[Ask, End]]] = {}
        for end in ended:
            ask = self._end(end.id)
            batches.setdefault((ask.route, ask.async_response), []).append((ask, end))
        for (route, async_response), batch in batches.items():
            self._measure(now, self.doors[route], async_response, saturated[route], batch)

    def _measure(
        self, now: int, door: Door, async_response: bool, saturated: bool, batch: list[tuple[Ask, End]]
    ) -> None:
        sort, in_time = door.sorts[async_response], 0.0
        for ask, end in sorted(batch, key=lambda pair: pair[1].failed and pair[1].in_time):
            if not end.wanted:
                continue
            run = end.run_ms if end.in_time else max(end.run_ms, ask.budget_ms)
            if end.failed and end.in_time:
                usual = max(0.1, ask.budget_ms / 4 if sort.mean is None else sort.mean)
                in_time += min(1.0, run / usual)
                if run <= usual:
                    continue
            else:
                in_time += end.in_time
            sort.seen = min(20, sort.seen + 1)
            sort.mean = (sort.mean or 0.0) + max(1 / sort.seen, 1 / 20) * (run - (sort.mean or 0.0))
        sort.mean = None if sort.mean is None else _stored(sort.mean)
        if sort.mark is None or door.waiting == 0:
            return
        if saturated:
            passed = max(0, now - sort.mark)
            fade = math.exp(-passed / max(2000, 4 * (sort.mean or 0.0))) * sort.kept(now)
            sort.done = _stored(sort.done * fade + in_time)
            sort.busy = _stored(sort.busy * fade + passed)
            sort.at = now
        sort.mark = now

    def cancel(self, id: str) -> None:
        """A task that waits goes, and gives its turn back."""
        ask = self._end(id)
        if (flow := _flow(ask)) in self.finishes:
            self.finishes[flow] -= self._step(ask)

    def _end(self, id: str) -> Ask:
        door = self._door(id)
        door.running.discard(id)
        self.started.pop(id, None)
        return door.tasks.pop(id)

    def _door(self, id: str) -> Door:
        return self.doors[id.partition(".")[0]]


def _name(ask: Ask) -> tuple[object, ...]:
    return ask.route, ask.budget_ms, ask.share, ask.async_response, ask.tenant


def _flow(ask: Ask) -> tuple[str, str, bool]:
    return ask.route, ask.tenant, ask.async_response


def _stored(value: float) -> float:
    """Round as Redis keeps it."""
    return float(f"{value:.6g}")
