"""What a plain route can call: typed arguments to raw ones, and a reply to a typed result.

The way there has to end in the very values it began with, since the worker reads
them as if they had come over HTTP; what cannot is refused before it is sent. Must
not know Redis.
"""

from __future__ import annotations

import inspect
from collections.abc import Callable, Iterable, Iterator, Mapping
from http.cookies import SimpleCookie
from typing import Annotated, Any, get_args
from urllib.parse import urlencode

from fastapi.params import Body, Header
from pydantic import BaseModel, TypeAdapter
from pydantic_core import to_json

from floodgate.broker.envelopes import TaskReply
from floodgate.declare.checks import is_json
from floodgate.declare.context import Caller
from floodgate.declare.registry import Handler, Registry
from floodgate.gateway.call_values import name_read, sendable
from floodgate.gateway.payload import Payload, dependant_of
from floodgate.gateway.request_options import OptionsReader, RequestOptions

OWN = "request"
"""The argument of `call` that a handler's parameter cannot be called."""

_OCTETS = "application/octet-stream"
_JSON = "application/json"


class CallCodecs:
    """The functions of one registry; each is prepared with its first call."""

    def __init__(self, registry: Registry) -> None:
        self._handlers = {handler.function: handler for handler in registry.handlers}
        self._prepared: dict[Callable[..., Any], CallCodec] = {}

    def find(self, function: Callable[..., Any]) -> CallCodec:
        """Return the prepared function; raises `LookupError`, and `TypeError` for one that cannot be called."""
        if function not in self._prepared:
            if function not in self._handlers:
                name = getattr(function, "__qualname__", repr(function))
                raise LookupError(f"{name} is not queued: only a function under @queued can be called")
            self._prepared[function] = CallCodec(self._handlers[function])
        return self._prepared[function]


class CallCodec:
    """One handler, as a plain route calls it."""

    def __init__(self, handler: Handler) -> None:
        self.handler = handler
        self.options_reader = OptionsReader(handler)
        self._places = places = dependant_of(handler)
        groups = (places.path_params, places.query_params, places.header_params, places.cookie_params)
        self._fields = {field.name: field for group in (*groups, places.body_params) for field in group}
        if OWN in self._fields:
            raise TypeError(f"{handler.label} has a parameter {OWN!r}: rename it and keep its name as alias={OWN!r}")
        self._adapters = {name: _adapter(field.field_info) for name, field in self._fields.items()}
        empty = handler.result is inspect.Signature.empty
        self._result: TypeAdapter[Any] = TypeAdapter(Any if empty else handler.result)
        for name in _one_way(handler.result):
            raise TypeError(f"the result of {handler.label} cannot be read back: {name}; use one alias for both ways")

    def payload(
        self, arguments: Mapping[str, Any], request_id: str, caller: Caller | None, options: RequestOptions
    ) -> Payload:
        """Return the raw arguments that give these values; raises `TypeError` for those that do not fit or travel."""
        self._check_names(arguments)
        places = self._places
        try:
            body, content_type = self._body(arguments)
            headers = [(n.lower(), v) for n, v in self._texts(places.header_params, arguments)]
            cookies = [f"{n}={_quoted(v)}" for n, v in self._texts(places.cookie_params, arguments)]
            headers += [("cookie", "; ".join(cookies))] if cookies else []
            headers += [("content-type", content_type)] if content_type else []
            raw = tuple((name.encode("latin-1"), value.encode("latin-1")) for name, value in headers)
            path = dict(self._texts(places.path_params, arguments))
            "".join(path.values()).encode()  # a lone surrogate is no text
            query = urlencode(list(self._texts(places.query_params, arguments)))
        except ValueError as error:
            raise TypeError(f"{self.handler.label}: {error}") from error
        level = self._level(arguments)
        return Payload(request_id, options, path=path, query=query, headers=raw, body=body, caller=caller, level=level)

    def result(self, reply: TaskReply) -> Any:
        """Return the result that a reply carries."""
        kind = next((value.decode("latin-1") for name, value in reply.headers if name == b"content-type"), "")
        if not reply.body and not kind:
            return None
        if is_json(kind):
            return self._result.validate_json(reply.body, by_alias=True, by_name=True)
        return reply.body.decode() if self.handler.result is str else reply.body

    def _check_names(self, arguments: Mapping[str, Any]) -> None:
        name = self.handler.function.__qualname__
        if unknown := [given for given in arguments if given not in self._fields]:
            known = ", ".join(self._fields) or "none"
            raise TypeError(f"{name} has no {', '.join(unknown)} that a request fills; it has: {known}")
        required = [field.name for field in self._fields.values() if field.field_info.is_required()]
        if missing := [name for name in required if name not in arguments]:
            raise TypeError(f"{name} needs {', '.join(missing)}")

    def _level(self, arguments: Mapping[str, Any]) -> int:
        if not callable(self.handler.level):
            return self.handler.level
        defaults = {name: f.get_default() for name, f in self._fields.items() if name not in arguments}
        return self.handler.level_of({**defaults, **arguments})

    def _texts(self, fields: Iterable[Any], arguments: Mapping[str, Any]) -> Iterator[tuple[str, str]]:
        for field in fields:
            if field.name not in arguments:
                continue
            value = arguments[field.name]
            plain = self._plain(field, value)
            if _is_nothing(plain):
                _refuse_unless_default(field, value)
            elif isinstance(plain, dict):
                yield from self._texts_of_model(field, value, plain)
            else:
                yield from ((name_read(field.field_info, field.name), text) for text in _spelled(field, plain))

    def _texts_of_model(self, field: Any, value: Any, plain: dict[str, Any]) -> Iterator[tuple[str, str]]:
        kept = {name: item for name, item in plain.items() if not _is_nothing(item)}
        if len(kept) < len(plain) and self._adapters[field.name].validate_python(kept) != value:
            raise ValueError(f"{field.name}: None or an empty list cannot be sent in the place of a default")
        hyphens = isinstance(field.field_info, Header) and field.field_info.convert_underscores
        own = type(value).model_fields if isinstance(value, BaseModel) else {}
        for name, item in kept.items():
            key = name.replace("_", "-") if hyphens and name in own else name
            yield from ((key, text) for text in _spelled(field, item))

    def _body(self, arguments: Mapping[str, Any]) -> tuple[bytes, str]:
        given = [field for field in self._places.body_params if field.name in arguments]
        if not given:
            return b"", ""
        info = given[0].field_info
        if len(self._places.body_params) > 1 or (isinstance(info, Body) and info.embed):
            parts = {name_read(f.field_info, f.name): self._plain(f, arguments[f.name]) for f in given}
            return to_json(parts), _JSON
        value = arguments[given[0].name]
        if isinstance(value, bytes):
            if not value:
                _refuse_unless_default(given[0], value)
            media_type = info.media_type if isinstance(info, Body) else _JSON
            raw = self._adapters[given[0].name].dump_python(value)  # other bytes for a type like Base64Bytes
            return raw, _OCTETS if is_json(media_type) else media_type
        return to_json(self._plain(given[0], value)), _JSON

    def _plain(self, field: Any, value: Any) -> Any:
        try:
            return sendable(self._adapters[field.name], value)
        except ValueError as error:
            raise ValueError(f"{field.name}: {error}") from error


def _adapter(info: Any) -> TypeAdapter[Any]:
    annotation: Any = Annotated[info.annotation, *info.metadata] if info.metadata else info.annotation
    return TypeAdapter(annotation)


def _is_nothing(value: Any) -> bool:
    return value is None or value == []


def _refuse_unless_default(field: Any, value: Any) -> None:
    if field.field_info.is_required() or field.get_default() != value:
        raise ValueError(f"{field.name}: {value!r} is nothing to HTTP, and would arrive as the default; leave it out")


def _spelled(field: Any, value: Any) -> Iterator[str]:
    for item in value if isinstance(value, list) else [value]:
        if item is None:
            raise ValueError(f"{field.name}: None inside a list cannot be sent")
        yield item if isinstance(item, str) else to_json(item).decode()


def _quoted(text: str) -> str:
    return SimpleCookie().value_encode(text)[1]


def _one_way(annotation: Any, seen: frozenset[Any] = frozenset()) -> Iterator[str]:
    """Yield the fields of a result that are written under a name, or left out, so that reading misses them."""
    for part in get_args(annotation):
        yield from _one_way(part, seen)
    if not (isinstance(annotation, type) and issubclass(annotation, BaseModel)) or annotation in seen:
        return
    for name, field in annotation.model_fields.items():
        written = field.serialization_alias or name
        if written not in (name, name_read(field, name)) or (field.exclude and field.is_required()):
            yield f"{annotation.__name__}.{name}"
        yield from _one_way(field.annotation, seen | {annotation})
