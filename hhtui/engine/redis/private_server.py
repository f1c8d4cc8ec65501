"""The private Redis server of one home: started, taken over, watched, restarted, ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import socket
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import TypeVar
from urllib.parse import quote

from hhtui.engine.process.child import SpawnError
from hhtui.engine.process.exit_status import ExitStatus
from hhtui.engine.process.helper_process import HelperProcess
from hhtui.engine.process.identity import identity_of, is_alive
from hhtui.engine.redis.acl import ENGINE_USER
from hhtui.engine.redis.address import ServerAddress
from hhtui.engine.redis.link import Link, LinkError
from hhtui.engine.redis.private_files import CONFIG_NAME, DUMP_NAME, PORTS, Access, PrivateFiles, last_words, rotate
from hhtui.engine.tasks import TaskKeeper, end_tasks
from hhtui.errors import HomeHelperError
from hhtui.model.app import ProcessIdentity
from hhtui.paths import socket_address
from hhtui.storage import set_aside
from hhtui.text import sanitise

_T = TypeVar("_T")

HOST = "127.0.0.1"
_READY_WITHIN = 20.0
_ANSWERS_WITHIN = 2.0
# One that dies again and again costs apps their connections: so long it waits at most (seconds).
_LONGEST_PAUSE = 2.0
# A dump that is not there: a server that starts with it alone cannot read the one that is.
_NO_DUMP = "none.rdb"


class PrivateServerError(HomeHelperError):
    """No private server could be started; says why in one line."""

    slug = "redis_server"


class PrivateServer:
    """At most one server process a home, whatever was killed when.

    ``on_change`` is called from the loop with True when the server is up (again) and False when it is gone. An engine
    that is killed leaves its server running, since apps use it; the next engine of the home takes it over.
    """

    def __init__(
        self,
        files: PrivateFiles,
        binaries: Callable[[], Sequence[Path]],
        on_change: Callable[[bool], None],
        log: logging.Logger,
        tasks: TaskKeeper,
    ) -> None:
        self.access = Access("")
        self.binary: Path | None = None
        self._files = files
        self._binaries = binaries
        self._on_change = on_change
        self._log = log
        self._tasks = tasks
        self._process = HelperProcess("private Redis server", self._launch, on_change, log, _LONGEST_PAUSE)
        self._watch: asyncio.Task[None] | None = None
        self._socket_works = True
        self._saving = asyncio.Lock()
        self._changes = self._saved = 0

    @property
    def pid(self) -> int | None:
        """The server's process, None while it does not run."""
        return self._process.pid

    @property
    def port(self) -> int:
        """Where apps reach it on 127.0.0.1; 0 before the first start."""
        return self.access.port or 0

    def address(self) -> ServerAddress:
        """The engine's own way in: the Unix socket in the folder that is only ours, else the port."""
        user = f"{ENGINE_USER}:{self.access.engine_password}"
        if self._socket_works:
            path = self._files.socket
            url = f"unix://{user}@{quote(str(path))}"
            return ServerAddress(url, HOST, self.port, ENGINE_USER, self.access.engine_password, path)
        return ServerAddress(
            f"redis://{user}@{HOST}:{self.port}/0", HOST, self.port, ENGINE_USER, self.access.engine_password
        )

    async def start(self) -> None:
        """Take over the home's living server, else start one; returns when it answers. Raises PrivateServerError."""
        try:
            self.access = await asyncio.to_thread(self._files.load_access)
            await asyncio.to_thread(self._prepare_log)
        except OSError as error:
            raise PrivateServerError(
                f"no private server: {sanitise(str(self._files.folder), 120)}: {error.strerror}"
            ) from None
        if not await self._take_over():
            await self._launch()
        self._watch = self._tasks.start("the watch over the private Redis server", self._process.keep_running)
        self._on_change(True)

    async def stop(self, *, keep: bool = False) -> None:
        """End the server, its data saved; with ``keep`` leave it to the next engine."""
        if self._watch is not None:
            await end_tasks(self._watch)
            self._watch = None
        if await self._process.stop(keep=keep):
            with contextlib.suppress(OSError):
                await asyncio.to_thread(self._files.save_running, None)

    async def save_access(self) -> None:
        """Write down the changed ``access``; many callers at once share one write. OSError is logged."""
        self._changes += 1
        mine = self._changes
        async with self._saving:
            if self._saved >= mine:
                return
            upto = self._changes
            try:
                await asyncio.to_thread(self._files.save_access, self._snapshot())
            except OSError as error:
                self._log.warning("The private Redis server's users cannot be saved: %s", error.strerror)
            self._saved = upto

    async def rotate_log(self) -> None:
        """Keep the server's log within its limit."""
        await asyncio.to_thread(rotate, self._files.log)

    async def _take_over(self) -> bool:
        """Whether a living server of this home is ours now. One that lives but does not answer is ended."""
        for identity in await self._candidates():
            if not is_alive(identity):
                continue
            if not self._process.adopt(identity):
                continue
            self._socket_works = self._files.socket.is_socket()
            if await self._answers(_ANSWERS_WITHIN):
                self._log.info("Took over the private Redis server, pid %d, port %d", identity.pid, self.port)
                with contextlib.suppress(OSError):
                    await asyncio.to_thread(self._files.save_running, identity)
                return True
            self._log.warning("The private Redis server (pid %d) does not answer and is ended", identity.pid)
            await self._process.end()
        return False

    async def _candidates(self) -> list[ProcessIdentity]:
        """Who may be this home's server: the process that was noted, and the one that listens on our socket."""
        noted = await asyncio.to_thread(self._files.load_running)
        found = [noted] if noted else []
        with contextlib.suppress(OSError), socket_address(self._files.socket) as address:
            with socket.socket(socket.AF_UNIX, socket.SOCK_STREAM | socket.SOCK_NONBLOCK) as probe:
                probe.connect(address)
                # unix(7): the pid, uid and gid of who called listen(2).
                packed = probe.getsockopt(socket.SOL_SOCKET, socket.SO_PEERCRED, struct.calcsize("3i"))
                pid, uid, _ = struct.unpack("3i", packed)
                identity = identity_of(pid) if pid and uid == os.geteuid() else None
                if identity and identity not in found:
                    found.append(identity)
        return found

    async def _launch(self) -> None:
        """Start a server with the first binary that works; PrivateServerError if none does."""
        reasons: list[str] = []
        binaries = sorted(await asyncio.to_thread(self._binaries), key=lambda path: path != self.binary)
        for binary in binaries:
            reason = await self._start_by(binary)
            if reason is None:
                self.binary = binary
                return
            reasons.append(f"{binary.name}: {reason}")
        if not reasons:
            raise PrivateServerError("no redis-server or valkey-server is installed")
        raise PrivateServerError(sanitise("; ".join(reasons), 300))

    async def _start_by(self, binary: Path) -> str | None:
        """None if the server answers, else why it does not run.

        One that gives up by itself is tried again: its port may just have been taken, its socket may not be possible,
        or it cannot read its data, which are set aside then. What it was shows by leaving that out.
        """
        reason = await self._try(binary)
        for with_socket, dump in ((True, DUMP_NAME), (False, DUMP_NAME), (True, _NO_DUMP), (False, _NO_DUMP)):
            if reason is None or self._process.exit_status is None or self._process.exit_status.code is None:
                break
            if dump != DUMP_NAME and not self._files.dump.exists():
                break
            if await self._try(binary, with_socket=with_socket, dump=dump) is not None:
                continue
            if dump == DUMP_NAME:
                return None
            await self._process.end()
            # What it has saved of nothing.
            await asyncio.to_thread(lambda: (self._files.folder / _NO_DUMP).unlink(missing_ok=True))
            kept = await asyncio.to_thread(set_aside, self._files.dump)
            self._log.error("The private Redis server cannot read its data, kept as %s: %s", kept, reason)
            return await self._try(binary, with_socket=with_socket)
        return reason

    async def _try(self, binary: Path, *, with_socket: bool = True, dump: str = DUMP_NAME) -> str | None:
        """None if the server answers, else why it does not run; ``exit_status`` is set if it ended by itself."""
        self._process.exit_status = None
        port = self._free_port()
        try:
            if port != self.access.port:
                if self.access.port:
                    self._log.warning("Port %d is taken: the private Redis server moves to %d", self.access.port, port)
                self.access.port = port
            await asyncio.to_thread(self._files.save_access, self._snapshot())
            await asyncio.to_thread(lambda: self._files.write_config(port, with_socket=with_socket, dump=dump))
            offset = await asyncio.to_thread(self._log_size)
            output = os.open(self._files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            return f"{error.strerror}: {sanitise(str(error.filename), 120)}"
        self._socket_works = with_socket
        try:
            environ = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": os.environ.get("TZ", "")}
            if not environ["TZ"]:
                del environ["TZ"]
            argv = [str(binary), CONFIG_NAME]
            identity = self._process.spawn(argv, self._files.folder, environ, output)
        except SpawnError as error:
            return error.message
        finally:
            os.close(output)
        with contextlib.suppress(OSError):
            await asyncio.to_thread(self._files.save_running, identity)
        if await self._answers(_READY_WITHIN):
            self._log.info("Started the private Redis server %s, pid %d, port %d", binary, self.pid or 0, port)
            return None
        if self._process.gone.is_set():
            return _reason(last_words(self._files.log, offset), self._process.exit_status)
        await self._process.end()
        self._process.exit_status = None
        return f"did not answer within {_READY_WITHIN:g} s"

    async def _answers(self, within: float) -> bool:
        """Whether the engine's own user gets a PONG in time; ends early if the process does."""
        deadline = time.monotonic() + within
        pause = 0.02
        while not self._process.gone.is_set() and (left := deadline - time.monotonic()) > 0:
            try:
                link = await Link.open(self.address(), timeout=min(left, 2.0))
            except LinkError:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._process.gone.wait(), pause)
                pause = min(pause * 1.5, 0.25)
                continue
            await link.close()
            return not self._process.gone.is_set()
        return False

    def _free_port(self) -> int:
        """The kept port if it is free, else the first free one of ours, else any."""
        first = self._files.first_port()
        count = len(PORTS)
        wanted = [PORTS[(first - PORTS.start + step) % count] for step in range(count)]
        for port in [*([self.access.port] if self.access.port else []), *wanted, 0]:
            with socket.socket(socket.AF_INET, socket.SOCK_STREAM) as probe:
                probe.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
                try:
                    probe.bind((HOST, port))
                except (OSError, OverflowError):
                    continue
                return int(probe.getsockname()[1])
        return PORTS.start

    def _snapshot(self) -> Access:
        # Written in a thread, while the loop may go on changing the original.
        return Access(self.access.engine_password, self.access.port, dict(self.access.apps))

    def _prepare_log(self) -> None:
        self._files.log.parent.mkdir(parents=True, exist_ok=True)
        rotate(self._files.log)

    def _log_size(self) -> int:
        try:
            return self._files.log.stat().st_size
        except OSError:
            return 0


def _reason(lines: list[str], exit_status: ExitStatus | None) -> str:
    """The line that says most about why a server ended at its start."""
    relevant = [line for line in lines if " # " in line or "***" in line or "error" in line.lower() or "'" in line[:1]]
    words = [line.split(" # ", 1)[-1].strip() for line in relevant if "WARNING" not in line][-4:]
    words = words or [line.strip() for line in lines if line.strip()][-1:]
    ended = exit_status.words if exit_status else "ended"
    return sanitise(f"{ended}: {' / '.join(words)}" if words else ended, 300)
