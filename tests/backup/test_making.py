"""A backup is whole, consistent, verified, or it is not there."""

from __future__ import annotations

import contextlib
import os
import signal
import sqlite3
import stat
import time
from pathlib import Path

import pytest

from hhtui.engine.backup.journal import AREA
from hhtui.engine.backup.making import only_one
from hhtui.engine.backup.offline import restore
from hhtui.engine.backup.proving import prove
from hhtui.engine.backup.reading import check_archive
from hhtui.engine.backup.retention import list_backups
from hhtui.engine.backup.state import load_state
from hhtui.errors import ConflictError
from hhtui.paths import Home
from tests.backup.archives import archive_of, make_full_home, members_of, quiet, state_of


@pytest.fixture
def root(tmp_path: Path) -> Path:
    return make_full_home(tmp_path / "home")


def restored(archive: Path, root: Path, **order: object) -> dict[str, object]:
    return restore({"root": str(root), "order": {"file": str(archive), **order}}, quiet)


def test_a_fresh_home_restored_from_a_backup_equals_the_old_one(root: Path, tmp_path: Path) -> None:
    before = state_of(root)
    archive = archive_of(root, file=str(tmp_path / "b.tar.gz"))
    fresh = tmp_path / "fresh"
    restored(archive, fresh)
    after = state_of(fresh)
    for state in (before, after):  # rested, so that nothing of the old machine's processes is believed
        state.pop("registry/apps.json")
    database = "data/lamp/database/lamp.db"
    assert after.pop(database)[0] == before.pop(database)[0]
    assert after == before
    with contextlib.closing(sqlite3.connect(fresh / database)) as copy:
        assert copy.execute("select count(*) from switched").fetchone() == (1000,)
    assert not (fresh / AREA).exists()


def test_only_what_the_owner_may_see_is_in_an_archive_that_only_the_owner_may_read(root: Path) -> None:
    archive = archive_of(root)
    assert stat.S_IMODE(archive.stat().st_mode) == 0o600


def test_a_database_in_use_is_copied_as_of_its_last_commit(root: Path, tmp_path: Path) -> None:
    path = root / "data" / "lamp" / "database" / "busy.db"
    with contextlib.closing(sqlite3.connect(path, isolation_level=None)) as writer:
        writer.execute("pragma journal_mode = wal")
        writer.execute("pragma wal_autocheckpoint = 0")
        writer.execute("create table t (n integer)")
        writer.execute("insert into t values (1)")
        writer.execute("begin")
        writer.execute("insert into t values (2)")
        archive = archive_of(root)
        writer.execute("rollback")
    names = {member.name for member, _ in members_of(archive)}
    assert not any(name.endswith(("-wal", "-shm")) for name in names)
    restored(archive, tmp_path / "fresh")
    with contextlib.closing(sqlite3.connect(tmp_path / "fresh" / path.relative_to(root))) as copy:
        assert copy.execute("select n from t").fetchall() == [(1,)]


def test_what_cannot_be_kept_is_left_out_and_named(root: Path) -> None:
    uploads = root / "data" / "lamp" / "uploads"
    os.mkfifo(uploads / "pipe")
    (uploads / "outside").symlink_to("/etc/passwd")
    (uploads / "sideways").symlink_to("../../door/x")
    venv = root / "apps" / "lamp" / "venv"
    venv.mkdir()
    (venv / "pyvenv.cfg").write_text("home = /usr\n")
    archive = archive_of(root)
    notes = check_archive(archive, root, quiet).manifest.notes
    for name in ("uploads/pipe", "uploads/outside", "uploads/sideways", "lamp/venv"):
        assert any(name in note and "left out" in note for note in notes), name


def test_the_newest_stay_and_older_ones_go(root: Path) -> None:
    home = Home.at(root, environ={})
    for day in range(10, 20):
        home.backups_dir.mkdir(exist_ok=True)
        (home.backups_dir / f"homehelper-202601{day}T000000Z.tar.gz").write_bytes(b"")
    (home.backups_dir / "mine.tar.gz").write_bytes(b"")
    archive = archive_of(root, keep=3)
    assert [info.name for info in list_backups(home)] == [
        archive.name, "homehelper-20260119T000000Z.tar.gz", "homehelper-20260118T000000Z.tar.gz",
    ]  # fmt: skip
    assert (home.backups_dir / "mine.tar.gz").exists()


def test_a_second_backup_at_the_same_time_is_refused(root: Path) -> None:
    with only_one(Home.at(root, environ={})), pytest.raises(ConflictError, match="another backup"):
        archive_of(root)


def test_a_backup_killed_at_any_moment_leaves_no_archive_that_looks_whole(root: Path) -> None:
    home = Home.at(root, environ={})
    (root / "data" / "lamp" / "uploads" / "large").write_bytes(os.urandom(3_000_000))
    for delay in (0.01, 0.03, 0.06, 0.1, 0.15):
        child = os.fork()
        if child == 0:
            with contextlib.suppress(BaseException):
                archive_of(root)
            os._exit(0)
        time.sleep(delay)
        os.kill(child, signal.SIGKILL)
        os.waitpid(child, 0)
        for info in list_backups(home):
            check_archive(Path(info.path), root, quiet)
    archive = archive_of(root)
    assert [path for path in home.backups_dir.iterdir() if ".part" in path.name] == []
    check_archive(archive, root, quiet)


def test_a_test_restore_is_remembered_and_a_damaged_archive_is_told(root: Path) -> None:
    archive = archive_of(root)
    proof = prove({"root": str(root)}, quiet)
    assert (proof["ok"], proof["apps"], proof["databases"]) == (True, 2, 1)
    home = Home.at(root, environ={})
    assert load_state(home).proven == proof
    data = bytearray(archive.read_bytes())
    data[len(data) // 2] ^= 0xFF
    archive.write_bytes(data)
    proof = prove({"root": str(root)}, quiet)
    assert proof["ok"] is False
    assert "damaged" in proof["error"] or "checksum" in proof["error"]
    assert [path.name for path in home.backups_dir.iterdir() if path.is_dir()] == []
