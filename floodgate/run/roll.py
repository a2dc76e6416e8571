"""The order in which `make roll` replaces containers, so that every request has a worker that knows its route.

New workers beside the old, new gateways beside the old, then the old gateways leave,
then the old workers. Must not know how the image is made.
"""

from __future__ import annotations

import re
from collections.abc import Callable, Iterable

from floodgate.run.docker import Failed, bring, containers, docker, is_healthy, show_log

FLEETS = ("worker", "gateway")
UNITS = {"B": 2**-20, "KiB": 2**-10, "MiB": 1, "GiB": 2**10}
MARGIN = 0.8
"""Of the memory that is available: the engine, and whatever else runs there, want some meanwhile."""

ASK_FORMAT = ("python", "-c", "from floodgate.broker.keys import FORMAT; print(FORMAT)")
"""In a container of an app: the version of what it keeps in Redis."""


def check_format(candidate: str) -> None:
    """Raise `Failed` where what runs keeps its keys in Redis in another format than an image.

    The two would not see each other's tasks, so nobody would serve what the old ones have accepted.
    """
    new = docker("compose", "run", "--rm", "--no-deps", "-T", "gateway", *ASK_FORMAT, APP_TAG=candidate).strip()
    try:
        old = docker("exec", containers("gateway", running=True)[0], *ASK_FORMAT).strip()
    except Failed as error:
        if "No module named" not in str(error):
            raise
        old = "an older one"  # a release from before this module had its place
    if old != new:
        raise Failed(
            f"what runs keeps its keys in Redis in format {old}, the code as it is now in format {new}: "
            "they cannot serve side by side. Replace all at once, at a quiet hour: make down up"
        )


def replace(say: Callable[[str], None], undo: Callable[[], object]) -> None:
    """Replace all workers and gateways by ones of the image as it is now.

    Raises `Failed` when one of the new does not get healthy: they leave, `undo` is
    called, and the old go on as if nothing had been. From the moment the first old one leaves there is no
    way back; an error then leaves old ones beside the new.
    """
    workers, gateways = (containers(fleet) for fleet in FLEETS)
    beside = _beside(workers, gateways, say)
    try:
        for fleet, olds, many in zip(FLEETS, (workers, gateways), (beside, len(gateways)), strict=True):
            say(f"{many} new {fleet}s")
            bring(fleet, len(olds) + many)
    except (Failed, KeyboardInterrupt) as error:
        _give_up({"gateway": gateways, "worker": workers}, say)
        undo()
        raise Failed(f"the new {fleet} did not get healthy, see above; the old ones go on serving") from error
    for number, old in enumerate(gateways, 1):
        say(f"old gateway {number} of {len(gateways)} leaves")
        leave([old])
    for number, old in enumerate(workers, 1):
        say(f"old worker {number} of {len(workers)} leaves")
        leave([old])
        if len(containers("worker")) < len(workers):
            bring("worker", len(workers))


def leave(which: Iterable[str]) -> None:
    """Drain containers and remove them."""
    for one in which:
        docker("stop", one)
        docker("rm", one)


def _give_up(olds: dict[str, list[str]], say: Callable[[str], None]) -> None:
    """Let the new ones go, gateways first; those that are not healthy have had nothing to do."""
    for fleet, old in olds.items():
        for one in sorted(set(containers(fleet)) - set(old)):
            if is_healthy(one):
                say(f"a new {fleet} leaves")
                leave([one])
            else:
                show_log(one, 20)
                docker("rm", "--force", one)


def _beside(workers: list[str], gateways: list[str], say: Callable[[str], None]) -> int:
    """Say what it will take, and return how many new workers there is memory for: all, or at least one."""
    used = docker("stats", "--no-stream", "--format", "{{.ID}} {{.MemUsage}}", *workers, *gateways)
    found = re.findall(r"^(\w+) ([\d.]+)([KMG]?i?B) /", used, re.MULTILINE)
    mib = {container: float(number) * UNITS[unit] for container, number, unit in found}
    worker = max((mib.get(one[:12], 0) for one in workers), default=0)
    both = sum(mib.get(one[:12], 0) for one in gateways)
    told = docker("exec", workers[0], "cat", "/proc/meminfo")
    free = int(re.findall(r"^MemAvailable: +(\d+)", told, re.MULTILINE)[0]) / 1024
    many = min(len(workers), max(1, int((MARGIN * free - both) / max(worker, 1))))
    say(
        f"for a while there are {many} workers and {len(gateways)} gateways more: "
        f"about {both + many * worker:.0f} MiB, of {free:.0f} MiB that are free"
    )
    return many
