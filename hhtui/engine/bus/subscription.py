"""One reader of the bus: a bounded queue that loses the oldest first and says how many."""

from __future__ import annotations

import asyncio
import fnmatch
import re
from collections import deque
from collections.abc import Callable
from types import TracebackType
from typing import Self

from hhtui.engine.bus.kept import KeptEvent
from hhtui.model.event import Message

# What the foreign messages in one queue may weigh, in bytes: a reader that hangs must not cost the engine its memory.
MAX_FOREIGN_WEIGHT = 2 * 1024 * 1024


class Subscription:
    """An async iterator of ``Message``; also a context manager that closes itself.

    A reader that is slower than the bus loses the oldest messages; the next one that it gets says how many in
    ``dropped``. ``gap`` is true if the replay after the given id was not complete; the first message's ``dropped``
    then is the number of ids that are gone (at least 1).
    """

    def __init__(self, pattern: str, maxsize: int, on_close: Callable[[Subscription], None]) -> None:
        self.pattern = pattern
        self.gap = False
        self._matches = None if pattern == "*" else re.compile(fnmatch.translate(pattern)).match
        self._maxsize = max(maxsize, 1)
        self._queue: deque[tuple[Message, int]] = deque()
        self._weight = 0
        self._lost = 0
        self._arrived = asyncio.Event()
        self._closed = False
        self._on_close = on_close

    def wants(self, message: Message | KeptEvent) -> bool:
        """Whether one of the message's channels matches the pattern."""
        matches = self._matches
        return matches is None or any(matches(channel) for channel in message.channels)

    def offer(self, message: Message, weight: int = 0) -> None:
        """Queue ``message``; ``weight`` is what a foreign one costs in bytes, 0 for the engine's own."""
        queue = self._queue
        queue.append((message, weight))
        self._weight += weight
        while len(queue) > self._maxsize or (self._weight > MAX_FOREIGN_WEIGHT and len(queue) > 1):
            oldest, freed = queue.popleft()
            self._weight -= freed
            self._lost += 1 + oldest.dropped
        self._arrived.set()

    def missed(self, count: int) -> None:
        """Tell the next message's reader that ``count`` are gone for good."""
        self.gap = True
        self._lost += count

    def take(self) -> Message | None:
        """The oldest waiting message, without waiting; None if there is none."""
        if not self._queue:
            self._arrived.clear()
            return None
        message, weight = self._queue.popleft()
        self._weight -= weight
        if self._lost:
            message = message.model_copy(update={"dropped": message.dropped + self._lost})
            self._lost = 0
        return message

    def close(self) -> None:
        """End the iteration; what still waits is thrown away. Idempotent."""
        if self._closed:
            return
        self._closed = True
        self._queue.clear()
        self._weight = 0
        self._arrived.set()
        self._on_close(self)

    def __len__(self) -> int:
        return len(self._queue)

    def __aiter__(self) -> Self:
        return self

    async def __anext__(self) -> Message:
        while not self._closed:
            if (message := self.take()) is not None:
                return message
            await self._arrived.wait()
        raise StopAsyncIteration

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self, kind: type[BaseException] | None, error: BaseException | None, trace: TracebackType | None
    ) -> None:
        self.close()
