"""The tests of the tests: each deliberate mistake in a script is noticed.

The scenarios of the script tests notice every one, in the same way at each run;
the random histories are shown to have eyes of their own.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterable, Iterator
from types import ModuleType

import pytest
from redis import Redis

from floodgate.broker.scripts import SCRIPTS
from floodgate.run.embedded_server import EmbeddedServer
from tests.engine.queueing import LEASE_MS, WORKER, Queue
from tests.engine.scripts import (
    test_admission,
    test_classes,
    test_dead,
    test_detached,
    test_estimated_wait,
    test_figures,
    test_gateways,
    test_holders,
    test_idempotency,
    test_idempotency_ends,
    test_leases,
    test_parked,
    test_reap,
    test_refusals,
    test_repair,
    test_running,
    test_runs,
    test_stranded,
    test_streams,
    test_tenants,
    test_turns,
)
from tests.engine.scripts.mutation import Mutation
from tests.engine.scripts.mutations import MUTATIONS
from tests.engine.scripts.mutations_noticed import FIRST
from tests.engine.scripts.test_property import QUICK, check

_NUMBERS = itertools.count()
MODULES = {
    "admission": test_admission,
    "estimated wait": test_estimated_wait,
    "refusals": test_refusals,
    "classes": test_classes,
    "tenants": test_tenants,
    "turns": test_turns,
    "runs": test_runs,
    "statistics": test_figures,
    "detached": test_detached,
    "running": test_running,
    "parked": test_parked,
    "stranded": test_stranded,
    "gateways": test_gateways,
    "dead": test_dead,
    "leases": test_leases,
    "holders": test_holders,
    "idempotency": test_idempotency,
    "idempotency ends": test_idempotency_ends,
    "streams": test_streams,
    "reap": test_reap,
    "repair": test_repair,
}
ALSO_BY_HISTORIES = (
    "never above the limit within a batch", "what is leased waits no more", "a tenant gives back", "a result is kept",
    "a dead worker's run ends", "what may not run is parked",
)  # fmt: skip
"""Those that random histories notice as well, not only the fixed scenarios."""
LATER = ("what expired is not run", "a cancelled run gets no reply", "what waits for nobody is not started")
"""The same, after more histories."""
EACH = [
    pytest.param(module, mutation, id=mutation.promise.replace(" ", "-"))
    for module, mutations in MUTATIONS.items()
    for mutation in mutations
]


@pytest.fixture(scope="module")
def own() -> Iterator[EmbeddedServer]:
    """A server of its own, since the machine flushes it."""
    with EmbeddedServer() as server:
        yield server


@pytest.fixture
def client(own: EmbeddedServer) -> Iterator[Redis]:
    with contextlib.closing(Redis.from_url(own.url)) as client:
        yield client


@pytest.mark.parametrize(("module", "mutation"), EACH)
def test_a_mistake_in_a_script_is_noticed(client: Redis, module: str, mutation: Mutation) -> None:
    Queue(client, "compiles", mutation.edits).load(SCRIPTS["admit" if mutation.script == "*" else mutation.script])
    assert notice(client, mutation, (MODULES[module],))


@pytest.mark.parametrize(
    "promise",
    [*ALSO_BY_HISTORIES, *(pytest.param(promise, marks=pytest.mark.slow) for promise in LATER)],
    ids=lambda promise: promise.replace(" ", "-"),
)
def test_random_histories_notice_it_too(own: EmbeddedServer, promise: str) -> None:
    (mutation,) = (m for mutations in MUTATIONS.values() for m in mutations if m.promise == promise)
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the machine trips over
        check(own.url, mutation.edits, QUICK)


def test_without_a_mistake_every_scenario_passes(client: Redis) -> None:
    assert not notice(client, Mutation("none", "admit", "local", "local"), MODULES.values())


def notice(client: Redis, mutation: Mutation, modules: Iterable[ModuleType]) -> bool:
    """Tell whether a scenario of these modules fails with the mistake."""
    first = FIRST.get(mutation.promise)
    for scenario, reaped in sorted(_scenarios(modules), key=lambda each: each[0].__name__ != first):
        queue = Queue(client, f"mutant{next(_NUMBERS)}", mutation.edits)
        try:
            queue.declare()
            queue.register()
            if reaped:
                queue.pass_time(LEASE_MS + 1000, alive=[WORKER])
            scenario(queue)
        except Exception:  # an assertion, or an error of the script: noticed
            return True
    return False


def _scenarios(modules: Iterable[ModuleType]) -> Iterator[tuple[Callable[[Queue], None], bool]]:
    for module in modules:
        for name, function in inspect.getmembers(module, inspect.isfunction):
            parameters = list(inspect.signature(function).parameters)
            if name.startswith("test_") and parameters in (["queue"], ["reaped"]):
                yield function, parameters == ["reaped"]
