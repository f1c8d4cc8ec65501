"""Other machines: ``hhtui hosts``, the list of them, and ``--host``, a command that is run there through SSH."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
import threading
from collections.abc import Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import asdict
from shlex import quote
from typing import IO

import click

from hhtui.cli.console import INTERRUPTED, Console, Table
from hhtui.cli.session import Group, Session, command
from hhtui.client import ssh
from hhtui.client.tunnel import SEARCH_PATH
from hhtui.errors import HomeHelperError, UsageError
from hhtui.text import sanitise

_AT_ONCE = 4

# What an engine behind a forwarded socket can do itself; everything else needs files or processes there.
_BY_API = frozenset(
    {
        "status",
        "start",
        "stop",
        "restart",
        "install",
        "enable",
        "disable",
        "reset",
        "logs",
        "events",
        "metrics",
        "add",
        "search",
        "catalog",
        "move",
    }
)
_ENGINE_BY_API = frozenset(("status", "stop", "reload"))
_NOT_REMOTE = {
    "completion": "is the same for every host",
    "schema": "is the same for every host",
    "hosts": "is about this machine's list of hosts",
}
_NO_PROGRAM = 127
_MARK = b"hhtui-begins"
# Said before the command, so that what ssh and the login shell say is not taken for what the command says.
_RUN = f'{SEARCH_PATH}; echo {_MARK.decode()} >&2; command -v hhtui >/dev/null || exit {_NO_PROGRAM}; exec hhtui "$@"'


@click.group(cls=Group)
def hosts() -> None:
    """Keep the list of machines that the interface switches between."""


@command("list")
@click.option("--check", is_flag=True, help="Connect to each and say how it is.")
def list_(session: Session, check: bool) -> None:
    """Show the list, and the names that your ssh knows."""
    from hhtui.client.hosts import hosts_file, listed, suggested

    known = listed(hosts_file())
    more = [host for host in suggested() if host not in known]
    console = session.console
    seen = {}
    if check and known:
        from hhtui.client.hosts import survey

        console.progress(f"connecting to {len(known)} machines")
        with ThreadPoolExecutor(_AT_ONCE) as executor:
            seen = dict(zip(known, executor.map(survey, known), strict=True))
    if console.json:
        entries = [{**asdict(host), "listed": True} for host in known]
        for entry, host in zip(entries, known, strict=True):
            if host in seen:
                entry["survey"] = asdict(seen[host])
        console.document([*entries, *({**asdict(host), "listed": False} for host in more)])
        return
    table = Table(console)
    table.column("HOST")
    table.column("STATE" if check else "")
    for host in known:
        table.row([host.label, _survey_line(seen[host]) if host in seen else ""])
    for host in more:
        table.row([host.label, "known to ssh; `hhtui hosts add` puts it into the list"])
    if known or more:
        table.print()
    else:
        console.words("no hosts yet: `hhtui hosts add [user@]host`")


@command("add")
@click.argument("name", metavar="HOST")
def add(session: Session, name: str) -> None:
    """Put HOST ([user@]host) into the list; --home names its folder there."""
    from hhtui.client.hosts import Host, hosts_file
    from hhtui.client.hosts import add as add_host
    from hhtui.client.ssh import check_host

    entry = Host(check_host(name), session.home_option)
    new = add_host(hosts_file(), entry)
    if session.console.json:
        session.console.document({**asdict(entry), "added": new})
    else:
        session.console.words(f"{entry.label}: {'added' if new else 'is in the list already'}")


@command("remove")
@click.argument("name", metavar="HOST")
def remove(session: Session, name: str) -> None:
    """Take HOST off the list."""
    from hhtui.client.hosts import hosts_file
    from hhtui.client.hosts import remove as remove_host

    gone = remove_host(hosts_file(), name)
    if session.console.json:
        session.console.document({**asdict(gone), "removed": True})
    else:
        session.console.words(f"{gone.label}: removed from the list")


for each in (list_, add, remove):
    hosts.add_command(each)


def _survey_line(seen: object) -> str:
    """A survey in one line."""
    from hhtui.client.hosts import Survey

    assert isinstance(seen, Survey)
    if seen.trouble:
        return sanitise(seen.trouble, 300)
    counts = ", ".join(f"{count} {sanitise(status, 20)}" for status, count in sorted(seen.apps.items()))
    alerts = f"; {seen.alerts} alerts" if seen.alerts else ""
    return f"engine {sanitise(seen.version, 20)}; {counts or 'no apps'}{alerts}"


def run_on_host(arguments: Sequence[str], console: Console) -> int | None:
    """Run the whole command on the host that the words name; its exit code. None for what this process does itself."""
    if any(word in ("-h", "--help") for word in arguments):
        return None
    host, rest = _without_host(arguments)
    words = _command_words(rest)
    if host is None or not words or words[0] in _BY_API:
        return None
    if words[0] == "engine" and (len(words) < 2 or words[1] in _ENGINE_BY_API):
        return None
    if words[0] in _NOT_REMOTE:
        raise UsageError(f"{words[0]} {_NOT_REMOTE[words[0]]}: leave out --host")
    label = ssh.label_of(ssh.check_host(host))
    if words[:2] == ["config", "edit"]:
        raise UsageError(f"config edit needs a terminal there: ssh -t {label} hhtui config edit")
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


def _command_words(arguments: Sequence[str]) -> list[str]:
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
    listener = threading.Thread(target=_pass_errors_on, args=(process.stderr, before), daemon=True, name="ssh-errors")
    listener.start()
    try:
        if process.stdout is not None:
            _pass_output_on(process.stdout, sys.stdout.buffer)
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


def _pass_errors_on(stream: IO[bytes], before: list[str]) -> None:
    """Pass on, made safe, what the command there says; keep what came before it."""
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


def _pass_output_on(stream: IO[bytes], terminal: IO[bytes]) -> None:
    """What comes from another machine reaches no terminal as it is."""
    while line := stream.readline(65_536):
        text = sanitise(line.decode("utf-8", "replace").rstrip("\r\n"), 65_536)
        terminal.write(text.encode(getattr(sys.stdout, "encoding", None) or "utf-8", "backslashreplace") + b"\n")
        terminal.flush()
