"""The API's clients over SSH, for commands and for screens: an engine of another machine, behind a forwarded socket."""

from __future__ import annotations

import asyncio
import time
from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any

from hhtui.client.link import EngineLink, Streams
from hhtui.client.sync import EngineClient, EventReader
from hhtui.client.tunnel import Tunnel, engine_answers
from hhtui.client.wire import TIMEOUT_SECONDS, Call, EngineGoneError, EngineSilentError
from hhtui.errors import HomeHelperError, NoEngineError


class RemoteClient(EngineClient):
    """``tunnel``'s engine; errors name the machine, and a lost connection is not a missing engine."""

    is_local = False

    def __init__(self, tunnel: Tunnel, timeout: float = TIMEOUT_SECONDS) -> None:
        super().__init__(tunnel.socket_path, timeout)
        self.tunnel = tunnel

    @property
    def place(self) -> str:
        return f"on {self.tunnel.place}"

    def check(self) -> None:
        """Raise unless an engine answers: a socket that a killed engine left is forwarded like any other."""
        self.health()

    def runs(self) -> bool:
        """Whether an engine answers; ssh's own end of the socket always takes a connection."""
        try:
            self.health()
        except NoEngineError:
            return False
        return True

    def events(self, channel: str | None = None, after: str | None = None, *, follow: bool = True) -> EventReader:
        with self._explained(gone=True):
            return super().events(channel, after, follow=follow)

    def _ask(self, asked: Call) -> Any:
        # What was to be changed may have been changed before the engine went away: that is not "no engine runs".
        with self._explained(gone=asked.only_reads):
            return super()._ask(asked)

    @contextmanager
    def _explained(self, *, gone: bool) -> Iterator[None]:
        try:
            yield
        except (EngineGoneError, NoEngineError) as error:
            if gone or not self.tunnel.alive:
                raise engine_answers(self.tunnel, error) from None
            raise
        except EngineSilentError as error:
            if self.tunnel.alive:
                raise
            raise engine_answers(self.tunnel, error) from None


# A machine that is off is asked less and less often.
_FIRST_WAIT, _LONGEST_WAIT = 1.0, 15.0


class RemoteLink(EngineLink):
    """``tunnel``'s engine. While the machine is away every method raises UnreachableError at once."""

    def __init__(self, tunnel: Tunnel) -> None:
        super().__init__(tunnel.socket_path)
        self.tunnel = tunnel
        self._opening = asyncio.Lock()
        self._failure: HomeHelperError | None = None
        self._again_at = 0.0
        self._wait = _FIRST_WAIT

    @property
    def place(self) -> str:
        return f"on {self.tunnel.place}"

    async def reach(self) -> None:
        """Connect unless connected; after a failure not before its time has come, then the failure is raised again."""
        if self.tunnel.alive and self._failure is None:
            return
        async with self._opening:
            if self.tunnel.alive and self._failure is None:
                return
            if self._failure is not None and time.monotonic() < self._again_at:
                raise self._failure
            try:
                await asyncio.get_running_loop().run_in_executor(None, self.tunnel.open)
            except HomeHelperError as error:
                self._failure = error
                self._again_at = time.monotonic() + self._wait
                self._wait = min(self._wait * 2, _LONGEST_WAIT)
                raise
            self._failure, self._wait = None, _FIRST_WAIT

    async def _exchange(self, *arguments: Any, **more: Any) -> Any:
        await self.reach()
        try:
            return await super()._exchange(*arguments, **more)
        except NoEngineError as error:
            raise await self._explained(error) from None
        except EngineGoneError as error:
            if self.tunnel.alive:
                raise
            raise await self._explained(error) from None

    async def _ask(self, asked: Call) -> Any:
        try:
            return await super()._ask(asked)
        except EngineGoneError as error:
            raise await self._explained(error) from None

    async def _open_events(self, *arguments: Any) -> Streams:
        try:
            return await super()._open_events(*arguments)
        except EngineGoneError as error:
            raise await self._explained(error) from None

    async def _explained(self, error: HomeHelperError) -> HomeHelperError:
        # In a thread: what ssh says of it may still be on its way.
        return await asyncio.to_thread(engine_answers, self.tunnel, error)
