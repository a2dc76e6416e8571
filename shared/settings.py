"""Your own settings, one field each, read from the environment: `ORDERS_DB=/data/orders.sqlite3`.

The engine's are in floodgate/operations/settings.py; their variables begin with `FLOODGATE_`.
"""

from __future__ import annotations

from pathlib import Path

from pydantic_settings import BaseSettings


class Settings(BaseSettings):
    """What the handlers are told from outside; `Settings()` reads it."""

    orders_db: Path = Path(".data/orders.sqlite3")
    """The database of the example in handlers/demo.py."""
