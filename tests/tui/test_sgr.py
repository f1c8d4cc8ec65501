"""Fewer bytes, the same picture."""

from __future__ import annotations

import re

from hypothesis import given, settings
from hypothesis import strategies as st

from hhtui.tui.sgr import compact

COLOURS = ["31", "97", "39", "38;5;208", "38;2;1;2;3", "48;5;17", "48;2;9;8;7", "44", "49", "107"]
OTHERS = ["1", "2", "3", "4", "7", "9"]


def picture(output: str) -> list[tuple[str, tuple[str, str, frozenset[str]]]]:
    """What a terminal shows: each character, or move, with the attributes it is shown with."""
    shown = []
    fg = bg = ""
    others: frozenset[str] = frozenset()
    for code, move, character in re.findall(r"\x1b\[([0-9;]*)m|(\x1b\[[0-9;?]*[A-Zhl])|([^\x1b])", output):
        if move:
            shown.append((move, ("", "", frozenset())))
        elif character in "\r\n" and character:
            shown.append((character, ("", "", frozenset())))
        elif character:
            shown.append((character, (fg, bg, others)))
        else:
            for part in re.findall(r"[34]8;5;\d+|[34]8;2;\d+;\d+;\d+|\d+|(?<![0-9])(?=;|$)", code) or ["0"]:
                if part in ("", "0"):
                    fg, bg, others = "", "", frozenset()
                elif part.startswith(("38", "3", "9")) and len(part) > 1:
                    fg = part
                elif part.startswith(("48", "4", "10")) and len(part) > 1:
                    bg = part
                else:
                    others |= {part}
    assert (fg, bg, others) == ("", "", frozenset()), "the frame leaves attributes on"
    return shown


segment = st.tuples(
    st.lists(st.sampled_from(OTHERS), max_size=2, unique=True),
    st.lists(st.sampled_from(COLOURS), max_size=2, unique=True),
    st.text("ab █", max_size=4),
)
move = st.sampled_from(["\x1b[3;7H", "\r\n", "\x1b[?2026h"])


@settings(max_examples=300, deadline=None)
@given(st.lists(st.one_of(segment, move), max_size=12))
def test_a_frame_shows_the_same_in_fewer_bytes(parts: list[object]) -> None:
    frame = ""
    for part in parts:
        if isinstance(part, str):
            frame += part
        else:
            others, colours, text = part  # type: ignore[misc]
            codes = ";".join([*others, *colours])
            frame += f"\x1b[{codes}m{text}\x1b[0m" if codes else text
    short = compact(frame)
    assert picture(short) == picture(frame)
    assert len(short) <= len(frame)
    assert compact(short) == short


def test_a_row_of_one_background_names_it_once() -> None:
    row = "".join(f"\x1b[38;5;{colour};48;5;233m{colour}\x1b[0m" for colour in (250, 110, 110))
    assert compact(row) == "\x1b[38;5;250;48;5;233m250\x1b[38;5;110m110110\x1b[0m"
