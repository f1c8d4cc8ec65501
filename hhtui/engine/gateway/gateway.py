"""The gateway of one home: Caddy, its door and the names, kept as the configuration and the apps are."""

from __future__ import annotations

import asyncio
import contextlib
import errno
import hashlib
import logging
import os
import re
import socket
import ssl
from collections.abc import Callable, Mapping
from pathlib import Path
from typing import Any, NamedTuple

import psutil

from hhtui.engine.app.fleet import Fleet
from hhtui.engine.app.registry import disk_trouble
from hhtui.engine.app.supervisor import Supervisor
from hhtui.engine.discovery.file_watch import signature
from hhtui.engine.gateway.caddy import Caddy, CaddyError, Listening, Start, caddy_programs
from hhtui.engine.gateway.door import Door, Names, page_path_of
from hhtui.engine.gateway.login import Login
from hhtui.engine.gateway.names import NetworkNames, Service, own_addresses
from hhtui.engine.gateway.routes import Certificate, Site, caddy_config
from hhtui.engine.launch.doorbell import listen
from hhtui.engine.launch.launch import page_path
from hhtui.engine.problems import Problems
from hhtui.engine.tasks import TaskKeeper, end_tasks
from hhtui.errors import HomeHelperError, NotSavedError
from hhtui.model.app import Status
from hhtui.model.config import Config, GatewayConfig
from hhtui.model.event import EventType
from hhtui.model.gateway import GatewayApp, GatewayStatus
from hhtui.paths import Home, expanded

log = logging.getLogger("homehelper.gateway")

_PROBLEM = "gateway"
# What comes together is done together (seconds).
_GATHER = 0.1
_TRY_AGAIN = 10.0
_LISTENS_BY = 5.0
_BACKLOG = 1024
# Where the wanted port cannot be had.
_OTHER_PORT = {"plain": 8080, "secure": 8443}
_USUAL_PORT = {"http": 80, "https": 443}
# Nobody reaches these, by whatever visit.
_DOWN = frozenset({Status.STOPPED, Status.FAILED, Status.INVALID, Status.DISCOVERED})
_HOST_KEY = ""


class _Settings(NamedTuple):
    """What Caddy must be started anew for."""

    http_port: int
    https_port: int | None


class Gateway:
    """Off unless the configuration has it on; then whatever fails is a problem that is shown, and tried again.

    ``inherited`` are the listening sockets that the service manager made, by their ports.
    """

    def __init__(
        self,
        home: Home,
        config: Callable[[], Config],
        fleet: Fleet,
        problems: Problems,
        tasks: TaskKeeper,
        inherited: Mapping[int, socket.socket] | None = None,
    ) -> None:
        self.login = Login(home.gateway_dir / "login.json")
        self._home = home
        self._config = config
        self._fleet = fleet
        self._problems = problems
        self._tasks = tasks
        self._inherited = dict(inherited or {})
        self._sockets: dict[str, socket.socket] = {}
        self._notes: dict[str, str] = {}
        self._caddy = Caddy(
            home.gateway_run_dir, home.gateway_dir / "caddy", self._prepare, self._caddy_changed, log, tasks
        )
        self._door = Door(home.gateway_run_dir, fleet, self.login, self._current_names)
        self._names = NetworkNames(self.look_soon, tasks)
        self._announces = False
        self._on = self._looked = False
        self._settings: _Settings | None = None
        self._told: dict[str, Any] | None = None
        self._task: asyncio.Task[None] | None = None
        self._wake = asyncio.Event()
        self._ports_look: asyncio.TimerHandle | None = None
        self._ports_task: asyncio.Task[None] | None = None
        self._ports_looked_at: frozenset[int] = frozenset()
        # Which change was asked for last, and which has been followed.
        self._asked = self._followed = 0
        self._progress = asyncio.Condition()

    @property
    def _wanted(self) -> GatewayConfig:
        return self._config().gateway

    async def start(self) -> None:
        """Keep the gateway as it is to be, from now on."""
        trouble = await asyncio.get_running_loop().run_in_executor(None, self.login.read)
        if trouble is not None:
            self._problems.report("gateway-login", trouble)
        self._task = self._tasks.start("the gateway", self._run)
        self.configured()

    async def stop(self, *, keep: bool = False) -> None:
        """Take the names back, and end Caddy; with ``keep`` it runs on for the apps that do."""
        if self._task is not None:
            await end_tasks(self._task)
            self._task = None
        await self._turn_off(keep=keep)

    def look_soon(self) -> None:
        """An app, the configuration or a name has changed."""
        if self._on or self._wanted.enabled:
            self._asked += 1
            self._wake.set()

    def configured(self) -> None:
        """The configuration has changed."""
        self._asked += 1
        self._wake.set()

    async def settled(self, within: float) -> None:
        """Wait until what was asked for so far has been followed or has failed, at most so many seconds."""
        asked = self._asked
        with contextlib.suppress(TimeoutError):
            async with asyncio.timeout(within), self._progress:
                await self._progress.wait_for(lambda: self._followed >= asked)

    async def set_password(self, password: str | None) -> None:
        """Ask visitors for this password from now on, None: for none; all of them have to log in again."""
        try:
            await self.login.set_password(password)
        except OSError as error:
            words = f"the password cannot be written, and is as it was: {error.filename}: {disk_trouble(error)}"
            raise NotSavedError(words, done=False) from None
        self._problems.resolved("gateway-login")
        self.look_soon()

    # Following.

    async def _run(self) -> None:
        while True:
            await self._wake.wait()
            await asyncio.sleep(_GATHER)
            self._wake.clear()
            asked = self._asked
            try:
                await self._follow()
                if not self._on or self._caddy.pid is not None:
                    self._problems.resolved(_PROBLEM)
            except HomeHelperError as error:
                self._problems.report(_PROBLEM, f"the gateway: {error.message}")
                self._told = None
                asyncio.get_running_loop().call_later(_TRY_AGAIN, self._wake.set)
            async with self._progress:
                self._followed = asked
                self._progress.notify_all()

    async def _follow(self) -> None:
        wanted = self._wanted
        if not wanted.enabled:
            if not self._looked:
                # It was turned off while no engine ran.
                self._looked = True
                if await self._caddy.take_over():
                    await self._caddy.stop()
            await self._turn_off()
            return
        self._looked = True
        settings = _Settings(wanted.http_port, wanted.https_port if wanted.tls != "off" else None)
        if not self._on:
            try:
                await self._door.open()
            except OSError as error:
                raise CaddyError(f"{self._home.gateway_run_dir}: {error.strerror}") from None
            self._on = True
            if await self._caddy.take_over() and self._fits(settings):
                self._settings = settings
        if self._settings != settings:
            await self._caddy.stop()
            self._close_sockets()
            self._settings = None
            await self._caddy.start()
            self._settings = settings
            self._told = None
        if self._announces != wanted.names:
            self._announces = wanted.names
            if wanted.names:
                self._names.start()
            else:
                await self._names.stop()
        self._names.want(self._services())
        config = self._caddy_config(self._caddy.listening)
        if config != self._told:
            await self._caddy.load(config)
            self._told = config
        self._show_on_apps()
        if (running := self._running_ports()) != self._ports_looked_at:
            self._ports_looked_at = running
            if self._ports_look is not None:
                self._ports_look.cancel()
            # By then an app that has just been started listens.
            self._ports_look = asyncio.get_running_loop().call_later(_LISTENS_BY, self._look_at_ports)

    def _show_on_apps(self) -> None:
        """Have each app's record say by which name it is reached, and what is amiss with it."""
        names, with_pages = self._current_names() if self._on else None, self._with_pages()
        for app_id, supervisor in self._fleet.supervisors.items():
            url = clash = None
            if names is not None and app_id in with_pages:
                url = f"{names.url(names.apps[app_id])}{page_path_of(supervisor)}"
                clash = self._names.clashes.get(app_id)
            if supervisor.record.runtime_info.name_url != url:
                supervisor.app.note(name_url=url)
                supervisor.app.touch()
                data = {"app_id": app_id, "status": supervisor.status.value, "name_url": url}
                supervisor.tools.bus.publish(EventType.APP_CHANGED, app_id, data)
            supervisor.app.notice("gateway-name", clash)
            if not self._on or not self.login.is_set:
                supervisor.app.notice("gateway-port", None)

    def _look_at_ports(self) -> None:
        self._ports_look = None
        self._ports_task = asyncio.get_running_loop().create_task(self._notice_open_ports())

    async def _notice_open_ports(self) -> None:
        open_ports = await self._open_ports()
        for supervisor in self._with_pages().values():
            port = supervisor.record.runtime_info.assigned_port
            words = f"it listens on all addresses: whoever knows port {port} passes the gateway's login"
            supervisor.app.notice("gateway-port", words if port in open_ports else None)

    async def _open_ports(self) -> frozenset[int]:
        """Of the running apps' ports those that are open to others than this machine, where there is a login."""
        ports = self._running_ports()
        if not ports:
            return frozenset()
        return await asyncio.get_running_loop().run_in_executor(None, _open_ports, ports)

    def _running_ports(self) -> frozenset[int]:
        """The ports of the running apps that are behind the login."""
        if not self._on or not self.login.is_set:
            return frozenset()
        return frozenset(
            port
            for supervisor in self._with_pages().values()
            if supervisor.status is Status.RUNNING
            and not supervisor.found.owner.public
            and (port := supervisor.record.runtime_info.assigned_port) is not None
        )

    async def _turn_off(self, *, keep: bool = False) -> None:
        if not self._on:
            return
        self._on = False
        if self._announces:
            self._announces = False
            await self._names.stop(keep=keep)
        await self._caddy.stop(keep=keep)
        self._door.close()
        self._close_sockets()
        self._settings = self._told = None
        if self._ports_look is not None:
            self._ports_look.cancel()
            self._ports_look = None
        self._ports_looked_at = frozenset()
        if not keep:
            self._show_on_apps()
        log.info("The gateway is %s", "left to the next engine" if keep else "off")

    def _fits(self, settings: _Settings) -> bool:
        """Whether a Caddy that was taken over listens where it is to."""
        has = {kind: one.port for kind, one in self._caddy.listening.items()}
        wanted = {"plain": settings.http_port}
        if settings.https_port is not None:
            wanted["secure"] = settings.https_port
        return has.keys() == wanted.keys() and all(has[kind] in (wanted[kind], _OTHER_PORT[kind]) for kind in wanted)

    def _caddy_changed(self, up: bool) -> None:
        if up:
            self._problems.resolved(_PROBLEM)
        else:
            self._problems.report(_PROBLEM, "the gateway: caddy has ended, and is started again")
        self.look_soon()

    def _prepare(self) -> Start:
        wanted = self._wanted
        ports = {"plain": wanted.http_port}
        if wanted.tls != "off":
            ports["secure"] = wanted.https_port
        listening = {kind: self._listen(kind, port) for kind, port in ports.items()}
        return Start(listening, self._caddy_config(listening))

    def _listen(self, kind: str, wanted: int) -> Listening:
        """A listening socket, which stays open here: while Caddy is started again visitors wait in its queue."""
        if (inherited := self._inherited.get(wanted)) is not None:
            return Listening(inherited.fileno(), wanted)
        if (listener := self._sockets.get(kind)) is None:
            self._notes.pop(kind, None)
            try:
                listener = listen(wanted, _BACKLOG)
            except OSError as error:
                other = _OTHER_PORT[kind]
                why = _why(wanted, error)
                try:
                    listener = listen(other, _BACKLOG)
                except OSError as second:
                    raise CaddyError(f"{why}; {_why(other, second)}") from None
                self._notes[kind] = f"{why}: port {other} is used"
                log.warning("The gateway: %s", self._notes[kind])
            self._sockets[kind] = listener
        return Listening(listener.fileno(), listener.getsockname()[1])

    def _close_sockets(self) -> None:
        for listener in self._sockets.values():
            listener.close()
        self._sockets.clear()
        self._notes.clear()

    # What there is to reach.

    def _caddy_config(self, listening: Mapping[str, Listening]) -> dict[str, Any]:
        wanted = self._wanted
        names = self._labels()
        sites = [
            Site(
                app_id,
                f"{names[app_id]}.local",
                supervisor.record.runtime_info.assigned_port if supervisor.status not in _DOWN else None,
                supervisor.app.sleeps or (self.login.is_set and not supervisor.found.owner.public),
                supervisor.app.sleeps,
            )
            for app_id, supervisor in self._with_pages().items()
        ]
        certificate = None
        if wanted.certificate is not None and wanted.key is not None:
            files = [self._home.root / expanded(path) for path in (wanted.certificate, wanted.key)]
            version = "-".join(str(signature(path)) for path in files)
            certificate = Certificate(str(files[0]), str(files[1]), version)
        return caddy_config(
            sites,
            f"{names[_HOST_KEY]}.local",
            listening["plain"],
            listening.get("secure"),
            tls=wanted.tls,
            certificate=certificate,
            state=self._home.gateway_dir / "caddy",
            log=self._home.system_logs_dir / "caddy.log",
        )

    def _with_pages(self) -> dict[str, Supervisor]:
        """The apps that have pages, by id."""
        return {
            app_id: supervisor
            for app_id, supervisor in sorted(self._fleet.supervisors.items())
            if (manifest := supervisor.found.manifest) is not None and page_path(manifest) is not None
        }

    def _wanted_labels(self) -> dict[str, str]:
        """Each app's name without ``.local``, no two the same, and the machine's own under ``_HOST_KEY``."""
        labels = {_HOST_KEY: _label(socket.gethostname().partition(".")[0]) or "homehelper"}
        for app_id in self._with_pages():
            label, number = _label(app_id) or "app", 1
            while (tried := label if number == 1 else f"{label[:60]}-{number}") in labels.values():
                number += 1
            labels[app_id] = tried
        return labels

    def _labels(self) -> dict[str, str]:
        """The same as they are in the network, where they may have numbers."""
        return self._wanted_labels() | self._names.claimed

    def _services(self) -> dict[str, Service]:
        port = self._port()
        labels = self._wanted_labels()
        services = {_HOST_KEY: Service(labels[_HOST_KEY], f"HomeHelper on {labels[_HOST_KEY]}", port, "/", shared=True)}
        titles = set()
        for app_id, supervisor in self._with_pages().items():
            if supervisor.status not in _DOWN:
                title = supervisor.record.name
                title = f"{app_id}: {title}" if title.casefold() in titles else title
                titles.add(title.casefold())
                services[app_id] = Service(labels[app_id], title, port, page_path_of(supervisor))
        return services

    def _port(self) -> int:
        """The port that pages are at."""
        kind = "secure" if self._wanted.tls != "off" else "plain"
        found = self._caddy.listening.get(kind)
        return found.port if found is not None else 0

    def _current_names(self) -> Names:
        labels = self._labels()
        scheme = "http" if self._wanted.tls == "off" else "https"
        port = self._port()
        return Names(
            f"{labels.pop(_HOST_KEY)}.local",
            {app_id: f"{labels[app_id]}.local" for app_id in self._with_pages()},
            scheme,
            "" if port == _USUAL_PORT[scheme] else f":{port}",
            self._root_certificate() if self._wanted.tls == "internal" else None,
            self._wanted.only,
        )

    def _root_certificate(self) -> Path:
        return self._home.gateway_dir / "caddy" / "pki" / "authorities" / "local" / "root.crt"

    # What is said of it.

    async def status(self) -> GatewayStatus:
        """The gateway as it is now, and the apps that it leads to."""
        wanted, names, listening = self._wanted, self._current_names(), self._caddy.listening
        loop = asyncio.get_running_loop()
        up = self._on and self._caddy.pid is not None and self._told is not None
        problem = self._problems.words(_PROBLEM)
        status = GatewayStatus(
            enabled=wanted.enabled,
            state="off" if not wanted.enabled else "up" if up else "failed" if problem else "starting",
            problem=problem,
            host=names.host,
            login=self.login.is_set,
            names=wanted.names,
            only=wanted.only,
            tls=wanted.tls,
            program=next((str(path) for path in (self._caddy.program, *caddy_programs()) if path is not None), None),
        )
        if not up:
            return status
        status.pid = self._caddy.pid
        status.url = names.url(names.host)
        status.http_port = listening["plain"].port
        status.https_port = listening["secure"].port if "secure" in listening else None
        status.addresses = own_addresses()
        status.notes = [*self._notes.values(), *filter(None, (self._names.problem, self._names.clashes.get(_HOST_KEY)))]
        if names.certificate is not None:
            plain = "" if status.http_port == _USUAL_PORT["http"] else f":{status.http_port}"
            status.certificate_url = f"http://{names.host}{plain}/.homehelper/certificate"
            status.fingerprint = await loop.run_in_executor(None, _fingerprint, names.certificate)
        apps = self._with_pages()
        open_ports = await self._open_ports()
        for app_id, supervisor in apps.items():
            port = supervisor.record.runtime_info.assigned_port
            status.apps.append(
                GatewayApp(
                    app_id=app_id,
                    title=supervisor.record.name,
                    name=names.apps[app_id],
                    url=f"{names.url(names.apps[app_id])}{page_path_of(supervisor)}",
                    up=supervisor.status not in _DOWN,
                    public=bool(supervisor.found.owner.public),
                    announced=app_id in self._names.claimed,
                    clash=self._names.clashes.get(app_id),
                    open_port=port if port in open_ports else None,
                )
            )
        return status


def _label(name: str) -> str:
    """A name as hosts may have it (RFC 1123)."""
    return re.sub(r"[^a-z0-9-]+", "-", name.lower()).strip("-")[:63].rstrip("-")


def _why(port: int, error: OSError) -> str:
    if error.errno == errno.EACCES:
        return f"port {port} is for privileged programs: `hhtui service install --gateway` has systemd open it"
    if error.errno == errno.EADDRINUSE:
        return f"port {port} is another program's"
    return f"port {port} cannot be had: {os.strerror(error.errno or 0)}"


def _open_ports(ports: frozenset[int]) -> frozenset[int]:
    """Those of the ports that somebody listens on for more than this machine. Blocks."""
    found = set()
    for connection in psutil.net_connections("tcp"):
        if connection.status == psutil.CONN_LISTEN and connection.laddr:
            address, port = connection.laddr
            if port in ports and not address.startswith("127.") and address not in ("::1", "::ffff:127.0.0.1"):
                found.add(port)
    return frozenset(found)


def _fingerprint(certificate: Path) -> str | None:
    try:
        der = ssl.PEM_cert_to_DER_cert(certificate.read_text("ascii"))
    except (OSError, ValueError):
        return None
    return hashlib.sha256(der).digest().hex(":").upper()
