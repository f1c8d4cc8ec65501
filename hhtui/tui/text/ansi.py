"""A log line as pieces of styled text: SGR colours are kept, everything else is made harmless.

Source of the codes: ECMA-48, 8.3.117 (SELECT GRAPHIC RENDITION), and ITU-T T.416 for 38/48.
"""

from __future__ import annotations

import re
from collections.abc import Iterator

from rich.color import Color
from rich.style import Style

from hhtui.text import sanitise
from hhtui.tui.text.cells import Piece

_SGR = re.compile(r"\x1b\[([0-9;:]{0,64})m")
_PLAIN = Style()
_SWITCHES = {
    1: {"bold": True},
    2: {"dim": True},
    3: {"italic": True},
    4: {"underline": True},
    7: {"reverse": True},
    9: {"strike": True},
    22: {"bold": False, "dim": False},
    23: {"italic": False},
    24: {"underline": False},
    27: {"reverse": False},
    29: {"strike": False},
}


def pieces_of(line: str, limit: int = 8192, *, colour: bool = True) -> list[Piece]:
    """``line`` with its SGR codes as styles; all other controls are shown, not obeyed; cut at ``limit`` characters."""
    line = line.rstrip("\r")
    if "\x1b" not in line:
        return [(sanitise(line, limit), _PLAIN)]
    pieces: list[Piece] = []
    style = _PLAIN
    left = limit
    for text, codes in _split(line):
        if text and left > 0:
            shown = sanitise(text, left)
            left -= len(shown)
            pieces.append((shown, style if colour else _PLAIN))
        if codes is not None:
            style = _apply(style, codes)
    return pieces


def plain_of(line: str, limit: int = 8192) -> str:
    """``line`` as it is shown, without styles: what a search looks through."""
    return "".join(text for text, _ in pieces_of(line, limit))


def _split(line: str) -> Iterator[tuple[str, str | None]]:
    start = 0
    for match in _SGR.finditer(line):
        yield line[start : match.start()], match.group(1)
        start = match.end()
    yield line[start:], None


def _apply(style: Style, codes: str) -> Style:
    numbers = [int(part) if part else 0 for part in re.split("[;:]", codes)][:32]
    position = 0
    while position < len(numbers):
        code = numbers[position]
        position += 1
        if code == 0:
            style = _PLAIN
        elif code in _SWITCHES:
            style = style + Style(**_SWITCHES[code])  # type: ignore[arg-type]
        elif code in (38, 48):
            color, taken = _extended(numbers[position:])
            position += taken
            if color is not None:
                style = style + (Style(color=color) if code == 38 else Style(bgcolor=color))
        elif 30 <= code <= 37 or 90 <= code <= 97:
            style = style + Style(color=Color.from_ansi(code - 30 if code < 40 else code - 82))
        elif 40 <= code <= 47 or 100 <= code <= 107:
            style = style + Style(bgcolor=Color.from_ansi(code - 40 if code < 50 else code - 92))
        elif code == 39:
            style = style + Style(color=Color.default())
        elif code == 49:
            style = style + Style(bgcolor=Color.default())
    return style


def _extended(rest: list[int]) -> tuple[Color | None, int]:
    if len(rest) >= 2 and rest[0] == 5:
        return (Color.from_ansi(rest[1]) if rest[1] < 256 else None), 2
    if len(rest) >= 4 and rest[0] == 2:
        red, green, blue = rest[1:4]
        return (Color.from_rgb(red, green, blue) if max(rest[1:4]) < 256 else None), 4
    return None, len(rest)
