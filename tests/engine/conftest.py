"""What every test may ask for: a real server and a namespace of its own on it.

A test that uses `namespace` leaves no key behind that nobody owns: the check
runs after it.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import inspect
import os
import sys
import uuid
from collections.abc import Awaitable, Callable, Generator, Iterator, Mapping
from pathlib import Path
from typing import Any

import httpx
import pytest
import uvloop
from redis import Redis

from floodgate.broker.keys import Keys
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.leaks import leaks
from tests.engine.queueing import Queue

# What makes a request of httpx dear, and that no test needs: httpcore looks twice per request through the whole path
# for a module that is not installed, and every client, so every `httpx.get`, reads all certificates of the system.
sys.modules.setdefault("sniffio", None)  # type: ignore[arg-type]
httpx._transports.default.create_ssl_context = functools.cache(httpx.create_ssl_context)  # type: ignore[attr-defined]

DEBIAN = Path("/usr/bin/redis-server")
EARLIER_S = 2.0
"""Before the time of pytest-timeout, which ends the whole run where it cannot end a test."""


LONGEST_FIRST = (
    "test_edge_processes test_dev test_redis_away test_mutations test_serving test_property test_whole test_crashes "
    "test_health test_long_tasks test_edge_garbage test_edge_values test_answers test_roll test_readme test_loads"
)
_RANK = {name: rank for rank, name in enumerate(LONGEST_FIRST.split())}


@pytest.hookimpl
def pytest_asyncio_loop_factories(item: pytest.Item) -> Mapping[str, Callable[[], asyncio.AbstractEventLoop]]:
    """Run what meets Redis on the loop that serves: it treats lost connections, and timers, in ways of its own."""
    # Once, after a failover, uvloop's own `close` waited for ever for a connection to a Sentinel; nothing can end that.
    plain = not {"unit", "faults"}.isdisjoint(item.path.parts)
    return {"loop": asyncio.new_event_loop if plain else uvloop.new_event_loop}


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Put the longest files first, so that none is left alone at the end, and bound every test that is a coroutine.

    Pytest-timeout's signal does not reach one that waits in uvloop.
    """
    items.sort(key=lambda item: _RANK.get(item.path.stem, len(_RANK)))
    for item in items:
        if isinstance(item, pytest.Function) and inspect.iscoroutinefunction(item.obj):
            marker = item.get_closest_marker("timeout")
            limit_s = float(marker.args[0] if marker else item.config.getini("timeout")) - EARLIER_S
            item.obj = _bounded(item.obj, limit_s)


def _bounded(test: Callable[..., Awaitable[None]], limit_s: float) -> Callable[..., Awaitable[None]]:
    @functools.wraps(test)
    async def bounded(*args: Any, **kwargs: Any) -> None:
        async with asyncio.timeout(limit_s):
            await test(*args, **kwargs)

    return bounded


@pytest.fixture
def namespace(request: pytest.FixtureRequest, server: EmbeddedServer) -> Iterator[str]:
    """A namespace nobody else uses; after the test every key in it has an owner or a time to live.

    A test that puts garbage there on purpose is marked `leaves_garbage`.
    """
    name = f"t{uuid.uuid4().hex[:12]}"
    yield name
    with contextlib.closing(Redis.from_url(server.url)) as client:
        keys = Keys(name)
        found = [] if request.node.get_closest_marker("leaves_garbage") else leaks(client, keys)
        client.unlink("", *client.scan_iter(match=f"{keys.prefix}*", count=1000))
    assert found == []


@pytest.fixture
def own_server() -> Iterator[EmbeddedServer]:
    """A server that nobody else uses: it may be killed, frozen and emptied."""
    with EmbeddedServer() as running:
        yield running


@pytest.hookimpl(wrapper=True)
def pytest_runtest_makereport(
    item: pytest.Item, call: pytest.CallInfo[None]
) -> Generator[None, pytest.TestReport, pytest.TestReport]:
    """Where every program was installed on purpose, a skipped test is a test that nobody ran."""
    report = yield
    if os.environ.get("CI") == "true" and report.skipped and not hasattr(report, "wasxfail"):
        report.outcome = "failed"
        report.longrepr = f"{item.nodeid}: skipped, which CI=true does not allow: {call.excinfo and call.excinfo.value}"
    return report


@pytest.fixture(scope="session")
def debian() -> Iterator[EmbeddedServer]:
    """Debian's server; the tests that ask for it are marked `redis_server`."""
    if not DEBIAN.exists():
        pytest.skip("needs Debian's redis-server")
    with EmbeddedServer(binary=DEBIAN) as server:
        yield server


@pytest.fixture(params=["server", pytest.param("debian", marks=pytest.mark.redis_server)])
def queue(request: pytest.FixtureRequest, namespace: str) -> Iterator[Queue]:
    """A queue with one route of limit 3, one lane and one registered worker of 10 places."""
    server: EmbeddedServer = request.getfixturevalue(request.param)
    with contextlib.closing(Redis.from_url(server.url)) as client:
        queue = Queue(client, namespace)
        queue.declare()
        queue.register()
        yield queue
        if not request.node.get_closest_marker("leaves_garbage"):
            assert leaks(client, queue.keys) == []
