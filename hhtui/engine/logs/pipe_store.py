"""The apps' pipes kept open while no engine runs, so that what an app wrote before it died is not forgotten.

A pipe that nobody has open forgets its bytes. systemd keeps copies in the unit's file descriptor store (sd_notify(3),
``FDSTORE=1``; ``FileDescriptorStoreMax=`` in the unit) and hands them to the next engine (sd_listen_fds(3)); over a
reload in place they are left to the next image.
"""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import stat
from collections.abc import Iterable, Mapping, MutableMapping
from typing import TYPE_CHECKING

from hhtui.engine.logs.fifo import LogError
from hhtui.paths import APP_ID_PATTERN

if TYPE_CHECKING:
    from hhtui.engine.logs.capture import LogCapture
    from hhtui.engine.systemd import Notifier
    from hhtui.paths import Home

log = logging.getLogger("homehelper.pipes")

# SD_LISTEN_FDS_START.
_FIRST_FD = 3
_SUFFIXES = (".out", ".err")
# FileDescriptorName= of the socket unit; its descriptors are known by their ports.
_GATEWAY = "gateway"
# The manager's queue is short; a full one is tried again after so many seconds.
_RETRY_SECONDS = 0.1


class PipeStore:
    """Both ends of keeping pipes: those of the engine before are taken, those of this one are given away.

    Names are ``<app_id>.out`` and ``<app_id>.err``, as in the home's fifo folder.
    """

    def __init__(self, notifier: Notifier, inherited: Mapping[str, int]) -> None:
        self._notifier = notifier
        self._inherited = dict(inherited)
        self._stored = set(inherited)
        # name → descriptor to be stored, None to be removed; in the order of what happened.
        self._waiting: dict[str, int | None] = {}
        self._retry: asyncio.TimerHandle | None = None

    # Taking.

    def write_last_words(self, capture: LogCapture, home: Home, app_ids: Iterable[str]) -> None:
        """Write to the logs what apps that are gone left in their pipes, then close the inherited copies.

        To be called when the living apps have been taken over: their pipes are open again by then.
        """
        for app_id in app_ids:
            pipes = self._inherited_pipes(app_id)
            if pipes is None or capture.captures(app_id):
                continue
            try:
                capture.open(app_id, home.fifo_dir, home.app_logs(app_id), inherited=pipes)
            except LogError as error:
                log.warning("%s: its last words are lost: %s", app_id, error)
                continue
            capture.close(app_id)
        names = set(self._inherited)
        for descriptor in self._inherited.values():
            with contextlib.suppress(OSError):
                os.close(descriptor)
        self._inherited.clear()
        for name in names & self._stored:
            if not capture.captures(name.rpartition(".")[0]):
                self._later(name, None)

    def _inherited_pipes(self, app_id: str) -> tuple[int, int] | None:
        out, err = (self._inherited.get(f"{app_id}{suffix}") for suffix in _SUFFIXES)
        return (out, err) if out is not None and err is not None else None

    # Giving.

    def changed(self, app_id: str, pipes: tuple[int, ...] | None) -> None:
        """The app's pipes have been opened: keep copies. None: nothing of them is needed any more."""
        for suffix, descriptor in zip(_SUFFIXES, pipes or (None, None), strict=True):
            self._later(f"{app_id}{suffix}", descriptor)

    def stop(self) -> None:
        """Send the manager nothing more; what it keeps it keeps."""
        if self._retry is not None:
            self._retry.cancel()
            self._retry = None
        self._waiting.clear()

    def _later(self, name: str, descriptor: int | None) -> None:
        if not self._notifier.listens:
            return
        self._waiting.pop(name, None)
        self._waiting[name] = descriptor
        if self._retry is None:
            self._send()

    def _send(self) -> None:
        self._retry = None
        while self._waiting:
            name, descriptor = next(iter(self._waiting.items()))
            # A second descriptor under a name would stand beside the first.
            if name in self._stored:
                if not self._notifier.remove_stored(name):
                    break
                self._stored.discard(name)
            if descriptor is not None:
                if not self._notifier.store(name, descriptor):
                    break
                self._stored.add(name)
            del self._waiting[name]
        else:
            return
        self._retry = asyncio.get_running_loop().call_later(_RETRY_SECONDS, self._send)


def listen_fds(environ: MutableMapping[str, str] = os.environ) -> dict[str, int]:
    """What systemd kept or opened for this process: pipes by name, the gateway's listening sockets as ``gateway:80``.

    Its variables are removed, what else came is closed.
    """
    pid, count, names = (environ.pop(name, "") for name in ("LISTEN_PID", "LISTEN_FDS", "LISTEN_FDNAMES"))
    if pid != str(os.getpid()) or not count.isdigit():
        return {}
    found: dict[str, int] = {}
    for descriptor, given in zip(
        range(_FIRST_FD, _FIRST_FD + int(count)), [*names.split(":"), *[""] * int(count)], strict=False
    ):
        name = _name_of(descriptor, given)
        if name is not None and name not in found:
            os.set_inheritable(descriptor, False)
            found[name] = descriptor
        else:
            with contextlib.suppress(OSError):
                os.close(descriptor)
    return found


def take_gateway_sockets(inherited: MutableMapping[str, int]) -> dict[int, socket.socket]:
    """The listening sockets of what was inherited, by their ports; they are in it no more."""
    names = [name for name in inherited if name.startswith(f"{_GATEWAY}:")]
    sockets = [socket.socket(fileno=inherited.pop(name)) for name in names]
    return {listener.getsockname()[1]: listener for listener in sockets}


def gateway_names(sockets: Mapping[int, socket.socket]) -> dict[str, int]:
    """The same as the next image inherits them."""
    return {f"{_GATEWAY}:{port}": listener.fileno() for port, listener in sockets.items()}


def _name_of(descriptor: int, name: str) -> str | None:
    """By what name the engine knows a descriptor; None: it is not ours."""
    app_id, suffix = name[:-4], name[-4:]
    try:
        mode = os.fstat(descriptor).st_mode
        if suffix in _SUFFIXES and APP_ID_PATTERN.match(app_id) and stat.S_ISFIFO(mode):
            return name
        if name == _GATEWAY and stat.S_ISSOCK(mode):
            with socket.socket(fileno=os.dup(descriptor)) as listener:
                if listener.family in (socket.AF_INET, socket.AF_INET6) and listener.type == socket.SOCK_STREAM:
                    return f"{name}:{listener.getsockname()[1]}"
    except OSError:
        pass
    return None
