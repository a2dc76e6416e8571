"""What it costs that requests wait: memory of a gateway, and processor time of everything."""

from __future__ import annotations

import time
from dataclasses import asdict

from loadtest.bench_apps import BARE, App, Cost, System, app, running
from loadtest.bench_crowd import Tally, crowd
from loadtest.bench_figures import Figure
from loadtest.bench_lab import Lab, dearer

SETTLE_S = 1.0
POLL_S = 0.1
PLACES = 200
HOLD_S = 0.1
"""With `PLACES`, the worker serves 2,000 requests a second, however many wait."""


def memory(lab: Lab) -> list[Figure]:
    """Measure fresh processes, and a gateway in which thousands wait, against a bare FastAPI application."""
    with running(lab.server) as fresh:
        time.sleep(SETTLE_S)
        gateway_mb, worker_mb = fresh.gateway.rss_kb() / 1024, fresh.workers[0].rss_kb() / 1024
    count, hold_s = (500, 4) if lab.short else (5000, 20)
    env = {"BENCH_HOLD_S": str(hold_s), "FLOODGATE_WORKER_CONCURRENCY": "10000"}
    with running(lab.server, env) as system:
        queue_kb = _grown_kb(lab, system.gateway, "queue", count, hold_s)
    with app("gateway", BARE, env) as bare:
        direct_kb = _grown_kb(lab, bare, "direct", count, hold_s)
    more_kb = queue_kb - direct_kb
    return [
        Figure("resident memory of a fresh gateway", (gateway_mb,), at_most=110, unit=" MB"),
        Figure("resident memory of a fresh worker", (worker_mb,), at_most=90, unit=" MB"),
        Figure(f"memory of one of {count:,} waiting, queue - bare FastAPI", (more_kb,), at_most=6, unit=" KB"),
        Figure("   queue", (queue_kb,), unit=" KB"),
        Figure("   bare FastAPI", (direct_kb,), unit=" KB"),
    ]


def _grown_kb(lab: Lab, served: App, kind: str, count: int, hold_s: float) -> float:
    """Return by how much the process has grown for each of `count` requests that wait at once."""
    with crowd(served.port, f"/{kind}", 100, repeat=True) as warm:
        warm.all_sent()
        time.sleep(SETTLE_S)
        _check(lab, warm.stop())
    base_kb = peak_kb = served.rss_kb()
    with crowd(served.port, f"/{kind}-hold", count, repeat=False) as people:
        people.all_sent()
        while not people.tally().first_answer_s:
            peak_kb = max(peak_kb, served.rss_kb())
            time.sleep(POLL_S)
        end = people.stop()
    _check(lab, end)
    each_kb = (peak_kb - base_kb) / count
    lab.note(f"memory {kind}", 0, base_kb=base_kb, peak_kb=peak_kb, count=count, each_kb=each_kb)
    lab.say(f"{kind}: {end.answered} of {count} waiting were answered; {each_kb:.1f} KB each")
    if end.last_answer_s - hold_s > end.first_answer_s:
        lab.say("   they did not all wait at once: this machine is too slow for the figure")
    return each_kb


def waiting(lab: Lab) -> list[Figure]:
    """Compare what a request costs while many wait with what it costs while few do, at the same rate."""
    few, many = 10, 500 if lab.short else 10_000
    costs: dict[int, list[Cost]] = {few: [], many: []}
    with running(lab.server, {"BENCH_HOLD_S": str(HOLD_S), "FLOODGATE_WORKER_CONCURRENCY": str(PLACES)}) as system:
        _cost(lab, system, few, -1)
        for number in range(lab.rounds):
            for count in (few, many) if number % 2 == 0 else (many, few):
                costs[count].append(_cost(lab, system, count, number))
    return dearer(f"processor time with {many:,} waiting / {few}", costs[many], costs[few], 1.1)


def _cost(lab: Lab, system: System, count: int, number: int) -> Cost:
    with crowd(system.gateway.port, "/queue-hold", count + PLACES, repeat=True) as people:
        people.all_sent()
        time.sleep(SETTLE_S + count * HOLD_S / PLACES)  # until everybody has waited once
        lab.server.learn(SETTLE_S)
        start, before = system.read(), people.tally()
        time.sleep(lab.seconds)
        after = people.tally()
        answered = after.answered - before.answered
        cost = system.cost_since(start, answered)
        _check(lab, people.stop())
    per_s = answered / lab.seconds
    lab.note("waiting", number, waiting=count, per_s=per_s, cost=asdict(cost))
    lab.say(f"round {number + 1}: {count} waiting: {per_s:,.0f}/s; {cost}")
    return cost


def _check(lab: Lab, tally: Tally) -> None:
    if tally.failed:
        lab.say(f"   {tally.failed} of {tally.sent} FAILED, the first: {tally.example}")
    lab.errors += tally.failed
    lab.unanswered += tally.unanswered
