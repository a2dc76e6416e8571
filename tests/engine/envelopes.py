"""Tasks and reports as gateways and workers send them, with names short enough for tests.

Owns the names and times that the tests of the queue share. No I/O.
"""

from __future__ import annotations

from floodgate.broker import commands as calls
from floodgate.broker.envelopes import Task, pack_task
from floodgate.broker.keys import flow_of

START_MS = 1_790_000_000_000
ROUTE = "0123456789ab"
POOL = "c0ffee:a"
LANE = f"{POOL}:0"
WORKER = "w1.a.10"
BUDGET_MS = 10_000


def route_of(task_id: str) -> str:
    return task_id.partition(".")[0]


def task_id(name: str, route: str = ROUTE) -> str:
    return f"{route}.{name}"


def lease(name: str, serial: int = 1, consumer: str = WORKER, route: str = ROUTE) -> str:
    return f"{consumer}#{serial}#{task_id(name, route)}"


def admission(
    now_ms: int,
    name: str,
    *,
    route: str = ROUTE,
    lane: str = LANE,
    budget_ms: int = BUDGET_MS,
    left_ms: int | None = None,
    tries: int = 1,
    weight: int = 8,
    share: int = 1000,
    tenant: str = "",
    async_response: bool = False,
    body: bytes = b"",
    inbox: str = "box",
) -> calls.AdmitRequest:
    """Return a request as a gateway asks for it; `left_ms` of its budget are left."""
    id, flow = task_id(name, route), flow_of(route, weight, tenant, async_response)
    deadline = now_ms + (budget_ms if left_ms is None else left_ms)
    task = Task(
        deadline_ms=deadline,
        route=route,
        lane=lane,
        inbox=f"=60={inbox}" if async_response else inbox,
        attempts=tries,
        flow=flow,
        weight=weight,
        budget_ms=budget_ms,
        request_id="r",
        body=body,
    )
    return calls.AdmitRequest(
        calls.AdmissionClass(route, lane, flow, weight, share, budget_ms), id, deadline, pack_task(task)
    )


def completion(
    lease: str,
    *,
    run_ms: int = 100,
    in_time: bool = True,
    sample: bool = True,
    failed: bool = False,
    streamed: bool = False,
    budget_ms: int = BUDGET_MS,
    lane: str = LANE,
    flow: str | None = None,
    inbox: str | None = None,
) -> calls.Completion:
    """Return a worker's report on one run; of a detached flow it goes to the result as well."""
    id = lease.rpartition("#")[2]
    flow = flow_of(route_of(id), 8) if flow is None else flow
    if inbox is None:
        inbox = "=60=box" if flow.endswith("|~") else "box"
    reply = b"done " + id.encode()
    return calls.Completion(
        lease, id, route_of(id), lane, flow, inbox, budget_ms, run_ms, in_time, sample, reply, failed, streamed
    )
