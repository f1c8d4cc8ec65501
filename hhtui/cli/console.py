"""What commands print, and how they end (docs/command-line.md).

Data goes to stdout, words to the person, colours only where they are seen. A command ends with its exit code, with one
line for what went wrong, and quietly where nobody reads any more.
"""

from __future__ import annotations

import errno
import json
import os
import sys
import time
from collections.abc import Iterable, Sequence
from functools import cached_property
from typing import Any, TextIO

from hhtui.errors import HomeHelperError
from hhtui.paths import as_called
from hhtui.text import human_bytes, sanitise

RED, GREEN, YELLOW, BLUE, DIM, BOLD = "31", "32", "33", "34", "2", "1"
_WIDE = frozenset("WF")
_PROGRESS_SECONDS = 2.0
INTERRUPTED = 130
# 128 + SIGPIPE: what a shell reports of a program whose reader has left.
PIPE_CLOSED = 141


class Console:
    """Data goes to stdout; words go there too on a terminal, else to stderr; with ``json`` stdout has the document.

    ``linear``: sentences instead of columns, words without glyphs and colours, for people who listen.
    """

    def __init__(self) -> None:
        self.json = False
        self.quiet = False
        self.linear = False
        for stream in (sys.stdout, sys.stderr):
            reconfigure = getattr(stream, "reconfigure", None)
            if reconfigure is not None:
                reconfigure(errors="backslashreplace")

    @property
    def on_terminal(self) -> bool:
        """Whether stdout is a terminal."""
        return _is_terminal(sys.stdout)

    @property
    def coloured(self) -> bool:
        """Whether stdout takes colours: https://no-color.org."""
        if self.linear or os.environ.get("NO_COLOR"):
            return False
        return self.on_terminal and os.environ.get("TERM", "dumb") != "dumb"

    @cached_property
    def unicode(self) -> bool:
        """Whether glyphs beyond ASCII can be shown."""
        from hhtui.client.encoding import terminal_encoding

        return "utf" in (getattr(sys.stdout, "encoding", None) or "").lower() and terminal_encoding() == "utf-8"

    @property
    def width(self) -> int | None:
        """The terminal's columns; None where lines need not fit one."""
        if self.linear or not self.on_terminal:
            return None
        try:
            return os.get_terminal_size(sys.stdout.fileno()).columns or 80
        except OSError:
            return 80

    def data(self, line: str = "") -> None:
        """One line of what was asked for. ``line`` must have been sanitised."""
        if sys.stdout is not None:
            if "…" in line and not self.unicode:
                line = line.replace("…", "~")
            sys.stdout.write(f"{line}\n")

    def pairs(self, rows: Iterable[tuple[str, object]]) -> None:
        """A label and a value a line; what is None or empty is left out."""
        for label, value in rows:
            if value is not None and value != "":
                shown = f"{label}:" if self.linear else self.colour(f"{label:<12}", DIM)
                self.data(f"{shown} {sanitise(str(value), 1000)}")

    def document(self, document: Any) -> None:
        """The answer of ``--json``: ASCII, so that it can be written in every locale."""
        if sys.stdout is not None:
            indent = 2 if self.on_terminal else None
            sys.stdout.write(json.dumps(document, indent=indent) + "\n")

    def words(self, line: str) -> None:
        """A remark for people: the outcome of what was done, hints."""
        if self.quiet:
            return
        line = as_called(line)
        if self.on_terminal and not self.json:
            self.data(sanitise(line))
        else:
            self._to_stderr(sanitise(line))

    def progress(self, line: str) -> None:
        """What is going on while the user waits."""
        if not self.quiet:
            self._to_stderr(sanitise(line, 500))

    def complain(self, line: str) -> None:
        """An error or a warning, in one line."""
        self._to_stderr(f"hhtui: {sanitise(line)}")

    def flush(self) -> None:
        """Write out what waits; OSError if nobody reads or the disk is full."""
        if sys.stdout is not None:
            sys.stdout.flush()

    def colour(self, text: str, *codes: str) -> str:
        """``text`` in colour where there are colours."""
        return f"\x1b[{';'.join(codes)}m{text}\x1b[0m" if codes and self.coloured else text

    def _to_stderr(self, line: str) -> None:
        if sys.stderr is None:
            return
        try:
            sys.stderr.write(f"{as_called(line)}\n")
            sys.stderr.flush()
        except OSError:
            pass


def _is_terminal(stream: TextIO | None) -> bool:
    try:
        return stream is not None and stream.isatty()
    except ValueError:
        return False


def display_width(text: str) -> int:
    """Columns that ``text`` takes on a terminal."""
    if text.isascii():
        return len(text)
    from unicodedata import combining, east_asian_width

    return sum(0 if combining(character) else 1 + (east_asian_width(character) in _WIDE) for character in text)


def fitted(text: str, width: int) -> str:
    """``text`` cut to ``width`` columns, with an ellipsis where something is left out."""
    if display_width(text) <= width:
        return text
    taken = ""
    for character in text:
        if display_width(taken) + display_width(character) > width - 1:
            break
        taken += character
    return f"{taken}…" if width > 0 else ""


def padded(text: str, width: int, right: bool = False) -> str:
    """``text`` filled up to ``width`` columns."""
    space = " " * max(width - display_width(text), 0)
    return space + text if right else text + space


class Table:
    """Columns that fit the terminal: the optional ones go first, then the last one is cut."""

    def __init__(self, console: Console) -> None:
        self._console = console
        self._titles: list[str] = []
        self._right: list[bool] = []
        self._droppable: list[int] = []
        self._rows: list[list[str]] = []
        self._colours: list[dict[int, Sequence[str]]] = []

    def column(self, title: str, *, right: bool = False, optional: bool = False) -> None:
        """Add a column; ``optional`` ones are left out, the last added first, when it gets narrow."""
        if optional:
            self._droppable.append(len(self._titles))
        self._titles.append(title)
        self._right.append(right)

    def row(self, cells: Sequence[str], colours: dict[int, Sequence[str]] | None = None) -> None:
        """Add a row; ``colours`` by column."""
        self._rows.append([sanitise(cell, 500) for cell in cells])
        self._colours.append(colours or {})

    def print(self) -> None:
        """Write the table to stdout; where people listen, a sentence a row: ``web: state running, port 8100``."""
        if self._console.linear:
            for first, *rest in self._rows:
                parts = [f"{title.lower()} {cell}" for title, cell in zip(self._titles[1:], rest, strict=True) if cell]
                self._console.data(f"{first}: {', '.join(parts)}")
            return
        limit = self._console.width
        widths = [
            max(display_width(cell) for cell in (title, *(row[index] for row in self._rows)))
            for index, title in enumerate(self._titles)
        ]
        shown = [index for index, width in enumerate(widths) if any(row[index] for row in self._rows) or width == 0]
        shown = shown or list(range(len(widths)))
        if limit is not None:
            droppable = [index for index in self._droppable if index in shown]
            while droppable and sum(widths[index] + 2 for index in shown[:-1]) + 12 > limit:
                shown.remove(droppable.pop())
            room = limit - sum(widths[index] + 2 for index in shown[:-1])
            widths[shown[-1]] = max(min(widths[shown[-1]], room), 1)
        self._line(self._titles, shown, widths, dict.fromkeys(shown, (DIM,)), limit)
        for row, colours in zip(self._rows, self._colours, strict=True):
            self._line(row, shown, widths, colours, limit)

    def _line(
        self,
        cells: Sequence[str],
        shown: list[int],
        widths: list[int],
        colours: dict[int, Sequence[str]],
        limit: int | None,
    ) -> None:
        parts = []
        used = 0
        for index in shown:
            last = index == shown[-1]
            room = widths[index] if limit is None else max(min(widths[index], limit - used), 0)
            text = fitted(cells[index], room)
            text = text if last and not self._right[index] else padded(text, room, self._right[index])
            used += room + 2
            parts.append(self._console.colour(text, *colours.get(index, ())))
        self._console.data("  ".join(parts).rstrip())


class ProgressLines:
    """Progress printed in a line every two seconds, and whenever another step begins with no amount known."""

    def __init__(self, console: Console, verb: str) -> None:
        self._console = console
        self._verb = verb
        self._printed = 0.0
        self._step = ""

    def __call__(self, step: str, done: int, total: int) -> None:
        now = time.monotonic()
        if now - self._printed < _PROGRESS_SECONDS and (total or step == self._step):
            return
        self._printed, self._step = now, step
        share = f"{done * 100 // total} % of {human_bytes(total)}, " if total else ""
        self._console.progress(f"{self._verb}: {share}{step}" if step else f"{self._verb}: {share.rstrip(', ')}")


def ended(console: Console, code: int) -> int:
    """Everything was printed, unless stdout says otherwise."""
    try:
        console.flush()
    except OSError as error:
        return _stdout_failed(console, error)
    return code


def failed(console: Console, error: BaseException) -> int:
    """The exit code for ``error``, printed in one line; nothing that a user can cause is a traceback."""
    if isinstance(error, HomeHelperError):
        return complained(console, error.message, error.exit_code)
    if isinstance(error, KeyboardInterrupt):
        return INTERRUPTED
    if isinstance(error, OSError):
        return _stdout_failed(console, error)
    if os.environ.get("HHTUI_DEBUG"):
        raise error
    words = f"{type(error).__name__}: {error}"
    return complained(console, f"a bug in hhtui: {words}; HHTUI_DEBUG=1 shows where", 1)


def complained(console: Console, message: str, code: int) -> int:
    """Print what is there, then ``message`` to stderr; ``code``."""
    try:
        console.flush()
    except OSError:
        _abandon(sys.stdout)
    console.complain(message)
    return code


def _stdout_failed(console: Console, error: OSError) -> int:
    _abandon(sys.stdout)
    if error.errno == errno.EPIPE:
        return PIPE_CLOSED
    where = f"{error.filename}: " if error.filename else "standard output: "
    return complained(console, f"{where}{error.strerror or error}", 1)


def settle_streams() -> None:
    """Leave nothing for the interpreter's own last flush, which would make any exit code 120 (Py_FinalizeEx)."""
    for stream in (sys.stdout, sys.stderr):
        try:
            if stream is not None:
                stream.flush()
        except (OSError, ValueError):
            _abandon(stream)


def _abandon(stream: TextIO | None) -> None:
    """Let what waits in ``stream`` go nowhere: who read it has left."""
    if stream is None:
        return
    try:
        target = stream.fileno()
        nowhere = os.open(os.devnull, os.O_WRONLY)
        os.dup2(nowhere, target)
        os.close(nowhere)
    except (OSError, ValueError):
        pass
