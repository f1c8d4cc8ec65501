"""The trash keeps each removed app whole: whatever moment its process is killed at, an app is here or there."""

from __future__ import annotations

import json
import os
import shutil
import signal
import sys
from collections.abc import Callable
from datetime import timedelta
from functools import partial
from pathlib import Path

import pytest

from hhtui.engine.sources import trash
from hhtui.engine.sources.jobs import remove_tree
from hhtui.engine.sources.removal import take_app
from hhtui.errors import ConflictError, NotFoundError
from hhtui.model.app import AppRecord
from hhtui.model.event import utc_now
from hhtui.model.removal import RemoveRequest, TrashEntry
from hhtui.paths import Home

_STEPS = frozenset({"os.rename", "os.mkdir", "os.rmdir", "os.remove", "os.symlink", "os.chmod", "open"})


def silent(_step: str, _done: int, _total: int) -> None:
    pass


def make(root: Path, data_dir: Path | None = None) -> Home:
    """A home with one app that has everything an app can have, and its neighbour."""
    home = Home.at(root, data_dir=str(data_dir or "data"), environ={})
    for folder in (home.config_dir / "apps", home.sources_dir, home.gone_dir, home.revisions_dir / "lamp" / "1"):
        folder.mkdir(parents=True)
    for app_id in ("lamp", "lamp-2"):
        (home.default_apps_dir / app_id).mkdir(parents=True)
        (home.default_apps_dir / app_id / "homehelper.json").write_text(json.dumps({"name": app_id}))
        (home.app_data(app_id) / "database").mkdir(parents=True)
        (home.app_data(app_id) / "database" / "x.db").write_bytes(app_id.encode() * 1000)
        environment = home.venvs_dir / f".{app_id}.1234"
        (environment / "bin").mkdir(parents=True)
        (environment / "bin" / "python").symlink_to("/usr/bin/python3")
        home.app_venv(app_id).symlink_to(environment.name)
        home.app_logs(app_id).mkdir(parents=True)
        (home.app_logs(app_id) / "app.log").write_text("hello\n")
        home.app_settings(app_id).write_text('{"port": 8150}')
        home.app_source(app_id).write_text("{}")
    (home.app_data("lamp") / "link").symlink_to("database/x.db")
    (home.app_data("lamp") / "read-only").mkdir()
    (home.app_data("lamp") / "read-only" / "file").write_text("kept")
    (home.app_data("lamp") / "read-only").chmod(0o555)
    home.apps_json.write_text(json.dumps({"apps": {"lamp": {"app_id": "lamp"}, "lamp-2": {"app_id": "lamp-2"}}}))
    return home


def seen(home: Home) -> dict[str, object]:
    """Everything of the home but its trash and registry: contents, targets of links, modes of folders."""
    found: dict[str, object] = {}
    for top in (home.root, home.data_dir):
        for path in sorted(top.rglob("*")):
            if home.trash_dir in (path, *path.parents) or path.parent in (home.registry_dir, home.gone_dir):
                continue
            if path.is_symlink():
                found[str(path)] = os.readlink(path)
            else:
                found[str(path)] = path.read_bytes() if path.is_file() else oct(path.stat().st_mode)
    return {name: what for name, what in found.items() if name != str(home.trash_dir)}


def of_neighbour(things: dict[str, object]) -> dict[str, object]:
    return {name: what for name, what in things.items() if "lamp-2" in name}


def record_of(home: Home) -> AppRecord:
    now = utc_now()
    path = str(home.default_apps_dir / "lamp")
    return AppRecord(app_id="lamp", name="Lamp", path=path, discovered_at=now, last_updated=now, enabled=False)


def take(home: Home, **order: bool) -> TrashEntry:
    return take_app(home, record_of(home), RemoveRequest(**order), silent)


def killed_at(step: int, work: Callable[[], object]) -> bool:
    """Do ``work`` in a process that is killed right before its ``step``-th change of a file; whether it was."""
    child = os.fork()
    if child == 0:
        count = 0

        def watch(event: str, _: object) -> None:
            nonlocal count
            if event in _STEPS:
                count += 1
                if count > step:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(watch)
        try:
            work()
        except BaseException:
            os._exit(1)
        os._exit(0)
    status = os.waitpid(child, 0)[1]
    if os.WIFSIGNALED(status):
        return True
    assert os.waitstatus_to_exitcode(status) == 0
    return False


def registered(home: Home) -> set[str]:
    return set(json.loads(home.apps_json.read_text())["apps"])


@pytest.mark.parametrize("elsewhere", [False, True], ids=["one disk", "two disks"])
def test_a_removal_killed_at_any_moment_leaves_the_app_whole_here_or_in_the_trash(
    tmp_path: Path, other_disk: Path, elsewhere: bool
) -> None:
    step, outcomes = 0, set()
    killed = True
    while killed:
        home = make(other_disk / str(step), tmp_path / str(step) if elsewhere else None)
        before = seen(home)
        killed = killed_at(step, lambda home=home: take(home))
        assert trash.settle(home) == []
        trash.sweep(home, silent)
        assert of_neighbour(seen(home)) == of_neighbour(before)
        entries = trash.list_trash(home)
        if entries:
            assert not [name for name in seen(home).keys() - of_neighbour(before).keys() if "lamp" in name]
            assert registered(home) == {"lamp-2"}
            trash.bring_back(home, entries[0], silent)
            assert registered(home) == {"lamp-2"}
        assert seen(home) == before, step
        assert trash.list_trash(home) == [] and list(home.trash_dir.iterdir()) == []
        outcomes.add(bool(entries))
        step += 3 if elsewhere else 1
        remove_tree(home.root)
    assert outcomes == {True, False} and step > 20


@pytest.mark.parametrize("elsewhere", [False, True], ids=["one disk", "two disks"])
def test_a_return_killed_at_any_moment_leaves_the_app_whole_here_or_in_the_trash(
    tmp_path: Path, other_disk: Path, elsewhere: bool
) -> None:
    step, outcomes = 0, set()
    killed = True
    while killed:
        home = make(other_disk / str(step), tmp_path / str(step) if elsewhere else None)
        before = seen(home)
        entry = take(home)
        killed = killed_at(step, lambda home=home, entry=entry: trash.bring_back(home, entry, silent))
        assert trash.settle(home) == []
        trash.sweep(home, silent)
        if there := trash.list_trash(home):
            assert not [name for name in seen(home).keys() - of_neighbour(before).keys() if "lamp" in name]
            trash.bring_back(home, there[0], silent)
        assert seen(home) == before, step
        assert json.loads((home.gone_dir / "lamp.json").read_text())["enabled"] is False
        outcomes.add(bool(there))
        step += 3 if elsewhere else 1
        remove_tree(home.root)
    assert outcomes == {True, False} and step > 20


def test_a_deletion_killed_at_any_moment_leaves_the_app_whole_or_gone(tmp_path: Path, other_disk: Path) -> None:
    step, outcomes = 0, set()
    killed = True
    while killed:
        home = make(other_disk / str(step), tmp_path / str(step) if step % 4 else None)
        before = seen(home)

        def purge(home: Home = home) -> None:
            take(home, purge=True)
            trash.settle(home)
            trash.sweep(home, silent)

        killed = killed_at(step, purge)
        assert trash.settle(home) == []
        trash.sweep(home, silent)
        gone = not (home.default_apps_dir / "lamp").exists()
        after = seen(home)
        if gone:
            left = {name for name in after if "lamp" in name}
            assert left == of_neighbour(before).keys(), step
            assert registered(home) == {"lamp-2"}
        else:
            assert after == before, step
        assert list(home.trash_dir.iterdir()) == []
        outcomes.add(gone)
        step += 2
    assert outcomes == {True, False}


def test_kept_data_stays_where_it_is_and_meets_its_app_again(tmp_path: Path) -> None:
    home = make(tmp_path / "home")
    before = seen(home)
    entry = take(home, keep_data=True)
    assert (home.app_data("lamp") / "database" / "x.db").exists()
    trash.bring_back(home, entry, silent)
    assert seen(home) == before


def test_of_a_linked_app_only_the_link_goes_and_comes_back(tmp_path: Path) -> None:
    home = make(tmp_path / "home")
    elsewhere = tmp_path / "my projects" / "lamp"
    elsewhere.parent.mkdir()
    folder = home.default_apps_dir / "lamp"
    folder.rename(elsewhere)
    folder.symlink_to("../../my projects/lamp")
    before = seen(home)
    entry = take(home)
    assert not folder.is_symlink() and (elsewhere / "homehelper.json").exists()
    trash.bring_back(home, entry, silent)
    assert seen(home) == before
    take(home, purge=True)
    trash.sweep(home, silent)
    assert (elsewhere / "homehelper.json").exists()


@pytest.mark.parametrize("what", ["folder", "data", "settings"])
def test_nothing_comes_back_over_what_is_there_by_now(tmp_path: Path, what: str) -> None:
    home = make(tmp_path / "home")
    entry = take(home)
    path = {"folder": home.default_apps_dir / "lamp", "data": home.app_data("lamp")}.get(what)
    if path is None:
        home.app_settings("lamp").write_text("{}")
    else:
        path.mkdir()
    before = seen(home)
    with pytest.raises(ConflictError, match=r"lamp cannot come back: there is .*already; move or remove that first"):
        trash.bring_back(home, entry, silent)
    assert seen(home) == before
    assert [kept.name for kept in trash.list_trash(home)] == ["lamp-1"]


def test_a_part_that_cannot_be_moved_puts_all_back(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    home = make(tmp_path / "home")
    before = seen(home)
    rename = os.rename

    def refuse(source: Path, target: Path) -> None:
        if Path(source) == home.app_settings("lamp"):
            raise PermissionError(13, "Permission denied", str(source))
        rename(source, target)

    monkeypatch.setattr(os, "rename", refuse)
    with pytest.raises(Exception, match=r"lamp\.json: cannot be moved .*: Permission denied"):
        take(home)
    monkeypatch.undo()
    assert seen(home) == before and trash.list_trash(home) == []


def test_what_does_not_fit_the_trashs_disk_stays_where_it_is(
    tmp_path: Path, other_disk: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make(tmp_path / "home", other_disk / "data")
    before = seen(home)
    usage = shutil.disk_usage(tmp_path)
    monkeypatch.setattr(shutil, "disk_usage", lambda _: usage._replace(free=100))
    with pytest.raises(Exception, match=r"are to be copied there and 100 B are free; `--purge` deletes at once"):
        take(home)
    assert seen(home) == before


def test_an_entry_goes_when_its_time_has_come_twice_and_not_for_a_clock_that_jumped(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    home = make(tmp_path / "home")
    take(home)
    now = utc_now()

    def swept(days: float) -> list[str]:
        monkeypatch.setattr(trash, "utc_now", lambda: now + timedelta(days=days))
        return [entry.name for entry in trash.sweep(home, silent)]

    assert swept(29) == []
    assert swept(3650) == []  # a clock gone wrong at a start
    assert swept(2) == []
    assert swept(30.5) == []
    assert swept(30.6) == []
    assert trash.list_trash(home)
    assert swept(31.5) == ["lamp-1"]
    assert list(home.trash_dir.iterdir()) == []


def test_the_newest_of_an_app_comes_back_by_its_name_and_an_older_one_by_its_entrys(tmp_path: Path) -> None:
    home = make(tmp_path / "home")
    take(home)
    (home.default_apps_dir / "lamp").mkdir()
    (home.default_apps_dir / "lamp" / "homehelper.json").write_text("{}")
    take(home)
    assert [entry.name for entry in trash.list_trash(home)] == ["lamp-2", "lamp-1"]
    assert trash.find(home, "lamp").name == "lamp-2"
    assert trash.find(home, "lamp-1").name == "lamp-1"
    with pytest.raises(NotFoundError, match=r"'\.\./apps' is not in the trash; there is: lamp"):
        trash.find(home, "../apps")


def test_a_broken_entry_is_reported_and_left_alone(tmp_path: Path) -> None:
    home = make(tmp_path / "home")
    take(home)
    (home.trash_dir / "lamp-1" / "entry.json").write_text("{")
    (home.trash_dir / "radio-1").mkdir()
    assert trash.settle(home) == [
        f"{home.trash_dir}/lamp-1: its entry.json cannot be read; what was removed lies below it"
    ]
    trash.sweep(home, silent)
    assert (home.trash_dir / "lamp-1" / "files" / "lamp" / "homehelper.json").exists()
    assert not (home.trash_dir / "radio-1").exists()


@pytest.mark.parametrize("elsewhere", [False, True], ids=["one disk", "two disks"])
def test_what_is_put_in_the_place_of_an_app_whose_return_was_killed_is_left_and_the_app_is_kept(
    tmp_path: Path, other_disk: Path, elsewhere: bool
) -> None:
    step, killed, tried = 0, True, 0
    while killed:
        home = make(other_disk / str(step), tmp_path / f"data{step}" if elsewhere else None)
        record = record_of(home)
        if elsewhere:
            apps = tmp_path / f"apps{step}"
            shutil.move(home.default_apps_dir, apps)
            record.path = str(apps / "lamp")
        folder, data = Path(record.path), home.app_data("lamp")
        before = (seen(home), (folder / "homehelper.json").read_text())
        take_app(home, record, RemoveRequest(), silent)
        killed = killed_at(step, partial(trash.bring_back, home, trash.list_trash(home)[0], silent))
        by_hand = [path for path in (folder, data) if not path.exists()]
        for path in by_hand:
            path.mkdir()
            (path / "by-hand").write_text("mine")
        if folder in by_hand:
            tried += 1
            assert trash.settle(home) == []
            assert all([file.name for file in path.iterdir()] == ["by-hand"] for path in by_hand)
            for path in by_hand:
                remove_tree(path)
            trash.bring_back(home, trash.list_trash(home)[0], silent)
            trash.sweep(home, silent)
            assert (seen(home), (folder / "homehelper.json").read_text()) == before
            assert list(home.trash_dir.iterdir()) == []
        step += 11 if elsewhere else 2
        remove_tree(home.root)
    assert tried > 3


def test_of_an_app_whose_entry_is_broken_it_is_said_where_it_lies(tmp_path: Path) -> None:
    home = make(tmp_path / "home")
    take(home)
    for broken in ("{", "[]", '{"app_id": "lamp"}'):
        (home.trash_dir / "lamp-1" / "entry.json").write_text(broken)
        with pytest.raises(NotFoundError, match=r"lamp-1/entry\.json cannot come back, as that file cannot be read"):
            trash.find(home, "lamp")
