"""``/api/v1/config/keys``, ``/backup`` and ``/restore``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hhtui.engine.api.answers import JSONDocument
from hhtui.engine.facade import EngineFacade


def config_routes(facade: EngineFacade) -> list[Route]:
    """GET keys (what may be set), GET backup (what going back would change), POST restore (go back)."""

    async def keys(_request: Request) -> Response:
        # Loaded when somebody asks: the schema takes a moment and some memory.
        from hhtui.model.config_keys import config_keys

        return JSONDocument(list(config_keys()))

    async def backup(_request: Request) -> Response:
        return JSONDocument(await facade.config_backup())

    async def restore(_request: Request) -> Response:
        return JSONDocument(await facade.restore_config())

    return [
        Route("/api/v1/config/keys", keys, methods=["GET"]),
        Route("/api/v1/config/backup", backup, methods=["GET"]),
        Route("/api/v1/config/restore", restore, methods=["POST"]),
    ]
