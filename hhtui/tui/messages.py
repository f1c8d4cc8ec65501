"""What the link tells the interface: only what changed."""

from __future__ import annotations

from textual.message import Message

from hhtui.tui.records import BusMessage


class AppsChanged(Message):
    """These apps are new, gone or different."""

    def __init__(self, changed: frozenset[str], came_or_went: bool) -> None:
        super().__init__()
        self.changed = changed
        self.came_or_went = came_or_went


class MetricsChanged(Message):
    """A new sample of the machine."""


class EngineChanged(Message):
    """The connection, the engine's own state or its Redis is not as it was."""


class EventsArrived(Message):
    """Messages from the bus, in order."""

    def __init__(self, messages: list[BusMessage]) -> None:
        super().__init__()
        self.messages = messages


class ClockTicked(Message):
    """A second has passed; ages and countdowns may look different."""
