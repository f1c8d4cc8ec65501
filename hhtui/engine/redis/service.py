"""Redis for the engine and its apps: which server is used, how apps get in, and what is reported about it."""

from __future__ import annotations

import asyncio
import contextlib
import hashlib
import logging
from collections.abc import Callable, Iterable, Sequence
from pathlib import Path
from typing import Any, Literal, NoReturn
from urllib.parse import quote

from hhtui.engine.events.bus import EventBus
from hhtui.engine.redis.acl import DEFAULT_USER, app_rules, password_rule, refused_patterns, user_name
from hhtui.engine.redis.address import ServerAddress
from hhtui.engine.redis.bridge import STREAM, Bridge
from hhtui.engine.redis.documents import Ttl
from hhtui.engine.redis.link import Command, Link, LinkError, Refusal, Timings
from hhtui.engine.redis.private_files import AppUser, PrivateFiles, installed_servers, new_password
from hhtui.engine.redis.private_server import HOST, PrivateServer, PrivateServerError
from hhtui.engine.tasks import TaskKeeper, end_tasks
from hhtui.errors import HomeHelperError
from hhtui.model.config import RedisConfig
from hhtui.model.redis import RedisAccess, RedisDetails, RedisGrants, RedisStatus
from hhtui.paths import Home
from hhtui.storage import read_json_object, write_json

_CHOICE_NAME = "choice.json"
_LOG_CHECK_SECONDS = 3600.0
_NOTHING_MORE = RedisGrants()
# Of what a stream is made with no entry in it: a group for a moment.
_NO_GROUP = "homehelper-nobody"


class RedisService:
    """The one door to Redis. Everything works without a server, too: then this only says why there is none.

    The configured server is used if it answers when the engine starts. Else, unless ``redis.embedded`` is ``never``,
    a private one is started, and stays in use until the engine's next start.
    """

    def __init__(
        self,
        home: Home,
        config: RedisConfig,
        bus: EventBus,
        *,
        timings: Timings | None = None,
        binaries: Callable[[], Sequence[Path]] = installed_servers,
        log: logging.Logger | None = None,
        tasks: TaskKeeper | None = None,
    ) -> None:
        self._home = home
        self._config = config
        self._bus = bus
        self._timings = timings or Timings()
        self._log = log or logging.getLogger(__name__)
        self._tasks = tasks or TaskKeeper()
        self._bridge = Bridge(bus, self._timings, self._log, self._make_streams)
        self._streams: dict[str, RedisGrants] = {}
        self._private = PrivateServer(
            PrivateFiles(home.redis_dir, home.system_logs_dir / "redis.log"),
            binaries,
            self._private_changed,
            self._log,
            self._tasks,
        )
        self._address: ServerAddress | None = None
        self._server: Literal["configured", "private", "none"] = "none"
        self._why = "no server is chosen yet"
        self._reason = ""
        self._disabled = False
        self._chosen = asyncio.Event()
        self._private_up = False
        self._task: asyncio.Task[None] | None = None
        self._upkeep: asyncio.Task[None] | None = None
        self._applied: dict[str, bytes] = {}
        self._commands: list[Command] | None = None
        self._administration: asyncio.Task[list[Any] | None] | None = None

    async def start(self) -> None:
        """Choose a server and begin to connect; goes on in the background if that takes longer than 3 s."""
        self._task = self._tasks.start("the Redis connection", self._run)
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._chosen.wait(), self._timings.start)

    async def stop(self, *, keep_server: bool = False) -> None:
        """Deliver what is left (1 s at most), disconnect, and end the private server.

        With ``keep_server`` it runs on for the apps that do, and for the engine that takes over.
        """
        await self._bridge.flush(self._timings.farewell)
        self._bridge.close()
        await end_tasks(*filter(None, (self._task, self._upkeep)))
        self._task = self._upkeep = None
        self._bridge.connected = False
        await self._private.stop(keep=keep_server)

    def status(self) -> RedisStatus:
        """The connection as it is now; costs nothing."""
        bridge, address = self._bridge, self._address
        state: Literal["connected", "connecting", "disconnected", "disabled"] = "connecting"
        if bridge.connected:
            state = "connected"
        elif self._disabled:
            state = "disabled"
        elif bridge.error is not None:
            state = "disconnected"
        return RedisStatus(
            status=state,
            host=address.host if address else None,
            port=address.port if address else None,
            connected=bridge.connected,
            error=bridge.error,
            server=self._server,
            version=bridge.version if bridge.connected else None,
            buffered=len(bridge.outbox),
            dropped=bridge.outbox.dropped,
            latency_ms=round(bridge.latency_ms, 3) if bridge.latency_ms is not None else None,
            why=self._why,
        )

    async def detailed_status(self) -> RedisStatus:
        """The connection with the server's own figures; a round trip."""
        status, address = self.status(), self._address
        if address is not None and status.connected:
            status.details = await ask_details(address, self._timings.answer)
        return status

    def explain(self) -> str:
        """One line for people: which server, why this one, and what is wrong with it, if anything."""
        status = self.status()
        line = f"{status.status}: {self._why}"
        if status.version:
            line += f" (version {status.version})"
        return f"{line}; {status.error}" if status.error and status.error not in line else line

    def set_keys(self, name: str, document: Callable[..., Any], ttl: Ttl = None) -> None:
        """Keep the key ``name`` (with or without ``homehelper:``) written: JSON of what ``document()`` gives.

        A name that ends in ``:*`` is a family: ``document(member)`` gives each, and None deletes it.
        It is written now, after each ``key_changed``, and whenever Redis has lost it; ``ttl`` is in seconds.
        """
        self._bridge.documents.register(name, document, ttl)

    def key_changed(self, name: str) -> None:
        """What ``name`` (or ``family:*``) holds changed; costs nothing, changes within 250 ms are written together."""
        self._bridge.documents.touch(name)

    def delete_key(self, name: str) -> None:
        """Forget the key and delete it, as soon as Redis is there."""
        self._bridge.documents.forget(name)

    async def access_for(self, app_id: str, grants: RedisGrants = _NOTHING_MORE) -> RedisAccess | None:
        """How the app reaches Redis; None if there is no server. Waits shortly while none is chosen yet.

        On the private server the app gets a user of its own, whose password stays the same over restarts. On a
        configured server (or while one that was used before is waited for) it gets that server's URL. The streams of
        ``grants`` and the groups in them are there then, and whenever a server has lost them.
        """
        with contextlib.suppress(TimeoutError):
            await asyncio.wait_for(self._chosen.wait(), self._timings.start)
        address = self._address
        if address is None:
            return None
        if self._streams.get(app_id, _NOTHING_MORE) != grants:
            self._streams[app_id] = grants
            await self._make_streams_of(app_id)
        if self._server != "private":
            return RedisAccess(address.url, address.host, address.port, address.username, address.password)
        user = await self._private_user(app_id, grants)
        name = user_name(app_id)
        port = self._private.port
        url = f"redis://{quote(name)}:{quote(user.password)}@{HOST}:{port}/0"
        return RedisAccess(url, HOST, port, name, user.password)

    async def forget_app(self, app_id: str) -> None:
        """The app is gone for good: so is its user on the private server. Its keys stay."""
        self._streams.pop(app_id, None)
        if (user := self._private.access.apps.pop(app_id, None)) is not None:
            self._applied.pop(app_id, None)
            await self._private.save_access()
            await self._administer(("ACL", "DELUSER", user_name(app_id)))
            await self._administer(("ACL", "SETUSER", DEFAULT_USER, password_rule(user.password, remove=True)))

    async def _run(self) -> NoReturn:
        if not self._chosen.is_set():
            await self._choose_first()
        if self._server == "private" and self._upkeep is None:
            self._upkeep = self._tasks.start("the upkeep of the private Redis server's log", self._keep_log_short)
        if self._address is None:
            # There will be none before the engine's next start.
            await asyncio.Event().wait()
        await self._bridge.run(self._connect, self._describe, patient=self._server == "none")

    async def _choose_first(self) -> None:
        try:
            await self._choose()
        except Exception as error:
            self._disabled = True
            self._why = f"no Redis: {error.message if isinstance(error, HomeHelperError) else type(error).__name__}"
            self._log.error("%s", self._why, exc_info=not isinstance(error, HomeHelperError))
        finally:
            self._chosen.set()
        self._log.info("Redis: %s", self._why)

    async def _choose(self) -> None:
        mode = self._config.embedded
        reason = "redis.embedded is always"
        configured: ServerAddress | None = None
        if mode != "always":
            try:
                configured = ServerAddress.configured(self._config)
                reason = await self._try_configured(configured)
            except HomeHelperError as error:
                reason = error.message
            if not reason and configured is not None:
                self._use(configured, "configured", f"the configured server at {configured.name} is used")
                await self._remember(configured)
                return
            if mode == "never":
                self._bridge.error = reason
                why = f"the configured server is used (redis.embedded is never), but {reason}"
                self._use(configured, "configured" if configured else "none", why)
                return
        try:
            await self._private.start()
        except PrivateServerError as error:
            self._bridge.error = error.message
            self._disabled = configured is None
            self._use(configured, "none", f"there is none: {reason}; {error.message}")
            return
        await self._remember(None)
        self._bridge.error = None
        self._reason = reason
        self._use_private()

    async def _try_configured(self, address: ServerAddress) -> str:
        """Why it cannot be used, "" if it can. One that was used before may be a little late: it is waited for."""
        deadline = asyncio.get_running_loop().time()
        if await self._remembered() == address.identity:
            deadline += self._timings.grace
        while True:
            try:
                link = await Link.open(address, timeout=self._timings.choose)
            except LinkError as error:
                if asyncio.get_running_loop().time() >= deadline:
                    return error.message
                self._bridge.error = error.message
                self._use(address, "none", f"waiting for the configured server at {address.name}, used the last time")
                await asyncio.sleep(self._timings.first_pause)
                continue
            await link.close()
            self._bridge.error = None
            return ""

    def _use(self, address: ServerAddress | None, server: Literal["configured", "private", "none"], why: str) -> None:
        self._address = address
        self._server = server
        self._why = why

    def _use_private(self) -> None:
        # The port changes if somebody else took it while the server was down.
        why = f"a private server on port {self._private.port} is used, since {self._reason}"
        self._use(self._private.address(), "private", why)

    async def _connect(self) -> Link:
        if self._server == "private" and not self._private_up:
            raise LinkError("the private server is being started again")
        address = self._address
        if address is None:
            raise LinkError("there is no server")
        link = await Link.open(address, timeout=self._timings.answer)
        if self._server != "private":
            self._use(address, "configured", f"the configured server at {address.name} is used")
            await self._remember(address)
        return link

    def _describe(self) -> dict[str, object]:
        address = self._address
        return {
            "server": self._server,
            "host": address.host if address else None,
            "port": address.port if address else None,
        }

    def _private_changed(self, up: bool) -> None:
        self._private_up = up
        self._applied.clear()
        if up and self._server == "private":
            self._use_private()
            self._bridge.hurry()

    async def _private_user(self, app_id: str, grants: RedisGrants) -> AppUser:
        apps = self._private.access.apps
        user = apps.get(app_id)
        if user is None or user.grants != grants:
            for pattern in refused_patterns(grants.keys):
                self._log.warning("%s: redis_keys: %r is no key pattern and is left out", app_id, pattern[:80])
            user = apps[app_id] = AppUser(user.password if user else new_password(), grants)
            await self._private.save_access()
        rules = app_rules(app_id, grants, user.password)
        # Known by their digest: the words themselves are 2 kB an app.
        digest = hashlib.sha256("\n".join(rules).encode()).digest()
        if self._applied.get(app_id) != digest and all(
            await asyncio.gather(
                self._administer(("ACL", "SETUSER", user_name(app_id), *rules)),
                self._administer(("ACL", "SETUSER", DEFAULT_USER, password_rule(user.password))),
            )
        ):
            self._applied[app_id] = digest
        return user

    async def _administer(self, command: Command) -> bool:
        """Whether the private server did it; callers at the same time share a connection and a round trip.

        It reads its ACL file at its next start in any case.
        """
        if not self._private_up:
            return False
        if self._commands is None:
            self._commands = []
            self._administration = asyncio.get_running_loop().create_task(self._carry_out(self._commands))
        mine, commands, carried_out = len(self._commands), self._commands, self._administration
        commands.append(command)
        assert carried_out is not None
        answers = await asyncio.shield(carried_out)
        return answers is not None and not isinstance(answers[mine], Refusal)

    async def _make_streams_of(self, app_id: str) -> None:
        """The app's streams, now; if the server cannot be reached, they are made when the bridge is connected."""
        grants = self._streams[app_id]
        if self._address is None or not (grants.publishes or grants.subscribes):
            return
        try:
            link = await Link.open(self._address, timeout=2)
        except LinkError as error:
            self._log.warning("%s: its streams are made when Redis is back: %s", app_id, error.message)
            return
        try:
            await self._make_streams(link, [grants])
        except LinkError as error:
            self._log.warning("%s: its streams are made when Redis is back: %s", app_id, error.message)
        finally:
            await link.close()

    async def _make_streams(self, link: Link, wanted: Iterable[RedisGrants] | None = None) -> None:
        """Streams without an entry, and the groups in them; what is there already stays as it is."""
        commands: list[Command] = []
        for grants in list(self._streams.values()) if wanted is None else wanted:
            for key in grants.publishes:
                commands.append(("XGROUP", "CREATE", key, _NO_GROUP, "0", "MKSTREAM"))
                commands.append(("XGROUP", "DESTROY", key, _NO_GROUP))
            for key in grants.subscribes:
                commands += [("XGROUP", "CREATE", key, group, "0", "MKSTREAM") for group in grants.groups]
        for answer in await link.execute(commands) if commands else ():
            if isinstance(answer, Refusal) and answer.code != "BUSYGROUP":
                self._log.warning("a stream of an app cannot be made: %s", answer.message)

    async def _carry_out(self, commands: list[Command]) -> list[Any] | None:
        """The answers to what has come together in ``commands`` by the time that the server is reached."""
        try:
            link = await Link.open(self._private.address(), timeout=2)
        except LinkError as error:
            self._log.warning("The private Redis server's users are not up to date: %s", error.message)
            return None
        finally:
            self._commands = None  # what comes from now on is another batch
        try:
            answers = await link.execute(commands)
        except LinkError as error:
            self._log.warning("The private Redis server's users are not up to date: %s", error.message)
            return None
        finally:
            await link.close()
        for answer in answers:
            if isinstance(answer, Refusal):
                self._log.error("The private Redis server refused an app's user: %s", answer.message)
        return answers

    async def _keep_log_short(self) -> None:
        while True:
            await asyncio.sleep(_LOG_CHECK_SECONDS)
            await self._private.rotate_log()

    async def _remembered(self) -> str | None:
        """The identity of the configured server that was used last, if one was."""
        try:
            document = await asyncio.to_thread(read_json_object, self._home.redis_dir / _CHOICE_NAME)
        except (OSError, ValueError):
            return None
        used = document.get("configured")
        return used if isinstance(used, str) else None

    async def _remember(self, address: ServerAddress | None) -> None:
        identity = address.identity if address else None
        if await self._remembered() == identity:
            return
        with contextlib.suppress(OSError):
            await asyncio.to_thread(_make_private, self._home.redis_dir)
            document = {"configured": identity}
            await asyncio.to_thread(write_json, self._home.redis_dir / _CHOICE_NAME, document, 0o600)


def _make_private(folder: Path) -> None:
    folder.mkdir(mode=0o700, parents=True, exist_ok=True)


_QUESTIONS = (("INFO", "memory"), ("INFO", "clients"), ("INFO", "server"), ("DBSIZE",), ("XLEN", STREAM))


async def ask_details(address: ServerAddress, timeout: float) -> RedisDetails:
    """The server's figures over a connection of its own; what it refuses stays None, ``error`` is why all of it is."""
    try:
        link = await Link.open(address, timeout=timeout)
    except LinkError as error:
        return RedisDetails(error=error.message)
    try:
        answers = await link.execute(_QUESTIONS)
    except LinkError as error:
        return RedisDetails(error=error.message)
    finally:
        await link.close()
    info: dict[str, Any] = {}
    for answer in answers[:3]:
        info |= answer if isinstance(answer, dict) else {}
    return RedisDetails(
        memory_mb=_megabytes(info.get("used_memory")),
        memory_peak_mb=_megabytes(info.get("used_memory_peak")),
        memory_limit_mb=_megabytes(info.get("maxmemory")) or None,
        clients=_whole(info.get("connected_clients")),
        uptime_seconds=_whole(info.get("uptime_in_seconds")),
        keys=_whole(answers[3]),
        stream_events=_whole(answers[4]),
    )


def _whole(value: Any) -> int | None:
    if isinstance(value, Refusal):
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _megabytes(value: Any) -> float | None:
    number = _whole(value)
    return None if number is None else round(number / 2**20, 2)
