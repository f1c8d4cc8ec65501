"""What the interface uses of Textual's private names: in one file, as little as can be, and still there."""

from __future__ import annotations

import importlib
import inspect
import pkgutil
import re
import time
from collections.abc import Iterator
from functools import cache
from pathlib import Path

from textual import constants, events
from textual.drivers.linux_driver import LinuxDriver

import hhtui.tui
from hhtui.tui.session import terminal
from hhtui.tui.session.terminal import HomeDriver, TerminalApp

_NAME = re.compile(r"(?:\b(?:self|cls)|super\(\)|\b\w+)\.(_[a-z]\w*)|def (_[a-z]\w*)")
_THEIRS = re.compile(r"\bself\.(_[a-z]\w*)")


def own_classes() -> Iterator[type]:
    for found in pkgutil.walk_packages(hhtui.tui.__path__, "hhtui.tui."):
        module = importlib.import_module(found.name)
        for value in vars(module).values():
            if inspect.isclass(value) and value.__module__ == found.name:
                yield value


@cache
def private_names(base: type) -> set[str]:
    """Of a class of Textual's: its methods and what it keeps in itself."""
    names = {name for name in vars(base) if name.startswith("_") and not name.startswith("__")}
    return names | set(_THEIRS.findall(inspect.getsource(base)))


def test_private_names_are_used_in_the_terminals_file_alone() -> None:
    used: dict[type, set[str]] = {}
    for own in own_classes():
        bases = [base for base in own.__mro__ if base.__module__.partition(".")[0] in ("textual", "rich")]
        theirs = set().union(*map(private_names, bases)) if bases else set()
        mine = {name for found in _NAME.findall(inspect.getsource(own)) for name in found if name}
        if shared := mine & theirs:
            used[own] = shared
    assert used == {TerminalApp: {"_fatal_error", "_close_messages_no_wait"}}


def test_private_modules_are_imported_in_the_terminals_file_alone() -> None:
    folder = Path(hhtui.tui.__path__[0])
    found = {
        (path.name, module)
        for path in folder.rglob("*.py")
        for module in re.findall(r"^\s*(?:from|import) ((?:textual|rich)[\w.]*\._\w+)", path.read_text(), re.MULTILINE)
    }
    assert found == {("terminal.py", "textual._xterm_parser")}


def test_the_parser_of_keys_takes_text_and_gives_events_and_an_escape_alone_after_its_delay() -> None:
    parser = terminal.XTermParser(False)

    def keys(found: object) -> list[str]:
        return [event.key for event in found if isinstance(event, events.Key)]  # type: ignore[attr-defined]

    assert keys(parser.feed("q\x1b[A")) == ["q", "up"]
    assert keys(parser.feed("\x1b")) == []
    assert keys(parser.tick()) == []
    time.sleep(constants.ESCAPE_DELAY + 0.01)
    assert keys(parser.tick()) == ["escape"]


def test_what_is_replaced_in_textuals_driver_is_there_to_be_replaced() -> None:
    for name in ("start_application_mode", "write", "close", "disable_input", "run_input_thread"):
        theirs, ours = inspect.signature(getattr(LinuxDriver, name)), inspect.signature(getattr(HomeDriver, name))
        assert list(theirs.parameters) == list(ours.parameters)
    assert inspect.iscoroutinefunction(TerminalApp._fatal_error) is inspect.iscoroutinefunction(
        TerminalApp.__mro__[1]._fatal_error  # type: ignore[attr-defined]
    )
