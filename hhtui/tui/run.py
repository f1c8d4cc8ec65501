"""Running the interface: on one home, or from one machine's home to another's, each by an interface of its own.

``python -m hhtui.tui.run HOME [--read-only]`` is the one in a browser, as textual-serve's child: it only attaches.
"""

from __future__ import annotations

import sys
from pathlib import Path
from typing import TYPE_CHECKING

from hhtui.errors import HomeHelperError
from hhtui.paths import Home, as_called
from hhtui.tui.app import HomeHelperApp
from hhtui.tui.session.connect import Connector
from hhtui.tui.session.preferences import Preferences

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
    return HomeHelperApp(layout, connector, read_only=read_only, preferences=Preferences.of(str(home)))


def _remote(host: Host, read_only: bool, tunnel: Tunnel | None) -> HomeHelperApp:
    # Loaded where it is needed: it would put the first paint of a home on this machine off.
    from hhtui.client.remote import RemoteClient
    from hhtui.client.ssh import address_of
    from hhtui.client.tunnel import Tunnel, open_first
    from hhtui.tui.session.connect import RemoteConnector

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
        preferences=Preferences.of(remote.place),
        home_is_here=False,
    )


def run_tui(home: Path, *, in_process: bool = False, demo: bool = False, read_only: bool = False) -> int:
    """Run the interface on the home at ``home`` until the user leaves it; answers the exit code.

    0 after ``q``, 130 after Ctrl+C in the quit question or SIGINT, 143 and 129 after SIGTERM and SIGHUP (also for a
    lost terminal), 1 after a bug. Apps run on unless the user said to stop them.
    """
    layout = Home.at(home)
    connector = Connector(layout, in_process=in_process, read_only=read_only, demo=demo)
    preferences = None if demo else Preferences.of(str(home))
    return run_app(HomeHelperApp(layout, connector, demo=demo, read_only=read_only, preferences=preferences))


def run_app(app: HomeHelperApp) -> int:
    """Run a made interface; the exit code."""
    try:
        app.run()
    finally:
        app.leaving.left()
        app.preferences.save()
        app.connector.close()
    if app.leaving.farewell:
        try:
            sys.stderr.write(as_called(app.leaving.farewell) + "\n")
            sys.stderr.flush()
        except OSError:
            pass
    return app.return_code or 0


def run_in_browser() -> int:
    """Run on the home that the command line names, until the page is closed; the exit code."""
    root, read_only = Path(sys.argv[1]), "--read-only" in sys.argv[2:]
    home = Home.at(root)
    app = HomeHelperApp(
        home,
        # Who only watches starts no engine.
        Connector(home, read_only=True),
        read_only=read_only,
        encoding="UTF-8",
        preferences=Preferences.of(str(root)),
        in_browser=True,
    )
    return run_app(app)


if __name__ == "__main__":
    sys.exit(run_in_browser())
