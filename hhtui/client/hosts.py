"""The machines that a user has homes on: their own list, the names that their ssh knows, and a short look at each."""

from __future__ import annotations

import os
from collections import Counter
from collections.abc import Mapping
from dataclasses import asdict, dataclass, field
from pathlib import Path

from hhtui.client.ssh import check_host, label_of
from hhtui.client.sync import EngineClient
from hhtui.client.tunnel import Tunnel
from hhtui.errors import HomeHelperError, InvalidInputError, NotFoundError
from hhtui.storage import read_json_object, write_json
from hhtui.text import sanitise

_LARGEST = 256 * 1024
_MOST = 200
_MOST_SUGGESTED = 50
_ANSWER_SECONDS = 5.0


@dataclass(frozen=True, slots=True)
class Host:
    """A home on another machine; ``home`` is None for the one that is found there by itself."""

    host: str
    home: str | None = None

    @property
    def label(self) -> str:
        """As people call it: ``pi@kitchen``, ``pi@kitchen:/srv/home``."""
        return label_of(self.host) + (f":{sanitise(self.home, 200)}" if self.home else "")


@dataclass(frozen=True, slots=True)
class Survey:
    """``trouble`` is why nothing else is known; ``apps`` counts them by their status, ``alerts`` those that are up."""

    trouble: str = ""
    version: str = ""
    home: str = ""
    apps: dict[str, int] = field(default_factory=dict)
    alerts: int = 0


def hosts_file(environ: Mapping[str, str] = os.environ) -> Path:
    """The user's list: ``hhtui/hosts.json`` in $XDG_CONFIG_HOME (XDG Base Directory Specification 0.8)."""
    base = environ.get("XDG_CONFIG_HOME", "")
    folder = Path(base) if base.startswith("/") else Path(environ.get("HOME") or "/") / ".config"
    return folder / "hhtui" / "hosts.json"


def listed(path: Path) -> list[Host]:
    """The hosts in the list, [] if there is none; InvalidInputError names what is wrong with the file."""
    try:
        document = read_json_object(path, _LARGEST)
    except FileNotFoundError:
        return []
    except (OSError, ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: {error}; fix or remove it") from None
    entries = document.get("hosts")
    if not isinstance(entries, list):
        raise InvalidInputError(f"{path}: hosts must be a list of objects with host and home; fix or remove it")
    found = []
    for entry in entries[:_MOST]:
        host, home = (entry.get("host"), entry.get("home")) if isinstance(entry, dict) else (None, None)
        if not isinstance(host, str) or not (home is None or isinstance(home, str)):
            raise InvalidInputError(f"{path}: each of hosts must be an object with a host; fix or remove it")
        try:
            found.append(Host(check_host(host), home or None))
        except HomeHelperError as error:
            raise InvalidInputError(f"{path}: {error.message.removeprefix('--host ')}") from None
    return found


def named(path: Path, name: str) -> Host:
    """The home that ``name`` means: of the list the one of that host or label, else what is found on that host."""
    found = [host for host in listed(path) if name in (host.host, host.label)]
    if len(found) > 1:
        names = ", ".join(host.label for host in found)
        raise InvalidInputError(f"{sanitise(name, 80)!r} may be any of {names}: name one of them whole")
    return found[0] if found else Host(check_host(name))


def add(path: Path, host: Host) -> bool:
    """Put ``host`` into the list; False if it is there."""
    hosts = listed(path)
    if host in hosts:
        return False
    if len(hosts) >= _MOST:
        raise InvalidInputError(f"{path}: holds {_MOST} hosts, and no more can be")
    _write(path, [*hosts, host])
    return True


def remove(path: Path, label: str) -> Host:
    """Take the host of that name (or label) off the list; NotFoundError if it is not there."""
    hosts = listed(path)
    found = [host for host in hosts if label in (host.host, host.label, label_of(host.host))]
    if not found:
        known = ", ".join(host.label for host in hosts) or "none"
        raise NotFoundError(f"{sanitise(label, 80)!r} is not in the list of hosts; there are: {known}")
    if len(found) > 1:
        names = ", ".join(host.label for host in found)
        raise InvalidInputError(f"{sanitise(label, 80)!r} may be any of {names}: name one of them whole")
    _write(path, [host for host in hosts if host != found[0]])
    return found[0]


def suggested(environ: Mapping[str, str] = os.environ) -> list[Host]:
    """Names that the user's ssh configuration gives a section of their own: ssh_config(5), Host. Patterns are none."""
    try:
        text = (Path(environ.get("HOME") or "/") / ".ssh" / "config").read_bytes()[:_LARGEST].decode("utf-8", "replace")
    except OSError:
        return []
    found: dict[str, Host] = {}
    for line in text.splitlines():
        words = line.replace("=", " ", 1).split()
        if len(words) > 1 and words[0].lower() == "host":
            for name in words[1:]:
                try:
                    found.setdefault(name, Host(check_host(name.strip('"'))))
                except HomeHelperError:
                    continue  # a pattern
    return list(found.values())[:_MOST_SUGGESTED]


def _write(path: Path, hosts: list[Host]) -> None:
    try:
        path.parent.mkdir(mode=0o700, parents=True, exist_ok=True)
        write_json(path, {"hosts": [asdict(host) for host in hosts]}, 0o600)
    except OSError as error:
        raise HomeHelperError(f"{path}: cannot be written: {error.strerror}") from None


def survey(host: Host, tunnel: Tunnel | None = None) -> Survey:
    """Connect, look and disconnect; blocks for as long as SSH takes, and asks nothing of the user.

    Closing ``tunnel``, the connection to use, from another thread ends it at once.
    """
    from hhtui.client.remote import RemoteClient  # with asyncio, which the list alone does without

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
