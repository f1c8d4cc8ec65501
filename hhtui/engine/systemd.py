"""What the engine reports to systemd: sd_notify(3) over NOTIFY_SOCKET; nothing where that is not set."""

from __future__ import annotations

import asyncio
import os
import socket
import time
from array import array
from collections.abc import Mapping
from typing import Literal


def service(environ: Mapping[str, str] = os.environ) -> Literal["system", "user"] | None:
    """Whose service this process is the main one of, the machine's or a user's own; None: of none."""
    if environ.get("SYSTEMD_EXEC_PID") != str(os.getpid()) or not environ.get("NOTIFY_SOCKET"):
        return None
    return "user" if environ.get("MANAGERPID") else "system"


def renewal(kind: Literal["system", "user"]) -> str:
    """The commands by which a unit of an older version is written anew and takes effect."""
    if kind == "user":
        return "`hhtui service install --user`, then `systemctl --user restart hhtui`"
    return "`sudo hhtui service install`, then `sudo systemctl restart hhtui`"


class Notifier:
    """Sends READY, STATUS, STOPPING, RELOADING and WATCHDOG; a manager that does not listen changes nothing."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog = os.environ.get("WATCHDOG_USEC", "")
        mine = os.environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self._interval = int(watchdog) / 2_000_000 if watchdog.isdigit() and mine and int(watchdog) else 0.0
        self._timer: asyncio.TimerHandle | None = None
        self._status = ""
        self.service = service()

    @property
    def listens(self) -> bool:
        """Whether there is a manager to report to."""
        return bool(self._address)

    def send(self, *descriptors: int, **fields: str) -> bool:
        """``send(READY="1", STATUS="…")``: one datagram, ``descriptors`` with it; False if its queue is full."""
        if not self._address:
            return True
        message = "\n".join(f"{name}={value}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.setblocking(False)
                # Not socket.send_fds: it ignores the address (Python 3.11 to 3.13).
                rights = [(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", descriptors))] if descriptors else []
                connection.sendmsg([message.encode()], rights, 0, self._address)
        except BlockingIOError:
            return False
        except OSError:
            pass
        return True

    def store(self, name: str, descriptor: int) -> bool:
        """Have the manager keep a copy of ``descriptor`` for the next engine; False if it is to be tried again.

        FDPOLL=0: it is not dropped when the pipe's other side goes away.
        """
        return self.send(descriptor, FDSTORE="1", FDNAME=name, FDPOLL="0")

    def remove_stored(self, name: str) -> bool:
        """Have the manager close its copies of that name; False if it is to be tried again."""
        return self.send(FDSTOREREMOVE="1", FDNAME=name)

    def ready(self, status: str) -> None:
        """The engine is up; from now on the watchdog is fed from the loop, so a stuck loop is noticed."""
        self._status = status
        self.send(READY="1", STATUS=status)
        if self._interval and self._timer is None:
            self._feed()

    def status(self, status: str) -> None:
        """The line that `systemctl status` shows; sent when it changes."""
        if status != self._status:
            self._status = status
            self.send(STATUS=status)

    def reloading(self) -> None:
        """The engine re-executes itself; the watchdog gives it its whole time for that."""
        self.send(WATCHDOG="1")
        self.send(RELOADING="1", MONOTONIC_USEC=str(time.clock_gettime_ns(time.CLOCK_MONOTONIC) // 1000))

    def stopping(self, status: str) -> None:
        """The engine ends."""
        self.send(STOPPING="1", STATUS=status)

    def close(self) -> None:
        """Feed the watchdog no more."""
        if self._timer is not None:
            self._timer.cancel()
            self._timer = None

    def _feed(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._feed)
        self.send(WATCHDOG="1")
