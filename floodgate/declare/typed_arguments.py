"""The arguments of a `call` as one JSON object: the second form in which a task carries them.

What comes over HTTP travels raw, since FastAPI's rules read it. What a plain route
gives has its types already: it is written and read by the handler's own types, by the
names of fields, so that aliases, cookies and headers play no part. Must not know queues.
"""

from __future__ import annotations

import dataclasses
from collections.abc import Mapping, Set
from functools import cached_property
from typing import Annotated, Any, Literal, NotRequired, Required, get_origin

from fastapi.dependencies.models import Dependant
from fastapi.exceptions import FastAPIError, RequestValidationError
from fastapi.routing import APIRoute
from pydantic import Base64Bytes, EncodedBytes, RootModel, Secret, SecretBytes, SecretStr, TypeAdapter, ValidationError
from pydantic.fields import FieldInfo
from pydantic_core import to_json, to_jsonable_python
from typing_extensions import TypedDict

from floodgate.declare.registry import Handler
from floodgate.errors import DeclarationError

TYPED = ((b":arguments", b"typed"),)
"""The only header of a task of this form. No request can send it: a name with a colon is no token of HTTP."""

_AS_BASE64: Mapping[Any, Any] = {bytes: Base64Bytes, bytes | None: Base64Bytes | None}
"""A raw body may be any bytes, and JSON has only text."""


def dependant_of(handler: Handler) -> Dependant:
    """Return where FastAPI reads each parameter of a handler from; raises `DeclarationError` when it cannot."""

    async def unused(**_: Any) -> None: ...

    unused.__signature__ = handler.signature.replace(return_annotation=None)  # type: ignore[attr-defined]
    try:
        return APIRoute(handler.path, unused, methods=[handler.method], response_model=None).dependant
    except (AssertionError, FastAPIError) as error:
        raise DeclarationError(f"{handler.source}: {handler.name}: {error}") from error


class TypedArguments:
    """Writes and reads the arguments of one handler; `fields` has those that a request fills, by name."""

    def __init__(self, dependant: Dependant) -> None:
        places = dependant.path_params, dependant.query_params, dependant.header_params, dependant.cookie_params
        self.fields = {field.name: field for group in (*places, dependant.body_params) for field in group}

    @cached_property
    def _adapter(self) -> TypeAdapter[dict[str, Any]]:
        """Return the model; it is made with the first call, since most handlers are never called."""
        types = {
            name: (Required if field.field_info.is_required() else NotRequired)[_type(field.field_info)]
            for name, field in self.fields.items()
        }
        return TypeAdapter(TypedDict("Arguments", types))  # type: ignore[operator]

    def dump(self, arguments: Mapping[str, Any]) -> bytes:
        """Render the arguments that are given; raises `ValueError` for those that do not fit or have no JSON form."""
        try:
            plain = self._plain(arguments)
        except ValueError:  # one is no instance of its annotation: perhaps something that validation makes one of
            arguments = {name: self._fitting(name, value) for name, value in arguments.items()}
            plain = self._plain(arguments)
        return to_json({name: _unhidden(arguments[name], plain[name]) for name in arguments})

    def load(self, data: bytes) -> dict[str, Any]:
        """Return the arguments with the defaults of those not given; raises `RequestValidationError`."""
        try:
            given = self._adapter.validate_json(data, by_alias=False, by_name=True)
        except ValidationError as error:
            raise RequestValidationError(error.errors()) from error
        return {name: given[name] if name in given else field.get_default() for name, field in self.fields.items()}

    def _fitting(self, name: str, value: Any) -> Any:
        """Return a value that fits as it is: validation would decode what stands for itself here, such as base64."""
        adapter: TypeAdapter[Any] = TypeAdapter(_type(self.fields[name].field_info))
        try:
            adapter.dump_python(value, mode="json", by_alias=False, round_trip=True, warnings="error")
        except ValueError:
            try:
                return adapter.validate_python(value)
            except ValidationError as error:
                faults = (f"{'.'.join(map(str, (name, *fault['loc'])))}: {fault['msg']}" for fault in error.errors())
                raise ValueError("; ".join(faults)) from error
        return value

    def _plain(self, arguments: Mapping[str, Any]) -> dict[str, Any]:
        given: Any = arguments
        plain: dict[str, Any] = self._adapter.dump_python(
            given, mode="json", by_alias=False, round_trip=True, warnings="error"
        )
        return plain


def _type(info: FieldInfo) -> Any:
    annotation: Any = info.annotation
    if not any(isinstance(item, EncodedBytes) for item in info.metadata):  # which have a text form of their own
        annotation = _AS_BASE64.get(annotation, annotation)
    return Annotated[annotation, *info.metadata] if info.metadata else annotation


def _unhidden(value: Any, plain: Any) -> Any:
    """Return a value's JSON form with what pydantic hides from readers: secrets, and fields that are excluded.

    A field that was not set is left out, so that it is not set on arrival either.
    """
    if isinstance(value, SecretStr | SecretBytes | Secret):
        return _shown(value.get_secret_value())
    if isinstance(value, RootModel):
        return _unhidden(value.root, plain)
    if isinstance(plain, list) and isinstance(value, list | tuple | Set) and len(value) == len(plain):
        return [_unhidden(item, inner) for item, inner in zip(value, plain, strict=True)]
    if not isinstance(plain, dict):
        return plain
    if isinstance(value, Mapping) and len(value) == len(plain):
        return {key: _unhidden(item, plain[key]) for key, item in zip(plain, value.values(), strict=True)}
    fields: Mapping[str, FieldInfo] | None = getattr(type(value), "__pydantic_fields__", None)
    if fields is None:
        names = [field.name for field in dataclasses.fields(value)] if dataclasses.is_dataclass(value) else []
        return plain | {name: _unhidden(getattr(value, name), plain[name]) for name in names if name in plain}
    if type(value).__pydantic_decorators__.model_serializers:  # a form of its own, which only its author can read
        return plain
    given = getattr(value, "model_fields_set", fields.keys())
    for name, field in fields.items():
        item = getattr(value, name)
        # A field without default_factory would get an equal default; a tag is needed to tell a union's members apart.
        if name not in given and field.default_factory is None and item == field.default and not _is_tag(field):
            plain.pop(name, None)
        elif name in plain:
            plain[name] = _unhidden(item, plain[name])
        elif field.exclude or field.exclude_if:
            plain[name] = _shown(item)
    extra = getattr(value, "model_extra", None) or {}
    return plain | {name: _unhidden(item, plain[name]) for name, item in extra.items() if name in plain}


def _shown(value: Any) -> Any:
    """Return the JSON form of what a serializer hides or leaves out as a whole."""
    return _unhidden(value, to_jsonable_python(value, by_alias=False, round_trip=True))


def _is_tag(field: FieldInfo) -> bool:
    return get_origin(field.annotation) is Literal
