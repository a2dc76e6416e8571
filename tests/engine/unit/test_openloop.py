"""The open-loop generator, against a tiny server of the test's own."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import math
import statistics
import time
from collections.abc import AsyncIterator, Awaitable, Callable
from dataclasses import dataclass, field

from benchmarks.arrivals import Request, Stream, arrivals
from benchmarks.openloop import Generator, generator

Answering = Callable[[str, asyncio.StreamWriter], Awaitable[None]]
OK = b"HTTP/1.1 200 OK\r\nContent-Length: 4\r\n\r\ntrue"
REFUSAL = (
    b"HTTP/1.1 503 Service Unavailable\r\nretry-after: 7\r\ncontent-type: application/problem+json\r\n"
    b'content-length: 34\r\n\r\n{"title":"Too busy","status": 503}'
)
PATIENCE_S = 2.0


@dataclass(slots=True)
class Server:
    """What a server saw: paths and request ids in order, and how many connections."""

    port: int = 0
    connections: int = 0
    hung_up: int = 0
    paths: list[str] = field(default_factory=list)
    ids: list[str] = field(default_factory=list)


@contextlib.asynccontextmanager
async def serving(answer: Answering) -> AsyncIterator[Server]:
    """Serve HTTP/1.1 as far as a test needs it; `answer` writes the bytes."""
    seen = Server()

    async def talk(reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        seen.connections += 1
        with contextlib.suppress(asyncio.IncompleteReadError, ConnectionError):
            while True:
                lines = (await reader.readuntil(b"\r\n\r\n")).decode().split("\r\n")
                seen.paths.append(lines[0].split()[1])
                seen.ids += [line.partition(": ")[2] for line in lines if line.startswith("X-Request-ID")]
                await answer(lines[0].split()[1], writer)
        seen.hung_up += 1
        writer.close()

    server = await asyncio.start_server(talk, "127.0.0.1", 0)
    seen.port = server.sockets[0].getsockname()[1]
    try:
        yield seen
    finally:
        server.close()
        await asyncio.sleep(0.02)  # the handlers of closed connections end


@contextlib.asynccontextmanager
async def load_on(answer: Answering, patience_s: float = PATIENCE_S) -> AsyncIterator[tuple[Generator, Server]]:
    async with serving(answer) as server, generator("127.0.0.1", server.port, patience_s) as opened:
        yield opened, server


async def at_once(_: str, writer: asyncio.StreamWriter) -> None:
    writer.write(OK)


async def never(_: str, writer: asyncio.StreamWriter) -> None:
    pass


def at(*moments_s: float) -> list[Request]:
    return [Request(number, at_s, "/") for number, at_s in enumerate(moments_s)]


async def run(opened: Generator, requests: list[Request]) -> None:
    await opened.run(requests, time.monotonic())


def test_equal_seeds_give_equal_arrivals_and_others_do_not() -> None:
    streams = [Stream("load", "/", 50, 0, 10), Stream("probe", "/noop", 5, 0, 10)]
    times = [request.at_s for request in arrivals(streams, 1)]
    assert times == [request.at_s for request in arrivals(streams, 1)]
    assert times != [request.at_s for request in arrivals(streams, 2)]


def test_arrivals_are_poisson_in_order_of_time_and_within_their_stream() -> None:
    requests = arrivals([Stream("load", "/", 200, 5, 100)], 1)
    times = [request.at_s for request in requests]
    gaps = [after - before for before, after in itertools.pairwise(times)]
    assert times == sorted(times)
    assert 5 <= times[0] < times[-1] < 105
    assert abs(len(times) / 100 - 200) < 5
    assert abs(statistics.stdev(gaps) / statistics.fmean(gaps) - 1) < 0.05  # exponential: deviation equals mean


def test_requests_are_numbered_on_from_where_the_last_load_ended() -> None:
    assert [request.number for request in arrivals([Stream("load", "/", 10, 0, 1)], 1, 40)][:2] == [40, 41]


def test_the_given_share_of_clients_leaves_within_the_given_time() -> None:
    requests = arrivals([Stream("load", "/", 100, 0, 100, leaving=0.3, leave_within_s=0.5)], 1)
    leaving = [request.leave_after_s for request in requests if request.leave_after_s is not None]
    assert abs(len(leaving) / len(requests) - 0.3) < 0.02
    assert all(0 <= after_s <= 0.5 for after_s in leaving)


async def test_every_request_is_sent_once_with_its_id_and_answered() -> None:
    async with load_on(at_once) as (opened, server):
        requests = arrivals([Stream("load", "/here", 400, 0, 0.5)], 1)
        await run(opened, requests)
    assert [request.status for request in requests] == [200] * len(requests)
    assert sorted(server.ids) == sorted(request.id for request in requests)
    assert set(server.paths) == {"/here"}
    assert opened.strays == []


async def test_an_idle_connection_is_used_again() -> None:
    async with load_on(at_once) as (opened, server):
        await run(opened, at(0, 0.05, 0.1, 0.15))
        assert server.connections == 1


async def test_requests_leave_when_they_are_due_although_none_is_answered() -> None:
    async with load_on(never, patience_s=0.4) as (opened, server):
        requests = at(0, 0.05, 0.1, 0.15)
        await run(opened, requests)
    assert server.connections == 4
    assert max(request.sent_s - request.intended_s for request in requests) < 0.04


async def test_latency_counts_from_the_intended_time_when_the_generator_is_late() -> None:
    async with load_on(at_once) as (opened, _):
        requests = at(0, 0.01)
        asyncio.get_running_loop().call_later(0.005, time.sleep, 0.2)  # the generator itself stalls
        await run(opened, requests)
    assert requests[1].lag_s > 0.15
    assert requests[1].latency_s > requests[1].lag_s
    assert requests[1].done_s - requests[1].sent_s < 0.1


async def test_an_answer_in_pieces_is_read_whole() -> None:
    async def slowly(_: str, writer: asyncio.StreamWriter) -> None:
        for byte in REFUSAL:
            writer.write(bytes([byte]))
            await asyncio.sleep(0)

    async with load_on(slowly) as (opened, _):
        requests = at(0, 0.05)
        await run(opened, requests)
    assert [(r.status, r.reason, r.retry_after_s) for r in requests] == [(503, "Too busy", 7)] * 2


async def test_the_predicted_wait_is_read_from_its_header() -> None:
    async def predicting(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nX-Predicted-Wait-Ms: 12.5\r\n\r\n"))

    async with load_on(predicting) as (opened, _):
        requests = at(0)
        await run(opened, requests)
    assert requests[0].predicted_ms == 12.5


async def test_without_a_prediction_there_is_none() -> None:
    async with load_on(at_once) as (opened, _):
        requests = at(0)
        await run(opened, requests)
    assert math.isnan(requests[0].predicted_ms)


async def test_a_connection_that_the_server_ends_is_not_used_again() -> None:
    async def last(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(OK.replace(b"\r\n\r\n", b"\r\nConnection: close\r\n\r\n"))
        writer.close()

    async with load_on(last) as (opened, server):
        requests = at(0, 0.05)
        await run(opened, requests)
        assert server.connections == 2
    assert [request.status for request in requests] == [200, 200]


async def test_a_client_whose_patience_ends_hangs_up_unanswered() -> None:
    async with load_on(never, patience_s=0.1) as (opened, server):
        requests = at(0)
        await run(opened, requests)
        await asyncio.sleep(0.05)
        assert server.hung_up == 1
    assert (requests[0].status, requests[0].reason, requests[0].left) == (0, "unanswered", False)
    assert 0.1 <= requests[0].latency_s < 0.2


async def test_a_client_that_leaves_hangs_up_at_its_moment() -> None:
    async with load_on(never) as (opened, server):
        requests = [Request(0, 0, "/", leave_after_s=0.05)]
        await run(opened, requests)
        await asyncio.sleep(0.05)
        assert server.hung_up == 1
    assert requests[0].left
    assert 0.05 <= requests[0].latency_s < 0.15


async def test_a_reset_connection_is_a_request_without_an_answer() -> None:
    async def reset(_: str, writer: asyncio.StreamWriter) -> None:
        writer.transport.abort()

    async with load_on(reset) as (opened, _):
        requests = at(0)
        await run(opened, requests)
    assert requests[0].status == 0
    assert requests[0].reason


async def test_a_server_that_is_not_there_is_a_request_without_an_answer() -> None:
    async with serving(at_once) as server:
        pass
    async with generator("127.0.0.1", server.port, PATIENCE_S) as opened:
        requests = at(0)
        await run(opened, requests)
    assert requests[0].reason.startswith("no connection")


async def test_a_second_answer_to_one_request_is_noticed() -> None:
    async def twice(_: str, writer: asyncio.StreamWriter) -> None:
        writer.write(OK)
        await asyncio.sleep(0.05)
        writer.write(OK)

    async with load_on(twice) as (opened, _):
        await run(opened, at(0))
        await asyncio.sleep(0.15)
        assert opened.strays == ["an answer that nobody asked for"]


async def test_a_client_of_its_own_may_ask_again() -> None:
    async with load_on(at_once) as (opened, server):

        async def again(request: Request) -> None:
            await opened.ask(request)
            await opened.ask(Request(request.number, math.nan, "/", attempt=1))

        await opened.run(at(0, 0.02), time.monotonic(), again)
    assert sorted(server.ids) == ["0.0", "0.1", "1.0", "1.1"]
