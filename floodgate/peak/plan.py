"""What a run of `make peak` asks for: where, how much, for how long; kept in a file that every process reads.

Owns how many users a rate needs. A user waits for its answer before it asks again,
so a rate is only kept up by as many users as it has requests in the slowest answer.
"""

from __future__ import annotations

import json
import math
import os
from collections.abc import Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Self

from floodgate.peak.shapes import SHAPES

VARIABLE = "PEAK_PLAN"
PARENT = "PEAK_PARENT"
"""Process id of `make peak`, with whose end locust ends."""
FILE = "plan.json"
DOCUMENT = "openapi.json"
LOOKS = 1000
"""So often a shape is looked at to find its highest rate."""
DEFAULT_PER_S = 100.0
DEFAULT_S = 60.0


class BadPlan(Exception):
    """What was asked for makes no run; the text says why."""


@dataclass(frozen=True, slots=True)
class Plan:
    """A run. `per_s` and `users` are the base, which a shape multiplies; `shape` is empty when none is wanted."""

    host: str
    shape: str
    per_s: float
    users: int
    seconds: float
    processes: int = 1

    @property
    def period_s(self) -> float:
        """How often each user asks; its answer may take so long before the rate falls behind."""
        return self.users / self.per_s

    @property
    def most_users(self) -> int:
        """Returns how many users the highest rate of the shape takes."""
        return round(self.users * max(SHAPES[self.shape](at / LOOKS) for at in range(LOOKS)))

    def users_at(self, at_s: float) -> int:
        """Returns how many users ask at a moment of the run; none before and after it."""
        if not 0 <= at_s < self.seconds:
            return 0
        return max(1, round(self.users * SHAPES[self.shape](at_s / self.seconds)))

    def write(self, directory: Path) -> Path:
        file = directory / FILE
        file.write_text(json.dumps(asdict(self), indent=1) + "\n")
        return file

    @classmethod
    def read(cls, file: Path) -> Self:
        return cls(**json.loads(file.read_text()))


def plan(environment: Mapping[str, str], worst_s: float, *, shaped: bool = True) -> Plan:
    """Returns the plan that HOST, SHAPE, USERS, RPS, SECONDS and PROCESSES tell; raises `BadPlan`.

    `worst_s` is how long the slowest answer may take. Of USERS and RPS either
    follows from the other.
    """
    shape = environment.get("SHAPE") or ("peak" if shaped else "")
    if shape and shape not in SHAPES:
        raise BadPlan(f"SHAPE={shape} is none of {', '.join(SHAPES)}")
    users, per_s = _number(environment, "USERS"), _number(environment, "RPS")
    if users is not None and users != round(users):
        raise BadPlan(f"USERS={users:g} is no whole number")
    if per_s is None:
        per_s = DEFAULT_PER_S if users is None else users / worst_s
    if users is None:
        users = math.ceil(per_s * worst_s)
    host = environment.get("HOST") or f"http://127.0.0.1:{environment.get('GATEWAY_PORT') or 8000}"
    host = host if "://" in host else f"http://{host}"
    processes = int(_number(environment, "PROCESSES") or 1)
    return Plan(host.rstrip("/"), shape, per_s, int(users), _number(environment, "SECONDS") or DEFAULT_S, processes)


def planned() -> Plan | None:
    """Returns the plan of this process, None when locust was started by hand."""
    file = os.environ.get(VARIABLE)
    return Plan.read(Path(file)) if file else None


def _number(environment: Mapping[str, str], name: str) -> float | None:
    text = environment.get(name)
    if not text:
        return None
    try:
        number = float(text)
    except ValueError as error:
        raise BadPlan(f"{name}={text} is no number") from error
    if not 0 < number < math.inf:
        raise BadPlan(f"{name}={text} is not above 0")
    return number
