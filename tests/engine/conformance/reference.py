"""The reference app: the same handlers in plain FastAPI: what the real system is compared with.

The functions are those that are queued; only those that return a `Reply` or take a
`Context` are written once more, in FastAPI's own words. Knows nothing of ours.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

from fastapi import Response
from fastapi.responses import JSONResponse

from tests.engine.conformance.handlers import bodies, headers, levels, paths, presented, queries, raw, results, verbs
from tests.engine.conformance.reference_streams import add_streams
from tests.engine.conformance.reference_words import app

__all__ = ["app"]


class Csv(Response):
    media_type = "text/csv"


class Svg(Response):
    media_type = "image/svg+xml"


class Geo(JSONResponse):
    media_type = "application/geo+json"


GETS: dict[str, Callable[..., Any]] = {
    "/paths/word/{word}": paths.word,
    "/paths/number/{number}": paths.number,
    "/paths/id/{id}/{price}": paths.id_and_price,
    "/paths/choices/{colour}/{size}/{side}": paths.choices,
    "/paths/rest/{rest:path}": paths.rest,
    "/paths/alias/{itemId}": paths.aliased,
    "/paths/day/{day}/{number:int}/{share:float}/{id:uuid}": paths.converted,
    "/queries/text": queries.text,
    "/queries/number": queries.number,
    "/queries/scalars": queries.scalars,
    "/queries/choices": queries.choices,
    "/queries/times": queries.times,
    "/queries/list": queries.many,
    "/queries/lists": queries.lists,
    "/queries/optional": queries.optional,
    "/queries/aliases": queries.aliases,
    "/queries/constrained": queries.constrained,
    "/queries/model": queries.model,
    "/queries/json": queries.encoded,
    "/queries/alias-type": queries.alias_type,
    "/queries/shown": queries.shown,
    "/headers/plain": headers.plain,
    "/headers/named": headers.named,
    "/headers/repeated": headers.repeated,
    "/headers/model": headers.model,
    "/headers/everything": headers.everything,
    "/cookies/plain": headers.cookies,
    "/cookies/model": headers.jar,
    "/bodies/with-get": bodies.with_get,
    "/results/subclass": results.subclass,
    "/results/dict": results.as_dict,
    "/results/attributes": results.attributes,
    "/results/sloppy": results.sloppy,
    "/results/wrong": results.wrong,
    "/results/either": results.either,
    "/results/mixed": results.unannotated,
    "/results/any": results.any_value,
    "/results/decimal": results.decimal,
    "/results/times": results.times,
    "/results/dataclass": results.dataclass_value,
    "/results/typed-dict": results.typed_dict,
    "/results/text": results.text,
    "/results/surrogate": results.surrogate,
    "/results/nothing": results.nothing,
    "/results/not-quite-nothing": results.not_quite_nothing,
    "/results/integer": results.integer,
    "/results/integer-untyped": results.integer_untyped,
    "/results/float": results.float_value,
    "/results/float-untyped": results.float_untyped,
    "/results/float-model": results.float_model,
    "/verbs": verbs.get,
    "/levels/number": levels.by_lambda,
    "/levels/fixed": levels.fixed,
}

POSTS: dict[str, Callable[..., Any]] = {
    "/headers/framing": headers.framing,
    "/bodies/model": bodies.model,
    "/bodies/optional": bodies.optional,
    "/bodies/union": bodies.union,
    "/bodies/told-apart": bodies.told_apart,
    "/bodies/scalar": bodies.scalar,
    "/bodies/text": bodies.text,
    "/bodies/raw": bodies.raw,
    "/bodies/raw-optional": bodies.raw_optional,
    "/bodies/mapping": bodies.mapping,
    "/bodies/anything": bodies.anything,
    "/bodies/dataclass": bodies.point,
    "/bodies/typed-dict": bodies.line,
    "/bodies/all/{id}": bodies.everywhere,
    "/verbs": verbs.post,
    "/levels/job": levels.by_function,
}

for path, function in GETS.items():
    app.get(path)(function)
for path, function in POSTS.items():
    app.post(path)(function)

app.put("/bodies/list")(bodies.models)
app.put("/bodies/parts")(bodies.parts)
app.patch("/bodies/embedded")(bodies.embedded)
app.post("/results/created", status_code=201)(results.created)
app.delete("/results/no-content", status_code=204)(results.no_content)
app.delete("/results/no-content-unannotated", status_code=204)(results.no_content_unannotated)
app.get("/results/not-modified", status_code=304)(results.not_modified)
app.get("/raw/csv", response_class=Csv, response_model=None)(raw.csv)
app.get("/raw/svg", response_class=Svg, response_model=None, status_code=203)(raw.svg)
app.get("/raw/geo", response_class=Geo)(raw.geo)
app.get("/raw/json", response_class=JSONResponse)(raw.json)
app.get("/raw/geo-untyped", response_class=Geo)(raw.geo_untyped)
app.head("/verbs")(verbs.head)
app.put("/verbs")(verbs.put)
app.patch("/verbs")(verbs.patch)
app.delete("/verbs")(verbs.delete)
app.get("/presented/all", tags=["one", "two"], summary="A summary", deprecated=True)(presented.texts)
add_streams(app)
app.get("/presented/hidden", include_in_schema=False)(presented.hidden)
