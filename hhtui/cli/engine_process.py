"""``hhtui --engine-only``: the one place where the command line loads the engine."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path


def run_engine_only(root: Path, *, quiet: bool) -> int:
    """Run the engine in the foreground; ``quiet`` keeps its log off stderr. The exit code."""
    from hhtui.engine.main import run_engine

    return run_engine(root, console=not quiet)


def plain_engine_only(arguments: Sequence[str]) -> tuple[str | None, bool] | None:
    """``(home, quiet)`` if ``arguments`` are a plain ``--engine-only``, as systemd and our own clients spell it.

    The engine then runs without the command line's library in memory; None for anything that needs real parsing.
    """
    home: str | None = None
    quiet = found = False
    words = iter(arguments)
    for word in words:
        if word == "--engine-only":
            found = True
        elif word in ("-q", "--quiet"):
            quiet = True
        elif word == "--home":
            home = next(words, "")
        elif word.startswith("--home="):
            home = word.removeprefix("--home=")
        else:
            return None
        if home is not None and (not home.strip() or home.startswith("-")):
            return None
    return (home, quiet) if found else None
