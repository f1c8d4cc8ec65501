"""The control API's paths and what each answers with (contract, section 6)."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import Awaitable, Callable, Coroutine
from typing import Any

from starlette.exceptions import HTTPException
from starlette.middleware.exceptions import ExceptionMiddleware
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route, Router
from starlette.types import ASGIApp, Receive, Scope, Send

from hhtui.engine.api import requests
from hhtui.engine.api.answers import JSONDocument, answer_known_error
from hhtui.engine.api.backups import backup_routes
from hhtui.engine.api.configuration import config_routes
from hhtui.engine.api.export import exported_record
from hhtui.engine.api.guard import Guard
from hhtui.engine.api.stream import EventStream, OpenStreams
from hhtui.engine.bus.bus import current_correlation
from hhtui.engine.facade import EngineFacade
from hhtui.errors import HomeHelperError
from hhtui.model.app import AppRecord, Verb
from hhtui.model.event import new_correlation_id
from hhtui.text import sanitise

_log = logging.getLogger(__name__)
_Handler = Callable[[Request], Awaitable[Response]]


def build_api(facade: EngineFacade, *, read_only: bool, streams: OpenStreams | None = None) -> ASGIApp:
    """The ASGI application; ``read_only`` is the export: GET alone, for this machine's names, without secrets.

    Put together here, as Starlette's own application brings half a megabyte of what it shows of errors.
    """
    router = Router(api_routes(facade, read_only=read_only, streams=streams), redirect_slashes=False)
    handlers = {HTTPException: answer_known_error, HomeHelperError: answer_known_error}
    answering = ExceptionMiddleware(router, handlers=handlers)

    async def application(scope: Scope, receive: Receive, send: Send) -> None:
        # With it the router raises what it does not know, instead of answering in a form of its own.
        scope["app"] = router
        await answering(scope, receive, send)

    return Guard(application, read_only=read_only)


def api_routes(facade: EngineFacade, *, read_only: bool, streams: OpenStreams | None = None) -> list[Route]:
    """What the application answers to."""
    return _Api(facade, read_only=read_only, streams=streams or OpenStreams()).routes()


class _Api:
    def __init__(self, facade: EngineFacade, *, read_only: bool, streams: OpenStreams) -> None:
        self._facade = facade
        self._read_only = read_only
        self._streams = streams
        self._running: set[asyncio.Task[None]] = set()

    def routes(self) -> list[Route]:
        reading: list[tuple[str, _Handler]] = [
            ("/health", self._health),
            ("/metrics", self._prometheus),
            ("/api/v1/apps", self._apps),
            ("/api/v1/apps/{app_id}", self._app),
            ("/api/v1/apps/{app_id}/logs", self._log_files),
            ("/api/v1/apps/{app_id}/logs/{name}", self._log_page),
            ("/api/v1/system/metrics", self._metrics),
            ("/api/v1/system/metrics/history", self._history),
            ("/api/v1/system/redis", self._redis),
            ("/api/v1/alerts", self._alerts),
            ("/api/v1/events", self._events),
            ("/api/v1/engine", self._engine),
            ("/api/v1/openapi.json", self._openapi),
        ]
        routes = [Route(path, handler, methods=["GET"]) for path, handler in reading]
        if self._read_only:
            return [*routes, Route("/api/v1/config", self._config, methods=["GET"])]
        writing: list[tuple[str, _Handler]] = [
            ("/api/v1/engine/stop", self._stop_engine),
            ("/api/v1/engine/reload", self._reload_engine),
            *((f"/api/v1/apps/{{app_id}}/{verb.value}", self._commander(verb)) for verb in Verb),
        ]
        routes += [Route(path, handler, methods=["POST"]) for path, handler in writing]
        routes += backup_routes(self._facade)
        # Who runs what is no business of those who only may read the export.
        routes.append(Route("/api/v1/system/processes", self._processes, methods=["GET"]))
        routes.append(Route("/api/v1/apps/{app_id}/processes", self._app_processes, methods=["GET"]))
        # Nor is the export to make the engine walk through folders.
        routes.append(Route("/api/v1/apps/{app_id}/sizes", self._app_sizes, methods=["GET"]))
        routes += config_routes(self._facade)
        # One route for both methods, so that the answer to a wrong one names both.
        return [*routes, Route("/api/v1/config", self._config, methods=["GET", "PATCH"])]

    async def _health(self, _request: Request) -> Response:
        about = self._facade.about()
        counted = "1 app" if about.apps == 1 else f"{about.apps} apps"
        message = about.problems[0] if about.problems else counted
        return JSONDocument(
            {
                "health": "warning" if about.problems else "good",
                "message": message,
                "version": about.version,
                "pid": about.pid,
                "uptime_seconds": about.uptime_seconds,
            }
        )

    async def _apps(self, _request: Request) -> Response:
        return JSONDocument([self._shown(record) for record in self._facade.apps()])

    async def _app(self, request: Request) -> Response:
        return JSONDocument(self._shown(self._facade.app(request.path_params["app_id"])))

    def _shown(self, record: AppRecord) -> dict[str, Any]:
        return exported_record(record) if self._read_only else record.model_dump(mode="json")

    def _commander(self, verb: Verb) -> _Handler:
        async def handle(request: Request) -> Response:
            wait = requests.wait_seconds(request)
            record = await self._facade.command(
                request.path_params["app_id"],
                verb,
                wait=wait,
                correlation_id=current_correlation.get() or new_correlation_id(),
            )
            return JSONDocument(record, status_code=202 if wait is None else 200)

        return handle

    async def _log_files(self, request: Request) -> Response:
        return JSONDocument(await self._facade.log_files(request.path_params["app_id"]))

    async def _log_page(self, request: Request) -> Response:
        query = requests.log_query(request)
        path = request.path_params
        return JSONDocument(await self._facade.log_page(path["app_id"], path["name"], query))

    async def _metrics(self, _request: Request) -> Response:
        return JSONDocument(await self._facade.metrics())

    async def _history(self, request: Request) -> Response:
        return JSONDocument(await self._facade.history.since(requests.age_seconds(request), requests.points(request)))

    async def _alerts(self, _request: Request) -> Response:
        return JSONDocument(self._facade.alerts.active())

    async def _redis(self, request: Request) -> Response:
        if requests.flag(request, "details"):
            return JSONDocument(await self._facade.redis_details())
        return JSONDocument(self._facade.redis_status())

    async def _processes(self, request: Request) -> Response:
        return JSONDocument(await self._facade.processes(requests.count(request)))

    async def _app_processes(self, request: Request) -> Response:
        return JSONDocument(await self._facade.app_processes(request.path_params["app_id"]))

    async def _app_sizes(self, request: Request) -> Response:
        wait = requests.wait_seconds(request) or 0
        return JSONDocument(await self._facade.app_sizes(request.path_params["app_id"], wait))

    async def _prometheus(self, _request: Request) -> Response:
        # Loaded at the first scrape: most homes have no Prometheus.
        from hhtui.engine.api.prometheus import CONTENT_TYPE, EngineCounters, exposition

        facade = self._facade
        counters = EngineCounters(
            facade.bus.counts, facade.bus.foreign_count, facade.capture.stats.bytes, facade.alerts.active()
        )
        text = exposition(facade.about(), facade.apps(), await facade.metrics(), counters)
        return Response(text, headers={"Content-Type": CONTENT_TYPE})

    async def _events(self, request: Request) -> Response:
        after = requests.resume_id(request)
        pattern = requests.channel_glob(request)
        watch = self._facade.watching() if requests.flag(request, "watch") else None
        follow = requests.flag(request, "follow", default=True)
        if after is None and not follow:
            after = requests.EVERYTHING_KEPT
        bus = self._facade.bus
        return EventStream(lambda: bus.subscribe(pattern, after), watch, self._streams, follow=follow)

    async def _engine(self, _request: Request) -> Response:
        return JSONDocument(self._facade.about())

    async def _openapi(self, request: Request) -> Response:
        # Loaded when somebody asks: descriptions are read once, if ever.
        from hhtui.engine.api.openapi import openapi_document

        return JSONDocument(openapi_document(request.app.routes, read_only=self._read_only))

    async def _config(self, request: Request) -> Response:
        if request.method == "PATCH":
            only_check = requests.flag(request, "check")
            patch = await requests.json_object(request)
            return JSONDocument(await self._facade.change_config(patch, only_check=only_check))
        return JSONDocument(self._facade.config_view())

    async def _stop_engine(self, request: Request) -> Response:
        keep_apps = requests.flag_in(await requests.json_object(request), "keep_apps")
        self._run_after_answer("stop", self._facade.shut_down(keep_apps=keep_apps))
        return JSONDocument(self._facade.about(), status_code=202)

    async def _reload_engine(self, request: Request) -> Response:
        self._run_after_answer("reload", self._facade.reload())
        return JSONDocument(self._facade.about(), status_code=202)

    def _run_after_answer(self, what: str, action: Coroutine[Any, Any, None]) -> None:
        """Run what ends this server, and so cannot be waited for by a request that it serves."""

        async def run() -> None:
            await asyncio.sleep(0.05)  # the answer is on its way first
            try:
                await action
            except Exception as error:
                _log.error("engine %s failed: %s", what, sanitise(f"{type(error).__name__}: {error}", 300))

        task = asyncio.create_task(run(), name=f"api-engine-{what}")
        self._running.add(task)
        task.add_done_callback(self._running.discard)
