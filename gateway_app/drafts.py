"""What of a request travels to the worker: raw, as it came, and only what the handler declares.

A cookie or header that no parameter asks for stays in the gateway, so no session
or token of another part of the site lies in Redis. Must not know Redis.
"""

from __future__ import annotations

from collections.abc import Iterable
from typing import Any, get_args

from fastapi import Request
from fastapi.dependencies.models import Dependant
from fastapi.routing import APIRoute
from pydantic import BaseModel

from gateway_app.answers import Draft
from gateway_app.requests import facts_of
from shared.queue.messages import Headers
from shared.registry import Handler

_COOKIE = b"cookie"
_CONTENT_TYPE = b"content-type"


class Drafter:
    """Cuts out of a request what one handler reads."""

    def __init__(self, handler: Handler) -> None:
        dependant = places_of(handler)
        self._reads_query = bool(dependant.query_params)
        self._reads_body = bool(dependant.body_params)
        self._headers = {field.alias.lower().encode("latin-1") for field in dependant.header_params}
        if self._reads_body:
            self._headers.add(_CONTENT_TYPE)
        self._all_headers = _under_other_names(dependant.header_params)
        self._cookies = {field.alias for field in dependant.cookie_params}
        self._all_cookies = _under_other_names(dependant.cookie_params)

    async def draft(self, request: Request, level: int) -> Draft:
        """Return the raw arguments of a request that FastAPI has validated."""
        scope, facts = request.scope, facts_of(request.scope)
        return Draft(
            request_id=facts.request_id,
            terms=facts.terms,
            path={name: str(value) for name, value in scope["path_params"].items()},
            query=scope["query_string"].decode("latin-1") if self._reads_query else "",
            headers=self._pick(scope["headers"]) if self._headers or self._cookies else (),
            body=await request.body() if self._reads_body else b"",
            caller=facts.caller,
            level=level,
        )

    def _pick(self, headers: list[tuple[bytes, bytes]]) -> Headers:
        picked = [(n, v) for n, v in headers if n in self._headers or (self._all_headers and n != _COOKIE)]
        for name, value in headers:
            if name == _COOKIE and (kept := self._declared(value)):
                picked.append((name, kept))
        return tuple(picked)

    def _declared(self, cookies: bytes) -> bytes:
        if self._all_cookies:
            return cookies
        parts = cookies.decode("latin-1").split(";")
        return ";".join(part for part in parts if part.partition("=")[0].strip() in self._cookies).encode("latin-1")


def places_of(handler: Handler) -> Dependant:
    """Return where FastAPI reads each parameter of a handler from: path, query, headers, cookies, body."""

    async def unused(**_: Any) -> None: ...

    unused.__signature__ = handler.signature.replace(return_annotation=None)  # type: ignore[attr-defined]
    return APIRoute(handler.path, unused, methods=[handler.method], response_model=None).dependant


def _under_other_names(fields: Iterable[Any]) -> bool:
    """Tell whether values are read under more names than a field's alias: by a model, or by several aliases."""
    return any(
        _holds_model(field.field_info.annotation) or not isinstance(field.field_info.validation_alias, str | None)
        for field in fields
    )


def _holds_model(annotation: Any) -> bool:
    if isinstance(annotation, type) and issubclass(annotation, BaseModel):
        return True
    return any(_holds_model(part) for part in get_args(annotation))
