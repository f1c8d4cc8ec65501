"""Making a backup: Redis saved, the home archived, the archive read back, and only then given its name.

And trying one: its archive unpacked into a scratch folder, and everything in it read as an engine would.
"""

from __future__ import annotations

import contextlib
import os
import shutil
import socket
import sqlite3
import tempfile
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from hhtui import __version__
from hhtui.engine.app.registry import load_registry
from hhtui.engine.backup.archive import encryption
from hhtui.engine.backup.archive.format import FORMAT, FORMAT_VERSION, ArchiveError, Header, Manifest, timestamp
from hhtui.engine.backup.archive.reading import check_archive, unpack
from hhtui.engine.backup.archive.redis_dump import RedisSaveError, count_keys, save_configured, save_private
from hhtui.engine.backup.archive.sources import (
    SQLITE_MAGIC,
    Sources,
    app_entries,
    config_sources,
    data_sources,
    find_apps,
    other_app_folders,
    registry_sources,
)
from hhtui.engine.backup.archive.writing import write_archive
from hhtui.engine.backup.catalog import change_state, expired, half_written, list_backups, now_text, only_one
from hhtui.engine.backup.home_files import open_home, read_records
from hhtui.engine.backup.staging import opened
from hhtui.engine.process.jobs import Progress
from hhtui.errors import HomeHelperError, InvalidInputError, NotFoundError
from hhtui.model.backup import BackupRequest, RestoreRequest
from hhtui.model.config import Config
from hhtui.model.config_file import load_config
from hhtui.paths import Home
from hhtui.storage import read_json_object, sync_folder
from hhtui.text import sanitise


def back_up(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Make one archive and report it; HomeHelperError, and no archive, if that fails."""
    home, config, notes = open_home(request["root"])
    order = BackupRequest.model_validate(request["order"])
    if not home.root.is_dir():
        raise InvalidInputError(f"{home.root}: there is no home here to back up")
    passphrase = order.passphrase.get_secret_value() if order.passphrase else None
    recipient = order.recipient or (config.backup.recipient if passphrase is None else None)
    suffix = encryption.suffix_for(passphrase, recipient)
    with only_one(home):
        for left in half_written(home.backups_dir):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        final = _final_name(home, order.file, suffix)
        part = final.with_name(f".homehelper-{final.name}.{os.getpid()}.part")
        try:
            sources = Sources(notes=notes)
            manifest = _archive(
                home, config, sources, order, part, request.get("redis", ""), progress, encrypted=bool(suffix)
            )
            checked = check_archive(part, final.parent, lambda s, d, t: progress("reading back", d, t), keep_free=0)
            proof = prove_archive(part, final.name, final.parent, progress) if request.get("prove") else None
            if suffix:
                progress("encrypting", 0, 0)
                _encrypt(part, passphrase, recipient)
            os.rename(part, final)
            sync_folder(final.parent)
        finally:
            part.unlink(missing_ok=True)
        removed = []
        if order.file is None:
            # An incomplete one is no reason to let a complete one go.
            for old in [] if sources.unread else expired(home, order.keep or config.backup.keep):
                old.unlink(missing_ok=True)
                removed.append(old.name)
            change_state(home, last_at=now_text(), last_error=None)
    if proof is not None:
        change_state(home, proven=proof)
    return {
        "proof": proof,
        "path": str(final),
        "bytes": final.stat().st_size,
        "unpacked_bytes": checked.bytes,
        "files": len(manifest.files),
        "apps": [entry.app_id for entry in manifest.apps if entry.included],
        "contents": manifest.header.contents,
        "redis": manifest.redis,
        "notes": manifest.notes,
        "unread": [sanitise(name, 500) for name in sources.unread],
        "removed": removed,
    }


def _archive(
    home: Home,
    config: Config,
    sources: Sources,
    order: BackupRequest,
    part: Path,
    redis: str,
    progress: Progress,
    *,
    encrypted: bool,
) -> Manifest:
    with_data = config.backup.include_data if order.data is None else order.data
    progress("saving Redis", 0, 0)
    owner = _redis_sources(home, config, redis, sources)
    config_sources(home, sources, with_secrets=encrypted)
    registry_sources(home, sources)
    records, ports, problems = read_records(home)
    sources.notes.extend(problems)
    apps = app_entries(home, config, records, ports, sources if with_data else None)
    others: dict[str, str] = {}
    if with_data:
        others = other_app_folders(home, config, sources)
        data_sources(home, sources)
    contents = sorted({path.partition("/")[0] for path in [*(s.path for s in sources.files), *sources.folders]})
    header = new_header("backup", contents)
    manifest = Manifest(header=header, apps=apps, redis=owner, other_folders=others)
    with tempfile.TemporaryDirectory(dir=part.parent, prefix=".homehelper-", suffix=".part") as scratch:
        return write_archive(part, header, sources, manifest, progress, Path(scratch))


def new_header(kind: Literal["backup", "export"], contents: list[str]) -> Header:
    """A header of this version and moment."""
    return Header(
        format=FORMAT,
        format_version=FORMAT_VERSION,
        kind=kind,
        created_at=datetime.now(UTC).replace(microsecond=0),
        product_version=__version__,
        host=socket.gethostname(),
        contents=contents,
    )


def _redis_sources(home: Home, config: Config, used: str, sources: Sources) -> Literal["private", "configured", "none"]:
    owner: Literal["private", "configured", "none"] = "none"
    sources_before = len(sources.files)
    save_private(home)
    for name in ("dump.rdb", "access.json", "choice.json"):
        sources.add_file(f"redis/{name}", home.redis_dir / name)
    if any(source.path == "redis/dump.rdb" for source in sources.files):
        owner = "private"
    if used == "configured" or (not used and _last_used_configured(home)):
        dump, note = save_configured(config.redis)
        sources.notes.append(f"redis: {note}")
        if dump is not None:
            sources.add_file("redis/configured-dump.rdb", dump)
            owner = owner if owner == "private" else "configured"
    if len(sources.files) > sources_before:
        sources.folders["redis"] = 0o700
    return owner


def _last_used_configured(home: Home) -> bool:
    try:
        return bool(read_json_object(home.redis_dir / "choice.json").get("configured"))
    except (OSError, ValueError):
        return False


def _final_name(home: Home, file: str | None, suffix: str) -> Path:
    folder = home.backups_dir
    if file is not None:
        wanted = Path(file)
        if not wanted.is_absolute():
            raise InvalidInputError(f"file: {file!r} must be an absolute path")
        if not wanted.is_dir():
            if not wanted.parent.is_dir():
                raise InvalidInputError(f"{wanted.parent}: there is no such folder")
            if suffix and not wanted.name.endswith(suffix):
                wanted = wanted.with_name(wanted.name + suffix)
            return wanted
        folder = wanted
    stamp = timestamp()
    for number in range(100):
        tail = f"-{number}" if number else ""
        path = folder / f"homehelper-{stamp}{tail}.tar.gz{suffix}"
        if not path.exists():
            return path
    raise HomeHelperError(f"{folder}: too many backups of this second")


def _encrypt(part: Path, passphrase: str | None, recipient: str | None) -> None:
    suffix = encryption.suffix_for(passphrase, recipient)
    sealed = part.with_name(part.name.removesuffix(".part") + f".sealed.part{suffix}")
    opened = part.with_name(part.name.removesuffix(".part") + ".opened.part")
    try:
        encryption.encrypt(part, sealed, passphrase, recipient)
        if recipient is None:  # what is for another's key cannot be opened here
            encryption.decrypt(sealed, opened, passphrase, None)
            check_archive(opened, opened.parent, lambda *_: None, keep_free=0)
        descriptor = os.open(sealed, os.O_RDONLY | os.O_CLOEXEC)
        try:
            os.fsync(descriptor)
        finally:
            os.close(descriptor)
        os.rename(sealed, part)
    finally:
        sealed.unlink(missing_ok=True)
        opened.unlink(missing_ok=True)


def prove(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Test-restore ``file``, else the newest archive that can be opened without a key; what was found is remembered.

    ``{at, archive, ok, files, apps, redis_keys, databases, error}``. NotFoundError if there is no archive.
    """
    home, _, _ = open_home(request["root"])
    path = request.get("file") or next((b.path for b in list_backups(home) if not b.encrypted), None)
    if path is None:
        if list_backups(home):
            raise NotFoundError("every backup is encrypted: who has the key can try one by `hhtui restore --dry-run`")
        raise NotFoundError("there is no backup yet that could be test-restored")
    proof: dict[str, Any] = {"at": now_text(), "archive": Path(path).name, "ok": True, "error": None}
    order = RestoreRequest(file=path, passphrase=request.get("passphrase"), identity=request.get("identity"))
    try:
        with (
            only_one(home),
            tempfile.TemporaryDirectory(dir=home.backups_dir, prefix=".homehelper-", suffix=".part") as scratch,
        ):
            with opened(order, Path(scratch)) as plain:
                proof |= _prove(plain, Path(scratch) / "home", progress)
    except (HomeHelperError, OSError) as error:
        proof |= {"ok": False, "error": error.message if isinstance(error, HomeHelperError) else str(error)}
    change_state(home, proven=proof)
    return proof


def prove_archive(plain: Path, name: str, scratch: Path, progress: Progress) -> dict[str, Any]:
    """The same of a plain archive that will be called ``name``, unpacked below ``scratch``; nothing is remembered."""
    proof: dict[str, Any] = {"at": now_text(), "archive": name, "ok": True, "error": None}
    try:
        with tempfile.TemporaryDirectory(dir=scratch, prefix=".homehelper-", suffix=".part") as folder:
            return proof | _prove(plain, Path(folder) / "home", progress)
    except (HomeHelperError, OSError) as error:
        return proof | {"ok": False, "error": error.message if isinstance(error, HomeHelperError) else str(error)}


def _prove(plain: Path, scratch: Path, progress: Progress) -> dict[str, Any]:
    scratch.mkdir()
    checked = check_archive(plain, scratch, progress)
    unpack(plain, checked, lambda name: scratch / name, progress)
    home = Home.at(scratch, environ={})
    config = load_config(home, {}).config
    registry = load_registry(home)
    if registry.problems:
        raise ArchiveError(f"the registry in it is not valid: {registry.problems[0].replace(str(scratch), '')}")
    _check_apps(checked.manifest, scratch)
    dump = home.redis_dir / "dump.rdb"
    try:
        keys = count_keys(dump) if dump.exists() else None
    except RedisSaveError as error:
        raise ArchiveError(error.message) from None
    return {
        "files": len(checked.manifest.files),
        "apps": len(registry.records),
        "redis_keys": keys,
        "databases": _check_databases(checked.manifest, scratch),
        "schema_version": config.schema_version,
    }


def _check_apps(manifest: Manifest, scratch: Path) -> None:
    found = find_apps([scratch / "apps"])
    for entry in manifest.apps:
        if entry.included and entry.valid:
            app = found.get(entry.app_id)
            if app is None or app.error is not None:
                raise ArchiveError(f"{entry.app_id}: {app.error if app else 'is not discovered'}")


def _check_databases(manifest: Manifest, scratch: Path) -> int:
    count = 0
    for name in manifest.files:
        path = scratch / name
        with path.open("rb") as file:
            if file.read(16) != SQLITE_MAGIC:
                continue
        count += 1
        try:
            with contextlib.closing(sqlite3.connect(f"{path.as_uri()}?mode=ro", uri=True)) as database:
                (answer,) = database.execute("PRAGMA quick_check(1)").fetchone()
        except sqlite3.Error as error:
            answer = str(error)
        if answer != "ok" and not any(name in note for note in manifest.notes):
            raise ArchiveError(f"the database {sanitise(name, 200)} is damaged: {sanitise(str(answer), 100)}")
    return count
