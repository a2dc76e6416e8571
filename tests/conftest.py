"""Brings the fixture `floodgate`: your handlers behind a gateway, with queue and worker, on a real server."""

pytest_plugins = ["floodgate.testing"]
