"""A listening Unix socket of the engine's."""

from __future__ import annotations

import contextlib
import os
import socket
import stat
from pathlib import Path

from hhtui.paths import socket_address

# Connections that wait to be accepted; the kernel cuts it down to net.core.somaxconn.
BACKLOG = 1024


def bind_unix_socket(path: Path, mode: int) -> socket.socket:
    """A listening socket at ``path``, which takes the place of whatever socket was left there.

    It is bound under another name and renamed, so at no moment can somebody else open it. OSError as bind(2) has it.
    """
    path.parent.mkdir(parents=True, exist_ok=True, mode=0o750)
    with contextlib.suppress(FileNotFoundError):
        if not stat.S_ISSOCK(os.stat(path, follow_symlinks=False).st_mode):
            raise FileExistsError(17, "is in the way and is no socket", str(path))
    temporary = path.with_name(f".{path.name}.{os.getpid()}")
    with contextlib.suppress(FileNotFoundError):
        os.unlink(temporary)
    listener = socket.socket(socket.AF_UNIX, socket.SOCK_STREAM)
    try:
        listener.setblocking(False)
        # Linux gives the file the mode of the socket's own inode: unix(7) leaves that out, net/unix/af_unix.c has it.
        os.fchmod(listener.fileno(), 0o600)
        with socket_address(temporary) as address:
            listener.bind(address)
        os.chmod(temporary, mode)
        listener.listen(BACKLOG)
        os.rename(temporary, path)
    except BaseException:
        listener.close()
        with contextlib.suppress(OSError):
            os.unlink(temporary)
        raise
    return listener
