"""Your worker: the process that runs the handlers. Add what it does at its start, such as error reporting."""

from __future__ import annotations

from floodgate import worker


def build() -> worker.WorkerApp:
    """Return the application that the servers run; they call this once per process."""
    return worker.build()
