"""A question with a few answers: the base of what asks first."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, ClassVar, cast

from textual.app import ComposeResult
from textual.binding import Binding, BindingType
from textual.containers import Vertical
from textual.content import Content
from textual.screen import ModalScreen
from textual.widgets import Static

from hhtui.tui.cells import Piece
from hhtui.tui.themes import style_sheets
from hhtui.tui.widgets.line_view import LineView

if TYPE_CHECKING:
    from hhtui.tui.app import HomeHelperApp


class Answers(LineView):
    """One answer a line; Enter takes the one under the cursor, its letter takes it at once."""

    has_cursor = True
    BINDINGS: ClassVar[list[BindingType]] = [
        Binding("enter,space", "take", show=False),
        Binding("tab", "move(1)", show=False),
        Binding("shift+tab", "move(-1)", show=False),
    ]

    def __init__(self, answers: Sequence[tuple[str, str, str]]) -> None:
        super().__init__()
        self.answers = answers
        self.styles.height = len(answers)
        for result, letter, _ in answers:
            # A letter that moves in other lists (k is up) answers here.
            self._bindings.key_to_bindings.pop(letter, None)
            self._bindings.bind(letter, f"screen.answer('{result}')", show=False)

    def count(self) -> int:
        return len(self.answers)

    def key(self, index: int) -> str:
        return self.answers[index][0]

    def draw(self, index: int, width: int) -> list[Piece]:
        _, letter, text = self.answers[index]
        return [(f" {letter} ", self.looks.key), (self.glyphs.keep(text), self.looks.text)]

    def action_take(self) -> None:
        """The answer under the cursor."""
        cast("ChoiceScreen", self.screen).dismiss(self.answers[self.cursor][0])

    def opened(self) -> None:
        self.action_take()


class ChoiceScreen(ModalScreen[str]):
    """``answers`` are (result, letter, words); the first is the default. Escape answers ``""``."""

    CSS_PATH = style_sheets("dialogs")
    BINDINGS: ClassVar[list[BindingType]] = [Binding("escape", "answer('')", show=False)]
    AUTO_FOCUS = "Answers"

    def __init__(self, title: str, text: str, answers: Sequence[tuple[str, str, str]]) -> None:
        super().__init__()
        self._title, self._text, self._answers = title, text, answers
        for result, letter, _ in answers:
            self._bindings.bind(letter, f"answer('{result}')", show=False)

    def compose(self) -> ComposeResult:
        keep = cast("HomeHelperApp", self.app).glyphs.keep
        with Vertical(id="question") as box:
            box.border_title = self._title
            yield Static(Content(keep(self._text)), markup=False, id="words")
            yield Answers(self._answers)

    def action_answer(self, result: str) -> None:
        """Give an answer."""
        self.dismiss(result)
