"""Whatever is put into a parameter, the zoo takes and refuses it as its twin in plain FastAPI does."""

from __future__ import annotations

import asyncio
from collections.abc import Iterable
from typing import Any

import pytest

from tests.engine.conformance import edge_cases as oddities
from tests.engine.conformance.comparing import Case, Pair

pytestmark = pytest.mark.asyncio(loop_scope="session")


async def different(pair: Pair, cases: Iterable[Case]) -> list[object]:
    """Return the cases that are answered differently, and how."""
    some_at_once = asyncio.Semaphore(8)

    async def look(case: Case) -> dict[str, Any]:
        async with some_at_once:
            return await pair.differences(case)

    cases = list(cases)
    found = await asyncio.gather(*map(look, cases))
    return [(case, parts) for case, parts in zip(cases, found, strict=True) if parts and not _untold(case, parts)]


def _untold(case: Case, parts: dict[str, Any]) -> bool:
    """Tell whether it is where we differ on purpose: FastAPI fails over telling an invalid body that is no text."""
    try:
        (case.body or b"").decode()
    except UnicodeDecodeError:
        return bool(parts["status"] == (422, 500))
    return False


@pytest.mark.parametrize("kind", oddities.QUERIES)
async def test_an_odd_value_in_the_query_is_read_as_plain_fastapi_reads_it(pair: Pair, kind: str) -> None:
    assert await different(pair, oddities.in_query(oddities.QUERIES[kind])) == []


@pytest.mark.parametrize("kind", oddities.PATHS)
async def test_an_odd_value_in_the_path_is_read_as_plain_fastapi_reads_it(pair: Pair, kind: str) -> None:
    assert await different(pair, oddities.in_path(oddities.PATHS[kind])) == []


@pytest.mark.parametrize("kind", oddities.HEADERS)
async def test_an_odd_header_is_read_as_plain_fastapi_reads_it(pair: Pair, kind: str) -> None:
    assert await different(pair, oddities.in_header(oddities.HEADERS[kind])) == []


@pytest.mark.parametrize("kind", oddities.COOKIES)
async def test_an_odd_cookie_is_read_as_plain_fastapi_reads_it(pair: Pair, kind: str) -> None:
    assert await different(pair, oddities.in_cookie(oddities.COOKIES[kind])) == []


@pytest.mark.parametrize("kind", oddities.BODIES)
async def test_an_odd_body_is_read_as_plain_fastapi_reads_it(pair: Pair, kind: str) -> None:
    assert await different(pair, oddities.in_body(oddities.BODIES[kind])) == []
