"""``--host``: every command, through a real SSH server, by the real ssh."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import subprocess
import tempfile
from pathlib import Path

import pytest

from hhtui.client import ssh
from hhtui.client.remote import RemoteClient, RemoteLink
from hhtui.client.tunnel import Tunnel
from hhtui.client.wire import EngineSilentError
from hhtui.errors import HomeHelperError, UsageError
from tests.cli.conftest import HHTUI, environment
from tests.engine.engine_process import EngineProcess, end_home, eventually
from tests.engine.homes import make_home
from tests.engine.sources.repositories import app_files
from tests.remote.conftest import Remote
from tests.remote.ssh_server import SshServer

HOSTILE = "\x1b]52;c;ZXZpbA==\x07\x1b[2J\u202e evil \x9b31m\n"


def sockets(runtime: Path) -> list[Path]:
    return list(runtime.rglob("*"))


def ssh_processes(server: SshServer) -> list[int]:
    found = []
    for entry in Path("/proc").glob("[0-9]*/cmdline"):
        try:
            if str(server.config).encode() in entry.read_bytes():
                found.append(int(entry.parent.name))
        except OSError:
            continue
    return found


def test_status_of_another_machine_is_as_its_own_engine_tells_it(
    remote: Remote, far: EngineProcess, server: SshServer, runtime: Path
) -> None:
    reported = remote("--host", "kitchen", "--home", str(far.root), "status", "--json")
    assert reported.code == 0, reported.err
    assert [(app["app_id"], app["status"]) for app in reported.json] == [("web", "running")]
    words = remote("status", "web", "--host=kitchen", "--home", str(far.root))
    assert "running" in words.out
    assert server.logins == 2, "one authentication a command"
    assert sockets(runtime) == []
    assert ssh_processes(server) == []


def test_an_empty_home_of_another_machine_offers_to_make_the_app_there(remote: Remote, tmp_path: Path) -> None:
    engine = EngineProcess(make_home(tmp_path / "empty"))
    try:
        engine.start()
        reported = remote("--host", "kitchen", "--home", str(engine.root), "status")
        offer = f"hhtui --host kitchen new {engine.root}/apps/hello"
        assert f"on kitchen, or try `{offer}`" in reported.out + reported.err
        made = remote(*offer.split()[1:])
        assert made.code == 0, made.err
        eventually(lambda: "hello" in remote("--host", "kitchen", "--home", str(engine.root), "status").out)
    finally:
        end_home(engine)


def test_a_temporary_folder_whose_name_means_something_to_ssh_is_not_used(
    remote: Remote, far: EngineProcess, tmp_path: Path
) -> None:
    odd = Path(tempfile.mkdtemp(prefix="a%h:b ", dir="/tmp"))
    try:
        reported = remote(
            "--host", "kitchen", "--home", str(far.root), "status", XDG_RUNTIME_DIR=str(odd), TMPDIR=str(odd)
        )
        assert reported.code == 0, reported.err
    finally:
        odd.rmdir()


def test_the_home_over_there_is_found_by_the_rules_of_that_machine(
    remote: Remote, far: EngineProcess, server: SshServer, runtime: Path
) -> None:
    server.environ["HOMEHELPER_HOME"] = str(far.root)
    assert remote("--host", "kitchen", "engine", "status", "--json").json["home"] == str(far.root)
    del server.environ["HOMEHELPER_HOME"]
    # A short path: ssh forwards a socket only if its path leaves room in an address.
    share = runtime / "share"
    share.mkdir()
    (share / "homehelper").symlink_to(far.root)
    server.environ["XDG_DATA_HOME"] = str(share)
    if not os.access("/opt/homehelper", os.W_OK):
        assert remote("--host", "kitchen", "status", "--json").json[0]["app_id"] == "web"


def test_apps_are_stopped_and_started_over_there(remote: Remote, far: EngineProcess) -> None:
    home = ("--host", "kitchen", "--home", str(far.root))
    assert remote(*home, "stop", "web").code == 0
    assert far.client.app("web")["status"] == "stopped"
    assert remote(*home, "start", "web", "--json").json[0]["status"] == "running"
    assert remote(*home, "stop", "nobody").code == 5


def test_logs_and_events_come_from_over_there(remote: Remote, far: EngineProcess) -> None:
    home = ("--host", "kitchen", "--home", str(far.root))
    lines = remote(*home, "logs", "web", "-n", "3", "--json").json["lines"]
    assert [line["text"] for line in lines] == ["line 58", "line 59", "line 60"]
    assert any(message["event"]["event_type"] == "app_started" for message in remote(*home, "events", "--json").json)


@pytest.mark.parametrize("command", [("logs", "web", "-f", "--json"), ("events", "-f", "--json")])
def test_following_goes_on_until_the_connection_is_lost(
    command: tuple[str, ...], far: EngineProcess, server: SshServer, runtime: Path
) -> None:
    process = subprocess.Popen(
        [*HHTUI, "--host", "kitchen", "--home", str(far.root), *command],
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        env=environment(HHTUI_SSH=server.ssh, XDG_RUNTIME_DIR=str(runtime)),
    )
    assert process.stdout is not None and process.stderr is not None
    assert isinstance(json.loads(process.stdout.readline()), dict)
    server.cut()
    assert process.wait(60) == 1
    errors = process.stderr.read().decode().splitlines()
    assert errors[-1].startswith("hhtui: the connection is lost: kitchen: "), errors
    assert sockets(runtime) == []


def test_no_engine_over_there_is_told_with_the_mend_that_works(
    remote: Remote, server: SshServer, tmp_path: Path
) -> None:
    root = make_home(tmp_path / "cold")
    home = ("--host", "kitchen", "--home", str(root))
    reported = remote(*home, "status")
    assert reported.code == 3
    assert reported.err.startswith(
        f"hhtui: no engine runs on kitchen:{root}; `hhtui --host kitchen --home {root} engine st"
    )
    assert len(reported.err.splitlines()) == 1
    engine = EngineProcess(root)
    try:
        started = remote(*home, "engine", "start", "--json")
        assert started.code == 0, started.err
        assert started.json["started"] is True
        assert remote(*home, "status", "--json").json == []
        assert remote(*home, "engine", "stop").code == 0
        assert not engine.client.runs()
        assert remote(*home, "status").code == 3
    finally:
        end_home(engine)


def test_a_socket_that_a_killed_engine_left_is_no_engine(remote: Remote, far: EngineProcess) -> None:
    far.kill()
    reported = remote("--host", "kitchen", "--home", str(far.root), "status")
    assert (reported.code, "no engine runs on kitchen:" in reported.err) == (3, True), reported.err


def test_a_silent_engine_is_named_by_its_machine_in_commands_and_in_the_interface(
    remote: Remote, far: EngineProcess, server: SshServer, runtime: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HHTUI_SSH", server.ssh)
    monkeypatch.setenv("XDG_RUNTIME_DIR", str(runtime))

    async def asked_by_the_interface(tunnel: Tunnel) -> HomeHelperError:
        link = RemoteLink(tunnel)
        link.timeout = 1
        with pytest.raises(EngineSilentError) as caught:
            await link.apps()
        return caught.value

    with Tunnel("kitchen", str(far.root)) as tunnel:
        tunnel.open()
        pid = int(far.client.health()["pid"])
        os.kill(pid, signal.SIGSTOP)
        try:
            with pytest.raises(EngineSilentError) as caught:
                RemoteClient(tunnel, timeout=1).apps()
            for error in (caught.value, asyncio.run(asked_by_the_interface(tunnel))):
                assert "does not answer within 1 s" in error.message
                assert f"on {tunnel.place} " in error.message
                assert str(tunnel.socket_path) not in error.message
        finally:
            os.kill(pid, signal.SIGCONT)


def test_what_needs_files_is_run_over_there(remote: Remote, far: EngineProcess, tmp_path: Path) -> None:
    home = ("--host", "kitchen", "--home", str(far.root))
    assert remote(*home, "config", "path", "--json").json["path"] == str(far.root / "config" / "config.json")
    assert remote(*home, "validate", str(far.root / "apps" / "web")).code == 0
    wrong = remote(*home, "validate", str(tmp_path / "no such; folder'"))
    assert (wrong.code, wrong.err) == (1, f"hhtui: {tmp_path}/no such; folder': no such folder\n")
    new = tmp_path / "new app"
    assert remote(*home, "new", str(new), "--type", "service").code == 0
    assert (new / "homehelper.json").exists()


def test_a_machine_without_hhtui_is_told(remote: Remote, server: SshServer, tmp_path: Path) -> None:
    server.environ.update(PATH="/usr/bin:/bin", HOME=str(tmp_path))
    reported = remote("--host", "kitchen", "--home", str(tmp_path / "none"), "status")
    assert reported.code == 3
    assert "install it there" in reported.err
    ran = remote("--host", "kitchen", "doctor")
    assert (ran.code, ran.err) == (1, "hhtui: kitchen: hhtui is not found there; install it there, or put it in PATH\n")


def test_a_folder_with_a_line_break_in_its_name_is_refused(remote: Remote) -> None:
    reported = remote("--host", "kitchen", "--home", "/tmp/a\nb", "status")
    assert (reported.code, reported.err) == (
        2, "hhtui: --home: a folder with a line break in its name cannot be reached over SSH\n"
    )  # fmt: skip


def test_a_program_that_pipx_installed_is_found(remote: Remote, server: SshServer, tmp_path: Path) -> None:
    place = tmp_path / ".local" / "bin"
    place.mkdir(parents=True)
    (place / "hhtui").write_text('#!/bin/sh\necho "by pipx: $*"\n')
    (place / "hhtui").chmod(0o755)
    server.environ.update(PATH="/usr/bin:/bin", HOME=str(tmp_path))
    assert remote("--host", "kitchen", "doctor", "--json").out == "by pipx: doctor --json\n"


@pytest.mark.parametrize(
    ("host", "words"),
    [
        ("stranger", "`ssh stranger` must work without a question"),
        ("unknown", "its host key is not known here; run `ssh unknown` once"),
        ("nosuch.invalid", "check the name"),
    ],
)
@pytest.mark.parametrize("command", ["status", "doctor"])
def test_why_ssh_fails_is_one_line_with_the_mend(remote: Remote, host: str, words: str, command: str) -> None:
    reported = remote("--host", host, command)
    assert reported.code == 1
    assert reported.out == ""
    assert len(reported.err.splitlines()) == 1
    assert reported.err.startswith(f"hhtui: {host}: ")
    assert words in reported.err


def test_a_server_that_is_not_there_is_told(remote: Remote, server: SshServer) -> None:
    server.cut()
    reported = remote("--host", "kitchen", "status")
    assert (reported.code, len(reported.err.splitlines())) == (1, 1)
    assert "Connection refused; no SSH server listens there" in reported.err


def test_a_server_that_forwards_no_sockets_is_told(remote: Remote, far: EngineProcess, server: SshServer) -> None:
    server.forwards = False
    reported = remote("--host", "kitchen", "--home", str(far.root), "status")
    assert (reported.code, len(reported.err.splitlines())) == (1, 1), reported.err
    assert "AllowStreamLocalForwarding" in reported.err


@pytest.mark.parametrize(
    "host", ["-oProxyCommand=touch x", "-F/etc/passwd", "a b", "a;b", "$(x)", "`x`", "a\nb", "", "pi@-x", "ssh://-x"]
)
def test_a_host_is_never_an_option_nor_more_than_a_name(remote: Remote, host: str) -> None:
    for command in ("status", "doctor"):
        reported = remote("--host", host, command)
        assert (reported.code, reported.out) == (2, "")
        assert len(reported.err.splitlines()) == 1


@pytest.mark.parametrize(
    "host", ["kitchen", "pi@kitchen.local", "pi@192.168.1.2", "fe80::1%eth0", "ssh://pi@kitchen:2222", "ssh://[::1]:22"]
)
def test_what_ssh_takes_is_taken(host: str) -> None:
    assert ssh.check_host(host) == host


def test_options_of_the_words_cannot_slip_by(remote: Remote) -> None:
    with pytest.raises(UsageError):
        ssh.call("-x", ["sh"], ask=False)
    assert remote("--host").code == 2
    assert remote("--host", "kitchen", "completion", "bash").code == 2


def test_hostile_words_of_a_server_are_harmless(remote: Remote, server: SshServer, tmp_path: Path) -> None:
    server.banner = HOSTILE
    place = tmp_path / "bin"
    place.mkdir()
    (place / "hhtui").write_text("#!/bin/sh\nprintf '\\033]0;x\\007\\033[2J to stderr\\n' >&2\nexit 1\n")
    (place / "hhtui").chmod(0o755)
    # A login shell that says things, a machine whose home has escapes in its name, a hhtui that is none.
    server.environ.update(PATH=f"{place}:/usr/bin:/bin", HOMEHELPER_HOME=f"/tmp/{HOSTILE.strip()}")
    for reported in (
        remote("--host", "kitchen", "status"),
        remote("--host", "stranger", "status"),
        remote("--host", "kitchen", "doctor"),
    ):
        assert reported.code in (1, 3)
        assert (
            "\x1b" not in reported.err
            and "\x9b" not in reported.err
            and "\u202e" not in reported.err
            and "\x07" not in reported.err
        )


@pytest.mark.parametrize("number", [signal.SIGTERM, signal.SIGINT, signal.SIGHUP, signal.SIGKILL])
def test_whatever_ends_a_command_its_socket_and_ssh_are_gone(
    number: signal.Signals, far: EngineProcess, server: SshServer, runtime: Path
) -> None:
    process = subprocess.Popen(
        [*HHTUI, "--host", "kitchen", "--home", str(far.root), "logs", "web", "-f"],
        stdout=subprocess.PIPE,
        env=environment(HHTUI_SSH=server.ssh, XDG_RUNTIME_DIR=str(runtime)),
    )
    assert process.stdout is not None
    process.stdout.readline()
    folder = next(runtime.iterdir())
    assert folder.stat().st_mode & 0o777 == 0o700
    assert ssh_processes(server) != []
    process.send_signal(number)
    process.wait(60)
    eventually(lambda: not ssh_processes(server) and not sockets(runtime), 60)


def test_a_folder_of_this_machine_is_added_there(remote: Remote, far: EngineProcess, tmp_path: Path) -> None:
    folder = tmp_path / "lamp"
    folder.mkdir()
    for name, text in app_files().items():
        (folder / name).write_text(text)
    added = remote("--host", "kitchen", "--home", str(far.root), "add", str(folder), "--yes", "--json")
    assert added.code == 0, added.err
    assert [app["app_id"] for app in added.json] == ["lamp"]
    assert (far.root / "apps" / "lamp" / "run.sh").read_text() == app_files()["run.sh"]
