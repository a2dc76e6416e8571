"""Gunicorn's configuration of the worker: `gunicorn -c worker_app/gunicorn_conf.py`."""

from __future__ import annotations

from floodgate.operations.server import configuration
from floodgate.operations.settings import Settings

settings = Settings()
globals().update(configuration("worker_app.main:build()", settings.worker_port, settings))
