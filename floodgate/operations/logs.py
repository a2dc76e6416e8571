"""One log line per event: JSON, or readable text on a terminal.

Both apps call `configure` once; fields are passed as `extra=fields(...)`. Lines of
requests are gathered and written together: `gatherer_for`. Never logs settings,
headers, bodies or addresses with a password.
"""

from __future__ import annotations

import asyncio
import contextlib
import functools
import json
import logging
import re
import select
import sys
import time
from collections.abc import Iterator
from typing import Any, TextIO

_FIELDS = "floodgate_fields"
to_json = json.JSONEncoder(default=str, ensure_ascii=False).encode
"""`json.dumps` with arguments makes a new encoder for every line."""
FLUSH_S = 0.05
CHUNK_BYTES = select.PIPE_BUF
"""The most that a pipe takes in one piece where several processes write into the same."""
MOST_CHARACTERS = 512
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def fields(**values: Any) -> dict[str, dict[str, Any]]:
    """Return `extra` for a logging call: what the line has beside its text."""
    return {_FIELDS: values}


def shown(text: str) -> str:
    """Return what a client sent as text that is safe in a log: shortened, on one line, without terminal codes."""
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode()


class Gatherer(logging.StreamHandler[TextIO]):
    """The log handler of both apps: collects the lines of requests for `FLUSH_S`, and writes them together.

    A line costs 3 µs that way, and 19 µs as a record with a write of its own (decision
    24). What is collected is written before any record, so all lines stay in order.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._json = _Json()
        self.setFormatter(_Text() if stream.isatty() else self._json)
        self.gathers = False
        """Off outside `gathering()`, where nobody would write what was gathered last."""
        self._lines: list[str] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    def is_only_handler_of(self, logger: logging.Logger) -> bool:
        """Tell whether this handler alone would see a record of `logger`, and show it as configured.

        Asked for every line, since handlers, filters and levels may change at any time.
        """
        above: logging.Logger = logger
        while above.parent is not None:
            if above.handlers or not above.propagate:
                return False
            above = above.parent
        return (
            self.gathers
            and above.handlers == [self]
            and not (logger.filters or self.filters)
            and self.formatter is self._json
            and self.level <= logging.INFO
            and logger.isEnabledFor(logging.INFO)
            and logging.getLogRecordFactory() is logging.LogRecord
        )

    def add(self, line: str) -> None:
        """Take a whole line, with its line end; must be called in the running event loop."""
        size = len(line) if line.isascii() else len(line.encode(errors="replace"))
        if self._size + size > CHUNK_BYTES:
            self.write_gathered()
        self._lines.append(line)
        self._size += size
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._on_time)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after the lines that were gathered before it."""
        self.write_gathered()
        super().emit(record)

    def flush(self) -> None:
        """Write what is gathered, and flush the stream."""
        self.write_gathered()
        super().flush()

    def write_gathered(self) -> None:
        """Write what is gathered; never raises."""
        if not self._lines:
            return
        self.acquire()  # other threads write records; what the event loop adds meanwhile, without the lock, stays
        try:
            count = len(self._lines)
            text = "".join(self._lines[:count])
            del self._lines[:count]
            self._size = 0
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):
            pass  # the stream is closed, and there is nowhere else to report it
        finally:
            self.release()

    def end(self) -> None:
        """Write what is gathered, and gather no more."""
        self.gathers = False
        if self._timer is not None:
            self._timer.cancel()
        self._on_time()

    def _on_time(self) -> None:
        self._timer = None
        self.write_gathered()


def gatherer_for(logger: logging.Logger) -> Gatherer | None:
    """Return the handler that takes whole INFO lines of `logger`; None where another handler expects records."""
    for handler in logging.root.handlers:
        return handler if isinstance(handler, Gatherer) and handler.is_only_handler_of(logger) else None
    return None


@contextlib.contextmanager
def gathering() -> Iterator[None]:
    """Let lines be gathered, and write all at the end; what comes later is written at once.

    Used around the time in which the event loop certainly runs. Python's own shutdown does
    not flush: plain uvicorn ends by raising the signal that it was sent.
    """
    ours = [handler for handler in logging.root.handlers if isinstance(handler, Gatherer)]
    for handler in ours:
        handler.gathers = True
    try:
        yield
    finally:
        for handler in ours:
            handler.end()


def line_of(logger: str, event: str) -> str:
    """Return the beginning of an INFO line of this moment, up to its fields."""
    now_s = time.time()
    at = f"{_second(int(now_s))}.{int(now_s * 1000) % 1000:03d}Z"
    return f'{{"at": "{at}", "level": "info", "logger": "{logger}", "event": "{event}", '


def configure(level: int = logging.INFO) -> None:
    """Send all logging to standard error: as text if that is a terminal, else as JSON."""
    root = logging.getLogger()
    root.handlers[:] = [Gatherer(sys.stderr)]
    root.setLevel(level)
    for name in ("uvicorn", "uvicorn.error", "uvicorn.access"):
        logger = logging.getLogger(name)
        logger.handlers.clear()
        logger.propagate = name != "uvicorn.access"  # the gateway writes a line of its own per request


class _Json(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        line = {
            "at": f"{_second(int(record.created))}.{int(record.msecs):03d}Z",
            "level": record.levelname.lower(),
            "logger": record.name,
            "event": record.getMessage(),
            **getattr(record, _FIELDS, {}),
        }
        if record.exc_info:
            line["traceback"] = self.formatException(record.exc_info)
        return to_json(line)


@functools.lru_cache(maxsize=2)
def _second(epoch_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch_s))


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        rest = "".join(f" {key}={shown(str(value))}" for key, value in getattr(record, _FIELDS, {}).items())
        line = f"{clock} {record.levelname:7} {record.getMessage()}{rest}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return _CONTROL.sub(lambda found: _escaped(found.group()), line)  # a traceback may quote what a client sent
