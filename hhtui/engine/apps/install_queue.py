"""At most so many installations at once; who waits is told its place."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager


class InstallQueue:
    """First come, first served."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: list[tuple[asyncio.Future[None], Callable[[str], None]]] = []

    @asynccontextmanager
    async def turn(self, progress: Callable[[str], None]) -> AsyncIterator[None]:
        """Wait for a free place and hold it; ``progress`` hears of each step forward."""
        if self._free > 0:
            self._free -= 1
        else:
            await self._wait(progress)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, progress: Callable[[str], None]) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (granted, progress)
        self._waiting.append(entry)
        progress(_place(len(self._waiting)))
        try:
            await granted
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
                self._tell()
            elif not granted.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            granted, _ = self._waiting.pop(0)
            # One that was cancelled a moment ago has not yet left the queue.
            if not granted.done():
                granted.set_result(None)
                self._tell()
                return
        self._free += 1

    def _tell(self) -> None:
        for place, (_, progress) in enumerate(self._waiting, 1):
            progress(_place(place))


def _place(place: int) -> str:
    return f"waits for other apps to be installed: number {place} in the queue"
