"""docs/sizing.md: its example follows from its own rules, and its declarations are ones."""

from __future__ import annotations

import math
import re
import sys
from pathlib import Path
from types import ModuleType

import pytest

from floodgate.declare.checks import build_registry
from floodgate.declare.registry import Handler, declared_in
from floodgate.operations.settings import Settings

ROOT = Path(__file__).parents[3]
TEXT = (ROOT / "docs/sizing.md").read_text()
SERVICE_S, CONNECTIONS, TIMEOUT_S, WORKERS = 0.05, 32, 2, 4
QUEUE_MS, PEAK_PER_S, BUSY = 0.96, 500, 0.7


@pytest.fixture(scope="module")
def handlers() -> dict[str, Handler]:
    """What the page declares, sealed as at the start of an app."""
    found: dict[str, Handler] = {}
    with pytest.MonkeyPatch.context() as patch:
        for number, block in enumerate(re.findall(r"^```python\n(.*?)^```$", TEXT, re.MULTILINE | re.DOTALL)):
            module = ModuleType(f"sizing_{number}")
            patch.setitem(sys.modules, module.__name__, module)
            exec(compile(block, f"{module.__name__}.py", "exec"), module.__dict__)
            registry = build_registry(declared_in(module.__name__), Settings().timeout_s)
            found |= {handler.path: handler for handler in registry.handlers}
    return found


def test_the_example_is_what_the_rules_come_to(handlers: dict[str, Handler]) -> None:
    report = handlers["/report"]
    limit = CONNECTIONS + CONNECTIONS / SERVICE_S * (TIMEOUT_S - SERVICE_S) / 3
    assert (report.admission.max_running, report.timeout_s) == (CONNECTIONS, TIMEOUT_S)
    assert report.max_concurrency == math.ceil(limit / 10) * 10
    assert f"= {limit:.0f}, so {report.max_concurrency}" in TEXT
    places = math.ceil(CONNECTIONS / (WORKERS - 1))
    assert f"`FLOODGATE_WORKER_CONCURRENCY={places}`" in TEXT
    assert f"{places} per worker, {places * WORKERS} in all" in TEXT
    assert f"= {PEAK_PER_S * QUEUE_MS / 1000 / BUSY:.1f} of a processor" in TEXT


def test_the_defaults_that_it_names_are_those_of_the_settings() -> None:
    settings = Settings()
    assert f"`FLOODGATE_WORKER_CONCURRENCY` {settings.worker_concurrency}, " in TEXT
    assert f"`FLOODGATE_WORKER_THREADS` {settings.worker_threads}, " in TEXT


def test_every_route_of_it_has_time_to_end_when_a_worker_leaves(handlers: dict[str, Handler]) -> None:
    assert handlers["/yearly-report"].levels == (5,)
    assert max(handler.timeout_s for handler in handlers.values()) < Settings().drain_s


def test_the_fleet_that_it_names_is_in_the_compose_file() -> None:
    composed = (ROOT / "docker-compose.yml").read_text()
    assert "worker-light:" in composed
    assert "FLOODGATE_WORKER_MAX_LEVEL: 1" in composed
