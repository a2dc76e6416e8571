"""What the head of a request says about time, class and tenant."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from fastapi import Request

from floodgate.declare.checks import build_registry
from floodgate.declare.registry import declared_in
from floodgate.gateway.request_options import OptionsReader, RequestOptions
from shared import Caller, Head, queued


def options_reader(**declared: Any) -> OptionsReader:
    before = len(declared_in(__name__))
    queued("/x/{n}", 5, timeout_s=10, **declared)(handler)
    (found,) = build_registry(declared_in(__name__)[before:], timeout_s=1).handlers
    return OptionsReader(found)


async def handler(n: int) -> None: ...


def request(**headers: str) -> Request:
    raw = [(name.replace("_", "-").encode(), value.encode()) for name, value in headers.items()]
    scope = {"type": "http", "method": "GET", "path": "/x/7", "path_params": {"n": "7"}, "headers": raw}
    return Request({**scope, "query_string": b"q=1", "server": ("x", 80), "scheme": "http"})


def test_without_anything_a_request_has_the_whole_time_of_its_route() -> None:
    assert options_reader().options(request(), None) == RequestOptions(10_000)


@pytest.mark.parametrize(
    ("prefer", "options"),
    [
        ("wait=3", RequestOptions(3000, False)),
        ("WAIT = 3", RequestOptions(3000, False)),
        ('wait="3"', RequestOptions(3000, False)),
        ("handling=lenient, wait=3", RequestOptions(3000, False)),
        ("wait=30", RequestOptions(10_000)),
        ("wait=0", RequestOptions(10_000)),
        ("wait=-1", RequestOptions(10_000)),
        ("wait=soon", RequestOptions(10_000)),
        ("wait=99999999999999", RequestOptions(10_000)),
        ("respond-async", RequestOptions(10_000)),
        ("await=3, x-wait=3, no wait=3", RequestOptions(10_000)),
        ("handling=lenient; wait=3", RequestOptions(3000, False)),
    ],
)
def test_a_client_may_ask_for_less_time_and_never_for_more(prefer: str, options: RequestOptions) -> None:
    assert options_reader().options(request(prefer=prefer), None) == options


@pytest.mark.parametrize(
    ("prefer", "max_wait_s"),
    [("respond-async", 0), ("Respond-Async, wait=4", 4), ("wait=60, respond-async", 10), ("respond-async; x=1", 0)],
)
def test_a_route_with_an_async_time_answers_without_waiting(prefer: str, max_wait_s: float) -> None:
    options = options_reader(async_timeout_s=60).options(request(prefer=prefer), None)
    assert options == RequestOptions(60_000, True, async_response=True, max_wait_s=max_wait_s)


def test_a_call_does_not_heed_what_the_client_prefers() -> None:
    options = options_reader(async_timeout_s=60).options(
        request(prefer="respond-async, wait=1"), None, honor_prefer=False
    )
    assert options == RequestOptions(10_000)


def test_classes_have_their_weight_and_share() -> None:
    assert options_reader(priority="bulk").options(request(), None) == RequestOptions(10_000, weight=1, share=600)
    critical = options_reader(priority="critical").options(request(), None)
    assert (critical.weight, critical.share, critical.skips_cache) == (64, 1000, True)
    assert not options_reader().options(request(), None).skips_cache


def test_functions_see_the_head_and_who_asks() -> None:
    seen: list[Head] = []

    def tenant(head: Head) -> str | None:
        seen.append(head)
        return head.caller.id if head.caller else None

    found = options_reader(tenant=tenant, priority=lambda head: "bulk" if head.query["q"] == "1" else "critical")
    assert found.options(request(), Caller("ada")) == RequestOptions(10_000, weight=1, share=600, tenant="ada")
    assert found.options(request(), None).tenant == ""
    head = seen[0]
    assert (head.method, head.path, head.path_params) == ("GET", "/x/7", {"n": "7"})


@pytest.mark.parametrize(
    "declared",
    [{"priority": lambda head: "vip"}, {"tenant": lambda head: 7}],
    ids=["priority", "tenant"],
)
def test_a_function_that_returns_something_else_is_an_error(declared: dict[str, Callable[[Head], object]]) -> None:
    with pytest.raises(ValueError, match="function of GET /x"):
        options_reader(**declared).options(request(), None)
