"""Apps kept apart by a real bubblewrap: what they cannot do, and all that holds for them as without it."""

from __future__ import annotations

import asyncio
import errno
import fcntl
import json
import os
import resource
import signal
import subprocess
import sys
import tempfile
import textwrap
from collections.abc import AsyncIterator
from contextlib import suppress
from pathlib import Path
from typing import Any

import pytest
import pytest_asyncio

from hhtui.client.sync import EngineClient
from hhtui.client.words import exchange_lines, preview_lines, whole_system_line
from hhtui.engine.doctor.service import check_sandbox
from hhtui.engine.engine import Engine
from hhtui.engine.hardware.app_usage import AppTrees, Root
from hhtui.engine.launch import sandbox
from hhtui.engine.process.child import SpawnError, spawn_in_sandbox
from hhtui.engine.process.exit_status import ExitStatus
from hhtui.engine.process.identity import read_stat
from hhtui.errors import InvalidInputError
from hhtui.model.app import Status
from hhtui.model.config import Config
from hhtui.model.manifest import NOT_APART, parse_manifest
from tests.engine.engine_process import engine_process, eventually
from tests.engine.homes import alive, command, make_app, make_home, until

HOSTILE = Path(__file__).with_name("hostile_app.py")


@pytest.fixture(autouse=True)
def by_configuration(monkeypatch: pytest.MonkeyPatch) -> None:
    """Whatever the other tests are run with."""
    monkeypatch.delenv(sandbox.MODE_VARIABLE, raising=False)


@pytest.fixture(scope="module")
def bwrap() -> str:
    try:
        return sandbox.find_bwrap()
    except sandbox.NoSandboxError as error:
        pytest.skip(error.message)


def home_of(tmp_path: Path, mode: str = "required") -> Path:
    return make_home(tmp_path / "home", process_manager={"sandbox": mode})


@pytest_asyncio.fixture
async def engine(tmp_path: Path, bwrap: str) -> AsyncIterator[Engine]:
    async with Engine(home_of(tmp_path)) as running:
        yield running


async def found(engine: Engine, *app_ids: str) -> None:
    await until(lambda: set(app_ids) <= engine.fleet.supervisors.keys())


def tree(marker: str) -> list[int]:
    """Every living process whose command line or environment holds ``marker``, bubblewrap's own included."""
    pids = []
    for entry in Path("/proc").iterdir():
        with suppress(OSError):
            if not entry.name.isdigit() or int(entry.name) == os.getpid() or not alive(int(entry.name)):
                continue
            if marker.encode() in (entry / "cmdline").read_bytes() + (entry / "environ").read_bytes():
                pids.append(int(entry.name))
    return pids


def data(engine: Engine, app_id: str) -> Path:
    return engine.home.app_data(app_id)


async def test_a_hostile_app_gets_out_by_none_of_the_ways(engine: Engine) -> None:
    root = engine.home.root
    make_app(root, "victim", 'echo private > "$HOMEHELPER_DATA_DIR/secret"; exec sleep 1000')
    engine.home.secrets_env.write_text("KEY=private\n")
    await found(engine, "victim")
    victim = (await command(engine, "victim", "start")).runtime_info.process_id
    await until((data(engine, "victim") / "secret").exists)
    folder = make_app(
        root, "hostile", command=["python3", "hostile_app.py"], restart="never",
        environment={"VICTIM_PID": str(victim), "ENGINE_PID": str(os.getpid()), "USERS_HOME": str(Path.home())},
    )  # fmt: skip
    (folder / "hostile_app.py").write_text(HOSTILE.read_text())
    await found(engine, "hostile")
    await command(engine, "hostile", "start")
    result = data(engine, "hostile") / "tries.json"
    await until(lambda: engine.app("hostile").runtime_info.exit)
    assert result.exists(), engine.home.app_logs("hostile").joinpath("error.log").read_text()
    tries = json.loads(result.read_text())
    assert {name: outcome for name, outcome in tries.items() if not outcome.startswith("refused")} == {}
    assert len(tries) >= 35
    assert engine.app("victim").runtime_info.process_id == victim


async def test_the_process_is_the_apps_own_and_the_monitor_holds_none_of_its_variables(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", "exec sleep 1000", environment={"LD_PRELOAD": "/nowhere/evil.so"})
    await found(engine, "lamp")
    record = await command(engine, "lamp", "start")
    pid = record.runtime_info.process_id
    assert pid is not None and record.status is Status.RUNNING
    assert Path(f"/proc/{pid}/cmdline").read_bytes() == b"sleep\x001000\x00"
    app = read_stat(pid)
    assert app is not None and record.runtime_info.identity is not None
    assert record.runtime_info.identity.start_ticks == app.start_ticks
    init = read_stat(app.parent)
    assert init is not None and init.name == "bwrap"
    monitor = read_stat(init.parent)
    assert monitor is not None and monitor.name == "bwrap" and monitor.parent == os.getpid()
    for helper in (init, monitor):
        assert b"LD_PRELOAD" not in Path(f"/proc/{helper.pid}/environ").read_bytes()
        assert b"evil.so" not in Path(f"/proc/{helper.pid}/cmdline").read_bytes()
    assert [os.readlink(f"/proc/{pid}/fd/0"), len(os.listdir(f"/proc/{pid}/fd"))] == ["/dev/null", 3]


@pytest.mark.parametrize(
    ("script", "code", "name"),
    [("exit 0", 0, None), ("exit 7", 7, None), ("exit 143", 143, None), ("kill -SEGV $$", None, "SIGSEGV")],
)
async def test_an_app_ends_as_it_would_without(engine: Engine, script: str, code: int | None, name: str | None) -> None:
    make_app(engine.home.root, "lamp", script, restart="never")
    await found(engine, "lamp")
    await command(engine, "lamp", "start")
    await until(lambda: engine.app("lamp").runtime_info.exit)
    last = engine.app("lamp").runtime_info.exit
    assert last is not None
    assert (last.code, last.signal) == (code, name)
    await until(lambda: not tree(f"{engine.home.root}/"))


async def test_where_the_kernel_does_not_tell_the_monitor_does(engine: Engine, monkeypatch: pytest.MonkeyPatch) -> None:
    """Before Linux 6.15."""
    ioctl = fcntl.ioctl

    def as_then(descriptor: int, request: int, *rest: Any) -> Any:
        if request >> 8 & 0xFF == 0xFF:  # a pidfd's: linux/pidfd.h
            raise OSError(errno.ENOTTY, os.strerror(errno.ENOTTY))
        return ioctl(descriptor, request, *rest)

    monkeypatch.setattr(fcntl, "ioctl", as_then)
    for app_id, script, code, name in (("exits", "exit 7", 7, None), ("dies", "kill -KILL $$", None, "SIGKILL")):
        make_app(engine.home.root, app_id, f"sleep 0.2; {script}", restart="never")
        await found(engine, app_id)
        await command(engine, app_id, "start")
        await until(lambda app_id=app_id: engine.app(app_id).runtime_info.exit)
        last = engine.app(app_id).runtime_info.exit
        assert last is not None and (last.code, last.signal) == (code, name)


ESCAPING = """
trap 'echo asked >> "$HOMEHELPER_DATA_DIR/asked"' TERM
python3 -c '
import os, sys
for _ in range(2):
    if os.fork(): sys.exit()
    os.setsid()
os.execve("/bin/sleep", ["sleep", "4711.{tag}"], {})
'
: > "$HOMEHELPER_DATA_DIR/ready"
while :; do sleep 0.1; done
"""


async def test_a_stop_asks_the_app_and_leaves_nobody_who_shed_cookie_session_and_parent(engine: Engine) -> None:
    tag = str(os.getpid())
    make_app(engine.home.root, "lamp", ESCAPING.replace("{tag}", tag), stop={"timeout_seconds": 0.5})
    await found(engine, "lamp")
    await command(engine, "lamp", "start")
    await until((data(engine, "lamp") / "ready").exists)
    assert tree(f"4711.{tag}")
    record = await command(engine, "lamp", "stop")
    assert record.status is Status.STOPPED
    assert (data(engine, "lamp") / "asked").read_text() == "asked\n"
    assert not tree(f"4711.{tag}") and not tree(f"{engine.home.root}/")


async def test_a_stop_ends_an_app_that_forks_all_the_while(engine: Engine) -> None:
    script = "trap '' TERM; while :; do (sleep 815 &) 2>/dev/null; done"
    make_app(engine.home.root, "bomb", script, stop={"timeout_seconds": 0.2})
    await found(engine, "bomb")
    await command(engine, "bomb", "start")
    await asyncio.sleep(1)
    assert (await command(engine, "bomb", "stop")).status is Status.STOPPED
    assert not tree(f"{engine.home.root}/")


async def test_the_first_process_and_the_monitor_are_gone_after_each_end(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", "(setsid sleep 1000 &); sleep 0.7; exit 3", restart="never")
    await found(engine, "lamp")
    await command(engine, "lamp", "start")
    await until(lambda: engine.app("lamp").status is Status.FAILED)
    await until(lambda: not tree(f"{engine.home.root}/"))
    zombies = Path(f"/proc/self/task/{os.getpid()}/children").read_text().split()
    assert [pid for pid in zombies if (stat := read_stat(int(pid))) and stat.name == "bwrap"] == []


@pytest.fixture
def slow(tmp_path: Path, bwrap: str, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A bubblewrap that begins once the file is there."""
    go, program = tmp_path / "go", tmp_path / "bin" / "bwrap"
    program.parent.mkdir()
    program.write_text(f'#!/bin/sh\nwhile [ ! -e {go} ]; do sleep 0.05; done\nexec {bwrap} "$@"\n')
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    return go


async def test_while_a_sandbox_is_made_the_loop_goes_on_and_a_stop_leaves_nothing_of_it(
    tmp_path: Path, slow: Path
) -> None:
    slow.touch()
    async with Engine(home_of(tmp_path)) as engine:
        make_app(engine.home.root, "lamp", ': > "$HOMEHELPER_DATA_DIR/ran"; exec sleep 1000')
        await found(engine, "lamp")
        await command(engine, "lamp", "start")
        await command(engine, "lamp", "stop")
        (data(engine, "lamp") / "ran").unlink()
        slow.unlink()
        starting = asyncio.create_task(command(engine, "lamp", "start"))
        await until(lambda: tree(f"{tmp_path}/bin/bwrap"))
        assert engine.app("lamp").status is Status.STARTING
        assert (await command(engine, "lamp", "stop")).status is Status.STOPPED
        await starting
        await until(lambda: not tree(f"{tmp_path}/"))
        slow.touch()
        assert not (data(engine, "lamp") / "ran").exists()
        assert (await command(engine, "lamp", "start")).status is Status.RUNNING


def test_another_engine_takes_over_and_ends_all_of_it(tmp_path: Path, bwrap: str) -> None:
    home = home_of(tmp_path)
    tag = f"1{os.getpid()}"
    make_app(home, "lamp", ESCAPING.replace("{tag}", tag), autostart=True, stop={"timeout_seconds": 0.5})
    make_app(home, "exits", 'while [ ! -e "$HOMEHELPER_DATA_DIR/end" ]; do sleep 0.1; done; exit 9', restart="never",
             autostart=True)  # fmt: skip
    with engine_process(home) as engine:
        before = {name: engine.wait_status(name, "running")["runtime_info"]["process_id"] for name in ("lamp", "exits")}
        eventually((home / "data/lamp/ready").exists)
        engine.kill()
        engine.start()
        for name, pid in before.items():
            assert engine.wait_status(name, "running")["runtime_info"]["process_id"] == pid
        (home / "data/exits/end").touch()
        last = engine.wait_status("exits", "failed")["runtime_info"]["exit"]
        assert last["code"] in (9, None)  # None: a kernel that does not tell
        engine.client.command("lamp", "stop", wait=20)
        assert not tree(f"4711.{tag}")
        eventually(lambda: not [pid for pid in tree(f"{home}/") if pid != engine.process.pid])


def test_what_an_app_left_without_its_engine_is_found_and_ended(tmp_path: Path, bwrap: str) -> None:
    home = home_of(tmp_path)
    tag = f"2{os.getpid()}"
    make_app(home, "lamp", ESCAPING.replace("{tag}", tag), autostart=True, restart="never")
    with engine_process(home) as engine:
        pid = engine.wait_status("lamp", "running")["runtime_info"]["process_id"]
        eventually((home / "data/lamp/ready").exists)
        engine.kill()
        os.kill(int(pid), signal.SIGKILL)
        assert tree(f"4711.{tag}")
        engine.start()
        eventually(lambda: not tree(f"4711.{tag}"))


def test_a_reload_keeps_the_app_and_its_end(tmp_path: Path, bwrap: str) -> None:
    home = home_of(tmp_path)
    make_app(home, "lamp", 'while [ ! -e "$HOMEHELPER_DATA_DIR/end" ]; do sleep 0.1; done; exit 9', autostart=True,
             restart="never")  # fmt: skip
    with engine_process(home) as engine:
        pid = engine.wait_status("lamp", "running")["runtime_info"]["process_id"]
        engine.client.reload_engine()
        assert engine.wait_status("lamp", "running")["runtime_info"]["process_id"] == pid
        (home / "data/lamp/end").touch()
        assert engine.wait_status("lamp", "failed")["runtime_info"]["exit"]["code"] == 9


def words_of(bwrap: str, tmp_path: Path, permissions: dict[str, Any] | None = None) -> list[str]:
    manifest, _ = parse_manifest({"name": "x", "type": "service", "permissions": permissions or {}})
    for name in ("home/app", "home/data", "home/logs"):
        (tmp_path / name).mkdir(parents=True, exist_ok=True)
    home = tmp_path / "home"
    return sandbox.Sandbox(
        bwrap, "x", home / "app", home / "data", home / "logs", Path(sys.executable), (home,), manifest.permissions
    ).words("/bin/sh")


async def test_a_start_that_is_broken_off_leaves_nothing(tmp_path: Path, bwrap: str) -> None:
    def break_off(pid: int) -> None:
        raise SpawnError("broken off")

    mark = f"broken-off-{os.getpid()}"
    with open(os.devnull, "wb") as out, pytest.raises(SpawnError, match="broken off"):
        await spawn_in_sandbox(
            words_of(bwrap, tmp_path), ["/bin/sh", "-c", f": > {tmp_path}/home/data/ran"], tmp_path / "home/app",
            {"MARK": mark}, out.fileno(), out.fileno(), lambda _: None, mark=mark, before=break_off,
        )  # fmt: skip
    await until(lambda: not tree(mark))
    assert not (tmp_path / "home/data/ran").exists()


async def test_a_sandbox_that_cannot_be_made_says_why(tmp_path: Path, bwrap: str) -> None:
    words = [*words_of(bwrap, tmp_path), "--bind", "/there/is/no/such/folder", "/x"]
    with open(os.devnull, "wb") as out, pytest.raises(SpawnError, match="no/such/folder"):
        await spawn_in_sandbox(
            words, ["/bin/true"], tmp_path / "home/app", {}, out.fileno(), out.fileno(), lambda _: None,
            mark="none", before=lambda _: None,
        )  # fmt: skip


async def test_an_app_works_with_its_own(engine: Engine) -> None:
    """Its data, logs, a private /tmp, names, its interpreter, its release behind a link, the published folders."""
    release = engine.home.root / "releases" / "1"
    release.mkdir(parents=True)
    (release / "app.py").write_text(
        "import os, socket, sys, pathlib, json, tempfile\n"
        "data = pathlib.Path(os.environ['HOMEHELPER_DATA_DIR'])\n"
        "(data / 'mine').write_text('x')\n"
        "(pathlib.Path(os.environ['HOMEHELPER_LOGS_DIR']) / 'own.log').write_text('x')\n"
        "(pathlib.Path('/opt/homehelper/data/lamp') / 'published').write_text('x')\n"
        "os.makedirs('/opt/homehelper/data/other', exist_ok=True)\n"
        "tempfile.NamedTemporaryFile().close()\n"
        "socket.getaddrinfo('localhost', 80)\n"
        "assert pathlib.Path.home().is_relative_to(data), pathlib.Path.home()\n"
        "assert os.listdir('/tmp') == [] or str(data).startswith('/tmp/')\n"
        "open('/dev/null').close(); os.urandom(4)\n"
        "print('hello', flush=True)\n"
        "print('oh', file=sys.stderr, flush=True)\n"
        "(data / 'ok').write_text(sys.prefix)\nimport time; time.sleep(1000)\n"
    )
    (release / "homehelper.json").write_text(
        json.dumps({"name": "lamp", "type": "service", "endpoints": {"health": None}, "args": []})
    )
    (engine.home.root / "apps").mkdir(exist_ok=True)
    (engine.home.root / "apps/lamp").symlink_to(release)
    await found(engine, "lamp")
    record = await command(engine, "lamp", "start")
    assert record.status is Status.RUNNING, record.runtime_info
    await until((data(engine, "lamp") / "ok").exists)
    assert (data(engine, "lamp") / "published").exists()
    logs = engine.home.app_logs("lamp")
    await until(lambda: "hello" in (logs / "app.log").read_text() and "oh" in (logs / "error.log").read_text())


async def test_its_own_setup_commands_are_kept_apart_too(engine: Engine) -> None:
    engine.home.secrets_env.write_text("KEY=private\n")
    folder = make_app(
        engine.home.root, "lamp",
        setup_commands=[
            f"! cat {engine.home.secrets_env} 2>/dev/null",
            "echo x > made && python -m pip --version && mkdir -p /opt/homehelper/data/lamp/sub",
            f'(setsid env -i sleep 4712.{os.getpid()} &); test -w "$VIRTUAL_ENV"',
        ],
    )  # fmt: skip
    await found(engine, "lamp")
    record = await command(engine, "lamp", "start", wait=100)
    assert record.status is Status.RUNNING, record.runtime_info
    assert (folder / "made").exists() and (data(engine, "lamp") / "sub").is_dir()
    await until(lambda: not tree(f"4712.{os.getpid()}"))


async def test_a_setup_command_that_fails_says_so_as_ever(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", setup_commands={"broken": "echo it is broken >&2; exit 3"})
    await found(engine, "lamp")
    record = await command(engine, "lamp", "start", wait=100)
    assert "setup_commands.broken exited 3: it is broken" in (record.runtime_info.error or "")


async def test_an_apps_figures_are_of_its_own_processes_alone(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", "(setsid sleep 1000 &); (setsid sleep 1001 &); exec sleep 1002")
    await found(engine, "lamp")
    identity = (await command(engine, "lamp", "start")).runtime_info.identity
    assert identity is not None
    trees = AppTrees()
    usage = trees.measure([Root("lamp", identity.pid, identity.start_ticks)])["lamp"]
    names = sorted(Path(f"/proc/{pid}/cmdline").read_text() for pid in usage.pids)
    assert names == ["sleep\x001000\x00", "sleep\x001001\x00", "sleep\x001002\x00"]
    again = trees.measure([Root("lamp", identity.pid, identity.start_ticks)])["lamp"]
    assert set(again.pids) == set(usage.pids)


async def test_what_an_app_asks_is_shown_before_it_is_added_and_updated() -> None:
    manifest, _ = parse_manifest(
        {"name": "x", "type": "service", "permissions": {"files": ["/media/usb:rw", "/srv"], "devices": ["gpio"]}}
    )
    asked = manifest.asked_permissions
    assert asked == ["reads and writes /media/usb", "reads /srv", "devices: gpio", "sees the network"]
    assert any(line.split() == ["may", *", ".join(asked).split()] for line in preview_lines({"permissions": asked}))
    assert "  may        devices: gpio" in exchange_lines({"permissions": ["devices: gpio"]})
    among, _ = parse_manifest({"name": "x", "type": "service", "permissions": {"apps": ["lamp"], "control": True}})
    assert among.asked_permissions == [
        "reads the data of lamp", "starts and stops apps and reads all logs", "devices: all", "sees the network",
    ]  # fmt: skip
    whole, _ = parse_manifest({"name": "x", "type": "service", "permissions": {"system": True}})
    assert whole.asked_permissions == ["everything that the engine's user may: it is not kept apart"]
    with_file = {"command": ["python3", "/srv/lamp/main.py"], "permissions": {"system": True}}
    named, _ = parse_manifest({"name": "x", "type": "service", **with_file})
    assert named.asked_permissions == whole.asked_permissions
    preview = {"permissions": whole.asked_permissions, "whole_system": True}
    alarming = whole_system_line(preview)
    assert alarming in preview_lines(preview) and alarming in exchange_lines(preview)
    assert whole_system_line({"permissions": asked, "whole_system": False}) is None


async def test_where_no_file_can_be_opened_any_more_an_app_is_not_started_and_that_is_said(tmp_path: Path) -> None:
    before = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (0, before[1]))
    try:
        with pytest.raises(SpawnError, match="Too many open files"):
            await spawn_in_sandbox(["bwrap"], ["/bin/true"], tmp_path, {}, 1, 2, lambda _: None, mark="")
    finally:
        resource.setrlimit(resource.RLIMIT_NOFILE, before)


@pytest.mark.usefixtures("refusing")
def test_the_doctor_says_why_apps_are_not_kept_apart_and_what_helps() -> None:
    def found_with(mode: str) -> list[tuple[str, str]]:
        config = Config.model_validate({"process_manager": {"sandbox": mode}})
        return [(finding.level, f"{finding.message} {finding.fix}") for finding in check_sandbox(config, None)]

    assert found_with("off") == []
    for mode, level in (("auto", "warning"), ("required", "error")):
        ((found_level, words),) = found_with(mode)
        assert found_level == level
        assert "setting up uid map: Permission denied" in words and "sysctl" in words


@pytest.mark.usefixtures("refusing")
async def test_the_doctor_asks_the_engine_which_may_have_what_the_shell_has_not(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As under a unit, and the other way about: what counts is what the engine can do."""
    async with Engine(home_of(tmp_path, "auto")) as engine:
        client = EngineClient(engine.home.engine_socket)
        refused = await asyncio.to_thread(client.sandbox)
        works = tmp_path / "works" / "bwrap"
        works.parent.mkdir()
        works.write_text("#!/bin/sh\nexit 0\n")
        works.chmod(0o755)
        monkeypatch.setenv("PATH", f"{works.parent}:{os.environ['PATH']}")
        works_now = await asyncio.to_thread(client.sandbox)
    (finding,) = check_sandbox(engine.config, refused)
    assert finding.level == "warning" and "setting up uid map: Permission denied" in finding.message
    monkeypatch.setenv("PATH", "/nowhere")
    (finding,) = check_sandbox(engine.config, works_now)
    assert (finding.level, finding.message) == ("ok", f"apps are kept apart by {works}")


@pytest.mark.parametrize(("manager", "fix"), [("", "`sudo hhtui service install`"), ("1", "service install --user`")])
def test_under_a_unit_that_forbids_namespaces_it_is_the_unit_that_is_to_be_renewed(
    bwrap: str, manager: str, fix: str
) -> None:
    done = subprocess.run(
        [sys.executable, str(Path(__file__).with_name("older_unit.py"))],
        env={**os.environ, "NOTIFY_SOCKET": "/nowhere", "MANAGERPID": manager},
        capture_output=True,
        text=True,
        timeout=30,
        check=False,
    )
    assert done.stdout.startswith("the unit forbids namespaces"), done.stdout + done.stderr
    assert fix in done.stdout and "restart hhtui" in done.stdout


async def test_an_app_that_dies_of_a_read_only_file_says_what_allows_it(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", "exec touch own", restart="never")
    await found(engine, "lamp")
    await command(engine, "lamp", "start")
    await until(lambda: any("permissions.files+={app_dir}:rw" in words for words in engine.app("lamp").warnings))
    await engine.app_settings.change("lamp", {"permissions": {"files": ["{app_dir}:rw"]}})
    await command(engine, "lamp", "start")
    await until((engine.home.root / "apps/lamp/own").exists)
    assert engine.app("lamp").warnings == []


async def test_files_are_shared_as_the_manifest_asks(engine: Engine, tmp_path: Path) -> None:
    for name in ("reads", "writes"):
        (tmp_path / name).mkdir()
        (tmp_path / name / "there").write_text("x")
    script = (
        f"cat {tmp_path}/reads/there {tmp_path}/writes/there && ! touch {tmp_path}/reads/new && "
        f"touch {tmp_path}/writes/new own && touch $HOMEHELPER_DATA_DIR/ok; exec sleep 1000"
    )
    files = [f"{tmp_path}/reads", f"{tmp_path}/writes:rw", "{app_dir}:rw"]
    folder = make_app(engine.home.root, "lamp", script, permissions={"files": files})
    await found(engine, "lamp")
    await command(engine, "lamp", "start")
    await until((data(engine, "lamp") / "ok").exists)
    assert (tmp_path / "writes/new").exists() and (folder / "own").exists() and not (tmp_path / "reads/new").exists()


async def test_what_leads_into_the_home_is_not_shared(engine: Engine, tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(engine.home.root / "config")
    make_app(engine.home.root, "lamp", permissions={"files": [f"{tmp_path}/link"]})
    make_app(engine.home.root, "above", 'ls -A "$0/config" > "$HOMEHELPER_DATA_DIR/seen"; exec sleep 1000',
             command=["/bin/sh", "-c", f'ls -A {tmp_path}/home > "$HOMEHELPER_DATA_DIR/seen"; exec sleep 1000'],
             permissions={"files": [str(tmp_path)]})  # fmt: skip
    await found(engine, "lamp", "above")
    record = await command(engine, "lamp", "start")
    assert record.status is Status.FAILED
    assert "leads into the home" in (record.runtime_info.error or "")
    await command(engine, "above", "start")
    seen = data(engine, "above") / "seen"
    await until(lambda: seen.exists() and seen.read_text())
    assert "config" not in seen.read_text().split()


async def test_the_data_of_the_apps_that_it_names_can_be_read_and_no_more(engine: Engine) -> None:
    for other in ("shared", "private"):
        make_app(engine.home.root, other)
        data(engine, other).mkdir(parents=True)
        (data(engine, other) / "value").write_text(other)
    script = (
        'cd "$HOMEHELPER_DATA_DIR/.."; '
        "{ cat shared/value /opt/homehelper/data/shared/value; touch shared/new && echo wrote; "
        "cat private/value ../apps/shared/homehelper.json; } > lamp/seen 2>/dev/null; mv lamp/seen lamp/done; "
        "exec sleep 1000"
    )
    make_app(engine.home.root, "lamp", script, permissions={"apps": ["shared", "nobody"]})
    await found(engine, "shared", "private", "lamp")
    record = await command(engine, "lamp", "start")
    assert record.status is Status.RUNNING
    assert [words for words in record.warnings if "nobody" in words and "not installed" in words] == record.warnings
    done = data(engine, "lamp") / "done"
    await until(done.exists)
    assert done.read_text() == "sharedshared"
    assert not (data(engine, "shared") / "new").exists()


async def test_data_that_comes_later_can_be_read_by_the_next_start(engine: Engine) -> None:
    script = 'cat "$HOMEHELPER_DATA_DIR/../late/value" > "$HOMEHELPER_DATA_DIR/seen" 2>&1; exec sleep 1000'
    make_app(engine.home.root, "lamp", script, permissions={"apps": ["late"]})
    await found(engine, "lamp")
    seen = data(engine, "lamp") / "seen"
    await command(engine, "lamp", "start")
    await until(lambda: seen.exists() and "No such file" in seen.read_text())
    make_app(engine.home.root, "late")
    await found(engine, "late")
    data(engine, "late").mkdir(parents=True)
    (data(engine, "late") / "value").write_text("there")
    assert (await command(engine, "lamp", "restart")).warnings == []
    await until(lambda: seen.read_text() == "there")


async def test_an_app_that_asks_for_its_own_data_is_refused_in_one_line(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", permissions={"apps": ["lamp"]})
    await found(engine, "lamp")
    record = engine.app("lamp")
    assert record.status is Status.INVALID
    assert "permissions.apps: lamp is the app itself" in (record.runtime_info.error or "")


async def test_an_app_of_a_home_below_a_temporary_folder_is_kept_apart_too(bwrap: str) -> None:
    with tempfile.TemporaryDirectory(dir="/var/tmp") as folder:
        async with Engine(home_of(Path(folder))) as engine:
            make_app(engine.home.root, "lamp")
            await found(engine, "lamp")
            assert (await command(engine, "lamp", "start")).status is Status.RUNNING


async def test_no_app_makes_the_calls_that_the_unit_allows_for_the_sake_of_bubblewrap(engine: Engine) -> None:
    script = """
        import ctypes, errno, os
        libc = ctypes.CDLL(None, use_errno=True)
        pivot_root = {"x86_64": 155, "aarch64": 41}.get(os.uname().machine, 218)
        move_mount, mount_setattr = 429, 442
        calls = [
            lambda: libc.mount(None, None, None, 0, None),
            lambda: libc.umount2(b"/", 0),
            lambda: libc.unshare(0),
            lambda: libc.setns(-1, 0),
            *(lambda number=number: libc.syscall(number, 0, 0) for number in (pivot_root, move_mount, mount_setattr)),
        ]
        print([errno.errorcode[ctypes.get_errno()] if call() < 0 else "done" for call in calls])
    """
    make_app(engine.home.root, "lamp", f"exec python3 -c '{textwrap.dedent(script)}'", restart="never")
    await found(engine, "lamp")
    await command(engine, "lamp", "start")
    log = engine.home.app_logs("lamp") / "app.log"
    await until(lambda: log.exists() and "[" in log.read_text())
    assert str(["ENOSYS"] * 7) in log.read_text()


async def test_a_command_may_name_a_program_in_a_virtual_environment_elsewhere(engine: Engine, tmp_path: Path) -> None:
    subprocess.run([sys.executable, "-m", "venv", "--without-pip", tmp_path / "venv"], check=True)
    (module,) = (path for path in (tmp_path / "venv/lib").rglob("site-packages"))
    (module / "own.py").write_text("NAME = 'of the environment'\n")
    python = str(tmp_path / "venv/bin/python")
    script = "import own, pathlib, os; pathlib.Path(os.environ['HOMEHELPER_DATA_DIR'], 'seen').write_text(own.NAME)"
    make_app(engine.home.root, "lamp", command=[python, "-c", script], restart="never")
    await found(engine, "lamp")
    await command(engine, "lamp", "start")
    seen = data(engine, "lamp") / "seen"
    await until(lambda: seen.exists() and seen.read_text())
    assert seen.read_text() == "of the environment"


async def test_without_a_network_there_is_none(engine: Engine) -> None:
    script = 'cat /proc/net/dev > "$HOMEHELPER_DATA_DIR/seen"; exec sleep 1000'
    make_app(engine.home.root, "lamp", script, permissions={"network": "none", "devices": ["none"]})
    await found(engine, "lamp")
    assert (await command(engine, "lamp", "start")).status is Status.RUNNING
    seen = data(engine, "lamp") / "seen"
    await until(lambda: seen.exists() and seen.read_text())
    assert [line.split(":")[0].strip() for line in seen.read_text().splitlines()[2:]] == ["lo"]


async def test_an_app_that_asks_for_the_whole_system_is_not_kept_apart(engine: Engine) -> None:
    make_app(engine.home.root, "lamp", permissions={"system": True})
    await found(engine, "lamp")
    pid = (await command(engine, "lamp", "start")).runtime_info.process_id
    assert pid is not None
    stat = read_stat(pid)
    assert stat is not None and stat.parent == os.getpid()


@pytest.fixture
def refusing(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """A bubblewrap that ends as it does where the kernel refuses user namespaces."""
    program = tmp_path / "bin" / "bwrap"
    program.parent.mkdir()
    program.write_text("#!/bin/sh\necho 'bwrap: setting up uid map: Permission denied' >&2\nexit 1\n")
    program.chmod(0o755)
    monkeypatch.setenv("PATH", f"{program.parent}:{os.environ['PATH']}")
    monkeypatch.setattr(sandbox, "shipped_bwrap", lambda: None)


def test_of_two_bubblewraps_the_first_that_works_is_taken(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """An older one of the system's knows less; where there is none at all, what helps is another thing."""
    system, shipped = tmp_path / "bwrap", tmp_path / "shipped"
    monkeypatch.setattr(sandbox, "shipped_bwrap", lambda: shipped if shipped.exists() else None)
    monkeypatch.setenv("PATH", str(tmp_path))
    works, fails = "#!/bin/sh\nexit 0\n", "#!/bin/sh\necho 'Unknown option --disable-userns' >&2\nexit 1\n"
    for of_system, of_package, taken in ((works, fails, system), (fails, works, shipped)):
        monkeypatch.setattr(sandbox, "_proven", set())
        for path, text in ((system, of_system), (shipped, of_package)):
            path.write_text(text)
            path.chmod(0o755)
        assert sandbox.find_bwrap() == str(taken)
    for path in (system, shipped):
        path.unlink()
    with pytest.raises(sandbox.NoSandboxError) as caught:
        sandbox.find_bwrap()
    assert caught.value.cure == "sudo apt install bubblewrap"


@pytest.mark.usefixtures("refusing")
async def test_where_it_is_refused_apps_run_as_ever_and_say_so(tmp_path: Path) -> None:
    async with Engine(home_of(tmp_path, "auto")) as engine:
        make_app(engine.home.root, "lamp")
        await found(engine, "lamp")
        record = await command(engine, "lamp", "start")
        assert record.status is Status.RUNNING
        (notice,) = [words for words in record.warnings if "kept apart" in words]
        assert "setting up uid map: Permission denied" in notice and "sysctl" in notice


@pytest.mark.usefixtures("refusing")
async def test_where_it_is_refused_and_required_no_app_starts(tmp_path: Path) -> None:
    async with Engine(home_of(tmp_path)) as engine:
        make_app(engine.home.root, "lamp")
        await found(engine, "lamp")
        record = await command(engine, "lamp", "start")
        assert record.status is Status.FAILED
        assert "setting up uid map: Permission denied" in (record.runtime_info.error or "")


@pytest.mark.usefixtures("refusing")
async def test_where_it_is_refused_and_required_nothing_is_installed(tmp_path: Path) -> None:
    async with Engine(home_of(tmp_path)) as engine:
        folder = make_app(engine.home.root, "lamp", setup_commands=["touch made"])
        await found(engine, "lamp")
        record = await command(engine, "lamp", "start")
        assert record.status is Status.FAILED
        assert "setting up uid map: Permission denied" in (record.runtime_info.error or "")
        assert not (folder / "made").exists() and not engine.home.app_venv("lamp").exists()


@pytest.mark.parametrize("apart", [True, False])
async def test_apps_are_kept_apart_where_the_configuration_says_so(tmp_path: Path, bwrap: str, apart: bool) -> None:
    async with Engine(home_of(tmp_path, "auto") if apart else make_home(tmp_path / "home")) as engine:
        make_app(engine.home.root, "lamp")
        await found(engine, "lamp")
        record = await command(engine, "lamp", "start")
        assert record.status is Status.RUNNING and record.warnings == []
        assert record.runtime_info.process_id is not None
        stat = read_stat(record.runtime_info.process_id)
        assert stat is not None and (stat.parent != os.getpid()) is apart
        alone = ["reads the system and its own files alone", "devices: all", "sees the network"]
        assert record.runtime_info.may == (alone if apart else [NOT_APART])


def test_the_variable_wins_over_the_configuration_and_is_checked() -> None:
    assert sandbox.sandbox_mode(Config(), {}) == "off"
    assert sandbox.sandbox_mode(Config(), {"HHTUI_SANDBOX": "required"}) == "required"
    with pytest.raises(InvalidInputError, match="must be off, auto or required, got 'on'"):
        sandbox.sandbox_mode(Config(), {"HHTUI_SANDBOX": "on"})


@pytest.mark.parametrize(
    ("permissions", "words"),
    [
        ({"files": ["media/usb"]}, "absolute path"),
        ({"files": ["/media/../etc"]}, "absolute path"),
        ({"files": ["/"]}, "cannot be given"),
        ({"files": ["/proc/1"]}, "cannot be given"),
        ({"devices": ["gpio", "all"]}, "stand alone"),
        ({"devices": ["floppy"]}, "devices"),
        ({"network": "some"}, "network"),
        ({"control": "all"}, "control"),
        ({"control": True, "files": ["{app_dir}:rw"]}, "control does not go with"),
        ({"root": True}, "no permission 'root'"),
        ({"apps": ["Other"]}, "'Other' is no app's id"),
        ({"apps": ["*"]}, "'*' is no app's id"),
        ({"apps": ["../victim"]}, "'../victim' is no app's id"),
        ({"apps": "lamp"}, "apps"),
    ],
)
def test_permissions_that_cannot_be_are_refused_in_one_line(permissions: dict[str, Any], words: str) -> None:
    with pytest.raises(InvalidInputError) as caught:
        parse_manifest({"name": "x", "type": "service", "permissions": permissions})
    assert words in caught.value.message and "\n" not in caught.value.message


@pytest.mark.parametrize(
    "further",
    [{"type": "streamlit"}, {"on_demand": True}, {"config": {"redis_required": True}}, {"endpoints": {"ui": "/"}}],
)
def test_no_network_does_not_go_with_what_needs_one(further: dict[str, Any]) -> None:
    with pytest.raises(InvalidInputError, match=r"permissions\.network"):
        parse_manifest({"name": "x", "type": "service", "permissions": {"network": "none"}, **further})


def test_an_exit_status_is_one_of_code_and_signal() -> None:
    assert ExitStatus(None, "SIGKILL").words == "killed by SIGKILL"
