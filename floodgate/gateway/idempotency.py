"""The header `Idempotency-Key`: which record a request has, what it asks for, and the answer that is kept.

Syntax and codes are those of draft-ietf-httpapi-idempotency-key-header-07; that an
answer is kept whatever its status, and `Idempotent-Replayed`, are Stripe's. Whether
a key is known is decided in `admit`. Must not know what a record holds.
"""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import re
from dataclasses import dataclass, replace
from typing import Any

from fastapi import Request

from floodgate.broker.connection import redis_errors, run
from floodgate.broker.envelopes import unpack_reply
from floodgate.broker.idempotency import AdmitKey, recall
from floodgate.declare.idempotency import Idempotency
from floodgate.declare.registry import Handler
from floodgate.errors import DecodeError, FloodgateError
from floodgate.gateway.async_results import AsyncResults
from floodgate.gateway.context import GatewayContext
from floodgate.gateway.middleware import RequestRecord
from floodgate.gateway.outcomes import FAILURE_OF, Failure, Outcome
from floodgate.gateway.payload import Payload

HEADER = b"idempotency-key"
REPLAYED = "replayed"
_QUOTED = re.compile(rb'"((?:[ !#-\[\]-~]|\\["\\])*)"')
"""A String of RFC 8941, 3.3.3."""
_BARE = re.compile(rb"[!#-+\--~]+")
"""As many clients send it. Without commas: they are what joins several fields into one."""
_ESCAPED = re.compile(rb"\\(.)")
MOST_CHARACTERS = 255
CALL_S = 2.0
WAIT_S = 5.0
"""For a turn, and the call: a thousand may have joined."""
LOOK_S = 1.0
AT_ONCE = 16
"""Answers that are read at the same time: each may be large."""


@dataclass(frozen=True, slots=True)
class Replayed(Outcome):
    """The kept answer of a request that came before."""

    @property
    def outcome(self) -> str:
        return REPLAYED


@dataclass(frozen=True, slots=True)
class Joined(Outcome):
    """The answer of a run that another request began."""

    @property
    def outcome(self) -> str:
        return self.failure.label if self.failure else "joined"


class KeyReader:
    """Finds the record of one handler's requests."""

    def __init__(self, handler: Handler, declared: Idempotency) -> None:
        self._route = handler.route.encode()
        self._declared = declared

    def read(self, request: Request, record: RequestRecord) -> Outcome | None:
        """Note the record with the request's options; return why it is refused, if it is."""
        found = [value for name, value in request.scope["headers"] if name == HEADER]
        if not found:
            return Outcome(failure=Failure.KEY_REQUIRED) if self._declared.required else None
        key = _parse(found[0]) if len(found) == 1 else None
        if key is None:
            return Outcome(failure=Failure.KEY_MALFORMED)
        caller = record.caller
        if caller is None and not self._declared.public:
            return Outcome(failure=Failure.KEY_ANONYMOUS)
        who = b"" if caller is None else b"=" + caller.id.encode("utf-8", "surrogatepass")
        record.options = replace(record.options, record=_digest(self._route, who, key))
        return None


def _parse(value: bytes) -> bytes | None:
    """Return the key, or None for what is none; `"k"` and `k` are one key."""
    value = value.strip(b" \t")
    if quoted := _QUOTED.fullmatch(value):
        value = _ESCAPED.sub(rb"\1", quoted[1])
    elif not _BARE.fullmatch(value):
        return None
    return value if 1 <= len(value) <= MOST_CHARACTERS else None


def admit_key(declared: Idempotency, payload: Payload, inbox: str, full: bool) -> AdmitKey:
    """Return what `admit` is told of a request that has a record."""
    options = payload.options
    return AdmitKey(_fingerprint(payload), inbox, declared.window_s, declared.retry_lost, options.async_response, full)


def _fingerprint(payload: Payload) -> str:
    """Return a digest of what the handler gets of a request, byte for byte: JSON with another space is another one."""
    parts = [part.encode("utf-8", "surrogatepass") for pair in sorted(payload.path.items()) for part in pair]
    parts += [payload.query.encode("latin-1"), payload.body]
    parts += [part for pair in payload.headers if pair[0] != HEADER for part in pair]
    return _digest(b"%d" % len(payload.path), *parts)


def _digest(*parts: bytes) -> str:
    digest = hashlib.blake2b(digest_size=16)
    for part in parts:
        digest.update(b"%d:" % len(part))
        digest.update(part)
    return digest.hexdigest()


class KeptAnswers:
    """Reads the kept answers, and looks whether more may be kept."""

    def __init__(self, context: GatewayContext, results: AsyncResults) -> None:
        self._client = context.client
        self._keys = context.keys
        self._results = results
        self._is_used = any(handler.idempotency for handler in context.registry.handlers)
        self._turns = asyncio.Semaphore(AT_ONCE)
        self.full = False
        """Redis keeps as many answers as it may: a new key is refused."""

    async def recall(self, record: str, kind: type[Outcome]) -> Outcome | None:
        """Return the answer as a `kind` of outcome, or None where none is kept any more; raises `FloodgateError`."""
        with redis_errors():
            async with asyncio.timeout(WAIT_S), self._turns, asyncio.timeout(CALL_S):
                found = await run(self._client, recall(self._keys, record))
        if found.accepted:
            return kind(accepted=found.accepted)
        if found.answer is None:
            return None
        try:
            reply = unpack_reply(found.answer)
        except DecodeError:
            return kind(failure=Failure.UNKNOWN)
        return kind(reply=reply, failure=FAILURE_OF.get(reply.outcome))

    async def watch_forever(self, most_bytes: int | None) -> None:
        """Look once a second whether more answers may be kept; ends by cancellation, or where no route has any."""
        while self._is_used:
            with contextlib.suppress(FloodgateError, ValueError):
                self.full = await self._results.are_full(most_bytes, self._keys.idempotency_bytes())
            await asyncio.sleep(LOOK_S)


def documented(declared: Idempotency) -> dict[str, Any]:
    """Return the header as OpenAPI shows it."""
    text = (
        f"A request that comes again with the same key runs once; its answer is kept for {declared.window_s} s. "
        "A String of RFC 8941, or bare."
    )
    schema = {"type": "string", "minLength": 1, "maxLength": MOST_CHARACTERS}
    header = {"name": "Idempotency-Key", "in": "header", "required": declared.required, "description": text}
    return {"parameters": [header | {"schema": schema}]}
