"""Gunicorn's configuration of the worker: `gunicorn -c worker_app/gunicorn_conf.py`."""

from __future__ import annotations

from shared.serving import configuration
from shared.settings import Settings

settings = Settings()
globals().update(configuration("worker_app.main:build()", settings.worker_port, settings))
