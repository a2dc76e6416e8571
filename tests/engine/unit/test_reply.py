"""A `Reply` takes what HTTP allows, and nothing that would break the framing of an answer."""

from __future__ import annotations

from http import HTTPStatus
from typing import Any

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from floodgate.declare.reply import checked_headers
from shared import HTTPError, Reply


def test_a_mapping_or_pairs_give_the_headers_as_http_sends_them() -> None:
    assert Reply(1, headers={"X-Why": "é"}).headers == ((b"x-why", b"\xe9"),)
    pairs = [("Set-Cookie", "a=1"), ("set-cookie", "b=2")]
    assert Reply(1, headers=pairs).headers == ((b"set-cookie", b"a=1"), (b"set-cookie", b"b=2"))
    assert Reply(1).headers == ()


@pytest.mark.parametrize("status", [200, 204, 304, 599, HTTPStatus.IM_A_TEAPOT])
def test_any_final_status_is_taken(status: int) -> None:
    assert Reply(None, status).status == status


@pytest.mark.parametrize("status", [0, 100, 101, 199, 600, -200, 200.5, "404", True])
def test_any_other_status_is_refused(status: Any) -> None:
    with pytest.raises(ValueError, match="200 to 599"):
        Reply(None, status)
    with pytest.raises(ValueError, match="400 to 599"):
        HTTPError(status)


@pytest.mark.parametrize(
    ("name", "value"),
    [
        ("", "a"),
        ("a b", "a"),
        ("a:", "a"),
        ("ä", "a"),
        ("a\r\nb", "a"),
        ("x" * 129, "a"),
        ("a", "b\r\nSet-Cookie: c=1"),
        ("a", "b\n"),
        ("a", "\x00"),
        ("a", "\x7f"),
        ("a", "Łódź"),
        ("a", "x" * 8193),
    ],
)
def test_what_is_no_header_is_refused(name: str, value: str) -> None:
    with pytest.raises(ValueError, match="not a header"):
        Reply(None, headers={name: value})


@pytest.mark.parametrize("name", ["Content-Length", "transfer-encoding", "Connection", "X-Request-ID"])
def test_a_header_of_the_server_is_refused(name: str) -> None:
    with pytest.raises(ValueError, match="set by the server"):
        Reply(None, headers=[(name, "1")])


@settings(max_examples=50)
@given(st.lists(st.tuples(st.text(), st.text()), max_size=3))
def test_whatever_is_given_what_passes_holds_no_line_break(pairs: list[tuple[str, Any]]) -> None:
    try:
        headers = checked_headers(pairs)
    except ValueError:
        return
    assert not any(byte in name + value for name, value in headers for byte in b"\r\n\x00")
