"""Questions with a few answers: the base of what asks first, and those that several screens ask."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import ClassVar, cast

from textual import events
from textual.app import ComposeResult
from textual.await_complete import AwaitComplete
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.geometry import Size
from textual.screen import ModalScreen
from textual.widgets import Static

from hhtui.model.states import Verb
from hhtui.tui.session.interface import Interface
from hhtui.tui.text.cells import Piece, wrap
from hhtui.tui.text.line_view import LineView
from hhtui.tui.themes import style_sheets

# Cells of an answer's letter, with the space on both sides.
_LETTER = 3


class Answers(LineView):
    """Answers, wrapped where they are long; Enter takes the one under the cursor, its letter takes it at once."""

    has_cursor = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "take", show=False),
        Binding("tab", "move(1)", show=False),
        Binding("shift+tab", "move(-1)", show=False),
    ]

    def __init__(self, answers: Sequence[tuple[str, str, str]]) -> None:
        super().__init__()
        self.answers = answers
        # Each line's answer, by its number, and text.
        self._lines: list[tuple[int, str]] = []

    def get_content_height(self, container: Size, viewport: Size, width: int) -> int:
        """As many lines as the answers take."""
        return len(self._wrapped(width))

    def _wrapped(self, width: int) -> list[tuple[int, str]]:
        return [
            (number, part)
            for number, (_, _, text) in enumerate(self.answers)
            for part in wrap(self.glyphs.keep(text), width - _LETTER)
        ]

    def resized(self) -> None:
        """The answer under the cursor stays."""
        chosen = self._chosen
        self._lines = self._wrapped(self.content_size.width)
        self.cursor = self._first_line(chosen)
        super().resized()

    def count(self) -> int:
        return len(self._lines)

    def key(self, index: int) -> tuple[int, str]:
        return self._lines[index]

    def draw(self, index: int, width: int) -> list[Piece]:
        number, text = self._lines[index]
        letter = self.answers[number][1] if index == self._first_line(number) else ""
        return [(f" {letter:<{_LETTER - 1}}", self.looks.key), (text, self.looks.text)]

    @property
    def _chosen(self) -> int:
        """The number of the answer under the cursor."""
        return self._lines[self.cursor][0] if self.cursor < len(self._lines) else 0

    def _first_line(self, number: int) -> int:
        return next((line for line, (of, _) in enumerate(self._lines) if of == number), 0)

    def _cursor_look(self, index: int) -> int:
        chosen = index < len(self._lines) and self._lines[index][0] == self._chosen
        return super()._cursor_look(self.cursor) if chosen else 0

    def move_to(self, line: int) -> None:
        """Put the cursor on the first line of the answer there."""
        if self._lines:
            super().move_to(self._first_line(self._lines[min(max(line, 0), len(self._lines) - 1)][0]))

    def action_move(self, lines: int) -> None:
        """Up or down by answers."""
        self.move_to(self._first_line(min(max(self._chosen + lines, 0), len(self.answers) - 1)))

    def action_take(self) -> None:
        """The answer under the cursor."""
        cast("ChoiceScreen", self.screen).dismiss(self.answers[self._chosen][0])

    def opened(self) -> None:
        self.action_take()


class ChoiceScreen(ModalScreen[str]):
    """``answers`` are (result, letter, words); the first is the default. Escape answers ``""``.

    ``also``: further letters and their results, which are not shown.
    """

    CSS_PATH = style_sheets("dialogs")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "answer('')", show=False)]
    AUTO_FOCUS = "Answers"

    def __init__(
        self, title: str, text: str, answers: Sequence[tuple[str, str, str]], also: Mapping[str, str] | None = None
    ) -> None:
        super().__init__()
        self._title, self._text, self._answers = title, text, answers
        self._letters = {**{letter: result for result, letter, _ in answers}, **(also or {})}

    def compose(self) -> ComposeResult:
        keep = cast("Interface", self.app).glyphs.keep
        with Vertical(id="question") as box:
            box.border_title = self._title
            yield Static(Content(keep(self._text)), markup=False, id="words")
            yield Answers(self._answers)

    def dismiss(self, result: str | None = None) -> AwaitComplete:
        """Answer once: a second key may have waited for a question that has gone by then."""
        return super().dismiss(result) if self.is_active else AwaitComplete()

    def on_key(self, event: events.Key) -> None:
        """A letter answers, before it could mean what it does in other lists (k is up)."""
        if (result := self._letters.get(event.key)) is not None:
            event.stop()
            event.prevent_default()
            self.dismiss(result)

    def action_answer(self, result: str) -> None:
        """Give an answer."""
        self.dismiss(result)


_LISTED = 8


class ConfirmScreen(ChoiceScreen):
    """Answers ``yes``, ``no`` or nothing."""

    def __init__(self, verb: Verb, names: Sequence[str]) -> None:
        listed = ", ".join(names[:_LISTED])
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        super().__init__(
            f"{verb.value.capitalize()} {len(names)} apps?",
            f"{listed}{more}",
            (("yes", "y", f"{verb.value} them"), ("no", "n", "leave them as they are")),
        )


class QuitScreen(ChoiceScreen):
    """Answers ``keep``, ``stop``, ``stay`` or nothing; Ctrl+C leaves at once and keeps the apps running."""

    def __init__(self, running: int) -> None:
        apps = {0: "No app runs now.", 1: "One app is running."}.get(running, f"{running} apps are running.")
        super().__init__(
            "Quit",
            f"{apps} Shall the engine go on without this screen?",
            (
                ("keep", "k", "keep apps running and leave"),
                ("stop", "s", "stop all apps and the engine, then leave"),
                ("stay", "n", "stay here"),
            ),
            also={"q": "keep"},
        )
