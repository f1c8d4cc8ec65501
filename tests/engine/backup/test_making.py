"""A backup is whole, consistent, verified, or it is not there."""

from __future__ import annotations

import contextlib
import json
import os
import shutil
import signal
import sqlite3
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest

from hhtui.engine.backup.archive.reading import check_archive
from hhtui.engine.backup.catalog import list_backups, load_state, only_one
from hhtui.engine.backup.journal import AREA
from hhtui.engine.backup.making import prove
from hhtui.engine.backup.offline import restore
from hhtui.engine.export.bundle import bring_in, export
from hhtui.errors import ConflictError
from hhtui.paths import Home
from tests.engine.backup.archives import (
    Members,
    archive_of,
    make_full_home,
    members_of,
    quiet,
    rewritten,
    state_of,
    with_manifest,
)


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


NOT_UTF8 = os.fsdecode(b"caf\xe9")


def bytes_of(folder: Path) -> dict[bytes, bytes | None]:
    """Every name below the folder as its file system has it, with the content or the target."""
    found: dict[bytes, bytes | None] = {}
    for parent, folders, files in os.walk(os.fsencode(folder)):
        for name in (*folders, *files):
            path = os.path.join(parent, name)
            inside = os.path.relpath(path, os.fsencode(folder))
            if os.path.islink(path):
                found[inside] = os.readlink(path)
            elif os.path.isdir(path):
                found[inside] = None
            else:
                found[inside] = Path(os.fsdecode(path)).read_bytes()
    return found


def test_names_that_are_not_utf8_come_back_byte_for_byte(root: Path, tmp_path: Path) -> None:
    places = [root / "config", root / "data" / "lamp" / "uploads", root / "apps" / "lamp", root / "data" / NOT_UTF8]
    for place in places:
        folder = place / f"{NOT_UTF8} folder"
        folder.mkdir(parents=True)
        (folder / f"{NOT_UTF8}.txt").write_bytes(b"inside")
        (place / f"{NOT_UTF8}.txt").write_bytes(b"beside")
        (place / f"long {NOT_UTF8} {'x' * 200}").write_bytes(b"long")
    (root / "data" / "lamp" / "uploads" / "link").symlink_to(f"{NOT_UTF8}.txt")
    (root / "data" / "lamp" / "uploads" / f"{NOT_UTF8} link").symlink_to("nowhere")
    with (root / "data" / "lamp" / "uploads" / f"{NOT_UTF8} holes").open("wb") as file:
        file.truncate(1_000_000)
    no_app = root / "apps" / NOT_UTF8
    no_app.mkdir()
    (no_app / "homehelper.json").write_text('{"name": "C", "type": "service"}')
    before = {section: bytes_of(root / section) for section in ("config", "apps", "data")}
    before["data"].pop(b"lamp/database/lamp.db")
    archive = archive_of(root, file=str(tmp_path / "b.tar.gz"))
    assert prove({"root": str(root), "file": str(archive)}, quiet)["error"] is None
    restored(archive, root)
    restored(archive, tmp_path / "fresh")
    for place in (root, tmp_path / "fresh"):
        after = {section: bytes_of(place / section) for section in before}
        after["data"].pop(b"lamp/database/lamp.db")
        assert after == before


def test_an_export_takes_names_that_are_not_utf8_along(root: Path, tmp_path: Path) -> None:
    (root / "apps" / "lamp" / NOT_UTF8).write_bytes(b"x")
    (root / "apps" / NOT_UTF8).mkdir()
    (root / "apps" / NOT_UTF8 / "homehelper.json").write_text('{"name": "C", "type": "service"}')
    answer = export({"root": str(root), "file": str(tmp_path / "e.tar.gz")}, quiet)
    assert answer["apps"] == ["door", "lamp"]
    bring_in({"root": str(tmp_path / "other"), "file": answer["path"]}, quiet)
    assert (tmp_path / "other" / "apps" / "lamp" / NOT_UTF8).read_bytes() == b"x"


def allocated(path: Path) -> int:
    return path.stat().st_blocks * 512


def test_a_sparse_file_is_stored_and_comes_back_without_its_holes(root: Path, tmp_path: Path) -> None:
    uploads = root / "data" / "lamp" / "uploads"
    with (uploads / "image").open("wb") as file:
        for offset in (0, 7_000_000, 2**33):
            file.seek(offset)
            file.write(b"data")
        file.truncate(2**34)
    with (uploads / "hollow").open("wb") as file:
        file.truncate(2**40)
    begun = time.monotonic()
    archive = archive_of(root, file=str(tmp_path / "b.tar.gz"))
    plan = restored(archive, root)
    assert time.monotonic() - begun < 60, "1 TiB of zeros is never read"
    changes = plan["changes"]
    assert isinstance(changes, list)
    assert next(change["changed"] for change in changes if change["name"] == "data/lamp") == 1, "the database alone"
    assert plan["bytes"] == pytest.approx(100_000, abs=300_000)
    for name, size in (("image", 2**34), ("hollow", 2**40)):
        assert (uploads / name).stat().st_size == size
        assert allocated(uploads / name) < 100_000
    with (uploads / "image").open("rb") as file:
        for offset in (0, 7_000_000, 2**33):
            file.seek(offset)
            assert file.read(8) == b"data\0\0\0\0"


@pytest.mark.skipif(shutil.which("tar") is None, reason="no tar")
def test_tar_unpacks_it_all_sparse_files_and_strange_names_too(root: Path, tmp_path: Path) -> None:
    sparse = root / "data" / "lamp" / "uploads" / f"{NOT_UTF8} image"
    with sparse.open("wb") as file:
        file.seek(5_000_000)
        file.write(b"middle")
        file.truncate(9_000_000)
    archive = archive_of(root, file=str(tmp_path / "b.tar.gz"))
    subprocess.run(["tar", "xzf", str(archive), "-C", str(tmp_path)], check=True)
    unpacked = tmp_path / sparse.relative_to(root)
    assert unpacked.read_bytes() == sparse.read_bytes()
    assert allocated(unpacked) < 100_000


def test_a_file_with_two_names_is_stored_once_and_has_both_again(root: Path, tmp_path: Path) -> None:
    uploads = root / "data" / "lamp" / "uploads"
    (uploads / "one").write_bytes(os.urandom(500_000))
    os.link(uploads / "one", uploads / "two")
    os.link(uploads / "one", root / "data" / "door")  # a file where a folder is expected is no app's data
    (root / "apps" / "door" / "copy").hardlink_to(uploads / "one")
    archive = archive_of(root, file=str(tmp_path / "b.tar.gz"))
    assert archive.stat().st_size < 1_300_000
    restored(archive, tmp_path / "fresh")
    back = tmp_path / "fresh" / "data" / "lamp" / "uploads"
    assert (back / "one").samefile(back / "two")
    assert (back / "two").read_bytes() == (uploads / "one").read_bytes()
    assert (tmp_path / "fresh" / "apps" / "door" / "copy").read_bytes() == (uploads / "one").read_bytes()


def test_what_was_wished_of_apps_that_are_gone_comes_back(root: Path, tmp_path: Path) -> None:
    gone = Home.at(root).gone_dir
    gone.mkdir()
    (gone / "heater.json").write_text('{"app_id": "heater"}')
    (gone / "no id at all.json").write_text("{}")
    (Home.at(root).history_dir / "abcd-ef-gh.json").write_text("{}")
    archive = archive_of(root, file=str(tmp_path / "b.tar.gz"))
    fresh = Home.at(tmp_path / "fresh")
    restored(archive, fresh.root)
    assert (fresh.gone_dir / "heater.json").read_text() == '{"app_id": "heater"}'
    assert [path.name for path in fresh.gone_dir.iterdir()] == ["heater.json"]
    (gone / "heater.json").unlink()
    restored(archive, root)
    assert {path.name for path in gone.iterdir()} == {"heater.json", "no id at all.json"}


def test_a_restore_leaves_alone_what_a_backup_leaves_out(root: Path, tmp_path: Path) -> None:
    archive = archive_of(root, file=str(tmp_path / "b.tar.gz"))
    uploads = root / "data" / "lamp" / "uploads"
    os.mkfifo(uploads / "pipe")
    (uploads / "outside").symlink_to("/etc/passwd")
    (root / "config" / "config.broken-20260101T000000Z.json").write_text("{")
    (root / "registry" / "notes.txt").write_text("mine")
    venv = root / "apps" / "lamp" / ".venv"
    (venv / "bin").mkdir(parents=True)
    (venv / "pyvenv.cfg").write_text("home = /usr\n")
    (venv / "bin" / "tool").write_text("#!/bin/sh\n")
    (uploads / "later").write_text("made after the backup")
    restored(archive, root)
    assert stat.S_ISFIFO((uploads / "pipe").stat().st_mode)
    assert os.readlink(uploads / "outside") == "/etc/passwd"
    assert (root / "config" / "config.broken-20260101T000000Z.json").read_text() == "{"
    assert (root / "registry" / "notes.txt").read_text() == "mine"
    assert (venv / "bin" / "tool").read_text() == "#!/bin/sh\n"
    assert not (uploads / "later").exists(), "what a backup would have held is as it was"


def test_an_archive_of_the_first_format_is_restored_and_deletes_no_name_that_it_could_not_hold(
    root: Path, tmp_path: Path
) -> None:
    def first_format(members: Members) -> Members:
        return with_manifest(members, lambda document: document["header"].update(format_version=1))

    archive = rewritten(archive_of(root, file=str(tmp_path / "b.tar.gz")), first_format)
    odd = root / "data" / "lamp" / "uploads" / NOT_UTF8
    odd.write_bytes(b"kept")
    restored(archive, root)
    assert odd.read_bytes() == b"kept"


# Nobody may read it, not even root: sysfs(5).
UNREADABLE = Path("/sys/bus/platform/drivers_probe")


@pytest.mark.skipif(not UNREADABLE.exists(), reason=f"no {UNREADABLE}")
def test_a_backup_that_could_not_read_everything_says_so_and_fails(root: Path) -> None:
    (root / "config" / "secret").symlink_to(UNREADABLE)
    words = [sys.executable, "-m", "hhtui", "backup", "--json", "--home", str(root)]
    done = subprocess.run(words, capture_output=True, text=True, check=False)
    assert done.returncode == 1, done.stderr
    answer = json.loads(done.stdout)
    assert answer["unread"] == ["config/secret"]
    assert Path(answer["path"]).is_file(), "the rest is better than nothing"
    assert "1 file could not be read, the first is config/secret" in done.stderr


def test_a_configuration_behind_a_link_is_in_the_archive(root: Path, tmp_path: Path) -> None:
    (root / "config" / "config.json").rename(tmp_path / "dotfile.json")
    (root / "config" / "config.json").symlink_to(tmp_path / "dotfile.json")
    archive = archive_of(root, file=str(tmp_path / "b.tar.gz"))
    plan = restored(archive, tmp_path / "fresh")
    assert (tmp_path / "fresh/config/config.json").read_bytes() == (tmp_path / "dotfile.json").read_bytes()
    plan = restored(archive, root)
    warnings = plan["warnings"]
    assert isinstance(warnings, list)
    assert any("is a link" in line for line in warnings)


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


@pytest.mark.skipif(not shutil.which("gpg"), reason="GnuPG is not installed")
def test_secrets_are_in_encrypted_archives_alone_and_no_restore_takes_the_present_ones(
    root: Path, tmp_path: Path
) -> None:
    before = archive_of(root, file=str(tmp_path / "before.tar.gz"))
    path = Home.at(root).secrets_env
    path.write_text("TOKEN=of-the-archive\n")
    path.chmod(0o600)
    key, source = Home.at(root).ssh_dir / "id_ed25519", Home.at(root).app_source("lamp")
    login = Home.at(root).gateway_dir / "login.json"
    for file in (key, source, login):
        file.parent.mkdir()
        file.write_text("of the archive")
        file.chmod(0o600)
    plain = archive_of(root, file=str(tmp_path / "plain.tar.gz"))
    sealed = archive_of(root, file=str(tmp_path / "sealed.tar.gz"), passphrase="open")
    assert not any(word in member.name for word in ("secrets.env", "ssh", "login") for member, _ in members_of(plain))
    for file in (key, login):
        file.write_text("present")
    notes = check_archive(plain, root, quiet).manifest.notes
    assert any("config/secrets.env: left out" in note and "--encrypt" in note for note in notes)
    path.write_text("TOKEN=present\n")
    for archive in (before, plain):
        restored(archive, root)
        assert path.read_text() == "TOKEN=present\n" and path.stat().st_mode & 0o777 == 0o600
        assert login.read_text() == key.read_text() == "present" and key.stat().st_mode & 0o777 == 0o600
        restored(archive, tmp_path / f"fresh-{archive.name}")
        assert not Home.at(tmp_path / f"fresh-{archive.name}").secrets_env.exists()
    restored(sealed, root, passphrase="open")
    assert path.read_text() == "TOKEN=of-the-archive\n" and path.stat().st_mode & 0o777 == 0o600
    assert key.read_text() == source.read_text() == login.read_text() == "of the archive"
    assert key.stat().st_mode & 0o777 == source.stat().st_mode & 0o777 == 0o600
