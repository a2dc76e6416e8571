"""The fixtures that your tests may ask for: `floodgate` runs your handlers behind a gateway, on a real server."""

pytest_plugins = ["floodgate.testing"]
