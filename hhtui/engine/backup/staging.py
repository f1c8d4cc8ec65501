"""From an archive to a restore that only waits to be put in place: checked, compared, laid out beside the old."""

from __future__ import annotations

import contextlib
import hashlib
import json
import os
import shutil
import stat
import tempfile
from bisect import bisect_right
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hhtui.engine.backup.archive import encryption
from hhtui.engine.backup.archive.format import AppEntry, ArchiveError, FileEntry, Manifest, Segments, data_segments
from hhtui.engine.backup.archive.reading import Checked, Progress, check_archive, link_or_copy, unpack
from hhtui.engine.backup.archive.redis_dump import DERIVED_FILES, RedisSaveError, count_keys
from hhtui.engine.backup.archive.sources import apps_folders, find_apps, is_utf8, left_out_of
from hhtui.engine.backup.home_files import open_home
from hhtui.engine.backup.journal import AREA, Expected, Journal, journal_path, sweep
from hhtui.engine.exchange import Component, mount_of, sync_disks
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from hhtui.model.app import AppRecord, ResourceUsage, Status, saved_entries
from hhtui.model.backup import RestoreRequest
from hhtui.model.config import SECRET_KEYS, Config, flatten
from hhtui.model.config_file import load_config
from hhtui.paths import Home
from hhtui.storage import read_json_object, write_json
from hhtui.text import sanitise

_RAN = frozenset({Status.RUNNING, Status.STARTING, Status.WAITING, Status.BACKOFF})
_CHUNK = 1024 * 1024


@dataclass
class Staged:
    """What is ready: the journal to be written, and what to report of it."""

    journal: Journal
    plan: dict[str, Any] = field(default_factory=dict)


@contextmanager
def opened(order: RestoreRequest, scratch: Path) -> Iterator[Path]:
    """The plain archive: the file itself, or what is inside the encrypted one, for as long as this is held."""
    path = Path(order.file)
    if not path.is_file():
        raise InvalidInputError(f"{path}: there is no such file")
    if not encryption.is_encrypted(path):
        yield path
        return
    with tempfile.TemporaryDirectory(dir=scratch, prefix=".homehelper-", suffix=".part") as folder:
        plain = Path(folder) / path.name.removesuffix(path.suffix)
        passphrase = order.passphrase.get_secret_value() if order.passphrase else None
        encryption.decrypt(path, plain, passphrase, order.identity)
        yield plain


def stage(root: str, order: RestoreRequest, progress: Progress, job: str = "") -> Staged:
    """Check everything and lay out the new content in ``.restore`` folders; with ``dry_run`` only compare.

    The plan is ``{archive, created_at, host, product_version, bytes, changes, apps, warnings}``. Any HomeHelperError
    leaves the home as it was, ``.restore`` gone.
    """
    home, _, _ = open_home(root)
    home.root.mkdir(mode=0o750, parents=True, exist_ok=True)
    if journal_path(home).exists():
        raise ConflictError("a restore of this home is under way already; start the engine, which completes it")
    area = home.root / AREA
    sweep(home, [str(area)])
    areas = [str(area)]
    try:
        area.mkdir(mode=0o700)
        with opened(order, area) as plain:
            checked = check_archive(plain, home.root, progress)
            if checked.manifest.header.kind != "backup":
                raise InvalidInputError(f"{order.file}: it is an export; bring it in with `hhtui import`")
            return _lay_out(home, plain, checked, order, areas, progress, job)
    except BaseException:
        sweep(home, areas)
        raise


def _lay_out(
    home: Home, plain: Path, checked: Checked, order: RestoreRequest, areas: list[str], progress: Progress, job: str
) -> Staged:
    manifest = checked.manifest
    area = Path(areas[0])
    new = area / "new"
    new.mkdir(mode=0o700)
    state = {"config", "registry", "redis"} & {name.partition("/")[0] for name in manifest.files}
    unpack(plain, checked, lambda name: new / name if name.partition("/")[0] in state else None, progress)
    config = _checked_config(home, new, "config" in state)
    warnings = [*manifest.notes]
    records = _rested_registry(new / "registry" / "apps.json")
    if "redis" in state and not _checked_redis(home, new, manifest, warnings):
        state.discard("redis")
    manager = config.process_manager
    future = Home.at(home.root, manager.data_dir, manager.logs_dir)
    targets = {section: home.root / section for section in sorted(state)}
    targets |= _app_targets(future, config, manifest)
    components = []
    for name, target in targets.items():
        if target.is_mount():
            raise InvalidInputError(f"{target}: is a mount point of its own and cannot be exchanged; unmount it first")
        place = new.parent if name in state else _area_for(target.parent, area, areas, dry=order.dry_run)
        components.append(
            Component(
                name=name,
                target=str(target),
                new=str(place / "new" / name),
                old=str(place / "old" / name),
                had_old=os.path.lexists(target),
            )
        )
    kept = {component.name: _left_alone(home, component, manifest) for component in components}
    if "config" in state:
        warnings += _links_replaced(home, manifest)
    journal = Journal(
        archive=order.file,
        id=job,
        components=components,
        areas=areas,
        expected=_expected(future, config, manifest),
        no_rollback=order.no_rollback,
    )
    plan = {
        "archive": order.file,
        "created_at": manifest.header.created_at.isoformat().replace("+00:00", "Z"),
        "host": manifest.header.host,
        "product_version": manifest.header.product_version,
        "bytes": checked.bytes,
        "files": len(manifest.files),
        "changes": [compare_component(component, manifest, kept[component.name]) for component in components],
        "config": config_changes(home, new) if "config" in state else [],
        "apps": [_app_line(entry, records) for entry in manifest.apps],
        "warnings": warnings + _missing(future, config, manifest),
    }
    if order.dry_run:
        sweep(home, areas)
        return Staged(journal, plan)
    places = {component.name: Path(component.new) for component in components if component.name not in state}

    def place_of(name: str) -> Path | None:
        top = "/".join(name.split("/")[:2])
        base = places.get(top)
        return base / name[len(top) :].lstrip("/") if base is not None else None

    unpack(plain, checked, place_of, progress)
    for component in components:
        _take_along(component, kept[component.name])
    progress("syncing the disk", 0, 0)
    sync_disks([Path(folder) for folder in areas])
    return Staged(journal, plan)


def _checked_config(home: Home, new: Path, included: bool) -> Config:
    try:
        return load_config(Home.at(new) if included else home).config
    except HomeHelperError as error:
        words = error.message.replace(str(new), "")
        raise ArchiveError(f"the configuration in it is not valid: {words}") from None


def _rested_registry(path: Path) -> dict[str, AppRecord]:
    """The records, with what ran then marked to be started, and nothing left of the processes of that time."""
    try:
        document = read_json_object(path)
        records = {str(k): AppRecord.model_validate(v) for k, v in saved_entries(document).items()}
    except FileNotFoundError:
        return {}
    except (OSError, ValueError, TypeError, ValidationError):
        raise ArchiveError("the registry in it is not valid") from None
    for record in records.values():
        info = record.runtime_info
        if record.status in _RAN:
            info.wanted = True
        if record.status not in (Status.FAILED, Status.INVALID, Status.DISCOVERED):
            record.status = Status.STOPPED
        info.identity = info.instance = info.process_id = info.started_at = None
        info.resource_usage = ResourceUsage()
    document["apps"] = {name: record.model_dump(mode="json") for name, record in records.items()}
    write_json(path, document)
    return records


def _checked_redis(home: Home, new: Path, manifest: Manifest, warnings: list[str]) -> bool:
    """Whether the private server's data is to be exchanged."""
    configured = new / "redis" / "configured-dump.rdb"
    if configured.exists():
        configured.unlink()
        warnings.append(
            "the configured Redis server's data is in the archive as redis/configured-dump.rdb and is not restored: "
            "put it in place by hand, with that server stopped"
        )
    dump = new / "redis" / "dump.rdb"
    if manifest.redis != "private" or not dump.exists():
        return False
    try:
        if count_keys(dump) is None:
            warnings.append("no redis-server is installed: the Redis dump was not tried")
    except RedisSaveError as error:
        raise ArchiveError(error.message) from None
    for name in ("access.json", "choice.json"):
        # Without them in the archive the present ones go on.
        here, there = home.redis_dir / name, new / "redis" / name
        if not there.exists():
            with contextlib.suppress(OSError):
                there.write_bytes(here.read_bytes())
                there.chmod(0o600)
    return True


def _app_targets(future: Home, config: Config, manifest: Manifest) -> dict[str, Path]:
    folders = dict(apps_folders(future, config))
    default = next(iter(folders.values()))
    placed = {entry.folder: folders.get(entry.apps_dir, default) for entry in manifest.apps if entry.included}
    placed |= {name: folders.get(configured, default) for name, configured in manifest.other_folders.items()}
    targets: dict[str, Path] = {}
    for name in sorted({*manifest.folders, *manifest.files}):
        section, _, rest = name.partition("/")
        top = rest.partition("/")[0]
        if top and section == "apps":
            targets[f"apps/{top}"] = placed.get(top, default) / top
        elif top and section == "data":
            targets[f"data/{top}"] = future.data_dir / top
    return targets


def _left_alone(home: Home, component: Component, manifest: Manifest) -> list[str]:
    """What is in the component now and never was the backup's to restore: paths inside the component.

    That is what a backup made now would leave out, what this one left out though it would not now, the secrets where it
    has none, and, where it is of format 1, every name that is not UTF-8, which that format could not hold.
    """
    if not component.had_old:
        return []
    prefix = f"{component.name}/"
    now = left_out_of(home, component.name, Path(component.target))
    kept = (home.secrets_env, home.ssh_dir, home.gateway_dir)
    secrets = {path.relative_to(home.root).as_posix() for path in kept}
    names = now.left_out | set(manifest.left_out) | (secrets - manifest.files.keys() - manifest.folders.keys())
    if manifest.header.format_version < 2:
        names |= {name for name in (*(source.path for source in now.files), *now.links) if not is_utf8(name)}
    inside = sorted(name.removeprefix(prefix) for name in names if name.startswith(prefix))
    target = Path(component.target)
    return [name for name in inside if os.path.lexists(target / name) and _is_below(target, name)]


def _take_along(component: Component, names: list[str]) -> None:
    """Put what is left alone beside what is restored, by second names where the file system has them."""
    old, new = Path(component.target), Path(component.new)
    for name in names:
        place = new / name
        if os.path.lexists(place):
            continue
        try:
            if _is_below(new, name):
                place.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                _copy_entry(old / name, place)
        except FileNotFoundError:
            continue  # it went meanwhile
        except OSError as error:
            words = f"{old / name}: is not in the archive and cannot be kept: {error.strerror}; move it away"
            raise HomeHelperError(sanitise(words, 1000)) from None


def _is_below(folder: Path, name: str) -> bool:
    """Whether the way to ``name`` passes through no link: the list of an archive is not to be believed."""
    parent = os.path.dirname(name)
    return os.path.realpath(folder / parent) == os.path.normpath(os.path.join(os.path.realpath(folder), parent))


def _copy_entry(origin: Path, place: Path) -> None:
    status = origin.lstat()
    if stat.S_ISDIR(status.st_mode):
        place.mkdir(mode=0o700)
        for entry in os.scandir(origin):
            _copy_entry(Path(entry.path), place / entry.name)
        shutil.copystat(origin, place)
    elif stat.S_ISLNK(status.st_mode):
        os.symlink(os.readlink(origin), place)
    elif stat.S_ISREG(status.st_mode):
        link_or_copy(origin, place)
    elif stat.S_ISFIFO(status.st_mode):
        os.mkfifo(place, stat.S_IMODE(status.st_mode))
    # A socket is of the process that listens on it, which makes it anew.


def _links_replaced(home: Home, manifest: Manifest) -> list[str]:
    lines = []
    for name in manifest.files:
        path = home.root / name
        if name.startswith("config/") and path.is_symlink():
            words = f"{path} is a link to {os.readlink(path)}: it becomes a plain file, that one stays as it is"
            lines.append(sanitise(words, 1000))
    return lines


def _area_for(parent: Path, area: Path, areas: list[str], *, dry: bool) -> Path:
    """A folder on the mount of ``parent``, so that a rename from it into that is possible."""
    if dry:
        return area
    parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise HomeHelperError(f"{parent}: cannot be written by this user")
    if mount_of(parent) != mount_of(area):
        area = parent / AREA
        area.mkdir(mode=0o700, exist_ok=True)
        if str(area) not in areas:
            areas.append(str(area))
    return area


def _expected(future: Home, config: Config, manifest: Manifest) -> list[Expected]:
    present = find_apps([path for _, path in apps_folders(future, config)])
    found = []
    for entry in manifest.apps:
        now = present.get(entry.app_id)
        if entry.included:
            found.append(Expected(app_id=entry.app_id, valid=entry.valid, ran=entry.ran and entry.valid))
        elif now is not None:
            valid = entry.valid and now.error is None
            found.append(Expected(app_id=entry.app_id, valid=valid, ran=entry.ran and valid))
    return found


def _missing(future: Home, config: Config, manifest: Manifest) -> list[str]:
    present = find_apps([path for _, path in apps_folders(future, config)])
    gone = [e.app_id for e in manifest.apps if not e.included and e.valid and e.app_id not in present]
    if not gone:
        return []
    return [f"the archive was made without --data and this home has no folder of: {', '.join(sorted(gone))}"]


def _app_line(entry: AppEntry, records: dict[str, AppRecord]) -> dict[str, Any]:
    return {
        "app_id": entry.app_id,
        "included": entry.included,
        "starts": entry.ran,
        "valid": entry.valid,
        "port": entry.port,
        "remembered": entry.app_id in records,
    }


def compare_component(component: Component, manifest: Manifest, kept: list[str]) -> dict[str, Any]:
    """``{name, target, action, added, changed, removed, same}``: how many files of the target become what.

    ``kept`` are paths inside it that the restore leaves alone.
    """
    target = Path(component.target)
    prefix = f"{component.name}/"
    entries = {**manifest.files, **{name: manifest.files[first] for name, first in manifest.twins.items()}}
    wanted = {name[len(prefix) :]: entry for name, entry in entries.items() if name.startswith(prefix)}
    present = _files(target)
    present -= {name for name in present if any(f"{name}/".startswith(f"{path}/") for path in kept)} - wanted.keys()
    if component.name == "redis":
        present -= {name for name in present if name in DERIVED_FILES or name.endswith(".sock")}
    added = changed = same = 0
    for name, entry in wanted.items():
        if name not in present:
            added += 1
        elif _equal(target / name, entry):
            same += 1
        else:
            changed += 1
    removed = len(present - wanted.keys())
    action = "add" if not component.had_old else "replace" if added or changed or removed else "same"
    return {
        "name": sanitise(component.name, 500),
        "target": sanitise(component.target),
        "action": action,
        "added": added,
        "changed": changed,
        "removed": removed,
        "same": same,
    }


def config_changes(home: Home, new: Path) -> list[str]:
    """``key: now -> then`` of each key in config.json that becomes another; of secrets the names alone."""
    now, then = _config(home.config_file), _config(new / "config" / "config.json")
    lines = []
    for key in sorted(now.keys() | then.keys()):
        if now.get(key) != then.get(key):
            lines.append(key if key in SECRET_KEYS else f"{key}: {_text_of(now, key)} -> {_text_of(then, key)}")
    return lines


def _text_of(values: dict[str, Any], key: str) -> str:
    return json.dumps(values[key], ensure_ascii=False) if key in values else "the default"


def _config(path: Path) -> dict[str, Any]:
    try:
        return flatten(read_json_object(path))
    except (OSError, ValueError):
        return {}


def _files(folder: Path) -> set[str]:
    found: set[str] = set()
    for parent, _, names in os.walk(folder):
        inside = os.path.relpath(parent, folder)
        found |= {name if inside == "." else f"{inside}/{name}" for name in names}
    return {name for name in found if not os.path.islink(folder / name)}


def _equal(path: Path, entry: FileEntry) -> bool:
    digest = hashlib.sha256()
    try:
        with path.open("rb", buffering=0) as file:
            size = os.fstat(file.fileno()).st_size
            if size != entry.size:
                return False
            here = data_segments(file.fileno(), size)
            if entry.data is not None and here is not None and not _covers(entry.data, here):
                return False
            for offset, length in entry.data if entry.data is not None else [(0, size)]:
                while length and (chunk := os.pread(file.fileno(), min(length, _CHUNK), offset)):
                    digest.update(chunk)
                    offset, length = offset + len(chunk), length - len(chunk)
    except OSError:
        return False
    return digest.hexdigest() == entry.sha256 and (entry.data is None or here is not None)


def _covers(archived: Segments, here: Segments) -> bool:
    """Whether all data that is here lies where the archive has data too, so that the rest is zeros in both."""
    begins = [begin for begin, _ in archived]
    for offset, length in here:
        at = bisect_right(begins, offset) - 1
        if at < 0 or offset + length > sum(archived[at]):
            return False
    return True
