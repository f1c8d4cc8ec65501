"""An app that tries to get out of its sandbox, each way once: what came of it goes into its data folder as JSON."""

from __future__ import annotations

import ctypes
import json
import os
import signal
import socket
import stat
from collections.abc import Callable
from pathlib import Path

HOME = Path(os.environ["HOMEHELPER_CONFIG_PATH"]).parent.parent
DATA = Path(os.environ["HOMEHELPER_DATA_DIR"])
VICTIM, ENGINE = int(os.environ["VICTIM_PID"]), int(os.environ["ENGINE_PID"])
KEYCTL = {"x86_64": 250, "aarch64": 219}.get(os.uname().machine, 311)
libc = ctypes.CDLL(None, use_errno=True)


def read(path: str | Path) -> Callable[[], object]:
    return lambda: Path(path).read_bytes()


def call(name: str, *arguments: object) -> Callable[[], object]:
    """A system call by its function, whose failure is an OSError."""

    def do() -> object:
        if getattr(libc, name)(*arguments) < 0:
            raise OSError(ctypes.get_errno(), os.strerror(ctypes.get_errno()))
        return 0

    return do


def write(path: str | Path) -> Callable[[], object]:
    return lambda: Path(path).write_text("mine")


def opened(path: str) -> Callable[[], object]:
    """Open to be written: what it would do is not tried."""
    return lambda: os.close(os.open(path, os.O_WRONLY))


def connect(path: str | Path) -> Callable[[], object]:
    return lambda: socket.socket(socket.AF_UNIX).connect(str(path))


def through_a_link() -> object:
    (DATA / "link").symlink_to(HOME / "data" / "victim" / "secret")
    return (DATA / "link").read_bytes()


def see_strangers() -> object:
    pids = [int(entry) for entry in os.listdir("/proc") if entry.isdigit()]
    if max(pids) > 100:
        return pids
    raise ProcessLookupError("nobody else is there")


def run_setuid() -> object:
    """No new privileges: a program with the setuid bit gives none."""
    if libc.prctl(39, 0, 0, 0, 0) == 1:
        raise PermissionError("no new privileges")
    return 1


def enter(kind: str) -> Callable[[], object]:
    def do() -> object:
        descriptor = os.open(f"/proc/1/ns/{kind}", os.O_RDONLY)
        return call("setns", descriptor, 0)()

    return do


def signal_own_group() -> object:
    """Also those of its group that are outside get it."""
    signal.signal(signal.SIGUSR1, signal.SIG_IGN)
    os.kill(0, signal.SIGUSR1)
    os.kill(-1, signal.SIGUSR1)
    raise PermissionError("only the own processes were reached")


TRIES: dict[str, Callable[[], object]] = {
    "read another app's data": read(HOME / "data/victim/secret"),
    "read another app's folder": read(HOME / "apps/victim/homehelper.json"),
    "read another app's log": read(HOME / "logs/victim/app.log"),
    "write another app's folder": write(HOME / "apps/victim/evil"),
    "read the configuration": read(HOME / "config/config.json"),
    "read the secrets": read(HOME / "config/secrets.env"),
    "speak to the engine": connect(HOME / "run/engine.sock"),
    "follow a link in its own data": through_a_link,
    "read another app's environment": read(f"/proc/{VICTIM}/environ"),
    "signal another app": lambda: os.kill(VICTIM, signal.SIGKILL),
    "signal the engine": lambda: os.kill(ENGINE, signal.SIGKILL),
    "trace another app": call("ptrace", 16, VICTIM, 0, 0),
    "see other processes": see_strangers,
    "end the namespace's first process": lambda: (os.kill(1, signal.SIGKILL), os.kill(1, 0), 1 / 0),
    "signal the monitor by its group": signal_own_group,
    "write its own folder": write("evil"),
    "write /etc": write("/etc/evil"),
    "write /usr": write("/usr/evil"),
    "write the root folder": write("/evil"),
    "write what covers the home": write(HOME / "evil"),
    "set the kernel": opened("/proc/sys/kernel/core_pattern"),
    "move an interrupt": opened("/proc/irq/default_smp_affinity"),
    "press a system request": opened("/proc/sysrq-trigger"),
    "read the kernel's symbols": read("/proc/kallsyms"),
    "set a device of the machine": opened("/sys/power/state"),
    "mount": call("mount", b"none", b"/tmp", b"tmpfs", 0, None),
    "make the root writable": call("mount", b"none", b"/", None, 32 | 4096, None),
    "uncover the home": call("umount2", str(HOME).encode(), 2),
    "make a user namespace": call("unshare", 0x10000000),
    "make a mount namespace": call("unshare", 0x00020000),
    "enter a mount namespace": enter("mnt"),
    "enter a process namespace": enter("pid"),
    "change its root": call("chroot", b"/tmp"),
    "make a device": lambda: os.mknod(DATA / "disk", 0o600 | stat.S_IFBLK, os.makedev(8, 0)),
    "gain privileges by setuid": run_setuid,
    "reach the home by the first process": read(f"/proc/1/root{HOME}/config/config.json"),
    "speak to D-Bus": connect("/run/dbus/system_bus_socket"),
    "speak to systemd": connect("/run/systemd/private"),
    "speak to Docker": connect("/run/docker.sock"),
    "read the user's home": lambda: os.listdir(os.environ["USERS_HOME"] + "/.ssh"),
    "read another user's home": lambda: os.listdir("/home"),
    "read the machine's logs": lambda: os.listdir("/var/log"),
    "read the session's keys": call("syscall", KEYCTL, 0, -3, 1),
    "pass filters by io_uring": call("syscall", 425, 1, ctypes.create_string_buffer(120)),
    "become another user": lambda: os.setuid(4242),
}


def main() -> None:
    found = {}
    for name, attempt in TRIES.items():
        try:
            found[name] = f"done: {attempt()!r}"[:200]
        except OSError as error:
            found[name] = f"refused: {error.strerror or error}"
        except ZeroDivisionError:
            found[name] = "refused: it lives"
    (DATA / "tries.tmp").write_text(json.dumps(found))
    (DATA / "tries.tmp").rename(DATA / "tries.json")


main()
