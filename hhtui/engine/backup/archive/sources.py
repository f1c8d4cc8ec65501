"""What goes into an archive: the home walked, what is left out noted."""

from __future__ import annotations

import os
import stat
import time
from collections.abc import Iterator
from dataclasses import dataclass, field
from pathlib import Path

from hhtui.engine.backup.archive.format import AppEntry, ArchiveError, check_link, check_path, exchanged_with
from hhtui.engine.discovery.found_app import FoundApp, identify, read_app
from hhtui.errors import InvalidInputError
from hhtui.model.app import AppRecord, Status
from hhtui.model.app_settings import read_owner_settings
from hhtui.model.config import Config
from hhtui.paths import APP_ID_PATTERN, MANIFEST_NAME, Home, expanded
from hhtui.text import sanitise

SQLITE_MAGIC = b"SQLite format 3\0"
_SQLITE_SIDES = ("-wal", "-shm", "-journal")
_RAN = frozenset({Status.RUNNING, Status.STARTING, Status.WAITING, Status.BACKOFF})
# What is made anew by itself.
_LEFT_OUT = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"})


@dataclass
class Source:
    """One thing to archive: ``path`` inside the archive, ``origin`` on the disk, ``size`` in bytes without its holes.

    ``twins`` are its further names; ``follow``: a link that stands for the file that it leads to.
    """

    path: str
    origin: Path
    size: int = 0
    sqlite: bool = False
    follow: bool = False
    twins: list[Source] = field(default_factory=list)


@dataclass
class Sources:
    """Everything to archive, in order; ``notes`` say what was left out and why, ``unread`` what should not have been.

    Paths are as Python has file names: what is not UTF-8 as lone surrogates; notes are for people.
    """

    files: list[Source] = field(default_factory=list)
    folders: dict[str, int] = field(default_factory=dict)
    links: dict[str, str] = field(default_factory=dict)
    notes: list[str] = field(default_factory=list)
    left_out: set[str] = field(default_factory=set)
    unread: list[str] = field(default_factory=list)
    _named: dict[tuple[str, int, int], Source] = field(default_factory=dict)

    @property
    def bytes(self) -> int:
        return sum(source.size for source in self.files)

    def note(self, path: str, words: str) -> None:
        """A line about ``path`` for the notes."""
        self.notes.append(sanitise(f"{path}: {words}", 1000))

    def leave_out(self, path: str, why: str, *, unread: bool = False) -> None:
        """``path`` is there and does not come into the archive; ``unread``: though it should."""
        self.left_out.add(path)
        self.note(path, f"left out: {why}")
        if unread:
            self.unread.append(path)

    def add_file(self, path: str, origin: Path, *, follow: bool = False) -> None:
        """A plain file, if it is there; ``follow``: or a link to one."""
        try:
            status = origin.stat() if follow else origin.lstat()
        except OSError:
            return
        if stat.S_ISREG(status.st_mode):
            self._add(path, origin, status, follow=follow)

    def add_tree(self, path: str, origin: Path) -> None:
        """A folder with all that is in it; links that stay inside are kept as such."""
        waiting = [(path, origin)]
        while waiting:
            inside, folder = waiting.pop()
            try:
                entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
                self.folders[inside] = stat.S_IMODE(folder.stat().st_mode)
            except OSError as error:
                self.leave_out(inside, str(error.strerror), unread=not isinstance(error, FileNotFoundError))
                continue
            names = {entry.name for entry in entries}
            for entry in entries:
                name = f"{inside}/{entry.name}"
                try:
                    if (further := self._add_entry(name, entry, names)) is not None:
                        waiting.append(further)
                except ArchiveError as error:
                    self.leave_out(name, error.message)
                except OSError as error:
                    self.leave_out(name, str(error.strerror), unread=not isinstance(error, FileNotFoundError))

    def _add_entry(self, name: str, entry: os.DirEntry[str], names: set[str]) -> tuple[str, Path] | None:
        if entry.is_symlink():
            target = os.readlink(entry.path)
            try:
                check_link(name, target)
            except ArchiveError:
                self.leave_out(name, "a link that leads out of its app")
            else:
                self.links[name] = target
            return None
        check_path(name)
        if entry.is_dir(follow_symlinks=False):
            if entry.name in _LEFT_OUT:
                return None
            if os.path.exists(os.path.join(entry.path, "pyvenv.cfg")):
                self.leave_out(name, "a virtual environment, which works in its own place only")
                return None
            return name, Path(entry.path)
        status = entry.stat(follow_symlinks=False)
        if not stat.S_ISREG(status.st_mode):
            self.leave_out(name, "neither file nor folder")
            return None
        for suffix in _SQLITE_SIDES:
            base = entry.name.removesuffix(suffix)
            if entry.name.endswith(suffix) and base in names:
                origin = Path(entry.path).with_name(base)
                if _is_sqlite(origin, 16):
                    return None  # its content comes with the database's own copy
        self._add(name, Path(entry.path), status)
        return None

    def _add(self, path: str, origin: Path, status: os.stat_result, *, follow: bool = False) -> None:
        size = min(status.st_size, status.st_blocks * 512)
        source = Source(path, origin, size, _is_sqlite(origin, status.st_size), follow)
        if status.st_nlink > 1 and not source.sqlite and not follow:
            # By what is exchanged as one: a name elsewhere may not be there when this one is restored.
            first = self._named.setdefault((exchanged_with(path), status.st_dev, status.st_ino), source)
            if first is not source:
                first.twins.append(source)
                return
        self.files.append(source)


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


def is_utf8(name: str) -> bool:
    """Whether a file's name is text; of the others every byte that is not is a lone surrogate (os.fsdecode)."""
    return not any("\ud800" <= character <= "\udfff" for character in name)


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
        yield from (Path(e.path) for e in entries if not e.name.startswith(".") and e.is_dir() and is_utf8(e.name))


def config_sources(home: Home, sources: Sources, *, with_secrets: bool) -> None:
    """Everything in config/; copies of broken files stay behind, of a link the file that it leads to is taken.

    Without ``with_secrets`` neither secrets.env nor the engine's ssh key nor what the gateway keeps: what others may
    come to read has no secrets.
    """
    sources.folders["config"] = 0o750
    for entry in _entries(home.config_dir, "config", sources):
        name, path = f"config/{entry.name}", Path(entry.path)
        if entry.name.endswith(".tmp"):
            continue
        if ".broken-" in entry.name:
            sources.left_out.add(name)
        elif path in (home.ssh_dir, home.gateway_dir) and not with_secrets:
            sources.leave_out(name, "keys are in encrypted backups alone (`hhtui backup --encrypt`)")
        elif entry.is_dir(follow_symlinks=False):
            sources.add_tree(name, path)
        elif entry.name == home.secrets_env.name and not with_secrets:
            sources.leave_out(name, "secrets are in encrypted backups alone (`hhtui backup --encrypt`)")
        elif path.is_file():
            sources.add_file(name, path, follow=True)
        else:
            sources.leave_out(name, "a link that leads to no file" if entry.is_symlink() else "neither file nor folder")


def registry_sources(home: Home, sources: Sources) -> None:
    """apps.json, ports.json, the history, what was asked for apps that are gone, and where apps come from."""
    sources.folders["registry"] = 0o750
    for path in (home.apps_json, home.ports_json):
        sources.add_file(f"registry/{path.name}", path)
    parts = {
        "registry": home.registry_dir,
        "registry/history": home.history_dir,
        "registry/gone": home.gone_dir,
        "registry/sources": home.sources_dir,
    }
    copies = sorted(home.history_dir.glob("[0-9][0-9][0-9][0-9]-[0-9][0-9]-[0-9][0-9].json"))
    gone = [path for path in sorted(home.gone_dir.glob("*.json")) if APP_ID_PATTERN.match(path.stem)]
    known_sources = [path for path in sorted(home.sources_dir.glob("*.json")) if APP_ID_PATTERN.match(path.stem)]
    kept = (("registry/history", copies), ("registry/gone", gone), ("registry/sources", known_sources))
    for inside, paths in kept:
        if paths:
            sources.folders[inside] = 0o750
        for path in paths:
            sources.add_file(f"{inside}/{path.name}", path)
    known = {*sources.folders, *(source.path for source in sources.files)}
    for inside, folder in parts.items():
        present = (f"{inside}/{entry.name}" for entry in _entries(folder, inside, sources))
        sources.left_out.update(name for name in present if name not in known and not name.endswith(".tmp"))


def _entries(folder: Path, inside: str, sources: Sources) -> list[os.DirEntry[str]]:
    try:
        return sorted(os.scandir(folder), key=lambda entry: entry.name)
    except FileNotFoundError:
        return []
    except OSError as error:
        sources.leave_out(inside, str(error.strerror), unread=True)
        return []


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
            enabled=_enabled(home, app_id),
            port=ports.get(app_id),
        )
        if sources is not None:
            if app.path.name in taken:
                sources.note(f"apps/{app.path.name}", f"a second folder of that name was left out: {app.path}")
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


def _enabled(home: Home, app_id: str) -> bool | None:
    try:
        return read_owner_settings(home.app_settings_dir / f"{app_id}.json").autostart
    except (OSError, InvalidInputError):
        return None


def other_app_folders(home: Home, config: Config, sources: Sources) -> dict[str, str]:
    """Add the folders that would be apps but for their name, which is not UTF-8; the apps folder of each by name."""
    found: dict[str, str] = {}
    for configured, parent in apps_folders(home, config):
        for entry in _entries(parent, "apps", sources):
            if is_utf8(entry.name) or entry.name in found or not os.path.lexists(f"{entry.path}/{MANIFEST_NAME}"):
                continue
            if entry.is_dir(follow_symlinks=False):
                found[entry.name] = configured
                sources.folders.setdefault("apps", 0o750)
                sources.add_tree(f"apps/{entry.name}", Path(entry.path))
                sources.note(
                    f"apps/{entry.name}", "its name is not UTF-8, so it is no app; its folder is in the archive"
                )
    return found


def data_sources(home: Home, sources: Sources) -> None:
    """data/<app_id>/ of every app that has one, of removed apps too."""
    entries = _entries(home.data_dir, "data", sources)
    if entries:
        sources.folders.setdefault("data", 0o750)
    for entry in entries:
        if entry.is_dir() and not entry.name.startswith("."):
            sources.add_tree(f"data/{entry.name}", Path(entry.path))


def left_out_of(home: Home, component: str, target: Path) -> Sources:
    """What a backup made now of one component of the home would hold, and what it would leave out."""
    sources = Sources()
    if component == "config":
        config_sources(home, sources, with_secrets=True)
    elif component == "registry":
        registry_sources(home, sources)
    elif component != "redis":
        sources.add_tree(component, target.resolve())
    return sources
