"""What answers each operation of the control API (hhtui/model/operations.py)."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from contextlib import AbstractContextManager
from dataclasses import dataclass

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from hhtui.engine.alerts.watch import AlertWatch
from hhtui.engine.api.about import About
from hhtui.engine.api.answers import Caller, Handler, answer_known_error
from hhtui.engine.api.apps import app_handlers
from hhtui.engine.api.backups import backup_handlers
from hhtui.engine.api.configuration import config_handlers
from hhtui.engine.api.engine import engine_handlers
from hhtui.engine.api.gateway import gateway_handlers
from hhtui.engine.api.guard import Guard
from hhtui.engine.api.logs import log_handlers
from hhtui.engine.api.machine import machine_handlers, prometheus_handlers
from hhtui.engine.api.settings import secret_handlers, settings_handlers
from hhtui.engine.api.sources import source_handlers
from hhtui.engine.api.stream import OpenStreams, event_handlers
from hhtui.engine.app.fleet import Fleet
from hhtui.engine.app.secrets import SecretsKeeper
from hhtui.engine.app.settings import SettingsKeeper
from hhtui.engine.backup.service import BackupService
from hhtui.engine.config_watch import ConfigKeeper
from hhtui.engine.events.bus import EventBus
from hhtui.engine.gateway.gateway import Gateway
from hhtui.engine.hardware.app_sizes import AppSizesCounter
from hhtui.engine.hardware.history import MetricsHistory
from hhtui.engine.hardware.processes import MachineProcesses
from hhtui.engine.hardware.sampler import MetricsSampler
from hhtui.engine.logs.capture import LogCapture
from hhtui.engine.logs.reader import Logs
from hhtui.engine.redis.service import RedisService
from hhtui.engine.reload import EngineControl
from hhtui.engine.sources.adding import Adding
from hhtui.engine.sources.catalogs import Catalogs
from hhtui.engine.sources.jobs import AppJobs
from hhtui.engine.sources.moving import Moving
from hhtui.engine.sources.newer import NewerVersions
from hhtui.engine.sources.removal import Removals
from hhtui.engine.sources.updating import Updating
from hhtui.errors import ForbiddenError, HomeHelperError
from hhtui.model import operations
from hhtui.model.operations import Access, Operation


@dataclass(frozen=True)
class Parts:
    """The parts of an engine that answer; each group of operations is given those that it uses.

    While ``watching`` is held, somebody looks: metrics are sampled and published every 2 seconds.
    """

    about: About
    control: EngineControl
    apps: Fleet
    sizes: AppSizesCounter
    processes: MachineProcesses
    logs: Logs
    sampler: MetricsSampler
    history: MetricsHistory
    redis: RedisService
    alerts: AlertWatch
    settings: ConfigKeeper
    secrets: SecretsKeeper
    app_settings: SettingsKeeper
    gateway: Gateway
    backups: BackupService
    jobs: AppJobs
    removals: Removals
    updating: Updating
    adding: Adding
    catalogs: Catalogs
    newer: NewerVersions
    moving: Moving
    bus: EventBus
    capture: LogCapture
    watching: Callable[[], AbstractContextManager[None]]


def build_api(parts: Parts, caller: Caller, *, streams: OpenStreams, requests: int) -> ASGIApp:
    """The ASGI application for ``caller``; the export's takes GET alone, for this machine's names.

    At most so many ``requests`` are answered at once.

    Put together here, as Starlette's own application brings half a megabyte of what it shows of errors.
    """
    operation_handlers = api_handlers(parts, caller, streams=streams)
    router = Router(api_routes(operation_handlers, caller.access), redirect_slashes=False)
    handlers = {HTTPException: answer_known_error, HomeHelperError: answer_known_error}
    answering = ExceptionMiddleware(router, handlers=handlers)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        # With it the router raises what it does not know, instead of answering in a form of its own.
        scope["app"] = router
        await answering(scope, receive, send)

    return Guard(application, read_only=caller.access is Access.EXPORT, most=requests)


def api_routes(handlers: Mapping[Operation, Handler], access: Access) -> list[Route]:
    """A route for each path; KeyError without a handler.

    What ``access`` does not allow is refused to an app, and is not there for the read-only export.
    """
    methods: dict[str, dict[str, Handler]] = {}
    for operation in operations.OPERATIONS:
        if access.may_call(operation):
            methods.setdefault(operation.path, {})[operation.method] = handlers[operation]
        elif access is Access.APP:
            methods.setdefault(operation.path, {})[operation.method] = _refuse
    # One route for all methods of a path, so that the answer to another method names them all.
    return [Route(path, _by_method(found), methods=list(found)) for path, found in methods.items()]


async def _refuse(_request: Request) -> Response:
    raise ForbiddenError("an app may not do this: it is for the home's owner alone")


def _by_method(handlers: Mapping[str, Handler]) -> Handler:
    async def handle(request: Request) -> Response:
        return await handlers["GET" if request.method == "HEAD" else request.method](request)

    return handle


def api_handlers(parts: Parts, caller: Caller, *, streams: OpenStreams) -> dict[Operation, Handler]:
    """What answers each operation to ``caller``."""
    return {
        **engine_handlers(parts.about, parts.control, caller.access),
        **app_handlers(parts.apps, parts.sizes, parts.processes, caller),
        **log_handlers(parts.logs),
        **event_handlers(parts.bus, parts.watching, streams),
        **machine_handlers(
            parts.sampler,
            parts.history,
            parts.redis,
            parts.alerts,
            parts.processes,
            parts.apps.roots,
            parts.settings,
        ),
        **prometheus_handlers(parts.about, parts.apps, parts.sampler, parts.alerts, parts.bus, parts.capture),
        **config_handlers(parts.settings),
        **secret_handlers(parts.secrets),
        **settings_handlers(parts.app_settings),
        **gateway_handlers(parts.gateway, parts.settings),
        **backup_handlers(parts.backups),
        **source_handlers(
            parts.jobs, parts.adding, parts.catalogs, parts.removals, parts.updating, parts.newer, parts.moving
        ),
    }
