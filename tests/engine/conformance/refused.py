"""Functions that cannot be queued; each one's docstring is what the refusal must recommend.

Annotations are evaluated at once here; the tests compile this text a second time
with `from __future__ import annotations`.
"""

# ruff: noqa: B008, D, FAST

from typing import Annotated, Any, Optional, Union

from fastapi import BackgroundTasks, Depends, File, Form, Request, Response, Security, UploadFile, WebSocket
from fastapi.requests import HTTPConnection
from fastapi.responses import JSONResponse, StreamingResponse
from fastapi.security import OAuth2PasswordBearer, SecurityScopes
from typing_extensions import TypeAliasType

from shared import Context, Reply, Resource

bearer = OAuth2PasswordBearer(tokenUrl="token")


class OwnRequest(Request):
    """A request of the user's own."""


def dependency() -> int:
    return 1


Given = TypeAliasType("Given", Annotated[int, Depends(dependency)])


def depends(value: Annotated[int, Depends(dependency)]) -> None:
    """Resource(factory)"""


def depends_by_default(value: int = Depends(dependency)) -> None:
    """Resource(factory)"""


def depends_by_alias(value: Given) -> None:
    """Resource(factory)"""


async def security(token: Annotated[str, Security(bearer, scopes=["read"])]) -> None:
    """identify"""


def security_by_default(token: str = Security(bearer)) -> None:
    """Context.caller"""


def scopes(scopes: SecurityScopes) -> None:
    """Context.caller"""


async def request(request: Request) -> None:
    """Header, Cookie or Query"""


def own_request(request: Annotated[OwnRequest, "mine"]) -> None:
    """Header, Cookie or Query"""


def connection(connection: HTTPConnection) -> None:
    """the Context"""


async def websocket(socket: WebSocket) -> None:
    """a handler answers once"""


def response(response: Response) -> None:
    """return Reply"""


async def response_result() -> JSONResponse:
    """return Reply"""
    raise NotImplementedError


def perhaps_a_response(ok: bool) -> Union[dict[str, int], Response]:  # noqa: UP007
    """return Reply"""
    return {}


async def stream() -> Reply[StreamingResponse]:
    """media_type="""
    raise NotImplementedError


def form(name: Annotated[str, Form()]) -> None:
    """JSON model"""


async def form_by_default(name: str = Form("none", max_length=3)) -> None:
    """the raw body as bytes"""


def file(data: Annotated[bytes, File()]) -> None:
    """the raw body as bytes"""


def file_by_default(data: bytes = File()) -> None:
    """the raw body as bytes"""


async def upload(file: UploadFile) -> None:
    """Body(media_type='application/octet-stream')"""


async def perhaps_an_upload(file: Optional[UploadFile] = None) -> None:  # noqa: UP045
    """Body(media_type='application/octet-stream')"""


def uploads(files: list[UploadFile]) -> None:
    """Body(media_type='application/octet-stream')"""


async def background(tasks: BackgroundTasks) -> None:
    """in a worker already"""


def perhaps_a_context(ctx: Optional[Context] = None) -> None:  # noqa: UP045
    """annotate it `Context`"""


def two_contexts(one: Context, other: Context) -> None:
    """keep one"""


def resource_by_default(pool: Any = Resource("pools:open")) -> None:
    """Annotated[…, Resource(…)]"""


def any_number(*numbers: int) -> None:
    """name each parameter"""


def by_any_name(**numbers: int) -> None:
    """name each parameter"""


def by_place(number: int, /) -> None:
    """name each parameter"""
