"""Requests to every queued handler, good and bad, with what answers differently on purpose.

Data only. Unusual spellings of single values stand in `edge_cases`.
"""

from __future__ import annotations

import json
from typing import Any

from tests.engine.conformance.comparing import Case

ID = "12345678-1234-5678-1234-567812345678"
JSON = ((b"content-type", b"application/json"),)

FAILURE = dict.fromkeys(("body", "content-type", "content-length"), "a failure is a problem document, with its id")
INPUT = dict.fromkeys(("status", *FAILURE), "a 422 tells the input, and FastAPI fails over one that is no text")
BODILESS = {"content-type": "what has no body has no type; FastAPI names one all the same"}


def get(url: str, **headers: str) -> Case:
    return Case("GET", url, headers=_encoded(headers))


def send(method: str, url: str, value: Any, **headers: str) -> Case:
    return Case(method, url, json.dumps(value).encode(), (*JSON, *_encoded(headers)))


def post(url: str, value: Any, **headers: str) -> Case:
    return send("POST", url, value, **headers)


def octets(url: str, body: bytes, kind: bytes = b"application/octet-stream") -> Case:
    return Case("POST", url, body, ((b"content-type", kind),))


def but(case: Case, differs: dict[str, str]) -> Case:
    return Case(case.method, case.url, case.body, case.headers, differs)


def _encoded(headers: dict[str, str]) -> tuple[tuple[bytes, bytes], ...]:
    return tuple((name.replace("_", "-").encode(), value.encode("latin-1")) for name, value in headers.items())


PLACES = {
    "word": get("/paths/word/%C3%A4%20b"),
    "number": get("/paths/number/-5"),
    "number too small": get("/paths/number/-6"),
    "no number": get("/paths/number/x"),
    "id and price": get(f"/paths/id/{ID}/1.50"),
    "neither id nor price": get("/paths/id/1/x"),
    "choices": get("/paths/choices/dark%20red/2/left"),
    "none of the choices": get("/paths/choices/blue/3/middle"),
    "rest": get("/paths/rest/a/b%2Fc//d/"),
    "no rest": get("/paths/rest/"),
    "path alias": get("/paths/alias/7"),
    "path alias, invalid": get("/paths/alias/seven"),
    "converted": get(f"/paths/day/2026-01-02/007/0.50/{ID}"),
    "converted, invalid": get(f"/paths/day/2026-13-02/7/1/{ID}"),
    "not convertible": get(f"/paths/day/2026-01-02/x/1/{ID}"),
    "nowhere": get("/nowhere"),
    "another method": Case("PATCH", "/paths/word/a"),
    "a slash too many": Case("GET", "/queries/text/?text=a", headers=((b"host", b"reference"),)),
}

QUERIES = {
    "text": get("/queries/text?text=a%20b"),
    "no text": get("/queries/text"),
    "scalars": get(f"/queries/scalars?x=1e3&exact=0.10&flag=yes&id={ID}"),
    "no scalars": get("/queries/scalars?x=a&exact=b&flag=c&id=d"),
    "choices": get("/queries/choices?colour=red&size=2&side=left"),
    "default choices": get("/queries/choices?colour=dark+red"),
    "none of the choices": get("/queries/choices?colour=blue&size=9&side=2"),
    "times": get("/queries/times?at=2026-01-02T03:04:05%2B01:00&day=2026-01-02&clock=03:04&pause=PT1M"),
    "times in numbers": get("/queries/times?at=1767323045&day=0&clock=60&pause=1.5"),
    "no times": get("/queries/times?at=now&day=x&clock=25:00&pause=a"),
    "list": get("/queries/list?tag=a&tag=b&tag=a"),
    "no list": get("/queries/list"),
    "lists": get("/queries/lists?number=1&number=2&colour=red&colour=red&pair=1&pair=a&made=x"),
    "default lists": get("/queries/lists"),
    "lists, invalid": get("/queries/lists?number=1&number=x&number=3&number=4&colour=blue&pair=1"),
    "optional": get("/queries/optional?number=3"),
    "empty optional": get("/queries/optional?text=&number="),
    "aliases": get("/queries/aliases?from=1&to=2&by=3"),
    "names for aliases": get("/queries/aliases?since=1&until=2&step=3"),
    "constrained": get("/queries/constrained?number=10&word=%C3%A4b&even=2"),
    "constrained, invalid": get("/queries/constrained?number=11&word=toolong&even=3"),
    "constrained, invalid too": get("/queries/constrained?number=0&word=AB"),
    "model": get("/queries/model?limit=5&orderBy=updated&tags=a&tags=b"),
    "default model": get("/queries/model"),
    "model, invalid": get("/queries/model?limit=0&order_by=x&more=1&more=2"),
    "json": get("/queries/json?numbers=%5B1,2%5D"),
    "json, invalid": get("/queries/json?numbers=%5B1,"),
    "json of another kind": get("/queries/json?numbers=%5B%22a%22%5D"),
    "alias type": get("/queries/alias-type?page=1"),
    "alias type, and a model": get("/queries/alias-type?page=1&limit=3"),
    "alias type, invalid": get("/queries/alias-type?page=0&limit=0"),
    "shown": get("/queries/shown?old=1&secret=2&city=%C5%81%C3%B3d%C5%BA"),
}

_TAGS = ((b"X-Tag", b"b"), (b"x-tag", b"a, c"), (b"x-n", b"2"))
HEADERS = {
    "plain": get("/headers/plain", X_Word="w\xe4", x_number="3"),
    "no header": get("/headers/plain"),
    "header, invalid": get("/headers/plain", x_word="w", x_number="-1", user_agent=""),
    "named": Case("GET", "/headers/named", headers=((b"x-token", b"t"), (b"x-real-name", b"r"), (b"x-other", b"o"))),
    "underscore": Case("GET", "/headers/named", headers=((b"X-TOKEN", b"t"), (b"under_score", b"u"), (b"x-one", b"1"))),
    "names for aliases": get("/headers/named", token="t", real="r", either="e", under_score="u"),
    "repeated": Case("GET", "/headers/repeated", headers=_TAGS),
    "repeated, invalid": Case("GET", "/headers/repeated", headers=((b"x-n", b"a"), (b"x-n", b"1"))),
    "framing": post("/headers/framing", {"a": 1}),
    "no framing": Case("POST", "/headers/framing"),
    "model": Case("GET", "/headers/model", headers=(*_TAGS, (b"x-trace", b"t"), (b"x-tags", b"1"), (b"x-tags", b"2"))),
    "model by alias": get("/headers/model", x_trace="t", if_modified_since="yesterday", cookie="a=1"),
    "model, invalid": Case("GET", "/headers/model", headers=((b"x_trace", b"t"),)),
    "everything": Case("GET", "/headers/everything", headers=(*_TAGS, (b"host", b"reference"), (b"cookie", b"a=1"))),
    "cookies": get("/cookies/plain", cookie='session="a b"; visits=3;ui-theme=dark; locale=de; x'),
    "cookies of two headers": Case(
        "GET", "/cookies/plain", headers=((b"cookie", b"session=1"), (b"cookie", b"visits=2"))
    ),
    "a cookie twice": get("/cookies/plain", cookie="session=1; session=2; theme=dark; lang=fr"),
    "no cookies": get("/cookies/plain"),
    "cookies, invalid": get("/cookies/plain", cookie="visits=-1; session"),
    "jar": get("/cookies/model", cookie="session_id=1; tr=a; tracker=b; other=c"),
    "jar, invalid": get("/cookies/model", cookie="tr=a"),
}

_ITEM = {"fullName": "tea", "price": "4.50"}
_FULL = {**_ITEM, "makers": [{"name": "A", "founded": "2026-01-02T00:00:00Z"}], "password": "p", "any": {"a": [None]}}
_BAD_ITEM = {"full_name": "tea", "price": -1.234, "makers": [{"name": ""}, 3], "colours": ["blue"], "password": 1}
_PARTS = {"item": _ITEM, "maker": {"name": "A"}, "weight": 3}
_BYTES = bytes(range(256))
BODIES = {
    "model": post("/bodies/model", _FULL),
    "model, invalid": post("/bodies/model", _BAD_ITEM),
    "no model": Case("POST", "/bodies/model"),
    "list for a model": post("/bodies/model", [_ITEM]),
    "optional": post("/bodies/optional", _ITEM),
    "nothing": Case("POST", "/bodies/optional"),
    "null": post("/bodies/optional", None),
    "optional, invalid": post("/bodies/optional", {}),
    "list": send("PUT", "/bodies/list", [{"name": "A"}, {"name": "B"}]),
    "empty list": send("PUT", "/bodies/list", []),
    "list, invalid": send("PUT", "/bodies/list", [{"name": "A"}, {"name": None}]),
    "union": post("/bodies/union", {"kind": "dog", "tricks": {"roll": 2}}),
    "union, invalid": post("/bodies/union", {"kind": "cow"}),
    "told apart": post("/bodies/told-apart", {"kind": "cat"}),
    "told apart, invalid": post("/bodies/told-apart", {"kind": "cow"}),
    "told apart by nothing": post("/bodies/told-apart", {}),
    "parts": send("PUT", "/bodies/parts", {**_PARTS, "note": "n"}),
    "parts, invalid": send("PUT", "/bodies/parts", {"item": _BAD_ITEM, "maker": None, "weight": 0}),
    "no parts": send("PUT", "/bodies/parts", [1]),
    "no body for parts": Case("PUT", "/bodies/parts"),
    "embedded": send("PATCH", "/bodies/embedded", {"maker": {"name": "A"}, "more": 1}),
    "not embedded": send("PATCH", "/bodies/embedded", {"name": "A"}),
    "scalar": post("/bodies/scalar", 3),
    "scalar, invalid": post("/bodies/scalar", "x"),
    "text": octets("/bodies/text", "ä text".encode(), b"text/plain"),
    "text as JSON": post("/bodies/text", "a text"),
    "text, invalid": but(octets("/bodies/text", b"\xff", b"text/plain"), INPUT),
    "raw": octets("/bodies/raw", _BYTES),
    "raw as JSON": post("/bodies/raw", "a text"),
    "no raw": octets("/bodies/raw", b""),
    "raw, too long": octets("/bodies/raw", b"a" * 301),
    "raw, binary and too long": but(
        octets("/bodies/raw", _BYTES * 2),
        INPUT,
    ),
    "raw, optional": octets("/bodies/raw-optional", _BYTES, b"image/png"),
    "raw, none": Case("POST", "/bodies/raw-optional"),
    "mapping": post("/bodies/mapping", {ID: 1.5}),
    "mapping, invalid": post("/bodies/mapping", {"a": "b"}),
    "anything": post("/bodies/anything", [1, "a", {"b": None}]),
    "no value": Case("POST", "/bodies/anything"),
    "dataclass": post("/bodies/dataclass", {"x": 1}),
    "dataclass, invalid": post("/bodies/dataclass", {"y": "a"}),
    "typed dict": post("/bodies/typed-dict", {"begin": {"x": 1}}),
    "typed dict, invalid": post("/bodies/typed-dict", {"begin": {}, "more": 1}),
    "with GET": send("GET", "/bodies/with-get", {"name": "A"}),
    "everywhere": post(f"/bodies/all/{ID}?tag=1&tag=2", _ITEM, x_trace="t", cookie="session=3"),
    "nowhere": Case("POST", "/bodies/all/1"),
    "no JSON": Case("POST", "/bodies/model", b'{"fullName": ', JSON),
    "another type": octets("/bodies/model", json.dumps(_ITEM).encode(), b"text/plain"),
    "no type": Case("POST", "/bodies/model", json.dumps(_ITEM).encode()),
}

_TYPED = "subclass dict attributes sloppy either?first=1 either?first=0 any decimal times dataclass typed-dict text"
_UNTYPED = "mixed nothing not-quite-nothing integer-untyped?digits=4300 float-untyped?x=0.1"
_NUMBERS = "integer?digits=18 integer?digits=19 integer?digits=5000 float?x=0.1 float?x=1e16"
_NO_NUMBERS = "float?x=nan float?x=-inf float-model?x=nan"
_FAILING = "wrong surrogate integer-untyped?digits=5000 float-untyped?x=nan float-untyped?x=inf"
RESULTS = {
    **{name: get(f"/results/{name}") for name in f"{_TYPED} {_UNTYPED} {_NUMBERS} {_NO_NUMBERS}".split()},
    **{name: but(get(f"/results/{name}"), FAILURE) for name in _FAILING.split()},
    "created": Case("POST", "/results/created"),
    "no content": but(Case("DELETE", "/results/no-content"), BODILESS),
    "no content, unannotated": but(Case("DELETE", "/results/no-content-unannotated"), BODILESS),
    "not modified": but(get("/results/not-modified"), BODILESS),
    **{name: get(f"/raw/{name}") for name in ["png", "csv", "latin", "svg", "geo", "json", "geo-untyped"]},
    "typed reply": Case("POST", "/replies/typed"),
    "fresh": get("/replies/either?fresh=1"),
    "not fresh": get("/replies/either?fresh=0"),
    "bare reply": get("/replies/bare"),
    "moved": get("/replies/moved"),
    "gone": but(Case("DELETE", "/replies/gone"), BODILESS),
    "problem": get("/replies/problem"),
    "picture": get("/replies/picture?found=1"),
    "no picture": get("/replies/picture?found=0"),
    "no picture, in bytes": get("/replies/picture?found=0&as_bytes=1"),
    "refused": get("/errors/ours"),
    "refused by FastAPI's exception": get("/errors/fastapis?status=409"),
    "refused by another type": get("/errors/fastapis?status=409&typed=1"),
    "refused without a body": get("/errors/fastapis?status=304"),
    "bug": but(get("/errors/bug"), FAILURE),
    "unsendable": but(get("/errors/unsendable"), FAILURE),
    "shown": get("/presented/all"),
    "hidden": get("/presented/hidden?number=2"),
    "examples": post("/presented/examples/2?word=tea&size=3", {"weight": 1.5}, x_tag="a"),
    "examples, invalid": post("/presented/examples/x?word=coffee&size=3.5", {"weight": 0}),
    "parts": post("/presented/parts", {"parcel": {"weight": 2}, "note": "careful"}),
    "plainly": post("/plainly/1?from=2&tags=c&sizes=1", {"name": "a", "parts": [{"name": "b"}]}, cookie="sid=3"),
    "plainly by default": Case("POST", "/plainly/1?from=2"),
    "plainly, invalid": post("/plainly/0?from=11&sizes=1&sizes=2&sizes=3", {"parts": [1]}, x_word="x"),
    "untyped": get("/plainly-untyped/w?number=a&tags=b"),
    "untyped by default": get("/plainly-untyped/w"),
    **{method: send(method, "/verbs?tag=a", "text") for method in ("PUT", "POST", "PATCH", "DELETE")},
    **{f"{method}, invalid": send(method, "/verbs", [1]) for method in ("PUT", "POST", "PATCH", "DELETE")},
    "GET": get("/verbs?tag=a"),
    "HEAD": Case("HEAD", "/verbs?tag=a"),
    "HEAD, invalid": Case("HEAD", "/verbs"),
    "HEAD of a GET": Case("HEAD", "/queries/text?text=a"),
    "OPTIONS": Case("OPTIONS", "/verbs"),
    "level": post("/levels/job?depth=2", {"rows": 3}),
    "level, invalid": post("/levels/job?depth=a", {"rows": "b"}),
    "level of a comparison": get("/levels/number?n=1000"),
    "level of a comparison, dearer": get("/levels/number?n=1001"),
}

STREAMS = {
    **{
        name.replace("-", " "): get(f"/streams/{name}")
        for name in (
            *("lines", "lines-sync", "lines-untyped", "lines-untyped-sync", "lines-any", "lines-events", "lines-none"),
            *("lines-mappings", "lines-optional", "lines-misannotated", "lines?n=300", "lines?n=x"),
            *(
                "events",
                "events-sync",
                "events-untyped",
                "events-own",
                "events-mixed",
                "events?n=300",
                "events-sync?n=x",
            ),
            *("csv", "reply", "summarised"),
        )
    },
    "bytes": but(
        get("/streams/bytes"), {"content-type": "bytes without a type are named so; browsers would guess one"}
    ),
    "post": post("/streams/created?times=3", {"a": 1}),
    "post, invalid": post("/streams/created", {"a": "x"}),
    "head of a get": Case("HEAD", "/streams/events"),
    "another method": send("PUT", "/streams/events", {}),
}

CASES = {
    f"{group}: {name}": case
    for group, cases in {
        "places": PLACES,
        "queries": QUERIES,
        "headers": HEADERS,
        "bodies": BODIES,
        "results": RESULTS,
        "streams": STREAMS,
    }.items()
    for name, case in cases.items()
}
