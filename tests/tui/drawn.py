"""A screen as text with its styles, small enough to keep many of: each line, and runs of styles by letters."""

from __future__ import annotations

import string
from typing import Any

from rich.style import Style
from textual._compositor import visible_screen_stack

from hhtui.tui.app import HomeHelperApp

_LETTERS = string.ascii_letters + string.digits


def drawn(app: HomeHelperApp) -> str:
    """Lines ``|text``, each followed by its runs ``~a12b3`` if they are not the last line's; then the letters."""
    visible_screen_stack.set(app._background_screens)
    letters: dict[str, str] = {}
    lines: list[str] = []
    before = ""
    for strip in app.screen._compositor.render_strips():
        lines.append("|" + strip.text.rstrip())
        runs: list[tuple[str, int]] = []
        for segment in strip:
            name = words(segment.style)
            letter = letters.setdefault(name, _LETTERS[len(letters)])
            if runs and runs[-1][0] == letter:
                runs[-1] = (letter, runs[-1][1] + len(segment.text))
            else:
                runs.append((letter, len(segment.text)))
        reported = "".join(f"{letter}{length}" for letter, length in runs)
        if reported != before:
            lines.append("~" + reported)
        before = reported
    return "\n".join([*lines, *(f"{letter} = {name}" for name, letter in letters.items())]) + "\n"


def words(style: Style | None) -> str:
    """A style without links and handlers."""
    if style is None:
        return "none"
    reported: list[Any] = [str(style.without_color) if style.without_color else "", style.color, style.bgcolor]
    attributes, colour, background = reported
    name = colour.name if colour is not None else "default"
    return f"{attributes} {name} on {background.name if background is not None else 'default'}".strip()
