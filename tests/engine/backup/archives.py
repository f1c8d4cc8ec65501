"""Homes worth a backup, archives of them, and archives that somebody has tampered with."""

from __future__ import annotations

import gzip
import hashlib
import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

from hhtui.engine.backup.making import back_up
from tests.engine.homes import make_app, make_home

Members = list[tuple[tarfile.TarInfo, bytes]]


def quiet(_step: str, _done: int, _total: int) -> None:
    """Progress that nobody looks at."""


def make_full_home(root: Path, **config: Any) -> Path:
    """Two apps with code, data, a database in use, links and modes; a registry, ports and a history."""
    make_home(root, **config)
    lamp = make_app(root, "lamp", autostart=True)
    (lamp / "tool.sh").write_text("#!/bin/sh\n")
    (lamp / "tool.sh").chmod(0o755)
    (lamp / "current").symlink_to("tool.sh")
    make_app(root, "door")
    (root / "config" / ".env").write_text("HOMEHELPER_LOGGING__LEVEL=DEBUG\n")
    (root / "config" / ".env").chmod(0o600)
    data = root / "data" / "lamp"
    for name in ("config", "database", "uploads", "cache"):
        (data / name).mkdir(parents=True)
    (data / "uploads" / "bild äöü 日本.bin").write_bytes(os.urandom(100_000))
    with sqlite3.connect(data / "database" / "lamp.db") as database:
        database.execute("create table switched (at text)")
        database.executemany("insert into switched values (?)", [(str(n),) for n in range(1000)])
    database.close()
    registry = root / "registry"
    (registry / "history").mkdir(parents=True)
    now = "2026-11-01T00:00:00Z"
    apps = {
        app_id: {
            "app_id": app_id,
            "name": app_id,
            "path": str(root / "apps" / app_id),
            "status": status,
            "enabled": enabled,
            "runtime_info": {"wanted": status == "running", "process_id": 1},
            "discovered_at": now,
            "last_updated": now,
        }
        for app_id, status, enabled in (("lamp", "running", None), ("door", "stopped", True))
    }
    document = {"schema_version": 1, "saved_at": now, "epoch": 5, "apps": apps}
    (registry / "apps.json").write_text(json.dumps(document))
    (registry / "history" / "2026-11-01.json").write_text(json.dumps(document))
    ports = {"schema_version": 1, "assigned": {"lamp": 28101, "door": 28102}, "released": {}}
    (registry / "ports.json").write_text(json.dumps(ports))
    return root


def archive_of(root: Path, **order: Any) -> Path:
    """A backup of the home with everything in it."""
    answer = back_up({"root": str(root), "order": {"data": True, **order}}, quiet)
    return Path(answer["path"])


def state_of(root: Path) -> dict[str, Any]:
    """What a restore may change: every path of these folders with its mode and content."""
    found: dict[str, Any] = {}
    for section in ("config", "registry", "redis", "apps", "data"):
        for parent, folders, files in os.walk(root / section):
            for name in (*folders, *files):
                path = Path(parent, name)
                inside = str(path.relative_to(root))
                if path.is_symlink():
                    found[inside] = os.readlink(path)
                elif path.is_dir():
                    found[inside] = None
                else:
                    found[inside] = (path.stat().st_mode & 0o777, path.read_bytes())
    return found


def members_of(archive: Path) -> Members:
    """Everything in the archive."""
    with tarfile.open(archive) as tar:
        found = []
        for member in tar:
            file = tar.extractfile(member)
            found.append((member, file.read() if file else b""))
        return found


def rewritten(archive: Path, change: Callable[[Members], Members], name: str = "changed.tar.gz") -> Path:
    """A well-formed archive of changed members."""
    target = archive.with_name(name)
    with gzip.open(target, "wb") as packed, tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT) as tar:
        for member, data in change(members_of(archive)):
            if member.isreg():
                member.size = len(data)
            tar.addfile(member, io.BytesIO(data))
    return target


def with_manifest(members: Members, change: Callable[[dict[str, Any]], None]) -> Members:
    """The members with their manifest changed, and its header's copy in step."""
    document = json.loads(members[-1][1])
    change(document)
    header = json.dumps(document["header"]).encode()
    return [(members[0][0], header), *members[1:-1], (members[-1][0], json.dumps(document).encode())]


def with_file(members: Members, name: str, data: bytes) -> Members:
    """A file put in, or put in the place of the one of that name, as one who knows the format would."""
    member = tarfile.TarInfo(name)
    kept = [(info, content) for info, content in members if info.name != name]

    def listed(document: dict[str, Any]) -> None:
        digest = hashlib.sha256(data).hexdigest()
        document["files"][name] = {"size": len(data), "sha256": digest, "mode": 0o640, "mtime": 0}

    return with_manifest([*kept[:-1], (member, data), kept[-1]], listed)
