"""Whatever is put into a parameter, it is taken and refused as by the reference app in plain FastAPI.

In the first ring, each value in some of the places; in the second, in all.
"""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Iterable
from typing import Any

import pytest

from tests.engine.conformance import edge_cases
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


@pytest.mark.parametrize(
    ("number", "cases_in", "place"),
    [
        pytest.param(number, cases_in, place, id=f"{cases_in.__name__} {name}")
        for cases_in, places in edge_cases.PLACES
        for number, (name, place) in enumerate(places.items())
    ],
)
@pytest.mark.parametrize("every", [4, pytest.param(1, marks=pytest.mark.slow)])
async def test_an_edge_case_is_read_as_plain_fastapi_reads_it(
    pair: Pair, number: int, cases_in: Callable[[Any], Iterable[Case]], place: Any, every: int
) -> None:
    cases = list(cases_in(place))[number % every :: every]
    assert cases
    assert await different(pair, cases) == []
