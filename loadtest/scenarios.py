"""Your traffic: who asks for what, and how often. Edit this file freely; no other one is needed.

As it stands, every operation of HOST's OpenAPI document is asked, equally often, so
each decorated handler is covered. Examples (`@queued(…, examples=…)`) come first.
"""

from __future__ import annotations

from collections.abc import Sequence

from floodgate.peak.openapi import Operation
from floodgate.peak.traffic import Task

HEADERS: dict[str, str] = {}
"""Sent with every request, e.g. `{"X-API-Key": "…"}`."""

SKIPPED = {"GET /tasks/{task_id}", "DELETE /tasks/{task_id}"}
"""Not asked: the id of a task comes from an answer, and cannot be made up."""


def tasks(operations: Sequence[Operation]) -> dict[Operation | Task, int]:
    """Returns what users do, each with its weight: how often against the others."""
    return {operation: 1 for operation in operations if operation.route not in SKIPPED}


# To model real traffic, write what a user does as functions, and return these:
#
#     def buy(client: Client) -> None:
#         receipt = client.ask("POST", "/orders", json={"item": "tea", "price": "4.50"})
#         if receipt.status_code == 200:
#             client.ask("GET", f"/orders/{receipt.json()['id']}", route="GET /orders/{id}")
#
#     def tasks(operations: Sequence[Operation]) -> dict[Operation | Task, int]:
#         return {browse: 20, buy: 1}
