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
from floodgate.declare.streaming import RESUME_S, STREAM_IDLE_S, STREAM_S, StreamFormat, check_plain, check_stream

_PATH_PARAMETER = re.compile(r"{([^}:]*)(:[^}]*)?}")
_ENGINE_PREFIXES = ("/-/", "/tasks/")
_FASTAPI_PATHS = frozenset({"/docs", "/docs/oauth2-redirect", "/redoc", "/openapi.json"})
"""Routed before all others: a handler of that path would never be called."""
_BODILESS = frozenset({204, 205, 304})
_COUNT = "a whole number, at least 1"


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
    timeout_s = timeout_s if declaration.timeout_s is None else declaration.timeout_s
    _check_stream(declaration, signature, timeout_s)
    streaming = declaration.streaming
    return Handler(
        function=function,
        name=function.__name__,
        path=declaration.path,
        method=method,
        max_concurrency=declaration.max_concurrency,
        timeout_s=timeout_s,
        attempts=attempts if attempts is not None else (2 if method in IDEMPOTENT else 1),
        level=declaration.level,
        presentation=declaration.presentation,
        admission=declaration.admission,
        idempotency=_idempotency(declaration, method, signature.stream is not None),
        kind=signature.kind,
        signature=signature.parameters,
        result=signature.result,
        context_name=signature.context_name,
        resources=signature.resources,
        route=route_digest(method, declaration.path),
        stream=signature.stream,
        response_class=streaming.response_class,
        stream_s=None if signature.stream is None else streaming.stream_s or STREAM_S,
        stream_idle_s=streaming.stream_idle_s or STREAM_IDLE_S,
        resumable=streaming.resumable,
        resume_s=streaming.resume_s or RESUME_S,
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
    most, attempts, timeout_s = declaration.max_concurrency, declaration.attempts, declaration.timeout_s
    _require(declaration, "max_concurrency", most, _is_count(most), _COUNT)
    _require(declaration, "attempts", attempts, attempts is None or _is_count(attempts), _COUNT)
    holds = timeout_s is None or (_positive(timeout_s) and timeout_s < 1e6)
    _require(declaration, "timeout_s", timeout_s, holds, "a number of seconds above 0")


def _require(declaration: Declaration, name: str, value: object, holds: bool, rule: str) -> None:
    if not holds:
        declaration.refuse(f"{name} is {value!r}; it must be {rule}")


def _whole(value: object) -> bool:
    return isinstance(value, int) and not isinstance(value, bool)


def _is_count(value: int) -> bool:
    return _whole(value) and value >= 1


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
    else:
        holds = _whole(level) and 0 <= level <= MAX_LEVEL
        _require(declaration, "level", level, holds, f"a whole number from 0 to {MAX_LEVEL}, or a function")


def _check_admission(declaration: Declaration) -> None:
    asked = declaration.admission
    rate, priority, tenant = asked.rate, asked.priority, asked.tenant
    most, async_s = asked.max_running, asked.async_timeout_s
    holds = rate is None or (
        isinstance(rate, Rate) and _positive(rate.per_s) and _positive(rate.bucket) and rate.bucket >= 1
    )
    _require(declaration, "rate", rate, holds, "written as Rate(bucket=100, per_s=50), with a bucket of at least 1")
    holds = priority is None or callable(priority) or priority in WEIGHTS
    _require(declaration, "priority", priority, holds, f"one of {', '.join(WEIGHTS)}, or a function of Head")
    holds = tenant is None or callable(tenant) or (isinstance(tenant, str) and tenant != "")
    _require(declaration, "tenant", tenant, holds, "a text, or a function of Head that returns one or None")
    _require(declaration, "max_running", most, most is None or _is_count(most), _COUNT)
    holds = async_s is None or (_positive(async_s) and async_s <= 7000)
    _require(declaration, "async_timeout_s", async_s, holds, "a number of seconds up to 7000")


def _idempotency(declaration: Declaration, method: str, streams: bool) -> Idempotency | None:
    try:
        found = checked(declaration.idempotency)
    except ValueError as error:
        declaration.refuse(str(error))
    if found is not None and method in IDEMPOTENT:
        declaration.refuse(f"idempotency is for POST and PATCH; a {method} may be sent twice as it is (RFC 9110)")
    if found is not None and streams:
        declaration.refuse("a stream is not kept, so it cannot be told again; leave idempotency out")
    return found


def _check_stream(declaration: Declaration, signature: HandlerSignature, timeout_s: float) -> None:
    options, shown = declaration.streaming, declaration.presentation
    try:
        if signature.stream is None:
            check_plain(options)
            return
        check_stream(options, signature.stream, timeout_s)
    except ValueError as error:
        declaration.refuse(str(error))
    if declaration.method.upper() == "HEAD":
        declaration.refuse("a HEAD has no body that could be streamed; use GET, or return None")
    if shown.status_code in _BODILESS:
        declaration.refuse(f"a {shown.status_code} has no body that could be streamed; leave status_code out")
    if shown.media_type is not None and signature.stream is not StreamFormat.BYTES:
        declaration.refuse(
            f"a stream of items is {signature.stream.media_type}; leave media_type out, "
            "or yield bytes with response_class=StreamingResponse"
        )
    if declaration.admission.async_timeout_s is not None:
        declaration.refuse("a stream is not kept for a client that comes later; leave async_timeout_s out, or return")


def _check_presentation(declaration: Declaration, signature: HandlerSignature) -> None:
    shown = declaration.presentation
    holds = _whole(shown.status_code) and 200 <= shown.status_code <= 599
    _require(declaration, "status_code", shown.status_code, holds, "a whole number from 200 to 599")
    if shown.status_code in _BODILESS and signature.result not in (inspect.Signature.empty, None, type(None)):
        declaration.refuse(f"a {shown.status_code} has no body; annotate the function `-> None`")
    holds = shown.media_type is None or isinstance(shown.media_type, str)
    _require(declaration, "media_type", shown.media_type, holds, "text like 'image/png'")
    if signature.stream is None:
        _check_media_type(declaration, signature)
    holds = isinstance(shown.tags, list | tuple) and all(isinstance(tag, str) for tag in shown.tags)
    _require(declaration, "tags", shown.tags, holds, "a list of texts")
    _check_examples(declaration, shown.examples, signature.parameters)


def _check_media_type(declaration: Declaration, signature: HandlerSignature) -> None:
    shown = declaration.presentation
    raw = signature.result in (bytes, str)
    if shown.media_type is not None and not is_json(shown.media_type) and not raw:
        declaration.refuse(f"with media_type={shown.media_type!r} the function returns bytes or str; annotate it so")
    if signature.result is bytes and (shown.media_type is None or is_json(shown.media_type)):
        declaration.refuse(
            "a result of bytes needs a media_type that says what it is, e.g. media_type='application/octet-stream'"
        )


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
