"""Making a backup: Redis saved, the home archived, the archive read back, and only then given its name."""

from __future__ import annotations

import fcntl
import os
import shutil
import socket
import tempfile
from collections.abc import Iterator
from contextlib import contextmanager
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Literal

from hhtui import __version__
from hhtui.engine.backup import encryption
from hhtui.engine.backup.format import FORMAT, FORMAT_VERSION, Header, Manifest, timestamp
from hhtui.engine.backup.opening import open_home
from hhtui.engine.backup.reading import check_archive
from hhtui.engine.backup.records import read_records
from hhtui.engine.backup.redis_dump import save_configured, save_private
from hhtui.engine.backup.retention import expired, half_written
from hhtui.engine.backup.sources import (
    Sources,
    app_entries,
    config_sources,
    data_sources,
    registry_sources,
)
from hhtui.engine.backup.state import change_state, now_text
from hhtui.engine.backup.writing import write_archive
from hhtui.engine.tasks import Progress
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from hhtui.model.backup import BackupRequest
from hhtui.model.config import Config
from hhtui.paths import Home
from hhtui.storage import read_json_object, sync_folder


def back_up(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Make one archive and tell of it; HomeHelperError, and no archive, if that fails."""
    home, config, notes = open_home(request["root"])
    order = BackupRequest.model_validate(request["order"])
    if not home.root.is_dir():
        raise InvalidInputError(f"{home.root}: there is no home here to back up")
    passphrase = order.passphrase.get_secret_value() if order.passphrase else None
    ending = encryption.ending_for(passphrase, order.recipient)
    with only_one(home):
        for left in half_written(home.backups_dir):
            shutil.rmtree(left) if left.is_dir() else left.unlink(missing_ok=True)
        final = _final_name(home, order.file, ending)
        part = final.with_name(f".homehelper-{final.name}.{os.getpid()}.part")
        try:
            manifest = _archive(home, config, notes, order, part, request.get("redis", ""), progress)
            checked = check_archive(part, final.parent, lambda s, d, t: progress("reading back", d, t), keep_free=0)
            if ending:
                progress("encrypting", 0, 0)
                _encrypt(part, passphrase, order.recipient)
            os.rename(part, final)
            sync_folder(final.parent)
        finally:
            part.unlink(missing_ok=True)
        removed = []
        if order.file is None:
            for old in expired(home, order.keep or config.backup.keep):
                old.unlink(missing_ok=True)
                removed.append(old.name)
            change_state(home, last_at=now_text(), last_error=None)
    return {
        "path": str(final),
        "bytes": final.stat().st_size,
        "unpacked_bytes": checked.bytes,
        "files": len(manifest.files),
        "apps": [entry.app_id for entry in manifest.apps if entry.included],
        "contents": manifest.header.contents,
        "redis": manifest.redis,
        "notes": manifest.notes,
        "removed": removed,
    }


@contextmanager
def only_one(home: Home) -> Iterator[None]:
    """One backup at a time, whoever makes it; ConflictError if another is being made."""
    home.backups_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    descriptor = os.open(home.backups_dir / ".lock", os.O_RDWR | os.O_CREAT | os.O_CLOEXEC | os.O_NOFOLLOW, 0o640)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
        yield
    except BlockingIOError:
        raise ConflictError("another backup or restore of this home is under way; wait until it is done") from None
    finally:
        os.close(descriptor)


def _archive(
    home: Home, config: Config, notes: list[str], order: BackupRequest, part: Path, redis: str, progress: Progress
) -> Manifest:
    with_data = config.backup.include_data if order.data is None else order.data
    sources = Sources(notes=notes)
    progress("saving Redis", 0, 0)
    owner = _redis_sources(home, config, redis, sources)
    config_sources(home, sources)
    registry_sources(home, sources)
    records, ports, problems = read_records(home)
    sources.notes.extend(problems)
    apps = app_entries(home, config, records, ports, sources if with_data else None)
    if with_data:
        data_sources(home, sources)
    contents = sorted({path.partition("/")[0] for path in [*(s.path for s in sources.files), *sources.folders]})
    header = new_header("backup", contents)
    manifest = Manifest(header=header, apps=apps, redis=owner)
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


def _final_name(home: Home, file: str | None, ending: str) -> Path:
    folder = home.backups_dir
    if file is not None:
        wanted = Path(file)
        if not wanted.is_absolute():
            raise InvalidInputError(f"file: {file!r} must be an absolute path")
        if not wanted.is_dir():
            if not wanted.parent.is_dir():
                raise InvalidInputError(f"{wanted.parent}: there is no such folder")
            if ending and not wanted.name.endswith(ending):
                wanted = wanted.with_name(wanted.name + ending)
            return wanted
        folder = wanted
    stamp = timestamp()
    for number in range(100):
        tail = f"-{number}" if number else ""
        path = folder / f"homehelper-{stamp}{tail}.tar.gz{ending}"
        if not path.exists():
            return path
    raise HomeHelperError(f"{folder}: too many backups of this second")


def _encrypt(part: Path, passphrase: str | None, recipient: str | None) -> None:
    ending = encryption.ending_for(passphrase, recipient)
    sealed = part.with_name(part.name.removesuffix(".part") + f".sealed.part{ending}")
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
