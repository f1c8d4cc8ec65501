"""registry/: what the engine remembers of its apps, those that are gone too, whatever dies (docs/home-folder.md)."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import json
import logging
from collections.abc import Callable, Iterable, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import Any

from pydantic import ValidationError
from pydantic_core import PydanticSerializationError, to_json

from hhtui.engine.process.identity import boot_id
from hhtui.model.app import AppRecord, ResourceUsage, Status, saved_entries
from hhtui.model.event import utc_now
from hhtui.paths import APP_ID_PATTERN, Home
from hhtui.storage import read_json_object, set_aside, write_atomically
from hhtui.text import iso_utc

log = logging.getLogger("homehelper.registry")
_log_gone = logging.getLogger("homehelper.discovery")

# The fields that are there whatever they hold (docs/home-folder.md).
_REQUIRED: dict[str, Any] = {"type": None, "description": "", "version": "", "status": "discovered", "manifest": {}}
_REQUIRED |= {"runtime_info": {}}
_REQUIRED_INFO: dict[str, Any] = dict.fromkeys(
    ("assigned_port", "process_id", "service_name", "started_at", "last_health_check", "exit", "error")
)
_REQUIRED_INFO |= {"health": "unknown", "restarts": 0}
_NOTHING = ResourceUsage()
# What follows from the rest of it.
_FOLLOWS: dict[str, Any] = {
    "enabled": True,
    "runtime_info": {
        "url",
        "name_url",
        "environment",
        "environment_changed",
        "manifest_changed",
        "code_changed",
        "install_progress",
    },
}

SCHEMA_VERSION = 1
HISTORY_DAYS = 30
# Changes within this time are written together (seconds); a full disk is tried again after the longer one.
_COALESCE = 0.25
_RETRY = 5.0
# An engine that ends waits this long for its disk (seconds).
_FLUSH_PATIENCE = 30.0
_DISK_TROUBLE = {
    errno.ENOSPC: "the disk is full",
    errno.EDQUOT: "the disk is full (quota)",
    errno.EROFS: "the disk is read-only",
    errno.EIO: "the disk has errors",
}


class LoadedRegistry:
    """Records as last saved; ``problems`` says what was broken and what was done about it."""

    def __init__(self) -> None:
        self.records: dict[str, AppRecord] = {}
        self.ports: dict[str, Any] = {}
        self.apps_dirs: dict[Path, tuple[int, int]] = {}
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
    for app_id, entry in saved_entries(document or {}).items():
        try:
            loaded.records[app_id] = AppRecord.model_validate(entry)
        except ValidationError:
            loaded.problems.append(f"{home.apps_json}: the entry of {app_id!r} is broken and was left out")
    loaded.apps_dirs = _apps_dirs((document or {}).get("apps_dirs"))
    epoch = (document or {}).get("epoch")
    loaded.epoch = epoch if isinstance(epoch, int) else 0
    loaded.ports = _load(home.ports_json, loaded.problems) or {}
    return loaded


def _apps_dirs(entry: Any) -> dict[Path, tuple[int, int]]:
    """Which folder (device and inode) each apps folder was when apps were last seen in it."""
    return {
        Path(folder): (identity[0], identity[1])
        for folder, identity in (entry.items() if isinstance(entry, dict) else ())
        if isinstance(identity, list) and len(identity) == 2 and all(type(number) is int for number in identity)
    }


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


def drop_record(home: Home, app_id: str) -> None:
    """Take a removed app out of apps.json, while no engine keeps it; OSError leaves it as it was."""
    try:
        document = read_json_object(home.apps_json)
        if document["apps"].pop(app_id, None) is None:
            return
    except (FileNotFoundError, KeyError, AttributeError, ValueError):
        return  # nothing is remembered, or nothing that can be read: that is ``load_registry``'s to settle
    write_atomically(home.apps_json, json.dumps(document, ensure_ascii=False).encode())


def disk_trouble(error: OSError) -> str:
    """Why a file cannot be written, in words for whoever waits for it."""
    return _DISK_TROUBLE.get(error.errno or 0, error.strerror or type(error).__name__)


class Registry:
    """Writes the records when they changed, coalesced, off the loop; never when only live figures moved.

    ``save`` is for what has been promised: it returns when all that was changed before it is on disk.
    """

    def __init__(
        self,
        home: Home,
        records: Callable[[], Iterable[AppRecord]],
        apps_dirs: Callable[[], Mapping[Path, tuple[int, int]]],
        epoch: int,
        on_problem: Callable[[str], None],
        on_recovered: Callable[[], None],
    ) -> None:
        self._home = home
        self._records = records
        self._apps_dirs = apps_dirs
        self._epoch = epoch
        self._on_problem = on_problem
        self._on_recovered = on_recovered
        self._ports: dict[str, Any] | None = None
        # Each record as it was last encoded, until it is changed: a thousand take 50 ms, one takes none.
        self._encoded: dict[str, bytes] = {}
        self._changes = 0
        self._saved = 0
        self._failing = False
        self._timer: asyncio.TimerHandle | None = None
        self._writing: asyncio.Task[OSError | None] | None = None
        self._snapshot_day = ""
        self._saved_apps = 0
        self._usage: dict[str, ResourceUsage] = {}

    def changed(self, app_id: str | None = None) -> None:
        """Something worth remembering changed, of one app or of any."""
        self._changes += 1
        if app_id is None:
            self._encoded.clear()
        else:
            self._encoded.pop(app_id, None)
        if self._timer is None and self._writing is None:
            self._timer = asyncio.get_running_loop().call_later(_COALESCE, self._begin)

    def measured(self, usage: Mapping[str, ResourceUsage]) -> bool:
        """What the apps use now: written with the next change, at once only what was not known of an app before.

        Answers whether there was any of that.
        """
        news = False
        for app_id, figures in usage.items():
            known = self._usage.get(app_id, _NOTHING)
            now = figures
            if any(value is None for _, value in figures):
                now = known.model_copy(update={name: value for name, value in figures if value is not None})
            self._usage[app_id] = now
            if any(getattr(known, name) is None for name, value in now if value is not None):
                self.changed(app_id)
                news = True
        return news

    def ports_changed(self, ports: dict[str, Any]) -> None:
        """ports.json is to hold ``ports``."""
        self._ports = ports
        self._changes += 1
        if self._timer is None and self._writing is None:
            self._timer = asyncio.get_running_loop().call_later(_COALESCE, self._begin)

    async def save(self, patience: float) -> str | None:
        """Wait until all that was changed so far is on disk; why it is not, in words, None if it is.

        Many that wait at once share one write. What cannot be written within ``patience`` seconds is tried again later.
        """
        wanted = self._changes
        loop = asyncio.get_running_loop()
        deadline = loop.time() + patience
        while self._saved < wanted:
            # A write that is under way may have begun without what is waited for.
            covers = self._writing is None
            writing = self._writing or self._begin()
            await asyncio.wait({writing}, timeout=deadline - loop.time())
            if not writing.done():
                return f"the disk has not answered for {patience:g} s"
            if covers and (error := writing.result()) is not None:
                return disk_trouble(error)
        return None

    async def flush(self) -> None:
        """Write now what is not yet written, and wait for it."""
        self._encoded.clear()
        await self.save(_FLUSH_PATIENCE)
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _begin(self) -> asyncio.Task[OSError | None]:
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None
        self._writing = asyncio.get_running_loop().create_task(self._write())
        return self._writing

    async def _write(self) -> OSError | None:
        """Write all as it is now; why that failed, None if it did not."""
        changes = self._changes
        ports, self._ports = self._ports, None
        error: OSError | None = None
        try:
            # Made here, where nobody changes the records meanwhile.
            records = list(self._records())
            data = self._document(records)
            await asyncio.get_running_loop().run_in_executor(None, self._store, data, len(records), ports)
        except Exception as raised:
            if isinstance(raised, OSError):
                error = raised
            else:
                log.error("%s: cannot be put together", self._home.apps_json, exc_info=raised)
                error = OSError(errno.EINVAL, f"{type(raised).__name__}: {raised}")
            self._ports = ports if self._ports is None else self._ports
            if not self._failing:
                self._failing = True
                why = f"cannot be written: {error.strerror}; the old one is kept"
                self._on_problem(f"{self._home.apps_json}: {why}")
        else:
            self._saved = changes
            if self._failing:
                self._failing = False
                self._on_recovered()
        finally:
            self._writing = None
            if self._saved < self._changes:
                delay = _RETRY if error is not None else _COALESCE
                self._timer = asyncio.get_running_loop().call_later(delay, self._begin)
        return error

    def _document(self, records: list[AppRecord]) -> bytes:
        parts = []
        encoded: dict[str, bytes] = {}
        for record in records:
            data = self._encoded.get(record.app_id)
            if data is None:
                usage = self._usage.get(record.app_id)
                data = json.dumps(record.app_id).encode() + b":" + encoded_record(record, usage)
            encoded[record.app_id] = data
            parts.append(data)
        self._encoded = encoded
        self._usage = {app_id: usage for app_id, usage in self._usage.items() if app_id in encoded}
        saved_at = iso_utc(utc_now(), milliseconds=True)
        head = {
            "schema_version": SCHEMA_VERSION,
            "saved_at": saved_at,
            "epoch": self._epoch,
            "boot_id": boot_id(),
            "apps_dirs": {str(folder): identity for folder, identity in self._apps_dirs().items()},
        }
        return json.dumps(head).encode()[:-1] + b',"apps":{\n' + b",\n".join(parts) + b"\n}}\n"

    def _store(self, data: bytes, apps: int, ports: dict[str, Any] | None) -> None:
        if not apps and self._saved_apps != 0:
            self._keep_copy()
        self._home.registry_dir.mkdir(parents=True, exist_ok=True)
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        try:
            write_atomically(self._home.apps_json, data)
        except OSError as error:
            if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self.give_room():
                raise
            write_atomically(self._home.apps_json, data)
        self._saved_apps = apps
        if ports is not None:
            write_atomically(self._home.ports_json, (json.dumps(ports, indent=1) + "\n").encode())
        if day != self._snapshot_day and apps:
            self._keep_day(day, data)

    def _keep_day(self, day: str, data: bytes) -> None:
        try:
            self._home.history_dir.mkdir(parents=True, exist_ok=True)
            write_atomically(self._home.history_dir / f"{day}.json", data)
        except OSError as error:
            # What is to be remembered is on disk: this is but another copy of it.
            if error.errno in (errno.ENOSPC, errno.EDQUOT):
                return  # with the next change
            log.error("%s: today's copy cannot be written: %s", self._home.history_dir, error.strerror)
        self._snapshot_day = day
        self._expire_history()

    def give_room(self) -> bool:
        """On a full disk today's copy goes for what is newer than it; it is made again with the next change."""
        day = datetime.now(UTC).strftime("%Y-%m-%d")
        try:
            (self._home.history_dir / f"{day}.json").unlink()
        except OSError:
            return False
        self._snapshot_day = ""
        return True

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


def encoded_record(record: AppRecord, usage: ResourceUsage | None = None) -> bytes:
    """As it stands in apps.json: every field of docs/home-folder.md, and else only what is not at its default.

    ``usage`` is what the app last used, where that is known better than from the record.
    """
    entry = _REQUIRED | record.model_dump(mode="json", exclude_defaults=True, exclude=_FOLLOWS)
    info = _REQUIRED_INFO | entry["runtime_info"]
    info["resource_usage"] = (usage or record.runtime_info.resource_usage).model_dump(mode="json")
    entry["runtime_info"] = info
    # What every entry would repeat stands at the top: see saved_entries.
    boot = boot_id()
    if boot and (identity := info.get("identity")) and identity["boot_id"] == boot:
        del identity["boot_id"]
    if boot and (wanted := info.get("wanted_boot")):
        info["wanted_boot"] = wanted.removeprefix(boot)
    if record.status is Status.RUNNING:
        info.pop("reason", None)  # it says the same
    # To the second: a hundred apps are to fit into 100 kB.
    for part, names in ((info, ("last_health_check",)), (entry, ("discovered_at", "last_updated"))):
        for name in names:
            part[name] = part[name] and f"{part[name][:19]}Z"
    try:
        return to_json(entry)
    except (PydanticSerializationError, ValueError):  # a lone surrogate in a manifest, which Rust knows no way to keep
        return json.dumps(entry, ensure_ascii=False, separators=(",", ":")).encode("utf-8", "surrogatepass")


class GoneApps:
    """What was asked for apps whose folders are gone: kept in registry/gone/ until they come back, or `hhtui clean`.

    One file an app, with its record as it was when its folder went."""

    def __init__(self, home: Home) -> None:
        self._folder = home.gone_dir

    async def keep(self, record: AppRecord) -> None:
        """Keep the record of an app that is gone, unless nothing was ever asked of it."""
        asked = record.runtime_info.wanted is not None
        kept = record.model_copy(update={"manifest": {}, "enabled": None}) if asked else None
        await asyncio.get_running_loop().run_in_executor(None, self._write, record.app_id, kept)

    async def forget(self, app_id: str) -> None:
        """Keep nothing of an app: what was asked for it lies in the trash with it."""
        await asyncio.get_running_loop().run_in_executor(None, self._write, app_id, None)

    def returned(self, app_id: str) -> AppRecord | None:
        """The record of an app that is there again, at rest; None if nothing is known of it.

        The file stays until the app goes again: the registry has not been written yet.
        """
        path = self._path(app_id)
        try:
            record = AppRecord.model_validate(read_json_object(path))
        except FileNotFoundError:
            return None
        except (OSError, ValueError, ValidationError) as error:
            _log_gone.warning("%s: what was kept of %s cannot be read: %s", path, app_id, error)
            return None
        record.status = Status.STOPPED
        info = record.runtime_info
        info.identity = info.instance = info.process_id = info.error = None
        info.reason = "its folder is back"
        return record

    def _write(self, app_id: str, record: AppRecord | None) -> None:
        path = self._path(app_id)
        try:
            if record is None:
                path.unlink(missing_ok=True)
                return
            self._folder.mkdir(mode=0o750, parents=True, exist_ok=True)
            write_atomically(path, record.model_dump_json(indent=1).encode() + b"\n")
        except OSError as error:
            _log_gone.error("%s: cannot be written: %s", path, error.strerror)

    def _path(self, app_id: str) -> Path:
        if APP_ID_PATTERN.match(app_id) is None:
            raise ValueError(f"no app_id: {app_id!r}")
        return self._folder / f"{app_id}.json"
