"""`make dev`: the whole system on one machine, in one terminal, until Ctrl-C.

Owns the order of start and stop: server, worker, gateway, and back; and the reload on
change, unless the change is a mistake. Must not know how an app is run.
"""

from __future__ import annotations

import asyncio
import contextlib
import os
import signal
import sys
from collections.abc import Callable, Coroutine, Mapping
from pathlib import Path

from pydantic import ValidationError
from watchfiles import PythonFilter, awatch

from floodgate.errors import ConfigurationError
from floodgate.operations import environment
from floodgate.operations.settings import Settings, faults
from floodgate.run.embedded_server import EmbeddedServer, ServerFailed
from floodgate.run.processes import HOST, KILL_MARGIN_S, App, Service
from floodgate.run.readiness import announce, first_path, get, taken

FIRST_ANSWER_S = 60.0
POLL_S = 0.1
SOURCES = ("shared", "gateway_app", "worker_app", "floodgate")
TYPED = ("GATEWAY_PORT", "WORKER_PORT", "OPS_TOKEN")
"""What stands before `make dev` or in the shell without the settings' prefix, as it does for `make up`."""


def dev() -> int:
    """Run the system; return 0 after Ctrl-C or SIGTERM, 1 when it could not go on."""
    for name in TYPED:
        if (value := os.environ.get(name)) and not environment.ADDRESS.match(value):
            os.environ.setdefault(environment.PREFIX + name, value)
    try:
        settings = Settings()
    except (ValidationError, ConfigurationError) as error:
        say("\n".join(faults(error)))
        return 1
    if settings.gateway_port == settings.worker_port:
        say(f"GATEWAY_PORT and WORKER_PORT are both {settings.gateway_port}: choose another for one of them")
        return 1
    for variable, port in (("GATEWAY_PORT", settings.gateway_port), ("WORKER_PORT", settings.worker_port)):
        if said := taken(variable, port, "make dev"):
            say(said)
            return 1
    for sig in (signal.SIGTERM, signal.SIGHUP):
        signal.signal(sig, signal.default_int_handler)  # until the loop takes over: unwind, so that the server ends
    # No byte code: two edits within a second may leave a stale file behind.
    variables = os.environ | {"PYTHONDONTWRITEBYTECODE": "1", "PYTHONUNBUFFERED": "1"}
    try:
        with contextlib.ExitStack() as stack:
            if settings.redis_url is None:
                variables["FLOODGATE_NAMESPACE"] = settings.namespace
                variables["REDIS_URL"] = stack.enter_context(EmbeddedServer(unix=True)).url
            return asyncio.run(_run(settings, variables))
    except ServerFailed as error:
        say(str(error))
        return 1
    except KeyboardInterrupt:
        return 0


async def _run(settings: Settings, variables: dict[str, str]) -> int:
    directories = _watched(Path.cwd(), settings.handlers)
    stopping = _on_signals()
    if not await _before(stopping, _until_it_builds(directories, variables)):
        return 0
    worker = Service("worker", "worker_app.main:build", settings.worker_port, 35)
    gateway = Service("gateway", "gateway_app.main:build", settings.gateway_port, 36)
    apps: list[App] = []
    try:
        for service in (worker, gateway):
            apps.append(await App.start(service, variables, settings.drain_s))
        return await _serve(apps, directories, variables, stopping, settings)
    finally:
        await _stop(apps, stopping, settings.drain_s + KILL_MARGIN_S)


async def _serve(
    apps: list[App], directories: list[Path], variables: dict[str, str], stopping: asyncio.Event, settings: Settings
) -> int:
    def reload() -> None:
        for app in apps:
            app.reload()

    async with asyncio.TaskGroup() as group:
        ends = {group.create_task(app.ended()): app for app in apps}
        side = [group.create_task(_watch(directories, variables, reload)), group.create_task(_announce(settings))]
        stop = group.create_task(stopping.wait())
        await asyncio.wait([*ends, stop], return_when=asyncio.FIRST_COMPLETED)
        ended = [(app, task.result()) for task, app in ends.items() if task.done()]
        for task in (*ends, *side, stop):
            task.cancel()
    for app, code in [] if stopping.is_set() else ended:
        say(f"the {app.name} ended by itself (exit code {code}); its lines above say why")
    return 0 if stopping.is_set() else 1


async def _stop(apps: list[App], stopping: asyncio.Event, limit_s: float) -> None:
    """Stop the last started first: the gateway needs a worker for what it still has to answer."""
    stopping.clear()
    for app in reversed(apps):
        if not await _before(stopping, app.stop(limit_s)):
            say("interrupted again: killing what is left")
            break
    for app in apps:
        app.kill()
        await app.ended()


async def _before(stopping: asyncio.Event, work: Coroutine[None, None, None]) -> bool:
    """Do `work`; give it up and return False when a signal comes first."""
    async with asyncio.TaskGroup() as group:
        task = group.create_task(work)
        stop = group.create_task(stopping.wait())
        await asyncio.wait([task, stop], return_when=asyncio.FIRST_COMPLETED)
        task.cancel()
        stop.cancel()
    return not task.cancelled()


def _on_signals() -> asyncio.Event:
    stopping = asyncio.Event()
    for sig in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
        asyncio.get_running_loop().add_signal_handler(sig, stopping.set)
    return stopping


async def _announce(settings: Settings) -> None:
    """Wait for the first 200, and say where everything is."""
    url = f"http://{HOST}:{settings.gateway_port}"
    try:
        async with asyncio.timeout(FIRST_ANSWER_S):
            for ready in (f"http://{HOST}:{settings.worker_port}/-/ready", f"{url}/-/ready"):
                await _until_ok(ready)
            path = first_path(await _until_ok(f"{url}/openapi.json"))
            if path is not None:
                await _until_ok(url + path)
    except TimeoutError:
        say(f"no answer within {FIRST_ANSWER_S:g} s; the lines above may say why")
        return
    announce(say, settings.gateway_port, path, settings.handlers)


async def _until_ok(url: str) -> bytes:
    while True:
        status, body = await asyncio.to_thread(get, url)
        if status // 100 == 2:
            return body
        await asyncio.sleep(POLL_S)


def _watched(root: Path, handlers: str) -> list[Path]:
    """Return the directories whose Python files matter; `handlers` may lie outside the usual ones."""
    names = {*SOURCES, handlers.partition(".")[0]}
    return sorted(root / name for name in names if (root / name).is_dir())


async def _mistake(environment: Mapping[str, str]) -> str | None:
    """Build both apps in a fresh interpreter, the user's part included; return what it prints when that fails."""
    process = await asyncio.create_subprocess_exec(
        *(sys.executable, "-m", "floodgate", "declared"),
        stdin=asyncio.subprocess.DEVNULL,
        stdout=asyncio.subprocess.PIPE,
        stderr=asyncio.subprocess.STDOUT,
        env=environment,
    )
    try:
        output, _ = await process.communicate()
    finally:
        if process.returncode is None:
            process.kill()
            await process.wait()
    if process.returncode == 0:
        return None
    lines = output.decode(errors="replace").splitlines()
    return "\n".join(line for line in lines if not line.startswith('  File "<frozen'))  # the import machinery's own


async def _watch(directories: list[Path], environment: Mapping[str, str], reload: Callable[[], None]) -> None:
    """Call `reload` after every change that both apps can be built from; print the mistake of another."""
    async for changes in awatch(*directories, watch_filter=PythonFilter()):
        names = ", ".join(sorted({Path(path).name for _, path in changes}))
        error = await _mistake(environment)
        if error is None:
            say(f"{names} changed: reloading")
            reload()
        else:
            say(f"{names} changed, and the apps cannot be built from it; the old version goes on serving:\n{error}")


async def _until_it_builds(directories: list[Path], environment: Mapping[str, str]) -> None:
    """Return when both apps can be built; say what is wrong until then."""
    changes = awatch(*directories, watch_filter=PythonFilter())
    while True:
        change = asyncio.ensure_future(anext(changes))  # before the trial, so that a change during it counts
        try:
            error = await _mistake(environment)
            if error is None:
                return
            say(f"the apps cannot be built; repair this and it goes on:\n{error}")
            await change
        finally:
            change.cancel()


def say(text: str) -> None:
    """Print a line of the development system itself."""
    for line in text.splitlines():
        print(f"dev     | {line}", flush=True)
