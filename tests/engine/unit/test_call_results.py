"""A result comes back to `call` as its type, a failure as an error that says what a client would have got."""

from __future__ import annotations

import inspect
from datetime import datetime
from decimal import Decimal
from typing import Any
from uuid import UUID

import pytest
from pydantic import BaseModel, Field, computed_field

from floodgate.broker.envelopes import TaskOutcome, TaskReply
from floodgate.gateway.call import CallCodec
from floodgate.gateway.outcomes import Failure, HandlerFailed, Outcome, Refused
from floodgate.worker.serialization import Serializer
from shared import Reply
from tests.engine.unit.call_values import MOMENT, Camel, Cat, Dog, Part, handler_of


class Shown(BaseModel):
    """A result whose output has more than its input."""

    column: int = Field(validation_alias="col")

    @computed_field  # type: ignore[prop-decorator]
    @property
    def twice(self) -> int:
        return 2 * self.column


RESULTS: list[tuple[Any, Any, dict[str, Any]]] = [
    (Part, Part(fullName="ü"), {}),
    (list[Part], [Part(fullName="a"), Part(fullName="b")], {}),
    (Camel, Camel(some_words=["a"]), {}),
    (Shown, Shown(col=1), {}),
    (Cat | Dog, Dog(name="rex"), {}),
    (datetime, MOMENT, {}),
    (Decimal, Decimal("1.10"), {}),
    (dict[str, UUID], {"a": UUID(int=1)}, {}),
    (str, "ü", {}),
    (int, 10**40, {}),
    (None, None, {}),
    (None, None, {"status_code": 204}),
    (bytes, b"\x89PNG", {"media_type": "image/png"}),
    (bytes, b"", {"media_type": "image/png"}),
    (str, "a;ü", {"media_type": "text/csv"}),
    (inspect.Signature.empty, {"a": [1, None]}, {}),
]


def back(annotation: Any, result: Any, **options: Any) -> Any:
    async def handler() -> None: ...

    handler.__signature__ = inspect.Signature(return_annotation=annotation)  # type: ignore[attr-defined]
    checked = handler_of(handler, **options)
    codec = CallCodec(checked)
    rendered = Serializer(checked)(result)
    reply = TaskReply("id", TaskOutcome.DONE, rendered.status, rendered.headers, rendered.body)
    return codec.result(reply)


@pytest.mark.parametrize(("annotation", "result", "options"), RESULTS, ids=repr)
def test_a_result_comes_back_equal(annotation: Any, result: Any, options: dict[str, Any]) -> None:
    got = back(annotation, result, **options)
    assert got == result
    assert type(got) is type(result)


def test_a_reply_comes_back_as_its_body() -> None:
    assert back(Reply[Part], Reply(Part(fullName="a"), 201, {"location": "/a"})) == Part(fullName="a")
    assert back(Part | Reply[None], Reply(None)) is None
    assert back(Reply[None], Reply(None, 204)) is None
    assert back(Reply, Reply({"a": 1})) == {"a": 1}
    assert back(Reply[Part], Reply(b"\x89PNG", headers={"content-type": "image/png"})) == b"\x89PNG"


class Renamed(BaseModel):
    """Written under a name that is not read."""

    name: str = Field(serialization_alias="shown_name")


class Lacking(BaseModel):
    """Written without what is needed to read it."""

    parts: list[Renamed] = []
    key: str = Field(exclude=True)


@pytest.mark.parametrize("annotation", [Renamed, list[Renamed], dict[str, Lacking], Lacking | None, Reply[Renamed]])
def test_a_result_that_cannot_be_read_back_is_refused_before_anything_is_sent(annotation: Any) -> None:
    with pytest.raises(TypeError, match=r"(Renamed\.name|Lacking\.key); use one alias"):
        back(annotation, None)


def failed(body: bytes, content_type: bytes = b"application/json", status: int = 409) -> HandlerFailed:
    async def place() -> None: ...

    reply = TaskReply("id", TaskOutcome.DONE, status, ((b"content-type", content_type),), body)
    return HandlerFailed(handler_of(place, "/orders"), Outcome(reply))


@pytest.mark.parametrize(
    ("error", "detail"),
    [
        (failed(b'{"detail":"gone"}'), "gone"),
        (failed(b'{"detail":null}'), None),
        (failed(b'{"why":1}'), {"why": 1}),
        (failed(b"[1]"), [1]),
        (failed(b"<p>", b"text/html"), b"<p>"),
        (failed(b""), None),
    ],
)
def test_a_failed_handler_gives_its_status_and_detail(error: HandlerFailed, detail: Any) -> None:
    assert (error.status, error.detail) == (409, detail)
    assert str(error) == "POST /orders: 409"


def test_a_handler_that_raised_is_a_500_without_detail() -> None:
    async def place() -> None: ...

    error = HandlerFailed(handler_of(place), Outcome(TaskReply("id", TaskOutcome.FAILED), Failure.FAILED))
    assert (error.status, error.detail, str(error)) == (500, None, "POST /x: failed")


def test_a_refusal_says_when_to_try_again() -> None:
    async def place() -> None: ...

    assert Refused(handler_of(place), Outcome(failure=Failure.FULL)).retry_after_s == 1
    assert Refused(handler_of(place), Outcome(failure=Failure.FULL, retry_after_s=3.5)).retry_after_s == 3.5
