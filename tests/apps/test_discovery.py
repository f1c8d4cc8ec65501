"""Folders come, change and go."""

from __future__ import annotations

import asyncio
import errno
import os
import shutil
import socket
import tempfile
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hhtui.engine.apps.discovery import Discovery
from hhtui.engine.apps.found_app import FoundApp
from hhtui.engine.apps.inotify import Inotify
from tests.apps.folders import until, write_app


class Watched:
    """A running discovery and what it told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[dict[str, FoundApp]] = []
        self.discovery = Discovery([root], self.told.append, poll_seconds=0.1)

    @property
    def apps(self) -> dict[str, FoundApp]:
        return self.told[-1]

    def history(self, app_id: str) -> list[str | None]:
        """Each different thing that was told of the app: its error, or "valid"."""
        seen: list[str | None] = []
        for apps in self.told:
            if app_id in apps:
                words = apps[app_id].error or "valid"
                if not seen or seen[-1] != words:
                    seen.append(words)
        return seen


@pytest.fixture
async def watched(tmp_path: Path) -> AsyncIterator[Watched]:
    watched = Watched(tmp_path / "apps")
    await watched.discovery.start()
    yield watched
    await watched.discovery.stop()


async def test_a_dropped_folder_is_known_with_all_that_its_manifest_says(watched: Watched) -> None:
    assert watched.apps == {}
    write_app(watched.root, "clock", description="tells the time")
    await until(lambda: "clock" in watched.apps)
    app = watched.apps["clock"]
    assert app.manifest is not None
    assert (app.name, app.manifest.description, app.error) == ("clock", "tells the time", None)


async def test_100_folders_at_once_are_told_in_few_steps(watched: Watched) -> None:
    for number in range(100):
        write_app(watched.root, f"app{number:03}")
    await until(lambda: len(watched.apps) == 100)
    assert len(watched.told) <= 6


async def test_apps_that_are_there_at_the_start_are_told_by_the_start(tmp_path: Path) -> None:
    write_app(tmp_path / "a", "one")
    write_app(tmp_path / "b", "two")
    told: list[dict[str, FoundApp]] = []
    discovery = Discovery([tmp_path / "a", tmp_path / "b"], told.append)
    assert list(discovery.scan()) == ["one", "two"]
    assert told == []
    await discovery.start()
    await discovery.stop()
    assert [list(apps) for apps in told] == [["one", "two"]]


async def test_an_editor_that_renames_over_the_manifest_is_noticed(watched: Watched) -> None:
    folder = write_app(watched.root, "clock", version="1")
    await until(lambda: "clock" in watched.apps)
    (folder / ".homehelper.json.swp").write_text('{"name": "clock", "type": "service", "version": "2"}')
    os.rename(folder / ".homehelper.json.swp", folder / "homehelper.json")
    await until(lambda: watched.apps["clock"].raw["version"] == "2")


async def test_changes_of_the_same_length_in_quick_succession_are_never_missed(watched: Watched) -> None:
    folder = write_app(watched.root, "clock", version="00")
    await until(lambda: "clock" in watched.apps)
    for number in range(1, 20):
        write_app(watched.root, "clock", version=f"{number:02}")
        await asyncio.sleep(0.013)
    await until(lambda: watched.apps["clock"].raw["version"] == "19")
    assert folder.exists()


async def test_a_broken_manifest_is_told_once_it_stays_broken_and_touches_no_other_app(watched: Watched) -> None:
    write_app(watched.root, "well")
    folder = write_app(watched.root, "ill")
    await until(lambda: len(watched.apps) == 2)
    (folder / "homehelper.json").write_text('{"name": "ill", "type": "service"')
    await until(lambda: watched.apps["ill"].error)
    app = watched.apps["ill"]
    assert app.error == "homehelper.json: not valid JSON: Expecting ',' delimiter (line 1, column 34)"
    assert (app.name, app.manifest) == ("ill", None)
    assert watched.history("well") == ["valid"]
    write_app(watched.root, "ill")
    await until(lambda: watched.apps["ill"].manifest)


async def test_a_folder_that_is_copied_slowly_is_never_told_as_broken(watched: Watched) -> None:
    folder = watched.root / "slow"
    folder.mkdir()
    text = '{"name": "slow", "type": "service", "main": "app.py"}'
    with (folder / "homehelper.json").open("w") as file:
        for at in range(0, len(text), 6):
            file.write(text[at : at + 6])
            file.flush()
            await asyncio.sleep(0.02)
    for number in range(5):
        (folder / f"module{number}.py").write_text("")
        await asyncio.sleep(0.15)
    assert "slow" not in watched.apps
    (folder / "app.py").write_text("")
    await until(lambda: "slow" in watched.apps)
    assert watched.history("slow") == ["valid"]


async def test_a_new_app_is_told_when_its_folder_is_complete(watched: Watched) -> None:
    folder = write_app(watched.root, "arriving")
    for number in range(10):
        (folder / f"module{number}.py").write_text("")
        await asyncio.sleep(0.04)
    (folder / "requirements.txt").write_text("six")
    assert "arriving" not in watched.apps
    await until(lambda: "arriving" in watched.apps, 1)


async def test_a_main_file_further_down_that_comes_late_makes_the_app_valid(watched: Watched) -> None:
    folder = write_app(watched.root, "deep", main="src/inner/run.py")
    await until(lambda: "deep" in watched.apps)
    assert watched.apps["deep"].error == "homehelper.json: main: the app's folder has no file 'src/inner/run.py'"
    (folder / "src" / "inner").mkdir(parents=True)
    await asyncio.sleep(0.3)
    (folder / "src" / "inner" / "run.py").write_text("")
    await until(lambda: watched.apps["deep"].manifest)
    (folder / "src" / "inner" / "run.py").unlink()
    await until(lambda: watched.apps["deep"].error)


async def test_removing_and_moving_away_are_noticed_and_moving_back_too(watched: Watched, tmp_path: Path) -> None:
    write_app(watched.root, "one")
    two = write_app(watched.root, "two")
    await until(lambda: len(watched.apps) == 2)
    shutil.rmtree(watched.root / "one")
    await until(lambda: list(watched.apps) == ["two"])
    os.rename(two, tmp_path / "elsewhere")
    await until(lambda: watched.apps == {})
    # A folder that is no longer watched must not be mistaken for the app when it changes where it is now.
    (tmp_path / "elsewhere" / "homehelper.json").write_text("{")
    os.rename(tmp_path / "elsewhere", watched.root / "two")
    await until(lambda: list(watched.apps) == ["two"])


async def test_a_removed_manifest_removes_the_app_and_a_renamed_folder_is_another(watched: Watched) -> None:
    write_app(watched.root, "one")
    write_app(watched.root, "two")
    await until(lambda: len(watched.apps) == 2)
    (watched.root / "one" / "homehelper.json").unlink()
    os.rename(watched.root / "two", watched.root / "three")
    await until(lambda: list(watched.apps) == ["three"])


async def test_the_apps_folder_may_go_and_come_back(watched: Watched) -> None:
    write_app(watched.root, "one")
    await until(lambda: "one" in watched.apps)
    shutil.rmtree(watched.root)
    await until(lambda: watched.apps == {})
    assert watched.discovery.problems == [f"the apps folder {watched.root} does not exist"]
    write_app(watched.root, "two")
    await until(lambda: list(watched.apps) == ["two"])
    assert watched.discovery.problems == []


async def test_hidden_folders_files_and_folders_without_a_manifest_are_no_apps(watched: Watched) -> None:
    write_app(watched.root, ".hidden")
    (watched.root / "file").write_text("")
    (watched.root / "empty").mkdir()
    write_app(watched.root, "real")
    await until(lambda: watched.apps)
    assert list(watched.apps) == ["real"]


async def test_a_linked_folder_is_an_app_and_its_changes_are_noticed(watched: Watched, tmp_path: Path) -> None:
    folder = write_app(tmp_path / "work", "project", version="1")
    (watched.root / "linked").symlink_to(folder)
    await until(lambda: "linked" in watched.apps)
    write_app(tmp_path / "work", "project", version="2")
    await until(lambda: watched.apps["linked"].raw["version"] == "2")
    shutil.rmtree(folder)
    await until(lambda: watched.apps == {})


@pytest.mark.parametrize("kind", ["folder", "pipe", "device", "socket"])
async def test_a_manifest_that_is_no_file_is_an_error_and_blocks_nothing(
    watched: Watched, kind: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = watched.root / "odd"
    folder.mkdir()
    manifest = folder / "homehelper.json"
    words = {"folder": "a folder", "pipe": "a named pipe", "device": "a device", "socket": "a socket"}[kind]
    if kind == "folder":
        manifest.mkdir()
    elif kind == "pipe":
        os.mkfifo(manifest)
    elif kind == "device":
        manifest.symlink_to("/dev/zero")
    else:
        monkeypatch.chdir(folder)
        with socket.socket(socket.AF_UNIX) as listener:
            listener.bind("homehelper.json")
    write_app(watched.root, "fine")
    await until(lambda: len(watched.apps) == 2)
    assert watched.apps["odd"].error == f"homehelper.json: is {words}, not a file"
    assert watched.apps["fine"].error is None


async def test_an_apps_folder_that_cannot_be_read_for_a_while_loses_no_app(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_app(watched.root, "one")
    await until(lambda: "one" in watched.apps)
    real = os.scandir

    def failing(path: Path) -> object:
        if Path(path) == watched.root:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        return real(path)

    monkeypatch.setattr(os, "scandir", failing)
    write_app(watched.root, "one", version="2")
    await until(lambda: watched.discovery.problems)
    assert watched.discovery.problems == [f"the apps folder {watched.root} cannot be read: Input/output error"]
    assert list(watched.apps) == ["one"]
    monkeypatch.undo()
    await until(lambda: not watched.discovery.problems)


async def test_without_watches_from_the_kernel_it_looks_now_and_then_and_says_so(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Inotify, folder: Path, mask: int) -> int:
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC))

    monkeypatch.setattr(Inotify, "watch", full)
    watched = Watched(tmp_path / "apps")
    await watched.discovery.start()
    try:
        (problem,) = watched.discovery.problems
        assert "sudo sysctl fs.inotify.max_user_watches" in problem
        write_app(watched.root, "one")
        await until(lambda: "one" in watched.apps)
        write_app(watched.root, "one", version="2")
        await until(lambda: watched.apps["one"].raw.get("version") == "2")
        monkeypatch.undo()
        await until(lambda: not watched.discovery.problems)
    finally:
        await watched.discovery.stop()


async def test_without_inotify_at_all_it_looks_now_and_then(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    def none(self: Inotify, changed: object) -> None:
        raise OSError(errno.EMFILE, os.strerror(errno.EMFILE))

    monkeypatch.setattr(Inotify, "__init__", none)
    watched = Watched(tmp_path / "apps")
    await watched.discovery.start()
    try:
        assert "sudo sysctl fs.inotify.max_user_instances" in watched.discovery.problems[0]
        write_app(watched.root, "one")
        await until(lambda: "one" in watched.apps)
    finally:
        await watched.discovery.stop()


async def test_an_app_that_writes_into_its_own_folder_causes_no_look(
    watched: Watched, monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = write_app(watched.root, "busy")
    await until(lambda: "busy" in watched.apps)
    await asyncio.sleep(0.3)
    looks = 0
    real = watched.discovery._look

    def counted(*args: object) -> object:
        nonlocal looks
        looks += 1
        return real(*args)  # type: ignore[arg-type]

    monkeypatch.setattr(watched.discovery, "_look", counted)
    for number in range(200):
        (folder / f"data{number % 7}.db").write_text(str(number))
        (folder / "journal").write_text("")
        (folder / "journal").unlink()
        await asyncio.sleep(0.001)
    await asyncio.sleep(0.3)
    assert looks == 0
    write_app(watched.root, "busy", version="2")
    await until(lambda: looks > 0 and watched.apps["busy"].raw.get("version") == "2")


async def test_other_folders_can_be_watched_while_it_runs(watched: Watched, tmp_path: Path) -> None:
    write_app(watched.root, "one")
    write_app(tmp_path / "more", "two")
    await until(lambda: list(watched.apps) == ["one"])
    watched.discovery.set_folders([watched.root, tmp_path / "more"])
    await until(lambda: list(watched.apps) == ["one", "two"])
    write_app(tmp_path / "more", "three")
    await until(lambda: len(watched.apps) == 3)
    watched.discovery.set_folders([tmp_path / "more"])
    await until(lambda: list(watched.apps) == ["three", "two"])


async def test_a_rescan_tells_also_what_is_the_same(watched: Watched) -> None:
    write_app(watched.root, "one")
    await until(lambda: "one" in watched.apps)
    told = len(watched.told)
    watched.discovery.rescan()
    await until(lambda: len(watched.told) == told + 1)
    assert list(watched.apps) == ["one"]


async def test_a_folder_whose_name_is_not_utf_8_is_left_out_and_told(watched: Watched) -> None:
    os.mkdir(os.fsencode(watched.root) + b"/caf\xe9")
    write_app(watched.root, "one")
    await until(lambda: "one" in watched.apps)
    (problem,) = watched.discovery.problems
    assert problem.endswith("the folder's name is not UTF-8: rename it")
    assert list(watched.apps) == ["one"]


@pytest.mark.skipif(os.geteuid() != 0, reason="needs to give up root's right to read everything")
async def test_a_manifest_that_may_not_be_read_is_an_error_until_it_may() -> None:
    with tempfile.TemporaryDirectory() as root:
        os.chmod(root, 0o755)
        folder = write_app(Path(root) / "apps", "secret")
        (folder / "homehelper.json").chmod(0o600)
        os.seteuid(65534)
        try:
            watched = Watched(folder.parent)
            await watched.discovery.start()
            assert watched.apps["secret"].error == "homehelper.json: cannot be read: Permission denied"
            os.seteuid(0)
            (folder / "homehelper.json").chmod(0o644)
            os.seteuid(65534)
            await until(lambda: watched.apps["secret"].manifest)
            await watched.discovery.stop()
        finally:
            os.seteuid(0)
