"""Every method on one path, on the loop and in threads."""

from __future__ import annotations

from typing import Annotated

from fastapi import Body, Query

from shared import queued
from tests.engine.conformance.handlers.telling import told

Tag = Annotated[str, Query()]
Text = Annotated[str, Body()]


@queued("/verbs", max_concurrency=20)
async def get(tag: Tag) -> dict[str, str]:
    """GET."""
    return told(tag=tag)


@queued("/verbs", max_concurrency=20, method="HEAD")
def head(tag: Tag) -> dict[str, str]:
    """HEAD."""
    return told(tag=tag)


@queued("/verbs", max_concurrency=20, method="put")
async def put(tag: Tag, text: Text) -> dict[str, str]:
    """PUT."""
    return told(tag=tag, text=text)


@queued("/verbs", max_concurrency=20, method="POST")
def post(tag: Tag, text: Text) -> dict[str, str]:
    """POST."""
    return told(tag=tag, text=text)


@queued("/verbs", max_concurrency=20, method="PATCH")
async def patch(tag: Tag, text: Text) -> dict[str, str]:
    """PATCH."""
    return told(tag=tag, text=text)


@queued("/verbs", max_concurrency=20, method="DELETE")
def delete(tag: Tag, text: Text) -> dict[str, str]:
    """DELETE."""
    return told(tag=tag, text=text)
