"""What was sent, and what became of each: an open load on several gateways, and the account of it.

Every request has exactly one answer, in time, and what handlers noted agrees with what clients were told: that is
the account, for every fault. Must not know which fault it was.
"""

from __future__ import annotations

import asyncio
import contextlib
import math
import random
import time
from collections import Counter, defaultdict
from collections.abc import AsyncIterator, Collection, Sequence
from dataclasses import dataclass, field
from pathlib import Path

from benchmarks import notes
from benchmarks.arrivals import Request
from benchmarks.fleet import Fleet, Member
from benchmarks.handlers.faults import TIMEOUT_S
from benchmarks.openloop import Generator, generator
from benchmarks.testbed import HOST

MIX = (("GET", "/quick", 20.0), ("POST", "/once", 12.0), ("GET", "/thread", 8.0))
"""Method, path and requests per second of the usual load."""
SLACK_S = 1.5
"""After its deadline, an answer may come so much later: the machine may be busy."""
PATIENCE_S = TIMEOUT_S + 6
"""After which a client gives up: nobody is left hanging for so long."""
ATTEMPTS = {"GET": 2, "POST": 1}
UNANSWERED = "unanswered"
"""The reason of a request whose client gave up."""
SOON_S = 0.5
FETCH = "fetch"
"""The kind of requests that run nothing: for a result that is kept."""
LOOK_S = 0.05
RESENDS = 3


@dataclass(slots=True)
class Load:
    """Requests of one load; `requests` has those that were sent again under the same number, too."""

    requests: list[Request] = field(default_factory=list)
    rotation: list[Generator] = field(default_factory=list)
    """Whom to send to: all gateways, or those that say ready."""
    generators: list[Generator] = field(default_factory=list)
    stopped: asyncio.Event = field(default_factory=asyncio.Event)
    first: int = 0

    @property
    def last(self) -> list[Request]:
        """Returns the last attempt of each request."""
        return list({request.number: request for request in self.requests}.values())

    def statuses(self, from_s: float = -math.inf, to_s: float = math.inf, kind: str = "load") -> Counter[int]:
        """Returns how often each status came, of what was intended within these moments."""
        return Counter(r.status for r in self.last if from_s <= r.intended_s < to_s and r.kind == kind)

    def served_again_s(self, since_s: float) -> float:
        """Returns how long after a moment requests that were sent got another status than 200, or no answer soon."""
        now_s = time.monotonic()
        ours = [request for request in self.last if request.intended_s > since_s and request.kind == "load"]
        bad = [
            r for r in ours if not r.left and (r.status != 200 if r.done_s < now_s else now_s - r.intended_s > SOON_S)
        ]
        return max((request.intended_s - since_s for request in bad), default=0.0)

    async def ask(self, path: str, method: str = "GET", kind: str = "extra", headers: str = "") -> Request:
        """Sends one request more, to the next gateway, and returns it when it has ended."""
        request = Request(self._number(), 0.0, path, kind, headers=headers, method=method)
        self.requests.append(request)
        return await self._next(request.number).ask(request)

    async def send_again(self, request: Request) -> Request:
        """Sends a request as a careful client does: again, where its connection ended before a byte."""
        await self._next(request.number).ask(request)
        while request.untouched and request.attempt < RESENDS:
            again = Request(
                *(request.number, request.at_s, request.path, request.kind),
                attempt=request.attempt + 1,
                method=request.method,
            )
            self.requests.append(again)
            request = await self._next(again.number + again.attempt).ask(again)
        return request

    def _number(self) -> int:
        self.first += 1
        return self.first

    def _next(self, number: int) -> Generator:
        among = self.rotation or self.generators
        return among[number % len(among)]

    async def keep_sending(
        self, mix: Sequence[tuple[str, str, float]], seed: int, leaving: tuple[float, float], *, again: bool
    ) -> None:
        """Sends by Poisson arrivals until it is stopped; a share of the clients leaves within so many seconds."""
        chance, rates = random.Random(seed), [rate for _, _, rate in mix]
        async with asyncio.TaskGroup() as group:
            at_s = time.monotonic()
            while rates:
                at_s += chance.expovariate(sum(rates))
                with contextlib.suppress(TimeoutError):
                    async with asyncio.timeout(max(0.0, at_s - time.monotonic())):
                        await self.stopped.wait()
                        return
                ((method, path, _),) = chance.choices(mix, rates)
                request = Request(self._number(), 0.0, path, method=method, intended_s=at_s)
                if chance.random() < leaving[0]:
                    request.leave_after_s = chance.uniform(0, leaving[1])
                self.requests.append(request)
                if again:
                    group.create_task(self.send_again(request))
                else:
                    self._next(request.number).fire(request)

    async def settled(self) -> None:
        for each in self.generators:
            await each.settled()


@contextlib.asynccontextmanager
async def under_load(
    fleet: Fleet,
    *,
    mix: Sequence[tuple[str, str, float]] = MIX,
    seed: int = 1,
    first: int = 0,
    careful: bool = False,
    leaving: tuple[float, float] = (0.0, 0.0),
) -> AsyncIterator[Load]:
    """Loads a fleet while the block runs, and returns when all have their answers.

    Careful clients follow `/-/ready`, as a balancer does for them, and send again where a
    connection ended before a byte of an answer.
    """
    load = Load(first=first)
    async with contextlib.AsyncExitStack() as stack:
        for member in fleet.gateways:
            load.generators.append(await stack.enter_async_context(generator(HOST, member.port, PATIENCE_S)))
        load.rotation = list(load.generators)
        async with asyncio.TaskGroup() as group:
            following = group.create_task(_follow(fleet.gateways, load)) if careful else None
            sending = group.create_task(load.keep_sending(mix, seed, leaving, again=careful))
            try:
                yield load
            finally:
                load.stopped.set()
                await sending
                await load.settled()
                if following is not None:
                    following.cancel()


async def _follow(gateways: Sequence[Member], load: Load) -> None:
    """Keeps who says not ready out of the rotation."""
    while True:
        ready = await asyncio.gather(*(asyncio.to_thread(member.ready) for member in gateways))
        load.rotation = [each for each, is_ready in zip(load.generators, ready, strict=True) if is_ready]
        await asyncio.sleep(LOOK_S)


@dataclass(slots=True)
class Account:
    """How many were sent, and what became of them; the complaints are breaches of what is promised."""

    counts: Counter[str] = field(default_factory=Counter)
    complaints: list[str] = field(default_factory=list)

    def __str__(self) -> str:
        return ", ".join(f"{name} {count}" for name, count in sorted(self.counts.items()))


WORDS = {200: "answered", 202: "answered", 429: "refused", 503: "refused", 502: "unknown", 504: "late"}


def account(
    load: Load,
    notes_file: Path,
    *,
    may_cut: Collection[Member] = (),
    may_repeat: bool = False,
    timeout_s: float = TIMEOUT_S,
) -> Account:
    """Returns what became of every request of a load.

    Where a gateway was killed, connections may be cut, or wait for the next one to accept
    them; after a failover, by which replies and leases were lost, a handler may have
    started once more.
    """
    found = Account()
    runs: dict[int, list[notes.Run]] = defaultdict(list)
    for run in notes.read(notes_file):
        runs[int(run.request_id.partition(".")[0])].append(run)
    for request in load.last:
        told = WORDS.get(request.status, "left" if request.left else "cut" if request.status == 0 else "wrong")
        found.counts["sent"] += 1
        found.counts[told] += 1
        about = f"{request.method} {request.path} {request.id}: {request.status} {request.reason}"
        if math.isnan(request.done_s):
            found.complaints.append(f"{about} never ended")
        elif request.latency_s > timeout_s + SLACK_S and not may_cut:
            found.complaints.append(f"{about} after {request.latency_s:.1f} s")
        if told == "wrong" or (told == "cut" and not (may_cut and request.reason != UNANSWERED)):
            found.complaints.append(f"{about}: no answer that is promised")
        found.complaints += _disagreements(request, about, runs[request.number], 1 if may_repeat else 0)
    for each in load.generators:
        found.complaints += [f"a second answer: {line}" for line in each.strays]
    return found


def _disagreements(request: Request, about: str, runs: Sequence[notes.Run], more: int) -> list[str]:
    """Returns where the handler's notes contradict what the client was told."""
    found = []
    ended = sum(not math.isnan(run.ended_s) for run in runs)
    if request.status == 200 and not ended and request.kind != FETCH:
        found.append(f"{about}, and no run of it has ended")
    if request.status in (429, 503) and request.method == "POST" and len(runs) > more:
        found.append(f"{about}, and it was run")
    if len(runs) > ATTEMPTS[request.method] + more:
        found.append(f"{about}: {len(runs)} starts")
    return found
