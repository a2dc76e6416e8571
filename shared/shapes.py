"""The digests by which gateways and workers know that they mean the same.

Owns what counts as the same: what pydantic says of the types, and how FastAPI's
markers place them; not texts, limits or levels. Must not know web frameworks.
"""

from __future__ import annotations

import hashlib
import inspect
import json
from typing import Annotated, Any, Literal

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from shared.queue.messages import VERSION
from shared.registry import Declaration
from shared.signatures import Reading, markers_of

_TEXTS = {"title": str, "description": str, "examples": list, "deprecated": bool}
"""JSON Schema keywords that do not change what is valid, and the type that tells them from properties."""
_VALUES = {"default", "const", "enum"}
_PLACING = ("alias", "validation_alias", "convert_underscores", "embed")
"""Attributes of FastAPI's markers that change where a value is read from."""


def shape_of(declaration: Declaration, reading: Reading) -> str:
    """Return the digest of one route; raises `DeclarationError` for a type that has no JSON form."""
    shape: list[Any] = [VERSION, reading.kind, declaration.presentation.media_type]
    for parameter in reading.signature.parameters.values():
        annotation, default = parameter.annotation, parameter.default
        if annotation is parameter.empty:
            annotation = Any
        markers = [
            [repr(type(marker)), *(repr(getattr(marker, name, None)) for name in _PLACING)]
            for marker in markers_of(parameter)
            if isinstance(marker, FieldInfo)
        ]
        if isinstance(default, FieldInfo):
            annotation, default = Annotated[annotation, default], parameter.empty
        schema = _schema(declaration, parameter.name, annotation, "validation")
        shape.append([parameter.name, schema, repr(default), markers])
    if reading.result is not inspect.Signature.empty:
        shape.append(_schema(declaration, "return", reading.result, "serialization"))
    return digest(shape)


def digest(value: Any) -> str:
    """Return twelve hexadecimal digits that stand for a JSON value."""
    text = json.dumps(value, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()


def _schema(declaration: Declaration, name: str, annotation: Any, mode: Literal["validation", "serialization"]) -> Any:
    try:
        return _without_texts(TypeAdapter(annotation).json_schema(mode=mode))
    except PydanticUserError as error:
        first = str(error).splitlines()[0]
        declaration.refuse(f"the type of {name!r} cannot travel as JSON ({first}); use types that pydantic knows")


def _without_texts(schema: Any) -> Any:
    if isinstance(schema, list):
        return [_without_texts(item) for item in schema]
    if not isinstance(schema, dict):
        return schema
    return {
        key: value if key in _VALUES else _without_texts(value)
        for key, value in schema.items()
        if not (key in _TEXTS and isinstance(value, _TEXTS[key]))
    }
