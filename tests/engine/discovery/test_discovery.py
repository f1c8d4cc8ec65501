"""Folders come, change and go."""

from __future__ import annotations

import asyncio
import errno
import json
import os
import shutil
import socket
import subprocess
import sys
import tempfile
import time
from collections.abc import AsyncIterator
from pathlib import Path

import pytest

from hhtui.engine.discovery.discovery import Discovery, Remembered
from hhtui.engine.discovery.file_watch import FileWatch, Look
from hhtui.engine.discovery.found_app import FoundApp
from tests.engine.discovery.folders import write_app
from tests.engine.homes import until


class Watched:
    """A running discovery and what it told."""

    def __init__(self, root: Path) -> None:
        self.root = root
        self.told: list[dict[str, FoundApp]] = []
        self.discovery = Discovery([root], self.told.append)
        self.watch = FileWatch([self.discovery.look], poll_seconds=0.1)

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
    watched.discovery.make_folders()
    await watched.watch.start()
    yield watched
    await watched.watch.stop()


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
    watch = FileWatch([discovery.look])
    await watch.start()
    await watch.stop()
    assert [list(apps) for apps in told] == [["one", "two"]]
    # What a look without telling has found is not told again.
    assert list(Discovery([tmp_path / "a"], told.append).scan()) == ["one"]
    assert len(told) == 1


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
    assert (
        app.error
        == "homehelper.json: not valid JSON: it ends too early, at line 1, column 34: is a closing bracket missing?"
    )
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
            await asyncio.sleep(0.05)
    for number in range(5):
        (folder / f"module{number}.py").write_text("")
        await asyncio.sleep(0.4)
    assert "slow" not in watched.apps
    (folder / "app.py").write_text("")
    await until(lambda: "slow" in watched.apps)
    assert watched.history("slow") == ["valid"]


async def test_a_manifest_that_is_half_written_for_a_second_is_never_told_as_broken(watched: Watched) -> None:
    folder = write_app(watched.root, "clock", version="1")
    await until(lambda: "clock" in watched.apps)
    whole = (folder / "homehelper.json").read_text().replace('"1"', '"2"')
    (folder / "homehelper.json").write_text(whole[:20])
    await asyncio.sleep(1)
    (folder / "homehelper.json").write_text(whole)
    await until(lambda: watched.apps["clock"].raw["version"] == "2")
    assert watched.history("clock") == ["valid"]


async def test_a_new_app_is_told_when_its_folder_is_complete(watched: Watched) -> None:
    folder = write_app(watched.root, "arriving")
    written, longest = time.monotonic(), 0.0
    for number in range(20):
        (folder / f"module{number}.py").write_text("")
        await asyncio.sleep(0.04)
        longest, written = max(longest, time.monotonic() - written), time.monotonic()
    (folder / "requirements.txt").write_text("six")
    # On a machine that holds the writer up for longer than a folder is waited for, it may well be there.
    assert "arriving" not in watched.apps or longest > 0.1
    await until(lambda: "arriving" in watched.apps)


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
    write_app(watched.root, "three")
    await until(lambda: len(watched.apps) == 3)
    shutil.rmtree(watched.root / "one")
    os.rename(two, tmp_path / "elsewhere")
    await until(lambda: watched.apps["one"].away and watched.apps["two"].away)
    await until(lambda: list(watched.apps) == ["three"])
    # A folder that is no longer watched must not be mistaken for the app when it changes where it is now.
    (tmp_path / "elsewhere" / "homehelper.json").write_text("{")
    os.rename(tmp_path / "elsewhere", watched.root / "two")
    await until(lambda: list(watched.apps) == ["three", "two"])


@pytest.mark.parametrize("how", ["copied", "cloned", "moved in", "manifest made anew"])
async def test_an_app_whose_folder_is_replaced_is_never_gone(watched: Watched, tmp_path: Path, how: str) -> None:
    folder = write_app(watched.root, "clock", version="1")
    await until(lambda: "clock" in watched.apps)
    new = write_app(tmp_path / "new", "clock", version="2")
    if how == "manifest made anew":
        (folder / "homehelper.json").unlink()
    else:
        shutil.rmtree(folder)
    await until(lambda: watched.apps["clock"].away)
    await asyncio.sleep(1.5)
    if how == "copied":
        shutil.copytree(new, folder)
    elif how == "moved in":
        os.rename(new, folder)
    elif how == "cloned":
        # As git does it: its own folder first, then file by file, each under its name at once.
        (folder / ".git").mkdir(parents=True)
        for name in ("app.py", "homehelper.json"):
            await asyncio.sleep(0.3)
            (folder / name).write_bytes((new / name).read_bytes())
    else:
        (folder / "homehelper.json").write_bytes((new / "homehelper.json").read_bytes())
    await until(lambda: watched.apps["clock"].raw["version"] == "2" and not watched.apps["clock"].away)
    assert all("clock" in apps for apps in watched.told[1:])
    assert watched.history("clock") == ["valid"]


async def test_an_app_that_git_clones_file_by_file_is_told_once_and_whole(watched: Watched, tmp_path: Path) -> None:
    origin = write_app(tmp_path, "origin", {"requirements.txt": "six", "lib/deep.py": ""}, main="lib/deep.py")
    git = ["git", "-c", "user.name=a", "-c", "user.email=a@b", "-C", str(origin)]
    for words in (["init", "-q"], ["add", "-A"], ["commit", "-qm", "all"]):
        subprocess.run([*git, *words], check=True)
    await asyncio.to_thread(
        subprocess.run, ["git", "clone", "-q", str(origin), str(watched.root / "cloned")], check=True
    )
    await until(lambda: "cloned" in watched.apps)
    assert watched.history("cloned") == ["valid"]


async def test_200_folders_made_in_quick_succession_are_all_found(watched: Watched) -> None:
    for number in range(200):
        write_app(watched.root, f"app{number:03}")
        await asyncio.sleep(0.002)
    await until(lambda: len(watched.apps) == 200)
    write_app(watched.root, "app117", version="2")
    await until(lambda: watched.apps["app117"].raw.get("version") == "2")


async def test_a_removed_manifest_removes_the_app_and_a_renamed_folder_is_another(watched: Watched) -> None:
    write_app(watched.root, "one")
    write_app(watched.root, "two")
    await until(lambda: len(watched.apps) == 2)
    (watched.root / "one" / "homehelper.json").unlink()
    os.rename(watched.root / "two", watched.root / "three")
    await until(lambda: list(watched.apps) == ["three"])


async def test_the_apps_folder_may_go_and_come_back_and_no_app_is_taken_for_removed(watched: Watched) -> None:
    write_app(watched.root, "one")
    write_app(watched.root, "two")
    await until(lambda: len(watched.apps) == 2)
    os.rename(watched.root, watched.root.with_name("off"))
    await until(lambda: watched.discovery.away)
    assert watched.discovery.away == {
        watched.root: f"the apps folder {watched.root} is not there: is its disk mounted? "
        "2 apps are away and kept as before: one, two"
    }
    await asyncio.sleep(6)
    assert [app.away for app in watched.apps.values()] == [True, True]
    watched.root.mkdir()  # a mount point without its disk
    await until(lambda: "is another folder now, and empty" in watched.discovery.away[watched.root])
    watched.root.rmdir()
    os.rename(watched.root.with_name("off"), watched.root)
    write_app(watched.root, "two", version="2")
    await until(lambda: not watched.discovery.away)
    assert [app.away for app in watched.apps.values()] == [False, False]
    assert watched.apps["two"].raw["version"] == "2"


async def test_an_apps_folder_that_is_emptied_by_hand_is_not_away(watched: Watched) -> None:
    write_app(watched.root, "one")
    await until(lambda: "one" in watched.apps)
    shutil.rmtree(watched.root / "one")
    await until(lambda: watched.apps == {})
    assert watched.discovery.away == {}


@pytest.mark.parametrize("left", ["nothing", "an empty folder"])
def test_what_an_earlier_engine_knew_is_away_while_its_apps_folder_is(tmp_path: Path, left: str) -> None:
    root = tmp_path / "apps"
    folder = write_app(root, "one", version="7")
    first = Discovery([root], lambda _: None)
    first.scan()
    remembered = Remembered({"one": (folder, {"name": "one", "type": "service", "version": "7"})}, first.roots)
    os.rename(root, tmp_path / "disk")
    if left == "an empty folder":
        root.mkdir()
    later = Discovery([root], lambda _: None, remembered=remembered)
    later.make_folders()
    app = later.scan()["one"]
    assert app.away
    assert app.manifest is not None
    assert app.manifest.version == "7"
    assert list(later.away) == [root]
    # Removed while no engine ran, from an apps folder that is there: gone.
    shutil.rmtree(root, ignore_errors=True)
    os.rename(tmp_path / "disk", root)
    shutil.rmtree(folder)
    assert Discovery([root], lambda _: None, remembered=remembered).scan() == {}


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
    # The link is switched to another release.
    (watched.root / ".linked").symlink_to(write_app(tmp_path / "work", "release3", version="3"))
    os.rename(watched.root / ".linked", watched.root / "linked")
    await until(lambda: watched.apps["linked"].raw["version"] == "3")
    write_app(tmp_path / "work", "release3", version="4")
    await until(lambda: watched.apps["linked"].raw["version"] == "4")
    (watched.root / "linked").unlink()
    await until(lambda: watched.apps == {})
    assert watched.history("linked") == ["valid"]


async def test_a_linked_manifest_is_followed_to_wherever_it_leads(watched: Watched, tmp_path: Path) -> None:
    first, second = (write_app(tmp_path, name, version=name) / "homehelper.json" for name in ("1", "2"))
    folder = watched.root / "clock"
    folder.mkdir()
    (folder / "app.py").write_text("")
    (folder / "homehelper.json").symlink_to(first)
    await until(lambda: "clock" in watched.apps)
    write_app(tmp_path, "1", version="1.1")
    await until(lambda: watched.apps["clock"].raw["version"] == "1.1")
    (folder / ".new").symlink_to(second)
    os.rename(folder / ".new", folder / "homehelper.json")
    await until(lambda: watched.apps["clock"].raw["version"] == "2")
    write_app(tmp_path, "2", version="2.1")
    await until(lambda: watched.apps["clock"].raw["version"] == "2.1")


async def test_an_apps_folder_that_is_a_link_may_be_switched_to_another_release(tmp_path: Path) -> None:
    for release, names in (("1", ("a", "b")), ("2", ("b", "c"))):
        for name in names:
            write_app(tmp_path / release, name, version=release)
    (tmp_path / "apps").symlink_to(tmp_path / "1")
    watched = Watched(tmp_path / "apps")
    await watched.watch.start()
    try:
        assert list(watched.apps) == ["a", "b"]
        (tmp_path / "new").symlink_to(tmp_path / "2")
        os.rename(tmp_path / "new", tmp_path / "apps")
        await until(lambda: watched.apps["b"].raw["version"] == "2")
        await until(lambda: list(watched.apps) == ["b", "c"])
        write_app(tmp_path / "2", "d")
        await until(lambda: "d" in watched.apps)
    finally:
        await watched.watch.stop()


async def test_either_name_makes_a_manifest_and_homehelper_json_wins(watched: Watched) -> None:
    folder = write_app(watched.root, "lamp", version="1")
    os.rename(folder / "homehelper.json", folder / "latarnia.json")
    await until(lambda: "lamp" in watched.apps)
    (folder / "latarnia.json").write_text('{"name": "lamp", "type": "nothing"}')
    await until(lambda: watched.apps["lamp"].error)
    assert (watched.apps["lamp"].error or "").startswith("latarnia.json: type")
    write_app(watched.root, "lamp", version="2")
    await until(lambda: watched.apps["lamp"].raw.get("version") == "2")
    (folder / "homehelper.json").unlink()
    await until(lambda: watched.apps["lamp"].error)


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
    await until(lambda: not watched.discovery.problems and watched.apps["one"].raw.get("version") == "2")


LIMITED = """
import asyncio, sys
from pathlib import Path
from hhtui.engine.discovery.discovery import Discovery, Remembered
from hhtui.engine.discovery.file_watch import FileWatch, Look
from tests.engine.discovery.folders import write_app
from tests.engine.homes import until

async def main(root, limit):
    found = []
    discovery = Discovery([root], found.append)
    discovery.make_folders()
    watch = FileWatch([discovery.look], poll_seconds=0.1)
    write_app(root, "one")
    limit.write_text("0")
    await watch.start()
    print(*watch.problems)
    write_app(root, "two")
    await until(lambda: list(found[-1]) == ["one", "two"])
    write_app(root, "one", version="2")
    await until(lambda: found[-1]["one"].raw.get("version") == "2")
    limit.write_text("1000")
    await until(lambda: not watch.problems)
    await watch.stop()

asyncio.run(main(Path(sys.argv[1]), Path("/proc/sys/user", sys.argv[2])))
"""


@pytest.mark.parametrize("limit", ["watches", "instances"])
def test_at_a_limit_of_the_kernel_it_looks_now_and_then_and_says_how_to_raise_it(tmp_path: Path, limit: str) -> None:
    """In a user namespace, which has limits of its own."""
    own = ["unshare", "--user", "--map-root-user"]
    if subprocess.run([*own, "true"], capture_output=True, check=False).returncode:
        pytest.skip("this system grants no user namespaces")
    done = subprocess.run(
        [*own, sys.executable, "-c", LIMITED, str(tmp_path / "apps"), f"max_inotify_{limit}"],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
        cwd=Path(__file__).parents[3],
    )
    assert done.returncode == 0, done.stderr
    assert f"sudo sysctl fs.inotify.max_user_{limit}=" in done.stdout
    assert "looked at every 0.1 s" in done.stdout


async def test_an_app_that_writes_into_its_own_folder_causes_no_look(watched: Watched) -> None:
    folder = write_app(watched.root, "busy")
    await until(lambda: "busy" in watched.apps)
    looks = 0
    look = watched.discovery.look

    async def counted() -> Look:
        nonlocal looks
        looks += 1
        return await look()

    watch = FileWatch([counted])
    await watch.start()
    await asyncio.sleep(0.5)
    before = looks
    for number in range(200):
        (folder / f"data{number % 7}.db").write_text(str(number))
        (folder / "journal").write_text("")
        (folder / "journal").unlink()
        await asyncio.sleep(0.005)
    await asyncio.sleep(0.5)
    assert looks == before
    write_app(watched.root, "busy", version="2")
    await until(lambda: looks > before and watched.apps["busy"].raw.get("version") == "2")
    await watch.stop()


async def test_other_folders_can_be_watched_while_it_runs(watched: Watched, tmp_path: Path) -> None:
    write_app(watched.root, "one")
    write_app(tmp_path / "more", "two")
    await until(lambda: list(watched.apps) == ["one"])
    watched.discovery.set_folders([watched.root, tmp_path / "more"])
    watched.watch.look_soon()
    await until(lambda: list(watched.apps) == ["one", "two"])
    write_app(tmp_path / "more", "three")
    await until(lambda: len(watched.apps) == 3)
    watched.discovery.set_folders([tmp_path / "more"])
    watched.watch.look_soon()
    await until(lambda: list(watched.apps) == ["three", "two"])


async def test_other_folders_are_told_also_if_that_makes_no_difference(watched: Watched) -> None:
    write_app(watched.root, "one")
    await until(lambda: "one" in watched.apps)
    told = len(watched.told)
    watched.discovery.set_folders([watched.root])
    watched.watch.look_soon()
    await until(lambda: len(watched.told) == told + 1)
    assert list(watched.apps) == ["one"]


@pytest.mark.parametrize(("first", "second"), [("lamp", "Lamp"), ("my-app", "my app"), ("b/lamp", "a/lamp")])
async def test_whoever_has_an_id_keeps_it_and_a_newcomer_is_told_whose_it_is(
    tmp_path: Path, first: str, second: str
) -> None:
    roots = [tmp_path / "apps" / "a", tmp_path / "apps" / "b"]
    paths = [tmp_path / "apps" / (name if "/" in name else f"a/{name}") for name in (first, second)]
    app_id = first.rpartition("/")[2]
    told: list[dict[str, FoundApp]] = []
    write_app(paths[0].parent, paths[0].name)
    discovery = Discovery(roots, told.append)
    discovery.make_folders()
    watch = FileWatch([discovery.look])
    await watch.start()
    write_app(paths[1].parent, paths[1].name)
    await until(lambda: len(told[-1]) == 2)
    words = f'the id "{app_id}" is that of {paths[0]} already: rename one folder'
    assert (told[-1][app_id].path, told[-1][app_id].error) == (paths[0], None)
    assert (told[-1][f"{app_id}-2"].path, told[-1][f"{app_id}-2"].error) == (paths[1], words)
    await watch.stop()
    # Also for the next engine, to which both are as old.
    remembered = Remembered({found.app_id: (found.path, found.raw) for found in told[-1].values()}, discovery.roots)
    again = Discovery(roots, told.append, remembered=remembered).scan()
    assert again[app_id].path == paths[0]
    # Once the owner is gone, and told as gone, the newcomer has it.
    discovery = Discovery(roots, told.append, remembered=remembered)
    watch = FileWatch([discovery.look])
    await watch.start()
    shutil.rmtree(paths[0])
    await until(lambda: list(told[-1]) == [app_id] and told[-1][app_id].path == paths[1])
    assert list(told[-2]) == [f"{app_id}-2"]
    await watch.stop()


def test_of_two_newcomers_at_once_the_one_that_is_named_like_the_id_has_it(tmp_path: Path) -> None:
    write_app(tmp_path, "Lamp")
    write_app(tmp_path, "lamp")
    assert Discovery([tmp_path], lambda _: None).scan()["lamp"].path == tmp_path / "lamp"


def test_the_id_of_an_app_whose_disk_is_away_is_given_to_nobody(tmp_path: Path) -> None:
    write_app(tmp_path / "apps", "lamp")
    owner = tmp_path / "usb" / "lamp"
    remembered = Remembered({"lamp": (owner, {"name": "lamp", "type": "service"})}, {})
    found = Discovery([tmp_path / "apps", tmp_path / "usb"], lambda _: None, remembered=remembered).scan()
    assert (found["lamp"].path, found["lamp"].away) == (owner, True)
    assert f"is that of {owner} already" in (found["lamp-2"].error or "")


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
            await watched.watch.start()
            assert watched.apps["secret"].error == "homehelper.json: cannot be read: Permission denied"
            os.seteuid(0)
            (folder / "homehelper.json").chmod(0o644)
            os.seteuid(65534)
            await until(lambda: watched.apps["secret"].manifest)
            await watched.watch.stop()
        finally:
            os.seteuid(0)


async def test_a_manifest_that_is_removed_and_made_anew_again_and_again_is_noticed_each_time(watched: Watched) -> None:
    folder = write_app(watched.root, "clock", version="0")
    await until(lambda: "clock" in watched.apps)
    manifest = folder / "homehelper.json"
    for number in range(1, 5):
        # The new file may well have the old one's inode number.
        if number % 2:
            manifest.unlink()
        else:
            os.rename(manifest, folder / "homehelper.json~")
        manifest.write_text(json.dumps({"name": "clock", "type": "service", "version": str(number)}))
        (folder / "homehelper.json~").unlink(missing_ok=True)
        await until(lambda expected=str(number): watched.apps["clock"].raw["version"] == expected)
