"""What grows with a fleet: many routes against one, two workers against one."""

from __future__ import annotations

import contextlib
from collections.abc import Sequence

from loadtest.bench_apps import BARE, Cost, System, app, running
from loadtest.bench_figures import Figure
from loadtest.bench_lab import Lab, dearer

BUSY = 64
ROUTES = 100
PLACES = 16


def routes(lab: Lab) -> list[Figure]:
    """Compare what a request costs with 100 routes, asked in turn, with what it costs with one."""
    few, many = {"BENCH_ROUTES": "1"}, {"BENCH_ROUTES": str(ROUTES)}
    with contextlib.ExitStack() as stack:
        one, hundred = (stack.enter_context(running(lab.server, env)) for env in (few, many))
        bare = [System(lab.server, stack.enter_context(app("gateway", BARE, env)), ()) for env in (few, many)]
        loads = [
            ("1 route", one, ["/route/0"]),
            ("100 routes", hundred, [f"/route/{number}" for number in range(ROUTES)]),
            ("first of 100", hundred, ["/route/0"]),
            ("1 bare route", bare[0], ["/plain/0"]),
            ("100 bare routes", bare[1], [f"/plain/{number}" for number in range(ROUTES)]),
        ]
        costs = _in_turn(lab, loads)
    plain = zip(costs["100 bare routes"], costs["1 bare route"], strict=True)
    return [
        *dearer(f"processor time with {ROUTES} routes asked in turn / 1", costs["100 routes"], costs["1 route"], 1.1),
        Figure("   bare FastAPI", tuple(m.gateway_us / o.gateway_us for m, o in plain)),
        *dearer(f"processor time with {ROUTES} routes, the first asked / 1", costs["first of 100"], costs["1 route"]),
    ]


def _in_turn(lab: Lab, loads: Sequence[tuple[str, System, list[str]]]) -> dict[str, list[Cost]]:
    costs: dict[str, list[Cost]] = {what: [] for what, _, _ in loads}
    for _, system, paths in loads:
        lab.warm(system, paths[0])
    for number in range(lab.rounds):
        turn = number % len(loads)
        for what, system, paths in (*loads[turn:], *loads[:turn]):
            costs[what].append(lab.sample(what, number, system, paths, BUSY).cost)
    return costs


def workers(lab: Lab) -> list[Figure]:
    """Compare the throughput of two workers with that of one, where the handler's time is what limits it."""
    env = {"BENCH_HOLD_S": "0.05", "FLOODGATE_WORKER_CONCURRENCY": str(PLACES)}
    ratios: list[float] = []
    with running(lab.server, env) as one, running(lab.server, env, workers=2) as two:
        lab.warm(one, "/queue-hold")  # a route without a mean run time lets in few, as it has to
        lab.warm(two, "/queue-hold")
        for number in range(lab.rounds):
            per_s = {}
            for what, system in (("1 worker", one), ("2 workers", two))[:: 1 if number % 2 == 0 else -1]:
                per_s[what] = lab.sample(what, number, system, ["/queue-hold"], BUSY).load.per_s
            ratios.append(per_s["2 workers"] / per_s["1 worker"])
    return [Figure("requests/s of two workers / one, handlers of 50 ms", tuple(ratios), at_least=1.9)]
