"""Gunicorn's configuration of the gateway: `gunicorn -c gateway_app/gunicorn_conf.py`."""

from __future__ import annotations

from floodgate.operations.server import configuration
from floodgate.operations.settings import Settings

settings = Settings()
globals().update(configuration("gateway_app.main:build()", settings.gateway_port, settings))
