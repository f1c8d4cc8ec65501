"""From an archive to a restore that only waits to be put in place: checked, compared, laid out beside the old."""

from __future__ import annotations

import contextlib
import os
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hhtui.engine.backup import encryption
from hhtui.engine.backup.comparing import compare_component, config_changes
from hhtui.engine.backup.format import AppEntry, ArchiveError, Manifest
from hhtui.engine.backup.journal import AREA, Component, Expected, Journal, journal_path, sweep, sync_disks
from hhtui.engine.backup.opening import open_home
from hhtui.engine.backup.reading import Checked, Progress, check_archive, unpack
from hhtui.engine.backup.redis_dump import RedisSaveError, count_keys
from hhtui.engine.backup.sources import apps_folders, find_apps
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from hhtui.model.app import AppRecord, ResourceUsage, Status
from hhtui.model.backup import RestoreRequest
from hhtui.model.config import Config
from hhtui.model.config_file import load_config
from hhtui.paths import Home
from hhtui.storage import read_json_object, write_json

_RAN = frozenset({Status.RUNNING, Status.STARTING, Status.WAITING, Status.BACKOFF})


@dataclass
class Staged:
    """What is ready: the journal to be written, and what to tell of it."""

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
        "changes": [compare_component(component, manifest, new) for component in components],
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
        records = {str(k): AppRecord.model_validate(v) for k, v in dict(document.get("apps") or {}).items()}
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
    targets: dict[str, Path] = {}
    for name in sorted({*manifest.folders, *manifest.files}):
        section, _, rest = name.partition("/")
        top = rest.partition("/")[0]
        if top and section == "apps":
            targets[f"apps/{top}"] = placed.get(top, default) / top
        elif top and section == "data":
            targets[f"data/{top}"] = future.data_dir / top
    return targets


def _area_for(parent: Path, area: Path, areas: list[str], *, dry: bool) -> Path:
    """A folder on the mount of ``parent``, so that a rename from it into that is possible."""
    if dry:
        return area
    parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    if not os.access(parent, os.W_OK | os.X_OK):
        raise HomeHelperError(f"{parent}: cannot be written by this user")
    if _mount_of(parent) != _mount_of(area):
        area = parent / AREA
        area.mkdir(mode=0o700, exist_ok=True)
        if str(area) not in areas:
            areas.append(str(area))
    return area


def _mount_of(folder: Path) -> str:
    """The mount's number (proc_pid_fdinfo(5)): of one device there may be many, and rename(2) does not cross them."""
    descriptor = os.open(folder, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        lines = Path(f"/proc/self/fdinfo/{descriptor}").read_text().splitlines()
    finally:
        os.close(descriptor)
    return next((line for line in lines if line.startswith("mnt_id:")), "")


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
