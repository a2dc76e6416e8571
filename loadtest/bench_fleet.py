"""What grows with a fleet: many routes against one, two workers against one."""

from __future__ import annotations

from loadtest.bench_apps import Cost, running
from loadtest.bench_figures import Figure
from loadtest.bench_lab import Lab, dearer

BUSY = 64
ROUTES = 100
PLACES = 16


def routes(lab: Lab) -> list[Figure]:
    """Compare what a request costs with 100 routes, asked in turn, with what it costs with one."""
    every, first = [f"/route/{number}" for number in range(ROUTES)], ["/route/0"]
    costs: dict[str, list[Cost]] = {"1 route": [], "100 routes": [], "first of 100": []}
    with running(lab.server, {"BENCH_ROUTES": "1"}) as one, running(lab.server, {"BENCH_ROUTES": str(ROUTES)}) as many:
        lab.warm(one, *first)
        lab.warm(many, *first)
        loads = [("1 route", one, first), ("100 routes", many, every), ("first of 100", many, first)]
        for number in range(lab.rounds):
            turn = number % len(loads)
            for what, system, paths in (*loads[turn:], *loads[:turn]):
                costs[what].append(lab.sample(what, number, system, paths, BUSY).cost)
    one_route, asked, declared = costs["1 route"], costs["100 routes"], costs["first of 100"]
    return [
        *dearer(f"processor time with {ROUTES} routes asked in turn / 1", asked, one_route, 1.1),
        *dearer(f"processor time with {ROUTES} routes, the first asked / 1", declared, one_route, None),
    ]


def workers(lab: Lab) -> list[Figure]:
    """Compare the throughput of two workers with that of one, where the handler's time is what limits it."""
    env = {"BENCH_HOLD_S": "0.05", "WORKER_PLACES": str(PLACES)}
    ratios: list[float] = []
    with running(lab.server, env) as one, running(lab.server, env, workers=2) as two:
        for number in range(lab.rounds):
            per_s = {}
            for what, system in (("1 worker", one), ("2 workers", two))[:: 1 if number % 2 == 0 else -1]:
                per_s[what] = lab.sample(what, number, system, ["/queue-hold"], BUSY).load.per_s
            ratios.append(per_s["2 workers"] / per_s["1 worker"])
    return [Figure("requests/s of two workers / one, handlers of 50 ms", tuple(ratios), at_least=1.9)]
