"""What every engine's answer must look like to a client."""

from __future__ import annotations

import httpx

from tests.engine.system.edge_handlers.endings import SECRET

PROBLEM = "application/problem+json"


def assert_problem(response: httpx.Response, status: int) -> None:
    """A problem document with the request id, and no exception's text."""
    assert response.status_code == status, response.text
    assert response.headers["content-type"] == PROBLEM
    body = response.json()
    assert body["status"] == status
    assert body["request_id"] == response.headers["x-request-id"]
    assert SECRET not in response.text
