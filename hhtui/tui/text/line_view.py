"""Lists of lines that redraw only the lines that changed: the base of every panel."""

from __future__ import annotations

from collections.abc import Hashable, Iterable
from typing import ClassVar, cast

from rich.style import Style
from textual import events
from textual.binding import BindingType
from textual.content import Content
from textual.geometry import Region, Size
from textual.message import Message
from textual.strip import Strip
from textual.widget import Widget

from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.session.interface import Interface
from hhtui.tui.text.cells import Piece, strip_of
from hhtui.tui.themes import Glyphs, Looks


class LineView(Widget, can_focus=True, inherit_bindings=False):
    """Lines drawn by ``draw``; ``sync`` compares each visible line's ``key`` with what is painted.

    It scrolls by itself (``top`` is the first line shown): Textual's scrolling lays the whole screen out
    whenever the number of lines changes. With ``has_cursor`` one line is chosen, else the arrows scroll.
    """

    class Chosen(Message):
        """The cursor stands on another line."""

        def __init__(self, view: LineView) -> None:
            super().__init__()
            self.view = view

        @property
        def control(self) -> LineView:
            return self.view

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.move_bindings()]
    has_cursor = False
    header_rows = 0

    def __init__(self, *, id: str | None = None, classes: str | None = None) -> None:
        super().__init__(id=id, classes=classes)
        self.top = 0
        self.cursor = 0
        self._painted: dict[int, Hashable] = {}
        self._size_seen = Size(0, 0)

    # What a panel says of itself

    def count(self) -> int:
        """How many lines there are."""
        raise NotImplementedError

    def key(self, index: int) -> Hashable:
        """Everything that the looks of line ``index`` depend on, besides width, theme and cursor."""
        raise NotImplementedError

    def draw(self, index: int, width: int) -> list[Piece]:
        """Line ``index`` as pieces of at most ``width`` cells."""
        raise NotImplementedError

    def draw_header(self, row: int, width: int) -> list[Piece]:
        """The fixed line ``row`` above the list."""
        return []

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        """Line ``row`` of what is shown when there is nothing to list."""
        return []

    def empty_key(self) -> Hashable:
        """What the words for an empty list depend on."""
        return None

    # Looks

    @property
    def hh(self) -> Interface:
        """The app, with its own type."""
        return cast("Interface", self.app)

    @property
    def looks(self) -> Looks:
        return self.hh.looks

    @property
    def glyphs(self) -> Glyphs:
        return self.hh.glyphs

    # Drawing

    @property
    def rows(self) -> int:
        """How many lines of the list fit."""
        return max(self.content_size.height - self.header_rows, 0)

    def sync(self) -> None:
        """Redraw what changed since it was painted, and nothing else."""
        self._clamp()
        if not self.is_attached or not self.content_size or not self.hh.shows(self.screen):
            return
        width = self.content_size.width
        changed = [
            Region(0, y, width, 1)
            for y in range(self.content_size.height)
            if self._painted.get(y, self) != self._row_key(y)
        ]
        if len(changed) == self.content_size.height:
            changed = [Region(0, 0, width, len(changed))]
        if changed:
            self.refresh(*changed)

    def _row_key(self, y: int) -> Hashable:
        bar = self._bar_at(y)
        if y < self.header_rows:
            return ("header", self.header_key(), bar)
        count = self.count()
        if not count:
            return ("empty", y, self.empty_key())
        index = self.top + y - self.header_rows
        if index >= count:
            return None
        return (self.key(index), self._cursor_look(index), bar)

    def header_key(self) -> Hashable:
        """What the fixed lines depend on."""
        return None

    def _cursor_look(self, index: int) -> int:
        if not self.has_cursor or index != self.cursor:
            return 0
        return 2 if self.has_focus else 1

    def render_line(self, y: int) -> Strip:
        """One line of the panel."""
        if self._size_seen != self.content_size:
            self._size_seen = self.content_size
            self._painted.clear()
            self.resized()
        width = self.content_size.width
        self._painted[y] = self._row_key(y)
        base = self.rich_style
        if y < self.header_rows:
            return self._strip(self.draw_header(y, width), width, base)
        count = self.count()
        if not count:
            return self._strip(self.draw_empty(y - self.header_rows, width), width, base)
        index = self.top + y - self.header_rows
        overflow = count > self.rows
        inner = width - 1 if overflow else width
        pieces = self.draw(index, inner) if index < count else []
        if look := self._cursor_look(index):
            base = base + (self.looks.cursor if look == 2 else self.looks.cursor_unfocused)
        if not overflow:
            return self._strip(pieces, width, base)
        strip = self._strip(pieces, inner, base)
        thumb = self._bar_at(y)
        bar = strip_of([(self.glyphs.thumb if thumb else self.glyphs.track, self.looks.dim)], 1, self.rich_style)
        return Strip.join([strip, bar])

    def _strip(self, pieces: Iterable[Piece], width: int, base: Style) -> Strip:
        return strip_of(pieces, width, base, self.glyphs.ellipsis)

    def _bar_at(self, y: int) -> int | None:
        count, rows = self.count(), self.rows
        if count <= rows or not rows or y < self.header_rows:
            return None
        size = max(rows * rows // count, 1)
        start = round((rows - size) * self.top / max(count - rows, 1))
        return int(start <= y - self.header_rows < start + size)

    def notify_style_update(self) -> None:
        """Theme and focus change what lines look like."""
        super().notify_style_update()
        self._painted.clear()

    def resized(self) -> None:
        """The size is another one than at the last painting, which begins now."""
        self._clamp()

    def on_focus(self) -> None:
        """The cursor looks different where keys go."""
        self.sync()

    def on_blur(self) -> None:
        """The cursor looks different where keys do not go."""
        self.sync()

    def label(self, title: str, subtitle: str) -> None:
        """Words in the border, plain text; only the border's line that changed is redrawn."""
        for name, text, y in (("_border_title", title, 0), ("_border_subtitle", subtitle, self.outer_size.height - 1)):
            text = self.glyphs.keep(sanitise(text, 400))
            old: Content | None = getattr(self, name)
            if (old.plain if old is not None else "") != text:
                setattr(self, name, Content(text) if text else None)
                if not self.is_attached or not self.hh.shows(self.screen):
                    continue
                offset = self.content_offset
                self.refresh(Region(-offset.x, y - offset.y, self.outer_size.width, 1))

    # Moving

    @property
    def last_top(self) -> int:
        """The greatest ``top``: the last line stands at the bottom."""
        return max(self.count() - self.rows, 0)

    def _clamp(self) -> None:
        count = self.count()
        self.cursor = min(max(self.cursor, 0), max(count - 1, 0))
        if self.has_cursor and self.rows:
            self.top = min(max(self.top, self.cursor - self.rows + 1), self.cursor)
        self.top = min(max(self.top, 0), self.last_top)

    def move_to(self, line: int) -> None:
        """Put the cursor on ``line``, or scroll so that it is the first one."""
        before = self.cursor
        if self.has_cursor:
            self.cursor = line
        else:
            self.top = line
        self.sync()
        if self.has_cursor and self.cursor != before:
            self.post_message(self.Chosen(self))

    def action_move(self, lines: int) -> None:
        """Up or down by lines."""
        self.move_to((self.cursor if self.has_cursor else self.top) + lines)

    def action_page(self, pages: int) -> None:
        """Up or down by screenfuls; one line stays in sight."""
        self.action_move(pages * max(self.rows - 1, 1))

    def action_edge(self, side: int) -> None:
        """To the first or the last line."""
        self.move_to(0 if side < 0 else max(self.count() - 1, 0))

    def on_mouse_scroll_up(self, event: events.MouseScrollUp) -> None:
        """Three lines up."""
        event.stop()
        self.action_move(-3)

    def on_mouse_scroll_down(self, event: events.MouseScrollDown) -> None:
        """Three lines down."""
        event.stop()
        self.action_move(3)

    def on_click(self, event: events.Click) -> None:
        """The line that is clicked becomes the chosen one; a second click opens it."""
        offset = event.get_content_offset(self)
        if not self.has_cursor or offset is None or offset.y < self.header_rows:
            return
        index = self.top + offset.y - self.header_rows
        if index < self.count():
            self.move_to(index)
            if event.chain == 2:
                self.opened()

    def opened(self) -> None:
        """A line was clicked twice."""


class HeldLines(LineView):
    """Draws ``_lines``; whoever replaces them calls ``sync``, which redraws those that differ."""

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self._lines: list[list[Piece]] = []

    def count(self) -> int:
        return len(self._lines)

    def key(self, index: int) -> Hashable:
        return tuple(self._lines[index])

    def draw(self, index: int, width: int) -> list[Piece]:
        return self._lines[index]


class ComposedView(HeldLines):
    """Keeps the lines of ``compose_lines``; ``load`` composes them anew and redraws those that differ."""

    def compose_lines(self) -> list[list[Piece]]:
        """All lines for ``content_size``; none while nothing is known."""
        raise NotImplementedError

    def load(self) -> None:
        """Redraw what changed."""
        self._lines = self.compose_lines()
        self.sync()

    def resized(self) -> None:
        """Lines are as long as there is room."""
        self._lines = self.compose_lines()
        super().resized()

    def notify_style_update(self) -> None:
        """The lines hold styles of the theme."""
        super().notify_style_update()
        if self.is_mounted:
            self._lines = self.compose_lines()

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        return [(" No figures yet.", self.looks.dim)] if row == 0 else []


class TextView(HeldLines):
    """Shows the given lines; giving it others redraws only those that differ."""

    def set_lines(self, lines: list[list[Piece]]) -> None:
        """Show these lines."""
        self._lines = lines
        self.sync()
