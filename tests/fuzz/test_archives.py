"""Whatever is in an archive: refused in one line with nothing changed, or all of it goes where it belongs."""

from __future__ import annotations

import gzip
import io
import json
import os
import shutil
import tarfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hhtui.engine.backup.offline import check, restore
from hhtui.engine.export.bundle import bring_in
from hhtui.errors import HomeHelperError
from tests.engine.backup.archives import archive_of, make_full_home, quiet
from tests.fuzz.hostile import examples, mutated

NAMES = st.one_of(
    st.sampled_from(
        [
            *(
                "../evil",
                "/tmp/evil",
                "data/../../evil",
                "apps/lamp/../../../evil",
                "config/x",
                "data/lamp",
                "",
                ".",
                "/",
            ),
            *("manifest.json", "backup.json", "apps/.restore/new/x", "data//x", "./data/x", "a" * 300, "data/\udcff"),
            *("registry/apps.json", "redis/dump.rdb", "data/lamp/uploads/x/y/z", "apps/ü"),
        ]
    ),
    st.text(min_size=1, max_size=20),
)
KINDS = [tarfile.REGTYPE, tarfile.DIRTYPE, tarfile.SYMTYPE, tarfile.LNKTYPE, tarfile.CHRTYPE, tarfile.BLKTYPE]
KINDS += [tarfile.FIFOTYPE, tarfile.CONTTYPE, tarfile.GNUTYPE_SPARSE, tarfile.GNUTYPE_LONGNAME, tarfile.XHDTYPE, b"9"]


@pytest.fixture(scope="module")
def made(tmp_path_factory: pytest.TempPathFactory) -> tuple[Path, Path, bytes]:
    folder = tmp_path_factory.mktemp("fuzzed-archives")
    root = make_full_home(folder / "home")
    # Small, so that most changes meet something that matters.
    (root / "data" / "lamp" / "uploads" / "bild äöü 日本.bin").write_bytes(b"0" * 3000)
    (root / "data" / "lamp" / "database" / "lamp.db").unlink()
    archive = archive_of(root, file=str(folder / "good.tar.gz"))
    return folder, root, gzip.decompress(archive.read_bytes())


@st.composite
def changed_members(draw: Callable[..., Any], plain: bytes) -> bytes:
    """A well-formed tar whose members were renamed, retyped, resized, doubled, reordered or given other contents."""
    members: list[list[Any]] = []
    with tarfile.open(fileobj=io.BytesIO(plain)) as tar:
        for member in tar:
            file = tar.extractfile(member)
            members.append([member, file.read() if file else b""])
    for _ in range(draw(st.integers(1, 3))):
        position = draw(st.integers(0, len(members) - 1))
        member, data = members[position]
        kind = draw(st.sampled_from(["name", "type", "data", "double", "swap", "manifest", "mode", "link", "remove"]))
        if kind == "name":
            member.name = draw(NAMES)
            member.pax_headers = {}
        elif kind == "type":
            member.type, member.linkname = draw(st.sampled_from(KINDS)), draw(NAMES)
        elif kind == "data":
            members[position][1] = draw(st.binary(max_size=40)) + data[draw(st.integers(0, 50)) :]
        elif kind == "double":
            members.insert(position, [member, data])
        elif kind == "swap":
            members.append(members.pop(position))
        elif kind == "mode":
            member.mode, member.uid, member.mtime = draw(st.integers(0, 0o7777)), 0, draw(st.integers(0, 2**33))
        elif kind == "link":
            new = tarfile.TarInfo(draw(NAMES))
            new.type, new.linkname = draw(st.sampled_from([tarfile.SYMTYPE, tarfile.LNKTYPE])), draw(NAMES)
            members.insert(position, [new, b""])
        elif kind == "remove" and len(members) > 1:
            members.pop(position)
        else:
            for entry in members:
                if entry[0].name in ("manifest.json", "backup.json"):
                    document = draw(mutated(json.loads(entry[1]))) if entry[1][:1] == b"{" else {}
                    entry[1] = json.dumps(document).encode("utf-8", "surrogatepass")
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w", format=tarfile.PAX_FORMAT, errors="surrogateescape") as tar:
        for member, data in members:
            if member.isreg():
                member.size = len(data)
            try:
                tar.addfile(member, io.BytesIO(data))
            except (ValueError, OSError):
                continue  # no tar can be written with that
    return packed.getvalue()


@st.composite
def damaged_bytes(draw: Callable[..., Any], plain: bytes) -> bytes:
    """The tar's own bytes changed, cut or with something in between."""
    data = bytearray(plain)
    for _ in range(draw(st.integers(1, 4))):
        position = draw(st.integers(0, max(len(data) - 1, 0)))
        kind = draw(st.sampled_from(["byte", "byte", "cut", "insert", "zeros"]))
        if kind == "cut":
            del data[position:]
        elif kind == "insert":
            data[position:position] = draw(st.binary(max_size=600))
        elif kind == "zeros":
            data[position : position + 512] = bytes(512)
        elif data:
            data[position] = draw(st.integers(0, 255))
    return bytes(data)


def listing(folder: Path) -> dict[str, Any]:
    found = {}
    for parent, folders, files in os.walk(folder):
        for name in (*folders, *files):
            path = Path(parent, name)
            status = path.lstat()
            found[str(path)] = (status.st_mode, status.st_size, status.st_mtime_ns if path.is_file() else 0)
    return found


@given(draw=st.data())
@examples(150)
def test_an_archive_is_refused_or_restored_and_nothing_leaves_the_home(
    made: tuple[Path, Path, bytes], draw: st.DataObject
) -> None:
    folder, root, plain = made
    tar = draw.draw(st.one_of(changed_members(plain), damaged_bytes(plain)))
    packed = gzip.compress(tar, 1)
    if draw.draw(st.booleans()):
        position = draw.draw(st.integers(0, len(packed) - 1))
        packed = packed[:position] if draw.draw(st.booleans()) else packed
    archive = folder / "fuzzed.tar.gz"
    archive.write_bytes(packed)
    fresh = folder / "fresh"
    shutil.rmtree(fresh, ignore_errors=True)
    before = listing(folder)
    try:
        check({"root": str(root), "order": {"file": str(archive)}}, quiet)
        passed = True
    except HomeHelperError as error:
        assert "\n" not in error.message, error.message
        passed = False
    now = listing(folder)
    assert {name: now.get(name) for name in before} == before
    assert not [name for name in now.keys() - before.keys() if "/backups" not in name]
    try:
        restore({"root": str(fresh), "order": {"file": str(archive)}}, quiet)
        assert passed, "what the check refused was restored"
    except HomeHelperError as error:
        assert "\n" not in error.message
        left = [path for section in ("config", "registry", "apps", "data") for path in (fresh / section).rglob("*")]
        assert not [path for path in left if path.is_file()], left
    try:
        bring_in({"root": str(fresh), "file": str(archive), "dry_run": False, "replace": True}, quiet)
    except HomeHelperError as error:
        assert "\n" not in error.message
    now = {name: status for name, status in listing(folder).items() if not name.startswith(f"{fresh}/")}
    assert {name: now.get(name) for name in before} == before
    assert not [name for name in now.keys() - before.keys() if "/backups" not in name and name != str(fresh)]
    assert not Path("/tmp/evil").exists()
    inside = [
        path for path in fresh.rglob("*") if path.is_symlink() and not path.resolve().is_relative_to(fresh.resolve())
    ]
    assert inside == []
