"""Random histories against the model, on every server at hand: whatever happens, the invariants hold."""

from __future__ import annotations

import contextlib
from pathlib import Path
from typing import Any

import pytest
from hypothesis import HealthCheck, Phase, seed, settings
from hypothesis.internal.conjecture import providers
from hypothesis.internal.constants_ast import Constants
from hypothesis.stateful import run_state_machine_as_test
from redis import Redis

from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.scripts.machine import QueueMachine

DEBIAN = Path("/usr/bin/redis-server")
RANDOM = settings(
    stateful_step_count=60,
    deadline=None,
    database=None,
    derandomize=True,
    print_blob=False,
    phases=[Phase.generate],  # add Phase.shrink to look for the shortest history: minutes
    suppress_health_check=list(HealthCheck),
)

SEED = 0
"""Of the histories, with a mistake and without."""


def check(url: str, edits: tuple[tuple[str, str, str], ...] = (), chosen: settings = RANDOM) -> None:
    """Run the machine on the server at `url`, which must be nobody else's: it is flushed."""
    with contextlib.closing(Redis.from_url(url)) as client, pytest.MonkeyPatch.context() as patch:
        # Hypothesis also draws numbers that stand in whatever is imported: then each set of tests had other histories.
        patch.setattr(providers, "_get_local_constants", Constants)
        providers.CONSTANTS_CACHE.cache.clear()
        machine = type("Machine", (QueueMachine,), {"client": client, "edits": edits})
        run_state_machine_as_test(seed(SEED)(machine), settings=chosen)
        providers.CONSTANTS_CACHE.cache.clear()


@pytest.mark.timeout(240)
@pytest.mark.parametrize(
    ("server", "histories"),
    [
        pytest.param({}, 100, id="few"),
        pytest.param({}, 400, id="many", marks=pytest.mark.slow),
        pytest.param({"cluster": True}, 200, id="a cluster of one node", marks=pytest.mark.slow),
        pytest.param(
            {"binary": DEBIAN},
            200,
            id="Redis",
            marks=[
                pytest.mark.redis_server,
                pytest.mark.skipif(not DEBIAN.exists(), reason="needs Debian's redis-server"),
            ],
        ),
    ],
)
def test_random_histories_keep_every_promise(server: dict[str, Any], histories: int) -> None:
    with EmbeddedServer(**server) as running:
        check(running.url, chosen=settings(RANDOM, max_examples=histories))


QUICK = settings(RANDOM, max_examples=160)
"""For the deliberate mistakes, which show soon."""
