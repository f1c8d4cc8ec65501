"""Reload in place: what one engine image leaves to the next over execve, so that nothing is let go of between them."""

from __future__ import annotations

import json
import os
import socket
from typing import Any

_VARIABLE = "HHTUI_HANDOVER_FD"


class Handover:
    """The lock, the listening socket, the apps' pipes and the bus, in a file that only this process has."""

    def __init__(
        self, lock: int, listener_fd: int | None, bus: dict[str, Any] | None, reloads: int, pipes: dict[str, int]
    ) -> None:
        self.reloads = reloads
        self.pipes = pipes
        self.lock = lock
        self.listener_fd = listener_fd
        self.bus = bus

    def listener(self) -> socket.socket | None:
        """The listening Unix socket of the image before."""
        return socket.socket(fileno=self.listener_fd) if self.listener_fd is not None else None

    @classmethod
    def received(cls) -> Handover | None:
        """What the image before left, None if this is a start like any other."""
        number = os.environ.pop(_VARIABLE, "")
        if not number.isdigit():
            return None
        try:
            with os.fdopen(int(number), "rb") as file:
                file.seek(0)
                document = json.load(file)
            os.fstat(document["lock"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cls(
            document["lock"],
            document.get("listener"),
            document.get("bus"),
            int(document.get("reloads", 1)),
            document.get("pipes") or {},
        )

    def leave(self) -> None:
        """Write everything down and let the descriptors survive execve."""
        descriptor = os.memfd_create("hhtui-handover", 0)
        document = {
            "lock": self.lock,
            "listener": self.listener_fd,
            "bus": self.bus,
            "reloads": self.reloads,
            "pipes": self.pipes,
        }
        os.write(descriptor, json.dumps(document).encode())
        for kept in (descriptor, self.lock, self.listener_fd, *self.pipes.values()):
            if kept is not None:
                os.set_inheritable(kept, True)
        os.environ[_VARIABLE] = str(descriptor)
