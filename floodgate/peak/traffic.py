"""What a scenario has to do with: a client that asks, and tasks made of operations.

Owns the words that `scenarios.py` is written in. Must not know locust.
"""

from __future__ import annotations

import random
from collections.abc import Callable, Mapping
from typing import Any, Protocol

from floodgate.peak.openapi import Ask, Operation, operations
from floodgate.peak.values import NoValue, Values


class Answer(Protocol):
    """What came back; `status_code` is 0 when nothing did."""

    status_code: int
    headers: Mapping[str, str]

    def json(self) -> Any: ...


class Client(Protocol):
    """One user."""

    def ask(
        self,
        method: str,
        path: str,
        *,
        route: str = "",
        json: Any = None,
        body: bytes | None = None,
        headers: Mapping[str, str | list[str]] | None = None,
    ) -> Answer:
        """Sends a request and returns its answer; `route` names it in the report, e.g. `GET /orders/{id}`."""
        ...


Task = Callable[[Client], object]
"""What a user does in one turn."""


def askable(document: Mapping[str, Any]) -> tuple[list[Operation], list[str]]:
    """Returns the operations that can be asked for, and of each other one why it cannot."""
    values = Values(document, random.Random(1))
    found, complaints = [], []
    for operation in operations(document):
        try:
            operation.ask(values)
        except NoValue as error:
            complaints.append(str(error))
        else:
            found.append(operation)
    return found, complaints


def task_of(operation: Operation, document: Mapping[str, Any]) -> Task:
    """Returns the task that asks for an operation, with fresh values each time."""
    values = Values(document, random.Random())

    def send(client: Client) -> Answer:
        return client_asks(client, operation.ask(values))

    send.__name__ = operation.route
    return send


def client_asks(client: Client, ask: Ask) -> Answer:
    """Sends a request that is ready."""
    return client.ask(ask.method, ask.path, route=ask.route, body=ask.body, headers=ask.headers)
