"""Who listens and who is connected: /proc/net/tcp and tcp6 (proc(5)) read without asking any process."""

from __future__ import annotations

import ipaddress
import os
import socket
import sys
from collections.abc import Iterable, Iterator
from pathlib import Path
from typing import NamedTuple

# States of a TCP connection as the kernel numbers them (include/net/tcp_states.h).
ESTABLISHED = 0x01
LISTEN = 0x0A


class Connection(NamedTuple):
    """One line of the table; addresses in their usual text form, IPv4 in IPv6 as IPv4."""

    local_port: int
    peer: str
    peer_port: int
    state: int
    user: int
    inode: int


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
            yield Connection(local_port, address(peer), int(peer_port, 16), state, int(fields[7]), int(fields[9]))
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
    """The connections of this machine on these local ports; nothing where /proc does not tell."""
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
    """Whether an app could listen on all addresses of this machine; connections in TIME_WAIT are no hindrance."""
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
                # Two sockets may be bound with SO_REUSEADDR as long as none listens; listening tells for certain.
                probe.listen(1)
            except OSError as error:
                if error.errno not in _NO_FAMILY:
                    return False
    return True


def holder(port: int) -> str | None:
    """``nginx (pid 812)``, else ``a process of user 33``, for whoever listens on the port; None if nobody does."""
    listening = connections([port], [LISTEN])
    if not listening:
        return None
    wanted = {f"socket:[{connection.inode}]" for connection in listening}
    for entry in os.listdir("/proc"):
        if entry.isdigit() and _holds(entry, wanted):
            return f"{_name(entry)} (pid {entry})"
    return f"a process of user {_user(listening[0].user)}"


# No such address family on this machine: EAFNOSUPPORT, EADDRNOTAVAIL.
_NO_FAMILY = frozenset({97, 99})


def _holds(pid: str, wanted: set[str]) -> bool:
    folder = f"/proc/{pid}/fd"
    try:
        for number in os.listdir(folder):
            try:
                if os.readlink(f"{folder}/{number}") in wanted:
                    return True
            except OSError:
                continue
    except OSError:
        pass
    return False


def _name(pid: str) -> str:
    try:
        return Path(f"/proc/{pid}/comm").read_text("utf-8", "replace").strip() or "a process"
    except OSError:
        return "a process"


def _user(number: int) -> str:
    import pwd

    try:
        return pwd.getpwuid(number).pw_name
    except KeyError:
        return str(number)
