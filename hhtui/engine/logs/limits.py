"""The limits of every log, and the one error of capturing."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhtui.errors import HomeHelperError

if TYPE_CHECKING:
    from hhtui.model.config import LoggingConfig

# Everything in one app's log folder together (contract, section 9).
FOLDER_LIMIT = 100_000_000
# How far a file may grow beyond its limit while its last line is being finished.
LINE_ALLOWANCE = 64 * 1024


class LogError(HomeHelperError):
    """An app's output cannot be captured; only that app is touched."""

    slug = "log_failed"


@dataclass(frozen=True, slots=True)
class LogLimits:
    """``max_bytes`` of one file, ``max_files`` archives kept beside the live file, days until an archive goes."""

    max_bytes: int = 10_485_760
    max_files: int = 10
    app_retention_days: int = 30
    system_retention_days: int = 7

    @classmethod
    def of(cls, config: LoggingConfig) -> LogLimits:
        """The limits that the configuration's ``logging`` section asks for."""
        return cls(config.max_bytes, config.max_files, config.app_retention_days, config.system_retention_days)

    @property
    def rotate_at(self) -> int:
        """The size at which an app's file is full: two live files must leave room for archives in the folder."""
        return min(self.max_bytes, FOLDER_LIMIT // 4)
