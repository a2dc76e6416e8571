"""emit, acknowledge: parts of a streamed answer, and how far its client is."""

from __future__ import annotations

from typing import Any

from floodgate.broker import stream_commands as streams
from floodgate.broker.cancellation import CancelCode
from floodgate.broker.stream_commands import EmitCode
from tests.engine.queueing import BUDGET_MS, LEASE_MS, ROUTE, WORKER, Queue, lease, task_id

HOUR_MS = 3_600_000
W2 = "w2.a.4"


def emission(
    queue: Queue, name: str = "1", *, first: bool = True, chunk: bytes | None = None, head_ms: int = 100
) -> streams.Emission:
    """Return a part of a task that is held since its first claim; the whole stream may take an hour."""
    id = task_id(name)
    data = b"done " + id.encode() if chunk is None else chunk
    return streams.Emission(lease(name), id, ROUTE, "box", queue.now_ms + HOUR_MS if first else 0, head_ms, data)


def emit(queue: Queue, *emissions: streams.Emission) -> list[tuple[EmitCode, int]]:
    return [(r.code, r.acknowledged) for r in queue.send(streams.emit(queue.keys, emissions)).results]


def codes(queue: Queue, *emissions: streams.Emission) -> list[EmitCode]:
    return [code for code, _ in emit(queue, *emissions)]


def running(queue: Queue, *names: str, **task: Any) -> None:
    queue.admit(*names, **task)
    queue.claim()


def test_parts_arrive_in_their_order_while_the_run_goes_on(queue: Queue) -> None:
    running(queue, "1", "2")
    assert codes(queue, emission(queue, "1"), emission(queue, "2")) == [EmitCode.HELD] * 2
    assert codes(queue, emission(queue, "2", first=False)) == [EmitCode.HELD]
    assert queue.replies() == [(task_id(name), "done") for name in ("1", "2", "2")]
    assert queue.slots() == {task_id("1"), task_id("2")}


def test_a_run_whose_lease_is_gone_writes_nothing(queue: Queue) -> None:
    running(queue, "1", tries=2)
    queue.register(W2)
    queue.pass_time(LEASE_MS + 1000, alive=[W2])
    assert queue.waiting() == [task_id("1")]
    before = queue.snapshot()
    assert codes(queue, emission(queue)) == [EmitCode.GONE]
    assert queue.snapshot() == before


def test_nothing_follows_the_end(queue: Queue) -> None:
    running(queue, "1")
    codes(queue, emission(queue))
    queue.complete(lease("1"))
    assert codes(queue, emission(queue, first=False)) == [EmitCode.GONE]
    assert len(queue.replies()) == 2


def test_after_the_first_part_the_stream_s_end_is_the_deadline(queue: Queue) -> None:
    running(queue, "1", tenant="t")
    codes(queue, emission(queue))
    queue.pass_time(2 * BUDGET_MS, alive=[WORKER], leases=[lease("1")])
    assert queue.running() == {lease("1")}
    found: Any = queue.client.zscore(queue.keys.slots(ROUTE), task_id("1"))
    inflight: Any = queue.client.zscore(queue.keys.of("tenant_inflight", f"{ROUTE}|t"), task_id("1"))
    assert found == inflight == queue.now_ms - 2 * BUDGET_MS + HOUR_MS
    blob: Any = queue.client.hget(queue.keys.of("tasks"), task_id("1"))
    assert int(blob[:13]) == found


def test_after_the_first_part_nobody_runs_it_again(queue: Queue) -> None:
    running(queue, "1", tries=2)
    codes(queue, emission(queue))
    queue.register(W2)
    queue.pass_time(3 * LEASE_MS, alive=[W2])
    assert queue.replies() == [(task_id("1"), "done"), (task_id("1"), "lost")]
    assert queue.slots() == queue.tasks() == set()


def test_one_that_has_not_begun_is_run_again(queue: Queue) -> None:
    running(queue, "1", tries=2)
    assert codes(queue, emission(queue, first=False, chunk=b"")) == [EmitCode.HELD]
    queue.register(W2)
    queue.pass_time(LEASE_MS + 1000, alive=[W2])
    assert queue.waiting() == [task_id("1")]


def test_it_may_be_repeated(queue: Queue) -> None:
    running(queue, "1")
    first = emission(queue)
    assert codes(queue, first) == codes(queue, first) == [EmitCode.HELD]
    assert queue.client.hget(queue.keys.of("attempts"), task_id("1")) == b"1"


def test_what_nobody_waits_for_is_told_to_stop_and_stays_cancelled(queue: Queue) -> None:
    running(queue, "1")
    assert queue.cancel(task_id("1")) == [CancelCode.NOTIFIED]
    assert codes(queue, emission(queue)) == [EmitCode.UNWANTED]
    assert queue.replies() == []
    assert queue.client.hget(queue.keys.of("attempts"), task_id("1")) == b"x"


def test_a_stream_of_a_gateway_that_is_gone_is_told_to_stop(queue: Queue) -> None:
    running(queue, "1")
    queue.pass_time(2000, alive=[WORKER], leases=[lease("1")], gateways=["box"])
    assert codes(queue, emission(queue)) == [EmitCode.HELD]
    queue.pass_time(2 * LEASE_MS, alive=[WORKER], leases=[lease("1")])
    assert codes(queue, emission(queue, first=False)) == [EmitCode.UNWANTED]


def test_a_task_that_is_lost_begins_no_stream(queue: Queue) -> None:
    running(queue, "1")
    queue.client.hdel(queue.keys.of("tasks"), task_id("1"))
    assert codes(queue, emission(queue)) == [EmitCode.GONE]
    assert queue.replies() == []
    queue.complete(lease("1"))


def test_who_asks_hears_how_much_is_taken(queue: Queue) -> None:
    running(queue, "1", "2")
    queue.send(streams.acknowledge(queue.keys, "box", {task_id("1"): 300, task_id("2"): 7}))
    asks = [emission(queue, name, first=False, chunk=b"") for name in ("1", "2")]
    assert emit(queue, *asks) == [(EmitCode.HELD, 300), (EmitCode.HELD, 7)]
    assert queue.replies() == []


def test_a_stream_that_has_ended_is_forgotten_and_the_rest_within_a_minute(queue: Queue) -> None:
    running(queue, "1", "2")
    queue.send(streams.acknowledge(queue.keys, "box", {task_id("1"): 300, task_id("2"): 7}))
    queue.send(streams.acknowledge(queue.keys, "box", {task_id("2"): 9}, [task_id("1")]))
    asks = [emission(queue, name, first=False, chunk=b"") for name in ("1", "2")]
    assert [taken for _, taken in emit(queue, *asks)] == [0, 9]
    assert 0 < queue.client.ttl(queue.keys.of("acknowledged", "box")) <= 60


def test_thousands_of_streams_are_acknowledged_in_one_call(queue: Queue) -> None:
    ids = [task_id(str(n)) for n in range(3000)]
    queue.send(streams.acknowledge(queue.keys, "box", {id: n + 1 for n, id in enumerate(ids)}))
    assert queue.client.hget(queue.keys.of("acknowledged", "box"), ids[-1]) == b"3000"
    queue.send(streams.acknowledge(queue.keys, "box", {}, ids))
    assert queue.client.exists(queue.keys.of("acknowledged", "box")) == 0


def test_the_time_to_the_head_and_that_of_holding_a_place_are_measured_apart(queue: Queue) -> None:
    running(queue, "1", "2")
    codes(queue, emission(queue, "1", head_ms=100), emission(queue, "2", head_ms=300))
    assert queue.statistics()["head_ms"] == 200
    assert "mean_ms" not in queue.statistics()
    queue.complete(lease("1"), run_ms=4000, streamed=True)
    assert queue.statistics()["mean_ms"] == 4000
    assert queue.statistics()["head_ms"] == 200


def test_a_repeated_head_is_measured_once(queue: Queue) -> None:
    running(queue, "1", "2")
    first = emission(queue, "1", head_ms=100)
    codes(queue, first)
    codes(queue, first, emission(queue, "2", head_ms=300))
    assert queue.statistics()["head_ms"] == 200


def test_a_stream_whose_client_left_says_how_long_places_are_held(queue: Queue) -> None:
    running(queue, "1")
    codes(queue, emission(queue))
    queue.cancel(task_id("1"))
    queue.complete(lease("1"), run_ms=4000, sample=False, streamed=True)
    assert queue.statistics()["mean_ms"] == 4000


def test_who_waits_for_a_place_that_is_held_long_waits_for_its_head_only(queue: Queue) -> None:
    """Ten places are held for 20 s each, so one comes free every 2 s; the head alone has to be in time."""
    queue.declare(100, started_ms=queue.now_ms)
    queue.measured(head_ms=100, mean_ms=20_000, samples=20)
    assert queue.admitted(10, budget_ms=10_000) == 10
    queue.claim(free=10)
    queue.pass_time(18_000, alive=[WORKER], leases=[lease(str(n)) for n in range(10)])
    assert queue.admitted(10, first=10, budget_ms=10_000) == 1


def test_nobody_waits_while_no_stream_should_end(queue: Queue) -> None:
    queue.declare(100, started_ms=queue.now_ms)
    queue.measured(head_ms=100, mean_ms=20_000, samples=20)
    assert queue.admitted(10, budget_ms=10_000) == 10
    queue.claim(free=10)
    queue.pass_time(10_000, alive=[WORKER], leases=[lease(str(n)) for n in range(10)])
    assert queue.admitted(10, first=10, budget_ms=10_000) == 0


def test_before_a_stream_has_ended_nobody_waits_for_a_place(queue: Queue) -> None:
    queue.declare(100, started_ms=queue.now_ms)
    assert queue.admitted(10, budget_ms=2000) == 10
    queue.claim(free=10)
    codes(queue, *(emission(queue, str(n)) for n in range(10)))
    queue.pass_time(60_000, alive=[WORKER], leases=[lease(str(n)) for n in range(10)])
    assert queue.admitted(10, first=10, budget_ms=2000) == 0


def test_a_place_that_is_free_is_given_while_the_marker_lies_there(queue: Queue) -> None:
    queue.declare(100, started_ms=queue.now_ms)
    queue.measured(head_ms=100, mean_ms=20_000, samples=20)
    assert queue.admitted(1, budget_ms=10_000) == 1
    assert queue.marker() == 1  # the consumer has not come for it yet
    assert queue.admitted(12, first=1, budget_ms=10_000) == 9


def test_so_it_is_before_any_stream_has_ended_and_then_only_for_what_is_free(queue: Queue) -> None:
    queue.declare(100, started_ms=queue.now_ms)
    running(queue, "0", budget_ms=10_000)
    codes(queue, emission(queue, "0"))
    assert queue.admitted(1, first=1, budget_ms=10_000) == 1
    assert queue.admitted(12, first=2, budget_ms=10_000) == 8


def test_the_workers_that_had_it_before_stay_noted(queue: Queue) -> None:
    running(queue, "1", tries=2)
    queue.release(lease("1"), started=True)
    queue.claim(2)
    id = task_id("1")
    part = streams.Emission(lease("1", 2), id, ROUTE, "box", queue.now_ms + HOUR_MS, 100, b"done " + id.encode())
    noted: Any = queue.client.hget(queue.keys.of("attempts"), id)
    assert codes(queue, part) == [EmitCode.HELD]
    assert queue.client.hget(queue.keys.of("attempts"), id) == b"2" + noted[1:]
