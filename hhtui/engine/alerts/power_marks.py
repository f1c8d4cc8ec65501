"""When the power supply or the temperature last held the machine back, for saying so of a crash. Pure."""

from __future__ import annotations

from collections.abc import Iterable

from hhtui.engine.hardware.throttling import condition_words

# A crash so many seconds after a mark is told with it.
WITHIN = 60.0


class PowerMarks:
    """Times are seconds of a monotonic clock, conditions the names of ThrottleFlags."""

    def __init__(self) -> None:
        self.holding: tuple[str, ...] = ()
        self._last: dict[str, float] = {}

    def note(self, holding: Iterable[str], passed: Iterable[str], now: float) -> None:
        """``holding`` hold now, ``passed`` came and went."""
        for name in (*self.holding, *passed):
            self._last[name] = now
        self.holding = tuple(holding)
        for name in self.holding:
            self._last[name] = now

    def words(self, now: float) -> str:
        """``while the machine reports …``, ``12 s after the machine reported …``, or "" without one in a minute."""
        if self.holding:
            return f"while the machine reports {condition_words(self.holding)}"
        recent = {name: now - at for name, at in self._last.items() if now - at <= WITHIN}
        if not recent:
            return ""
        return f"{min(recent.values()):.0f} s after the machine reported {condition_words(recent)}"
