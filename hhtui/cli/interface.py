"""``hhtui`` and ``hhtui --demo``: the terminal interface."""

from __future__ import annotations

import gc
import os
import sys
from pathlib import Path
from typing import TYPE_CHECKING

import click

from hhtui.cli.console import Console
from hhtui.errors import HomeHelperError
from hhtui.paths import Home, find_home

if TYPE_CHECKING:
    from hhtui.cli.plain import Commands
    from hhtui.client.sync import EngineClient
    from hhtui.client.tunnel import Tunnel


def run_interface(
    home: Home, console: Console, *, in_process: bool, read_only: bool, plain: Commands | None = None
) -> int:
    """Show the interface on ``home``, or line after line with ``plain``; the exit code."""
    _needs_terminal(console, plain is not None)
    _check_home(home)
    if plain:
        return _run_plain(home, console, plain, demo=False, read_only=read_only)
    return _run(home.root, in_process=in_process, demo=False, read_only=read_only)


def run_remote_interface(tunnel: Tunnel, console: Console, *, read_only: bool, plain: Commands | None = None) -> int:
    """Show the interface on the home at the other end of ``tunnel``; the exit code. SSH may ask something first."""
    _needs_terminal(console, plain is not None)
    from hhtui.client.remote import RemoteClient
    from hhtui.client.tunnel import open_first

    if plain:
        with tunnel:
            open_first(tunnel)
            client = RemoteClient(tunnel)
            client.check()
            return _plain(Home.at(Path(tunnel.remote_home)), console, client, plain, ours=False, read_only=read_only)
    from hhtui.client.hosts import Host
    from hhtui.tui.run import run_from

    return run_from(Host(tunnel.host, tunnel.home), find_home(None), read_only=read_only, tunnel=tunnel)


def run_demo(console: Console, *, in_process: bool, read_only: bool, plain: Commands | None = None) -> int:
    """Show the interface on a home with the example apps, which is removed afterwards, whatever ends us."""
    _needs_terminal(console, plain is not None, demo=True)
    from hhtui.cli.demo import DemoHome

    with DemoHome(console) as root:
        if plain:
            return _run_plain(Home.at(root), console, plain, demo=True, read_only=read_only)
        return _run(root, in_process=in_process, demo=True, read_only=read_only)


def _run_plain(home: Home, console: Console, commands: Commands, *, demo: bool, read_only: bool) -> int:
    from hhtui.client.sync import EngineClient

    ours = False
    # Who only watches starts no engine.
    if demo or not read_only:
        from hhtui.client.engine_start import ensure_engine

        ours = ensure_engine(home, console.progress).started
    return _plain(
        home, console, EngineClient(home.engine_socket), commands, ours=ours and not demo, read_only=read_only
    )


def _plain(
    home: Home, console: Console, client: EngineClient, commands: Commands, *, ours: bool, read_only: bool
) -> int:
    from hhtui.cli.plain import PlainInterface

    return PlainInterface(home, console, client, commands, ours=ours, read_only=read_only).run()


def _run(root: Path, *, in_process: bool, demo: bool, read_only: bool) -> int:
    # Of what is loaded from here on hardly anything is garbage; the interface turns collecting on with its first paint.
    gc.disable()
    if demo:
        from hhtui.tui.run import run_tui

        return run_tui(root, in_process=in_process, demo=demo, read_only=read_only)
    from hhtui.tui.run import run_from

    return run_from(None, root, in_process=in_process, read_only=read_only)


def _needs_terminal(console: Console, plain: bool, *, demo: bool = False) -> None:
    if words := unfit(console, plain, demo=demo):
        raise click.UsageError(words)


def unfit(console: Console, plain: bool = False, *, demo: bool = False) -> str | None:
    """Why the interface cannot be shown here, in one line."""
    if console.json:
        return "--json goes with a command"
    if plain:
        if sys.stdin is None:
            return "--plain reads commands from its standard input, which is closed"
        return "--plain prints to its standard output, which is closed" if sys.stdout is None else None
    plainly = "`hhtui --demo --plain`" if demo else "`hhtui --plain`"
    if sys.stdin is None or not sys.stdin.isatty() or not console.on_terminal:
        if demo:
            return f"the interface needs a terminal; {plainly} does not"
        return f"the interface needs a terminal; {plainly} and commands such as `hhtui status` do not"
    # terminfo's names for what can only print line after line: Rich draws nothing there.
    if (kind := os.environ.get("TERM", "").lower()) in ("dumb", "unknown"):
        return f"the interface needs a terminal that can move its cursor, and TERM is {kind}; {plainly} needs none such"
    return None


def _check_home(home: Home) -> None:
    """Say at once what the engine would say later."""
    try:
        home.root.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        raise HomeHelperError(
            f"{home.root}: cannot be made: {error.strerror}; choose another home with --home"
        ) from None
    if not home.engine_socket.exists() and not os.access(home.root, os.W_OK | os.X_OK):
        raise HomeHelperError(f"{home.root}: cannot be written by this user; choose another home with --home")
