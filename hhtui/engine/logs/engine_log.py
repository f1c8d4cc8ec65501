"""The engine's own log: logs/homehelper/main.log, logs/system/{discovery,health,performance}.log, and stderr."""

from __future__ import annotations

import logging
import os
import sys
import time
from collections.abc import Callable
from contextlib import suppress
from io import FileIO, TextIOWrapper
from logging.handlers import RotatingFileHandler
from pathlib import Path
from types import TracebackType
from typing import TYPE_CHECKING, Any

from hhtui.model.metrics import SystemMetrics
from hhtui.paths import Home
from hhtui.storage import append_whole
from hhtui.text import sanitise

if TYPE_CHECKING:
    from _typeshed import ReadableBuffer

    from hhtui.model.config import LoggingConfig

# What is the engine's in logging's tree; an embedding program's own loggers are left alone.
OWN_LOGGERS = ("homehelper", "hhtui")
LOGGERS = (*OWN_LOGGERS, "asyncio", "uvicorn", "redis", "watchfiles", "py.warnings")
# Which loggers' records stand in which of logs/system/*.log too, besides main.log.
SYSTEM_LOGS = {
    "discovery": ("homehelper.discovery", "hhtui.discovery", "hhtui.engine.discovery.discovery"),
    "health": ("homehelper.health", "hhtui.health", "hhtui.engine.launch.health"),
    "performance": ("homehelper.performance", "hhtui.performance", "hhtui.engine.hardware"),
}
# In its file alone: main.log is for what happens.
APART = "homehelper.performance"
# One record's line; more is cut.
_RECORD_LIMIT = 16 * 1024

_ExcInfo = tuple[type[BaseException], BaseException, TracebackType | None] | tuple[None, None, None]
# Seconds between two lines: some 10 KB a day, and a card is spared the rest.
_INTERVAL = 900.0


class _OneLineFormatter(logging.Formatter):
    """Control characters of a record are shown, not obeyed; only a traceback has further lines."""

    def formatMessage(self, record: logging.LogRecord) -> str:
        return sanitise(super().formatMessage(record), _RECORD_LIMIT)

    def formatException(self, ei: _ExcInfo) -> str:
        return _sanitised_lines(super().formatException(ei))

    def formatStack(self, stack_info: str) -> str:
        return _sanitised_lines(stack_info)


def _sanitised_lines(text: str) -> str:
    return "\n".join(sanitise(line) for line in text.splitlines())


class _WholeRecords(FileIO):
    """A file that takes each write whole or not at all."""

    def write(self, data: ReadableBuffer, /) -> int:
        record = bytes(data)
        append_whole(self.fileno(), record)
        return len(record)


class _FileHandler(RotatingFileHandler):
    """Rotates by size, begins anew where its file was deleted, and drops records silently where it cannot write."""

    def emit(self, record: logging.LogRecord) -> None:
        if not self._is_in_place():
            self._abandon()
        super().emit(record)

    def handleError(self, record: logging.LogRecord) -> None:
        self._abandon()

    def _open(self) -> TextIOWrapper:
        Path(self.baseFilename).parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        descriptor = os.open(self.baseFilename, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        return TextIOWrapper(_WholeRecords(descriptor, "ab"), self.encoding, self.errors, write_through=True)

    def _is_in_place(self) -> bool:
        stream = self.stream
        try:
            return stream is None or os.path.samestat(os.stat(self.baseFilename), os.fstat(stream.fileno()))
        except (OSError, ValueError):
            return False

    def _abandon(self) -> None:
        """Close the stream, the next record opens it anew: what a full disk left in its buffer is not tried again."""
        stream = self.stream
        self.stream = None
        if stream is not None:
            with suppress(OSError, ValueError):
                stream.close()


class _StderrHandler(logging.StreamHandler):  # type: ignore[type-arg]  # generic for type checkers only
    """Whatever stderr is now; a reader that went away, or a full disk behind it, is no trouble."""

    def handleError(self, record: logging.LogRecord) -> None:
        return


class _Publisher(logging.Handler):
    """Hands WARNING and above to a callable, which may itself log: that is not published in turn."""

    def __init__(self, publish: Callable[[dict[str, Any]], None]) -> None:
        super().__init__(logging.WARNING)
        self._publish = publish
        self._publishing = False

    def emit(self, record: logging.LogRecord) -> None:
        if self._publishing:
            return
        self._publishing = True
        try:
            message = sanitise(record.getMessage())
            self._publish({"level": record.levelname, "logger": record.name, "message": message})
        except Exception:  # a broken listener or record must not break the code that logs
            return
        finally:
            self._publishing = False


class EngineLog:
    """The engine's log from ``start`` to ``stop``. It never raises and prints no traceback: a full disk costs records.

    ``publish`` gets ``{level, logger, message}``, safe to display, for each record of WARNING and above. ``console``:
    records also go to stderr.
    """

    def __init__(
        self,
        home: Home,
        config: LoggingConfig,
        publish: Callable[[dict[str, Any]], None] | None = None,
        *,
        console: bool = True,
    ) -> None:
        self._home = home
        self._config = config
        self._publish = publish
        self._console = console
        self._handlers: list[tuple[logging.Handler, tuple[str, ...]]] = []
        self._levels: dict[str, int] = {}

    def start(self) -> None:
        """Take the engine's loggers over."""
        self._levels = {name: logging.getLogger(name).level for name in LOGGERS}
        self._add(_file_handler(self._home.engine_log), LOGGERS)
        for name, loggers in SYSTEM_LOGS.items():
            self._add(_file_handler(self._home.system_logs_dir / f"{name}.log"), loggers)
        logging.getLogger(APART).propagate = False
        if self._console:
            self._add(_StderrHandler(sys.stderr), LOGGERS)
        if self._publish is not None:
            self._add(_Publisher(self._publish), LOGGERS)
        self.configure(self._config)

    def _add(self, handler: logging.Handler, loggers: tuple[str, ...]) -> None:
        self._handlers.append((handler, loggers))
        for name in loggers:
            logging.getLogger(name).addHandler(handler)

    def configure(self, config: LoggingConfig) -> None:
        """Take over a changed level, format or limit."""
        self._config = config
        formatter = _OneLineFormatter(config.format)
        for handler, _ in self._handlers:
            handler.setFormatter(formatter)
            if isinstance(handler, RotatingFileHandler):
                handler.maxBytes = config.max_bytes
                handler.backupCount = config.max_files
        level = logging.getLevelNamesMapping()[config.level]
        for name in LOGGERS:
            logging.getLogger(name).setLevel(level if name in OWN_LOGGERS else max(level, logging.WARNING))

    def stop(self) -> None:
        """Close the files and give the loggers back as they were."""
        for handler, loggers in self._handlers:
            for name in loggers:
                logging.getLogger(name).removeHandler(handler)
            with suppress(OSError, ValueError):
                handler.close()
        self._handlers = []
        logging.getLogger(APART).propagate = True
        for name, level in self._levels.items():
            logging.getLogger(name).setLevel(level)


def _file_handler(path: Path) -> logging.Handler:
    return _FileHandler(path, encoding="utf-8", errors="backslashreplace", delay=True)


log = logging.getLogger("homehelper.performance")


class PerformanceLog:
    """A line in logs/system/performance.log for the first sample that it is given, and later ones when it is time."""

    def __init__(self, clock: Callable[[], float] = time.monotonic) -> None:
        self._clock = clock
        self._next = clock()

    def measured(self, metrics: SystemMetrics) -> None:
        """Write the sample if the last line is old enough."""
        now = self._clock()
        if now >= self._next:
            self._next = now + _INTERVAL
            log.info("%s", _line(metrics))


def _line(metrics: SystemMetrics) -> str:
    hardware = metrics.hardware
    engine = next((process for process in metrics.processes if process.app_id is None), None)
    figures = (
        ("cpu %.0f %%", hardware.cpu.usage_percent),
        ("load %.2f", hardware.load.five_minutes),
        ("memory %.0f %%", hardware.memory.percent),
        ("swap %.0f %%", hardware.swap.percent),
        ("disk %.0f %%", hardware.disk.percent),
        ("%.1f °C", hardware.temperature.cpu_temp),
        ("%d apps run", sum(process.app_id is not None for process in metrics.processes)),
        ("apps cpu %.1f %%", sum(usage.cpu_percent or 0.0 for usage in metrics.apps.values())),
        ("apps memory %.0f MiB", sum(usage.memory_mb or 0.0 for usage in metrics.apps.values())),
        ("engine cpu %.1f %%", engine.cpu_percent if engine else None),
        ("engine memory %.0f MiB", engine.memory_mb if engine else None),
    )
    words = [form % value for form, value in figures if value is not None]
    return ", ".join(words + [f"now {name.replace('_', ' ')}" for name in hardware.throttling.now.names()])
