"""Values at the edges, and the places where each kind of parameter takes them. Data only."""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator, Mapping
from typing import Any

from tests.engine.conformance.cases import ID
from tests.engine.conformance.comparing import Case

LONG = "9" * 5000
IN_URLS = [
    *("", "a", "1", "-0", "%2B1", "+1", "1%20", "1_000", "1e3", "1.5", "nan", "-inf", "%D9%A3", "ON", "null"),
    "%5B1%5D",
    *("a;b", "a,b", "a=b", "%26", "%25", "%3F", "%", "a+b", "a%20b", "%C3%A4", "%f0%9f%a6%86", "%00", "%FF"),
    "%ED%A0%80",
    *("%zz", "%0D%0A", "red", "dark+red", "2", "left", "2026-01-02", "2026-01-02T03:04:05Z", "1767323045", "03:04"),
    *("P1DT2H", ID, ID.upper().replace("-", ""), "x" * 10_000, LONG, f"0.{LONG}"),
]
REPEATED = ["1&{0}=2", "1&{0}=1", "&{0}=", "1&{0}", "1&&", "1&{0}=2&{0}=3&{0}=4", "1&%74ag=2", "1&{0}[]=2"]

QUERIES = {
    "text": "/queries/text?text={}",
    "number": "/queries/number?number={}",
    "float": f"/queries/scalars?exact=1&flag=1&id={ID}&x={{}}",
    "decimal": f"/queries/scalars?x=1&flag=1&id={ID}&exact={{}}",
    "bool": f"/queries/scalars?x=1&exact=1&id={ID}&flag={{}}",
    "UUID": "/queries/scalars?x=1&exact=1&flag=1&id={}",
    "text enum": "/queries/choices?colour={}",
    "number enum": "/queries/choices?colour=red&size={}",
    "literal": "/queries/choices?colour=red&side={}",
    "datetime": "/queries/times?day=2026-01-02&clock=03:04&pause=1&at={}",
    "date": "/queries/times?at=0&clock=03:04&pause=1&day={}",
    "time": "/queries/times?at=0&day=2026-01-02&pause=1&clock={}",
    "timedelta": "/queries/times?at=0&day=2026-01-02&clock=03:04&pause={}",
    "list": "/queries/list?tag={}",
    "list of numbers": "/queries/lists?number={}",
    "set of enums": "/queries/lists?colour={}",
    "tuple": "/queries/lists?pair={}",
    "optional text": "/queries/optional?text={}",
    "optional number": "/queries/optional?number={}",
    "alias": "/queries/aliases?to=1&from={}",
    "validation alias": "/queries/aliases?from=1&to={}",
    "one of two aliases": "/queries/aliases?from=1&to=1&by={}",
    "constrained number": "/queries/constrained?number={}",
    "constrained text": "/queries/constrained?word={}",
    "own validator": "/queries/constrained?even={}",
    "model": "/queries/model?tags={}",
    "aliased field of a model": "/queries/model?orderBy={}",
    "JSON": "/queries/json?numbers={}",
    "untyped": "/plainly-untyped/a?number={}",
}

PATHS = {
    "text": "/paths/word/{}",
    "number": "/paths/number/{}",
    "UUID": "/paths/id/{}/1",
    "decimal": f"/paths/id/{ID}/{{}}",
    "text enum": "/paths/choices/{}/1/left",
    "number enum": "/paths/choices/red/{}/left",
    "literal": "/paths/choices/red/1/{}",
    "rest": "/paths/rest/{}",
    "middle of the rest": "/paths/rest/a/{}/b",
    "alias": "/paths/alias/{}",
    "converted number": f"/paths/day/2026-01-02/{{}}/1/{ID}",
    "converted float": f"/paths/day/2026-01-02/1/{{}}/{ID}",
    "date": f"/paths/day/{{}}/1/1/{ID}",
}

IN_HEADERS = [
    *(b"", b"a", b"1", b"-0", b"+1", b"1_000", b"1.0", b"a b", b"a,b", b"a, b", b'"a"', b"a;b=c", b"=", b"%20"),
    b"\xe4",
    *("ä🦆".encode(), b"a\tb", b"null", b"x" * 8000, LONG.encode()),
]
HEADERS = {
    "text": ("/headers/plain", b"x-word"),
    "number": ("/headers/plain", b"X-Number"),
    "alias": ("/headers/named", b"x-token"),
    "list": ("/headers/repeated", b"x-tag"),
    "set of numbers": ("/headers/repeated", b"x-n"),
    "model": ("/headers/model", b"x-trace"),
    "list in a model": ("/headers/model", b"x-tags"),
    "cookies": ("/cookies/plain", b"cookie"),
}

COOKIES = {
    "text": ("/cookies/plain", b"session"),
    "number": ("/cookies/plain", b"visits"),
    "alias": ("/cookies/plain", b"ui-theme"),
    "model": ("/cookies/model", b"session_id"),
    "aliased field of a model": ("/cookies/model", b"tr"),
}
JARS = [
    *(b"%b=%b", b"%b=%b; other=1", b"%b=1; %b=2", b" %b = %b ", b"; ;%b=%b;;", b'"%b"=%b', b"%b%b", b"=%b=%b"),
    *(b"%b=a=b", b'%b="a\\054 \\303\\244"'),
]

TYPES = [
    *(b"application/json; charset=latin-1", b"Application/JSON", b"application/problem+json", b"application/json;"),
    *(b"text/json", b"application/x-www-form-urlencoded", b"multipart/form-data; boundary=x", b"", b"json", b"a/b/c"),
    *(b"application/json, text/plain", b"application/octet-stream", b"image/png", b"text/plain; charset=utf-16"),
]
CONTENTS = [
    *(b"", b" ", b"null", b"{}", b"[]", b'""', b"1", b"-1", b"1.5", b"true", b'"1"', b"[1]"),
    *(b'{"a": 1, "a": 2}', b"{}x"),
    *(b'{"name": "A"}', b'{"name": "A", "name": "B"}', b'{"kind": "cat", "lives": "7"}', b'{"x": 1e300}', b'"\\u0000"'),
    *('{"name": "ä🦆"}'.encode(), '{"name": "ä"}'.encode("latin-1"), b"\xff\xfe\x00", '{"x": 1}'.encode("utf-16")),
    *(b'\xef\xbb\xbf{"x": 1}', LONG.encode(), b"1" * 4000, b"[" * 100_000, b'{"maker": {"name": "A"}}'),
]
BODIES = {
    "model": ("POST", "/bodies/model"),
    "optional model": ("POST", "/bodies/optional"),
    "list": ("PUT", "/bodies/list"),
    "union": ("POST", "/bodies/union"),
    "told apart": ("POST", "/bodies/told-apart"),
    "parts": ("PUT", "/bodies/parts"),
    "embedded": ("PATCH", "/bodies/embedded"),
    "scalar": ("POST", "/bodies/scalar"),
    "text": ("POST", "/bodies/text"),
    "raw": ("POST", "/bodies/raw"),
    "optional raw": ("POST", "/bodies/raw-optional"),
    "mapping": ("POST", "/bodies/mapping"),
    "anything": ("POST", "/bodies/anything"),
    "dataclass": ("POST", "/bodies/dataclass"),
    "typed dict": ("POST", "/bodies/typed-dict"),
    "with GET": ("GET", "/bodies/with-get"),
}


def in_query(template: str) -> Iterator[Case]:
    key = template.removesuffix("={}").rpartition("&")[2].rpartition("?")[2]
    for value in (*IN_URLS, *(repeated.format(key) for repeated in REPEATED)):
        yield Case("GET", template.format(value))


def in_path(template: str) -> Iterator[Case]:
    converted = template.startswith("/paths/day")  # Starlette's own converters fail over so many digits
    for value in IN_URLS if not converted else set(IN_URLS) - {LONG, f"0.{LONG}"}:
        yield Case("GET", template.format(value.replace("?", "%3F")), headers=((b"host", b"reference"),))


def in_header(place: tuple[str, bytes]) -> Iterator[Case]:
    path, name = place
    needed = ((b"x-word", b"w"),) if path.endswith("plain") and name == b"X-Number" else ()
    for value in IN_HEADERS:
        yield Case("GET", path, headers=(*needed, (name, value)))
    for value in IN_HEADERS[::2]:
        yield Case("GET", path, headers=(*needed, (name, value), (name.upper(), b"2")))


def in_cookie(place: tuple[str, bytes]) -> Iterator[Case]:
    path, name = place
    for jar in JARS:
        for value in IN_HEADERS[::4]:
            filled = jar % ((name, value) if jar.count(b"%b") == 2 else name)
            needed = b"session=s; session_id=s; " if name not in (b"session", b"session_id") else b""
            yield Case("GET", path, headers=((b"cookie", (needed + filled).strip()),))


def in_body(place: tuple[str, str]) -> Iterator[Case]:
    method, path = place
    for content in CONTENTS:
        yield Case(method, path, content, ((b"content-type", b"application/json"),))
    for content in CONTENTS[-10:]:
        yield Case(method, path, content, ((b"content-type", b"application/octet-stream"),))
    for kind in TYPES:
        yield Case(method, path, b'{"name": "A", "x": 1}', ((b"content-type", kind),))


PLACES: tuple[tuple[Callable[[Any], Iterable[Case]], Mapping[str, Any]], ...] = (
    (in_query, QUERIES),
    (in_path, PATHS),
    (in_header, HEADERS),
    (in_cookie, COOKIES),
    (in_body, BODIES),
)
