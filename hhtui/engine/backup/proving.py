"""A test restore: the archive unpacked into a scratch folder and everything in it read as an engine would."""

from __future__ import annotations

import contextlib
import sqlite3
import tempfile
from pathlib import Path
from typing import Any

from hhtui.engine.backup.format import ArchiveError, Manifest
from hhtui.engine.backup.making import only_one
from hhtui.engine.backup.opening import open_home
from hhtui.engine.backup.reading import check_archive, unpack
from hhtui.engine.backup.redis_dump import RedisSaveError, count_keys
from hhtui.engine.backup.retention import list_backups
from hhtui.engine.backup.sources import SQLITE_MAGIC, find_apps
from hhtui.engine.backup.staging import opened
from hhtui.engine.backup.state import change_state, now_text
from hhtui.engine.registry import load_registry
from hhtui.engine.tasks import Progress
from hhtui.errors import HomeHelperError, NotFoundError
from hhtui.model.backup import RestoreRequest
from hhtui.model.config_file import load_config
from hhtui.paths import Home
from hhtui.text import sanitise


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
