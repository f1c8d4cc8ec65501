"""SIGKILL in the middle of a restore, before every single change to the disk: the old state or the new, never a mix."""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import sys
from pathlib import Path
from typing import Any

from hhtui.engine.backup.journal import AREA, Journal, journal_path, recover
from hhtui.engine.backup.offline import restore
from hhtui.engine.backup.staging import stage
from hhtui.model.backup import RestoreRequest
from hhtui.paths import Home
from tests.engine.backup.archives import archive_of, make_full_home, quiet, state_of

_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
_CHANGES = frozenset({"os.rename", "os.mkdir", "os.remove", "os.rmdir", "os.symlink", "os.chmod", "os.utime"})


def killed_before_change(number: int, work: Any) -> bool:
    """Run ``work`` in a process that is killed right before its ``number``-th change to the disk; False if it ended."""
    child = os.fork()
    if child == 0:
        seen = 0

        def hook(event: str, arguments: tuple[Any, ...]) -> None:
            nonlocal seen
            if event in _CHANGES or (event == "open" and isinstance(arguments[2], int) and arguments[2] & _WRITING):
                seen += 1
                if seen == number:
                    os.kill(os.getpid(), signal.SIGKILL)

        sys.addaudithook(hook)
        with contextlib.suppress(BaseException):
            work()
        os._exit(0)
    _, status = os.waitpid(child, 0)
    return os.WIFSIGNALED(status)


def settled(root: Path) -> dict[str, Any]:
    """The home as the next start leaves it."""
    home = Home.at(root, environ={})
    if (journal := recover(home)) is not None:
        journal.finish(home)
    assert not journal_path(home).exists()
    assert not (root / AREA).exists()
    return state_of(root)


def test_killed_before_any_change_a_restore_leaves_the_old_or_the_new(tmp_path: Path) -> None:
    root = make_full_home(tmp_path / "home")
    archive = archive_of(root, file=str(tmp_path / "b.tar.gz"))
    (root / "config" / "config.json").write_text('{"logging": {"level": "ERROR"}, "system": {"main_port": 0}}')
    (root / "data" / "lamp" / "uploads" / "newer").write_text("newer")
    (root / "registry" / "ports.json").unlink()
    shutil.rmtree(root / "apps" / "door")
    shutil.rmtree(root / "data" / "lamp" / "cache")
    old = state_of(root)
    order = {"root": str(root), "order": {"file": str(archive)}}
    pristine = tmp_path / "pristine"
    root.rename(pristine)

    def run(number: int) -> tuple[bool, dict[str, Any]]:
        shutil.rmtree(root, ignore_errors=True)
        shutil.copytree(pristine, root, symlinks=True)
        return killed_before_change(number, lambda: restore(order, quiet)), settled(root)

    finished, new = run(10**9)
    assert not finished
    assert new != old
    ends = {"old": 0, "new": 0}
    number, stride = 1, 5
    while True:
        died, state = run(number)
        if not died:
            break
        assert state in (old, new), f"a mix after a kill before change {number}"
        ends["old" if state == old else "new"] += 1
        if state == new and stride > 1:  # from where the journal is written every single change counts
            number, stride = number - 2 * stride, 1
        number += stride
    assert number > 60
    assert ends["old"] > 5
    assert ends["new"] > 10


def test_killed_while_it_is_completed_or_taken_back_it_is_still_the_old_or_the_new(tmp_path: Path) -> None:
    root = make_full_home(tmp_path / "home")
    archive = archive_of(root, file=str(tmp_path / "b.tar.gz"))
    (root / "data" / "lamp" / "uploads" / "newer").write_text("newer")
    shutil.rmtree(root / "apps" / "door")
    old = state_of(root)
    home = Home.at(root, environ={})
    stage(str(root), RestoreRequest(file=str(archive)), quiet).journal.write(home)
    begun = tmp_path / "begun"
    shutil.copytree(root, begun, symlinks=True)

    def back() -> None:
        journal = Journal.read(home)
        assert journal is not None
        journal.forward(home)
        journal.back(home, "as the test wants")

    for work, wanted in ((lambda: settled(root), "new"), (back, "old")):
        number = 1
        while True:
            shutil.rmtree(root)
            shutil.copytree(begun, root, symlinks=True)
            died = killed_before_change(number, work)
            journal = Journal.read(home)
            state = settled(root)
            if wanted == "new" or (journal is not None and journal.phase != "back"):
                assert state["apps/door"] is None
                assert "data/lamp/uploads/newer" not in state
            else:
                assert state == old
            if not died:
                break
            number += 1
        assert number > 5


def test_an_engine_that_does_not_survive_the_restored_state_gets_the_old_one_back(tmp_path: Path) -> None:
    root = make_full_home(tmp_path / "home")
    archive = archive_of(root, file=str(tmp_path / "b.tar.gz"))
    (root / "data" / "lamp" / "uploads" / "newer").write_text("newer")
    old = state_of(root)
    home = Home.at(root, environ={})
    journal = stage(str(root), RestoreRequest(file=str(archive)), quiet).journal
    journal.write(home)
    journal.forward(home)
    assert state_of(root) != old
    starts = 0
    while recover(home) is not None:
        starts += 1
    assert starts == 3
    assert state_of(root) == old
