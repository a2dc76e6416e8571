"""The client of the overload runs that asks again: when, and how often."""

from __future__ import annotations

import math
import random
from typing import Any

import pytest

from benchmarks.arrivals import Request
from benchmarks.load_run import LoadRun, wait_s


class Answers:
    """Gives these statuses in turn, each to be asked again at once."""

    def __init__(self, *statuses: int) -> None:
        self.statuses = list(statuses)

    async def ask(self, request: Request) -> Request:
        request.status, request.retry_after_s = self.statuses.pop(0), 0.0
        return request


@pytest.mark.parametrize(
    ("statuses", "last"),
    [((200,), 200), ((503, 429, 200), 200), ((502, 0, 200), 200), ((422,), 422), ((503,) * 4, 503)],
)
async def test_what_is_refused_or_uncertain_is_asked_again_as_often_as_it_may(
    statuses: tuple[int, ...], last: int
) -> None:
    answers: Any = Answers(*statuses)
    system: Any = None
    run, first = LoadRun(system, answers, seed=1), Request(7, 0.0, "/gate")
    ended = await run.ask_patiently(first, 3, random.Random(1))
    assert (ended.status, answers.statuses) == (last, [])
    assert [(again.number, again.attempt) for again in run.requests] == [(7, n) for n in range(1, len(statuses))]


def test_nobody_comes_sooner_than_it_was_told_and_those_told_the_same_at_different_moments() -> None:
    waits = {wait_s(0, 10.0, random.Random(seed)) for seed in range(20)}
    assert len(waits) == 20
    assert all(10 <= each <= 11 for each in waits)


def test_its_own_back_off_doubles_and_is_bounded() -> None:
    chance = random.Random(1)
    for attempt, most in ((0, 0.5), (3, 4.0), (50, 30.0)):
        waits = [wait_s(attempt, math.nan, chance) for _ in range(100)]
        assert most / 2 < max(waits) <= most
