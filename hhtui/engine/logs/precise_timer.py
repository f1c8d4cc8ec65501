"""A timer finer than the event loop's, which waits whole milliseconds (timerfd_create(2))."""

from __future__ import annotations

import asyncio
import ctypes
import os
import struct
import time
from collections.abc import Callable
from contextlib import suppress

# struct itimerspec: the interval's seconds and nanoseconds (0: once), then those until it fires.
_TIMERSPEC = struct.Struct("llll")
# From here on the loop's own timers are fine enough (seconds).
_COARSE = 0.01


class PreciseTimer:
    """Calls back once after a time, on the running loop; without a timerfd by the loop's own timers."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self._loop = loop
        self._call: Callable[[], None] | None = None
        self._handle: asyncio.Handle | None = None
        self._spec = ctypes.create_string_buffer(_TIMERSPEC.size)
        self._descriptor = -1
        with suppress(AttributeError, OSError):
            library = ctypes.CDLL(None)
            self._settime = library.timerfd_settime
            flags = os.O_NONBLOCK | os.O_CLOEXEC
            self._descriptor = library.timerfd_create(time.CLOCK_MONOTONIC, flags)
        if self._descriptor >= 0:
            loop.add_reader(self._descriptor, self._fired)

    def after(self, seconds: float, call: Callable[[], None]) -> None:
        """Call ``call`` so long from now, instead of what was to be called before."""
        self.cancel()
        if seconds <= 0:
            self._handle = self._loop.call_soon(call)
        elif seconds < _COARSE and self._descriptor >= 0:
            self._call = call
            _TIMERSPEC.pack_into(self._spec, 0, 0, 0, 0, max(int(seconds * 1e9), 1))
            self._settime(self._descriptor, 0, self._spec, None)
        else:
            self._handle = self._loop.call_later(seconds, call)

    def cancel(self) -> None:
        """Call nothing; a timer that has fired meanwhile finds nothing to call."""
        self._call = None
        if self._handle is not None:
            self._handle.cancel()
            self._handle = None

    def _fired(self) -> None:
        try:
            os.read(self._descriptor, 8)
        except BlockingIOError:
            return
        call, self._call = self._call, None
        if call is not None:
            call()

    def close(self) -> None:
        """Call nothing any more, and give the descriptor back."""
        self.cancel()
        if self._descriptor >= 0:
            if not self._loop.is_closed():
                self._loop.remove_reader(self._descriptor)
            os.close(self._descriptor)
            self._descriptor = -1
