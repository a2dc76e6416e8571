"""The digests by which gateways and workers of two releases find out which routes they read alike.

Owns what counts as alike: what pydantic says of the types, and where FastAPI's
markers read them from; not texts, limits or levels. Equal in every process, so nothing
here may depend on an address or on the order of a set. Must not know web frameworks.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from collections.abc import Sequence
from typing import Any, Literal

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo
from pydantic_core import PydanticSerializationError, to_jsonable_python

from floodgate.broker.envelopes import VERSION
from floodgate.declare.registry import Declaration, Handler
from floodgate.declare.signature import HandlerSignature, markers_of, type_of

_TEXTS = {"title", "description", "example", "examples", "deprecated"}
"""JSON Schema keywords that do not change what is valid."""
_BY_NAME = {"properties", "patternProperties", "$defs", "mapping"}
"""Keywords whose value has names of the user's, which may be those of keywords."""
_VALUES = {"const", "enum"}
_PLACING = ("alias", "validation_alias", "convert_underscores", "embed")
"""Attributes of FastAPI's markers that change where a value is read from."""


def route_digest(method: str, path: str) -> str:
    """Return the name that a route has in Redis."""
    return _digest([method, path])


def signature_digest(declaration: Declaration, signature: HandlerSignature) -> str:
    """Return the digest of one route's types; raises `DeclarationError` for a type that has no JSON form."""
    parts: list[Any] = [VERSION, signature.kind, declaration.presentation.media_type]
    for parameter in signature.parameters.parameters.values():
        markers = [marker for marker in markers_of(parameter) if isinstance(marker, FieldInfo)]
        schema = _schema(declaration, parameter.name, type_of(parameter), "validation")
        parts.append([parameter.name, schema, _default(parameter), [_placing(marker) for marker in markers]])
    if signature.result is not inspect.Signature.empty:
        parts.append(_schema(declaration, "return", signature.result, "serialization"))
    if signature.stream is not None:
        parts.append([signature.stream, declaration.streaming.resumable])
    return _digest(parts)


def release_digest(handlers: Sequence[Handler]) -> str:
    """Return the digest of all routes with their signatures."""
    return _digest(sorted((handler.route, handler.signature_digest) for handler in handlers))


def _digest(value: Any) -> str:
    """Return twelve hexadecimal digits that stand for a JSON value."""
    text = json.dumps(value, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _placing(marker: FieldInfo) -> list[Any]:
    return [repr(type(marker)), marker.is_required(), *(repr(getattr(marker, name, None)) for name in _PLACING)]


def _default(parameter: inspect.Parameter) -> Any:
    if parameter.default is parameter.empty or isinstance(parameter.default, FieldInfo):
        return "none of its own"
    try:
        plain = to_jsonable_python(
            parameter.default, bytes_mode="base64", fallback=lambda value: type(value).__qualname__
        )
    except PydanticSerializationError:
        return type(parameter.default).__qualname__
    return [_unordered(plain)]


def _schema(declaration: Declaration, name: str, annotation: Any, mode: Literal["validation", "serialization"]) -> Any:
    try:
        adapter: TypeAdapter[Any] = TypeAdapter(annotation)
        # By both names of a field: requests are read by the alias, the arguments of a `call` by the field's own.
        return [_without_texts(adapter.json_schema(mode=mode, by_alias=by_alias)) for by_alias in (True, False)]
    except PydanticUserError as error:
        first = str(error).splitlines()[0]
        declaration.refuse(f"the type of {name!r} cannot travel as JSON ({first}); use types that pydantic knows")


def _without_texts(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_texts(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    kept = {}
    for key, value in schema.items():
        if key in _BY_NAME:
            kept[key] = {name: _without_texts(part) for name, part in value.items()}
        elif key == "default":
            kept[key] = _unordered(value)
        elif key not in _TEXTS:
            kept[key] = value if key in _VALUES else _without_texts(value)
    return kept


def _unordered(value: Any) -> Any:
    """Return a default with its lists sorted: one that was a set has another order in every process."""
    if isinstance(value, dict):
        return {key: _unordered(item) for key, item in value.items()}
    if isinstance(value, list | tuple):
        return sorted((_unordered(item) for item in value), key=lambda item: json.dumps(item, default=repr))
    return value
