"""Who is connected to the running on-demand apps: one read of the kernel's table for all of them."""

from __future__ import annotations

from collections.abc import Collection
from pathlib import Path

from hhtui.engine.apps.health import ports_of_checks
from hhtui.engine.tcp_table import ESTABLISHED, connections


class IdleWatch:
    """Looks when it is asked; a Streamlit tab counts as long as it is open, for it holds a WebSocket."""

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
