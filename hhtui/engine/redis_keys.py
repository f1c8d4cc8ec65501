"""The ``homehelper:*`` keys that the engine keeps written in Redis (contract, section 8)."""

from __future__ import annotations

from typing import TYPE_CHECKING

from hhtui.model.config_file import shown

if TYPE_CHECKING:
    from hhtui.engine.engine import Engine
    from hhtui.model.app import AppRecord, HealthReport

_METRICS_TTL = 3600


def register_keys(engine: Engine) -> None:
    """Tell the Redis service what each key holds; TTLs in seconds."""

    def registry() -> dict[str, AppRecord]:
        return {record.app_id: record for record in engine.fleet.records()}

    def health(app_id: str) -> HealthReport | None:
        supervisor = engine.fleet.supervisors.get(app_id)
        return supervisor.record.runtime_info.health_report if supervisor else None

    keys = engine.redis
    keys.set_keys("homehelper:config", lambda: shown(engine.config), None)
    keys.set_keys("homehelper:apps:registry", registry, None)
    keys.set_keys("homehelper:system:metrics", lambda: engine.latest_metrics, _METRICS_TTL)
    keys.set_keys("homehelper:ports:allocated", engine.ports.ports, None)
    keys.set_keys("homehelper:health:*", health, 3 * engine.config.health_check_interval_seconds)
