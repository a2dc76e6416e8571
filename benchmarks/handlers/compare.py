"""A handler as there are many: it asks a database, which slows down when too many ask at once."""

from __future__ import annotations

import os

from benchmarks.database import BEST, query
from shared import queued

TIMEOUT_S = 2
DATABASE = "COMPARE_DATABASE"


async def report() -> dict[str, str]:
    """Return what the database says."""
    await query(os.environ[DATABASE])
    return {"report": "ready"}


queued("/report", max_concurrency=1000, timeout_s=TIMEOUT_S, max_running=BEST)(report)
