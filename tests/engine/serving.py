"""A system's gateway behind a server of its own, so that clients meet real connections."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

import uvicorn

from floodgate.testing import System


@asynccontextmanager
async def served(system: System) -> AsyncIterator[str]:
    """Serve the gateway of a system as it is served elsewhere; its lifespan runs already."""
    server = uvicorn.Server(uvicorn.Config(system.app, port=0, lifespan="off", log_level="error"))
    server.install_signal_handlers = lambda: None  # type: ignore[attr-defined]
    config = server.config
    config.load()
    server.lifespan = config.lifespan_class(config)
    await server.startup()
    ticking = asyncio.create_task(server.main_loop())
    try:
        yield f"http://127.0.0.1:{server.servers[0].sockets[0].getsockname()[1]}"
    finally:
        server.should_exit = True
        await ticking
        server.force_exit = True
        await server.shutdown()
