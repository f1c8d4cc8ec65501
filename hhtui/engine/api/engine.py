"""``/health``, ``/api/v1/engine`` and the API's own description."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Coroutine
from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hhtui.engine.api import requests
from hhtui.engine.api.about import About
from hhtui.engine.api.answers import Handler, JSONDocument
from hhtui.engine.reload import EngineControl
from hhtui.errors import ConflictError
from hhtui.model import operations
from hhtui.model.operations import Access, Operation
from hhtui.text import sanitise

_log = logging.getLogger(__name__)


def engine_handlers(about: About, control: EngineControl, access: Access) -> dict[Operation, Handler]:
    """The engine's health, what it says of itself, its stop and its reload."""
    running: set[asyncio.Task[None]] = set()

    def after_answer(what: str, action: Coroutine[Any, Any, None]) -> None:
        """Run what ends this server, and so cannot be waited for by a request that it serves."""

        async def run() -> None:
            await asyncio.sleep(0.05)  # the answer is on its way first
            try:
                await action
            except Exception as error:
                _log.error("engine %s failed: %s", what, sanitise(f"{type(error).__name__}: {error}", 300))

        task = asyncio.create_task(run(), name=f"api-engine-{what}")
        running.add(task)
        task.add_done_callback(running.discard)

    async def health(_request: Request) -> Response:
        return JSONDocument(about.health())

    async def engine(_request: Request) -> Response:
        return JSONDocument(await about.counted())

    async def description(_request: Request) -> Response:
        # Loaded when somebody asks: descriptions are read once, if ever.
        from hhtui.engine.api.openapi import openapi_document

        return JSONDocument(openapi_document(access=access))

    async def stop(request: Request) -> Response:
        keep_apps = requests.flag_in(await requests.json_object(request), "keep_apps")
        if about.service is not None:
            tool = "systemctl --user" if about.service == "user" else "sudo systemctl"
            raise ConflictError(
                f"systemd runs this engine and would start it again at once: `{tool} stop hhtui` stops it",
                service=about.service,
            )
        after_answer("stop", control.shut_down(keep_apps=keep_apps))
        return JSONDocument(about.info(), status_code=202)

    async def reload(_request: Request) -> Response:
        after_answer("reload", control.reload())
        return JSONDocument(about.info(), status_code=202)

    return {
        operations.HEALTH: health,
        operations.ENGINE: engine,
        operations.DESCRIPTION: description,
        operations.STOP_ENGINE: stop,
        operations.RELOAD_ENGINE: reload,
    }
