"""One line of log per event: JSON, or readable text on a terminal.

Both apps call `configure` once; fields are passed as `extra=fields(...)`.
Never logs settings, headers, bodies or addresses with a password.
"""

from __future__ import annotations

import functools
import json
import logging
import sys
import time
from typing import Any

_FIELDS = "floodgate_fields"
_ENCODE = json.JSONEncoder(default=str, ensure_ascii=False).encode
"""`json.dumps` with arguments makes a new encoder for every line."""


def fields(**values: Any) -> dict[str, dict[str, Any]]:
    """Return `extra` for a logging call: what the line carries beside its text."""
    return {_FIELDS: values}


def configure(level: int = logging.INFO) -> None:
    """Send everything to standard error, in the form that its reader wants."""
    handler = logging.StreamHandler(sys.stderr)
    handler.setFormatter(_Text() if sys.stderr.isatty() else _Json())
    root = logging.getLogger()
    root.handlers[:] = [handler]
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
        return _ENCODE(line)


@functools.lru_cache(maxsize=2)
def _second(epoch_s: int) -> str:
    return time.strftime("%Y-%m-%dT%H:%M:%S", time.gmtime(epoch_s))


class _Text(logging.Formatter):
    def format(self, record: logging.LogRecord) -> str:
        clock = time.strftime("%H:%M:%S", time.localtime(record.created))
        rest = "".join(f" {key}={value}" for key, value in getattr(record, _FIELDS, {}).items())
        line = f"{clock} {record.levelname:7} {record.getMessage()}{rest}"
        if record.exc_info:
            line += "\n" + self.formatException(record.exc_info)
        return line
