"""An archive that is damaged, tampered with or hostile is refused, and nothing has changed."""

from __future__ import annotations

import io
import json
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.backup.archive.format import FORMAT_VERSION, gnu_headers
from hhtui.engine.backup.archive.reading import check_archive
from hhtui.engine.backup.journal import AREA
from hhtui.engine.backup.offline import check, restore
from hhtui.errors import HomeHelperError
from tests.engine.backup.archives import (
    Members,
    archive_of,
    make_full_home,
    members_of,
    quiet,
    rewritten,
    state_of,
    with_file,
    with_manifest,
)


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path]:
    folder = tmp_path_factory.mktemp("refusals")
    root = make_full_home(folder / "home")
    return root, archive_of(root, file=str(folder / "good.tar.gz"))


def refused(root: Path, archive: Path, *words: str) -> None:
    """Refused by the check and by the restore, in one line with these words, the home untouched."""
    before = state_of(root)
    for task in (check, restore):
        with pytest.raises(HomeHelperError) as told:
            task({"root": str(root), "order": {"file": str(archive)}}, quiet)
        message = told.value.message
        assert "\n" not in message
        for word in words:
            assert word in message, message
    assert state_of(root) == before
    assert not (root / AREA).exists()


def test_a_good_archive_is_not_refused(made: tuple[Path, Path]) -> None:
    root, archive = made
    plan = check({"root": str(root), "order": {"file": str(archive)}}, quiet)
    assert {change["name"]: change["action"] for change in plan["changes"]} == {
        "config": "same", "registry": "same", "apps/lamp": "same", "apps/door": "same", "data/lamp": "replace"
    }  # fmt: skip


def test_an_archive_cut_anywhere_is_refused(made: tuple[Path, Path]) -> None:
    root, archive = made
    data = archive.read_bytes()
    cut = archive.with_name("cut.tar.gz")
    for length in [0, 1, 9, 10, 11, *range(20, len(data), len(data) // 40), len(data) - 9, len(data) - 1]:
        cut.write_bytes(data[:length])
        with pytest.raises(HomeHelperError):
            check_archive(cut, root, quiet)
    refused(root, cut, "cut short")


def test_an_archive_with_any_byte_flipped_is_refused_or_the_same(made: tuple[Path, Path]) -> None:
    root, archive = made
    data = archive.read_bytes()
    good = check_archive(archive, root, quiet).manifest
    flipped = archive.with_name("flipped.tar.gz")
    for position in range(0, len(data), len(data) // 60):
        changed = bytearray(data)
        changed[position] ^= 0x55
        flipped.write_bytes(changed)
        try:
            found = check_archive(flipped, root, quiet).manifest
        except HomeHelperError:
            continue
        assert found == good, position  # gzip's own header has bytes that mean nothing


def link(kind: bytes) -> Callable[[Members], Members]:
    def change(members: Members) -> Members:
        member = tarfile.TarInfo("data/lamp/uploads/link")
        member.type, member.linkname = kind, "/etc/passwd"
        return [*members[:-1], (member, b""), members[-1]]

    return change


def two_names(name: str, first: str) -> Callable[[Members], Members]:
    return lambda members: with_manifest(members, lambda d: d["twins"].update({name: first}))


def unlisted_pieces(members: Members) -> Members:
    return with_manifest(members, lambda d: next(iter(d["files"].values())).update(data=[[0, 1]]))


def sparse_with(pieces: bytes, size: int) -> Callable[[Members], Members]:
    """A sparse file of GNU tar's whose list of pieces is what nobody would write."""

    def change(members: Members) -> Members:
        member = tarfile.TarInfo("GNUSparseFile.0/x")
        member.pax_headers = gnu_headers("data/lamp/uploads/sparse", size)
        return [*members[:-1], (member, pieces + bytes(-len(pieces) % 512)), members[-1]]

    return change


def left_out(*names: str) -> Callable[[Members], Members]:
    return lambda members: with_manifest(members, lambda d: d.update(left_out=list(names)))


def listed_link(target: str) -> Callable[[Members], Members]:
    return lambda members: with_manifest(members, lambda d: d["links"].update({"data/lamp/uploads/link": target}))


def file_at(name: str) -> Callable[[Members], Members]:
    return lambda members: with_file(members, name, b"evil")


def in_header(**changes: Any) -> Callable[[Members], Members]:
    return lambda members: with_manifest(members, lambda d: d["header"].update(changes))


def content_changed(members: Members) -> Members:
    return [(m, b"X" * len(data) if m.name.endswith(".bin") else data) for m, data in members]


def without_a_file(members: Members) -> Members:
    return [(m, data) for m, data in members if not m.name.endswith(".bin")]


def with_a_stranger(members: Members) -> Members:
    return [*members[:-1], (tarfile.TarInfo("data/lamp/uploads/new"), b"x"), members[-1]]


def twice(members: Members) -> Members:
    position = next(n for n, (m, _) in enumerate(members) if m.isreg() and n)
    return [*members[:position], members[position], *members[position:]]


def without_manifest(members: Members) -> Members:
    return members[:-1]


def below_a_link(members: Members) -> Members:
    changed = with_file(members, "data/lamp/uploads/folder/file", b"x")
    return with_manifest(changed, lambda d: d["links"].update({"data/lamp/uploads/folder": "../config"}))


def bomb(members: Members) -> Members:
    return [*members[:-1], (tarfile.TarInfo("data/lamp/uploads/zeros"), bytes(80_000_000)), members[-1]]


def long_name(members: Members) -> Members:
    member = tarfile.TarInfo("data/lamp/" + "x" * 5_000_000)
    return [*members[:-1], (member, b""), members[-1]]


def strange_config(members: Members) -> Members:
    return with_file(members, "config/config.json", json.dumps({"redis": {"port": "many"}}).encode())


def newer_config(members: Members) -> Members:
    return with_file(members, "config/config.json", json.dumps({"schema_version": 99}).encode())


def strange_registry(members: Members) -> Members:
    return with_file(members, "registry/apps.json", b'{"apps": {"lamp": 5}}')


REFUSALS: dict[str, tuple[Callable[[Members], Members], str]] = {
    "changed content": (content_changed, "checksum"),
    "missing file": (without_a_file, "is missing"),
    "file that is not listed": (with_a_stranger, "not in its list"),
    "file twice": (twice, "twice"),
    "no manifest": (without_manifest, "manifest.json is missing"),
    "no header": (lambda members: members[1:], "no HomeHelper archive"),
    "newer version": (in_header(format_version=FORMAT_VERSION + 1), "newer than this hhtui"),
    "another format": (in_header(format="tarball"), "no HomeHelper archive"),
    "climbing path": (file_at("data/../../evil"), "leads out"),
    "climbing app": (file_at("apps/../evil"), "leads out"),
    "absolute path": (file_at("/tmp/evil"), "leads out"),
    "dot path": (file_at("data/./evil/x"), "leads out"),
    "foreign section": (file_at("venvs/lamp/bin/python"), "no place in a home"),
    "foreign redis file": (file_at("redis/redis.conf"), "no place below redis"),
    "hidden app": (file_at("apps/.restore/x"), "no place below apps"),
    "symbolic link": (link(tarfile.SYMTYPE), "a symbolic link"),
    "hard link": (link(tarfile.LNKTYPE), "a hard link"),
    "device": (link(tarfile.CHRTYPE), "a device"),
    "block device": (link(tarfile.BLKTYPE), "a device"),
    "named pipe": (link(tarfile.FIFOTYPE), "a named pipe"),
    "listed link to elsewhere": (listed_link("/etc/passwd"), "leads out"),
    "listed link that climbs": (listed_link("../../../evil"), "leads out"),
    "listed link through another": (listed_link("x/../../y"), "leads out"),
    "file below a link": (below_a_link, "below a link"),
    "two names across apps": (two_names("data/door/x", "data/lamp/database/lamp.db"), "not in its folder"),
    "two names outside": (two_names("../evil", "data/lamp/database/lamp.db"), "leads out"),
    "second name of a secret": (two_names("data/lamp/x", "config/.env"), "not in its folder"),
    "second name of nothing": (two_names("data/lamp/x", "data/lamp/y"), "not in its folder"),
    "pieces that are not there": (unlisted_pieces, "checksum"),
    "pieces beyond the end": (sparse_with(b"1\n5\n10\n0123456789", 8), "do not fit"),
    "pieces that overlap": (sparse_with(b"2\n0\n4\n2\n4\n01234567", 100), "do not fit"),
    "pieces before the start": (sparse_with(b"1\n-5\n3\n012", 100), "do not fit"),
    "endless pieces": (sparse_with(b"9999999\n" + b"0\n" * 4_000_000, 100), "extended header"),
    "left out elsewhere": (left_out("data/lamp//etc/passwd"), "leads out"),
    "a name that no disk has": (left_out("data/lamp/\ud800"), "damaged"),
    "bomb": (bomb, "a bomb"),
    "more than the disk": (in_header(bytes=2**60), "are free"),
    "endless name": (long_name, "extended header"),
    "invalid configuration": (strange_config, "configuration in it is not valid"),
    "newer configuration": (newer_config, "newer"),
    "invalid registry": (strange_registry, "registry in it is not valid"),
    "broken Redis dump": (
        lambda m: with_manifest(with_file(m, "redis/dump.rdb", b"no dump"), lambda d: d.update(redis="private")),
        "Redis dump cannot be loaded",
    ),
}


@pytest.mark.parametrize("case", REFUSALS)
def test_it_is_refused_before_anything_changes(made: tuple[Path, Path], case: str) -> None:
    root, archive = made
    change, words = REFUSALS[case]
    refused(root, rewritten(archive, change, f"{case}.tar.gz".replace(" ", "-")), words)


def test_something_behind_the_end_is_refused(made: tuple[Path, Path]) -> None:
    root, archive = made
    longer = archive.with_name("longer.tar.gz")
    longer.write_bytes(archive.read_bytes() + archive.read_bytes())
    refused(root, longer, "follows its end")


def test_a_file_that_is_no_archive_is_refused(made: tuple[Path, Path], tmp_path: Path) -> None:
    root, _ = made
    text = tmp_path / "text.tar.gz"
    text.write_text("hello")
    refused(root, text, "damaged")
    refused(root, tmp_path / "nowhere.tar.gz", "no such file")
    refused(root, tmp_path, "no such file")
    plain = tmp_path / "plain.tar.gz"
    with tarfile.open(plain, "w:gz") as tar:
        tar.addfile(tarfile.TarInfo("x"), io.BytesIO())
    refused(root, plain, "no HomeHelper archive")


def test_an_export_is_not_restored(made: tuple[Path, Path]) -> None:
    root, archive = made
    exported = rewritten(archive, in_header(kind="export"), "export.tar.gz")
    refused(root, exported, "hhtui import")


def test_members_are_only_files_and_folders(made: tuple[Path, Path]) -> None:
    _, archive = made
    members = members_of(archive)
    assert all(member.isreg() or member.isdir() for member, _ in members)
    assert (members[0][0].name, members[-1][0].name) == ("backup.json", "manifest.json")
