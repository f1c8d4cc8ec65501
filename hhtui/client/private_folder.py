"""A folder of this user alone for the sockets of one connection, gone when this process is, however that ends."""

from __future__ import annotations

import os
import re
import shutil
import stat
import subprocess
import tempfile
from pathlib import Path

from hhtui.errors import HomeHelperError

# Waits for the end of its standard input, which only our process holds open, then removes the folder.
_GUARD = 'trap "" HUP INT TERM; while read -r _; do :; done; rm -rf -- "$1"'
# sun_path holds 107 characters; ssh binds its control socket under a name with 17 more: unix(7), ssh's muxclient.c.
# ssh reads `%`, `$` and `:` in the paths that it is given as more than themselves: ssh_config(5), TOKENS.
_BASE = re.compile(r"/[A-Za-z0-9_./+,@~-]{0,59}\Z")


class PrivateFolder:
    """Mode 0700, below XDG_RUNTIME_DIR where there is one."""

    def __init__(self) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="hhtui-", dir=_base()))
        except OSError as error:
            raise HomeHelperError(f"no place for a socket: {error.filename}: {error.strerror}") from None
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def remove(self) -> None:
        """Remove it now."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait()


def _base() -> str | None:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    for folder in (runtime, tempfile.gettempdir()):
        if _BASE.match(folder) and (folder != runtime or _is_ours(folder)):
            return folder
    return "/tmp"


def _is_ours(folder: str) -> bool:
    try:
        found = os.stat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
