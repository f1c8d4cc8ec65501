"""The engine inside this process, in a thread and a loop of its own: it saves memory on the smallest boards."""

from __future__ import annotations

import asyncio
import importlib
import threading
from typing import Any

from hhtui.errors import HomeHelperError
from hhtui.paths import Home

START_SECONDS = 20.0
STOP_SECONDS = 60.0


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
        # By name, here alone: the interface does not depend on the engine, it only may house it.
        module = importlib.import_module("hhtui.engine.engine")
        async with module.Engine(self._home.root) as engine:
            self._engine, self._loop = engine, asyncio.get_running_loop()
            self._up.set()
            await engine.stopped.wait()
