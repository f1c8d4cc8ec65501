"""What the engine tells systemd: sd_notify(3) over NOTIFY_SOCKET; nothing where that is not set."""

from __future__ import annotations

import asyncio
import os
import socket
import time


class Notifier:
    """Sends READY, STATUS, STOPPING, RELOADING and WATCHDOG; a manager that does not listen changes nothing."""

    def __init__(self) -> None:
        address = os.environ.get("NOTIFY_SOCKET", "")
        self._address = "\0" + address[1:] if address.startswith("@") else address
        watchdog = os.environ.get("WATCHDOG_USEC", "")
        mine = os.environ.get("WATCHDOG_PID", "") in ("", str(os.getpid()))
        self._interval = int(watchdog) / 2_000_000 if watchdog.isdigit() and mine and int(watchdog) else 0.0
        self._timer: asyncio.TimerHandle | None = None

    def send(self, **fields: str) -> None:
        """``send(READY="1", STATUS="…")``: one datagram."""
        if not self._address:
            return
        message = "\n".join(f"{name}={value}" for name, value in fields.items())
        try:
            with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM | socket.SOCK_CLOEXEC) as connection:
                connection.setblocking(False)
                connection.sendto(message.encode(), self._address)
        except OSError:
            pass

    def ready(self, status: str) -> None:
        """The engine is up; from now on the watchdog is fed from the loop, so a stuck loop is noticed."""
        self.send(READY="1", STATUS=status)
        if self._interval and self._timer is None:
            self._feed()

    def reloading(self) -> None:
        """The engine re-executes itself."""
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
        self.send(WATCHDOG="1")
        self._timer = asyncio.get_running_loop().call_later(self._interval, self._feed)
