"""With a delegated cgroup v2 not even a process that hides everything outlives its app's stop."""

from __future__ import annotations

import contextlib
import os
import subprocess
import sys
import time
import uuid
from collections.abc import Iterator
from pathlib import Path

import pytest

from hhtui.engine.doctor.service import check_limits
from hhtui.engine.process.cgroup import Cgroups
from tests.engine.engine_process import EngineProcess, end_home, eventually
from tests.engine.homes import alive, make_app, make_home


@pytest.fixture
def delegated() -> Iterator[Path]:
    """A cgroup that carries systemd's mark of delegation."""
    mount = next((line.split()[1] for line in Path("/proc/mounts").read_text().splitlines() if " cgroup2 " in line), "")
    folder = Path(mount) / f"hhtui-test-{uuid.uuid4().hex[:8]}"
    try:
        (folder / "engine").mkdir(parents=True)
        os.setxattr(folder, "user.delegate", b"1")
    except OSError as error:
        pytest.skip(f"this machine lets nobody make cgroups: {error}")
    try:
        yield folder
    finally:
        deadline = time.monotonic() + 10
        while folder.exists() and time.monotonic() < deadline:
            for group in sorted(folder.rglob("cgroup.kill")):
                group.write_text("1")
            for group in sorted((path for path in folder.rglob("*") if path.is_dir()), reverse=True):
                with contextlib.suppress(OSError):
                    group.rmdir()
            with contextlib.suppress(OSError):
                folder.rmdir()
            time.sleep(0.02)


def test_a_descendant_without_cookie_session_or_parent_is_ended(delegated: Path, tmp_path: Path) -> None:
    # In a sandbox it would end with its namespace in any case.
    home = make_home(tmp_path / "home", process_manager={"sandbox": "off"})
    pidfile = tmp_path / "pid"
    loop = f"trap '' TERM; while :; do sleep 1; done & echo $! > {pidfile}"
    script = f'sleep 0.3; env -i /usr/bin/setsid /bin/sh -c "{loop}"; exec sleep 1000'.replace("$!", "\\$!")
    make_app(home, "lamp", script, stop={"timeout_seconds": 0.5})
    engine = EngineProcess(home)
    command = (
        f"echo $$ > {delegated}/engine/cgroup.procs; exec {sys.executable} -P -m hhtui --engine-only --home {home}"
    )
    engine.process = subprocess.Popen(
        ["/bin/sh", "-c", command], stderr=(home / "engine.stderr").open("wb"), start_new_session=True
    )
    try:
        engine.answers()
        engine.wait_status("lamp", "discovered")
        engine.client.command("lamp", "start", wait=20)
        deadline = time.monotonic() + 10
        while not pidfile.exists() or not pidfile.read_text().strip():
            assert time.monotonic() < deadline
            time.sleep(0.02)
        hidden = int(pidfile.read_text())
        assert alive(hidden)
        assert str(hidden) in (delegated / "app-lamp" / "cgroup.procs").read_text().split()
        assert engine.client.command("lamp", "stop", wait=20)["status"] == "stopped"
        assert not alive(hidden)
        assert not (delegated / "app-lamp").exists()
    finally:
        end_home(engine)


def test_a_group_that_nobody_delegated_is_left_alone(tmp_path: Path) -> None:
    proc = tmp_path / "proc"
    proc.mkdir()
    (proc / "cgroup").write_text("0::/user.slice\n")
    (proc / "mountinfo").write_text(f"30 1 0:26 / {tmp_path} rw - cgroup2 cgroup2 rw\n")
    (tmp_path / "user.slice").mkdir()
    assert Cgroups.find(proc) is None


@pytest.mark.parametrize(("told", "moves"), [("subgroup", True), ("1", False)])
def test_an_engine_in_the_delegated_group_itself_moves_where_its_unit_makes_room_for_the_next(
    delegated: Path, tmp_path: Path, told: str, moves: bool
) -> None:
    home = make_home(tmp_path / "home")
    # What it forks at once is in its group as well, however soon that was.
    make_app(home, "lamp", "sleep 1000 & sleep 1000 & exec sleep 1000", autostart=True)
    engine = EngineProcess(home)
    command = f"echo $$ > {delegated}/cgroup.procs; exec {sys.executable} -P -m hhtui --engine-only --home {home}"
    engine.process = subprocess.Popen(
        ["/bin/sh", "-c", command],
        stderr=(home / "engine.stderr").open("wb"),
        start_new_session=True,
        env={**os.environ, "HHTUI_DELEGATED": told},
    )
    try:
        engine.wait_status("lamp", "running")
        group = Path(f"/proc/{engine.process.pid}/cgroup").read_text().splitlines()[-1]
        assert group.endswith(f"{delegated.name}/engine") == moves
        assert ((delegated / "cgroup.procs").read_text() == "") == moves
        eventually(lambda: len((delegated / "app-lamp" / "cgroup.procs").read_text().split()) == 3)
        held = (delegated / "cgroup.subtree_control").read_text().split()
        assert engine.client.engine()["limits"] == sorted(held)
        assert bool(held) == (moves and bool((delegated / "cgroup.controllers").read_text().split()))
    finally:
        end_home(engine)


@pytest.mark.parametrize(
    ("engine", "level", "words"),
    [
        ({"limits": ["cpu", "memory", "pids"], "service": "system"}, "ok", "holds the limits"),
        ({"limits": [], "service": "system"}, "warning", "sudo systemctl restart hhtui"),
        ({"limits": ["cpu"], "service": "user"}, "warning", "systemctl --user restart hhtui"),
        ({"limits": [], "service": None}, "warning", "hhtui service install"),
    ],
)
def test_doctor_says_whether_the_kernel_holds_limits(
    tmp_path: Path, engine: dict[str, object], level: str, words: str
) -> None:
    tree = tmp_path / "sys" / "fs" / "cgroup"
    tree.mkdir(parents=True)
    (tree / "cgroup.controllers").write_text("cpu io memory pids\n")
    (finding,) = check_limits(engine, tmp_path)
    assert finding.level == level
    assert words in f"{finding.message} {finding.fix}"
