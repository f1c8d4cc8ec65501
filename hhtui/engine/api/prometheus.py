"""``GET /metrics``: the text format of https://prometheus.io/docs/instrumenting/exposition_formats/."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import NamedTuple

from prometheus_client.core import CounterMetricFamily, GaugeMetricFamily, Metric
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from prometheus_client.registry import Collector, CollectorRegistry

from hhtui.model.alert import Alert
from hhtui.model.app import AppRecord, Health, Status
from hhtui.model.engine import EngineInfo
from hhtui.model.metrics import Hardware, SystemMetrics

CONTENT_TYPE = CONTENT_TYPE_PLAIN_0_0_4
_MIB = 1024 * 1024
_GIB = 1024 * _MIB
_NAMED = ["app_id"]


class EngineCounters(NamedTuple):
    """What the engine counts of itself since its process began; ``log_bytes`` is of the apps whose logs are open."""

    events: Mapping[str, int]
    foreign_messages: int
    log_bytes: Mapping[str, int]
    alerts: list[Alert]


def exposition(
    about: EngineInfo, apps: list[AppRecord], metrics: SystemMetrics, counters: EngineCounters
) -> bytes:  # fmt: skip
    """All figures at this moment; base units as the naming conventions want: bytes, seconds, ratios."""
    registry = CollectorRegistry(auto_describe=False)
    registry.register(_Snapshot(about, apps, metrics, counters))
    return generate_latest(registry)


class _Snapshot(Collector):
    def __init__(
        self, about: EngineInfo, apps: list[AppRecord], metrics: SystemMetrics, counters: EngineCounters
    ) -> None:
        self._about = about
        self._apps = apps
        self._metrics = metrics
        self._counters = counters

    def collect(self) -> Iterator[Metric]:
        yield from self._engine()
        yield from self._counted()
        yield from self._app_states()
        yield from self._app_usage()
        yield from _hardware(self._metrics.hardware)

    def _engine(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("hhtui_engine_info", "The engine's version.", labels=["version"])
        info.add_metric([self._about.version], 1)
        yield info
        yield _gauge("hhtui_engine_uptime_seconds", "Since the engine started.", self._about.uptime_seconds)
        yield _gauge("hhtui_engine_problems", "Problems that wait for the user.", len(self._about.problems))
        yield _gauge("hhtui_redis_up", "Whether Redis is connected.", self._metrics.redis_status.connected)
        if self._about.rss_mb is not None:
            yield _gauge("hhtui_engine_memory_bytes", "Resident memory of the engine.", self._about.rss_mb * _MIB)
        if self._about.loop_lag_ms is not None:
            yield _gauge(
                "hhtui_engine_loop_lag_seconds", "Delay of the engine's event loop.", self._about.loop_lag_ms / 1000
            )

    def _counted(self) -> Iterator[Metric]:
        events = CounterMetricFamily("hhtui_events", "Events that the engine published.", labels=["type"])
        for event_type, count in sorted(self._counters.events.items()):
            events.add_metric([event_type], count)
        yield events
        foreign = CounterMetricFamily("hhtui_foreign_messages", "Messages of other programs on the Redis channels.")
        foreign.add_metric([], self._counters.foreign_messages)
        yield foreign
        redis = self._metrics.redis_status
        yield _gauge("hhtui_redis_events_waiting", "Events that wait for Redis.", redis.buffered)
        lost = CounterMetricFamily("hhtui_redis_events_dropped", "Events that Redis was away too long for.")
        lost.add_metric([], redis.dropped)
        yield lost
        written = CounterMetricFamily("hhtui_app_log_bytes", "Captured of the app's output.", labels=_NAMED)
        for app_id, count in sorted(self._counters.log_bytes.items()):
            written.add_metric([app_id], count)
        yield written
        alerts = GaugeMetricFamily("hhtui_alert_active", "1 while the alert is up.", labels=["rule", "key"])
        for alert in self._counters.alerts:
            alerts.add_metric([alert.rule, _label(alert.key)], 1)
        yield alerts

    def _app_states(self) -> Iterator[Metric]:
        info = GaugeMetricFamily("hhtui_app_info", "What the app is.", labels=["app_id", "name", "type", "version"])
        up = GaugeMetricFamily("hhtui_app_up", "1 while the app runs.", labels=_NAMED)
        status = GaugeMetricFamily("hhtui_app_status", "1 for the app's status.", labels=["app_id", "status"])
        health = GaugeMetricFamily("hhtui_app_health", "1 for the app's health.", labels=["app_id", "health"])
        restarts = CounterMetricFamily(
            "hhtui_app_restarts", "Restarts after a crash since the app was started.", labels=_NAMED
        )
        for app in self._apps:
            runtime = app.runtime_info
            kind = app.type.value if app.type else ""
            info.add_metric([app.app_id, _label(app.name), kind, _label(app.version)], 1)
            up.add_metric([app.app_id], app.status is Status.RUNNING)
            for possible in Status:
                status.add_metric([app.app_id, possible.value], app.status is possible)
            for level in Health:
                health.add_metric([app.app_id, level.value], runtime.health is level)
            restarts.add_metric([app.app_id], runtime.restarts)
        yield from (info, up, status, health, restarts)

    def _app_usage(self) -> Iterator[Metric]:
        cpu = GaugeMetricFamily("hhtui_app_cpu_ratio", "Of one core; 2 is two whole cores.", labels=_NAMED)
        memory = GaugeMetricFamily("hhtui_app_memory_bytes", "Memory of the app's whole process tree.", labels=_NAMED)
        disk = GaugeMetricFamily("hhtui_app_disk_bytes", "What the app's data takes on disk.", labels=_NAMED)
        for app_id, usage in self._metrics.apps.items():
            for family, value, scale in (
                (cpu, usage.cpu_percent, 0.01),
                (memory, usage.memory_mb, _MIB),
                (disk, usage.disk_mb, _MIB),
            ):
                if value is not None:
                    family.add_metric([app_id], value * scale)
        yield from (cpu, memory, disk)


def _hardware(hardware: Hardware) -> Iterator[Metric]:
    figures: tuple[tuple[str, str, float | None, float], ...] = (
        ("cpu_usage_ratio", "Of all cores together.", hardware.cpu.usage_percent, 0.01),
        ("cpu_frequency_hertz", "The cores' clock.", hardware.cpu.frequency_mhz, 1e6),
        ("cpu_temperature_celsius", "The processor's temperature.", hardware.temperature.cpu_temp, 1),
        ("memory_total_bytes", "Memory of the machine.", hardware.memory.total_mb, _MIB),
        ("memory_available_bytes", "Memory that programs can still get.", hardware.memory.available_mb, _MIB),
        ("swap_used_bytes", "Swap in use.", hardware.swap.used_mb, _MIB),
        ("load1", "Load average over one minute.", hardware.load.one_minute, 1),
        ("network_receive_bytes_per_second", "Received.", hardware.network.received_bytes_per_second, 1),
        ("network_transmit_bytes_per_second", "Sent.", hardware.network.sent_bytes_per_second, 1),
        ("fan_ratio", "The fan's drive.", hardware.fan.percent, 0.01),
        ("power_watts", "What the board is estimated to take.", hardware.power.estimated_watts, 1),
        ("uptime_seconds", "Since the machine started.", hardware.uptime_seconds, 1),
    )
    for name, words, value, scale in figures:
        if value is not None:
            yield _gauge(f"hhtui_hardware_{name}", words, value * scale)
    yield from _disks(hardware)
    throttled = GaugeMetricFamily("hhtui_hardware_throttled", "1 while the condition holds.", labels=["condition"])
    for condition, holds in hardware.throttling.now:
        if holds is not None:
            throttled.add_metric([condition], holds)
    yield throttled


def _disks(hardware: Hardware) -> Iterator[Metric]:
    size = GaugeMetricFamily("hhtui_hardware_disk_total_bytes", "Size of the file system.", labels=["mount"])
    free = GaugeMetricFamily("hhtui_hardware_disk_free_bytes", "What a user may still write.", labels=["mount"])
    for disk in hardware.disks:
        if disk.total_gb is not None:
            size.add_metric([disk.mount], disk.total_gb * _GIB)
        if disk.free_gb is not None:
            free.add_metric([disk.mount], disk.free_gb * _GIB)
    yield from (size, free)


def _label(text: str) -> str:
    """An app's own words as a label's value: the library escapes them but cannot encode lone surrogates."""
    return text.encode("utf-8", "replace").decode("utf-8")


def _gauge(name: str, words: str, value: float) -> Metric:
    return GaugeMetricFamily(name, words, value=value)
