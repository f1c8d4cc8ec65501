"""How long the Redis side waits for what."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True, slots=True)
class Timings:
    """All in seconds; tests make them short."""

    answer: float = 5.0  # how long one answer may take before the connection counts as lost
    ping: float = 15.0  # an idle connection is tried this often
    check_keys: float = 60.0  # whether somebody flushed the keys
    coalesce: float = 0.25  # changes of keys are written together
    refused: float = 30.0  # a refused write is tried again
    first_pause: float = 0.5  # between attempts to connect, doubling, with jitter
    longest_pause: float = 30.0
    choose: float = 1.5  # how long the configured server may take to answer at the start
    grace: float = 20.0  # how long a configured server that was used before is waited for
    start: float = 3.0  # how long start() may take
    farewell: float = 1.0  # how long stop() tries to deliver what is left
