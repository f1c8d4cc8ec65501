"""Delegated cgroup v2: where it is allowed, an app's processes cannot leave their group, and one write ends all."""

from __future__ import annotations

import logging
import os
from collections.abc import Mapping
from contextlib import suppress
from pathlib import Path

log = logging.getLogger("homehelper.cgroup")

# What systemd marks a delegated unit's group with (systemd's CGROUP_DELEGATION).
_DELEGATION_MARKS = ("user.delegate", "trusted.delegate")
# What our own unit says: users' managers set no mark, and the older systemd's can be read by root alone.
_DELEGATED_VARIABLE = "HHTUI_DELEGATED"
# Its value where the unit takes the controllers away again when an engine has ended (ExecStopPost=).
_MAY_MOVE = "subgroup"
_SUBGROUP = "engine"
_CONTROLLERS = ("memory", "cpu", "pids")
# Who is forked while a group is emptied is found by the next look.
_LOOKS = 10
_PERIOD_US = 100_000


class AppCgroup:
    """One app's group; every method is a no-op where the kernel refuses."""

    def __init__(self, folder: Path) -> None:
        self._folder = folder

    def add(self, pid: int) -> None:
        """Move a process, what it has forked already, and so all that it will fork, into the group."""
        try:
            self._folder.mkdir(exist_ok=True)
            _move(pid, self._folder)
        except OSError as error:
            log.warning("%s: cannot be used: %s", self._folder, error.strerror)
            return
        for child in _children(pid):
            self.add(child)

    def pids(self) -> set[int]:
        """Everybody in the group."""
        try:
            return {int(line) for line in (self._folder / "cgroup.procs").read_text().split()}
        except (OSError, ValueError):
            return set()

    def kill(self) -> None:
        """SIGKILL to everybody in it at once (cgroup.kill, Linux 5.14)."""
        try:
            (self._folder / "cgroup.kill").write_text("1")
        except OSError:
            pass

    def remove(self) -> None:
        """Remove the group once it is empty."""
        try:
            self._folder.rmdir()
        except OSError:
            pass

    def kills_for_memory(self) -> int:
        """How many of this group the kernel has killed for its memory limit since the group was made."""
        try:
            events = dict(line.split() for line in (self._folder / "memory.events").read_text().splitlines())
            return int(events.get("oom_kill", "0"))
        except (OSError, ValueError):
            return 0

    def limit(self, memory_mb: float | None, cpu_percent: float | None) -> list[str]:
        """Set the limits; the names of those that the kernel's controllers cannot hold here."""
        refused = []
        memory = "max" if memory_mb is None else str(int(memory_mb * 1_048_576))
        cpu = "max" if cpu_percent is None else str(int(cpu_percent / 100 * _PERIOD_US))
        for wanted, name, value in (
            (memory_mb, "memory.max", memory),
            (cpu_percent, "cpu.max", f"{cpu} {_PERIOD_US}"),
        ):
            try:
                self._folder.mkdir(exist_ok=True)
                (self._folder / name).write_text(value)
            except OSError:
                if wanted is not None:
                    refused.append(name.partition(".")[0])
        return refused


class Cgroups:
    """The engine's delegated part of the tree: ``<unit>/app-<app_id>`` each.

    ``controllers`` are those whose limits the kernel holds for apps.
    """

    def __init__(self, base: Path, *, controllers: bool) -> None:
        self._base = base
        if controllers:
            self._enable_controllers()
        self.controllers = self._enabled()

    @classmethod
    def find(cls, proc: Path = Path("/proc/self"), environ: Mapping[str, str] = os.environ) -> Cgroups | None:
        """The group that was delegated to this process; None where none was: then cookies find an app's processes.

        Controllers, and with them limits, need the engine in a subgroup of its own: none of the groups that have
        controllers for their children may hold a process itself (cgroups(7), "no internal processes"). systemd puts it
        there since 254 (DelegateSubgroup=); an older one starts it in the unit's own group, and it moves by itself. But
        not unless the unit says that it takes the controllers away when an engine has ended: as long as that group has
        them, systemd could not place the next engine there, which would then never start.
        """
        own = _own_group(proc)
        if own is None:
            return None
        given = environ.get(_DELEGATED_VARIABLE)
        if _is_delegated(own) or (given and own.name != _SUBGROUP and _is_writable(own)):
            return cls(own, controllers=given == _MAY_MOVE and _empty_into(own, own / _SUBGROUP))
        if _is_delegated(own.parent) or (given and _is_writable(own.parent)):
            return cls(own.parent, controllers=True)
        return None

    def app(self, app_id: str) -> AppCgroup:
        """The group of one app."""
        return AppCgroup(self._base / f"app-{app_id}")

    def _enable_controllers(self) -> None:
        for controller in _CONTROLLERS:
            try:
                (self._base / "cgroup.subtree_control").write_text(f"+{controller}")
            except OSError as error:
                log.info("%s: no controller %s: %s", self._base, controller, error.strerror)

    def _enabled(self) -> frozenset[str]:
        try:
            return frozenset((self._base / "cgroup.subtree_control").read_text().split())
        except OSError:
            return frozenset()


def _move(pid: int, folder: Path) -> None:
    (folder / "cgroup.procs").write_text(str(pid))


def _empty_into(folder: Path, subgroup: Path) -> bool:
    """Move all processes of a group into its subgroup; whether none is left."""
    try:
        subgroup.mkdir(exist_ok=True)
        for _ in range(_LOOKS):
            pids = (folder / "cgroup.procs").read_text().split()
            if not pids:
                return True
            for pid in pids:
                with suppress(ProcessLookupError):
                    _move(int(pid), subgroup)
    except (OSError, ValueError) as error:
        log.warning("%s: the engine cannot move into a subgroup: %s", folder, error)
    return False


def _children(pid: int) -> list[int]:
    """Who was forked by the process (proc_pid_task(5)); [] where the kernel does not say."""
    found: list[int] = []
    for path in Path(f"/proc/{pid}/task").glob("*/children"):
        with suppress(OSError, ValueError):
            found.extend(int(word) for word in path.read_text().split())
    return found


def _own_group(proc: Path) -> Path | None:
    try:
        groups = (proc / "cgroup").read_text().splitlines()
        mounts = (proc / "mountinfo").read_text().splitlines()
    except OSError:
        return None
    path = next((line[3:] for line in groups if line.startswith("0::/")), None)
    if path is None or path == "/":
        return None
    for line in mounts:
        fields, _, kind = line.partition(" - ")
        if kind.split(" ", 1)[0] == "cgroup2":
            root, point = fields.split(" ")[3:5]
            inside = path.removeprefix(root if root != "/" else "")
            folder = Path(point) / inside.lstrip("/")
            return folder if folder.is_dir() else None
    return None


def _is_delegated(folder: Path) -> bool:
    for name in _DELEGATION_MARKS:
        try:
            if os.getxattr(folder, name) == b"1":
                return _is_writable(folder)
        except OSError:
            continue
    return False


def _is_writable(folder: Path) -> bool:
    return os.access(folder, os.W_OK) and os.access(folder / "cgroup.procs", os.W_OK)
