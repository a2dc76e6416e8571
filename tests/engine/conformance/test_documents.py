"""The OpenAPI document is that of the reference app, field by field."""

from __future__ import annotations

from typing import Any

import httpx
import pytest
from starlette.routing import Route

from floodgate.declare.discovery import discover
from floodgate.gateway.responses import PROBLEM_JSON
from floodgate.operations.settings import Settings
from tests.engine.conformance.conftest import HANDLERS
from tests.engine.conformance.reference import app as reference
from tests.engine.system.system import System

Document = dict[str, Any]

ENGINES = ("429", "500", "502", "503", "504")
"""What our gateway documents beyond FastAPI: the engine's own refusals, as problem documents."""
OF_BODIES = ("400", "408")
"""The same of a body that cannot be read, in FastAPI's own form."""


def operations_of(document: Document) -> dict[str, Document]:
    return {
        f"{method.upper()} {path}": operation
        for path, operations in document["paths"].items()
        for method, operation in operations.items()
    }


THEIRS: Document = reference.openapi()
OPERATIONS = operations_of(THEIRS)


@pytest.fixture(scope="package")
def ours(conforming: System) -> Document:
    """The document of the running gateway."""
    document: Document = httpx.get(f"{conforming.apps[0].url}/openapi.json", verify=False).json()
    return document


@pytest.mark.parametrize("operation", OPERATIONS)
def test_an_operation_is_documented_as_plain_fastapi_does_it(ours: Document, operation: str) -> None:
    mine = operations_of(ours)[operation]
    refusals = [mine["responses"][status] for status in ENGINES]
    unread = [mine["responses"][status]["content"] for status in OF_BODIES if status in mine["responses"]]
    more = {*ENGINES, *OF_BODIES}
    mine = {**mine, "responses": {code: text for code, text in mine["responses"].items() if code not in more}}
    assert mine == OPERATIONS[operation]
    assert [list(refusal["content"]) for refusal in refusals] == [[PROBLEM_JSON]] * len(ENGINES)
    assert [list(content) for content in unread] == [["application/json"]] * len(OF_BODIES) * ("requestBody" in mine)


def test_the_components_are_those_of_plain_fastapi(ours: Document) -> None:
    assert ours["components"] == THEIRS["components"]


def test_no_operation_is_documented_on_one_side_only(ours: Document) -> None:
    of_the_demo_extension = {"GET /plain"}
    assert operations_of(ours).keys() - of_the_demo_extension == OPERATIONS.keys()


def test_no_queued_handler_is_missing_in_the_reference_app() -> None:
    registry = discover(Settings(handlers=HANDLERS))
    theirs = {
        (method, route.path) for route in reference.routes if isinstance(route, Route) for method in route.methods or ()
    }
    assert {(handler.method, handler.path) for handler in registry.handlers} - theirs == set()
