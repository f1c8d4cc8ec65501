"""``/api/v1/apps/{app_id}/logs``. A search ends when its client goes, and says how far it is if that is asked for."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator
from contextlib import asynccontextmanager

from starlette.requests import Request
from starlette.responses import Response
from starlette.types import Receive, Scope, Send

from hhtui.engine.api import requests
from hhtui.engine.api.answers import Handler, JSONDocument, to_json
from hhtui.engine.logs.reader import Logs
from hhtui.engine.logs.searching import Search
from hhtui.errors import HomeHelperError
from hhtui.model import operations
from hhtui.model.log import LogPage
from hhtui.model.operations import Operation

_TELL_SECONDS = 0.25


def log_handlers(logs: Logs) -> dict[Operation, Handler]:
    """The list of an app's logs, and their pages."""

    async def files(request: Request) -> Response:
        return JSONDocument(await logs.files(requests.app_id(request)))

    async def page(request: Request) -> Response:
        return await log_page(logs, request)

    return {operations.LOGS: files, operations.LOG_PAGE: page}


async def log_page(logs: Logs, request: Request) -> Response:
    """The page that the request asks for; with ``progress=1`` and a search the lines of ``_Progress``."""
    app_id, name = requests.app_id(request), requests.name(request)
    query = requests.log_query(request)
    if not query.search:
        return JSONDocument(await logs.page(app_id, name, query))
    running = Search()
    work = asyncio.create_task(logs.page(app_id, name, query, running), name="log search")
    if requests.flag(request, "progress"):
        try:
            # What is found at once, or is wrong, is answered as always.
            done, _ = await asyncio.wait({work}, timeout=_TELL_SECONDS)
        except asyncio.CancelledError:
            work.cancel()
            raise
        if not done:
            return _Progress(work, running)
    async with _while_somebody_waits(work, request.receive):
        return JSONDocument(await work)


class _Progress(Response):
    """JSON lines: ``{"progress": {"done", "total"}}`` in bytes until the last, ``{"page": LogPage}`` or an error."""

    media_type = "application/x-ndjson"

    def __init__(self, work: asyncio.Task[LogPage], running: Search) -> None:
        super().__init__()
        del self.headers["content-length"]
        self._work = work
        self._running = running

    async def __call__(self, scope: Scope, receive: Receive, send: Send) -> None:
        await send({"type": "http.response.start", "status": self.status_code, "headers": self.raw_headers})
        async with _while_somebody_waits(self._work, receive):
            while True:
                progress = {"progress": {"done": self._running.done, "total": self._running.total}}
                await send({"type": "http.response.body", "body": to_json(progress) + b"\n", "more_body": True})
                done, _ = await asyncio.wait({self._work}, timeout=_TELL_SECONDS)
                if done:
                    break
            await send({"type": "http.response.body", "body": await self._last() + b"\n"})

    async def _last(self) -> bytes:
        try:
            return to_json({"page": (await self._work).model_dump(mode="json")})
        except HomeHelperError as error:
            return to_json({"error": error.slug, "message": error.message, "details": error.details})


@asynccontextmanager
async def _while_somebody_waits(work: asyncio.Task[LogPage], receive: Receive) -> AsyncIterator[None]:
    """Cancels ``work`` when the client goes, and when this ends before it."""

    async def departure() -> None:
        while (await receive())["type"] != "http.disconnect":
            pass
        work.cancel()

    gone = asyncio.create_task(departure(), name="log search departure")
    try:
        yield
    finally:
        gone.cancel()
        work.cancel()
        await asyncio.wait({work})
