"""From a document to requests: where each parameter goes, and how it is written."""

from __future__ import annotations

import random
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from threading import Thread
from typing import Annotated, Any

import pytest
from fastapi import Body, Cookie, FastAPI, Header, Path, Query
from pydantic import BaseModel

from floodgate.peak.openapi import Ask, NoDocument, fetch, operations
from floodgate.peak.traffic import askable
from floodgate.peak.values import Values
from loadtest import scenarios


def asked(app_or_document: FastAPI | dict[str, Any], seed: int = 1) -> dict[str, Ask]:
    """Return a request for every operation, by its route."""
    told = app_or_document.openapi() if isinstance(app_or_document, FastAPI) else app_or_document
    values = Values(told, random.Random(seed))
    return {operation.route: operation.ask(values) for operation in operations(told)}


class Item(BaseModel):
    name: str


def test_every_method_of_every_path_is_an_operation() -> None:
    app = FastAPI()
    app.get("/a")(lambda: None)
    app.post("/a")(lambda: None)
    app.delete("/b/{id}")(lambda id: None)
    assert set(asked(app)) == {"GET /a", "POST /a", "DELETE /b/{id}"}


def test_parameters_go_where_they_belong() -> None:
    app = FastAPI()

    @app.post("/items/{id}")
    async def change(
        id: Annotated[str, Path(examples=["a b/c"])],
        item: Annotated[Item, Body(examples=[{"name": "tea"}])],
        tag: Annotated[list[str], Query(examples=[["x", "y&z"]])],
        flag: Annotated[bool, Query(examples=[True])],
        x_trace: Annotated[str, Header(examples=["t"])],
        x_tags: Annotated[list[str], Header(examples=[["1", "2"]])],
        session: Annotated[str, Cookie(examples=["s"])],
        left_out: int = 3,
    ) -> None: ...

    ask = asked(app)["POST /items/{id}"]
    assert ask.path == "/items/a%20b%2Fc?tag=x&tag=y%26z&flag=true"
    assert ask.headers == {
        "x-trace": "t",
        "x-tags": ["1", "2"],
        "Cookie": "session=s",
        "Content-Type": "application/json",
    }
    assert ask.body == b'{"name": "tea"}'


def test_examples_of_openapis_own_kind_count_too() -> None:
    app = FastAPI()

    @app.get("/")
    async def look(city: Annotated[str, Query(openapi_examples={"big": {"value": "Ulm"}})] = "Rome") -> None: ...

    assert asked(app)["GET /"].path == "/?city=Ulm"


def test_forms_are_written_as_forms() -> None:
    word, number = {"type": "string", "examples": ["tea"]}, {"type": "integer", "examples": [3]}
    file = {"type": "string", "contentMediaType": "application/octet-stream"}
    fill, send = (
        asked({"paths": {"/": {"post": {"requestBody": {"content": {kind: {"schema": schema}}}}}}})["POST /"]
        for kind, schema in (
            ("application/x-www-form-urlencoded", {"properties": {"name": word, "size": number}}),
            ("multipart/form-data", {"properties": {"file": file, "note": word}, "required": ["file", "note"]}),
        )
    )
    assert (fill.headers["Content-Type"], fill.body) == ("application/x-www-form-urlencoded", b"name=tea&size=3")
    assert str(send.headers["Content-Type"]).startswith("multipart/form-data; boundary=")
    assert send.body is not None
    assert b'name="file"; filename=' in send.body
    assert b'name="note"\r\n\r\ntea\r\n' in send.body


def test_a_document_may_refer_to_its_own_parts_and_stand_below_a_prefix() -> None:
    number = {"name": "n", "in": "query", "required": True, "schema": {"const": 7}}
    document = {
        "servers": [{"url": "/api/"}],
        "paths": {"/x": {"parameters": [{"$ref": "#/components/parameters/n"}], "get": {}}},
        "components": {"parameters": {"n": number}},
    }
    assert asked(document)["GET /api/x"].path == "/api/x?n=7"


def test_what_cannot_be_generated_is_left_out_and_named_with_the_mend() -> None:
    app = FastAPI()
    app.get("/plain")(lambda: None)

    @app.get("/hard")
    async def hard(word: Annotated[str, Query(pattern=r"^\p{Lu}+$")]) -> None: ...

    found, complaints = askable(app.openapi())
    assert [operation.route for operation in found] == ["GET /plain"]
    assert len(complaints) == 1
    assert complaints[0].startswith("GET /hard: word (query): ")
    assert complaints[0].endswith("give an example")


def test_as_it_stands_every_operation_is_asked_equally_often_but_those_of_tasks() -> None:
    app = FastAPI()
    app.get("/a")(lambda: None)
    app.get("/b")(lambda: None)
    app.get("/tasks/{task_id}")(lambda task_id: None)
    weights = scenarios.tasks(askable(app.openapi())[0])
    assert {getattr(operation, "route", ""): weight for operation, weight in weights.items()} == {
        "GET /a": 1,
        "GET /b": 1,
    }


class TestFetching:
    @pytest.fixture
    def host(self) -> Iterator[str]:
        """A server that has something else at every path."""

        class Handler(BaseHTTPRequestHandler):
            def do_GET(self) -> None:
                bodies = {"/openapi.json": b'{"paths": {"/": {}}}', "/text": b"text", "/empty": b"{}"}
                body = bodies.get(self.path)
                self.send_response(404 if body is None else 200)
                self.end_headers()
                self.wfile.write(body or b"")

            def log_message(self, *_: Any) -> None: ...

        with ThreadingHTTPServer(("127.0.0.1", 0), Handler) as server:
            thread = Thread(target=server.serve_forever)
            thread.start()
            yield f"http://127.0.0.1:{server.server_port}"
            server.shutdown()
            thread.join()

    def test_brings_the_document(self, host: str) -> None:
        assert fetch(f"{host}/") == {"paths": {"/": {}}}

    @pytest.mark.parametrize(
        ("where", "says"),
        [("/gone", "answers 404: name the document with OPENAPI="), ("/text", "no JSON"), ("/empty", "no path")],
    )
    def test_says_what_it_found_instead(self, host: str, where: str, says: str) -> None:
        with pytest.raises(NoDocument, match=says):
            fetch(host, where)

    def test_says_when_nothing_answers(self) -> None:
        with pytest.raises(NoDocument, match=r"nothing answers at http://127\.0\.0\.1:1/openapi\.json"):
            fetch("http://127.0.0.1:1")
