"""``/api/v1/config``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from hhtui.engine.api import requests
from hhtui.engine.api.answers import Handler, JSONDocument
from hhtui.engine.config_watch import ConfigKeeper
from hhtui.model import operations
from hhtui.model.operations import Operation


def config_handlers(settings: ConfigKeeper) -> dict[Operation, Handler]:
    """The configuration, its change, its keys, and its backup."""

    async def config(_request: Request) -> Response:
        return JSONDocument(settings.view())

    async def change(request: Request) -> Response:
        only_check = requests.flag(request, "check")
        patch = await requests.json_object(request)
        return JSONDocument(await settings.change(patch, only_check=only_check))

    async def keys(_request: Request) -> Response:
        # Loaded when somebody asks: the schema takes a moment and some memory.
        from hhtui.model.config import config_keys

        return JSONDocument(list(config_keys()))

    async def backup(_request: Request) -> Response:
        return JSONDocument(await settings.backup())

    async def restore(_request: Request) -> Response:
        return JSONDocument(await settings.restore())

    return {
        operations.CONFIG: config,
        operations.CHANGE_CONFIG: change,
        operations.CONFIG_KEYS: keys,
        operations.CONFIG_BACKUP: backup,
        operations.RESTORE_CONFIG: restore,
    }
