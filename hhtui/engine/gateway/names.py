"""The names in the network: mDNS (RFC 6762) and DNS-SD (RFC 6763) with python-zeroconf, beside whoever else does it."""

from __future__ import annotations

import asyncio
import contextlib
import ipaddress
import logging
import socket
from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import TYPE_CHECKING

import psutil

from hhtui.engine.tasks import TaskKeeper, end_tasks
from hhtui.text import sanitise

if TYPE_CHECKING:
    from zeroconf import RecordUpdate, RecordUpdateListener, ServiceInfo, Zeroconf
    from zeroconf.asyncio import AsyncZeroconf

log = logging.getLogger("homehelper.gateway")

_SERVICE = "_http._tcp.local."
# How long others have to say that a name is theirs (milliseconds).
_PROBE_MS = 1500
_MOST_NUMBERS = 20
# After a change of the machine's addresses others follow for a moment (seconds).
_ADDRESSES_SETTLE = 1.0
# Where mDNS does not work it is tried again after so many seconds.
_TRY_AGAIN = 5.0
# rtnetlink(7): a socket that hears of links and IPv4 addresses.
_NETLINK_ROUTE, _GROUPS = 0, 0x1 | 0x10


@dataclass(frozen=True, slots=True)
class Service:
    """A name that is wanted: ``label`` without ``.local``, what people read, the port, the page's path.

    ``shared``: another program of this machine, such as avahi, may have it as well.
    """

    label: str
    title: str
    port: int
    path: str
    shared: bool = False


class NetworkNames:
    """Names by keys; ``changed`` is called when one was claimed, given up or found to be another's.

    A name is asked for before it is claimed, and one that is somebody else's gets a number.
    """

    def __init__(self, changed: Callable[[], None], tasks: TaskKeeper) -> None:
        self.problem: str | None = None
        # The labels that are ours, which may have numbers.
        self.claimed: dict[str, str] = {}
        # Those that another machine, or another program of this one, has.
        self.clashes: dict[str, str] = {}
        self._changed = changed
        self._tasks = tasks
        self._task: asyncio.Task[None] | None = None
        self._wanted: Mapping[str, Service] = {}
        self._wake = asyncio.Event()
        self._zeroconf: AsyncZeroconf | None = None
        # None: another program of this machine answers for it.
        self._infos: dict[str, tuple[Service, ServiceInfo | None]] = {}
        self._held: set[str] = set()
        self._addresses: list[str] = []
        # What is said of these is our own word, sent back to us.
        self._ever: set[str] = set()
        # Names that somebody else has begun to use after us.
        self._lost: set[str] = set()

    def start(self) -> None:
        """Announce from now on."""
        self._task = self._tasks.start("the announcement of names", self._run)

    async def stop(self, *, keep: bool = False) -> None:
        """Take all names back; with ``keep`` say nothing, as the next engine answers for them."""
        if self._task is not None:
            await end_tasks(self._task)
            self._task = None
        self._wanted = {}
        if not keep:
            await self._close()

    def want(self, services: Mapping[str, Service]) -> None:
        """Have these names, and no others, soon."""
        if services != self._wanted:
            self._wanted = dict(services)
            self._wake.set()

    async def _run(self) -> None:
        loop = asyncio.get_running_loop()
        watch = socket.socket(
            socket.AF_NETLINK, socket.SOCK_RAW | socket.SOCK_NONBLOCK | socket.SOCK_CLOEXEC, _NETLINK_ROUTE
        )
        try:
            watch.bind((0, _GROUPS))
            loop.add_reader(watch, self._network_changed, watch)
            while True:
                self._wake.clear()
                try:
                    await self._follow_addresses()
                    await self._reconcile()
                    problem = None
                except OSError as error:
                    problem = f"names cannot be announced (mDNS): {error.strerror or error}"
                    loop.call_later(_TRY_AGAIN, self._wake.set)
                if problem != self.problem:
                    self.problem = problem
                    self._changed()
                await self._wake.wait()
        finally:
            loop.remove_reader(watch)
            watch.close()

    def _network_changed(self, watch: socket.socket) -> None:
        with contextlib.suppress(BlockingIOError, OSError):
            while watch.recv(65536):
                pass
        asyncio.get_running_loop().call_later(_ADDRESSES_SETTLE, self._wake.set)

    async def _follow_addresses(self) -> None:
        """Speak on every network that the machine is in by now, of the addresses that it has there."""
        from zeroconf import IPVersion
        from zeroconf.asyncio import AsyncZeroconf

        addresses = own_addresses()
        self._ever.update(addresses)
        if self._zeroconf is None:
            self._zeroconf = AsyncZeroconf(interfaces=addresses or ["127.0.0.1"], ip_version=IPVersion.V4Only)
            self._zeroconf.zeroconf.async_add_listener(_listener(self._heard), None)
            self._addresses = addresses
        elif addresses != self._addresses:
            log.info("names are announced at %s", ", ".join(addresses) or "no address")
            self._addresses = addresses
            await self._zeroconf.async_update_interfaces(addresses or ["127.0.0.1"], IPVersion.V4Only)
            for key, (service, before) in list(self._infos.items()):
                if before is not None:
                    info = self._info(service, self.claimed[key])
                    self._infos[key] = (service, info)
                    await (await self._zeroconf.async_update_service(info))

    def _heard(self, host: str, address: str) -> None:
        """Somebody answers with this address for the host."""
        for key, (_, info) in self._infos.items():
            if info is not None and host == f"{self.claimed[key]}.local." and address not in self._ever:
                self._lost.add(key)
                self._wake.set()

    async def _reconcile(self) -> None:
        for key, (service, _) in list(self._infos.items()):
            if self._wanted.get(key) != service or key in self._lost:
                await self._withdraw(key)
        self._lost.clear()
        claims = [self._claim(key, service) for key, service in self._wanted.items() if key not in self._infos]
        await asyncio.gather(*claims)

    async def _claim(self, key: str, service: Service) -> None:
        from zeroconf import Error

        assert self._zeroconf is not None
        taken = ""
        self.claimed.pop(key, None)  # one that was broken off
        for number in range(1, _MOST_NUMBERS):
            label = service.label if number == 1 else f"{service.label[:60]}-{number}"
            if label in self.claimed.values():
                continue
            self.claimed[key] = label  # nobody else of ours asks for it meanwhile
            owners = await self._owners(label)
            if service.shared and owners and set(owners) <= set(self._addresses):
                self._infos[key] = (service, None)
                break
            if owners:
                taken = taken or f"{label}.local is there already, at {', '.join(owners)}"
                continue
            self._held.add(label)
            try:
                info = self._info(service, label)
                await (await self._zeroconf.async_register_service(info, allow_name_change=True))
            except Error as error:
                # It is reached by its name all the same where that is known.
                self._infos[key] = (service, None)
                taken = f"{label}.local cannot be announced ({type(error).__name__})"
            else:
                self._infos[key] = (service, info)
            break
        if taken:
            self.clashes[key] = f"{taken}: this one is {self.claimed[key]}.local"
            log.warning("%s", self.clashes[key])
        else:
            self.clashes.pop(key, None)
        self._changed()

    async def _owners(self, label: str) -> list[str]:
        """The addresses that others answer with for the name."""
        from zeroconf import AddressResolverIPv4, IPVersion  # type: ignore[attr-defined]

        assert self._zeroconf is not None
        resolver = AddressResolverIPv4(server=f"{label}.local.")
        await resolver.async_request(self._zeroconf.zeroconf, _PROBE_MS)
        found = {str(address) for address in resolver.ip_addresses_by_version(IPVersion.V4Only)}
        # What we said of it ourselves is remembered for a moment.
        return sorted(found - set(self._addresses) if label in self._held else found)

    async def _withdraw(self, key: str) -> None:
        assert self._zeroconf is not None
        _, info = self._infos.pop(key)
        self.claimed.pop(key, None)
        self.clashes.pop(key, None)
        if info is not None:
            await (await self._zeroconf.async_unregister_service(info))
        self._changed()

    async def _close(self) -> None:
        zeroconf, self._zeroconf = self._zeroconf, None
        self._infos.clear()
        self._held.clear()
        self.claimed.clear()
        self.clashes.clear()
        if zeroconf is not None:
            # Says goodbye for all that is registered.
            await zeroconf.async_close()

    def _info(self, service: Service, label: str) -> ServiceInfo:
        from zeroconf import ServiceInfo

        title = sanitise(service.title, 60).encode()[:60].decode("utf-8", "ignore").replace(".", " ") or label
        return ServiceInfo(
            _SERVICE,
            f"{title}.{_SERVICE}",
            port=service.port,
            properties={"path": service.path},
            server=f"{label}.local.",
            addresses=[socket.inet_aton(address) for address in self._addresses],
        )


def _listener(heard: Callable[[str, str], None]) -> RecordUpdateListener:
    """Calls ``heard`` with each host and IPv4 address that anybody in the network names."""
    from zeroconf import RecordUpdateListener

    class Listener(RecordUpdateListener):
        def async_update_records(self, zc: Zeroconf, now: float, records: list[RecordUpdate]) -> None:
            for record in records:
                address = getattr(record.new, "address", None)
                if isinstance(address, bytes) and len(address) == 4 and record.new.ttl:
                    heard(record.new.key, socket.inet_ntoa(address))

    return Listener()


def own_addresses() -> list[str]:
    """The machine's IPv4 addresses that others may reach it by, sorted."""
    state = psutil.net_if_stats()
    found = []
    for interface, addresses in psutil.net_if_addrs().items():
        if (stats := state.get(interface)) is None or not stats.isup:
            continue
        for address in addresses:
            if address.family == socket.AF_INET and not ipaddress.ip_address(address.address).is_loopback:
                found.append(address.address)
    return sorted(set(found))
