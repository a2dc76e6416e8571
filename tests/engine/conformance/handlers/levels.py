"""Routes whose cost class depends on what is asked."""

from __future__ import annotations

from pydantic import BaseModel

from shared import queued
from tests.engine.conformance.handlers.telling import told

DEAR = 7
"""More than the suite's worker takes."""


class Job(BaseModel):
    """Work of some size."""

    rows: int
    fast: bool = True


def level_of(job: Job, depth: int) -> int:
    """Return the level of a job."""
    if depth < 0:
        raise ValueError("this text stays in the log")
    return DEAR if job.rows > 1000 or not job.fast else depth


@queued("/levels/job", method="POST", max_concurrency=20, level=level_of)
async def by_function(job: Job, depth: int = 0, note: str = "none") -> dict[str, str]:
    """Have the level that a function says."""
    return told(job=job, depth=depth, note=note)


@queued("/levels/number", max_concurrency=20, level=lambda n: n > 1000)
def by_lambda(n: int) -> dict[str, str]:
    """Have the level that a comparison says: 0 or 1."""
    return told(n=n)


@queued("/levels/fixed", max_concurrency=20, level=DEAR)
async def fixed() -> str:
    """Always be dear."""
    return "dear"
