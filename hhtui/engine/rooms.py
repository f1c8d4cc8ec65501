"""The rooms of one engine: what it is composed of, and what they tell it."""

from __future__ import annotations

import hashlib
import logging
import os
from collections.abc import Mapping
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hhtui.engine.alerts.watch import AlertWatch
from hhtui.engine.apps.discovery import Discovery
from hhtui.engine.apps.installer import Installer
from hhtui.engine.apps.ports import PortAllocator
from hhtui.engine.bus.bus import EventBus
from hhtui.engine.bus.redis_service import RedisService
from hhtui.engine.config_watch import ConfigKeeper
from hhtui.engine.fleet import Fleet
from hhtui.engine.hardware.app_sizes import AppSizesCounter
from hhtui.engine.hardware.history import MetricsHistory
from hhtui.engine.hardware.reader import HardwareReader
from hhtui.engine.hardware.sampler import MetricsSampler, TrackedApp
from hhtui.engine.logs.capture import LogCapture
from hhtui.engine.logs.engine_log import EngineLog
from hhtui.engine.logs.limits import LogLimits
from hhtui.engine.on_demand_app import IdleClock
from hhtui.engine.pipe_store import PipeStore
from hhtui.engine.problems import Problems
from hhtui.engine.process.cgroup import Cgroups
from hhtui.engine.registry import LoadedRegistry, Registry
from hhtui.engine.services import Services
from hhtui.engine.systemd import Notifier
from hhtui.model.config import Config
from hhtui.model.event import EventType
from hhtui.paths import Home, expanded

if TYPE_CHECKING:
    from hhtui.model.metrics import SystemMetrics

log = logging.getLogger("homehelper.engine")


class Rooms:
    """Made in two steps: what needs nothing at once, the rest by ``_build_rooms`` once the home has been taken."""

    settings: ConfigKeeper
    engine_log: EngineLog

    def __init__(self, root: Path, environ: Mapping[str, str], kept_pipes: Mapping[str, int]) -> None:
        self._environ = environ
        self._bus: EventBus | None = None
        self.home = Home.at(root, environ=environ)
        self.problems = Problems(self._publish_error)
        self.notifier = Notifier()
        self.latest_metrics: dict[str, Any] | None = None
        self._pipes = PipeStore(self.notifier, kept_pipes)

    @property
    def bus(self) -> EventBus:
        if self._bus is None:
            raise RuntimeError("the engine has not been started")
        return self._bus

    @property
    def config(self) -> Config:
        return self.settings.config

    def _build_rooms(self, remembered: LoadedRegistry) -> None:
        config = self.config
        self.registry = Registry(
            self.home,
            lambda: [s.record for s in self.fleet.supervisors.values() if not s.removed],
            self.bus.epoch,
            lambda problem: self.problems.told("registry", problem),
            lambda: self.problems.mended("registry"),
        )
        manager = config.process_manager
        self.capture = LogCapture(
            limits=lambda: LogLimits.of(self.config.logging),
            on_problem=self.problems.app_output_stuck,
            on_recovered=self.problems.app_output_flows,
            on_pipes=self._pipes.changed,
        )
        self.ports = PortAllocator(
            remembered.ports,
            self.registry.ports_changed,
            start=manager.port_range.start,
            end=manager.port_range.end,
            on_demand_start=manager.streamlit_port,
            reserved=[config.system.main_port],
        )
        self.redis = RedisService(self.home, config.redis, self.bus)
        self.services = Services(
            home=self.home,
            config=lambda: self.config,
            bus=self.bus,
            capture=self.capture,
            installer=Installer(self.home),
            ports=self.ports,
            redis_access=self.redis.access_for,
            changed=self._app_changed,
            rescan=lambda: self.discovery.set_folders(self._apps_dirs()),
            cgroups=Cgroups.find(),
            on_demand_runs=self._count_visitors,
            home_id=hashlib.sha256(os.fsencode(self.home.root.resolve())).hexdigest()[:12],
            power_words=self._power_words,
        )
        self.fleet = Fleet(self.services)
        self.discovery = Discovery(self._apps_dirs(), self.fleet.discovered)
        self.history = MetricsHistory(self.home.cache_dir / "metrics.db")
        self.sampler = MetricsSampler(
            HardwareReader(home=self.home.root),
            self._tracked,
            self.redis.status,
            interval=lambda: self.config.metrics_interval_seconds,
            publish=self._publish_metrics,
            history=self.history,
            on_throttled=lambda data: self._publish(EventType.THROTTLED, "system", data),
        )
        self.sizes = AppSizesCounter(lambda: set(self.fleet.supervisors))
        self.alerts = AlertWatch(
            self.bus, lambda: self.config.alerts, self.fleet.records, self.sampler.look_at_power, self.home.root
        )
        self.idle_clock = IdleClock(self.services)

    def _power_words(self) -> str:
        return self.alerts.power_words()

    def _count_visitors(self) -> None:
        self.idle_clock.wake()

    def _tracked(self) -> list[TrackedApp]:
        return [
            TrackedApp(
                app_id=app_id,
                name=supervisor.record.name,
                status=supervisor.status.value,
                pid=supervisor.launching.child.pid if supervisor.launching.child else None,
                start_ticks=supervisor.launching.child.identity.start_ticks if supervisor.launching.child else None,
                data_dir=self.home.app_data(app_id),
            )
            for app_id, supervisor in self.fleet.supervisors.items()
        ]

    def _apps_dirs(self) -> list[Path]:
        return [self.home.root / expanded(folder) for folder in self.config.process_manager.apps_dirs]

    def status_line(self) -> str:
        """What the service manager shows of the engine."""
        count = len(self.fleet.supervisors)
        return f"{count} app{'' if count == 1 else 's'}, {self.fleet.running} running"

    # What the rooms tell.

    def _publish(
        self, event_type: EventType, source: str, data: dict[str, Any], correlation_id: str | None = None
    ) -> None:
        if self._bus is not None:
            self._bus.publish(event_type, source, data, correlation_id=correlation_id)

    def _publish_error(self, source: str, words: str) -> None:
        self._publish(EventType.ERROR, source, {"message": words})

    def _publish_log(self, record: dict[str, Any]) -> None:
        self._publish(EventType.LOG, "service_manager", record)

    def _publish_metrics(self, metrics: SystemMetrics) -> None:
        self.latest_metrics = metrics.model_dump(mode="json")
        self._publish(EventType.METRICS, "system", self.latest_metrics)
        self.alerts.measured(metrics)
        self.redis.key_changed("homehelper:system:metrics")

    def _app_changed(self, app_id: str) -> None:
        self.registry.changed()
        if self.notifier.listens:
            self.notifier.status(self.status_line())
        self.redis.key_changed("homehelper:apps:registry")
        self.redis.key_changed(f"homehelper:health:{app_id}")

    def _config_changed(self, changed: list[str], restart_needed: list[str]) -> None:
        self.discovery.set_folders(self._apps_dirs())
        manager = self.config.process_manager
        ports = manager.port_range
        self.ports.configure(start=ports.start, end=ports.end, on_demand_start=manager.streamlit_port)
        self.engine_log.configure(self.config.logging)
        self.sampler.reschedule()
        self.redis.key_changed("homehelper:config")
        data = {"changed": changed, "restart_needed": restart_needed}
        self._publish(EventType.CONFIG_CHANGED, "service_manager", data)
