"""The last line of every screen: which keys do what, made from the keymap."""

from __future__ import annotations

from collections.abc import Collection, Hashable, Iterable

from textual import events

from hhtui.tui import keymap
from hhtui.tui.cells import Piece
from hhtui.tui.keymap import Key, Place
from hhtui.tui.widgets.line_view import LineView


class KeyBar(LineView, can_focus=False):
    """As many keys as fit, those of the focused panel first; a click does what the key does."""

    def __init__(self) -> None:
        super().__init__()
        self._places: tuple[Place, ...] = ()
        self._keys: list[Key] = []
        self._spans: list[tuple[int, int, Key]] = []

    def show(self, *places: Place, without: Collection[str] = ()) -> None:
        """List the keys of these places, in this order, and those that work everywhere; not those of these ids."""
        if places != self._places:
            self._places = places
            keys = _of((*places, Place.EVERYWHERE), self.hh.read_only)
            self._keys = [key for key in keys if key.id not in without]
            self.sync()

    def count(self) -> int:
        return 1

    def key(self, index: int) -> Hashable:
        return tuple(key.id for key in self._keys)

    def draw(self, index: int, width: int) -> list[Piece]:
        pieces: list[Piece] = []
        self._spans = []
        used = 0
        last = [key for key in self._keys if key.id == "app.help"]
        room = width - sum(len(_shown(self, key)) + len(key.footer) + 3 for key in last)
        for key in [*(key for key in self._keys if key not in last), *last]:
            shown = _shown(self, key)
            length = len(shown) + len(key.footer) + 3
            if used + length > (width if key in last else room):
                continue
            pieces += [(f" {shown}", self.looks.key), (f" {key.footer} ", self.looks.dim)]
            self._spans.append((used, used + length, key))
            used += length
        return pieces

    def on_click(self, event: events.Click) -> None:
        """Press the key that is shown there."""
        for start, end, key in self._spans:
            if start <= event.x < end:
                self.app.simulate_key(self.hh.changed_keys.get(key.id, key.keys).split(",")[0])


def _shown(bar: KeyBar, key: Key) -> str:
    return keymap.keys_of(key, bar.hh.changed_keys)[0]


def _of(places: Iterable[Place], read_only: bool) -> Iterable[Key]:
    seen: set[str] = set()
    for place in places:
        for key in keymap.KEYS:
            if key.place is place and key.footer and key.keys not in seen and not (read_only and key.writes):
                seen.add(key.keys)
                yield key
