"""From one machine's home to another's: each is shown by an interface of its own, one after the other."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from hhtui.errors import HomeHelperError
from hhtui.paths import Home
from hhtui.tui.app import HomeHelperApp, run_app
from hhtui.tui.connecting import Connector
from hhtui.tui.remembered import Memory

if TYPE_CHECKING:
    from hhtui.client.hosts import Host
    from hhtui.client.tunnel import Tunnel


def run_from(
    start: Host | None, home: Path, *, read_only: bool, in_process: bool = False, tunnel: Tunnel | None = None
) -> int:
    """Show the home of ``start``, None for ``home`` on this machine, then whatever is switched to; the exit code.

    ``tunnel`` is the way to ``start`` if there is one already. HomeHelperError: the first one cannot be reached; where
    a later one cannot, the one before is shown again and says so.
    """
    shown, before = start, start
    trouble = ""
    first = True
    while True:
        try:
            app = _remote(shown, read_only, tunnel) if shown is not None else _local(home, read_only, in_process)
        except HomeHelperError as error:
            if first or shown == before:
                raise
            shown, trouble = before, error.message
            continue
        finally:
            tunnel = None
        app.greeting = trouble
        code = run_app(app)
        first, trouble = False, ""
        if app.leaving.switch_to is None:
            return code
        before, shown = shown, app.leaving.switch_to.host


def _local(home: Path, read_only: bool, in_process: bool) -> HomeHelperApp:
    layout = Home.at(home)
    connector = Connector(layout, in_process=in_process, read_only=read_only)
    return HomeHelperApp(layout, connector, read_only=read_only, memory=Memory.of(str(home)))


def _remote(host: Host, read_only: bool, tunnel: Tunnel | None) -> HomeHelperApp:
    # Loaded where it is needed: it would put the first paint of a home on this machine off.
    from hhtui.client.remote import RemoteClient
    from hhtui.client.ssh import address_of
    from hhtui.client.tunnel import Tunnel, open_first
    from hhtui.tui.remote_connecting import RemoteConnector

    tunnel = tunnel or Tunnel(host.host, host.home)
    try:
        # Passwords and host keys are asked for now, while the terminal is a plain one.
        remote = open_first(tunnel)
        RemoteClient(tunnel).check()
    except BaseException:
        tunnel.close()
        raise
    return HomeHelperApp(
        Home.at(Path(remote.home), environ={}),
        RemoteConnector(tunnel),
        read_only=read_only,
        machine=tunnel.label,
        host=address_of(host.host),
        memory=Memory.of(remote.place),
        home_is_here=False,
    )
