"""What every workload is told."""

from __future__ import annotations

import time
from collections.abc import Iterator, Sequence
from contextlib import ExitStack, contextmanager
from dataclasses import dataclass
from pathlib import Path

from benchmarks.peers.base import App, Peer


@dataclass(frozen=True)
class Settings:
    """Whom to compare, how thoroughly, and where."""

    peers: Sequence[type[Peer]]
    quick: bool = False
    folder: Path | None = None
    most_rounds: int | None = None

    def rounds(self, full: int) -> int:
        """How often to repeat."""
        wanted = max(full // 3, 1) if self.quick else full
        return min(wanted, self.most_rounds) if self.most_rounds else wanted

    def seconds(self, full: float) -> float:
        """How long to wait or to measure."""
        return full / 4 if self.quick else full

    def only(self, *names: str) -> list[type[Peer]]:
        """Those of the peers that have these names."""
        return [peer for peer in self.peers if peer.name in names]


def idle_apps(count: int) -> list[App]:
    """Apps that sleep."""
    return [App(f"a{number:04d}") for number in range(count)]


@contextmanager
def side_by_side(
    peers: Sequence[type[Peer]], apps: Sequence[App], settings: Settings, *, seconds: float
) -> Iterator[list[Peer]]:
    """The supervisors with the same idle apps, started one after the other and then left alone for a while.

    Idle ones do not disturb each other: so they wait together, which saves most of the time.
    """
    with ExitStack() as stack:
        running = [stack.enter_context(peer(apps, settings.folder)) for peer in peers]
        for peer in running:
            peer.start()
            peer.await_apps()
        time.sleep(settings.seconds(seconds))
        yield running
