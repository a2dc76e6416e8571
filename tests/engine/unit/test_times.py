"""The order of times when a process leaves: what contradicts it does not start, and says which setting to change."""

from __future__ import annotations

import re
from collections.abc import AsyncIterator

import pytest
from fastapi.sse import EventSourceResponse

from floodgate.declare.checks import build_registry
from floodgate.declare.discovery import check_times
from floodgate.declare.registry import Registry, declared_in
from floodgate.errors import ConfigurationError
from floodgate.operations.settings import Settings
from shared import queued


def registry(*times_s: float, async_timeout_s: float | None = None) -> Registry:
    before = len(declared_in(__name__))
    for number, timeout_s in enumerate(times_s):

        @queued(f"/{number}", 1, timeout_s=timeout_s, async_timeout_s=async_timeout_s)
        async def handler() -> None: ...

    return build_registry(declared_in(__name__)[before:], timeout_s=10)


def test_the_defaults_fit() -> None:
    check_times(Settings(), registry(10, 20))
    check_times(Settings(), registry())


def test_the_longest_handler_is_named_with_its_file_and_the_setting() -> None:
    said = r"test_times\.py:\d+: handler: timeout_s is 31.* set FLOODGATE_DRAIN_S above 31"
    with pytest.raises(ConfigurationError, match=said):
        check_times(Settings(drain_s=20), registry(20, 31, 5))


def test_a_drain_as_long_as_a_handler_is_too_short() -> None:
    with pytest.raises(ConfigurationError, match="FLOODGATE_DRAIN_S"):
        check_times(Settings(drain_s=20), registry(20))
    check_times(Settings(drain_s=20.1), registry(20))


def test_what_nobody_waits_for_may_take_longer() -> None:
    check_times(Settings(drain_s=20), registry(10, async_timeout_s=600))


@pytest.mark.parametrize("grace_s", [30, 38])
def test_a_grace_that_ends_before_gunicorns_is_too_short(grace_s: float) -> None:
    with pytest.raises(ConfigurationError, match="set FLOODGATE_STOP_GRACE_S above 38"):
        check_times(Settings(shutdown_delay_s=3, stop_grace_s=grace_s), registry(10))
    check_times(Settings(shutdown_delay_s=3, stop_grace_s=39), registry(10))


def test_a_stream_that_is_longer_than_the_drain_is_warned_of_by_name(caplog: pytest.LogCaptureFixture) -> None:
    before = len(declared_in(__name__))

    @queued("/long", 1, stream_s=60)
    async def long() -> AsyncIterator[int]:
        yield 1

    @queued("/short", 1, stream_s=30)
    async def short() -> AsyncIterator[int]:
        yield 1

    check_times(Settings(drain_s=30), build_registry(declared_in(__name__)[before:], timeout_s=10))
    (said,) = caplog.messages
    assert re.search(r"test_times\.py:\d+: long: stream_s is 60, .* FLOODGATE_DRAIN_S, 30", said)


def test_what_is_not_served_yet_does_not_start() -> None:
    before = len(declared_in(__name__))

    @queued("/resumable", 1, stream_s=10, resumable=True, response_class=EventSourceResponse)
    async def resumable() -> AsyncIterator[int]:
        yield 1

    with pytest.raises(ConfigurationError, match="resumable=True is not served yet"):
        check_times(Settings(), build_registry(declared_in(__name__)[before:], timeout_s=5))
