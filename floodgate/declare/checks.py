"""Builds the registry from declarations, or says what is wrong and where.

Owns the checks of the decorator's arguments; `floodgate.declare.signature` has those of
the function. Must not know web frameworks.
"""

from __future__ import annotations

import inspect
import math
import re
from collections.abc import Iterable, Mapping
from typing import Any

from pydantic import TypeAdapter, ValidationError

from floodgate.declare.digest import release_digest, route_digest, signature_digest
from floodgate.declare.head import WEIGHTS, Rate
from floodgate.declare.idempotency import Idempotency, checked
from floodgate.declare.registry import IDEMPOTENT, MAX_LEVEL, METHODS, Declaration, Handler, Registry
from floodgate.declare.signature import HandlerSignature, inspect_handler, type_of

_PATH_PARAMETER = re.compile(r"{([^}:]*)(:[^}]*)?}")
_ENGINE_PREFIXES = ("/-/", "/tasks/")
_FASTAPI_PATHS = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})
"""Routed before all others: a handler of that path would never be called."""
_BODILESS = frozenset({204, 205, 304})


def build_registry(declarations: Iterable[Declaration], timeout_s: float) -> Registry:
    """Check all declarations and return the registry; `timeout_s` is the default.

    Raises `DeclarationError`, which names file, line and repair, for the first mistake.
    """
    handlers: list[Handler] = []
    seen: dict[tuple[str, str], Declaration] = {}
    for declaration in declarations:
        handler = _check(declaration, timeout_s)
        key = (handler.method, _PATH_PARAMETER.sub("{}", handler.path))
        if key in seen:
            declaration.refuse(
                f"{handler.label} is already declared at {seen[key].source}; give one of them another path or method"
            )
        seen[key] = declaration
        handlers.append(handler)
    return Registry(tuple(handlers), release_digest(handlers))


def _check(declaration: Declaration, timeout_s: float) -> Handler:
    _check_values(declaration)
    signature = inspect_handler(declaration, [name for name, _ in _PATH_PARAMETER.findall(declaration.path)])
    digest = signature_digest(declaration, signature)
    _check_level(declaration, signature.parameters)
    _check_admission(declaration)
    _check_presentation(declaration, signature)
    method, function = declaration.method.upper(), declaration.function
    attempts = declaration.attempts
    return Handler(
        function=function,
        name=function.__name__,
        path=declaration.path,
        method=method,
        max_concurrency=declaration.max_concurrency,
        timeout_s=timeout_s if declaration.timeout_s is None else declaration.timeout_s,
        attempts=attempts if attempts is not None else (2 if method in IDEMPOTENT else 1),
        level=declaration.level,
        presentation=declaration.presentation,
        admission=declaration.admission,
        idempotency=_idempotency(declaration, method),
        kind=signature.kind,
        signature=signature.parameters,
        result=signature.result,
        context_name=signature.context_name,
        resources=signature.resources,
        route=route_digest(method, declaration.path),
        signature_digest=digest,
        source=declaration.source,
    )


def _check_values(declaration: Declaration) -> None:
    if declaration.unknown:
        declaration.refuse(
            f"@queued knows no parameter {', '.join(declaration.unknown)}; see its docstring for those it takes"
        )
    path, method = declaration.path, declaration.method
    if not isinstance(path, str) or not path.startswith("/"):
        declaration.refuse(f"the path {path!r} must be text that starts with '/'")
    if path.startswith(_ENGINE_PREFIXES):
        declaration.refuse(f"paths under {' and '.join(_ENGINE_PREFIXES)} belong to the engine; choose another")
    if path in _FASTAPI_PATHS:
        declaration.refuse(f"FastAPI itself answers {path}; choose another path")
    if isinstance(method, str) and method.upper() == "WEBSOCKET":
        declaration.refuse(
            "a WebSocket cannot be queued; write one in gateway_app/main.py that uses `call`, "
            "and add websockets to requirements/run.in"
        )
    if not isinstance(method, str) or method.upper() not in METHODS:
        declaration.refuse(f"the method {method!r} must be one of {', '.join(sorted(METHODS))}")
    if not _whole(declaration.max_concurrency) or declaration.max_concurrency < 1:
        declaration.refuse(f"max_concurrency is {declaration.max_concurrency!r}; it must be a whole number, at least 1")
    if declaration.attempts is not None and (not _whole(declaration.attempts) or declaration.attempts < 1):
        declaration.refuse(f"attempts is {declaration.attempts!r}; it must be a whole number, at least 1")
    timeout_s = declaration.timeout_s
    if timeout_s is not None and not (_positive(timeout_s) and timeout_s < 1e6):
        declaration.refuse(f"timeout_s is {timeout_s!r}; it must be a number of seconds above 0")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _positive(value: object) -> bool:
    return isinstance(value, int | float) and not isinstance(value, bool) and math.isfinite(value) and value > 0


def _check_level(declaration: Declaration, signature: inspect.Signature) -> None:
    level = declaration.level
    if callable(level):
        if inspect.iscoroutinefunction(level):
            declaration.refuse("the level function is async; write a plain one: the gateway calls it for every request")
        try:
            asked = inspect.signature(level).parameters.values()
        except (ValueError, TypeError):
            declaration.refuse("the level function does not say what it takes; wrap it: level=lambda n: …")
        by_name = (inspect.Parameter.POSITIONAL_OR_KEYWORD, inspect.Parameter.KEYWORD_ONLY)
        unknown = {p.name for p in asked if p.kind not in by_name or p.name not in signature.parameters}
        if unknown:
            declaration.refuse(
                f"the level function asks for {', '.join(sorted(unknown))}; "
                f"it may take these: {', '.join(signature.parameters) or 'none'}"
            )
    elif not _whole(level) or not 0 <= level <= MAX_LEVEL:
        declaration.refuse(f"level is {level!r}; it must be a whole number from 0 to {MAX_LEVEL}, or a function")


def _check_admission(declaration: Declaration) -> None:
    asked = declaration.admission
    if asked.rate is not None and not (
        isinstance(asked.rate, Rate)
        and _positive(asked.rate.per_s)
        and _positive(asked.rate.bucket)
        and asked.rate.bucket >= 1
    ):
        declaration.refuse(f"rate is {asked.rate!r}; write rate=Rate(bucket=100, per_s=50), a bucket of at least 1")
    if not (asked.priority is None or callable(asked.priority) or asked.priority in WEIGHTS):
        declaration.refuse(
            f"priority is {asked.priority!r}; it must be one of {', '.join(WEIGHTS)}, or a function of Head"
        )
    if not (asked.tenant is None or callable(asked.tenant) or (isinstance(asked.tenant, str) and asked.tenant)):
        declaration.refuse(
            f"tenant is {asked.tenant!r}; it must be a text, or a function of Head that returns one or None"
        )
    most = asked.max_running
    if most is not None and not (_whole(most) and most >= 1):
        declaration.refuse(f"max_running is {most!r}; it must be a whole number, at least 1")
    if asked.async_timeout_s is not None and not (_positive(asked.async_timeout_s) and asked.async_timeout_s <= 7000):
        declaration.refuse(f"async_timeout_s is {asked.async_timeout_s!r}; it must be a number of seconds up to 7000")


def _idempotency(declaration: Declaration, method: str) -> Idempotency | None:
    try:
        found = checked(declaration.idempotency)
    except ValueError as error:
        declaration.refuse(str(error))
    if found is not None and method in IDEMPOTENT:
        declaration.refuse(f"idempotency is for POST and PATCH; a {method} may be sent twice as it is (RFC 9110)")
    return found


def _check_presentation(declaration: Declaration, signature: HandlerSignature) -> None:
    shown = declaration.presentation
    if not _whole(shown.status_code) or not 200 <= shown.status_code <= 599:
        declaration.refuse(f"status_code is {shown.status_code!r}; it must be a whole number from 200 to 599")
    if shown.status_code in _BODILESS and signature.result not in (inspect.Signature.empty, None, type(None)):
        declaration.refuse(f"a {shown.status_code} has no body; annotate the function `-> None`")
    if shown.media_type is not None and not isinstance(shown.media_type, str):
        declaration.refuse(f"media_type is {shown.media_type!r}; it must be text like 'image/png'")
    raw = signature.result in (bytes, str)
    if shown.media_type is not None and not is_json(shown.media_type) and not raw:
        declaration.refuse(f"with media_type={shown.media_type!r} the function returns bytes or str; annotate it so")
    if signature.result is bytes and (shown.media_type is None or is_json(shown.media_type)):
        declaration.refuse(
            "a result of bytes needs a media_type that says what it is, e.g. media_type='application/octet-stream'"
        )
    if not isinstance(shown.tags, list | tuple) or not all(isinstance(tag, str) for tag in shown.tags):
        declaration.refuse(f"tags is {shown.tags!r}; it must be a list of texts")
    _check_examples(declaration, shown.examples, signature.parameters)


def is_json(media_type: str) -> bool:
    """Tell whether a media type is JSON (RFC 8259), or built on it (RFC 6839)."""
    kind = media_type.partition(";")[0].strip().lower()
    return kind == "application/json" or kind.endswith("+json")


def _check_examples(declaration: Declaration, examples: Any, signature: inspect.Signature) -> None:
    if not isinstance(examples, Mapping) or not all(isinstance(values, list | tuple) for values in examples.values()):
        declaration.refuse('examples is a mapping of parameter to list of values: examples={"x": [2, 97]}')
    for name, values in examples.items():
        if name not in signature.parameters:
            declaration.refuse(f"examples names {name!r}, which no request fills; name a parameter of the function")
        adapter: TypeAdapter[Any] = TypeAdapter(type_of(signature.parameters[name]))
        for value in values:
            try:
                adapter.validate_python(value)
            except ValidationError as error:
                declaration.refuse(f"the example {value!r} of {name!r} is not valid: {error.errors()[0]['msg']}")
