"""The balancer's configuration in Debian's haproxy, before toy gateways: what it asks again, closes and refuses."""

from __future__ import annotations

import asyncio
import os
import re
import shutil
import subprocess
import time
from collections import Counter
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from pathlib import Path

import httpx
import pytest

from tests.engine.system.system import free_ports

ROOT = Path(__file__).parents[3]
CONFIGURATION = ROOT / "deploy/haproxy/haproxy.cfg"
START_S = 5

pytestmark = pytest.mark.haproxy


PAUSE_S = 0.9


@dataclass(slots=True)
class Toy:
    """A gateway that notes what it is asked, and does what the path says."""

    ready: bool = True
    heads: list[str] = field(default_factory=list)
    writers: set[asyncio.StreamWriter] = field(default_factory=set)

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        self.writers.add(writer)
        try:
            while True:
                head = (await reader.readuntil(b"\r\n\r\n")).decode()
                await self._answer(head, writer)
        except (asyncio.IncompleteReadError, OSError):
            pass
        finally:
            self.writers.discard(writer)
            writer.close()

    def asked(self, method: str) -> int:
        return sum(head.startswith(f"{method} ") for head in self.heads)

    async def _answer(self, head: str, writer: asyncio.StreamWriter) -> None:
        path = head.split()[1]
        if path == "/-/ready":
            status = 200 if self.ready else 503
        else:
            self.heads.append(head)
            status = 503 if path == "/refused" else 200
        if path == "/stream":
            await self._stream(writer)
            return
        if path == "/cut":
            writer.transport.abort()
            raise ConnectionAbortedError
        writer.write(f"HTTP/1.1 {status} X\r\nContent-Length: 2\r\n\r\nok".encode())

    async def _stream(self, writer: asyncio.StreamWriter) -> None:
        """Send three parts with pauses that are shorter than `SILENCE_S`, and together longer; then break off."""
        writer.write(b"HTTP/1.1 200 X\r\nTransfer-Encoding: chunked\r\n\r\n")
        for _ in range(3):
            writer.write(b"5\r\npart\n\r\n")
            await asyncio.sleep(PAUSE_S)
        writer.close()


@dataclass(frozen=True, slots=True)
class Balancer:
    """The running balancer and what stands behind it."""

    port: int
    ops_port: int
    health_port: int
    toys: tuple[Toy, Toy]
    servers: tuple[asyncio.Server, asyncio.Server]

    def asked(self, method: str) -> int:
        return sum(toy.asked(method) for toy in self.toys)

    async def ask(self, method: str, path: str, **headers: str) -> httpx.Response:
        """Ask once, over a connection of its own."""
        async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{self.port}", timeout=10) as client:
            return await client.request(method, path, headers={n.replace("_", "-"): v for n, v in headers.items()})

    async def serves(self) -> bool:
        async with httpx.AsyncClient() as client:
            try:
                return (await client.get(f"http://127.0.0.1:{self.health_port}/")).status_code == 200
            except httpx.TransportError:
                return False


NO_PATHS = "acl repeatable always_false"


@pytest.fixture
async def balancer(request: pytest.FixtureRequest, tmp_path: Path) -> AsyncIterator[Balancer]:
    """The configuration as it is, but for the ports, for where the gateways are found, and for a test's own paths."""
    program = shutil.which("haproxy", path=f"{os.environ['PATH']}:/usr/sbin")
    if program is None:
        pytest.skip("needs haproxy (Debian: apt install haproxy)")
    toys = Toy(), Toy()
    servers = [await asyncio.start_server(toy.serve, "127.0.0.1", 0) for toy in toys]
    ports = free_ports(3)
    path = tmp_path / "haproxy.cfg"
    text = placed(ports, [server.sockets[0].getsockname()[1] for server in servers])
    assert NO_PATHS in text
    path.write_text(text.replace(NO_PATHS, getattr(request, "param", NO_PATHS)))
    process = subprocess.Popen(
        [program, "-db", "-f", str(path)],
        env={**os.environ, "DRAIN_S": "30", "SILENCE_S": "2"},
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
    )
    running = Balancer(ports[0], ports[1], ports[2], toys, (servers[0], servers[1]))
    try:
        await until_serving(running, True)
        yield running
    finally:
        process.kill()
        process.wait()
        for server in servers:
            server.close()


def placed(ports: list[int], gateways: list[int]) -> str:
    """Return the configuration with our ports, and with servers of known address in place of Docker's DNS."""
    text = CONFIGURATION.read_text()
    for bind, port in zip(("bind :8000", "bind :8001", "bind 127.0.0.1:8002"), ports, strict=True):
        assert bind in text
        text = text.replace(bind, f"bind 127.0.0.1:{port}")
    servers = "".join(f"    server gw{n} 127.0.0.1:{port} check\n" for n, port in enumerate(gateways))
    text, found = re.subn(r"^    server-template .*\n", servers, text, flags=re.MULTILINE)
    assert found == 1
    return text


async def until_serving(balancer: Balancer, serving: bool) -> float:
    start_s = time.monotonic()
    while await balancer.serves() is not serving:
        assert time.monotonic() - start_s < START_S
        await asyncio.sleep(0.05)
    return time.monotonic() - start_s


async def test_get_and_head_are_asked_again_when_the_answer_was_cut(balancer: Balancer) -> None:
    for method in ("GET", "HEAD"):
        assert (await balancer.ask(method, "/cut")).status_code == 502
        assert balancer.asked(method) == 4, "once, and three more times"
        assert all(toy.asked(method) == 2 for toy in balancer.toys), "each time of another"


@pytest.mark.parametrize("method", ["POST", "PUT", "PATCH", "DELETE"])
async def test_nothing_else_is_asked_again_once_it_was_sent(balancer: Balancer, method: str) -> None:
    lost = await balancer.ask(method, "/cut", x_request_id="mine")
    assert balancer.asked(method) == 1
    assert (lost.status_code, lost.headers["content-type"]) == (502, "application/problem+json")
    assert lost.json()["request_id"] == lost.headers["x-request-id"] == "mine"


async def test_by_default_no_key_makes_a_post_repeatable(balancer: Balancer) -> None:
    assert (await balancer.ask("POST", "/cut", idempotency_key="k")).status_code == 502
    assert balancer.asked("POST") == 1


@pytest.mark.parametrize("balancer", ["acl repeatable path /cut\n    acl repeatable path /orders"], indirect=True)
async def test_a_post_with_a_key_is_asked_again_on_the_paths_that_are_named(balancer: Balancer) -> None:
    for method, headers, times in (("POST", {"idempotency_key": "k"}, 4), ("POST", {}, 5), ("PATCH", {}, 1)):
        assert (await balancer.ask(method, "/cut", **headers)).status_code == 502
        assert balancer.asked(method) == times


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_a_refusal_is_an_answer(balancer: Balancer, method: str) -> None:
    assert (await balancer.ask(method, "/refused")).status_code == 503
    assert balancer.asked(method) == 1


@pytest.mark.parametrize("method", ["GET", "POST"])
async def test_when_nobody_was_reached_another_is_asked(balancer: Balancer, method: str) -> None:
    balancer.servers[0].close()
    for _ in range(4):
        assert (await balancer.ask(method, "/")).status_code == 200
    assert (balancer.toys[0].asked(method), balancer.toys[1].asked(method)) == (0, 4)


async def test_who_is_not_ready_gets_nothing_and_a_second_suffices_to_notice(balancer: Balancer) -> None:
    for toy in balancer.toys:
        toy.ready = False
    assert await until_serving(balancer, False) < 1.3
    refused = await balancer.ask("GET", "/", x_request_id="mine")
    assert (refused.status_code, refused.headers["retry-after"]) == (503, "1")
    assert refused.json()["request_id"] == "mine"
    assert balancer.asked("GET") == 0
    balancer.toys[1].ready = True
    await until_serving(balancer, True)
    assert (await balancer.ask("GET", "/")).status_code == 200
    assert balancer.toys[1].asked("GET") == 1


async def test_a_gateway_that_closes_its_connections_when_it_has_left_cuts_no_post(balancer: Balancer) -> None:
    (shutdown_delay_s,) = re.findall(r"SHUTDOWN_DELAY_S:-(\d+)", (ROOT / "docker-compose.yml").read_text())
    asked: Counter[int] = Counter()
    url, ended = f"http://127.0.0.1:{balancer.port}", asyncio.Event()

    async def ask_on() -> None:
        async with httpx.AsyncClient(base_url=url) as client:
            while not ended.is_set():
                asked[(await client.post("/")).status_code] += 1

    async with asyncio.TaskGroup() as group:
        for _ in range(8):
            group.create_task(ask_on())
        await asyncio.sleep(0.3)
        leaving = balancer.toys[0]
        leaving.ready = False
        await asyncio.sleep(float(shutdown_delay_s) / 2)
        before = leaving.asked("POST")
        await asyncio.sleep(float(shutdown_delay_s) / 2)
        balancer.servers[0].close()
        for writer in list(leaving.writers):
            writer.transport.abort()
        await asyncio.sleep(0.3)
        ended.set()
    assert set(asked) == {200}
    assert 0 < before == leaving.asked("POST"), "it had the second half of its time for itself"


@pytest.mark.parametrize("path", ["/-/", "/-/ready", "/-/metrics", "/%2d/ready", "/%2D/x", "/-%2Fready", "/%2f%2d/"])
async def test_engine_paths_are_not_there_for_the_public(balancer: Balancer, path: str) -> None:
    closed = await balancer.ask("GET", path)
    assert closed.status_code == (200 if path == "/%2f%2d/" else 404)  # two slashes: no engine path
    assert balancer.asked("GET") == (path == "/%2f%2d/")


async def test_operators_reach_engine_paths_and_nothing_else(balancer: Balancer) -> None:
    async with httpx.AsyncClient(base_url=f"http://127.0.0.1:{balancer.ops_port}") as client:
        assert (await client.get("/-/metrics")).status_code == 200
        assert [(await client.get(path)).status_code for path in ("/", "/docs", "/x/-/")] == [404] * 3
    assert balancer.asked("GET") == 1


async def test_who_asks_is_said_by_the_balancer_alone(balancer: Balancer) -> None:
    await balancer.ask("GET", "/", x_forwarded_for="8.8.8.8", forwarded="for=8.8.8.8", x_forwarded_proto="https")
    (head,) = [head.lower() for toy in balancer.toys for head in toy.heads]
    assert re.findall(r"^x-forwarded-for: (.*)\r$", head, re.MULTILINE) == ["127.0.0.1"]
    assert re.findall(r"^x-forwarded-proto: (.*)\r$", head, re.MULTILINE) == ["http"]
    assert "\r\nforwarded:" not in head


async def test_every_request_has_an_id_and_a_good_one_of_the_client_stays(balancer: Balancer) -> None:
    for given in ("mine.1_2-3", "not good", "x" * 65):
        await balancer.ask("GET", "/", x_request_id=given)
    ids = [
        re.findall(r"^x-request-id: (.*)\r$", head.lower(), re.MULTILINE) for toy in balancer.toys for head in toy.heads
    ]
    assert sorted(len(found) for found in ids) == [1, 1, 1]
    assert sum(found == ["mine.1_2-3"] for found in ids) == 1
    assert sum(bool(re.fullmatch(r"[0-9a-f-]{36}", found[0])) for found in ids) == 2


async def test_a_stream_passes_as_it_comes_for_as_long_as_it_is_not_silent_and_breaks_off_as_such(
    balancer: Balancer,
) -> None:
    began_s, came_s = time.monotonic(), []
    url = f"http://127.0.0.1:{balancer.port}/stream"
    async with httpx.AsyncClient(timeout=10) as client, client.stream("GET", url) as answer:
        parts = answer.aiter_raw()
        for _ in range(3):
            assert await anext(parts) == b"part\n"
            came_s.append(time.monotonic() - began_s)
        with pytest.raises(httpx.RemoteProtocolError):
            await anext(parts)
    assert came_s[0] < PAUSE_S
    assert came_s[-1] >= 2 * PAUSE_S - 0.05
