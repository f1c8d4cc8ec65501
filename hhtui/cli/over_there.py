"""Commands that need the files of the home's machine: run over there by its own hhtui, through SSH."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from shlex import quote
from typing import IO

from hhtui.cli.console import Console
from hhtui.cli.endings import INTERRUPTED
from hhtui.client import ssh
from hhtui.client.probe import SEARCH_PATH
from hhtui.errors import HomeHelperError, UsageError
from hhtui.text import sanitise

# What an engine behind a forwarded socket can do itself; everything else touches files or processes over there.
_BY_API = frozenset(
    {"status", "start", "stop", "restart", "install", "enable", "disable", "reset", "logs", "events", "metrics"}
)
_ENGINE_BY_API = frozenset(("status", "stop", "reload"))
_NOT_REMOTE = {
    "completion": "is the same for every host",
    "schema": "is the same for every host",
    "hosts": "is about this machine's list of hosts",
}
_NO_PROGRAM = 127
_MARK = b"hhtui-begins"
# Said before the command, so that what ssh and the login shell say can be told from what the command says.
_RUN = f'{SEARCH_PATH}; echo {_MARK.decode()} >&2; command -v hhtui >/dev/null || exit {_NO_PROGRAM}; exec hhtui "$@"'


def run_over_there(arguments: Sequence[str], console: Console) -> int | None:
    """Run the whole command on the host that the words name; its exit code. None for what this process does itself."""
    if any(word in ("-h", "--help") for word in arguments):
        return None
    host, rest = _without_host(arguments)
    words = _words(rest)
    if host is None or not words or words[0] in _BY_API:
        return None
    if words[0] == "engine" and (len(words) < 2 or words[1] in _ENGINE_BY_API):
        return None
    if words[0] in _NOT_REMOTE:
        raise UsageError(f"{words[0]} {_NOT_REMOTE[words[0]]}: leave out --host")
    label = ssh.label_of(ssh.check_host(host))
    if words[:2] == ["config", "edit"]:
        raise UsageError(f"config edit needs a terminal over there: ssh -t {label} hhtui config edit")
    return _relayed(host, rest, console)


def _without_host(arguments: Sequence[str]) -> tuple[str | None, list[str]]:
    """The host, the last one named, and the words without it."""
    host: str | None = None
    rest: list[str] = []
    words = iter(arguments)
    for word in words:
        if word == "--":
            rest += [word, *words]
        elif word == "--host":
            host = next(words, None)
            if host is None:
                raise UsageError("--host needs a host; see `hhtui --help`")
        elif word.startswith("--host="):
            host = word.removeprefix("--host=")
        else:
            rest.append(word)
    return host, rest


def _words(arguments: Sequence[str]) -> list[str]:
    """The command and what follows, without the shared options."""
    found = []
    words = iter(arguments)
    for word in words:
        if word == "--home":
            next(words, None)
        elif not word.startswith("-"):
            found.append(word)
    return found


def _relayed(host: str, arguments: Sequence[str], console: Console) -> int:
    console.flush()
    shown = sys.stdout.isatty()
    command = " ".join(["sh", "-c", quote(_RUN), "hhtui", *map(quote, arguments)])
    try:
        process = subprocess.Popen(
            ssh.call(host, [command], ask=False),
            stdout=subprocess.PIPE if shown else None,
            stderr=subprocess.PIPE,
        )
    except OSError:
        raise ssh.missing() from None
    assert process.stderr is not None
    before: list[str] = []
    listener = threading.Thread(target=_tell, args=(process.stderr, before), daemon=True, name="ssh-errors")
    listener.start()
    try:
        if process.stdout is not None:
            _show(process.stdout, sys.stdout.buffer)
        code = process.wait()
    except KeyboardInterrupt:
        process.send_signal(signal.SIGINT)
        process.wait()
        return INTERRUPTED
    listener.join(2)
    if code == ssh.SSH_FAILED or code < 0:
        raise ssh.failure(host, before)
    if code == _NO_PROGRAM:
        raise HomeHelperError(f"{ssh.label_of(host)}: hhtui is not found there; install it there, or put it in PATH")
    return code


def _tell(stream: IO[bytes], before: list[str]) -> None:
    """Pass on, made safe, what the command over there says; keep what came before it."""
    begun = False
    while line := stream.readline(65_536):
        text = sanitise(line.decode("utf-8", "replace").rstrip("\r\n"), 4000)
        if not begun and line.strip() == _MARK:
            begun = True
        elif begun:
            try:
                os.write(2, f"{text}\n".encode())
            except OSError:
                return
        else:
            del before[:-20]
            before.append(text)


def _show(stream: IO[bytes], terminal: IO[bytes]) -> None:
    """What comes from another machine reaches no terminal as it is."""
    while line := stream.readline(65_536):
        text = sanitise(line.decode("utf-8", "replace").rstrip("\r\n"), 65_536)
        terminal.write(text.encode(getattr(sys.stdout, "encoding", None) or "utf-8", "backslashreplace") + b"\n")
        terminal.flush()
