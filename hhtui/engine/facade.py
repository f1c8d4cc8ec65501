"""What the control API may use of the engine, and all that it may use."""

from __future__ import annotations

from contextlib import AbstractContextManager
from typing import TYPE_CHECKING, Any, Protocol

from hhtui.model.alert import Alert
from hhtui.model.app import AppRecord, Verb
from hhtui.model.app_sizes import AppSizes
from hhtui.model.config import Config
from hhtui.model.config_backup import ConfigBackup
from hhtui.model.engine import ConfigView, EngineInfo
from hhtui.model.log import LogFile, LogPage, LogQuery
from hhtui.model.process import AppProcess, MachineProcess
from hhtui.model.redis_status import RedisStatus
from hhtui.paths import Home

if TYPE_CHECKING:
    from hhtui.engine.backup.service import BackupService
    from hhtui.engine.bus.bus import EventBus
    from hhtui.engine.hardware.history import MetricsHistory
    from hhtui.engine.logs.capture import LogCapture
    from hhtui.model.metrics import SystemMetrics


class AlertView(Protocol):
    """The alerts that are up."""

    def active(self) -> list[Alert]:
        """All of them, the oldest first."""


class EngineFacade(Protocol):
    """One home's engine as its clients see it; whatever a client can cause is raised as a HomeHelperError."""

    @property
    def home(self) -> Home:
        """The home's paths."""

    @property
    def bus(self) -> EventBus:
        """Where every event passes."""

    @property
    def backups(self) -> BackupService:
        """Backups and restores."""

    @property
    def config(self) -> Config:
        """The configuration in force, secrets included."""

    @property
    def alerts(self) -> AlertView:
        """What the rules in the configuration say of this moment."""

    @property
    def history(self) -> MetricsHistory:
        """What the metrics were."""

    @property
    def capture(self) -> LogCapture:
        """The apps' output on its way to their logs; its counters."""

    def about(self) -> EngineInfo:
        """The engine itself: pid, version, uptime, problems that the user should mend."""

    def apps(self) -> list[AppRecord]:
        """All apps, live, sorted by app_id."""

    def app(self, app_id: str) -> AppRecord:
        """One app, live; UnknownAppError."""

    async def command(self, app_id: str, verb: Verb, *, wait: float | None, correlation_id: str) -> AppRecord:
        """Have ``verb`` done; ``wait`` is how many seconds to wait until the app has settled, None not at all.

        The record answered is the app's at that moment, settled or not. UnknownAppError; ConflictError if it cannot be
        done in the app's state; InvalidInputError.
        """

    async def metrics(self) -> SystemMetrics:
        """The machine's and the apps' figures, at most some seconds old."""

    def redis_status(self) -> RedisStatus:
        """The Redis connection."""

    async def redis_details(self) -> RedisStatus:
        """The Redis connection with the server's own figures, as ``details``; a round trip to it."""

    async def processes(self, count: int) -> list[MachineProcess]:
        """The machine's ``count`` busiest processes; looked at only for whoever asks."""

    async def app_processes(self, app_id: str) -> list[AppProcess]:
        """The app's processes, each behind its parent; looked at only for whoever asks. UnknownAppError."""

    async def app_sizes(self, app_id: str, wait: float) -> AppSizes:
        """What the app takes on its disks, counted anew if that is older than a minute; ``wait`` seconds at most.

        UnknownAppError.
        """

    async def log_files(self, app_id: str) -> list[LogFile]:
        """The log files of an app, or of ``homehelper`` or ``system``; UnknownAppError."""

    async def log_page(self, app_id: str, name: str, query: LogQuery) -> LogPage:
        """Lines of one log; UnknownAppError for the app, InvalidInputError for the name or the query."""

    def config_view(self) -> ConfigView:
        """The configuration for people, secrets hidden."""

    async def change_config(self, patch: dict[str, Any], *, only_check: bool = False) -> ConfigView:
        """Apply a JSON merge patch (RFC 7396); InvalidInputError, and nothing changed, if the result is invalid.

        ``only_check`` changes nothing in any case.
        """

    async def config_backup(self) -> ConfigBackup:
        """What going back to config.backup.json would change."""

    async def restore_config(self) -> ConfigView:
        """Go back to config.backup.json; InvalidInputError, and nothing changed, if there is no valid one."""

    async def shut_down(self, *, keep_apps: bool) -> None:
        """End the engine, and its apps unless ``keep_apps``."""

    async def reload(self) -> None:
        """Take up changed code and configuration in place; apps run on."""

    def watching(self) -> AbstractContextManager[None]:
        """While held, somebody looks: metrics are sampled and published every 2 seconds."""
