"""``python -m hhtui.engine.trial HOME``: would an engine of what is installed now start with this home's configuration?

It reads the configuration, loads every module of the engine, and runs an engine for a moment, on a home that is thrown
away. What is in the way stands in one line on stderr, and the exit code is 1.
"""

from __future__ import annotations

import asyncio
import importlib
import pkgutil
import sys
import tempfile
from pathlib import Path

# The command line that starts the engine, and the shared words, are a part of it.
_PARTS = ("hhtui.__main__", "hhtui.cli.main", "hhtui.init")
# A trial must not listen on the engine's port, nor look for a Redis server.
_CONFIG = '{"system": {"main_port": 0}, "redis": {"embedded": "never", "port": 1}}'


def main(root: str) -> int:
    """The exit code; the reason on stderr."""
    try:
        _load_everything()
        _read_config(Path(root))
        with tempfile.TemporaryDirectory(prefix="hhtui-trial-") as folder:
            asyncio.run(_run(Path(folder)))
    except Exception as error:
        words = " ".join(str(error).split())
        sys.stderr.write(f"{words}\n" if _is_ours(error) else f"{type(error).__name__}: {words}\n")
        return 1
    return 0


def _load_everything() -> None:
    for name in _PARTS:
        importlib.import_module(name)
    for package in ("hhtui.engine", "hhtui.model"):
        module = importlib.import_module(package)
        for found in pkgutil.walk_packages(module.__path__, f"{package}."):
            if not found.name.endswith(".__main__"):
                importlib.import_module(found.name)


def _read_config(root: Path) -> None:
    from hhtui.model.config_file import load_config
    from hhtui.paths import Home

    load_config(Home.at(root))


def _is_ours(error: Exception) -> bool:
    """Whether the words are made for people; the class may be what cannot be loaded."""
    return type(error).__module__.startswith("hhtui.")


async def _run(root: Path) -> None:
    from hhtui.engine.engine import Engine

    (root / "config").mkdir(mode=0o700)
    (root / "config" / "config.json").write_text(_CONFIG)
    async with Engine(root, environ={}):
        pass


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
