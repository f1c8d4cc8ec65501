"""What systemd does for a notify service with a file descriptor store: sd_notify(3), sd_listen_fds(3)."""

from __future__ import annotations

import os
import socket
import sys
import threading
from pathlib import Path

# Descriptors move to 3… in a process of its own, as sd_listen_fds(3) wants them, and LISTEN_PID is its pid.
_LAUNCHER = """
import fcntl, os, sys
count = int(os.environ["LISTEN_FDS"])
given = [fcntl.fcntl(int(n), fcntl.F_DUPFD, 100) for n in os.environ.pop("GIVEN_FDS").split()]
for number, descriptor in enumerate(given):
    os.dup2(descriptor, 3 + number)
    os.close(descriptor)
os.environ["LISTEN_PID"] = str(os.getpid())
os.execv(sys.executable, [sys.executable, "-P", "-m", "hhtui", *sys.argv[1:]])
"""


class Manager:
    """A notify socket that keeps messages and descriptors."""

    def __init__(self, folder: Path) -> None:
        self.path = folder / "notify"
        self.messages: list[dict[str, str]] = []
        self.store: list[tuple[str, int]] = []
        self._changed = threading.Condition()
        self._socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self._socket.bind(str(self.path))
        self._thread = threading.Thread(target=self._receive, daemon=True)
        self._thread.start()

    def _receive(self) -> None:
        while True:
            data, descriptors, _, _ = socket.recv_fds(self._socket, 65536, 16)
            fields = dict(line.split("=", 1) for line in data.decode().splitlines() if "=" in line)
            with self._changed:
                if fields.get("FDSTORE") == "1":
                    self.store += [(fields["FDNAME"], descriptor) for descriptor in descriptors]
                if fields.get("FDSTOREREMOVE") == "1":
                    self.forget(fields["FDNAME"])
                self.messages.append(fields)
                self._changed.notify_all()
            if fields.get("END") == "1":
                return

    def forget(self, name: str) -> None:
        """Close the descriptors of that name."""
        for stored, descriptor in self.store:
            if stored == name:
                os.close(descriptor)
        self.store = [pair for pair in self.store if pair[0] != name]

    @property
    def names(self) -> list[str]:
        """The stored names, sorted."""
        return sorted(name for name, _ in self.store)

    def wait(self, names: list[str], timeout: float = 60) -> None:
        """Wait until exactly these names are stored."""
        with self._changed:
            assert self._changed.wait_for(lambda: self.names == sorted(names), timeout), self.names

    def wait_message(self, timeout: float = 60, **fields: str) -> None:
        """Wait for a message with these fields."""
        with self._changed:
            found = self._changed.wait_for(
                lambda: any(fields.items() <= message.items() for message in self.messages), timeout
            )
            assert found, self.messages

    def environment(self) -> dict[str, str]:
        """What a service of this manager is started with."""
        return {**os.environ, "NOTIFY_SOCKET": str(self.path)}

    def command(self, *arguments: str) -> tuple[list[str], dict[str, str], list[int]]:
        """The command line, the environment and the descriptors to pass for a start with what is stored."""
        environ = self.environment() | {
            "LISTEN_FDS": str(len(self.store)),
            "LISTEN_FDNAMES": ":".join(name for name, _ in self.store),
            "GIVEN_FDS": " ".join(str(descriptor) for _, descriptor in self.store),
        }
        return (
            [sys.executable, "-P", "-c", _LAUNCHER, *arguments],
            environ,
            [descriptor for _, descriptor in self.store],
        )

    def close(self) -> None:
        """End, and close everything that is stored."""
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as end:
            end.sendto(b"END=1", str(self.path))
        self._thread.join(60)
        self._socket.close()
        for name in set(self.names):
            self.forget(name)
