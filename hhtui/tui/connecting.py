"""Getting an engine to talk to: the home's own, one brought up as a process, or one inside this process."""

from __future__ import annotations

import asyncio
from typing import Any

from hhtui.client.link import EngineLink
from hhtui.paths import Home
from hhtui.tui.link import Link, Transport


class Connector:
    """``ours`` is true if the engine came up with this interface: then quitting asks what becomes of it."""

    def __init__(self, home: Home, *, in_process: bool = False, read_only: bool = False, demo: bool = False) -> None:
        self.home = home
        self.in_process = in_process
        self.read_only = read_only
        self.demo = demo
        self.ours = False
        self.pid: int | None = None
        self._inside: Any = None

    async def connect(self) -> Transport:
        """Attach, or start an engine first; HomeHelperError if that fails. Who only watches starts none."""
        loop = asyncio.get_running_loop()
        if self.read_only and not self.demo:
            return EngineLink(self.home.engine_socket)
        if self.in_process:
            from hhtui.tui.in_process import InProcessEngine

            self._inside = InProcessEngine(self.home)
            await loop.run_in_executor(None, self._inside.start)
            self.ours = True
        else:
            from hhtui.client.starting import ensure_engine

            attached = await loop.run_in_executor(None, ensure_engine, self.home)
            self.ours = attached.started
            pid = attached.health.get("pid")
            self.pid = pid if isinstance(pid, int) else None
        return EngineLink(self.home.engine_socket)

    async def leave(self, link: Link) -> None:
        """Let the engine go on where it can: an engine in this process ends, its apps run on."""
        if self._inside is not None:
            await self.stop(link, keep_apps=not self.demo)

    async def stop(self, link: Link, *, keep_apps: bool) -> None:
        """End the engine and wait until it has ended; up to a minute, for apps may take their time."""
        await link.stop_engine(keep_apps=keep_apps)
        for _ in range(600):
            if not self.home.engine_socket.exists():
                return
            await asyncio.sleep(0.1)

    def farewell(self, *, stopped: bool) -> str:
        """What is said on the terminal after leaving."""
        if self.demo:
            return "hhtui: the demo is over; its apps are stopped and its home is removed."
        if stopped:
            return "hhtui: all apps and the engine are stopped."
        if self._inside is not None:
            return "hhtui: left; the apps run on unwatched until `hhtui` takes them over again."
        if self.read_only:
            return ""
        engine = f"engine (pid {self.pid})" if self.pid else "engine"
        return f"hhtui: left; {engine} and apps run on; `hhtui engine stop` ends them."

    def close(self) -> None:
        """End what runs in this process."""
        if self._inside is not None:
            self._inside.close()
