"""The client that people may copy: when it asks again, and when it does not."""

from __future__ import annotations

import asyncio
import random
import time
from collections.abc import Awaitable, Callable, Mapping
from dataclasses import dataclass, field
from datetime import UTC, datetime, timedelta
from email.utils import format_datetime

import pytest

from benchmarks.patient_client import PatientClient, RetryBudget, retry_after_s


@dataclass(frozen=True, slots=True)
class Outcome:
    status_code: int
    headers: Mapping[str, str] = field(default_factory=dict)


REFUSED = Outcome(503, {"retry-after": "0"})
OK = Outcome(200)


def sending(*outcomes: Outcome | Exception) -> tuple[Callable[[], Awaitable[Outcome]], list[float]]:
    """Return what sends, with these outcomes in turn, and the moments at which it was called."""
    calls: list[float] = []

    async def send() -> Outcome:
        outcome = outcomes[len(calls)]
        calls.append(time.monotonic())
        if isinstance(outcome, Exception):
            raise outcome
        return outcome

    return send, calls


async def test_an_answer_is_returned_at_once() -> None:
    send, calls = sending(OK)
    assert await PatientClient().ask(send) is OK
    assert len(calls) == 1


async def test_a_refusal_is_asked_again() -> None:
    send, _ = sending(REFUSED, Outcome(429, {"retry-after": "0"}), OK)
    assert await PatientClient().ask(send, idempotent=False) is OK


async def test_it_gives_up_after_its_retries_and_returns_the_last_refusal() -> None:
    send, calls = sending(*[REFUSED] * 4)
    assert await PatientClient(retries=3).ask(send) is REFUSED
    assert len(calls) == 4


async def test_it_never_asks_sooner_than_it_was_told() -> None:
    send, calls = sending(Outcome(503, {"retry-after": "1"}), OK)
    await PatientClient().ask(send)
    assert 1.0 <= calls[1] - calls[0] < 1.3


def test_clients_that_were_told_the_same_come_at_different_moments() -> None:
    waits = {PatientClient(chance=random.Random(seed)).wait_s(0, "10") for seed in range(20)}
    assert len(waits) == 20
    assert all(10 <= wait_s <= 11 for wait_s in waits)


def test_its_own_back_off_doubles_and_is_bounded() -> None:
    client = PatientClient(chance=random.Random(1))
    assert all(client.wait_s(0, None) <= 0.5 for _ in range(100))
    assert max(client.wait_s(3, None) for _ in range(100)) > 2
    assert all(client.wait_s(50, None) <= 30 for _ in range(100))


async def test_an_uncertain_outcome_is_asked_again_only_where_that_is_harmless() -> None:
    lost = Outcome(502)
    send, _ = sending(lost, OK)
    assert await PatientClient(chance=random.Random(1)).ask(send) is OK
    send, _ = sending(lost, OK)
    assert await PatientClient().ask(send, idempotent=False) is lost


async def test_an_error_of_the_transport_is_asked_again_only_where_that_is_harmless() -> None:
    send, _ = sending(ConnectionResetError(), OK)
    assert await PatientClient(chance=random.Random(1)).ask(send) is OK
    send, _ = sending(ConnectionResetError(), OK)
    with pytest.raises(ConnectionResetError):
        await PatientClient().ask(send, idempotent=False)


async def test_a_mistake_of_the_client_is_not_asked_again() -> None:
    send, calls = sending(Outcome(422))
    assert (await PatientClient().ask(send)).status_code == 422
    assert len(calls) == 1


async def test_it_does_not_wait_longer_than_its_caller_would() -> None:
    send, calls = sending(Outcome(503, {"retry-after": "60"}))
    assert (await PatientClient(most_wait_s=30).ask(send)).status_code == 503
    assert len(calls) == 1


async def test_when_everything_is_refused_retries_are_a_tenth_of_the_requests() -> None:
    client, calls = PatientClient(budget=RetryBudget(share=0.1, reserve=5)), 0

    async def send() -> Outcome:
        nonlocal calls
        calls += 1
        return REFUSED

    async with asyncio.TaskGroup() as group:
        for _ in range(1000):
            group.create_task(client.ask(send))
    assert 1000 < calls <= 1000 + 5 + 100


async def test_a_budget_fills_up_again_but_not_beyond_its_reserve() -> None:
    budget = RetryBudget(share=0.5, reserve=2)
    assert [budget.spend(), budget.spend(), budget.spend()] == [True, True, False]
    for _ in range(100):
        budget.earn()
    assert [budget.spend(), budget.spend(), budget.spend()] == [True, True, False]


def test_retry_after_may_be_seconds_or_a_date() -> None:
    assert retry_after_s("7") == 7
    at = datetime.now(UTC) + timedelta(seconds=30)
    told = retry_after_s(format_datetime(at, usegmt=True))
    assert told is not None
    assert 28 < told <= 30
    assert retry_after_s("soon") is None
    assert retry_after_s("Sun, 06 Nov 1994 08:49:37 GMT") == 0
