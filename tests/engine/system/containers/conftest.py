"""One system in containers for all tests here: up from nothing before the first, down after the last."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator

import pytest

from tests.engine.system.containers.stack import GATEWAYS, WORKERS, Stack, copied, missing
from tests.engine.system.system import until


@pytest.fixture(scope="package")
def started(tmp_path_factory: pytest.TempPathFactory) -> Iterator[Stack]:
    """`make up` in a fresh copy: no `.venv`, no `.env`, no container, no data."""
    if (lack := missing()) is not None:
        pytest.skip(lack)
    stack = copied(tmp_path_factory.mktemp("containers") / "project")
    stack.compose(
        "--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "2"
    )  # of a test that was killed
    try:
        yield dataclasses.replace(stack, said=stack.make("up"))
    finally:
        stack.compose("--profile", "*", "down", "--volumes", "--remove-orphans", "--timeout", "5")


@pytest.fixture
def stack(started: Stack) -> Stack:
    """The system, whole: what a test took away or broke is there again."""
    if not started.is_whole():
        started.compose(
            *("up", "--detach", "--no-build", "--no-recreate", "--wait", "--wait-timeout", "60"),
            *("--scale", f"gateway={GATEWAYS}", "--scale", f"worker={WORKERS}"),
        )
    until(lambda: started.status("/trial") == 200, 10)  # the balancer has found them too
    return started
