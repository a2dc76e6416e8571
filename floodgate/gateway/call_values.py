"""From a typed value to the JSON value that validates to it again.

Dumping is made for readers: it hides secrets, leaves out what is excluded, and
uses other names than validation reads. Here all of that is put back. Knows
pydantic only.
"""

from __future__ import annotations

from collections.abc import Mapping, Set
from typing import Any, Literal, get_origin

from pydantic import AliasChoices, RootModel, SecretBytes, SecretStr, TypeAdapter
from pydantic.fields import FieldInfo
from pydantic_core import to_jsonable_python


def sendable(adapter: TypeAdapter[Any], value: Any) -> Any:
    """Return what `adapter` would validate to `value`; raises `ValueError` for what does not fit."""
    try:
        return _as_read(value, _dumped(adapter, value))
    except ValueError:  # no instance of the annotation: perhaps something that validation makes one of
        value = adapter.validate_python(value)
        return _as_read(value, _dumped(adapter, value))


def name_read(field: FieldInfo, name: str) -> str:
    """Return the name under which validation reads a field first."""
    alias = field.validation_alias
    if isinstance(alias, AliasChoices):
        alias = alias.choices[0]
    return alias if isinstance(alias, str) else field.alias or name


def _dumped(adapter: TypeAdapter[Any], value: Any) -> Any:
    return adapter.dump_python(value, mode="json", by_alias=False, round_trip=True, warnings="error")


def _as_read(value: Any, dumped: Any) -> Any:
    """Walk a value beside its own dump, which has the fields' names, and put right what dumping changed."""
    if isinstance(value, SecretStr | SecretBytes):
        return to_jsonable_python(value.get_secret_value())
    if isinstance(value, RootModel):
        return _as_read(value.root, dumped)
    fields: Mapping[str, FieldInfo] | None = getattr(type(value), "__pydantic_fields__", None)
    if fields is not None and isinstance(dumped, dict):
        return _fields_as_read(value, fields, dumped)
    if isinstance(value, Mapping) and isinstance(dumped, dict) and len(value) == len(dumped):
        return {key: _as_read(item, dumped[key]) for key, item in zip(dumped, value.values(), strict=True)}
    if isinstance(dumped, list) and isinstance(value, list | tuple | Set) and len(value) == len(dumped):
        return [_as_read(item, inner) for item, inner in zip(value, dumped, strict=True)]
    return dumped


def _fields_as_read(value: Any, fields: Mapping[str, FieldInfo], dumped: dict[str, Any]) -> dict[str, Any]:
    if type(value).__pydantic_decorators__.model_serializers:  # a form of its own, which only its author can read
        return dumped
    given = getattr(value, "model_fields_set", fields.keys())
    read: dict[str, Any] = {}
    for name, field in fields.items():
        item = getattr(value, name)
        is_tag = get_origin(field.annotation) is Literal  # by which a union may tell its members
        if name not in given and field.default_factory is None and item == field.default and not is_tag:
            continue  # so that it is not set on arrival either
        if name in dumped:
            read[name_read(field, name)] = _as_read(item, dumped[name])
        elif field.exclude or field.exclude_if:
            read[name_read(field, name)] = _as_read(item, to_jsonable_python(item))
    extra = getattr(value, "model_extra", None) or {}
    return read | {name: _as_read(item, dumped[name]) for name, item in extra.items() if name in dumped}
