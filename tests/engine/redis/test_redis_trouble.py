"""A Redis server that hangs costs the apps nothing and the events only what is promised; benchmarks/redis_trouble.py
has the figures of this and of worse."""

from __future__ import annotations

import asyncio
import contextlib
import itertools
import json
import signal
import subprocess
import time
from collections.abc import Iterator
from pathlib import Path

import pytest
import redis

from hhtui.engine.engine import Engine
from hhtui.engine.redis.private_files import installed_servers
from hhtui.model.event import EventType
from tests.engine.homes import command, free_ports, make_app, make_home, until

STREAM = "homehelper:stream:events"


class Server:
    """A redis-server, with a client of the test's."""

    def __init__(self, folder: Path) -> None:
        self.port = free_ports(1)
        folder.mkdir()
        argv = [str(installed_servers()[0]), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen([*argv, "--dir", str(folder)], stdout=subprocess.DEVNULL)
        self.client = redis.Redis(port=self.port, socket_timeout=5)

    def numbers(self) -> list[int]:
        """The engine's own numbers of the stream's entries, oldest first."""
        entries = self.client.xrange(STREAM)
        return [json.loads(fields[b"event"])["metadata"]["sequence"] for _, fields in entries]


@pytest.fixture
def server(tmp_path: Path) -> Iterator[Server]:
    if not installed_servers():
        pytest.skip("no Redis-compatible server for this machine")
    running = Server(tmp_path / "redis")
    try:
        yield running
    finally:
        with contextlib.suppress(ProcessLookupError):
            running.process.send_signal(signal.SIGCONT)
        running.process.kill()
        running.process.wait()


async def rounds(engine: Engine, seconds: float) -> float:
    """Start and stop the app for so long; the longest that an order took."""
    longest, over = 0.0, time.monotonic() + seconds
    while time.monotonic() < over:
        for verb, status in (("start", "running"), ("stop", "stopped")):
            began = time.monotonic()
            record = await command(engine, "web", verb)
            longest = max(longest, time.monotonic() - began)
            assert record.status == status
    return longest


async def test_a_hanging_redis_slows_no_app_and_loses_only_what_is_promised(tmp_path: Path, server: Server) -> None:
    root = make_home(tmp_path / "home", redis={"host": "127.0.0.1", "port": server.port, "embedded": "never"})
    make_app(root, "web", restart={"policy": "never"})
    async with Engine(root) as engine:
        await until(lambda: engine.redis.status().connected, what="the connection")
        quiet = await rounds(engine, 1.5)
        await until(lambda: not engine.redis.status().buffered)
        before = server.numbers()
        server.process.send_signal(signal.SIGSTOP)
        # Longer than an answer may take: the connection is given up meanwhile.
        hanging = await rounds(engine, 6.5)
        assert hanging < quiet + 3
        assert not engine.redis.status().connected
        for number in range(1500):
            engine.bus.publish(EventType.ERROR, "system", {"number": number})
        status = engine.redis.status()
        assert status.buffered == 1000
        assert status.dropped > 400
        last = engine.bus.publish(EventType.ERROR, "system", {"last": True}).metadata.sequence
        server.process.send_signal(signal.SIGCONT)
        await until(lambda: engine.redis.status().connected, timeout=60, what="the connection after the hang")
        await until(lambda: not engine.redis.status().buffered, what="all that waited")
        await asyncio.sleep(0)
        numbers = server.numbers()
        assert numbers[: len(before)] == before
        assert numbers == sorted(set(numbers)), "in order, none twice"
        assert last in numbers
        waited = [number for number in numbers if last - 990 <= number <= last]
        assert len(waited) == 991, "the newest thousand are whole"
        gaps = [b - a - 1 for a, b in itertools.pairwise(numbers) if b - a > 1]
        assert max(gaps) > 400, "and what was before them shows as a gap of the sequence"


async def test_the_keys_follow_what_changes_while_the_engine_runs(tmp_path: Path, server: Server) -> None:
    root = make_home(tmp_path / "home", redis={"host": "127.0.0.1", "port": server.port, "embedded": "never"})
    make_app(root, "web")
    client = server.client
    async with Engine(root) as engine:
        await until(lambda: engine.redis.status().connected, what="the connection")
        await until(lambda: client.exists("homehelper:ports:allocated"), what="the key")
        make_app(root, "lamp")
        await until(lambda: "lamp" in engine.fleet.supervisors, what="the new app")
        port = (await command(engine, "lamp", "start")).runtime_info.assigned_port
        await until(lambda: b"lamp" in client.get("homehelper:ports:allocated"), what="its port in Redis")
        assert str(port).encode() in client.get("homehelper:ports:allocated")
        await until(lambda: 170 < client.ttl("homehelper:health:lamp") <= 180, what="three intervals of 60 s")
        await engine.settings.change({"health_check_interval_seconds": 1})
        await until(lambda: 1 <= client.ttl("homehelper:health:lamp") <= 3, what="three intervals of 1 s")
        for _ in range(20):
            await asyncio.sleep(0.25)
            assert client.exists("homehelper:health:lamp"), "it does not run out while the engine runs"
