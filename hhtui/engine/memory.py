"""Memory that an engine needs no more, given back to the machine (mallopt(3), malloc_trim(3))."""

from __future__ import annotations

import ctypes
import gc
from contextlib import suppress

# malloc.h
_M_ARENA_MAX = -8


def share_one_arena() -> None:
    """Keep the two file threads from heaps of their own, which would never shrink; nothing where libc has no say."""
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def settle() -> None:
    """After a start: collect, look at what stays no more (``gc.freeze``), and return free pages to the kernel."""
    gc.collect()
    gc.freeze()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)
