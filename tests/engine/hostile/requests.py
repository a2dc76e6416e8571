"""Requests that an OpenAPI document allows, or nearly: what hypothesis makes of it.

Owns the values. Sends nothing, and judges nothing.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from dataclasses import dataclass
from typing import Any
from urllib.parse import quote, urlencode

from hypothesis import strategies as st

MOST_DEEP = 3
FRAMING = {"content-length", "transfer-encoding", "host", "connection", "expect", "upgrade"}
"""Headers that the client itself sends, and would not send malformed."""
METHODS = ("get", "head", "post", "put", "patch", "delete")

TEXTS = st.one_of(
    st.text(max_size=20),
    st.sampled_from(
        [
            "",
            "0",
            "-1",
            "null",
            "true",
            "NaN",
            "1e999",
            "9" * 400,
            "\x00",
            "\ud800",
            "\u202e",
            "..",
            "../../etc/passwd",
            "a" * 5000,
            "2026-13-45T25:61:61Z",
            "2026-01-01",
            "00000000-0000-0000-0000-000000000000",
            "{}",
            "[1]",
            "%00",
            "' OR 1=1 --",
            "<script>",
            "{{7*7}}",
            "${7*7}",
            "%s%n",
        ]
    ),
)
ANY_JSON = st.recursive(
    st.one_of(st.none(), st.booleans(), st.integers(), st.floats(), st.sampled_from([2**63, -(2**64), 10**400]), TEXTS),
    lambda inner: st.lists(inner, max_size=4) | st.dictionaries(TEXTS, inner, max_size=4),
    max_leaves=8,
)
BODIES = st.one_of(
    st.binary(max_size=200),
    st.sampled_from(
        [
            b"",
            b"{",
            b"[" * 50_000,
            b'{"a":' * 20_000,
            b"\xff\xfe",
            b'"\\ud800"',
            b"nul",
            b"NaN",
            b"-Infinity",
            b"1" * 5000,
            b'{"__proto__": 1}',
            b"\x00" * 1000,
            b'{"a": 1, "a": 2}',
            b"\xef\xbb\xbf{}",
            "{}".encode("utf-16"),
        ]
    ),
)
TYPES = st.sampled_from(
    [
        "application/json",
        "application/json; charset=utf-16",
        "APPLICATION/JSON",
        "text/plain",
        "",
        "application/problem+json",
        "multipart/form-data; boundary=x",
        "application/x-www-form-urlencoded",
        "application/octet-stream",
        "*/*",
        "json;;;",
    ]
)
_VISIBLE = st.characters(min_codepoint=0x21, max_codepoint=0xFF, exclude_categories=["Cc"])
HEADER_TEXTS = st.text(_VISIBLE, max_size=30) | st.sampled_from(["a" * 3000, '"', ",", ";", "=", "\\"])
HEADERS = st.lists(
    st.tuples(
        st.sampled_from(
            [
                "prefer",
                "x-request-id",
                "accept",
                "accept-encoding",
                "authorization",
                "cookie",
                "idempotency-key",
                "range",
                "if-none-match",
                "last-event-id",
                "traceparent",
                "x-forwarded-for",
                "x-forwarded-host",
                "forwarded",
                "origin",
                "content-encoding",
                "x-http-method-override",
                "upgrade-insecure-requests",
            ]
        ),
        HEADER_TEXTS
        | st.sampled_from(
            ["respond-async", "wait=0", "respond-async, wait=99999999999", "wait=-1", "bytes=0-1", "gzip"]
        ),
    ),
    max_size=3,
)


@dataclass(frozen=True, slots=True)
class HostileRequest:
    """One request as it goes out; `template` names its operation."""

    method: str
    template: str
    target: str
    headers: tuple[tuple[str, str], ...]
    body: bytes | None


def requests_of(document: Mapping[str, Any]) -> st.SearchStrategy[HostileRequest]:
    """Return requests to all operations of a document."""
    operations = [
        (method, path, operation)
        for path, item in sorted(document["paths"].items())
        for method, operation in item.items()
        if method in METHODS
    ]
    return st.sampled_from(operations).flatmap(lambda found: _request(document, *found))


@st.composite
def _request(draw: st.DrawFn, document: Mapping[str, Any], method: str, path: str, operation: Any) -> HostileRequest:
    placed: dict[str, list[tuple[str, str]]] = {"path": [], "query": [], "header": [], "cookie": []}
    for parameter in operation.get("parameters", ()):
        if parameter["in"] == "path" or draw(st.integers(0, 4)):
            for _ in range(draw(st.sampled_from([1, 1, 1, 2]))):
                value = draw(TEXTS | _values(document, parameter["schema"]))
                placed[parameter["in"]].append((parameter["name"], _text(value)))
    target = path
    for name, text in placed["path"]:
        target = target.replace(f"{{{name}}}", quote(text or "x", safe="", errors="surrogatepass"))
        target = target.replace(f"{{{name}:path}}", quote(text or "x", errors="surrogatepass"))
    query = [*placed["query"], *draw(st.lists(st.tuples(TEXTS, TEXTS), max_size=2))]
    if query:
        target += "?" + urlencode(query, errors="surrogatepass")
    headers = [(name, _header(text)) for name, text in placed["header"] if name.lower() not in FRAMING]
    if placed["cookie"]:
        headers.append(("cookie", _header("; ".join(f"{name}={text}" for name, text in placed["cookie"]))))
    headers += draw(HEADERS)
    body = None
    if "requestBody" in operation or not draw(st.integers(0, 9)):
        content = operation.get("requestBody", {}).get("content", {})
        nothing: tuple[str, Any] = ("application/json", {})
        kind, media = next(iter(content.items()), nothing)
        value = draw(ANY_JSON | _values(document, media.get("schema", {})))
        body = draw(BODIES | st.just(_json(value))) if draw(st.integers(0, 3)) == 0 else _json(value)
        headers.append(("content-type", kind if draw(st.integers(0, 5)) else draw(TYPES)))
    return HostileRequest(method.upper(), path, target, tuple(headers), body)


def _values(document: Mapping[str, Any], schema: Any, depth: int = 0) -> st.SearchStrategy[Any]:
    """Return values of a schema, most of them valid; nothing is promised, since the oracle does not depend on it."""
    if not isinstance(schema, dict) or not schema or depth > MOST_DEEP:
        return ANY_JSON
    if "$ref" in schema:
        found: Any = document
        for part in schema["$ref"].removeprefix("#/").split("/"):
            found = found[part]
        return _values(document, found, depth + 1)
    if "const" in schema:
        return st.just(schema["const"])
    if "enum" in schema:
        return st.sampled_from(schema["enum"])
    for several in ("anyOf", "oneOf", "allOf"):
        if several in schema:
            return st.one_of([_values(document, part, depth + 1) for part in schema[several]])
    return _of_type(document, schema, depth)


def _of_type(document: Mapping[str, Any], schema: Any, depth: int) -> st.SearchStrategy[Any]:
    match schema.get("type"):
        case "integer":
            return st.integers() | st.integers(-3, 300)
        case "number":
            return st.floats() | st.integers(-3, 300)
        case "boolean":
            return st.booleans()
        case "null":
            return st.none()
        case "array":
            return st.lists(_values(document, schema.get("items"), depth + 1), max_size=schema.get("maxItems", 4))
        case "object":
            fields = schema.get("properties", {})
            required = {
                name: _values(document, fields.get(name), depth + 1)
                for name in schema.get("required", ())
                if name in fields
            }
            optional = {name: _values(document, s, depth + 1) for name, s in fields.items() if name not in required}
            known = st.fixed_dictionaries(required, optional=optional)
            return known | st.dictionaries(TEXTS, ANY_JSON, max_size=3)
        case "string":
            examples = {"date-time": ["2026-01-02T03:04:05Z"], "uuid": ["12345678-1234-5678-1234-567812345678"]}
            known_texts = [*schema.get("examples", ()), *examples.get(schema.get("format"), ()), "Ada", "a"]
            return st.sampled_from(known_texts) | TEXTS
    return ANY_JSON


def _text(value: Any) -> str:
    return value if isinstance(value, str) else json.dumps(value, default=str)


def _header(text: str) -> str:
    """Return what can stand in a header: everything else is refused by the client already."""
    return "".join(c for c in text if "\x20" <= c <= "\xff" and not "\x7f" <= c <= "\x9f").strip()[:8000]


def _json(value: Any) -> bytes:
    return json.dumps(value).encode("utf-8", "surrogatepass")
