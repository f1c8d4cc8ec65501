"""The two parts of redis-py that a link needs, loaded without the rest of it.

``import redis`` loads its clients, cluster and sentinel code, too: 4.4 MB that an engine on a small board would carry
for nothing. So the packages' own ``__init__`` are left out while the parts are loaded, and nothing is left behind: a
program that embeds the engine and imports redis itself gets the whole of it.
"""

from __future__ import annotations

import sys
from functools import cache
from importlib import import_module
from importlib.util import find_spec, module_from_spec
from types import ModuleType
from typing import NamedTuple

_PACKAGES = ("redis", "redis.asyncio")


class RedisParts(NamedTuple):
    """``redis.asyncio.connection`` and ``redis.exceptions``."""

    connection: ModuleType
    exceptions: ModuleType


@cache
def redis_parts() -> RedisParts:
    """Load the parts, once; takes 0.1 s on a PC and a second on a small board, so not in the loop the first time."""
    if _PACKAGES[0] in sys.modules:
        return _load()
    for name in _PACKAGES:
        spec = find_spec(name)
        if spec is None:
            raise ModuleNotFoundError(f"{name} is not installed")
        sys.modules[name] = module_from_spec(spec)
    try:
        return _load()
    finally:
        for name in [name for name in sys.modules if name.partition(".")[0] == _PACKAGES[0]]:
            del sys.modules[name]


def _load() -> RedisParts:
    return RedisParts(import_module("redis.asyncio.connection"), import_module("redis.exceptions"))
