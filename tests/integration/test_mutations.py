"""The tests of the tests: each deliberate mistake in a script makes a scenario or the random histories fail.

Owns the mistakes. A text that is no longer in its script fails too: renew it
with the script.
"""

from __future__ import annotations

import contextlib
import inspect
import itertools
from collections.abc import Callable, Iterator
from dataclasses import dataclass

import pytest
from redis import Redis

from deploy.embedded import EmbeddedServer
from shared.queue.scripts import SCRIPTS
from tests.integration import test_scripts_admission, test_scripts_reap, test_scripts_runs
from tests.integration.test_property import QUICK, check
from tests.queueing import LEASE_MS, WORKER, Queue

_NUMBERS = itertools.count()


@dataclass(frozen=True, slots=True)
class Mutation:
    """In `script`, `old` becomes `new`; `promise` is what breaks."""

    promise: str
    script: str
    old: str
    new: str

    @property
    def edits(self) -> tuple[tuple[str, str, str], ...]:
        return ((self.script, self.old, self.new),)


MUTATIONS = (
    Mutation("a ghost admit does nothing", "admit", "now > tonumber(ARGV[1])", "false"),
    Mutation("never above the limit", "admit", "f.used >= f.limit", "f.used > f.limit"),
    Mutation("never above the limit within a batch", "admit", "f.used = f.used + 1", "f.used = f.used"),
    Mutation("nothing without a worker", "admit", "not live[lane]", "false"),
    Mutation("an admission lays the baton", "admit", "lay()\nend\nreturn", "end\nreturn"),
    Mutation("turns by start tag", "admit", "tag + math.max(1, f.mean) / weight", "tag"),
    Mutation("a ghost claim takes nothing", "claim", "now <= tonumber(ARGV[1])", "true"),
    Mutation("only the registered claim", "claim", "if not serving then", "if false then"),
    Mutation("what expired is not run", "claim", "t.deadline <= now", "false"),
    Mutation("a claim that leaves work lays the baton", "claim", "end\nlay()\nout[3]", "end\nout[3]"),
    Mutation("virtual time moves", "claim", "string.format('%.17g', virtual)", "0"),
    Mutation("a gone lease changes nothing", "complete", "if held == 1 then", "if true then"),
    Mutation("a cancelled run gets no reply", "complete", "finish(id, route) and wanted", "finish(id, route)"),
    Mutation("a task ends with its slot", "complete", "call('HDEL', P .. 'tasks', id)", ""),
    Mutation("a late run counts whole", "complete", "if ARGV[i + 6] ~= '1' then", "if false then"),
    Mutation("a gone lease is told", "renew", "if not call('ZSCORE', running, lease) then", "if false then"),
    Mutation("places follow", "renew", "if changed == 1 then count_places", "if false then count_places"),
    Mutation("a started run is a try", "release", "ARGV[i + 3] == '1'", "false"),
    Mutation("no more starts than tries", "release", "used >= t.tries", "used > t.tries"),
    Mutation("what goes back wakes somebody", "release", "touched[t.lane] = true", ""),
    Mutation("a claim unheard of is uncounted", "join", "(tonumber(serial) or 0) <= last", "true"),
    Mutation("a lost completion is a try", "join", "(tonumber(serial) or 0) <= last", "false"),
    Mutation("known leases stay", "join", "and not known[lease]", ""),
    Mutation("a dead worker's run ends", "reap", "giveback(id, true, now)", "giveback(id, false, now)"),
    Mutation("mercy", "reap", "if now >= mercy then", "if true then"),
    Mutation("an overrun keeps its slot", "reap", "if held[id] then", "if false then"),
    Mutation("a lost baton is laid again", "reap", "touched[lane] = true", ""),
    Mutation("a told worker stops", "cancel", "call('HSET', P .. 'marks', id, 'x')", ""),
    Mutation("the newest start decides", "declare", "started >= version", "true"),
)


@pytest.fixture(scope="module")
def own() -> Iterator[EmbeddedServer]:
    """A server of its own, since the machine flushes it."""
    with EmbeddedServer() as server:
        yield server


@pytest.mark.parametrize("mutation", MUTATIONS, ids=lambda m: m.promise.replace(" ", "-"))
def test_a_mistake_in_a_script_is_noticed(own: EmbeddedServer, mutation: Mutation) -> None:
    with contextlib.closing(Redis.from_url(own.url)) as client:
        Queue(client, "compiles", mutation.edits).load(SCRIPTS[mutation.script])
        if _scenarios_fail(client, mutation):
            return
    with pytest.raises(Exception):  # noqa: B017, PT011 - whatever the machine trips over
        check(own.url, mutation.edits, QUICK)


def test_without_a_mistake_every_scenario_passes(own: EmbeddedServer) -> None:
    with contextlib.closing(Redis.from_url(own.url)) as client:
        assert not _scenarios_fail(client, Mutation("none", "admit", "local", "local"))


def _scenarios_fail(client: Redis, mutation: Mutation) -> bool:
    for scenario, reaped in _scenarios():
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


def _scenarios() -> Iterator[tuple[Callable[[Queue], None], bool]]:
    for module in (test_scripts_admission, test_scripts_runs, test_scripts_reap):
        for name, function in inspect.getmembers(module, inspect.isfunction):
            parameters = list(inspect.signature(function).parameters)
            if name.startswith("test_") and parameters in (["queue"], ["reaped"]):
                yield function, parameters == ["reaped"]
