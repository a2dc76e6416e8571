"""A route belongs to the package in which its decorator stands, whatever function is under it."""

from __future__ import annotations

import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from floodgate.declare.discovery import discover
from floodgate.operations.settings import Settings

ELSEWHERE = """
from shared import queued

def double(n: int) -> int:
    return 2 * n

def logged(function):
    def logging(n: int) -> int:
        return function(n)
    return logging

def small(path):
    return queued(path, max_concurrency=1)
"""
ROUTES = """
from elsewhere_of_test import double, logged, small
from shared import queued

queued("/function-of-another-module", 1)(double)

@queued("/under-a-decorator-without-wraps", 1)
@logged
def one(n: int) -> int:
    return n

@small("/by-a-function-that-decorates")
def two() -> int:
    return 2
"""
OTHERS = """
from elsewhere_of_test import double
from shared import queued

queued("/of-another-package", 1)(double)
"""


@pytest.fixture
def packages(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    (tmp_path / "elsewhere_of_test.py").write_text(ELSEWHERE)
    for package, text in (("handlers_of_test", ROUTES), ("handlers_of_tests", OTHERS)):
        (tmp_path / package).mkdir()
        (tmp_path / package / "__init__.py").write_text("")
        (tmp_path / package / "routes.py").write_text(text)
    monkeypatch.syspath_prepend(tmp_path)
    yield
    for name in [name for name in sys.modules if "_of_test" in name]:
        del sys.modules[name]


@pytest.mark.usefixtures("packages")
def test_a_route_is_found_where_its_decorator_stands() -> None:
    discover(Settings(handlers="handlers_of_tests"))
    registry = discover(Settings(handlers="handlers_of_test"))
    assert [handler.path for handler in registry.handlers] == [
        "/function-of-another-module",
        "/under-a-decorator-without-wraps",
        "/by-a-function-that-decorates",
    ]
