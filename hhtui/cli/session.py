"""What commands share: the home, the output, the client, the options that set them, and work in another process."""

from __future__ import annotations

import json
import os
import sys
from collections.abc import Callable
from datetime import UTC, datetime
from pathlib import Path
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hhtui.cli.console import Console, ProgressLines
from hhtui.errors import HomeHelperError, InvalidInputError, UsageError
from hhtui.paths import SOCKET_VARIABLE, Home, find_home
from hhtui.text import moment_of, sanitise

if TYPE_CHECKING:
    from hhtui.client.remote import RemoteClient
    from hhtui.client.sync import EngineClient
    from hhtui.client.tunnel import Tunnel

# More characters than the first sentence of any command's help has.
_SENTENCE = 500
Command = TypeVar("Command", bound=Callable[..., Any])


class Group(click.Group):
    """Commands whose first sentences stand whole in its help, on several lines where they are long: click cuts them."""

    def format_commands(self, ctx: click.Context, formatter: click.HelpFormatter) -> None:
        commands = [(name, self.get_command(ctx, name)) for name in self.list_commands(ctx)]
        with formatter.section("Commands"):
            formatter.write_dl([(name, command.get_short_help_str(_SENTENCE)) for name, command in commands if command])


class Session:
    """One invocation; options may stand before or after the command's name, the later one wins."""

    def __init__(self) -> None:
        self.console = Console()
        self._home_option: str | None = None
        self._home: Home | None = None
        self.host: str | None = None
        self._remote: RemoteClient | None = None

    @property
    def home_option(self) -> str | None:
        """What ``--home`` says, for a home that is not on this machine."""
        return self._home_option

    @property
    def home_given(self) -> bool:
        return self._home_option is not None

    def set_home(self, folder: str) -> None:
        """Take ``--home``; "" is a usage error, since it would silently be another home."""
        if not folder.strip() or "\0" in folder:
            raise click.UsageError("--home needs a folder")
        self._home_option = folder
        self._home = None

    def set_host(self, host: str) -> None:
        """Take ``--host``; UsageError for what can be no host."""
        from hhtui.client.ssh import check_host

        self.host = check_host(host)

    @property
    def apps_folder(self) -> str:
        """Where apps are put, on the machine that the home is on."""
        if self._remote is not None and self._remote.tunnel.remote is not None:
            return f"{sanitise(self._remote.tunnel.remote.home, 200)}/apps"
        return str(self.home.default_apps_dir)

    @property
    def place(self) -> str:
        """Where the home is, for people on another machine; one on another machine was connected to."""
        if self._remote is not None:
            return self._remote.tunnel.place
        import socket  # which most commands do without

        return f"{socket.gethostname()}:{self.home.root}"

    @property
    def home(self) -> Home:
        """The paths of a home on this machine."""
        if self.host is not None:
            raise UsageError("this command looks at files of this machine: leave out --host")
        if self._home is None:
            self._home = Home.at(find_home(self._home_option))
        return self._home

    def client(self) -> EngineClient:
        """The home's engine, whether or not it runs; one of another machine is connected to, and must run.

        In an app that may use the engine's API it is the app's own socket, unless ``--home`` names a home.
        """
        if self.host is not None:
            return self._reached()
        from hhtui.client.sync import EngineClient

        own = os.environ.get(SOCKET_VARIABLE) if not self.home_given else None
        return EngineClient(Path(own) if own else self.home.engine_socket)

    def tunnel(self) -> Tunnel:
        """The way to the home of ``--host``, not yet connected."""
        from hhtui.client.tunnel import Tunnel

        assert self.host is not None
        return Tunnel(self.host, self._home_option)

    def close(self) -> None:
        """Disconnect from another machine."""
        if self._remote is not None:
            self._remote.tunnel.close()
            self._remote = None

    def _reached(self) -> RemoteClient:
        if self._remote is None:
            from hhtui.client.remote import RemoteClient

            self._remote = RemoteClient(self.tunnel())
            self._remote.tunnel.open()
            self._remote.check()
        return self._remote


def shared_options(command: Command) -> Command:
    """``--home``, ``--host``, ``--json`` and ``--quiet``, kept in the session."""

    def keep_home(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.ensure_object(Session).set_home(value)

    def keep_host(ctx: click.Context, _: click.Parameter, value: str | None) -> None:
        if value is not None:
            ctx.ensure_object(Session).set_host(value)

    def keep_json(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.ensure_object(Session).console.json |= value

    def keep_quiet(ctx: click.Context, _: click.Parameter, value: bool) -> None:
        ctx.ensure_object(Session).console.quiet |= value

    options: tuple[Callable[[Command], Command], ...] = (
        click.option(
            "-q", "--quiet", is_flag=True, expose_value=False, callback=keep_quiet, help="Print data and errors alone."
        ),
        click.option("--json", is_flag=True, expose_value=False, callback=keep_json, help="Print one JSON document."),
        click.option(
            "--host",
            metavar="HOST",
            expose_value=False,
            callback=keep_host,
            help="A home on another machine, over SSH: [user@]host.",
        ),
        click.option(
            "--home", metavar="DIR", expose_value=False, callback=keep_home, help="The home (else HOMEHELPER_HOME)."
        ),
    )
    for option in options:
        command = option(command)
    return command


def command(name: str | None = None, **more: Any) -> Callable[[Callable[..., Any]], click.Command]:
    """``@click.command`` with the shared options and the session as first argument."""

    def decorate(function: Callable[..., Any]) -> click.Command:
        make: Callable[[Callable[..., Any]], click.Command] = click.command(name, cls=click.Command, **more)
        return make(shared_options(click.pass_obj(function)))

    return decorate


def number_of(minimum: float, maximum: float) -> Callable[[click.Context, click.Parameter, Any], Any]:
    """A callback that holds an option between two limits, in words."""

    def check(_: click.Context, parameter: click.Parameter, value: Any) -> Any:
        if value is not None and not minimum <= value <= maximum:
            raise click.BadParameter(f"must be from {minimum:g} to {maximum:g}", param=parameter)
        return value

    return check


def time_option(typed: str | None, option: str) -> str | None:
    """A time of day, an ISO time (local unless it names a zone) or an age, as ISO in UTC."""
    if typed is None:
        return None
    try:
        return moment_of(typed, datetime.now(UTC)).isoformat()
    except InvalidInputError as error:
        raise click.UsageError(f"{option}: {error.message}") from None


def run_task(console: Console, module: str, request: dict[str, Any], verb: str) -> dict[str, Any]:
    """Run ``python -m module`` on ``request``; its result, or its HomeHelperError raised.

    For work that needs the engine's code but no engine: a process of its own, asked and followed over pipes.
    """
    import subprocess  # which most commands do without

    process = subprocess.Popen(
        [sys.executable, "-P", "-X", "utf8", "-m", module],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.PIPE,
        text=True,
        encoding="utf-8",
        errors="replace",
    )
    assert process.stdin and process.stdout and process.stderr
    report = ProgressLines(console, verb)
    answer: dict[str, Any] = {}
    try:
        try:
            process.stdin.write(json.dumps(request))
            process.stdin.close()
        except BrokenPipeError:
            pass
        for line in process.stdout:
            answer = json.loads(line)
            if progress := answer.get("progress"):
                report(progress["step"], progress["done"], progress["total"])
        errors = process.stderr.read().strip().splitlines()
        process.wait()
    finally:
        if process.poll() is None:
            process.kill()
            process.wait()
    if "result" in answer:
        result: dict[str, Any] = answer["result"]
        return result
    failure = answer.get("error") or {}
    words = failure.get("message") or f"it ended without an answer: {sanitise(errors[-1] if errors else 'killed', 300)}"
    error = HomeHelperError(str(words))
    error.slug, error.exit_code = str(failure.get("slug") or "task"), int(failure.get("exit_code") or 1)
    raise error
