"""The private Redis server of one home: started, taken over, watched, restarted, ended."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import os
import random
import signal
import socket
import struct
import time
from collections.abc import Callable, Sequence
from pathlib import Path
from typing import Any, TypeVar
from urllib.parse import quote

from hhtui.engine.bus.acl import ENGINE_USER
from hhtui.engine.bus.address import ServerAddress
from hhtui.engine.bus.link import Link, LinkError
from hhtui.engine.bus.private_files import CONFIG_NAME, PORTS, Access, PrivateFiles, last_words, rotate
from hhtui.engine.process.child import Child, SpawnError, adopt, spawn
from hhtui.engine.process.exit_status import Ending
from hhtui.engine.process.identity import identity_of, is_alive
from hhtui.errors import HomeHelperError
from hhtui.model.app import ProcessIdentity
from hhtui.paths import socket_address
from hhtui.storage import set_aside
from hhtui.text import sanitise

_T = TypeVar("_T")

HOST = "127.0.0.1"
_READY_WITHIN = 20.0
_ANSWERS_WITHIN = 2.0
_STOP_WITHIN = 5.0
_LONGEST_PAUSE = 30.0
# A server that ran this long (seconds) is started again at once when it dies.
_HEALTHY_AFTER = 30.0
# How the two servers say that the kept dump is of no use to them.
_DUMP_WORDS = ("rdb", "dump", "short read", "wrong signature", "loading the db", "unexpected eof", "bad file format")


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
        *,
        first_pause: float = 0.5,
    ) -> None:
        self.access = Access("")
        self.binary: Path | None = None
        self._files = files
        self._binaries = binaries
        self._on_change = on_change
        self._log = log
        self._first_pause = first_pause
        self._child: Child | None = None
        self._gone = asyncio.Event()
        self._gone.set()
        self._ending: Ending | None = None
        self._watch: asyncio.Task[None] | None = None
        self._socket_works = True
        self._saving = asyncio.Lock()
        self._changes = self._saved = 0

    @property
    def pid(self) -> int | None:
        """The server's process, None while it does not run."""
        return self._child.pid if self._child else None

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
            self.access = await self._blocking(self._files.load_access)
            await self._blocking(self._prepare_log)
        except OSError as error:
            raise PrivateServerError(
                f"no private server: {sanitise(str(self._files.folder), 120)}: {error.strerror}"
            ) from None
        if not await self._take_over():
            await self._launch()
        self._watch = asyncio.get_running_loop().create_task(self._keep_running(), name="private redis server")
        self._on_change(True)

    async def stop(self, *, keep: bool = False) -> None:
        """End the server, its data saved; with ``keep`` leave it to the next engine."""
        if self._watch is not None:
            self._watch.cancel()
            with contextlib.suppress(asyncio.CancelledError):
                await self._watch
            self._watch = None
        if self._child is None:
            return
        if keep:
            self._child.release()
            self._child = None
            return
        await self._end()
        with contextlib.suppress(OSError):
            await self._blocking(self._files.save_running, None)

    async def save_access(self) -> None:
        """Write down the changed ``access``; many callers at once share one write. OSError is logged."""
        self._changes += 1
        mine = self._changes
        async with self._saving:
            if self._saved >= mine:
                return
            upto = self._changes
            try:
                await self._blocking(self._files.save_access, self._snapshot())
            except OSError as error:
                self._log.warning("The private Redis server's users cannot be saved: %s", error.strerror)
            self._saved = upto

    async def rotate_log(self) -> None:
        """Keep the server's log within its limit."""
        await self._blocking(rotate, self._files.log)

    async def _take_over(self) -> bool:
        """Whether a living server of this home is ours now. One that lives but does not answer is ended."""
        for identity in await self._candidates():
            if not is_alive(identity):
                continue
            self._gone.clear()
            self._child = adopt(identity, self._ended)
            if self._child is None:
                self._gone.set()
                continue
            self._socket_works = self._files.socket.is_socket()
            if await self._answers(_ANSWERS_WITHIN):
                self._log.info("Took over the private Redis server, pid %d, port %d", identity.pid, self.port)
                with contextlib.suppress(OSError):
                    await self._blocking(self._files.save_running, identity)
                return True
            self._log.warning("The private Redis server (pid %d) does not answer and is ended", identity.pid)
            await self._end()
        return False

    async def _candidates(self) -> list[ProcessIdentity]:
        """Who may be this home's server: the process that was noted, and the one that listens on our socket."""
        noted = await self._blocking(self._files.load_running)
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
        binaries = sorted(await self._blocking(self._binaries), key=lambda path: path != self.binary)
        for binary in binaries:
            dump_was_bad = False
            for with_socket in (True, True, False, False):
                reason = await self._try(binary, with_socket)
                if reason is None:
                    self.binary = binary
                    return
                if not dump_was_bad and self._files.dump.exists() and _blames_dump(reason):
                    dump_was_bad = True
                    kept = await self._blocking(set_aside, self._files.dump)
                    self._log.error("The private Redis server cannot read its data, kept as %s: %s", kept, reason)
                elif "in use" in reason.lower():
                    self.access.port = None
                elif not (with_socket and "socket" in reason.lower()):
                    break
            reasons.append(f"{binary.name}: {reason}")
        if not reasons:
            raise PrivateServerError("no redis-server or valkey-server is installed")
        raise PrivateServerError(sanitise("; ".join(reasons), 300))

    async def _try(self, binary: Path, with_socket: bool) -> str | None:
        """None if the server answers, else why it does not run."""
        port = self._free_port()
        try:
            if port != self.access.port:
                if self.access.port:
                    self._log.warning("Port %d is taken: the private Redis server moves to %d", self.access.port, port)
                self.access.port = port
            await self._blocking(self._files.save_access, self._snapshot())
            await self._blocking(lambda: self._files.write_config(port, with_socket=with_socket))
            offset = await self._blocking(self._log_size)
            output = os.open(self._files.log, os.O_WRONLY | os.O_CREAT | os.O_APPEND | os.O_CLOEXEC, 0o640)
        except OSError as error:
            return f"{error.strerror}: {sanitise(str(error.filename), 120)}"
        self._socket_works = with_socket
        self._gone.clear()
        try:
            environ = {"PATH": os.environ.get("PATH", ""), "LC_ALL": "C", "TZ": os.environ.get("TZ", "")}
            if not environ["TZ"]:
                del environ["TZ"]
            argv = [str(binary), CONFIG_NAME]
            self._child = spawn(argv, self._files.folder, environ, output, output, self._ended)
        except SpawnError as error:
            self._gone.set()
            return error.message
        finally:
            os.close(output)
        with contextlib.suppress(OSError):
            await self._blocking(self._files.save_running, self._child.identity)
        if await self._answers(_READY_WITHIN):
            self._log.info("Started the private Redis server %s, pid %d, port %d", binary, self.pid or 0, port)
            return None
        if self._gone.is_set():
            return _reason(last_words(self._files.log, offset), self._ending)
        await self._end()
        return f"did not answer within {_READY_WITHIN:g} s"

    async def _answers(self, within: float) -> bool:
        """Whether the engine's own user gets a PONG in time; ends early if the process does."""
        deadline = time.monotonic() + within
        pause = 0.02
        while not self._gone.is_set() and (left := deadline - time.monotonic()) > 0:
            try:
                link = await Link.open(self.address(), timeout=min(left, 2.0))
            except LinkError:
                with contextlib.suppress(TimeoutError):
                    await asyncio.wait_for(self._gone.wait(), pause)
                pause = min(pause * 1.5, 0.25)
                continue
            await link.close()
            return not self._gone.is_set()
        return False

    async def _keep_running(self) -> None:
        """Start the server again whenever it dies: at once after a healthy time, else with growing pauses."""
        pause = 0.0
        while True:
            started = time.monotonic()
            await self._gone.wait()
            words = self._ending.words if self._ending else "it is gone"
            self._log.error("The private Redis server ended: %s", words)
            self._on_change(False)
            pause = 0.0 if time.monotonic() - started >= _HEALTHY_AFTER else min(pause * 2, _LONGEST_PAUSE)
            while True:
                if pause:
                    await asyncio.sleep(pause * random.uniform(0.8, 1.2))
                try:
                    await self._launch()
                    break
                except PrivateServerError as error:
                    self._log.error("The private Redis server cannot be started: %s", error.message)
                    pause = min(max(pause * 2, self._first_pause), _LONGEST_PAUSE)
            pause = max(pause, self._first_pause / 2)
            self._on_change(True)

    async def _end(self) -> None:
        child = self._child
        if child is None:
            return
        for number, patience in ((signal.SIGTERM, _STOP_WITHIN), (signal.SIGKILL, _STOP_WITHIN)):
            child.send(number)
            # A stopped process would not see SIGTERM.
            child.send(signal.SIGCONT)
            try:
                await asyncio.wait_for(self._gone.wait(), patience)
                return
            except TimeoutError:
                continue
        child.release()
        self._child = None
        self._log.error("The private Redis server (pid %d) does not end", child.pid)

    def _ended(self, ending: Ending) -> None:
        self._child = None
        self._ending = ending
        self._gone.set()

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

    @staticmethod
    async def _blocking(function: Callable[..., _T], *arguments: Any) -> _T:
        return await asyncio.get_running_loop().run_in_executor(None, function, *arguments)


def _blames_dump(reason: str) -> bool:
    return any(word in reason.lower() for word in _DUMP_WORDS)


def _reason(lines: list[str], ending: Ending | None) -> str:
    """The line that says most about why a server ended at its start."""
    telling = [line for line in lines if " # " in line or "***" in line or "error" in line.lower() or "'" in line[:1]]
    words = [line.split(" # ", 1)[-1].strip() for line in telling if "WARNING" not in line][-4:]
    words = words or [line.strip() for line in lines if line.strip()][-1:]
    ended = ending.words if ending else "ended"
    return sanitise(f"{ended}: {' / '.join(words)}" if words else ended, 300)
