"""Getting an engine to talk to: the home's own, one started as a process or inside this one, or another machine's."""

from __future__ import annotations

import asyncio
import importlib
import threading
from typing import TYPE_CHECKING, Any

from hhtui.client.link import EngineLink
from hhtui.errors import HomeHelperError
from hhtui.paths import Home
from hhtui.tui.session.link import Link

if TYPE_CHECKING:
    from hhtui.client.remote import RemoteLink
    from hhtui.client.tunnel import Tunnel


START_SECONDS = 20.0
STOP_SECONDS = 60.0


class Connector:
    """``ours`` is true if the engine came up with this interface: then quitting asks what becomes of it."""

    def __init__(self, home: Home, *, in_process: bool = False, read_only: bool = False, demo: bool = False) -> None:
        self.home = home
        self.in_process = in_process
        self.read_only = read_only
        self.demo = demo
        self.ours = False
        self._inside: Any = None

    async def connect(self) -> EngineLink:
        """Attach, or start an engine first; HomeHelperError if that fails. Who only watches starts none."""
        loop = asyncio.get_running_loop()
        if self.read_only and not self.demo:
            return EngineLink(self.home.engine_socket)
        if self.in_process:
            self._inside = InProcessEngine(self.home)
            await loop.run_in_executor(None, self._inside.start)
            self.ours = True
        else:
            from hhtui.client.engine_start import ensure_engine

            attached = await loop.run_in_executor(None, ensure_engine, self.home)
            self.ours = attached.started
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

    def farewell(self, *, stopped: bool, pid: int | None = None) -> str:
        """What is said on the terminal after leaving; ``pid`` is the engine's, if one answered the last time."""
        if self.demo:
            return ""  # said when that is so
        if stopped:
            return "hhtui: all apps and the engine are stopped."
        if self._inside is not None:
            return "hhtui: left; the apps run on unwatched until `hhtui` takes them over again."
        if self.read_only:
            return ""
        if pid is None:
            return "hhtui: left; no engine answers, apps that ran run on; `hhtui engine start` brings one back."
        return f"hhtui: left; engine (pid {pid}) and apps run on; `hhtui engine stop` ends them."

    def close(self) -> None:
        """End what runs in this process."""
        if self._inside is not None:
            self._inside.close()


class EngineThreadError(HomeHelperError):
    """The engine inside this process did not start."""

    slug = "engine_start"


class InProcessEngine:
    """``start`` blocks until the engine serves; ``close`` ends it and leaves apps running."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._thread = threading.Thread(target=self._run, name="engine", daemon=True)
        self._up = threading.Event()
        self._failure: HomeHelperError | None = None
        self._loop: asyncio.AbstractEventLoop | None = None
        self._engine: Any = None

    def start(self) -> None:
        """Start it; HomeHelperError if it cannot run on this home."""
        self._thread.start()
        if not self._up.wait(START_SECONDS):
            raise EngineThreadError(f"the engine did not start within {START_SECONDS:.0f} s")
        if self._failure is not None:
            raise self._failure

    def close(self) -> None:
        """End it if it still runs; apps run on."""
        loop, engine = self._loop, self._engine
        if loop is not None and engine is not None and self._thread.is_alive():
            try:
                loop.call_soon_threadsafe(self._end)
            except RuntimeError:
                pass  # it has ended meanwhile
        if self._thread.is_alive():
            self._thread.join(STOP_SECONDS)

    def _end(self) -> None:
        if not self._engine.stopped.is_set():
            self._engine.keep_apps = True
            self._engine.stopped.set()

    def _run(self) -> None:
        try:
            asyncio.run(self._serve())
        except HomeHelperError as error:
            self._failure = error
        except Exception as error:
            self._failure = EngineThreadError(f"the engine ended: {type(error).__name__}: {error}")
        finally:
            self._up.set()

    async def _serve(self) -> None:
        # By name, here alone: the interface does not depend on the engine, it only may contain it.
        module = importlib.import_module("hhtui.engine.engine")
        async with module.Engine(self._home.root) as engine:
            self._engine, self._loop = engine, asyncio.get_running_loop()
            self._up.set()
            await engine.stopped.wait()


class RemoteConnector:
    """Like ``Connector``, for the home at the other end of ``tunnel``; it never starts an engine there."""

    in_process = False
    ours = False

    def __init__(self, tunnel: Tunnel) -> None:
        self.tunnel = tunnel

    async def connect(self) -> RemoteLink:
        """Connect unless connected; HomeHelperError says what is in the way."""
        from hhtui.client.remote import RemoteLink  # a home on this machine does without

        link = RemoteLink(self.tunnel)
        await link.reach()
        return link

    async def leave(self, link: Link) -> None:
        """Everything goes on there."""

    async def stop(self, link: Link, *, keep_apps: bool) -> None:
        """End that machine's engine, and wait until it answers no more; up to a minute."""
        await link.stop_engine(keep_apps=keep_apps)
        for _ in range(120):
            if not await link.answers():
                return
            await asyncio.sleep(0.5)

    def farewell(self, *, stopped: bool, pid: int | None = None) -> str:
        """What is said on the terminal after leaving."""
        if stopped:
            return f"hhtui: all apps and the engine of {self.tunnel.label} are stopped."
        return f"hhtui: left {self.tunnel.label}; its engine and apps run on."

    def close(self) -> None:
        """Disconnect."""
        self.tunnel.close()
