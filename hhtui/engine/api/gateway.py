"""``/api/v1/gateway``."""

from __future__ import annotations

from typing import Any

from starlette.requests import Request
from starlette.responses import Response

from hhtui.engine.api import requests
from hhtui.engine.api.answers import Handler, JSONDocument
from hhtui.engine.config_watch import ConfigKeeper
from hhtui.engine.gateway.gateway import Gateway
from hhtui.model import operations
from hhtui.model.gateway import GatewayPassword, GatewaySwitch
from hhtui.model.operations import Operation


def gateway_handlers(gateway: Gateway, settings: ConfigKeeper) -> dict[Operation, Handler]:
    """The gateway's state, its switch and its password."""

    async def status(_request: Request) -> Response:
        return JSONDocument(await gateway.status())

    async def switch(request: Request) -> Response:
        wait = requests.wait_seconds(request)
        order = await requests.order(request, GatewaySwitch)
        patch: dict[str, Any] = {"enabled": order.enabled, **({"tls": order.tls} if order.tls is not None else {})}
        await settings.change({"gateway": patch})
        gateway.configured()  # also where it is on already: a problem may be gone
        if wait is not None:
            await gateway.settled(wait)
        return JSONDocument(await gateway.status())

    async def password(request: Request) -> Response:
        order = await requests.order(request, GatewayPassword)
        await gateway.set_password(order.password.get_secret_value() if order.password is not None else None)
        await gateway.settled(2.0)
        return JSONDocument(await gateway.status())

    return {
        operations.GATEWAY: status,
        operations.SWITCH_GATEWAY: switch,
        operations.GATEWAY_PASSWORD: password,
    }
