"""The forms of `idempotency=`, and its mistakes with their repair."""

from __future__ import annotations

from typing import Any

import pytest

from floodgate.declare.checks import build_registry
from floodgate.declare.idempotency import DAY_S, MOST_WINDOW_S
from floodgate.declare.registry import declared_in
from floodgate.errors import DeclarationError
from shared import Idempotency, queued


async def pay(amount: int) -> int:
    return amount


def declared(given: Any, method: str = "POST") -> Idempotency | None:
    before = len(declared_in(__name__))
    queued("/pay", 1, method=method, idempotency=given)(pay)
    return build_registry(declared_in(__name__)[before:], timeout_s=10).handlers[0].idempotency


@pytest.mark.parametrize(
    ("given", "found"),
    [
        (None, None),
        (False, None),
        (True, Idempotency(DAY_S)),
        (60, Idempotency(60)),
        ("public", Idempotency(DAY_S, public=True)),
        (Idempotency(required=True), Idempotency(DAY_S, required=True)),
        (Idempotency(1, retry_lost=True), Idempotency(1, retry_lost=True)),
    ],
)
def test_each_form_means_one_thing(given: Any, found: Idempotency | None) -> None:
    assert declared(given) == found
    assert declared(given, "PATCH") == found


@pytest.mark.parametrize(
    ("given", "words"),
    [
        ("private", "write True, a number of seconds"),
        (1.5, "write True, a number of seconds"),
        (0, "1 to 604800"),
        (MOST_WINDOW_S + 1, "1 to 604800"),
        (Idempotency(window_s=True), "whole seconds"),
        (Idempotency(public=1), "True or False"),  # type: ignore[arg-type]
    ],
)
def test_a_mistake_names_the_repair(given: Any, words: str) -> None:
    with pytest.raises(DeclarationError, match=words):
        declared(given)


@pytest.mark.parametrize("method", ["GET", "HEAD", "PUT", "DELETE"])
def test_other_methods_need_no_key(method: str) -> None:
    with pytest.raises(DeclarationError, match="POST and PATCH"):
        declared(True, method)
