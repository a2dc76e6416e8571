"""The envelopes: what goes in comes out, and nothing else is believed."""

from __future__ import annotations

from typing import Any

import msgpack
import pytest
from hypothesis import given
from hypothesis import strategies as st

from floodgate.broker.envelopes import (
    VERSION,
    Task,
    TaskOutcome,
    TaskReply,
    inbox_of,
    pack_reply,
    pack_task,
    unpack_reply,
    unpack_task,
)
from floodgate.errors import DecodeError, UnsupportedVersion

TASK = Task(
    deadline_ms=1_700_000_000_000,
    route="abc",
    lane="c:a:0",
    inbox="gw",
    attempts=2,
    flow="abc|8|",
    weight=8,
    budget_ms=10_000,
    request_id="r1",
    path={"x": "1"},
    query="a=1&a=2",
    headers=((b"content-type", b"application/json"),),
    body=b"{}",
    caller="ada",
    claims={"roles": ["buyer"]},
)


def test_a_task_survives_the_journey() -> None:
    assert unpack_task(pack_task(TASK)) == TASK


def test_a_reply_survives_the_journey() -> None:
    reply = TaskReply("abc.1", TaskOutcome.DONE, 200, ((b"content-type", b"application/json"),), b"[1]", 5, 7)
    assert unpack_reply(pack_reply(reply)) == reply


def test_a_script_answers_for_a_task_with_three_fields() -> None:
    assert unpack_reply(msgpack.packb([VERSION, "abc.1", "lost"])) == TaskReply("abc.1", TaskOutcome.LOST)


def test_an_envelope_of_another_version_is_foreign_and_says_where_to_answer() -> None:
    blob = pack_task(TASK)
    body = msgpack.packb([VERSION, "r1", TASK.caller, TASK.path, TASK.query, TASK.headers, TASK.body, TASK.claims])
    foreign = blob[: -len(body)] + msgpack.packb([VERSION + 1, "whatever"])
    with pytest.raises(UnsupportedVersion):
        unpack_task(foreign)
    assert inbox_of(foreign) == "gw"
    with pytest.raises(UnsupportedVersion):
        unpack_reply(msgpack.packb([VERSION + 1, "abc.1"]))


@pytest.mark.parametrize(
    "pair",
    [
        [b"a"],
        [b"a", "b"],
        [b"A", b"b"],
        [b"a b", b"c"],
        [b"a", b"b\r\nc: d"],
        [b"", b""],
        {b"a": b"b"},
        [b"a", {b"b": b"c"}],
        b"ab",
    ],
)
def test_a_reply_whose_headers_would_break_http_is_garbled(pair: list[Any]) -> None:
    with pytest.raises(DecodeError):
        unpack_reply(msgpack.packb([VERSION, "abc.1", "done", 200, [pair, [b"a", b"b"]], b"", 0, 0]))


@pytest.mark.parametrize("name", [b"content-length", b"transfer-encoding", b"connection", b"x-request-id"])
def test_a_reply_with_a_header_that_the_server_sets_is_garbled(name: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack_reply(msgpack.packb([VERSION, "abc.1", "done", 200, [[b"a", b"b"], [name, b"5"]], b"", 0, 0]))


@pytest.mark.parametrize("forged", [-1, -(2**63), 2**64 - 1])
def test_the_times_of_a_reply_are_bounded(forged: int) -> None:
    reply = unpack_reply(msgpack.packb([VERSION, "abc.1", "done", 200, [], b"", forged, forged]))
    assert 0 <= reply.wait_ms == reply.run_ms <= 7_200_000


@given(st.binary(max_size=200))
def test_garbage_is_garbled_and_nothing_else_is_raised(data: bytes) -> None:
    for read in (unpack_task, unpack_reply):
        with pytest.raises(DecodeError):
            read(data)
    assert isinstance(inbox_of(data), str)


@given(
    st.recursive(st.none() | st.booleans() | st.integers(0, 2**40) | st.text() | st.binary(), st.lists, max_leaves=12)
)
def test_well_formed_msgpack_of_a_strange_form_is_garbled(value: object) -> None:
    with pytest.raises(DecodeError):
        unpack_task(b"1700000000000" + msgpack.packb(value) + msgpack.packb([value]))
    with pytest.raises(DecodeError):
        unpack_reply(msgpack.packb([value]))


@pytest.mark.parametrize("tail", [b"\x00", b"\x90", b"\xc1"])
def test_a_task_with_more_behind_it_is_garbled(tail: bytes) -> None:
    with pytest.raises(DecodeError):
        unpack_task(pack_task(TASK) + tail)


@given(st.integers(0, 199))
def test_a_task_that_was_cut_is_garbled(length: int) -> None:
    blob = pack_task(TASK)
    if length < len(blob):
        with pytest.raises(DecodeError):
            unpack_task(blob[:length])
