"""Archives: what is in them comes out whole, what is hostile is refused in one line with nothing written outside."""

from __future__ import annotations

import bz2
import gzip
import io
import os
import random
import stat
import tarfile
import zipfile
from collections.abc import Callable
from pathlib import Path

import pytest

from hhtui.engine.sources.unpack import ArchiveRefusedError, author_files, digest_of, unpack
from tests.engine.sources.repositories import app_files, tar_of, zip_of


def quiet(*_: object) -> None:
    pass


def header(
    name: str, kind: bytes = tarfile.REGTYPE, link: str = "", size: int = 0, mode: int = 0o644
) -> tarfile.TarInfo:
    member = tarfile.TarInfo(name)
    member.type, member.linkname, member.size, member.mode = kind, link, size, mode
    return member


def unpacked(archive: Path) -> Path:
    into = archive.parent / "into"
    into.mkdir()
    unpack(archive, into, quiet)
    return into


@pytest.mark.parametrize("mode", ["w", "w:gz", "w:bz2", "w:xz", "zip"])
def test_every_kind_of_archive_comes_out_whole(tmp_path: Path, mode: str) -> None:
    files = {f"lamp/{name}": text for name, text in app_files().items()}
    if mode == "zip":
        archive = zip_of(tmp_path / "a", files, {"lamp/alias": "run.sh"})
    else:
        more = [(header("./lamp/", tarfile.DIRTYPE), b""), (header("lamp/alias", tarfile.SYMTYPE, "run.sh"), b"")]
        archive = tar_of(tmp_path / "a", files, mode, more)
    folder = unpacked(archive) / "lamp"
    assert {path.name for path in folder.iterdir()} == {*app_files(), "alias"}
    assert (folder / "run.sh").read_text() == app_files()["run.sh"]
    assert os.readlink(folder / "alias") == "run.sh"
    assert digest_of(author_files(folder, quiet)) == digest_of(author_files(folder, quiet))


def test_rights_come_down_to_being_executable_and_a_second_name_becomes_a_copy(tmp_path: Path) -> None:
    more = [
        (header("tool", size=2, mode=0o6755), b"ok"),
        (header("open", size=2, mode=0o666), b"ok"),
        (header("twin", tarfile.LNKTYPE, "tool"), b""),
    ]
    folder = unpacked(tar_of(tmp_path / "a", {}, "w", more))
    modes = {path.name: stat.S_IMODE(path.stat().st_mode) for path in folder.iterdir()}
    assert modes == {"tool": 0o755, "open": 0o644, "twin": 0o755}
    assert (folder / "twin").stat().st_nlink == 1


def test_what_is_a_repositorys_own_stays_out(tmp_path: Path) -> None:
    files = {**app_files(), ".git/hooks/post-checkout": "x", ".git/config": "x", "part/.GIT/hooks/x": "x"}
    folder = unpacked(tar_of(tmp_path / "a", files))
    assert sorted(author_files(folder, quiet)) == sorted(app_files())


HOSTILE: dict[str, list[tuple[tarfile.TarInfo, bytes]]] = {
    "absolute": [(header("/tmp/evil", size=1), b"x")],
    "upward": [(header("../evil", size=1), b"x")],
    "upward in the middle": [(header("a/../../evil", size=1), b"x")],
    "link out": [(header("link", tarfile.SYMTYPE, "../outside"), b"")],
    "absolute link": [(header("link", tarfile.SYMTYPE, "/etc"), b"")],
    "through a link": [(header("link", tarfile.SYMTYPE, "."), b""), (header("link/evil", size=1), b"x")],
    "replaces a link": [(header("link", tarfile.SYMTYPE, "."), b""), (header("link", size=1), b"x")],
    "links that add up": [
        (header("a/b/c/", tarfile.DIRTYPE), b""),
        (header("up", tarfile.SYMTYPE, "a/b/c"), b""),
        (header("a/b/c/top", tarfile.SYMTYPE, "../../.."), b""),
        (header("out", tarfile.SYMTYPE, "a/b/c/top/../outside"), b""),
    ],
    "hard link out": [(header("twin", tarfile.LNKTYPE, "../outside/file"), b"")],
    "hard link to a link": [(header("l", tarfile.SYMTYPE, "x"), b""), (header("twin", tarfile.LNKTYPE, "l"), b"")],
    "device": [(header("null", tarfile.CHRTYPE), b"")],
    "pipe": [(header("pipe", tarfile.FIFOTYPE), b"")],
    "twice": [(header("file", size=1), b"x"), (header("./file", size=1), b"y")],
    "a file that is a folder": [(header("file", size=1), b"x"), (header("file/more", size=1), b"y")],
    "an escape sequence": [(header("a\x1b[2Jb", size=1), b"x")],
    "a long name": [(header("n" * 300, size=1), b"x")],
    "a deep name": [(header("d/" * 60 + "x", size=1), b"x")],
    "an empty name": [(header("./", size=1), b"x")],
}


@pytest.mark.parametrize("name", HOSTILE)
def test_a_hostile_tar_archive_is_refused_and_nothing_is_written_outside(tmp_path: Path, name: str) -> None:
    (tmp_path / "outside").mkdir()
    (tmp_path / "outside" / "file").write_text("mine")
    archive = tar_of(tmp_path / "a", {}, "w:gz", HOSTILE[name])
    with pytest.raises(ArchiveRefusedError) as refused:
        unpacked(archive)
    assert "\n" not in refused.value.message and "\x1b" not in refused.value.message
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a", "into", "outside"]
    assert (tmp_path / "outside" / "file").read_text() == "mine"
    assert not Path("/tmp/evil").exists()


def hostile_zip(tmp_path: Path, name: str, mode: int = 0o100644, content: bytes = b"x") -> Path:
    with zipfile.ZipFile(tmp_path / "a", "w") as packed:
        info = zipfile.ZipInfo("file")
        info.filename, info.create_system, info.external_attr = name, 3, mode << 16
        packed.writestr(info, content)
    return tmp_path / "a"


@pytest.mark.parametrize(
    ("name", "mode", "content"),
    [
        ("/etc/evil", 0o100644, b"x"),
        ("../evil", 0o100644, b"x"),
        ("link", 0o120777, b"/etc/passwd"),
        ("link", 0o120777, b"../outside"),
        ("link", 0o120777, b"x" * 5000),
        ("link", 0o120777, b"a\0b"),
        ("device", 0o020666, b""),
        ("pipe", 0o010666, b""),
    ],
)
def test_a_hostile_zip_archive_is_refused(tmp_path: Path, name: str, mode: int, content: bytes) -> None:
    with pytest.raises(ArchiveRefusedError):
        unpacked(hostile_zip(tmp_path, name, mode, content))
    assert not any((tmp_path / "into").iterdir())


def zeros(compress: Callable[..., object], file: Path, size: int) -> Path:
    """A tar archive with one file of so many zeros, compressed as it is written."""
    with compress(file, "wb") as sink:  # type: ignore[attr-defined]
        sink.write(header("zeros", size=size).tobuf())
        for _ in range(size // 2**20):
            sink.write(bytes(2**20))
        sink.write(bytes(1024))
    return file


def test_an_archive_that_is_made_to_fill_disks_is_refused_before_it_does(tmp_path: Path) -> None:
    # What its header says is enough; the 10 GB need not be there.
    with gzip.open(tmp_path / "a", "wb") as sink:
        sink.write(header("zeros", size=10 * 2**30).tobuf(tarfile.GNU_FORMAT))
        sink.write(bytes(2**20))
    with pytest.raises(ArchiveRefusedError, match="unpacks to more than"):
        unpacked(tmp_path / "a")
    assert sum(path.stat().st_size for path in (tmp_path / "into").iterdir()) == 0


@pytest.mark.parametrize("compress", [gzip.open, bz2.open])
def test_what_unpacks_to_hundreds_of_times_its_size_is_refused(tmp_path: Path, compress: Callable[..., object]) -> None:
    with pytest.raises(ArchiveRefusedError, match="more than 200 times"):
        unpacked(zeros(compress, tmp_path / "a", 96 * 2**20))


def test_a_header_that_asks_for_all_memory_is_refused(tmp_path: Path) -> None:
    # An extended header's content is read at once (pax(1), "pax Header Block").
    with gzip.open(tmp_path / "a", "wb", compresslevel=1) as sink:
        member = header("x", tarfile.XHDTYPE, size=3 * 2**30)
        sink.write(member.tobuf(tarfile.GNU_FORMAT))
        for _ in range(70):
            sink.write(bytes(2**20))
    with pytest.raises(ArchiveRefusedError):
        unpacked(tmp_path / "a")


def test_more_files_than_an_app_has_are_refused(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr("hhtui.engine.sources.unpack.MAX_ENTRIES", 1000)
    with tarfile.open(tmp_path / "a", "w") as tar:
        for number in range(1001):
            tar.addfile(header(f"{number % 7}/", tarfile.DIRTYPE))
    with pytest.raises(ArchiveRefusedError, match="holds more than 1000 files"):
        unpacked(tmp_path / "a")


def test_a_damaged_or_cut_archive_is_refused(tmp_path: Path) -> None:
    noise = random.Random(1).randbytes(40_000)
    whole = tar_of(tmp_path / "whole", {}, "w", [(header("one", size=40_000), noise), (header("two", size=3), b"two")])
    data = whole.read_bytes()
    damaged = bytearray(data)
    damaged[512 + 40_448 + 5] ^= 0xFF  # in the second header
    packed = gzip.compress(data)
    for number, broken in enumerate(
        (data[:20_000], data[: 512 + 40_448], bytes(damaged), packed[:-30], packed[:-8] + b"\0" * 8, b"", b"no archive")
    ):
        folder = tmp_path / str(number)
        folder.mkdir()
        (folder / "a").write_bytes(broken)
        with pytest.raises(ArchiveRefusedError):
            unpacked(folder / "a")


def chain_of_holes() -> bytes:
    """An old GNU sparse file (tar.h, "oldgnu_header") whose list of holes goes on to the archive's end."""
    head = bytearray(header("holes", tarfile.GNUTYPE_SPARSE).tobuf(tarfile.GNU_FORMAT))
    head[482] = 1  # isextended
    head[148:156] = b" " * 8
    head[148:156] = b"%06o\0 " % sum(head)
    return bytes(head) + (b"\0" * 504 + b"\1" + b"\0" * 7) * 3


def broken_bz2() -> bytes:
    data = bytearray(bz2.compress(random.Random(1).randbytes(5000)))
    data[200:210] = b"\xff" * 10
    return bytes(data)


def zip_that_begins_before_its_file() -> bytes:
    with zipfile.ZipFile(made := io.BytesIO(), "w") as packed:
        packed.writestr("file", "x")
    data = bytearray(made.getvalue())
    data[data.index(b"PK\x05\x06") + 16 : data.index(b"PK\x05\x06") + 20] = b"\xff\xff\0\0"
    return bytes(data)


@pytest.mark.parametrize("make", [chain_of_holes, broken_bz2, zip_that_begins_before_its_file])
def test_an_archive_that_the_library_itself_stumbles_over_is_refused(tmp_path: Path, make: Callable[[], bytes]) -> None:
    (tmp_path / "a").write_bytes(make())
    with pytest.raises(ArchiveRefusedError):
        unpacked(tmp_path / "a")


def test_an_encrypted_zip_is_refused(tmp_path: Path) -> None:
    data = bytearray(zip_of(tmp_path / "a", {"file": "x"}).read_bytes())
    for signature, offset in ((b"PK\x03\x04", 6), (b"PK\x01\x02", 8)):
        data[data.index(signature) + offset] |= 1
    (tmp_path / "a").write_bytes(bytes(data))
    with pytest.raises(ArchiveRefusedError, match="is encrypted"):
        unpacked(tmp_path / "a")


def test_a_folder_as_it_is_sent_comes_out_the_same(tmp_path: Path) -> None:
    from hhtui.client.sending import chunks_of

    folder = tmp_path / "lamp"
    for path in ("homehelper.json", "deep/er/file", ".git/config", "__pycache__/x.pyc", "env/pyvenv.cfg", ".env"):
        (folder / path).parent.mkdir(parents=True, exist_ok=True)
        (folder / path).write_text(path * 1000)
    os.mkfifo(folder / "pipe")
    (folder / "link").symlink_to("deep")
    seen: list[tuple[int, int]] = []
    sent = io.BytesIO(b"".join(chunks_of(folder, lambda done, total: seen.append((done, total)))))
    (tmp_path / "a").write_bytes(sent.getvalue())
    assert sorted(author_files(unpacked(tmp_path / "a"), quiet)) == [".env", "deep/er/file", "homehelper.json", "link"]
    assert seen[-1][0] == seen[-1][1] > 0
