"""registry/apps.json and its history: what the engine remembers of its apps, whatever dies (contract, section 5)."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import time
from collections.abc import Callable, Iterable
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from hhtui.model.app import AppRecord
from hhtui.model.event import utc_now
from hhtui.paths import Home
from hhtui.storage import read_json_object, set_aside, write_atomically
from hhtui.text import iso_utc

log = logging.getLogger("homehelper.registry")

SCHEMA_VERSION = 1
HISTORY_DAYS = 30
# Changes within this time are written together (seconds); a full disk is tried again after the longer one.
_COALESCE = 0.25
_RETRY = 5.0
# At most one part in so many of the time goes into encoding, unless changes would wait longer than this (seconds): a
# thousand apps must not keep the loop from others.
_SHARE = 40
_LONGEST = 2.0


class LoadedRegistry:
    """Records as last saved; ``problems`` tells what was broken and what was done about it."""

    def __init__(self) -> None:
        self.records: dict[str, AppRecord] = {}
        self.ports: dict[str, Any] = {}
        self.epoch = 0
        self.problems: list[str] = []


def load_registry(home: Home) -> LoadedRegistry:
    """Read apps.json, else the newest good copy in the history, else nothing; broken files are kept aside."""
    loaded = LoadedRegistry()
    document = _load(home.apps_json, loaded.problems)
    origin = ""
    if document is None and loaded.problems:
        for copy in sorted(home.history_dir.glob("*.json"), reverse=True) if home.history_dir.is_dir() else []:
            document = _load(copy, [])
            if document is not None:
                origin = copy.name
                break
        loaded.problems[-1] += f"; taken from the copy of {origin[:-5]}" if origin else "; no good copy was found"
    for app_id, entry in ((document or {}).get("apps") or {}).items():
        try:
            loaded.records[app_id] = AppRecord.model_validate(entry)
        except ValidationError:
            loaded.problems.append(f"{home.apps_json}: the entry of {app_id!r} is broken and was left out")
    epoch = (document or {}).get("epoch")
    loaded.epoch = epoch if isinstance(epoch, int) else 0
    loaded.ports = _load(home.ports_json, loaded.problems) or {}
    return loaded


def _load(path: Path, problems: list[str]) -> dict[str, Any] | None:
    try:
        document = read_json_object(path)
        if path.name != "ports.json" and not isinstance(document.get("apps"), dict):
            raise ValueError('has no object "apps"')
    except FileNotFoundError:
        return None
    except (OSError, ValueError) as error:
        why = error.strerror if isinstance(error, OSError) else str(error)
        kept = set_aside(path) if path.name in ("apps.json", "ports.json") else None
        problems.append(f"{path}: {why}; " + (f"kept as {kept.name}" if kept else "left where it is"))
        return None
    return document


class Registry:
    """Writes the records when they changed, coalesced, off the loop; never when only live figures moved."""

    def __init__(
        self,
        home: Home,
        records: Callable[[], Iterable[AppRecord]],
        epoch: int,
        on_problem: Callable[[str], None],
        on_recovered: Callable[[], None],
    ) -> None:
        self._home = home
        self._records = records
        self._epoch = epoch
        self._on_problem = on_problem
        self._on_recovered = on_recovered
        self._ports: dict[str, Any] | None = None
        self._dirty = False
        self._failing = False
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[None] | None = None
        self._took = 0.0
        self._snapshot_day = ""
        self._saved_apps = 0

    def changed(self) -> None:
        """Something worth remembering changed."""
        self._dirty = True
        if self._timer is None and self._writing is None:
            self._timer = asyncio.get_running_loop().call_later(self._pause(), self._due)

    def _pause(self) -> float:
        return max(_COALESCE, min(self._took * _SHARE, _LONGEST))

    def ports_changed(self, ports: dict[str, Any]) -> None:
        """ports.json is to hold ``ports``."""
        self._ports = ports
        self.changed()

    async def flush(self) -> None:
        """Write now what is not yet written, and wait for it."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        if self._writing is not None:
            await self._writing
        if self._dirty:
            await self._write()

    def _due(self) -> None:
        self._timer = None
        self._writing = asyncio.get_running_loop().create_task(self._write_and_go_on())

    async def _write_and_go_on(self) -> None:
        try:
            await self._write()
        finally:
            self._writing = None
        if self._dirty:
            delay = _RETRY if self._failing else self._pause()
            self._timer = asyncio.get_running_loop().call_later(delay, self._due)

    async def _write(self) -> None:
        self._dirty = False
        ports, self._ports = self._ports, None
        records = {record.app_id: record for record in self._records()}
        document = {
            "schema_version": SCHEMA_VERSION,
            "saved_at": iso_utc(utc_now(), milliseconds=True),
            "epoch": self._epoch,
            "apps": records,
        }
        # Made here, where nobody changes the records meanwhile; a thousand of them take some 50 ms.
        begun = time.monotonic()
        data = _encoded(document)
        self._took = time.monotonic() - begun
        try:
            await asyncio.get_running_loop().run_in_executor(None, self._store, data, len(records), ports)
        except OSError as error:
            self._dirty = True
            self._ports = ports if self._ports is None else self._ports
            if not self._failing:
                self._failing = True
                self._on_problem(f"{self._home.apps_json}: cannot be written: {error.strerror}; the old one is kept")
            return
        if self._failing:
            self._failing = False
            self._on_recovered()

    def _store(self, data: bytes, apps: int, ports: dict[str, Any] | None) -> None:
        if not apps and self._saved_apps != 0:
            self._keep_copy()
        self._home.registry_dir.mkdir(parents=True, exist_ok=True)
        write_atomically(self._home.apps_json, data)
        self._saved_apps = apps
        if ports is not None:
            write_atomically(self._home.ports_json, (json.dumps(ports, indent=1) + "\n").encode())
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        if day != self._snapshot_day and apps:
            self._home.history_dir.mkdir(parents=True, exist_ok=True)
            write_atomically(self._home.history_dir / f"{day}.json", data)
            self._snapshot_day = day
            self._expire_history()

    def _keep_copy(self) -> None:
        """An empty set never replaces a full one without leaving it in the history."""
        with contextlib.suppress(OSError):
            day = datetime.now(UTC).strftime("%Y-%m-%d")
            self._home.history_dir.mkdir(parents=True, exist_ok=True)
            write_atomically(self._home.history_dir / f"{day}.json", self._home.apps_json.read_bytes())

    def _expire_history(self) -> None:
        """Keep the newest copies by number: a clock that jumped must not make them look old."""
        with contextlib.suppress(OSError):
            for old in sorted(self._home.history_dir.glob("????-??-??.json"))[:-HISTORY_DAYS]:
                old.unlink()


def _encoded(document: dict[str, Any]) -> bytes:
    try:
        return to_json(document, indent=1) + b"\n"
    except (PydanticSerializationError, ValueError):  # a lone surrogate in a manifest, which Rust knows no way to keep
        apps = {app_id: record.model_dump(mode="json") for app_id, record in document["apps"].items()}
        text = json.dumps({**document, "apps": apps}, indent=1, ensure_ascii=False)
        return (text + "\n").encode("utf-8", "surrogatepass")
