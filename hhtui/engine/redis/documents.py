"""The ``homehelper:*`` keys: registered once, written when they change, written anew when Redis has lost them."""

from __future__ import annotations

import logging
import time
from collections.abc import Callable
from dataclasses import dataclass
from functools import partial
from typing import TYPE_CHECKING, Any

from pydantic_core import PydanticSerializationError, to_json

from hhtui.engine.events.bus import json_safe
from hhtui.engine.redis.link import Command
from hhtui.model.config_file import shown
from hhtui.model.outgoing import outgoing_record

if TYPE_CHECKING:
    from hhtui.model.app import AppRecord, HealthReport
    from hhtui.model.config import Config
    from hhtui.model.metrics import SystemMetrics

_PREFIX = "homehelper:"
_log = logging.getLogger(__name__)

# At most one part in so many of the time goes into making the keys, unless they would wait longer than this (seconds).
_SHARE = 40
_LONGEST = 2.0
_METRICS_TTL = 3600
# Seconds; where they follow something that may change, what gives them.
Ttl = float | Callable[[], float] | None


@dataclass(slots=True)
class _Document:
    read: Callable[[], Any]
    ttl: Ttl
    written: float = 0.0

    def lasts(self) -> float | None:
        """The TTL as it is now."""
        return self.ttl() if callable(self.ttl) else self.ttl


@dataclass(slots=True)
class _Family:
    read: Callable[[str], Any]
    ttl: Ttl


def full_name(name: str) -> str:
    """``apps:registry`` and ``homehelper:apps:registry`` are the same key."""
    return name if name.startswith(_PREFIX) else f"{_PREFIX}{name}"


class Documents:
    """Which keys there are and which wait to be written. ``changed`` is called when one begins to wait.

    A name that ends in ``:*`` is a family: a change of ``homehelper:health:cam`` asks the reader of
    ``homehelper:health:*`` for ``"cam"``.
    """

    def __init__(self, changed: Callable[[], None], *, clock: Callable[[], float] = time.monotonic) -> None:
        self._changed = changed
        self._clock = clock
        self._documents: dict[str, _Document] = {}
        self._families: dict[str, _Family] = {}
        self._dirty: dict[str, None] = {}
        self._doomed: dict[str, None] = {}
        self._since: float | None = None
        self._took = 0.0
        self._failed: set[str] = set()

    def register(self, name: str, read: Callable[..., Any], ttl: Ttl) -> None:
        """``read`` gives the key's value, anything that JSON can hold or a pydantic model; None deletes the key."""
        name = full_name(name)
        if name.endswith(":*"):
            self._families[name[:-1]] = _Family(read, ttl)
            return
        self._documents[name] = _Document(read, ttl)
        self._doomed.pop(name, None)
        self.touch(name)

    def forget(self, name: str) -> None:
        """Delete the key, now or as soon as Redis is back."""
        name = full_name(name)
        self._documents.pop(name, None)
        self._dirty.pop(name, None)
        self._doomed[name] = None
        self._wait()

    def touch(self, name: str) -> None:
        """The key's value changed, or those of a whole family; an unknown name is ignored."""
        name = full_name(name)
        if name.endswith(":*"):
            for member in [member for member in self._documents if member.startswith(name[:-1])]:
                self.touch(member)
            return
        if name not in self._documents:
            head, colon, member = name.rpartition(":")
            family = self._families.get(head + colon)
            if family is None or not member:
                return
            self._documents[name] = _Document(partial(family.read, member), family.ttl)
            self._doomed.pop(name, None)
        self._dirty[name] = None
        self._wait()

    def touch_all(self) -> None:
        """Write everything anew."""
        for name in self._documents:
            self._dirty[name] = None
        if self._dirty or self._doomed:
            self._wait()

    def touch_aging(self) -> float:
        """Write anew what would run out: a TTL is there for the day that the engine is not. Seconds until the next."""
        now = self._clock()
        left = {
            name: (document.written + ttl / 3 - now, ttl)
            for name, document in self._documents.items()
            if name not in self._dirty and (ttl := document.lasts()) is not None
        }
        if any(seconds <= 0 for seconds, _ in left.values()):
            # Those that would soon follow, too: one wake-up for all of them.
            for name, (seconds, ttl) in tuple(left.items()):
                if seconds <= ttl / 6:
                    self.touch(name)
                    del left[name]
        return min((seconds for seconds, _ in left.values()), default=float("inf"))

    def due_in(self, pause: float) -> float | None:
        """Seconds until the waiting keys are due, ``pause`` after the first began to wait; None: none waits.

        Longer where making them takes long: with a thousand apps the registry alone keeps the loop for 20 ms.
        """
        if self._since is None:
            return None
        return max(0.0, self._since + max(pause, min(self._took * _SHARE, _LONGEST)) - self._clock())

    def postpone(self, seconds: float) -> None:
        """The server refused: try again later."""
        if self._since is not None:
            self._since = self._clock() + seconds

    def settled(self) -> list[str]:
        """The keys that should be there now."""
        return [name for name in self._documents if name not in self._dirty]

    def take(self) -> list[tuple[str, Command]]:
        """``(key, command)`` for everything that waits; ``give_back`` what failed."""
        begun = self._clock()
        commands: list[tuple[str, Command]] = [(name, ("DEL", name)) for name in self._doomed]
        for name in self._dirty:
            document = self._documents[name]
            value = self._value(name, document)
            document.written = self._clock()
            if value is None:
                commands.append((name, ("DEL", name)))
                if isinstance(document.read, partial):
                    del self._documents[name]
            elif (ttl := document.lasts()) is None:
                commands.append((name, ("SET", name, value)))
            else:
                commands.append((name, ("SET", name, value, "PX", max(1, int(ttl * 1000)))))
        self._doomed.clear()
        self._dirty.clear()
        self._since = None
        self._took = self._clock() - begun
        return commands

    def give_back(self, names: list[str]) -> None:
        """These were not written."""
        for name in names:
            if name in self._documents:
                self._dirty[name] = None
            else:
                self._doomed[name] = None
        if names:
            self._since = self._clock() if self._since is None else self._since

    def _value(self, name: str, document: _Document) -> bytes | None:
        try:
            value = document.read()
            return None if value is None else _encode(value)
        except Exception:
            if name not in self._failed:
                self._failed.add(name)
                _log.exception("The Redis key %s cannot be made; further failures of it are not logged", name)
            return None

    def _wait(self) -> None:
        if self._since is None:
            self._since = self._clock()
            self._changed()


def _encode(value: Any) -> bytes:
    try:
        return to_json(value, inf_nan_mode="null", fallback=str)
    except (PydanticSerializationError, ValueError, RecursionError):
        return to_json(json_safe(value))


def register_keys(
    set_keys: Callable[[str, Callable[..., Any], Ttl], None],
    config: Callable[[], Config],
    records: Callable[[], list[AppRecord]],
    record_of: Callable[[str], AppRecord | None],
    metrics: Callable[[], SystemMetrics | None],
    ports: Callable[[], dict[str, int]],
) -> None:
    """Register what the engine keeps in Redis (docs/redis.md): what each key holds; TTLs in seconds."""

    def registry() -> dict[str, AppRecord]:
        return {record.app_id: outgoing_record(record) for record in records()}

    def health(app_id: str) -> HealthReport | None:
        found = record_of(app_id)
        return found.runtime_info.health_report if found is not None else None

    set_keys("homehelper:config", lambda: shown(config()), None)
    set_keys("homehelper:apps:registry", registry, None)
    set_keys("homehelper:system:metrics", metrics, _METRICS_TTL)
    set_keys("homehelper:ports:allocated", ports, None)
    set_keys("homehelper:health:*", health, lambda: 3 * config().health_check_interval_seconds)
