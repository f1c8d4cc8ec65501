"""An on-demand app's visitors: who is connected while it runs, and its access.log of who came and left."""

from __future__ import annotations

import os
from collections.abc import Collection
from pathlib import Path
from typing import Literal

from hhtui.engine.launch.health import ports_of_checks
from hhtui.engine.process.tcp_table import ESTABLISHED, connections
from hhtui.model.event import utc_now
from hhtui.storage import append_line
from hhtui.text import iso_utc, sanitise


class IdleWatch:
    """Looks when it is asked, by one read of the kernel's table for all apps.

    A Streamlit tab counts as long as it is open, for it holds a WebSocket.
    """

    def __init__(self, proc: Path = Path("/proc")) -> None:
        self._proc = proc

    def poll(self, ports: Collection[int]) -> dict[int, set[str]]:
        """The addresses connected to each of these ports, the engine's own health checks left out."""
        peers: dict[int, set[str]] = {port: set() for port in ports}
        own = ports_of_checks()
        for connection in connections(ports, [ESTABLISHED], self._proc):
            if not (connection.peer_port in own and connection.peer in ("127.0.0.1", "::1")):
                peers[connection.local_port].add(connection.peer)
        return peers


MAX_BYTES = 1024 * 1024
ARCHIVES = 3


class AccessLog:
    """Appends ``2026-11-24T11:20:01.123Z 192.168.1.7 woke|joined|left`` (docs/logs.md) to logs/<app_id>/access.log.

    Rotates at 1 MiB to ``.1`` … ``.3``. What cannot be written is not: visits go on.
    """

    def __init__(self, folder: Path) -> None:
        self._path = folder / "access.log"

    def write(self, peer: str, what: Literal["woke", "joined", "left"]) -> None:
        """One line, for now."""
        line = f"{iso_utc(utc_now(), milliseconds=True)} {sanitise(peer, 100)} {what}\n"
        try:
            self._path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            if append_line(self._path, line.encode("utf-8", "replace")) >= MAX_BYTES:
                self._rotate()
        except OSError:
            pass

    def _rotate(self) -> None:
        for number in range(ARCHIVES, 1, -1):
            younger = self._path.with_name(f"access.log.{number - 1}")
            if younger.exists():
                os.replace(younger, self._path.with_name(f"access.log.{number}"))
        os.replace(self._path, self._path.with_name("access.log.1"))
