"""What every command shares: the home, the output, the client, and the options that set them."""

from __future__ import annotations

from collections.abc import Callable
from typing import TYPE_CHECKING, Any, TypeVar

import click

from hhtui.cli.console import Console
from hhtui.errors import UsageError
from hhtui.paths import Home, find_home
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.client.remote import RemoteClient
    from hhtui.client.sync import EngineClient
    from hhtui.client.tunnel import Tunnel

Command = TypeVar("Command", bound=Callable[..., Any])


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
    def home(self) -> Home:
        """The paths of a home on this machine."""
        if self.host is not None:
            raise UsageError("this command looks at files of this machine: leave out --host")
        if self._home is None:
            self._home = Home.at(find_home(self._home_option))
        return self._home

    def client(self) -> EngineClient:
        """The home's engine, whether or not it runs; one of another machine is connected to, and must run."""
        if self.host is not None:
            return self._reached()
        from hhtui.client.sync import EngineClient

        return EngineClient(self.home.engine_socket)

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
