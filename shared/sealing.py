"""Turns declarations into a sealed registry, or says what is wrong and where.

Owns every check of a declaration and the digests by which gateways and workers
know that they agree. Must not know web frameworks: a digest covers what pydantic
says of the types, whatever the framework makes of them.
"""

from __future__ import annotations

import hashlib
import inspect
import json
import re
from collections.abc import Iterable
from typing import Annotated, Any, Literal, NoReturn

from pydantic import TypeAdapter
from pydantic.errors import PydanticUserError
from pydantic.fields import FieldInfo

from shared.context import Context
from shared.errors import DeclarationError
from shared.registry import IDEMPOTENT, METHODS, Declaration, Handler, Registry

_PATH_PARAMETER = re.compile(r"{([^}:]*)(:[^}]*)?}")
_MAX_LEVEL = 9
_ENGINE_PREFIX = "/-/"
_TEXTS = {"title": str, "description": str, "examples": list, "deprecated": bool}
"""JSON Schema keywords that do not change what is valid, and the type that tells them from properties."""
_VALUES = {"default", "const", "enum"}


def seal(declarations: Iterable[Declaration], timeout_s: float) -> Registry:
    """Check all declarations and return the registry; `timeout_s` is the default.

    Raises `DeclarationError`, which names file, line and mend, for the first mistake.
    """
    handlers: list[Handler] = []
    seen: dict[tuple[str, str], Declaration] = {}
    for declaration in declarations:
        handler = _check(declaration, timeout_s)
        key = (handler.method, _PATH_PARAMETER.sub("{}", handler.path))
        if key in seen:
            _refuse(
                declaration,
                f"{handler.label} is already declared at {seen[key].source}; give one of them another path or method",
            )
        seen[key] = declaration
        handlers.append(handler)
    contract = _digest(sorted((h.route, h.shape) for h in handlers))
    return Registry(tuple(handlers), {h.route: h for h in handlers}, contract)


def _refuse(declaration: Declaration, text: str) -> NoReturn:
    name = getattr(declaration.function, "__qualname__", repr(declaration.function))
    raise DeclarationError(f"{declaration.source}: {name}: {text}")


def _check(declaration: Declaration, timeout_s: float) -> Handler:
    _check_values(declaration)
    signature, context_name = _check_function(declaration)
    method, function = declaration.method.upper(), declaration.function
    attempts = declaration.attempts
    is_async = inspect.iscoroutinefunction(function)
    return Handler(
        function=function,
        name=function.__name__,
        path=declaration.path,
        method=method,
        max_concurrency=declaration.max_concurrency,
        timeout_s=timeout_s if declaration.timeout_s is None else declaration.timeout_s,
        attempts=attempts if attempts is not None else (2 if method in IDEMPOTENT else 1),
        level=declaration.level,
        kind="a" if is_async else "s",
        signature=signature,
        context_name=context_name,
        route=_digest([method, declaration.path]),
        shape=_digest(["a" if is_async else "s", *_shape(declaration, signature)]),
        source=declaration.source,
    )


def _check_values(declaration: Declaration) -> None:
    if declaration.unknown:
        _refuse(
            declaration,
            f"@queued knows no parameter {', '.join(declaration.unknown)}; see its docstring for those it takes",
        )
    path, method = declaration.path, declaration.method
    if not isinstance(path, str) or not path.startswith("/"):
        _refuse(declaration, f"the path {path!r} must be text that starts with '/'")
    if path.startswith(_ENGINE_PREFIX):
        _refuse(declaration, f"paths under {_ENGINE_PREFIX} belong to the engine; choose another")
    if not isinstance(method, str) or method.upper() not in METHODS:
        _refuse(declaration, f"the method {method!r} must be one of {', '.join(sorted(METHODS))}")
    if not _whole(declaration.max_concurrency) or declaration.max_concurrency < 1:
        _refuse(
            declaration, f"max_concurrency is {declaration.max_concurrency!r}; it must be a whole number, at least 1"
        )
    if not _whole(declaration.level) or not 0 <= declaration.level <= _MAX_LEVEL:
        _refuse(declaration, f"level is {declaration.level!r}; it must be a whole number from 0 to {_MAX_LEVEL}")
    if declaration.attempts is not None and (not _whole(declaration.attempts) or declaration.attempts < 1):
        _refuse(declaration, f"attempts is {declaration.attempts!r}; it must be a whole number, at least 1")
    timeout_s = declaration.timeout_s
    if timeout_s is not None and (
        isinstance(timeout_s, bool) or not isinstance(timeout_s, int | float) or not 0 < timeout_s < 1e6
    ):
        _refuse(declaration, f"timeout_s is {timeout_s!r}; it must be a number of seconds above 0")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _check_function(declaration: Declaration) -> tuple[inspect.Signature, str | None]:
    function = declaration.function
    if not inspect.isfunction(function):
        _refuse(declaration, "@queued decorates plain functions (def or async def); write one that calls this")
    if inspect.isgeneratorfunction(function) or inspect.isasyncgenfunction(function):
        _refuse(declaration, "a generator cannot be queued; return the whole result")
    try:
        signature = inspect.signature(function, eval_str=True)
    except (NameError, SyntaxError, TypeError) as error:
        _refuse(declaration, f"an annotation cannot be resolved ({error}); import its name at the top of the module")
    context_name = None
    for parameter in signature.parameters.values():
        if parameter.kind not in (parameter.POSITIONAL_OR_KEYWORD, parameter.KEYWORD_ONLY):
            _refuse(declaration, f"the parameter {parameter} cannot be filled from a request; name each parameter")
        if parameter.annotation is Context:
            if context_name is not None:
                _refuse(declaration, "two parameters ask for the Context; keep one")
            context_name = parameter.name
    for name, _ in _PATH_PARAMETER.findall(declaration.path):
        if name not in signature.parameters or name == context_name:
            _refuse(
                declaration,
                f"the path has {{{name}}}, the function has no such parameter; add one, or take it out of the path",
            )
    kept = [p for p in signature.parameters.values() if p.name != context_name]
    return signature.replace(parameters=kept), context_name


def _shape(declaration: Declaration, signature: inspect.Signature) -> list[Any]:
    shape: list[Any] = []
    for parameter in signature.parameters.values():
        annotation, default = parameter.annotation, parameter.default
        if annotation is parameter.empty:
            annotation = Any
        markers = [
            repr(type(m)) for m in (*getattr(annotation, "__metadata__", ()), default) if isinstance(m, FieldInfo)
        ]
        if isinstance(default, FieldInfo):
            annotation, default = Annotated[annotation, default], parameter.empty
        schema = _schema(declaration, parameter.name, annotation, "validation")
        shape.append([parameter.name, schema, repr(default), markers])
    returned = signature.return_annotation
    if returned is not signature.empty:
        shape.append(_schema(declaration, "return", returned, "serialization"))
    return shape


def _schema(declaration: Declaration, name: str, annotation: Any, mode: Literal["validation", "serialization"]) -> Any:
    try:
        return _without_texts(TypeAdapter(annotation).json_schema(mode=mode))
    except PydanticUserError as error:
        first = str(error).splitlines()[0]
        _refuse(declaration, f"the type of {name!r} cannot travel as JSON ({first}); use types that pydantic knows")


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


def _digest(value: Any) -> str:
    text = json.dumps(value, sort_keys=True, default=repr)
    return hashlib.blake2b(text.encode(), digest_size=6).hexdigest()
