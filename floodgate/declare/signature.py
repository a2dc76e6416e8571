"""Inspects a handler's function: what a request fills, what the worker fills, what it returns.

Owns the checks of parameters, and says of each type that cannot travel what to
use instead. Web frameworks are known by the names of their classes
only, so that nothing here imports one.
"""

from __future__ import annotations

import inspect
from collections.abc import Iterator, Mapping, Sequence
from copy import copy
from dataclasses import dataclass
from types import UnionType
from typing import Annotated, Any, Union, get_args, get_origin

from pydantic.fields import FieldInfo
from typing_inspection.typing_objects import is_typealiastype

from floodgate.declare.context import Context
from floodgate.declare.registry import Declaration, ExecutorKind
from floodgate.declare.reply import Reply
from floodgate.declare.resource import Resource, needs_of, resource_in
from floodgate.declare.streaming import StreamFormat, is_generator, item_type, stream_format
from floodgate.errors import ConfigurationError

_FRAMEWORKS = {"fastapi", "starlette"}
_PLAIN_ROUTE = "write a plain route in gateway_app/main.py that hands the rest to `await call(…)`"
_INSTEAD = {
    "Depends": "pools and clients: Annotated[…, Resource(factory)]; who asks: Context.caller; "
    "checks of the request: `identify` in gateway_app/main.py",
    "HTTPConnection": "declare what you read of it as Header, Cookie or Query parameters; "
    "the request id and the caller are in the Context",
    "WebSocket": f"a handler answers once; {_PLAIN_ROUTE}",
    "Response": "return Reply(body, status, headers), and say media_type= in the decorator; "
    "to stream, `yield`, and say response_class= there",
    "BackgroundTasks": "a handler runs in a worker already: do the work in it",
    "SecurityScopes": "write `identify` in gateway_app/main.py; its result is Context.caller",
    "Form": f"take a JSON model or the raw body as bytes, or {_PLAIN_ROUTE}",
    "UploadFile": "take the raw body: Annotated[bytes, Body(media_type='application/octet-stream')], "
    f"or {_PLAIN_ROUTE}",
}


@dataclass(frozen=True, slots=True)
class HandlerSignature:
    """A handler's parameters, sorted by who fills them, and its result."""

    kind: ExecutorKind
    parameters: inspect.Signature
    """Only what a request fills, annotations resolved."""
    result: Any
    stream: StreamFormat | None
    """Of a generator; then `result` is the type of its items."""
    context_name: str | None
    resources: Mapping[str, Resource]


def inspect_handler(declaration: Declaration, path_names: Sequence[str]) -> HandlerSignature:
    """Return what the declared function asks for and returns; raises `DeclarationError`."""
    signature = _resolved(declaration)
    context_names = [p.name for p in signature.parameters.values() if p.annotation is Context]
    if len(context_names) > 1:
        declaration.refuse("two parameters ask for the Context; keep one")
    resources = {p.name: r for p in signature.parameters.values() if (r := resource_in(p.annotation)) is not None}
    kept = [p for p in signature.parameters.values() if p.name not in resources and p.name not in context_names]
    for parameter in kept:
        _check_parameter(declaration, parameter)
    filled = {parameter.name for parameter in kept}
    filled |= {m.alias for parameter in kept for m in markers_of(parameter) if isinstance(m, FieldInfo) and m.alias}
    for name in path_names:
        if not name.isidentifier():
            declaration.refuse(f"the path has {{{name}}}, and what stands in braces is spelled like a variable")
        if name not in filled:
            declaration.refuse(
                f"the path has {{{name}}}, the function has no such parameter; add one, or take it out of the path"
            )
    for resource in resources.values():
        if not isinstance(resource.factory, str):  # what is named is imported by workers only
            try:
                needs_of(resource.factory)
            except (ConfigurationError, NameError) as error:
                declaration.refuse(str(error))
    _refuse_foreign(declaration, "its result", signature.return_annotation)
    function, returned = declaration.function, signature.return_annotation
    stream = _stream(declaration) if is_generator(function) else None
    is_async = inspect.iscoroutinefunction(function) or inspect.isasyncgenfunction(inspect.unwrap(function))
    return HandlerSignature(
        kind="a" if is_async else "s",
        parameters=signature.replace(parameters=kept),
        result=_unwrapped(returned) if stream is None else item_type(returned, stream),
        stream=stream,
        context_name=context_names[0] if context_names else None,
        resources=resources,
    )


def markers_of(parameter: inspect.Parameter) -> list[Any]:
    """Return what stands beside a parameter's type: the metadata of `Annotated`, and a default that is a marker."""
    return [*getattr(parameter.annotation, "__metadata__", ()), parameter.default]


def type_of(parameter: inspect.Parameter) -> Any:
    """Return what pydantic is to make of a parameter: its annotation, with the rules that a default marker adds."""
    annotation = Any if parameter.annotation is parameter.empty else parameter.annotation
    return Annotated[annotation, parameter.default] if isinstance(parameter.default, FieldInfo) else annotation


def _resolved(declaration: Declaration) -> inspect.Signature:
    function = declaration.function
    if not inspect.isfunction(function):
        declaration.refuse("@queued decorates plain functions (def or async def); write one that calls this")
    try:
        signature = inspect.signature(function, eval_str=True)
    except Exception as error:  # an annotation is any expression
        declaration.refuse(f"an annotation cannot be resolved ({error}); import its name at the top of the module")
    scope = function.__qualname__.rpartition(".")[0]
    if scope and not scope.endswith("<locals>") and next(iter(signature.parameters), None) in ("self", "cls"):
        declaration.refuse("a method cannot be queued: there is no object to call it on; write a function")
    return signature.replace(
        parameters=[_own(parameter) for parameter in signature.parameters.values()],
        return_annotation=_unaliased(signature.return_annotation),
    )


def _stream(declaration: Declaration) -> StreamFormat:
    try:
        return stream_format(declaration.streaming)
    except ValueError as error:
        declaration.refuse(str(error))


def _own(parameter: inspect.Parameter) -> inspect.Parameter:
    """Return a parameter without type alias, whose default marker nobody else has: FastAPI writes into it."""
    default = copy(parameter.default) if isinstance(parameter.default, FieldInfo) else parameter.default
    return parameter.replace(annotation=_unaliased(parameter.annotation), default=default)


def _unaliased(annotation: Any) -> Any:
    """Return what an alias stands for: `type Page = Annotated[int, Query()]` (PEP 695)."""
    while is_typealiastype(annotation):
        annotation = annotation.__value__
    return annotation


def _check_parameter(declaration: Declaration, parameter: inspect.Parameter) -> None:
    if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
        declaration.refuse(f"the parameter {parameter} cannot be filled from a request; name each parameter")
    if isinstance(parameter.default, Resource):
        declaration.refuse(f"{parameter.name!r}: write Annotated[…, Resource(…)], not a default")
    _refuse_foreign(declaration, repr(parameter.name), parameter.annotation)
    if any(part is Context for part in _parts(parameter.annotation)):
        declaration.refuse(f"{parameter.name!r}: the worker always gives the Context; annotate it `Context`, no more")
    for marker in markers_of(parameter):
        _refuse_class(declaration, repr(parameter.name), type(marker))


def _refuse_foreign(declaration: Declaration, where: str, annotation: Any) -> None:
    for part in _parts(annotation):
        if isinstance(part, type):
            _refuse_class(declaration, where, part)


def _refuse_class(declaration: Declaration, where: str, found: type) -> None:
    for ancestor in found.__mro__:
        if ancestor.__name__ in _INSTEAD and ancestor.__module__.partition(".")[0] in _FRAMEWORKS:
            declaration.refuse(
                f"{where} is a {found.__name__}, which stays in the gateway; {_INSTEAD[ancestor.__name__]}"
            )


def _parts(annotation: Any) -> Iterator[Any]:
    yield annotation
    for argument in get_args(annotation):
        yield from _parts(argument)


def _unwrapped(annotation: Any) -> Any:
    """Take `Reply` off: `Reply[X]` and `X | Reply[X]` are answers with a body of `X`."""
    origin = get_origin(annotation)
    if annotation is Reply:
        return inspect.Signature.empty
    if origin is Reply:
        return get_args(annotation)[0]
    if origin in (Union, UnionType) and any(Reply in (part, get_origin(part)) for part in get_args(annotation)):
        parts = dict.fromkeys(_unwrapped(part) for part in get_args(annotation))
        if inspect.Signature.empty in parts:
            return inspect.Signature.empty
        return Union[tuple(parts)]  # noqa: UP007 -- the parts are known at run time only
    if origin is Annotated:
        inner, *metadata = get_args(annotation)
        kept = _unwrapped(inner)
        return kept if kept is inspect.Signature.empty else Annotated[kept, *metadata]
    return annotation
