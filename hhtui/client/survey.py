"""A short look at the home of a machine: does an engine answer, and how are its apps."""

from __future__ import annotations

from collections import Counter
from dataclasses import dataclass, field

from hhtui.client.hosts import Host
from hhtui.client.remote import RemoteClient
from hhtui.client.sync import EngineClient
from hhtui.client.tunnel import Tunnel
from hhtui.errors import HomeHelperError

_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Survey:
    """``trouble`` is why nothing else is known; ``apps`` counts them by their status, ``alerts`` those that are up."""

    trouble: str = ""
    version: str = ""
    home: str = ""
    apps: dict[str, int] = field(default_factory=dict)
    alerts: int = 0


def survey(host: Host, tunnel: Tunnel | None = None) -> Survey:
    """Connect, look and disconnect; blocks for as long as SSH takes, and asks nothing of the user.

    Closing ``tunnel``, the connection to use, from another thread ends it at once.
    """
    tunnel = tunnel or Tunnel(host.host, host.home)
    try:
        remote = tunnel.open()
        return _seen(RemoteClient(tunnel, _ANSWER_SECONDS), remote.home)
    except HomeHelperError as error:
        return Survey(trouble=error.message)
    finally:
        tunnel.close()


def survey_here(client: EngineClient, home: str) -> Survey:
    """The same of a home on this machine."""
    try:
        return _seen(client, home)
    except HomeHelperError as error:
        return Survey(trouble=error.message)


def _seen(client: EngineClient, home: str) -> Survey:
    about = client.engine()
    apps = Counter(str(app.get("status")) for app in client.apps())
    return Survey("", str(about.get("version") or ""), home, dict(apps), len(client.alerts()))
