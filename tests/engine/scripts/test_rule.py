"""Random traffic at the door: the scripts and the rule in plain Python say the same to every request."""

from __future__ import annotations

import random
from collections.abc import Sequence

import pytest

from floodgate.broker import commands as calls
from tests.engine.queueing import LANE, WORKER, Queue, route_of
from tests.engine.scripts.rule import Ask, Door, End, Judged, Rule

ROUTES = ("aaaaaaaaaaaa", "bbbbbbbbbbbb", "cccccccccccc")
BUDGETS_MS = (400, 2000, 2000, 10_000)
SHARES = (1000, 1000, 950, 600)
TENANTS = ("", "", "t1", "t1", "t2")
STEPS = ("admit",) * 5 + ("claim",) * 4 + ("complete",) * 4 + ("cancel", "pause", "leave", "rest")


class Traffic:
    """One random history of three routes on one lane, of which one has a running limit, and some tasks are detached."""

    def __init__(self, queue: Queue, seed: int) -> None:
        self.queue, self.random = queue, random.Random(seed)
        self.rule = Rule(places=10)
        self.number = self.serial = 0
        self.results: list[int] = []
        self.running: dict[str, str] = {}
        """Of what runs, task to lease."""
        self.left: set[str] = set()
        for route in ROUTES:
            limit, most = self.random.choice((5, 40, 400)), 3 if route == ROUTES[2] else 0
            queue.declare(limit, route=route, max_running=most)
            self.rule.doors[route] = Door(limit, most or float("inf"))

    def step(self) -> None:
        self.queue.register(lanes=[LANE])
        getattr(self, self.random.choice(STEPS))()
        self.queue.advance(self.random.choice((0, 1, 7, 30, 120)))

    def admit(self) -> None:
        kinds = [self._kind() for _ in range(self.random.choice((1, 1, 2, 4)))]
        asked = [self._ask(self.random.choice(kinds)) for _ in range(self.random.choice((1, 3, 12, 40)))]
        missed = {ask.route: self.random.randrange(50) for ask in asked} if self.random.random() < 0.2 else {}
        marker, now = self.queue.marker() > 0, self.queue.now_ms
        self.rule.virtual, self.rule.tags = self.queue.virtual(), self.queue.tags(self.queue.keys.of("waiting", LANE))
        self.rule.parked_tags = {route: self.queue.tags(self.queue.keys.parked(route)) for route in ROUTES}
        reply = self.queue.ask(*(self._request(ask) for ask in asked), suppressed=missed)
        judged = self.rule.admit(now, marker, asked, missed)
        self._compare(judged, reply.results)
        self.results += [judgement.code for judgement in judged]

    def claim(self) -> None:
        if self.random.random() < 0.8:
            self.queue.take_marker()
        room = min(10 - len(self.running), self.random.choice((1, 3, 10)))
        self.serial += 1
        reply = self.queue.claim(self.serial, free=room)
        taken = [task.id for task in reply.tasks]
        self.running |= {id: f"{WORKER}#{self.serial}#{id}" for id in taken}
        self.rule.claim(self.queue.now_ms, taken, self._dropped())

    def complete(self) -> None:
        chosen = self.random.sample(sorted(self.running), min(len(self.running), self.random.choice((1, 2, 5))))
        if not chosen:
            return
        ended = [
            End(
                id,
                self.random.choice((20, 90, 700)),
                self.random.random() < 0.9,
                id not in self.left,
                self.random.random() < 0.2,
            )
            for id in chosen
        ]
        marker = self.queue.marker() > 0
        saturated = {route_of(id): marker or bool(self.queue.parked(route_of(id))) for id in chosen}
        reports = [
            self.queue.report(
                self.running.pop(end.id),
                run_ms=end.run_ms,
                in_time=end.in_time,
                sample=end.wanted,
                failed=end.failed,
            )
            for end in ended
        ]
        assert all(self.queue.send(calls.complete(self.queue.keys, reports)).results)
        self.rule.complete(self.queue.now_ms, saturated, ended)

    def cancel(self) -> None:
        waiting = sorted(self._known() - set(self.running))
        if waiting:
            id = self.random.choice(waiting)
            assert self.queue.cancel(id) == [1]
            self.rule.cancel(id)

    def leave(self) -> None:
        """A client of what runs leaves."""
        if self.running:
            id = self.random.choice(sorted(self.running))
            self.queue.cancel(id)
            self.left.add(id)

    def pause(self) -> None:
        """Nothing ends for a while."""
        self.queue.advance(self.random.choice((300, 1500, 6000)))

    def rest(self) -> None:
        """Everything ends, as on a quiet evening."""
        for _ in range(60):
            self.claim()
            self.complete()

    def _kind(self) -> Ask:
        return Ask(
            "",
            self.random.choice(ROUTES),
            self.random.choice(BUDGETS_MS),
            0,
            self.random.choice(SHARES) / 1000,
            self.random.choice(TENANTS),
            self.random.random() < 0.25,
        )

    def _ask(self, kind: Ask) -> Ask:
        self.number += 1
        late = self.random.random() < 0.02
        deadline_ms = self.queue.now_ms + (0 if late else kind.budget_ms)
        return Ask(
            f"{kind.route}.{self.number}",
            kind.route,
            kind.budget_ms,
            deadline_ms,
            kind.share,
            kind.tenant,
            kind.async_response,
        )

    def _request(self, ask: Ask) -> calls.AdmitRequest:
        return self.queue.request(
            ask.id.partition(".")[2],
            route=ask.route,
            budget_ms=ask.budget_ms,
            left_ms=ask.deadline_ms - self.queue.now_ms,
            share=round(ask.share * 1000),
            tenant=ask.tenant,
            async_response=ask.async_response,
        )

    def _known(self) -> set[str]:
        return {id for door in self.rule.doors.values() for id in door.tasks}

    def _dropped(self) -> list[str]:
        gone = sorted(self._known() - self.queue.tasks())
        for id in gone:
            assert self.rule.doors[route_of(id)].tasks[id].deadline_ms <= self.queue.now_ms
        return gone

    def _compare(self, judged: Sequence[Judged], results: Sequence[calls.AdmitResult]) -> None:
        assert [judgement.code for judgement in judged] == [int(result.code) for result in results]
        for ours, theirs in zip(judged, results, strict=True):
            assert abs(ours.wait_ms - theirs.wait_ms) <= 1
            assert abs(ours.remember_ms - theirs.remember_ms) <= 1
            assert abs(ours.retry_after_ms - theirs.retry_after_ms) <= 1


@pytest.mark.parametrize("seed", range(12))
def test_the_scripts_decide_as_the_rule_says(queue: Queue, seed: int) -> None:
    traffic = Traffic(queue, seed)
    for _ in range(120):
        traffic.step()
    assert {0, 3, 4, 5} >= set(traffic.results) >= {0, 3}
