"""``/api/v1/system``, ``/api/v1/alerts`` and ``/metrics``."""

from __future__ import annotations

import asyncio
from collections.abc import Callable, Mapping

from starlette.requests import Request
from starlette.responses import Response

from hhtui.engine.alerts.watch import AlertWatch
from hhtui.engine.api import requests
from hhtui.engine.api.about import About
from hhtui.engine.api.answers import Handler, JSONDocument
from hhtui.engine.app.fleet import Fleet
from hhtui.engine.config_watch import ConfigKeeper
from hhtui.engine.events.bus import EventBus
from hhtui.engine.hardware.history import MetricsHistory
from hhtui.engine.hardware.processes import MachineProcesses
from hhtui.engine.hardware.sampler import MetricsSampler
from hhtui.engine.launch.sandbox import sandbox_status
from hhtui.engine.logs.capture import LogCapture
from hhtui.engine.redis.service import RedisService
from hhtui.model import operations
from hhtui.model.operations import Operation

# Figures that are at most so old will do for whoever asks (seconds).
_METRICS_AGE = 2.0


def machine_handlers(
    sampler: MetricsSampler,
    metrics_history: MetricsHistory,
    redis_service: RedisService,
    watch: AlertWatch,
    machine: MachineProcesses,
    roots: Callable[[], Mapping[int, str]],
    settings: ConfigKeeper,
) -> dict[Operation, Handler]:
    """The machine's figures, processes and alerts, and what it allows; ``roots`` are the apps' processes."""

    async def metrics(_request: Request) -> Response:
        return JSONDocument(await sampler.current(_METRICS_AGE))

    async def history(request: Request) -> Response:
        return JSONDocument(await metrics_history.since(requests.age_seconds(request), requests.points(request)))

    async def redis(request: Request) -> Response:
        if requests.flag(request, "details"):
            return JSONDocument(await redis_service.detailed_status())
        return JSONDocument(redis_service.status())

    async def sandbox(_request: Request) -> Response:
        return JSONDocument(await asyncio.get_running_loop().run_in_executor(None, sandbox_status, settings.config))

    async def alerts(_request: Request) -> Response:
        return JSONDocument(watch.active())

    async def processes(request: Request) -> Response:
        return JSONDocument(await machine.top(roots(), requests.count(request)))

    return {
        operations.METRICS: metrics,
        operations.METRICS_HISTORY: history,
        operations.REDIS: redis,
        operations.SANDBOX: sandbox,
        operations.ALERTS: alerts,
        operations.PROCESSES: processes,
    }


def prometheus_handlers(
    about: About, fleet: Fleet, sampler: MetricsSampler, watch: AlertWatch, bus: EventBus, capture: LogCapture
) -> dict[Operation, Handler]:
    """All figures in Prometheus' text format."""

    async def prometheus(_request: Request) -> Response:
        # Loaded at the first scrape: most homes have no Prometheus.
        from hhtui.engine.api.prometheus import CONTENT_TYPE, EngineCounters, exposition

        counters = EngineCounters(bus.counts, bus.foreign_count, capture.stats.bytes, watch.active())
        text = exposition(about.info(), fleet.live(), await sampler.current(_METRICS_AGE), counters)
        return Response(text, headers={"Content-Type": CONTENT_TYPE})

    return {operations.PROMETHEUS: prometheus}
