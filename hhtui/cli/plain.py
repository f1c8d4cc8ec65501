"""``hhtui --plain``: the interface line after line, for screen readers, braille and terminals that only print.

Every command of the command line works; nothing that was printed is drawn over, and nothing is printed unasked.
"""

from __future__ import annotations

import os
import shlex
import signal
import sys
import threading
import time
from collections.abc import Callable, Sequence
from types import FrameType
from typing import TYPE_CHECKING, Any, NamedTuple

import click

from hhtui.cli.console import INTERRUPTED, Console
from hhtui.cli.events import EventSentences
from hhtui.cli.status import reason_of, runtime, text_of
from hhtui.errors import HomeHelperError, UsageError
from hhtui.paths import Home
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient

PROMPT = "hhtui> "
_OWN = {
    "news": "What happened since you last asked; an empty line does the same.",
    "watch": "Tell what happens as it happens, until Enter.",
    "help": "This list; help COMMAND says all about one.",
    "quit": "Leave. Ctrl-D does the same.",
}
_VERBS = frozenset(("start", "stop", "restart", "install", "enable", "disable", "reset"))
# What a reader may use; of groups, these of their commands.
_READING = frozenset(
    ("status", "logs", "events", "metrics", "validate", "doctor", "schema", "completion", "config", "engine", "service")
)
_READING_PARTS = {
    "config": frozenset(("show", "get", "path", "validate")),
    "engine": frozenset(("status",)),
    "service": frozenset(("show",)),
}
_ENDING = (signal.SIGTERM, signal.SIGHUP)
# Means nothing but to look whether another signal has come.
_LOOK = signal.SIGURG
_WORTH_TELLING = frozenset(("failed", "invalid", "backoff"))


class _EndedBySignal(BaseException):
    """A signal ends the interface; the line that is being typed is given up, the terminal restored."""

    def __init__(self, number: int) -> None:
        super().__init__()
        self.number = number


class Commands(NamedTuple):
    """The command line, for the lines that are typed: ``run`` takes a command's words and answers its exit code."""

    group: click.Group
    run: Callable[[list[str]], int]


class PlainInterface:
    """One home, until the user leaves; ``ours`` if the engine came up with this interface: then leaving asks."""

    def __init__(
        self, home: Home, console: Console, client: EngineClient, commands: Commands, *, ours: bool, read_only: bool
    ) -> None:
        self._home = home
        self._console = console
        self._client = client
        self._commands = commands
        self._ours = ours
        self._read_only = read_only
        self._news = EventSentences(console, client)
        self._asking = sys.stdin.isatty()
        self._code = 0

    def run(self) -> int:
        """Take commands until the end; 0, or the last command's exit code where no person types them."""
        for number in _ENDING:
            signal.signal(number, _end)
        _insist_on_signals()
        try:
            if self._asking:
                _prepare_typing(self._words)
            self._greet()
            while self._one_line_or_none():
                pass
        except _EndedBySignal as end:
            return 128 + end.number
        return 0 if self._asking else self._code

    def _greet(self) -> None:
        from hhtui import __version__

        say = self._say
        say(f"HomeHelper {__version__}, plain mode, home {self._home.root}.")
        try:
            records = self._client.apps()
            problems = self._client.engine().get("problems") or []
            self._news.skip()
        except HomeHelperError as error:
            self._console.complain(error.message)
            records, problems = [], []
        else:
            say(_summary(records) if records else _first_steps(self._home))
        for problem in problems:
            say(f"Problem: {problem}")
        for record in records:
            if record.get("status") in _WORTH_TELLING:
                say(f"{text_of(record.get('app_id'))}: {text_of(record.get('status'))}. {reason_of(record)}")
        if self._asking:
            say("Type help for all commands, quit to leave.")
        self._console.flush()

    def _one_line_or_none(self) -> bool:
        """Ctrl-C ends what is under way, whenever it comes."""
        try:
            return self._one_line()
        except KeyboardInterrupt:
            self._code = INTERRUPTED
            return True

    def _one_line(self) -> bool:
        """Read a line and carry it out; False at the end."""
        try:
            line = input(PROMPT if self._asking else "")
        except EOFError:
            if self._asking:
                self._say("")
            return self._asking and not self._leaves()
        except KeyboardInterrupt:
            self._say("")
            self._say("Ctrl-C ends a command; quit leaves.")
            return True
        except OSError:
            # The terminal is gone: as if SIGHUP had come.
            raise _EndedBySignal(signal.SIGHUP) from None
        except UnicodeDecodeError:
            self._console.complain("that is not UTF-8")
            self._code = UsageError.exit_code
            return True
        try:
            words = shlex.split(line)
        except ValueError as error:
            self._console.complain(f"{str(error).lower()}; put quotes around both ends")
            self._code = UsageError.exit_code
            return True
        if words[:1] == ["hhtui"]:
            words = words[1:]
        try:
            return self._carry_out(words)
        except HomeHelperError as error:
            self._console.complain(error.message)
            self._code = error.exit_code
        return True

    def _carry_out(self, words: Sequence[str]) -> bool:
        name, rest = (words[0], words[1:]) if words else ("news" if self._asking else "", ())
        match name:
            case "":
                return True
            case "quit" | "exit" | "q":
                return not self._leaves()
            case "help" | "?":
                self._help(rest)
            case "news":
                self._news.report()
            case "watch":
                self._news.watch(sys.stdin if self._asking else None)
            case _:
                self._command(words)
        self._console.flush()
        return True

    def _command(self, words: Sequence[str]) -> None:
        if words[0].startswith("-"):
            raise UsageError("type a command first, for example: status")
        if self._read_only and not _only_reads(words):
            raise UsageError(f"{words[0]} changes something, and this interface only watches (--read-only)")
        self._code = self._commands.run(["--home", str(self._home.root), *words])
        if words[0] in _VERBS:
            # The command has said how it went with these.
            self._news.skip(None if "--all" in words else frozenset(words[1:]))

    def _help(self, words: Sequence[str]) -> None:
        if words and words[0] not in _OWN:
            self._command([*words, "--help"])
            return
        for name, text in _OWN.items():
            self._say(f"{name}: {text}")
        group = self._commands.group
        context = click.Context(group)
        for name in group.list_commands(context):
            command = group.get_command(context, name)
            if command is not None and not (self._read_only and name not in _READING):
                self._say(f"{name}: {command.get_short_help_str(200)}")

    def _leaves(self) -> bool:
        """Whether to leave; what becomes of an engine that came with us is asked first."""
        if not (self._ours and self._asking):
            return True
        while True:
            try:
                answer = input("Keep the apps running (k, or Enter), stop all apps and the engine (s), stay (n)? ")
            except (EOFError, KeyboardInterrupt):
                self._say("")
                return True
            match answer.strip().lower()[:1]:
                case "" | "k":
                    self._say("Left; engine and apps run on. `hhtui engine stop` ends them.")
                    return True
                case "n":
                    return False
                case "s":
                    self._command(["engine", "stop"])
                    return self._code == 0

    def _words(self) -> list[str]:
        """What Tab completes: the commands and the apps."""
        group = self._commands.group
        try:
            apps = [str(record.get("app_id")) for record in self._client.apps()]
        except HomeHelperError:
            apps = []
        return [*_OWN, *group.list_commands(click.Context(group)), *apps]

    def _say(self, text: str) -> None:
        self._console.data(sanitise(text, 2000))


def _end(number: int, _: FrameType | None) -> None:
    for each in _ENDING:
        signal.signal(each, signal.SIG_IGN)
    raise _EndedBySignal(number)


def _insist_on_signals() -> None:
    """Interrupt the main thread some times more after a signal, so that Python looks at it.

    One that comes in the instant before readline begins to wait would be seen after the next key, and no sooner.
    """
    reading, writing = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
    os.set_blocking(reading, True)
    signal.signal(_LOOK, lambda *_: None)
    signal.set_wakeup_fd(writing, warn_on_full_buffer=False)
    ours = threading.get_ident()

    def insist() -> None:
        while data := os.read(reading, 1):
            if data[0] != _LOOK:
                for _ in range(10):
                    time.sleep(0.1)
                    signal.pthread_kill(ours, _LOOK)

    threading.Thread(target=insist, daemon=True, name="signals").start()


def _only_reads(words: Sequence[str]) -> bool:
    parts = _READING_PARTS.get(words[0])
    if parts is None or "--help" in words:
        return words[0] in _READING or "--help" in words
    return len(words) > 1 and words[1] in parts


def _summary(records: Sequence[dict[str, Any]]) -> str:
    """``3 apps: 2 running, 1 failed.``"""
    counts: dict[str, int] = {}
    for record in records:
        word = text_of(record.get("status"))
        if word == "running" and (health := runtime(record).get("health")) in ("warning", "error"):
            word = f"running with health {health}"
        counts[word] = counts.get(word, 0) + 1
    counted = ", ".join(f"{count} {word}" for word, count in sorted(counts.items(), key=lambda pair: -pair[1]))
    return f"{len(records)} {'app' if len(records) == 1 else 'apps'}: {counted}."


def _first_steps(home: Home) -> str:
    apps = home.default_apps_dir
    return f"No apps yet. Put a folder with a homehelper.json into {apps}, or type: new {apps}/hello"


def _prepare_typing(words: Any) -> None:
    """History and Tab; nothing but the typed line is ever written."""
    try:
        import readline
    except ImportError:
        return
    # Else each prompt is framed in escape sequences.
    readline.parse_and_bind("set enable-bracketed-paste off")
    readline.parse_and_bind("set bell-style none")
    readline.parse_and_bind("tab: complete")
    found: list[str] = []

    def complete(text: str, state: int) -> str | None:
        if state == 0:
            found[:] = sorted({f"{word} " for word in words() if word.startswith(text)})
        return found[state] if state < len(found) else None

    readline.set_completer_delims(" \t\n")
    readline.set_completer(complete)
