"""Queued handlers answer as the reference app in plain FastAPI does: status, headers, every byte of the body."""

from __future__ import annotations

import pytest

from tests.engine.conformance.cases import CASES
from tests.engine.conformance.comparing import Pair

pytestmark = [
    pytest.mark.asyncio(loop_scope="session"),
    # The reference app says so in this process: a model with a default that its own annotation does not allow.
    pytest.mark.filterwarnings("ignore:Pydantic serializer warnings"),
]


UNTELLABLE = {
    "half a surrogate pair": ("/bodies/scalar", b'"\\ud800"'),
    "no number": ("/bodies/model", b'{"fullName": NaN}'),
    "an infinite number": ("/bodies/told-apart", b'{"kind": 1e999}'),
    "half a surrogate pair as a key": ("/bodies/mapping", b'{"\\udfff": 1}'),
    "half a surrogate pair where anything may come": ("/bodies/anything", b'{"a": ["\\udc00\\ud800"]}'),
    "half a surrogate pair in a part": ("/bodies/model", b'{"fullName": "a", "price": 1, "any": {"\\uD83D": 1}}'),
    "bytes": ("/bodies/raw", b"\xff" * 301),
}


@pytest.mark.parametrize("name", CASES)
async def test_an_answer_is_that_of_plain_fastapi_but_for_what_differs_on_purpose(pair: Pair, name: str) -> None:
    case = CASES[name]
    differences = await pair.differences(case)
    assert differences.keys() == case.but.keys(), differences


@pytest.mark.parametrize("what", UNTELLABLE)
async def test_an_invalid_body_is_422_even_where_fastapi_fails_over_telling_it(pair: Pair, what: str) -> None:
    url, body = UNTELLABLE[what]
    kind = "application/octet-stream" if what == "bytes" else "application/json"
    answer = await pair.ours.post(url, content=body, headers={"content-type": kind, "connection": "close"})
    assert (answer.status_code, list(answer.json())) == (422, ["detail"])


async def test_a_whole_surrogate_pair_is_text_however_it_is_spelled(pair: Pair) -> None:
    for body in (b'"\\ud83d\\ude00"', b'"\\uD83D\\uDE00"', b'"\\\\ud83d"'):
        answer = await pair.ours.post("/bodies/anything", content=body, headers={"content-type": "application/json"})
        assert answer.status_code == 200, body
