"""Both apps, less one of their controls: what shows that a control does what is said of it.

Owns the switches: an edit of a script's text, or another function in the place of
the app's own, before the app is built. `BENCH_ABLATION` names some, with commas
between; only the two factories here read it. Must not know what a lack leads to.
"""

from __future__ import annotations

import os
from collections.abc import Callable, Mapping
from typing import Any

from fastapi import FastAPI

from floodgate.broker.scripts import SCRIPTS, Script
from floodgate.declare.head import SHARES, UNDECLARED_SHARE, UNDECLARED_WEIGHT, WEIGHTS
from floodgate.declare.registry import Handler
from floodgate.gateway import request_options as options
from floodgate.gateway import responses
from floodgate.gateway.dispatch import Dispatcher, Receive
from floodgate.gateway.outcomes import Outcome
from floodgate.gateway.payload import Payload
from floodgate.gateway.rate_limit import RateLimiter
from floodgate.gateway.request_options import RequestOptions
from floodgate.worker.app import WorkerApp
from floodgate.worker.executor import Executor
from gateway_app.main import build as build_gateway
from worker_app.main import build as build_worker

VARIABLE = "BENCH_ABLATION"
STARTED_LATE_S = 1.0
"""What is left to a handler that is started although its time is over."""

Edit = tuple[str, str, str]
"""Of a script's name, what stands there, and what is to stand there."""


def gateway() -> FastAPI:
    """Returns the gateway of the environment, without what it names."""
    _switch_off()
    return build_gateway()


def worker() -> WorkerApp:
    """Returns the worker of the environment, without what it names."""
    _switch_off()
    return build_worker()


def _switch_off() -> None:
    for name in filter(None, os.environ.get(VARIABLE, "").split(",")):
        for edit in EDITS.get(name, ()):
            _edit(*edit)
        if name in REPLACED:
            REPLACED[name]()
        elif name not in EDITS:
            raise ValueError(f"{VARIABLE}: there is no {name}, but {', '.join(sorted({*EDITS, *REPLACED}))}")


def _edit(name: str, old: str, new: str) -> None:
    text = SCRIPTS[name].text
    if text.count(old) != 1:
        raise ValueError(f"{name} has changed: {old!r} stands there {text.count(old)} times; renew the switch with it")
    SCRIPTS[name] = Script.of(name, text.replace(old, new))


def _one_line_per(flow: str) -> tuple[Edit, ...]:
    """Lets all flows with the same `flow` (an expression of Lua) wait in one line."""
    return (
        ("admit", "pool_of(class.lane), class.flow", f"pool_of(class.lane), {flow}"),
        (
            "admit",
            "math.min(num(s[2]) or 0, turn.virtual + (tenant_inflight[class.tenant] + 1) * turn.step)",
            "num(s[2]) or 0",
        ),
    )


EDITS: Mapping[str, tuple[Edit, ...]] = {
    "prediction": (("admit", "if too_long then", "if false then"),),
    "falling-bound": (("admit", "if full > budget_ms then", "if false then"),),
    "tenant-fairness": _one_line_per("string.match(class.flow, '^[^|]*|[^|]*')"),
    "tenant-share": (("admit", "class.tenant and turn_of(class).sharers > 1", "false"),),
    "pool-places": (("admit", "running = running, free = free,", "running = running, free = nil,"),),
    "route-fairness": _one_line_per("'all'"),
    "running-limit": (("declare", "if max_running ~= '0' then", "if false then"),),
    # Four look at the deadline of what waits: the gateway (for whoever waits on a connection), claim, executor, reap.
    "deadlines": (
        ("claim", "or t.deadline <= now or is_abandoned", "or is_abandoned"),
        ("reap", "call('ZRANGEBYSCORE', slots, '-inf', now, ", "call('ZRANGEBYSCORE', slots, '-inf', now - 3000, "),
    ),
}


def _replace(owner: Any, name: str, new: Any) -> None:
    if not hasattr(owner, name):
        raise ValueError(f"{owner} has no {name} any more; renew the switch with it")
    setattr(owner, name, new)


def _nothing(*_: object) -> None:
    return None


def _no_weights() -> None:
    _replace(options, "WEIGHTS", dict.fromkeys(WEIGHTS, UNDECLARED_WEIGHT))


def _no_class_shares() -> None:
    _replace(options, "SHARES", dict.fromkeys(SHARES, UNDECLARED_SHARE))


def _no_priorities() -> None:
    _no_weights()
    _no_class_shares()


def _no_tenants() -> None:
    """Also in the refusal cache, which is kept per tenant and so is fair by itself."""
    with_budget = options.OptionsReader._with_budget

    def anybody(self: options.OptionsReader, prefer: str, weight: int, share: int, tenant: str) -> RequestOptions:
        return with_budget(self, prefer, weight, share, "")

    _replace(options.OptionsReader, "_with_budget", anybody)


def _bucket_after_the_body() -> None:
    """As a dependency of the route would do it."""
    over_rate, dispatch = RateLimiter.over_rate, Dispatcher.dispatch

    async def late(self: Dispatcher, handler: Handler, payload: Payload, receive: Receive) -> Outcome:
        over = over_rate(self.rate_limiter, handler.route)
        return over if over is not None else await dispatch(self, handler, payload, receive)

    _replace(RateLimiter, "over_rate", _nothing)
    _replace(Dispatcher, "dispatch", late)


def _start_what_expired() -> None:
    start = Executor.start

    def anyway(self: Executor, lease: str, task_id: str, task: Any, tries_used: int, left_s: float) -> None:
        start(self, lease, task_id, task, tries_used, left_s if left_s > 0 else STARTED_LATE_S)

    _replace(Executor, "start", anyway)


REPLACED: Mapping[str, Callable[[], None]] = {
    "weights": _no_weights,
    "class-shares": _no_class_shares,
    "priorities": _no_priorities,
    "tenants": _no_tenants,
    "refusal-cache": lambda: _replace(RateLimiter, "cache", _nothing),
    "bucket": lambda: _replace(RateLimiter, "over_rate", _nothing),
    "bucket-before-the-body": _bucket_after_the_body,
    "retry-after": lambda: _replace(responses, "spread", lambda _: 1),
    "cancelling": lambda: _replace(Dispatcher, "_cancel", _nothing),
    "deadlines": _start_what_expired,
}
