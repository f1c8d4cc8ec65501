"""What goes into an archive: the home walked, what is left out noted."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hhtui.engine.apps.found_app import FoundApp, identify, read_app
from hhtui.engine.backup.format import AppEntry, ArchiveError, check_link, check_path
from hhtui.model.app import AppRecord, Status
from hhtui.model.config import Config
from hhtui.paths import Home, expanded

SQLITE_MAGIC = b"SQLite format 3\0"
_SQLITE_SIDES = ("-wal", "-shm", "-journal")
_RAN = frozenset({Status.RUNNING, Status.STARTING, Status.WAITING, Status.BACKOFF})
# What is made anew by itself.
_LEFT_OUT = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"})


@dataclass
class Source:
    """One thing to archive: ``path`` inside the archive, ``origin`` on the disk."""

    path: str
    origin: Path
    size: int = 0
    sqlite: bool = False


@dataclass
class Sources:
    """Everything to archive, in order; ``notes`` tell what was left out and why."""

    files: list[Source] = field(default_factory=list)
    folders: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)

    @property
    def bytes(self) -> int:
        return sum(source.size for source in self.files)

    def add_file(self, path: str, origin: Path) -> None:
        """A plain file, if it is there."""
        try:
            status = origin.lstat()
        except OSError:
            return
        if stat.S_ISREG(status.st_mode):
            self.files.append(Source(path, origin, status.st_size, _is_sqlite(origin, status.st_size)))

    def add_tree(self, path: str, origin: Path) -> None:
        """A folder with all that is in it; links that stay inside are kept as such."""
        waiting = [(path, origin)]
        while waiting:
            inside, folder = waiting.pop()
            try:
                self.folders[inside] = stat.S_IMODE(folder.stat().st_mode)
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
            except OSError as error:
                self.notes.append(f"{inside}: left out: {error.strerror}")
                continue
            names = {entry.name for entry in entries}
            for entry in entries:
                name = f"{inside}/{entry.name}"
                try:
                    if (further := self._add_entry(name, entry, names)) is not None:
                        waiting.append(further)
                except (ArchiveError, UnicodeError) as error:
                    self.notes.append(f"{name!a}: left out: {error}")
                except OSError as error:
                    self.notes.append(f"{name}: left out: {error.strerror}")

    def _add_entry(self, name: str, entry: os.DirEntry[str], names: set[str]) -> tuple[str, Path] | None:
        name.encode()
        if entry.is_symlink():
            target = os.readlink(entry.path)
            check_link(name, target)
            self.links[name] = target
            return None
        check_path(name)
        if entry.is_dir(follow_symlinks=False):
            if entry.name in _LEFT_OUT:
                return None
            if os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
                self.notes.append(f"{name}: left out: a virtual environment, which works in its own place only")
                return None
            return name, Path(entry.path)
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            self.notes.append(f"{name}: left out: neither file nor folder")
            return None
        for ending in _SQLITE_SIDES:
            base = entry.name.removesuffix(ending)
            if entry.name.endswith(ending) and base in names:
                origin = Path(entry.path).with_name(base)
                if _is_sqlite(origin, 16):
                    return None  # its content comes with the database's own copy
        self.files.append(Source(name, Path(entry.path), status.st_size, _is_sqlite(Path(entry.path), status.st_size)))
        return None


def _is_sqlite(path: Path, size: int) -> bool:
    """By its first 16 bytes: sqlite.org, "Database File Format", 1.3."""
    if size < len(SQLITE_MAGIC):
        return False
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
    except OSError:
        return False
    try:
        return os.read(descriptor, 16) == SQLITE_MAGIC
    except OSError:
        return False
    finally:
        os.close(descriptor)


def apps_folders(home: Home, config: Config) -> list[tuple[str, Path]]:
    """The configured apps folders, as configured and as paths."""
    return [(folder, home.root / expanded(folder)) for folder in config.process_manager.apps_dirs]


def find_apps(folders: list[Path]) -> dict[str, FoundApp]:
    """The apps that an engine would find in ``folders``."""
    return identify(
        [
            (folder, reading)
            for folder in _app_folders(folders)
            if (reading := read_app(folder, time.monotonic())) is not None
        ]
    )


def _app_folders(folders: list[Path]) -> Iterator[Path]:
    for parent in folders:
        try:
            entries = sorted(os.scandir(parent), key=lambda entry: entry.name)
        except OSError:
            continue
        yield from (Path(e.path) for e in entries if not e.name.startswith(".") and e.is_dir())


def config_sources(home: Home, sources: Sources) -> None:
    """Every file in config/; copies of broken files stay behind."""
    sources.folders["config"] = 0o750
    for origin in [*sorted(home.config_dir.glob("*")), home.dotenv]:
        if ".broken-" not in origin.name and not origin.name.endswith(".tmp"):
            sources.add_file(f"config/{origin.name}", origin)
    sources.files = list({source.path: source for source in sources.files}.values())


def registry_sources(home: Home, sources: Sources) -> None:
    """apps.json, ports.json and the history."""
    sources.folders["registry"] = 0o750
    for origin in (home.apps_json, home.ports_json):
        sources.add_file(f"registry/{origin.name}", origin)
    copies = sorted(home.history_dir.glob("????-??-??.json")) if home.history_dir.is_dir() else []
    if copies:
        sources.folders["registry/history"] = 0o750
    for origin in copies:
        sources.add_file(f"registry/history/{origin.name}", origin)


def app_entries(
    home: Home, config: Config, records: dict[str, AppRecord], ports: dict[str, int], sources: Sources | None
) -> list[AppEntry]:
    """Every app that is there or is remembered; with ``sources`` their folders are added to them."""
    folders = apps_folders(home, config)
    found = find_apps([path for _, path in folders])
    entries: list[AppEntry] = []
    taken: set[str] = set()
    for app_id, app in found.items():
        record = records.get(app_id)
        configured = next((name for name, path in folders if path == app.path.parent), folders[0][0])
        entry = AppEntry(
            app_id=app_id,
            name=app.name,
            version=app.manifest.version if app.manifest else "",
            folder=app.path.name,
            apps_dir=configured,
            valid=app.error is None,
            ran=record is not None and record.status in _RAN,
            status=record.status.value if record else "",
            enabled=record.enabled if record else None,
            port=ports.get(app_id),
        )
        if sources is not None:
            if app.path.name in taken:
                sources.notes.append(f"apps/{app.path.name}: a second folder of that name was left out: {app.path}")
            else:
                taken.add(app.path.name)
                entry.included = True
                sources.folders.setdefault("apps", 0o750)
                sources.add_tree(f"apps/{app.path.name}", app.path.resolve())
        entries.append(entry)
    for app_id, record in records.items():
        if app_id not in found:
            entries.append(AppEntry(app_id=app_id, name=record.name, valid=False, status=record.status.value))
    return entries


def data_sources(home: Home, sources: Sources) -> None:
    """data/<app_id>/ of every app that has one, of removed apps too."""
    try:
        entries = sorted(os.scandir(home.data_dir), key=lambda entry: entry.name)
    except OSError:
        return
    sources.folders.setdefault("data", 0o750)
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith("."):
            sources.add_tree(f"data/{entry.name}", Path(entry.path))
