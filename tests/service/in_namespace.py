"""Runs inside namespaces of its own (see real_systemd.py): a real systemd as a user manager, and our service in it.

Prints one JSON object a step; the first failing assertion ends it.
"""

from __future__ import annotations

import json
import os
import signal
import subprocess
import sys
import time
from pathlib import Path
from typing import Any

from tests.engine.engine_process import eventually

HHTUI = [sys.executable, "-P", "-m", "hhtui"]


def run(*words: str, check: bool = True) -> str:
    """Run a command; its output."""
    done = subprocess.run(words, capture_output=True, text=True, timeout=60, check=False)
    assert not check or done.returncode == 0, f"{words}: {done.returncode}: {done.stdout}{done.stderr}"
    return done.stdout


def show(name: str) -> str:
    """A property of the unit."""
    return run("systemctl", "--user", "show", "hhtui", f"--property={name}", "--value").strip()


def told(step: str, **found: Any) -> None:
    print(json.dumps({"step": step, **found}), flush=True)


def start_manager(folder: Path) -> None:
    """Fresh /run and cgroup tree, and a user manager on them."""
    run("mount", "-t", "tmpfs", "tmpfs", "/run")
    run("umount", "-R", "/sys/fs/cgroup", check=False)
    run("mount", "-t", "cgroup2", "cgroup2", "/sys/fs/cgroup")
    # The manager runs beside the scenario, not in one group with it.
    runtime = Path("/run/user/0")
    runtime.mkdir(parents=True, mode=0o700)
    Path("/run/systemd/system").mkdir(parents=True)
    os.environ.update(XDG_RUNTIME_DIR=str(runtime), HOME=str(folder), SYSTEMD_LOG_TARGET="null")
    os.environ.pop("XDG_CONFIG_HOME", None)
    subprocess.Popen(["/lib/systemd/systemd", "--user", "--unit=basic.target"], stderr=subprocess.DEVNULL)
    eventually((runtime / "systemd" / "private").exists, what="the user manager")


def main(folder: Path, home: Path) -> None:
    start_manager(folder)

    def hhtui(*words: str) -> Any:
        text = run(*HHTUI, "--home", str(home), "--json", *words)
        return json.loads(text)

    def app() -> tuple[str, int | None]:
        done = subprocess.run(
            [*HHTUI, "--home", str(home), "--json", "status", "speaker"], capture_output=True, text=True, check=False
        )
        if done.returncode:
            return "", None
        record = json.loads(done.stdout)
        record = record[0] if isinstance(record, list) else record
        pid = record["runtime_info"]["process_id"]
        return record["status"], int(pid) if pid else None

    installed = hhtui("service", "install", "--user")
    drop_in = Path(installed["path"] + ".d")
    drop_in.mkdir()
    (drop_in / "test.conf").write_text("[Service]\nWatchdogSec=8\nRestartSec=500ms\n")
    run("systemctl", "--user", "daemon-reload")
    run("systemctl", "--user", "restart", "hhtui")
    assert show("ActiveState") == "active"
    eventually(lambda: app()[0] == "running", what="the app runs")
    pid = app()[1]
    told("install", type=show("Type"), status=show("StatusText"), stored=show("NFileDescriptorStore"))
    group = Path(f"/proc/{pid}/cgroup").read_text()
    told("cgroup", own=group.rstrip().endswith("app-speaker"))

    def main_pid() -> int:
        return int(show("MainPID"))

    def restarted(before: int, restarts: int) -> None:
        eventually(
            lambda: main_pid() not in (0, before) and show("ActiveState") == "active",
            what="systemd starts the engine again",
        )
        assert int(show("NRestarts")) == restarts

    engine = main_pid()
    os.kill(engine, signal.SIGKILL)
    restarted(engine, 1)
    eventually(lambda: app() == ("running", pid), what="the app is adopted after SIGKILL")
    told("kill", app_survived=True)

    engine = main_pid()
    os.kill(engine, signal.SIGSTOP)
    restarted(engine, 2)
    eventually(lambda: app() == ("running", pid), what="the app is adopted after the watchdog")
    told("watchdog", app_survived=True, result=show("Result"))

    engine = main_pid()
    began = time.monotonic()
    run("systemctl", "--user", "reload", "hhtui")
    took = time.monotonic() - began
    eventually(lambda: hhtui("engine", "status")["reloads"] == 1, what="the reload")
    assert main_pid() == engine
    eventually(lambda: app() == ("running", pid), what="the app ran on through the reload")
    told("reload", same_pid=True, seconds=round(took, 2))

    eventually(lambda: show("NFileDescriptorStore") == "2", what="the pipes are stored")
    engine = main_pid()
    os.kill(engine, signal.SIGKILL)
    assert pid is not None
    os.kill(pid, signal.SIGTERM)
    restarted(engine, 3)
    log = home / "logs" / "speaker" / "app.log"
    eventually(lambda: "last words\n" in log.read_text(), what="the last words, by the descriptor store")
    told("last_words", kept=True)

    eventually(lambda: app()[0] == "running", what="the app runs again")
    pid = app()[1]
    run("systemctl", "--user", "stop", "hhtui")
    assert show("ActiveState") == "inactive", show("ActiveState")
    assert show("Result") == "success", show("Result")
    assert not Path(f"/proc/{pid}").exists()
    told("stop", app_stopped=True)

    hhtui("service", "uninstall", "--user")
    assert not Path(installed["path"]).exists()
    assert log.exists()
    told("uninstall", home_stays=True)


if __name__ == "__main__":
    main(Path(sys.argv[1]), Path(sys.argv[2]))
