"""What a gateway counts of a request: every outcome somewhere, once, under labels that no client chooses."""

from __future__ import annotations

import asyncio
import random

import pytest

from floodgate.broker.envelopes import TaskOutcome, TaskReply
from floodgate.declare.checks import build_registry
from floodgate.declare.registry import Handler, declared_in
from floodgate.gateway import metrics
from floodgate.gateway.idempotency import Joined, Replayed
from floodgate.gateway.metrics import ENDED, OFFERED, OTHER, REFUSED, RESPONSES, TOTAL_SECONDS, GatewayMetrics
from floodgate.gateway.middleware import RequestRecord
from floodgate.gateway.outcomes import Failure, Outcome
from floodgate.operations.metrics import Metric, Snapshot
from shared import queued

TEMPLATE = "/items/{item_id}"
DONE = Outcome(reply=TaskReply("id", TaskOutcome.DONE, 200, wait_ms=20, run_ms=300))
ANSWERS = [DONE, Outcome(accepted="id"), Joined(), Replayed(), *(Outcome(failure=failure) for failure in Failure)]


async def handler(item_id: str) -> None: ...


@pytest.fixture(scope="module")
def one() -> Handler:
    before = len(declared_in(__name__))
    queued(TEMPLATE, 1)(handler)
    return build_registry(declared_in(__name__)[before:], timeout_s=10).handlers[0]


@pytest.fixture
def counts(one: Handler) -> GatewayMetrics:
    registry = build_registry(declared_in(__name__), timeout_s=10)
    return GatewayMetrics(registry, None, lambda: True, lambda: None)


def total(snapshot: Snapshot, metric: Metric, *labels: str) -> float:
    """Add up a metric's series that have these label values among theirs; of a histogram, its count."""
    return sum(
        sum(numbers[:-1]) if metric.kind == "histogram" else numbers[0]
        for values, numbers in snapshot.series[metric.name].items()
        if set(labels) <= set(values)
    )


def collected(counts: GatewayMetrics) -> Snapshot:
    """Return what a scrape would show of one process."""
    return asyncio.run(counts.process.collect())


def names(snapshot: Snapshot) -> set[tuple[str, tuple[str, ...]]]:
    """Return the name and labels of every series."""
    return {(name, labels) for name, series in snapshot.series.items() for labels in series}


def end(
    counts: GatewayMetrics, one: Handler, answer: Outcome | None, *, by_memory: bool = False, status: int = 200
) -> None:
    record = RequestRecord("id")
    if answer is not None:
        record.note(answer)
    counts.of(one).offered()
    counts.of(one).ended(status, record.outcome, by_memory, record.wait_ms, record.run_ms, 0.5)


@pytest.mark.parametrize("by_memory", [False, True])
def test_whatever_becomes_of_a_request_it_is_refused_or_ended_once(
    counts: GatewayMetrics, one: Handler, by_memory: bool
) -> None:
    for answer in [*ANSWERS, None]:
        end(counts, one, answer, by_memory=by_memory)
    snapshot = collected(counts)
    refused, ended = total(snapshot, REFUSED), total(snapshot, ENDED)
    assert refused == len(metrics.REFUSALS)
    assert refused + ended == total(snapshot, OFFERED) == len(ANSWERS) + 1
    assert total(snapshot, REFUSED, "memory" if by_memory else "queue") == refused
    assert {numbers[0] for numbers in snapshot.series[ENDED.name].values()} == {1}


def test_a_call_of_a_plain_route_is_counted_like_a_request(counts: GatewayMetrics, one: Handler) -> None:
    for answer in ANSWERS:
        counts.of(one).offered()
        record = RequestRecord("id")
        record.note(answer)
        counts.of(one).settled(record.outcome, False, record.wait_ms, record.run_ms)
    snapshot = collected(counts)
    assert total(snapshot, REFUSED) + total(snapshot, ENDED) == total(snapshot, OFFERED) == len(ANSWERS)
    assert total(snapshot, RESPONSES) == 0
    assert total(snapshot, metrics.WAIT_SECONDS) == total(snapshot, metrics.RUN_SECONDS) == 1


def test_times_are_in_seconds_and_refusals_are_apart(counts: GatewayMetrics, one: Handler) -> None:
    end(counts, one, DONE)
    end(counts, one, Outcome(failure=Failure.FULL), status=503)
    end(counts, one, Outcome(failure=Failure.CLIENT_LEFT), status=499)
    end(counts, one, None, status=422)
    snapshot = collected(counts)
    labels = ("GET", TEMPLATE)
    assert snapshot.numbers(metrics.WAIT_SECONDS, *labels)[-1] == pytest.approx(0.02)
    assert snapshot.numbers(metrics.RUN_SECONDS, *labels)[-1] == pytest.approx(0.3)
    for answer in ("answered", "refused"):
        *buckets, seconds = snapshot.numbers(TOTAL_SECONDS, *labels, answer)
        assert sum(buckets) == 1
        assert seconds == pytest.approx(0.5)
        assert buckets[TOTAL_SECONDS.bounds.index(0.5)] == 1


@pytest.mark.parametrize(
    ("status", "label"),
    [
        (200, "2xx"),
        (304, "3xx"),
        (499, "4xx"),
        (504, "5xx"),
        (0, "none"),
        (100, "none"),
        (799, "none"),
        (9999, "none"),
    ],
)
def test_every_status_has_a_class(counts: GatewayMetrics, one: Handler, status: int, label: str) -> None:
    end(counts, one, DONE, status=status)
    counts.other(status)
    snapshot = collected(counts)
    assert total(snapshot, RESPONSES, label) == total(snapshot, RESPONSES) == 2
    assert total(snapshot, RESPONSES, OTHER, label) == 1


def test_the_number_of_series_does_not_depend_on_who_asks(counts: GatewayMetrics, one: Handler) -> None:
    before = names(collected(counts))
    for _ in range(200):
        outcome = random.choice(ANSWERS).outcome
        counts.of(one).ended(random.randrange(1000), outcome, False, 20, 300, random.random())
        counts.other(random.randrange(1000))
    after = names(collected(counts))
    assert after == before
    assert {value for _, labels in after for value in labels if value.startswith("/")} == {TEMPLATE}
