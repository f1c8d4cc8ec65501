"""The supervisors that are compared, each behind the same small interface."""

from __future__ import annotations

from benchmarks.peers.base import App, Peer
from benchmarks.peers.circus import Circus
from benchmarks.peers.hhtui import Hhtui
from benchmarks.peers.pm2 import Pm2
from benchmarks.peers.runit import Runit
from benchmarks.peers.s6 import S6
from benchmarks.peers.supervisord import Supervisord

PEERS: tuple[type[Peer], ...] = (Hhtui, Supervisord, Circus, Pm2, Runit, S6)

__all__ = ["PEERS", "S6", "App", "Circus", "Hhtui", "Peer", "Pm2", "Runit", "Supervisord"]
