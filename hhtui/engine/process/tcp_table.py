"""Who listens and who is connected: /proc/net/tcp and tcp6 (proc(5)), which cost no look at any process.

psutil gives the same for a hundred times the work, as it looks at every process's descriptors; it is asked for whoever
holds a port.
"""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

import psutil

# States of a TCP connection as the kernel numbers them (include/net/tcp_states.h).
ESTABLISHED = 0x01
LISTEN = 0x0A
# No process has these any more: FIN_WAIT1, FIN_WAIT2, TIME_WAIT, LAST_ACK, CLOSING. Each ends within a minute.
_CLOSING = frozenset({0x04, 0x05, 0x06, 0x09, 0x0B})
_ALL_STATES = range(1, 13)
_CLOSING_SECONDS = 60.0


class Connection(NamedTuple):
    """One line of the table; addresses in their usual text form, IPv4 in IPv6 as IPv4.

    ``timer`` is when the kernel does something about it, in seconds; a connection that is closing then ends.
    """

    local_port: int
    peer: str
    peer_port: int
    state: int
    user: int
    inode: int
    timer: float


class Obstacle(NamedTuple):
    """Why nobody can listen on a port: ``holder`` has it (``nginx (pid 812)``), or nobody and connections of an earlier
    listener are still closing for ``seconds`` at most.
    """

    holder: str | None
    seconds: float = 0.0

    @property
    def words(self) -> str:
        """``held by nginx (pid 812)``, or what is closing and how long it may take."""
        if self.holder is not None:
            return f"held by {self.holder}"
        return f"nobody has it, but connections of an earlier run are still closing (TIME_WAIT), {self.seconds:.0f} s"


def parse(text: str, ports: frozenset[int], states: frozenset[int]) -> Iterator[Connection]:
    """The connections on these local ports in these states; lines that are not understood are left out."""
    for line in text.splitlines()[1:]:
        fields = line.split()
        try:
            local_port = int(fields[1].rpartition(":")[2], 16)
            if local_port not in ports:
                continue
            state = int(fields[3], 16)
            if state not in states:
                continue
            peer, _, peer_port = fields[2].rpartition(":")
            timer = int(fields[5].partition(":")[2], 16) / _TICKS
            yield Connection(
                local_port, address(peer), int(peer_port, 16), state, int(fields[7]), int(fields[9]), timer
            )
        except (IndexError, ValueError):
            continue


def address(words: str) -> str:
    """``0100007F`` → ``127.0.0.1``: the kernel prints each 32-bit word of the address in the machine's byte order."""
    raw = bytes.fromhex(words)
    if len(raw) not in (4, 16):
        raise ValueError(f"no address: {words}")
    if sys.byteorder == "little":
        raw = b"".join(raw[at : at + 4][::-1] for at in range(0, len(raw), 4))
    found = ipaddress.ip_address(raw)
    if isinstance(found, ipaddress.IPv6Address) and found.ipv4_mapped is not None:
        return str(found.ipv4_mapped)
    return str(found)


def connections(ports: Iterable[int], states: Iterable[int], proc: Path = Path("/proc")) -> list[Connection]:
    """The connections of this machine on these local ports; nothing where /proc does not say."""
    wanted, wanted_states = frozenset(ports), frozenset(states)
    found: list[Connection] = []
    if wanted:
        for name in ("tcp", "tcp6"):
            try:
                text = (proc / "net" / name).read_text("ascii", "replace")
            except OSError:
                continue
            found += parse(text, wanted, wanted_states)
    return found


def port_is_free(port: int) -> bool:
    """Whether an app that sets SO_REUSEADDR could listen on all addresses of this machine.

    Connections in TIME_WAIT are no hindrance if their listener had set it, too.
    """
    for family, host in ((socket.AF_INET, "0.0.0.0"), (socket.AF_INET6, "::")):
        try:
            probe = socket.socket(family, socket.SOCK_STREAM | socket.SOCK_CLOEXEC)
        except OSError:
            continue  # this kernel has no such family
        with probe:
            probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            if family == socket.AF_INET6:
                probe.setsockopt(socket.IPPROTO_IPV6, socket.IPV6_V6ONLY, 1)
            try:
                probe.bind((host, port))
                # Two sockets may be bound with SO_REUSEADDR as long as none listens; listening shows it for certain.
                probe.listen(1)
            except OSError as error:
                if error.errno not in _NO_FAMILY:
                    return False
    return True


def obstacle(port: int) -> Obstacle | None:
    """What keeps everybody from listening on the port; None if it is free."""
    return None if port_is_free(port) else (closing(port) or Obstacle(holder(port) or "another program"))


def closing(port: int, longer_than: float = 0.0) -> Obstacle | None:
    """The obstacle of connections that have been closing for ``longer_than`` seconds, if nobody has the port.

    They are one to every app that does not set SO_REUSEADDR.
    """
    found = connections([port], _ALL_STATES)
    if any(connection.state not in _CLOSING for connection in found):
        return None
    left = [connection.timer for connection in found if _CLOSING_SECONDS - connection.timer >= longer_than]
    return Obstacle(None, max(left)) if left else None


def holder(port: int) -> str | None:
    """``nginx (pid 812)``, else ``a process of user www-data``, for whoever has the port; None if nobody does."""
    owners = connections([port], set(_ALL_STATES) - _CLOSING)
    if not owners:
        return None
    # Who listens, before who is merely connected from there.
    found = [
        (item.status != psutil.CONN_LISTEN, item.pid)
        for item in psutil.net_connections("tcp")
        if item.pid is not None and item.laddr and item.laddr.port == port
    ]
    if found:
        _, pid = min(found)
        return f"{_name(pid)} (pid {pid})"
    return f"a process of user {_user(owners[0].user)}"


def listening(pids: Iterable[int]) -> list[tuple[str, int]]:
    """The addresses and ports that these processes listen on, sorted; those of processes that are gone are left out."""
    found: set[tuple[str, int]] = set()
    for pid in pids:
        try:
            sockets = psutil.Process(pid).net_connections("tcp")
        except psutil.Error:
            continue
        found |= {(item.laddr.ip, item.laddr.port) for item in sockets if item.status == psutil.CONN_LISTEN}
    return sorted(found, key=lambda found: (found[1], found[0]))


# No such address family on this machine: EAFNOSUPPORT, EADDRNOTAVAIL.
_NO_FAMILY = frozenset({97, 99})
_TICKS = os.sysconf("SC_CLK_TCK")


def _name(pid: int) -> str:
    try:
        return psutil.Process(pid).name() or "a process"
    except psutil.Error:
        return "a process"


def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
