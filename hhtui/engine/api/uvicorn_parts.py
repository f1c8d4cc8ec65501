"""The three parts of uvicorn that serve us, loaded without the rest of it.

``import uvicorn`` loads its command line, its supervisors and click: 2.2 MB that an engine on a small board would
carry for nothing. So the package's own ``__init__`` is left out while the parts are loaded, and nothing is left behind:
a program that embeds the engine and imports uvicorn itself gets the whole of it.
"""

from __future__ import annotations

import sys
from collections.abc import Iterator
from contextlib import contextmanager
from importlib.util import find_spec, module_from_spec


@contextmanager
def _without_init(package: str) -> Iterator[None]:
    if package in sys.modules or (spec := find_spec(package)) is None:
        yield
        return
    sys.modules[package] = module_from_spec(spec)
    try:
        yield
    finally:
        del sys.modules[package]


with _without_init("uvicorn"):
    from uvicorn.config import Config
    from uvicorn.protocols.http.h11_impl import H11Protocol
    from uvicorn.server import ServerState

__all__ = ["Config", "H11Protocol", "ServerState"]
