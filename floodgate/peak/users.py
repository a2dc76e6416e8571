"""The users that locust runs: they keep a pace, a shape says how many of them ask, each request leaves a row.

Owns all that knows locust. The locustfile makes the classes from here and the
scenarios into what locust finds; how many users there are stands in the plan of
`make peak`, and without one locust's own options decide. All users of a shape start
at once and stay: locust would adjust their number once a second, in batches.
"""

from __future__ import annotations

import ctypes
import functools
import itertools
import json
import math
import os
import signal
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from contextlib import AbstractContextManager
from pathlib import Path
from typing import Any, Protocol

import gevent
from geventhttpclient.client import HTTPClientPool
from locust import FastHttpUser, LoadTestShape, constant_throughput, events
from locust.contrib.fasthttp import FAILURE_EXCEPTIONS
from locust.runners import WorkerRunner

from floodgate.peak.openapi import Operation, fetch
from floodgate.peak.plan import DOCUMENT, PARENT, VARIABLE, Plan
from floodgate.peak.records import Asked, Row, Writer, note_asked, read_asked
from floodgate.peak.traffic import Task, askable, task_of

PLAN_FILE = Path(os.environ[VARIABLE]) if os.environ.get(VARIABLE) else None
"""None when locust was started by hand: then no rows are kept."""
PLAN = Plan.read(PLAN_FILE) if PLAN_FILE else None
PERIOD_S = PLAN.period_s if PLAN else 1.0
GRACE_S = 10.0
"""Beyond the slowest answer that was reckoned with: then a request has failed."""
GOLDEN = (5**0.5 - 1) / 2
"""Multiples of it fill a circle evenly at every count: the users' turns are spread over the period."""
MOST_OPEN = 100_000
FLUSH_S = 0.5
AT_ONCE = 100_000
"""Users per second that start."""
LOOK_S = 0.01
OVER = ("stopping", "stopped", "cleanup")
REFUSED = (429, 503)

rows = Writer(PLAN_FILE.parent) if PLAN_FILE else None
numbers = itertools.count()
keep_pace = constant_throughput(1 / PERIOD_S)


PR_SET_PDEATHSIG = 1

if PLAN_FILE and sys.platform == "linux" and os.environ.get(PARENT) == str(os.getppid()):
    # Linux ends locust when `make peak` is gone, however that ended.
    ctypes.CDLL(None).prctl(PR_SET_PDEATHSIG, signal.SIGTERM)


class Scenarios(Protocol):
    """The module `loadtest.scenarios`."""

    HEADERS: Mapping[str, str]

    def tasks(self, operations: Sequence[Operation], /) -> Mapping[Operation | Task, int]: ...


class PeakUser(FastHttpUser):
    """Asks once in a period, at a turn of its own. All share their connections: a server closes what is idle."""

    abstract = True
    scenarios: Any
    """A module like `Scenarios`; the locustfile sets it."""
    client_pool = HTTPClientPool(
        concurrency=MOST_OPEN, insecure=True, connection_timeout=GRACE_S, network_timeout=PERIOD_S + GRACE_S
    )

    def __init__(self, environment: Any) -> None:
        super().__init__(environment)
        self._number = next(numbers)
        self._first_s: float | None = self._number * GOLDEN % 1 * PERIOD_S
        self._due_s: float | None = None

    def on_start(self) -> None:
        self.wait()  # type: ignore[no-untyped-call, unused-ignore]

    def wait_time(self) -> float:
        """Returns how long it is until the next turn: the first within a period, then one in each."""
        if self._first_s is not None:
            wait_s, self._first_s = self._first_s, None
            self._cp_last_run, self._cp_last_wait_time = time.perf_counter(), wait_s
        else:
            wait_s = keep_pace(self)
        self._due_s = time.time() + wait_s
        return wait_s

    def takes_turn(self) -> bool:
        """Tells whether this user is one of those that ask now."""
        if PLAN is None or not PLAN.shape:
            return True
        return self._number * PLAN.processes < PLAN.users_at(time.time() - started_s())

    def context(self) -> dict[str, Any]:
        """Tells the first request of a turn when it was due; locust asks before each."""
        due_s, self._due_s = self._due_s, None
        return {"due_s": due_s}

    def ask(
        self,
        method: str,
        path: str,
        *,
        route: str = "",
        json: Any = None,
        body: Any = None,
        headers: Mapping[str, str | list[str]] | None = None,
    ) -> Any:
        """Sends a request, see `traffic.Client`. On locust's page a refusal is no failure, under a name of its own."""
        label = route or f"{method} {path}"
        asking: AbstractContextManager[Any] = self.client.request(
            method,
            path,
            name=label.removeprefix(f"{method} "),
            data=body,
            json=json,
            headers={**self.scenarios.HEADERS, **(headers or {})},
            allow_redirects=False,
            catch_response=True,
            stream=True,  # else locust would read it to its end, and when it began would be lost
            context={"route": label},
        )
        with asking as answer:
            if not _read(answer):
                return answer
            if answer.status_code in REFUSED and "retry-after" in answer.headers:
                answer.request_meta["name"] += " (refused)"
                answer.success()
            elif answer.status_code >= 400:
                answer.failure(f"status {answer.status_code}")
        return answer


def _read(answer: Any) -> bool:
    """Reads an answer, notes when the first byte of one in chunks came; tells whether it came to its end."""
    meta = answer.request_meta
    try:
        if answer.headers and "transfer-encoding" in answer.headers and "content-encoding" not in answer.headers:
            first = answer.read(1)
            meta["context"] = {**meta["context"], "first_s": time.time() if first else None}
            answer._cached_content = first + answer.read()
        meta["response_length"] = len(answer.content or b"")
    except FAILURE_EXCEPTIONS as error:
        answer.failure(error)
        return False
    finally:
        meta["response_time"] = (time.time() - meta["start_time"]) * 1000
    return True


class _Shape(LoadTestShape):
    """All users, until the run is over."""

    def tick(self) -> tuple[int, int] | None:
        assert PLAN is not None
        return None if time.time() >= started_s() + PLAN.seconds else (PLAN.most_users, AT_ONCE)


def shape() -> type[LoadTestShape] | None:
    """Returns the shape of the plan for the locustfile; None, which locust ignores, where there is none."""
    return _Shape if PLAN and PLAN.shape else None


@events.init.add_listener
def _plan_tasks(environment: Any, **_: Any) -> None:
    """Gives the users their tasks, from the document that `make peak` fetched, or from the host."""
    document = json.loads((PLAN_FILE.parent / DOCUMENT).read_text()) if PLAN_FILE else fetch(environment.host)
    operations = askable(document)[0]
    for user in environment.user_classes:
        weighted: Mapping[Operation | Task, int] = user.scenarios.tasks(operations)
        user.tasks = [
            task
            for each, weight in weighted.items()
            for task in [_turn(task_of(each, document) if isinstance(each, Operation) else each)] * weight
        ]


def _turn(task: Task) -> Callable[[PeakUser], None]:
    def take(user: PeakUser) -> None:
        if user.takes_turn():
            task(user)

    return take


@functools.cache
def _start_s() -> float:
    assert PLAN_FILE is not None
    return read_asked(PLAN_FILE.parent)[0].at_s


def started_s() -> float:
    """Returns when the run began, on all its processes; infinite before."""
    try:
        return _start_s()
    except IndexError:
        return math.inf


@events.request.add_listener
def _note(
    request_type: str,
    name: str,
    response_time: float,
    response: Any,
    exception: Exception | None,
    context: Mapping[str, Any],
    start_time: float,
    **_: Any,
) -> None:
    """Keeps a row of every request, whichever way it was sent."""
    if rows is None:
        return
    due_s, status = context.get("due_s"), getattr(response, "status_code", 0) or 0
    if isinstance(exception, FAILURE_EXCEPTIONS):  # its head came, its end did not: half is no answer
        status = 0
    rows.add(
        Row(
            due_s=start_time if due_s is None else due_s,
            sent_s=start_time,
            done_s=start_time + response_time / 1000,
            route=context.get("route") or f"{request_type} {name}",
            status=status,
            paced=due_s is not None,
            retry_after=status in REFUSED and "retry-after" in response.headers,
            error="" if status else f"{type(exception).__name__}: {exception}",
            first_s=context.get("first_s"),
        )
    )


@events.user_error.add_listener
def _note_mistake(exception: Exception, **_: Any) -> None:
    """Keeps a row of a scenario that failed in itself, so that nobody overlooks it."""
    if rows is not None:
        now_s = time.time()
        rows.add(Row(now_s, now_s, now_s, "a scenario", 0, False, False, f"{type(exception).__name__}: {exception}"))


@events.test_start.add_listener
def _begin(environment: Any, **_: Any) -> None:
    """Lets rows be read while the run goes on; without a shape it begins here."""
    if PLAN_FILE and PLAN:
        gevent.spawn(_flush)
        if not PLAN.shape:
            _follow(environment)


@events.init.add_listener
def _begin_shape_when_all_are_there(environment: Any, **_: Any) -> None:
    """Begins the shape once all its users are there: starting thousands takes a moment."""

    def begin(**_: Any) -> None:
        if PLAN and PLAN.shape and math.isinf(started_s()):
            _follow(environment)

    environment.events.spawning_complete.add_listener(begin)


def _follow(environment: Any) -> None:
    """Writes down from now on how many users are to ask; where there are several processes, the first one does."""
    if PLAN_FILE and not isinstance(environment.runner, WorkerRunner):
        gevent.spawn(_note_users, environment.runner, PLAN_FILE.parent)


@events.test_stopping.add_listener
def _note_end(environment: Any, **_: Any) -> None:
    if PLAN_FILE and not isinstance(environment.runner, WorkerRunner):
        asked = read_asked(PLAN_FILE.parent)
        if asked and asked[-1].users:
            note_asked(PLAN_FILE.parent, Asked(time.time(), 0))


@events.quit.add_listener
def _close(**_: Any) -> None:
    if rows is not None:
        rows.close()


def _flush() -> None:
    while rows is not None:
        rows.flush()
        gevent.sleep(FLUSH_S)


def _note_users(runner: Any, directory: Path) -> None:
    start_s, users = time.time(), -1
    while runner.state not in OVER:
        now_s = time.time()
        wanted = PLAN.users_at(now_s - start_s) if PLAN and PLAN.shape else runner.user_count
        if wanted != users:
            users = wanted
            note_asked(directory, Asked(now_s, users))
        gevent.sleep(LOOK_S)
