"""The settings of both apps: unit, default and the reason for each.

Read once at start from the environment (`FLOODGATE_` and the name in capitals), passed in
from there on; nothing else reads the environment.
"""

from __future__ import annotations

import logging
import os
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ConfigDict, Field, SecretStr, ValidationError, ValidationInfo, field_validator

from floodgate.errors import ConfigurationError
from floodgate.operations import environment, redis_url

NAMESPACE = "floodgate"
"""Of a Redis that serves this deployment alone: `make dev` and docker-compose.yml bring one."""
UNNAMED = "?"
"""Begins what docker-compose.yml makes of a `REDIS_URL` without a namespace: it cannot leave out its own default."""
KILL_MARGIN_S = 5
"""From the end of the drain to gunicorn's SIGKILL."""

log = logging.getLogger(__name__)


class Settings(BaseModel):
    """What the environment says; `Settings(lease_s=1)` in a test."""

    # A value that does not fit may be a secret all the same: errors name the setting only.
    model_config = ConfigDict(frozen=True, hide_input_in_errors=True)

    redis_url: SecretStr | None = Field(None, description="Redis ≥ 7.0 or Valkey ≥ 8; may hold a password")
    namespace: str = Field(
        "",
        pattern=r"^[A-Za-z0-9_.-]{1,64}$",
        validate_default=True,
        description="prefix and hash tag of all keys; one per deployment",
    )
    handlers: str = Field("shared.handlers", description="the package whose modules are discovered")

    gateway_port: int = Field(8000, ge=1, le=65535, description="the one public port")
    worker_port: int = Field(8002, ge=1, le=65535, description="the worker's own live and ready")

    timeout_s: float = Field(10, gt=0, le=3600, description="default of a handler's timeout_s")
    lease_s: float = Field(
        5, ge=0.5, le=60, description="how long a silent worker keeps its tasks; renewed five times per lease"
    )
    drain_s: float = Field(
        30, gt=0, le=3600, description="how long a leaving process ends its work; longer than the longest timeout_s"
    )
    shutdown_delay_s: float = Field(
        0, ge=0, le=300, description="how long a leaving gateway still takes requests while it says not ready"
    )
    stop_grace_s: float | None = Field(
        None, gt=0, le=7200, description="after which whoever runs the containers kills them, if anybody does"
    )

    worker_concurrency: int = Field(100, ge=1, le=10_000, description="async handlers at once, per process")
    worker_threads: int = Field(16, ge=1, le=1_000, description="sync handlers at once, per process")
    stuck_s: float = Field(
        30, gt=0, le=3600, description="how long runs past their deadline may hold all places before a worker ends"
    )
    worker_max_level: int = Field(9, ge=0, le=9, description="the dearest tasks this worker takes")

    rate_per_s: float | None = Field(None, gt=0, description="requests a second to queued routes, per gateway process")
    rate_burst: float = Field(1000, ge=1, description="how many may come at once under FLOODGATE_RATE_PER_S")
    result_ttl_s: int = Field(3600, ge=1, le=604800, description="how long the result of a 202 can be fetched")
    dead_max_bytes: int = Field(
        16 << 20, ge=0, description="memory for dead letters, the last ones, each cut at 16 KiB"
    )
    dead_keep_body: bool = Field(True, description="keep body, headers, query and claims in a dead letter")

    body_s: float = Field(
        10, gt=0, le=3600, description="how long a body may take, or its route's time-out where that is longer: 408"
    )
    results_bytes: int | None = Field(
        None, ge=0, description="of kept results of 202s; unset: a quarter of Redis's maxmemory, or 64 MiB"
    )
    idempotency_max_bytes: int | None = Field(
        None, ge=0, description="of kept answers of Idempotency-Keys; unset: a quarter of Redis's maxmemory, or 64 MiB"
    )
    max_body_bytes: int = Field(1 << 20, ge=0, description="of a request; above it: 413")
    max_result_bytes: int = Field(16 << 20, ge=1, description="of an answer; above it: 500")

    stream_flush_s: float = Field(
        0.05, ge=0.001, le=1, description="how long a worker gathers what its streams yield before it sends it"
    )
    stream_window_bytes: int = Field(
        256 * 1024, ge=1024, description="of one stream, what may be under way that its client has not taken"
    )

    allow_eviction: bool = Field(False, description="be ready with a Redis that throws keys away when it is full")
    unsent_bytes: int = Field(
        64 << 20,
        ge=0,
        description="of answers that clients have not read, per gateway process; beyond: the stillest end",
    )

    ops_token: SecretStr | None = Field(
        None, min_length=16, description="opens /-/metrics and all else under /-/; unset: from this machine only"
    )
    metrics_dir: Path | None = Field(
        None, description="where processes behind one port share their figures; gunicorn and `make dev` make their own"
    )

    def __init__(self, **given: Any) -> None:
        """Read from the environment what is not given; raises `ConfigurationError` for a name that is no setting."""
        super().__init__(**environment.given(os.environ, list(type(self).model_fields)) | given)

    @field_validator("redis_url", "ops_token", "metrics_dir", "results_bytes", "idempotency_max_bytes", mode="before")
    @classmethod
    def _unset(cls, value: object) -> object:
        return None if value == "" else value  # as compose files write what is not set

    @field_validator("redis_url")
    @classmethod
    def _address(cls, value: SecretStr | None) -> SecretStr | None:
        if value is not None:
            redis_url.check(value.get_secret_value())
        return value

    def metrics_of(self, app: str) -> Path | None:
        """Return where the processes of an app share their figures; two apps may have one environment."""
        return None if self.metrics_dir is None else self.metrics_dir / app

    @field_validator("namespace", mode="before")
    @classmethod
    def _named(cls, value: object, info: ValidationInfo) -> object:
        if value not in (None, "") and not str(value).startswith(UNNAMED):
            return value
        if info.data.get("redis_url") is not None:
            raise ValueError("name it where REDIS_URL is set: whoever has the same one on that Redis runs your tasks")
        return NAMESPACE

    @property
    def redis(self) -> str:
        """Return the address of Redis, or raise `ConfigurationError` with the repair."""
        if self.redis_url is None:
            raise ConfigurationError(
                "REDIS_URL is not set: `make dev` brings a Redis of its own; elsewhere set e.g. REDIS_URL=redis://127.0.0.1:6379/0"
            )
        return self.redis_url.get_secret_value()

    @property
    def graceful_timeout_s(self) -> int:
        """Return how long gunicorn lets a leaving process live."""
        return round(self.shutdown_delay_s + self.drain_s) + KILL_MARGIN_S

    @property
    def lease_ms(self) -> int:
        return round(self.lease_s * 1000)

    @property
    def renew_s(self) -> float:
        return self.lease_s / 5

    @property
    def registration_ms(self) -> int:
        return round(self.lease_s * 600)


def of_app() -> Settings:
    """Return the settings of an app that starts; logs which variables are ignored or have another name now."""
    for line in environment.notes(os.environ, list(Settings.model_fields)):
        log.warning(line)
    settings = Settings()
    _ = settings.redis  # a missing address ends the start with the repair, not a loop of errors
    return settings


def faults(error: ValidationError | ConfigurationError) -> list[str]:
    """Say of each setting that does not fit how it is set and what is wrong; never its value, which may be a secret."""
    if isinstance(error, ConfigurationError):
        return [str(error)]
    said = []
    for fault in error.errors():
        name, wrong = str(fault["loc"][0]), fault["msg"].removeprefix("Value error, ")
        field = Settings.model_fields.get(name)
        said.append(f"{environment.variable(name)}: {wrong}" + (f" ({field.description})" if field else ""))
    return said
