"""Only what differs is sent, and the terminal shows the same."""

from __future__ import annotations

from hypothesis import given, settings
from hypothesis import strategies as st

from hhtui.tui.session.screen_buffer import ScreenBuffer
from tests.tui.emulator import PLAIN, Emulator

COLOURS = ["31", "97", "39", "38;5;208", "38;2;1;2;3", "48;5;17", "48;2;9;8;7", "44", "49", "107"]
OTHERS = ["1", "2", "4", "7"]


piece = st.tuples(
    st.lists(st.sampled_from(OTHERS), max_size=2, unique=True),
    st.lists(st.sampled_from(COLOURS), max_size=2, unique=True),
    st.sampled_from(
        ["", " ", "a", "ab", "   ", "a b c", "█░", "é x", "0123456789", "漢", "a字b", "漢字", "e\u0301", "字 "]
    ),
)
move = st.tuples(st.integers(1, 3), st.integers(1, 12)).map(lambda at: f"\x1b[{at[0]};{at[1]}H")
other = st.sampled_from(["\r\n", "\x1b[?2026h", "\x1b[?2026l"])


def written(parts: list[object]) -> str:
    frame = "\x1b[1;1H"
    for part in parts:
        if isinstance(part, str):
            frame += part
        else:
            others, colours, text = part  # type: ignore[misc]
            codes = ";".join([*others, *colours])
            frame += f"\x1b[{codes}m{text}\x1b[0m" if codes and text else text
    return frame


@settings(max_examples=150, deadline=None)
@given(st.lists(st.lists(st.one_of(piece, piece, move, other), max_size=8).map(written), max_size=6))
def test_the_terminal_shows_the_same_after_every_frame(frames: list[str]) -> None:
    whole, spare, picture = Emulator(), Emulator(), ScreenBuffer()
    for frame in frames:
        whole.feed(frame)
        spare.feed(picture.update(frame))
        assert spare.cells == whole.cells
        assert spare.look == PLAIN
        assert (spare.row, spare.column) == (whole.row, whole.column)


def test_a_wide_character_that_is_cut_leaves_a_blank() -> None:
    whole, spare, picture = Emulator(), Emulator(), ScreenBuffer()
    for frame in ("\x1b[1;1H漢字漢", "\x1b[1;2Hx\x1b[1;4Hy", "\x1b[1;3H字"):
        whole.feed(frame)
        spare.feed(picture.update(frame))
        assert spare.cells == whole.cells
    assert spare.text == " x字漢"


def test_a_frame_that_changes_nothing_sends_nothing() -> None:
    picture = ScreenBuffer()
    frame = "\x1b[2;3H\x1b[38;5;1;48;5;2mtext\x1b[0m\x1b[1;2H"
    assert "text" in picture.update(frame)
    assert picture.update(frame) == ""
    picture.forget()
    assert "text" in picture.update(frame)


def test_a_line_sends_only_the_cells_that_differ() -> None:
    picture = ScreenBuffer()
    picture.update("\x1b[1;1H\x1b[31mrequest 1041 from 192.168.1.7 took 12 ms\x1b[0m\x1b[1;1H")
    assert picture.update("\x1b[1;1H\x1b[31mrequest 1042 from 192.168.1.7 took 12 ms\x1b[0m\x1b[1;1H") == (
        "\x1b[1;12H\x1b[31m2\x1b[0m\x1b[1;1H"
    )


def test_the_other_screen_is_drawn_whole() -> None:
    picture = ScreenBuffer()
    frame = "\x1b[1;1Htext\x1b[1;1H"
    picture.update(frame)
    assert "text" in picture.update("\x1b[?1049h" + frame)


@settings(max_examples=100, deadline=None)
@given(
    st.lists(
        st.tuples(
            st.tuples(st.integers(1, 12), st.integers(1, 3)),
            st.lists(st.one_of(piece, piece, move), max_size=8).map(written),
        ),
        max_size=6,
    )
)
def test_a_frame_made_for_another_size_leaves_nothing_that_the_next_one_does_not_know(
    frames: list[tuple[tuple[int, int], str]],
) -> None:
    """The last frame for the old size comes after the terminal has the new one; then all is drawn anew."""
    terminal, wanted, picture = Emulator(), Emulator(), ScreenBuffer()
    for size, frame in frames:
        terminal.resize(*size)
        picture.fit(*size)
        terminal.feed(picture.update(frame))
        columns, rows = size
        drawn_anew = "".join(f"\x1b[{row + 1};1H" + "." * columns for row in range(rows))
        terminal.feed(picture.update(drawn_anew))
        wanted = Emulator()
        wanted.feed(drawn_anew)
        assert terminal.cells == wanted.cells
