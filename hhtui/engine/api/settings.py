"""``/api/v1/apps/{app_id}/settings`` and ``/api/v1/secrets``."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hhtui.engine.api import requests
from hhtui.engine.api.answers import Handler, JSONDocument
from hhtui.engine.app.secrets import SecretsKeeper
from hhtui.engine.app.settings import SettingsKeeper
from hhtui.errors import InvalidInputError
from hhtui.model import operations
from hhtui.model.operations import Operation
from hhtui.model.secrets import SecretInfo
from hhtui.text import sanitise


def settings_handlers(keeper: SettingsKeeper) -> dict[Operation, Handler]:
    """What can be set of an app, and its change."""

    async def settings(request: Request) -> Response:
        return JSONDocument(await keeper.settings(requests.app_id(request)))

    async def change(request: Request) -> Response:
        only_check = requests.flag(request, "check")
        none = [key for key in request.query_params.get("none", "").split(",") if key]
        patch = await requests.json_object(request)
        return JSONDocument(await keeper.change(requests.app_id(request), patch, none, only_check=only_check))

    return {operations.APP_SETTINGS: settings, operations.CHANGE_APP_SETTINGS: change}


def secret_handlers(keeper: SecretsKeeper) -> dict[Operation, Handler]:
    """The home's secrets: which there are, and their change."""

    async def secrets(_request: Request) -> Response:
        return JSONDocument(await keeper.listed())

    async def change(request: Request) -> Response:
        changes = _changes(await requests.json_object(request))
        changed = await keeper.change(changes)
        known = {secret.name: secret for secret in await keeper.listed()}
        return JSONDocument([known.get(name) or SecretInfo(name=name, is_set=False) for name in changed])

    return {operations.SECRETS: secrets, operations.CHANGE_SECRETS: change}


def _changes(document: dict[str, Any]) -> dict[str, str | None]:
    for name, value in document.items():
        if value is not None and not isinstance(value, str):
            # The value is not repeated: it may be the secret all the same.
            raise InvalidInputError(f"{sanitise(name, 60)}: a secret's value must be a text, or null to remove it")
    return document
