"""The worker's side of the engine; these names are what `worker_app/` uses."""

from floodgate.worker.app import WorkerApp, build

__all__ = ["WorkerApp", "build"]
