"""From an OpenAPI document to requests: one kind per operation, each filled with values that fit.

Owns where a parameter goes and how it is written there (OpenAPI 3.1, "Style Values").
Must not know who sends the requests or what answers.
"""

from __future__ import annotations

import json
import urllib.error
import urllib.request
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any
from urllib.parse import quote, urlencode

from floodgate.peak.values import NoValue, Values, examples

METHODS = ("get", "put", "post", "delete", "options", "head", "patch", "trace")
PATIENCE_S = 10.0
BOUNDARY = "part-of-a-load-test"
OCTETS = 64
"""Length of a binary body, where the schema wants no other."""


class NoDocument(Exception):
    """There is no OpenAPI document; the text says what to do."""


@dataclass(frozen=True, slots=True)
class Ask:
    """One request, ready to be sent; `path` is quoted and has its query."""

    method: str
    route: str
    path: str
    headers: Mapping[str, str | list[str]] = field(default_factory=dict)
    body: bytes | None = None


@dataclass(frozen=True, slots=True, eq=False)
class Operation:
    """One method of one path, as the document describes it."""

    method: str
    path: str
    parameters: Sequence[Mapping[str, Any]] = ()
    content: Mapping[str, Any] = field(default_factory=dict)
    """Media type to what the document says of such a body."""

    @property
    def route(self) -> str:
        """Method and path template: the name that statistics and thresholds go by."""
        return f"{self.method} {self.path}"

    def ask(self, values: Values) -> Ask:
        """Returns a request; raises `NoValue` when a parameter has no example and cannot be generated."""
        path, query, cookies = self.path, [], []
        headers: dict[str, str | list[str]] = {}
        for parameter in self.parameters:
            given = self._given(parameter, values)
            if given is None:
                continue
            name, texts = parameter["name"], _texts(given)
            if parameter["in"] == "path":
                path = path.replace(f"{{{name}}}", quote(",".join(texts), safe=""))
            elif parameter["in"] == "query":
                query += [(name, text) for text in texts]
            elif parameter["in"] == "cookie":
                cookies += [f"{name}={text}" for text in texts]
            else:
                headers[name] = texts if len(texts) > 1 else texts[0]
        if cookies:
            headers["Cookie"] = "; ".join(cookies)
        body = self._body(values, headers)
        return Ask(self.method, self.route, f"{path}?{urlencode(query)}" if query else path, headers, body)

    def _given(self, parameter: Mapping[str, Any], values: Values) -> Any:
        """Returns the value of a parameter: an example, or what is generated when it is required; else None."""
        shown = _shown(parameter)
        if shown:
            return values.chance.choice(shown)
        schema = values.resolved(parameter.get("schema", {}))
        if not parameter.get("required") and not examples(schema):
            return None
        try:
            return values.value(schema)
        except NoValue as error:
            raise NoValue(f"{self.route}: {parameter['name']} ({parameter['in']}): {error}; give an example") from error

    def _body(self, values: Values, headers: dict[str, str | list[str]]) -> bytes | None:
        if not self.content:
            return None
        kind = min(self.content, key=_preference)
        media = self.content[kind]
        schema = values.resolved(media.get("schema", {}))
        shown = _shown(media)
        try:
            if not shown and _preference(kind) == OTHER:
                headers["Content-Type"] = kind
                return _octets(schema, values)
            value = values.chance.choice(shown) if shown else values.value(schema)
        except NoValue as error:
            raise NoValue(f"{self.route}: body: {error}; give an example") from error
        if value is None and not shown:
            return None
        headers["Content-Type"] = f"{kind}; boundary={BOUNDARY}" if kind == "multipart/form-data" else kind
        return _written(kind, value, _files(schema, values))


def operations(document: Mapping[str, Any]) -> list[Operation]:
    """Returns all operations of a document, in its order."""
    values = Values(document, None)  # type: ignore[arg-type]  # follows references only
    base = next((str(server["url"]) for server in document.get("servers", ())), "")
    prefix = base.rstrip("/") if base.startswith("/") else ""
    found = []
    for path, entry in document.get("paths", {}).items():
        item = values.referred(entry)
        for method in METHODS:
            if method not in item:
                continue
            told = [
                values.referred(each) for each in (*item.get("parameters", ()), *item[method].get("parameters", ()))
            ]
            parameters = {(each["in"], each["name"]): each for each in told}
            body = values.referred(item[method].get("requestBody", {}))
            found.append(Operation(method.upper(), prefix + path, tuple(parameters.values()), body.get("content", {})))
    return found


def fetch(host: str, where: str = "/openapi.json") -> dict[str, Any]:
    """Returns the document of a host; raises `NoDocument`."""
    url = where if "://" in where else host.rstrip("/") + where
    try:
        with urllib.request.urlopen(url, timeout=PATIENCE_S) as answer:
            document = json.load(answer)
    except urllib.error.HTTPError as error:
        raise NoDocument(f"{url} answers {error.code}: name the document with OPENAPI=/its/path") from error
    except OSError as error:  # a time-out is one
        raise NoDocument(f"nothing answers at {url}: {error}") from error
    except ValueError as error:
        raise NoDocument(f"{url} is no JSON: {error}") from error
    if not isinstance(document, dict) or not document.get("paths"):
        raise NoDocument(f"{url} describes no path")
    return document


JSON, FORM, PARTS, TEXT, OTHER = range(5)


def _preference(kind: str) -> int:
    """Returns how a body of a media type is written; of several, the least is taken."""
    name = kind.partition(";")[0].strip()
    if name == "application/json" or name.endswith("+json"):
        return JSON
    if name == "application/x-www-form-urlencoded":
        return FORM
    if name == "multipart/form-data":
        return PARTS
    return TEXT if name.startswith("text/") else OTHER


def _shown(described: Mapping[str, Any]) -> list[Any]:
    """Returns the examples beside a schema: OpenAPI names each."""
    named = described.get("examples")
    if isinstance(named, Mapping):
        return [each["value"] for each in named.values() if "value" in each]
    return [described["example"]] if "example" in described else []


def _written(kind: str, value: Any, files: set[str]) -> bytes:
    how = _preference(kind)
    if how == JSON:
        return json.dumps(value).encode()
    if how == FORM:
        return urlencode([(name, text) for name, each in value.items() for text in _texts(each)]).encode()
    if how == PARTS:
        return _parts(value, files)
    return str(value).encode()


def _parts(value: Mapping[str, Any], files: set[str]) -> bytes:
    """Writes a form of several parts (RFC 7578)."""
    lines = []
    for name, each in value.items():
        kind = f'; filename="{name}.txt"' if name in files else ""
        for text in _texts(each):
            head = f'Content-Disposition: form-data; name="{name}"{kind}'
            lines.append(f"--{BOUNDARY}\r\n{head}\r\n\r\n{text}\r\n")
    return "".join([*lines, f"--{BOUNDARY}--\r\n"]).encode()


def _files(schema: Mapping[str, Any], values: Values) -> set[str]:
    """Returns the properties of a form that are files."""
    found = set()
    for name, described in schema.get("properties", {}).items():
        inner = values.resolved(described)
        item = values.resolved(inner.get("items", inner))
        if item.get("format") == "binary" or "contentMediaType" in item:
            found.add(name)
    return found


def _octets(schema: Mapping[str, Any], values: Values) -> bytes:
    bounds = next((values.resolved(one) for one in schema.get("anyOf", ()) if one.get("type") != "null"), schema)
    most = bounds.get("maxLength", OCTETS)
    return values.chance.randbytes(max(bounds.get("minLength", 0), min(OCTETS, most)))


def _texts(value: Any) -> list[str]:
    """Returns a value as the texts of a parameter: a list is a text for each item."""
    return [_text(each) for each in value] if isinstance(value, list) else [_text(value)]


def _text(value: Any) -> str:
    if isinstance(value, str):
        return value
    return "" if value is None else json.dumps(value)
