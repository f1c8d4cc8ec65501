"""The words for states and requests; the standard library alone, so that clients need no pydantic for them."""

from __future__ import annotations

from enum import StrEnum


class Status(StrEnum):
    """Where an app stands."""

    DISCOVERED = "discovered"
    INVALID = "invalid"
    INSTALLING = "installing"
    STOPPED = "stopped"
    STARTING = "starting"
    RUNNING = "running"
    STOPPING = "stopping"
    BACKOFF = "backoff"
    FAILED = "failed"
    WAITING = "waiting"

    @property
    def settled(self) -> bool:
        """No action of the engine's own accord is under way."""
        return self not in _MOVING


_MOVING = frozenset({Status.INSTALLING, Status.STARTING, Status.STOPPING, Status.BACKOFF})


class Health(StrEnum):
    """What the app says of itself, or what the engine sees."""

    UNKNOWN = "unknown"
    GOOD = "good"
    WARNING = "warning"
    ERROR = "error"


class AppType(StrEnum):
    """How an app is started."""

    SERVICE = "service"
    STREAMLIT = "streamlit"


class Verb(StrEnum):
    """What a client can ask for an app: POST /api/v1/apps/{id}/<verb>."""

    START = "start"
    STOP = "stop"
    RESTART = "restart"
    INSTALL = "install"
    ENABLE = "enable"
    DISABLE = "disable"
    RESET = "reset"


class EventType(StrEnum):
    """Every type that the engine itself publishes."""

    APP_DISCOVERED = "app_discovered"
    APP_REMOVED = "app_removed"
    APP_CHANGED = "app_changed"
    APP_INSTALLING = "app_installing"
    APP_INSTALLED = "app_installed"
    APP_STARTING = "app_starting"
    APP_STARTED = "app_started"
    APP_STOPPING = "app_stopping"
    APP_STOPPED = "app_stopped"
    APP_WAITING = "app_waiting"
    APP_CRASHED = "app_crashed"
    APP_FAILED = "app_failed"
    APP_ADOPTED = "app_adopted"
    APP_JOB = "app_job"
    APP_JOB_PROGRESS = "app_job_progress"
    HEALTH_CHECK = "health_check"
    CONFIG_CHANGED = "config_changed"
    REDIS_CONNECTED = "redis_connected"
    REDIS_LOST = "redis_lost"
    BACKUP_CREATED = "backup_created"
    BACKUP_PROGRESS = "backup_progress"
    BACKUP_FAILED = "backup_failed"
    BACKUP_PROVEN = "backup_proven"
    RESTORED = "restored"
    RESTORE_FAILED = "restore_failed"
    THROTTLED = "throttled"
    ALERT_RAISED = "alert_raised"
    ALERT_CLEARED = "alert_cleared"
    ENGINE_STARTED = "engine_started"
    ENGINE_STOPPING = "engine_stopping"
    METRICS = "metrics"
    LOG = "log"
    ERROR = "error"
