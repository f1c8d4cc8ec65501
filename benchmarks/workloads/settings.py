"""What every workload is told."""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.base import App, Peer


@dataclass(frozen=True)
class Settings:
    """Whom to compare, how thoroughly, and where."""

    peers: Sequence[type[Peer]]
    quick: bool = False
    folder: Path | None = None

    def rounds(self, full: int) -> int:
        """How often to repeat."""
        return max(full // 3, 1) if self.quick else full

    def seconds(self, full: float) -> float:
        """How long to wait or to measure."""
        return full / 4 if self.quick else full

    def only(self, *names: str) -> list[type[Peer]]:
        """Those of the peers that have these names."""
        return [peer for peer in self.peers if peer.name in names]


def idle_apps(count: int) -> list[App]:
    """Apps that sleep."""
    return [App(f"a{number:04d}") for number in range(count)]
