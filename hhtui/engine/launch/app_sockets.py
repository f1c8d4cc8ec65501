"""The engine's API for apps: of each that may use it (permissions.control) a socket in a folder of its own.

Its sandbox shows that folder. An engine that takes over makes the socket anew, and one that had been shown itself would
stay the old one.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import socket
from collections.abc import Awaitable, Callable, Collection
from typing import Protocol

from hhtui.engine.unix_socket import bind_unix_socket
from hhtui.errors import HomeHelperError
from hhtui.paths import Home
from hhtui.text import sanitise

log = logging.getLogger("homehelper.supervisor")
_MODE = 0o600


class Served(Protocol):
    """One app's socket while it is answered."""

    async def stop(self) -> None:
        """Answer no more, and close the socket."""


Serve = Callable[[str, socket.socket], Awaitable[Served]]


class AppSockets:
    """Who connects before the engine serves waits until it does."""

    def __init__(self, home: Home) -> None:
        self._home = home
        self._serve: Serve | None = None
        self._listeners: dict[str, socket.socket] = {}
        self._served: dict[str, Served] = {}
        self._one_at_a_time = asyncio.Lock()

    async def take_up(self, running: Collection[str]) -> None:
        """At the engine's start: those of the apps that are ``running`` work again, the others go."""
        folder = self._home.app_sockets_dir
        for app_id in os.listdir(folder) if folder.is_dir() else ():
            if app_id not in running:
                await self.close(app_id)
                continue
            try:
                await self.open(app_id)
            except HomeHelperError as error:
                log.error("%s: %s", app_id, error.message)

    async def serve(self, serve: Serve) -> None:
        """Answer from now on."""
        async with self._one_at_a_time:
            self._serve = serve
            for app_id, listener in self._listeners.items():
                self._served[app_id] = await serve(app_id, listener)

    async def open(self, app_id: str) -> None:
        """The app's socket is there; HomeHelperError if it cannot be made."""
        path = self._home.app_socket(app_id)
        async with self._one_at_a_time:
            if app_id in self._listeners and path.is_socket():
                return
            await self._shut(app_id)
            try:
                path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
                listener = self._listeners[app_id] = bind_unix_socket(path, _MODE)
            except OSError as error:
                raise HomeHelperError(
                    f"its socket {sanitise(str(path), 300)} cannot be made: {error.strerror}"
                ) from None
            if self._serve is not None:
                self._served[app_id] = await self._serve(app_id, listener)

    async def close(self, app_id: str) -> None:
        """The app has no socket."""
        async with self._one_at_a_time:
            await self._shut(app_id)
            shutil.rmtree(self._home.app_socket(app_id).parent, ignore_errors=True)

    async def stop(self) -> None:
        """Answer no more; the folders stay for apps that run on."""
        async with self._one_at_a_time:
            await asyncio.gather(*map(self._shut, list(self._listeners)))

    async def _shut(self, app_id: str) -> None:
        listener, served = self._listeners.pop(app_id, None), self._served.pop(app_id, None)
        if served is not None:
            await served.stop()
        if listener is not None:
            listener.close()
