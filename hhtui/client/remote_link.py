"""The API's client for screens, over SSH: a lost connection is made anew, never more than one at a time."""

from __future__ import annotations

import asyncio
import time
from typing import Any

from hhtui.client.link import EngineLink, Streams
from hhtui.client.tunnel import Tunnel, engine_answers
from hhtui.client.wire import EngineGoneError
from hhtui.errors import HomeHelperError, NoEngineError

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

    async def reach(self) -> None:
        """Connect unless connected; after a failure not before its time has come, then the failure is told again."""
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
            raise self._explained(error) from None
        except EngineGoneError as error:
            if self.tunnel.alive:
                raise
            raise self._explained(error) from None

    async def _ask(self, method: str, path: str, *arguments: Any, **more: Any) -> Any:
        try:
            return await super()._ask(method, path, *arguments, **more)
        except EngineGoneError as error:
            raise self._explained(error) from None

    async def _open_events(self, *arguments: Any) -> Streams:
        try:
            return await super()._open_events(*arguments)
        except EngineGoneError as error:
            raise self._explained(error) from None

    def _explained(self, error: HomeHelperError) -> HomeHelperError:
        return engine_answers(self.tunnel, error)
