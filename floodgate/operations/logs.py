"""One line of log per event: JSON, or readable text on a terminal.

Both apps call `configure` once; fields are passed as `extra=fields(...)`. Lines
that come with every request may be gathered: `gatherer_for`. Never logs settings,
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
"""What a write into a pipe keeps in one piece, also where several processes write into the same."""
MOST_CHARACTERS = 512
_CONTROL = re.compile(r"[\x00-\x08\x0b-\x1f\x7f-\x9f]")


def fields(**values: Any) -> dict[str, dict[str, Any]]:
    """Return `extra` for a logging call: what the line carries beside its text."""
    return {_FIELDS: values}


def shown(text: str) -> str:
    """Return what a client sent as text that is safe in a line: cut, on one line, without codes for terminals."""
    if len(text) > MOST_CHARACTERS:
        text = text[:MOST_CHARACTERS] + "…"
    return text if text.isprintable() else "".join(c if c.isprintable() else _escaped(c) for c in text)


def _escaped(text: str) -> str:
    return text.encode("unicode_escape").decode()


class Gatherer(logging.StreamHandler[TextIO]):
    """The handler of both apps. Lines that are handed to it whole wait for a moment, to be written together.

    They are written before any record, and by `flush`, so all lines stay in order.
    """

    def __init__(self, stream: TextIO) -> None:
        super().__init__(stream)
        self._json = _Json()
        self.setFormatter(_Text() if stream.isatty() else self._json)
        self.gathers = False
        """Off where nobody would flush what is gathered last."""
        self._lines: list[str] = []
        self._size = 0
        self._timer: asyncio.TimerHandle | None = None

    def suffices(self, logger: logging.Logger) -> bool:
        """Tell whether nobody but this handler would see a record of `logger`, and would show it as configured.

        Asked for every line: handlers, filters and levels may change at any time.
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
        """Take a whole line, with its end; must be called in the running loop."""
        size = len(line) if line.isascii() else len(line.encode(errors="replace"))
        if self._size + size > CHUNK_BYTES:
            self.write_gathered()
        self._lines.append(line)
        self._size += size
        if self._timer is None:
            self._timer = asyncio.get_running_loop().call_later(FLUSH_S, self._on_time)

    def emit(self, record: logging.LogRecord) -> None:
        """Write a record, after the lines that came before it."""
        self.write_gathered()
        super().emit(record)

    def flush(self) -> None:
        """Write what is gathered, and what the stream has kept."""
        self.write_gathered()
        super().flush()

    def write_gathered(self) -> None:
        """Write what is gathered; never raises."""
        if not self._lines:
            return
        self.acquire()  # records come from other threads, too; what the loop adds meanwhile, without it, stays
        try:
            count = len(self._lines)
            text = "".join(self._lines[:count])
            del self._lines[:count]
            self._size = 0
            self.stream.write(text)
            self.stream.flush()
        except (OSError, ValueError):
            pass  # the stream is gone, and there is nowhere else to say so
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
    """Return what takes whole INFO lines of `logger`; None where a record is expected, by a handler of the user's."""
    for handler in logging.root.handlers:
        return handler if isinstance(handler, Gatherer) and handler.suffices(logger) else None
    return None


@contextlib.contextmanager
def gathering() -> Iterator[None]:
    """Let lines be gathered; at the end all are written, and what comes later is written at once.

    For as long as the loop certainly runs: nothing at the end of a process can be relied on
    to flush, since uvicorn ends by the signal that it was sent.
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
    """Return how an INFO line begins that is written now, up to its fields."""
    now_s = time.time()
    at = f"{_second(int(now_s))}.{int(now_s * 1000) % 1000:03d}Z"
    return f'{{"at": "{at}", "level": "info", "logger": "{logger}", "event": "{event}", '


def configure(level: int = logging.INFO) -> None:
    """Send everything to standard error, in the form that its reader wants."""
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
