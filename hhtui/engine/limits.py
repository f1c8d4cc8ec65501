"""What an app may use: held by the kernel where cgroups are delegated, else its memory is measured now and then."""

from __future__ import annotations

import asyncio
import logging
from pathlib import Path
from typing import TYPE_CHECKING

from hhtui.engine.hardware.app_usage import AppTrees, Root, proportional_memory_mb
from hhtui.engine.lifecycle import Trigger
from hhtui.model.app import Status

if TYPE_CHECKING:
    from hhtui.engine.supervisor import Supervisor

log = logging.getLogger("homehelper.limits")

# How often the tree of an app with a memory limit is measured where the kernel cannot hold it (seconds).
MEASURE_INTERVAL = 5.0
_NOTICE = "limits"
_ALIVE = frozenset({Status.STARTING, Status.RUNNING})
# https://www.raspberrypi.com/documentation/computers/configuration.html#the-kernel-command-line
_CMDLINE = "add cgroup_enable=memory cgroup_memory=1 to the line in /boot/firmware/cmdline.txt, and reboot"


class AppLimits:
    """The limits of one app's supervisor."""

    def __init__(self, app: Supervisor) -> None:
        self._app = app
        self._trees: AppTrees | None = None
        self._timer: asyncio.TimerHandle | None = None
        self._kills = 0

    def apply(self) -> None:
        """Hold what the manifest asks for from now on: before a start, and when the manifest changes."""
        self.end()
        app = self._app
        manifest = app.found.manifest
        if manifest is None:
            return
        memory, cpu = manifest.limits.memory_mb, manifest.limits.cpu_percent
        cgroup = app.cgroup()
        if cgroup is not None:
            refused = cgroup.limit(memory, cpu)
            self._kills = cgroup.kills_for_memory()
        else:
            refused = [name for name, value in (("memory", memory), ("cpu", cpu)) if value is not None]
        told = _told(refused, delegated=cgroup is not None) if refused else None
        app.notice(_NOTICE, told, logged=False)
        if "memory" in refused:
            self._arm()

    def end(self) -> None:
        """Measure no longer."""
        self._trees = None
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def killed_words(self) -> str | None:
        """Why the app was killed, if the kernel did it for its memory limit: memory.events (cgroup-v2.rst)."""
        cgroup = self._app.cgroup()
        manifest = self._app.found.manifest
        if cgroup is None or manifest is None or manifest.limits.memory_mb is None:
            return None
        if cgroup.kills_for_memory() == self._kills:
            return None
        return f"killed by the kernel: over its limit of {manifest.limits.memory_mb:g} MB memory"

    def _arm(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(MEASURE_INTERVAL, self._due)

    def _due(self) -> None:
        self._timer = None
        self._app.run(self._measure())

    async def _measure(self) -> None:
        app = self._app
        manifest = app.found.manifest
        limit = manifest.limits.memory_mb if manifest is not None else None
        if limit is None:
            return
        child = app.launching.child
        if child is None:
            return  # the next start begins anew
        if app.status in _ALIVE:
            used = await self._used_mb(Root(app.app_id, child.pid, child.identity.start_ticks), limit)
            if used > limit and app.launching.child is child and app.status in _ALIVE:
                log.warning("%s: uses %.0f MB memory, more than %g", app.app_id, used, limit)
                words = f"used {used:.0f} MB memory, over its limit of {limit:g} MB"
                app.ending.end_faulty(Trigger.OVER_LIMIT, words)
        if self._timer is None and app.found.manifest is manifest:
            self._arm()

    async def _used_mb(self, root: Root, limit: float) -> float:
        """The tree's memory; counted dearly, with shared pages once, only where the cheap count is over the limit."""
        self._trees = self._trees or AppTrees()
        usage = self._trees.measure([root]).get(root.app_id)
        if usage is None or usage.memory_mb <= limit:
            return 0.0
        exact = await asyncio.get_running_loop().run_in_executor(None, proportional_memory_mb, usage.pids)
        return usage.memory_mb if exact is None else exact


def memory_controller_missing(controllers: Path = Path("/sys/fs/cgroup/cgroup.controllers")) -> bool:
    """Whether this kernel runs without the memory controller, as Raspberry Pi OS does by default."""
    try:
        return "memory" not in controllers.read_text().split()
    except OSError:
        return False


def _told(refused: list[str], *, delegated: bool) -> str:
    missing = memory_controller_missing()
    parts = []
    if "memory" in refused:
        parts.append(f"limits.memory_mb is measured every {MEASURE_INTERVAL:g} s and held by a restart")
    if "cpu" in refused:
        parts.append("limits.cpu_percent cannot be held")
    told = ", ".join(parts)
    if "memory" in refused and missing:
        reason = f"this kernel has no memory controller: {_CMDLINE}"
    elif delegated:
        reason = "the engine's service does not have these controllers: run hhtui service install"
    else:
        reason = "only a systemd service with Delegate= can: run hhtui service install"
    _say_once(f"{told}; {reason}")
    return f"{told}; {reason}"


_said: set[str] = set()


def _say_once(words: str) -> None:
    """In the engine's log once, at each app's page as long as it holds."""
    if words not in _said:
        _said.add(words)
        log.warning("%s", words)
