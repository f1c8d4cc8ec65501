"""What Redis in trouble costs the apps: start and stop latency and the engine's memory, beside the quiet case.

Run: python -m benchmarks.redis_trouble [case ...]
Every case has an engine of its own with one app, a real redis-server, and 30 starts and stops through the API.
"""

from __future__ import annotations

import contextlib
import itertools
import json
import signal
import statistics
import subprocess
import sys
import tempfile
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import redis

from hhtui.engine.redis.private_files import installed_servers
from tests.engine.engine_process import EngineProcess, engine_process
from tests.engine.homes import free_ports, make_app, make_home

ROUNDS = 30
STREAM = "homehelper:stream:events"
FLOOD = """
import sys, time, redis
client = redis.Redis(port=int(sys.argv[1]))
sent, started = 0, time.monotonic()
while True:
    pipe = client.pipeline(transaction=False)
    for number in range(200):
        pipe.publish(f"homehelper:events:flood{number % 5}", '{"n": %d, "text": "%s"}' % (sent + number, "x" * 100))
    pipe.execute()
    sent += 200
    time.sleep(max(started + sent / 10_000 - time.monotonic(), 0))
"""


class Server:
    """A redis-server of the benchmark's own."""

    def __init__(self, folder: Path, *options: str) -> None:
        self.folder = folder
        self.port = free_ports(1)
        self.options = options
        self.process: subprocess.Popen[bytes] | None = None
        folder.mkdir(parents=True)

    def start(self) -> None:
        argv = [str(installed_servers()[0]), "--port", str(self.port), "--bind", "127.0.0.1", "--save", ""]
        self.process = subprocess.Popen(
            [*argv, "--dir", str(self.folder), *self.options], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
        )
        for _ in range(500):
            with contextlib.suppress(redis.ConnectionError):
                with contextlib.suppress(redis.AuthenticationError):
                    self.client().ping()
                return
            time.sleep(0.01)
        raise RuntimeError("the redis-server did not start")

    def client(self, **options: Any) -> redis.Redis:
        return redis.Redis(port=self.port, socket_timeout=3, **options)

    def kill(self) -> None:
        if self.process is not None:
            self.process.kill()
            self.process.wait()

    def signal(self, number: int) -> None:
        assert self.process is not None
        self.process.send_signal(number)


@dataclass
class Case:
    """What a case leaves: latencies in milliseconds, memory in MB, and what else it has seen."""

    starts: list[float] = field(default_factory=list)
    stops: list[float] = field(default_factory=list)
    rss_mb: float = 0.0
    notes: dict[str, Any] = field(default_factory=dict)

    def figures(self) -> dict[str, Any]:
        def words(values: list[float]) -> str:
            ordered = sorted(values)
            return f"median {statistics.median(ordered):.1f} p95 {ordered[int(len(ordered) * 0.95)]:.1f} ms"

        return {
            "start": words(self.starts),
            "stop": words(self.stops),
            "rss_mb": round(self.rss_mb, 1),
            "rounds": len(self.starts),
            **self.notes,
        }


def one_round(engine: EngineProcess, case: Case) -> None:
    """Start the app, and stop it; both answered when done."""
    for verb, kept, status in (("start", case.starts, "running"), ("stop", case.stops, "stopped")):
        began = time.perf_counter()
        record = engine.client.command("web", verb, wait=20)
        kept.append((time.perf_counter() - began) * 1000)
        assert record["status"] == status, record


@contextlib.contextmanager
def rounds_meanwhile(engine: EngineProcess, case: Case) -> Iterator[None]:
    """Start and stop the app again and again while something else happens."""
    over = threading.Event()

    def work() -> None:
        while not over.is_set():
            one_round(engine, case)
            over.wait(0.05)

    thread = threading.Thread(target=work)
    thread.start()
    try:
        yield
    finally:
        over.set()
        thread.join()


def until(condition: Callable[[], Any], within: float = 60.0) -> float:
    """Seconds until ``condition`` held."""
    began = time.monotonic()
    while True:
        with contextlib.suppress(redis.RedisError):
            if condition():
                return time.monotonic() - began
        if time.monotonic() - began > within:
            raise AssertionError(f"not within {within} s")
        time.sleep(0.02)


def connected(engine: EngineProcess) -> bool:
    return bool(engine.client.redis()["connected"])


def sequences(client: redis.Redis, newest: int = 2000) -> list[int]:
    """The engine's own numbers of the stream's newest entries, oldest first."""
    entries = client.xrevrange(STREAM, count=newest) or []
    return [json.loads((fields or {})[b"event"])["metadata"]["sequence"] for _, fields in reversed(entries)]


def order(numbers: list[int]) -> dict[str, Any]:
    """Whether the numbers ascend, and how many are missing between the first and the last.

    One a minute is: metrics have a number, but no place in the stream.
    """
    pairs = list(itertools.pairwise(numbers))
    return {
        "stream_entries": len(numbers),
        "in_order": all(a < b for a, b in pairs),
        "missing": sum(b - a - 1 for a, b in pairs),
    }


def quiet(engine: EngineProcess, server: Server, case: Case) -> None:
    for _ in range(ROUNDS):
        one_round(engine, case)
    case.notes |= order(sequences(server.client()))


def killed_20_times(engine: EngineProcess, server: Server, case: Case) -> None:
    back = []
    with rounds_meanwhile(engine, case):
        for _ in range(20):
            time.sleep(2.5)
            server.kill()
            time.sleep(0.2)
            server.start()
            back.append(until(lambda: connected(engine)))
    until(lambda: len(server.client().keys("homehelper:*")) >= 6)
    case.notes["reconnected_after_s"] = f"median {statistics.median(back):.2f} most {max(back):.2f}"
    case.notes |= order(sequences(server.client()))
    case.notes["keys_back"] = sorted(
        str(key, "utf-8") if isinstance(key, bytes) else key for key in server.client().keys("homehelper:*")
    )


def stopped_10_seconds(engine: EngineProcess, server: Server, case: Case) -> None:
    first = sequences(server.client())[-1]
    server.signal(signal.SIGSTOP)
    began = time.monotonic()
    try:
        while time.monotonic() - began < 10:
            one_round(engine, case)
            time.sleep(0.1)
    finally:
        server.signal(signal.SIGCONT)
    until(lambda: connected(engine) and not engine.client.redis()["buffered"])
    case.notes |= order([first, *(number for number in sequences(server.client()) if number > first)])


def flushed(engine: EngineProcess, server: Server, case: Case) -> None:
    for _ in range(ROUNDS):
        one_round(engine, case)
    before = sorted(server.client().keys("homehelper:*"))
    server.client().flushall()
    case.notes["keys_back_after_s"] = round(
        until(lambda: len(server.client().keys("homehelper:*")) >= len(before) - 1, within=120), 1
    )


def wrong_password(engine: EngineProcess, server: Server, case: Case) -> None:
    for _ in range(ROUNDS):
        one_round(engine, case)
    case.notes["error"] = engine.client.redis()["error"]


def out_of_memory(engine: EngineProcess, server: Server, case: Case) -> None:
    client = server.client()
    for size in (4096, 256, 1):
        with contextlib.suppress(redis.ResponseError):
            for number in range(100_000):
                client.set(f"filler:{size}:{number}", "x" * size)
    for _ in range(ROUNDS):
        one_round(engine, case)
    case.notes["error"] = engine.client.redis()["error"]
    case.notes["connected"] = connected(engine)


def flooded(engine: EngineProcess, server: Server, case: Case) -> None:
    flood = subprocess.Popen([sys.executable, "-c", FLOOD, str(server.port)])
    try:
        time.sleep(1)
        before = server.client().info("stats")["total_commands_processed"]
        began = time.monotonic()
        for _ in range(ROUNDS):
            one_round(engine, case)
            time.sleep(0.1)
        sent = server.client().info("stats")["total_commands_processed"] - before
        case.notes["messages_a_second"] = round(sent / (time.monotonic() - began))
    finally:
        flood.kill()
        flood.wait()
    case.notes |= order(sequences(server.client()))


CASES: dict[str, tuple[Callable[[EngineProcess, Server, Case], None], tuple[str, ...]]] = {
    "quiet": (quiet, ()),
    "killed 20 times": (killed_20_times, ()),
    "SIGSTOP 10 s": (stopped_10_seconds, ()),
    "FLUSHALL": (flushed, ()),
    "wrong password": (wrong_password, ("--requirepass", "right")),
    "maxmemory": (out_of_memory, ("--maxmemory", "3mb", "--maxmemory-policy", "noeviction")),
    "10,000 a second": (flooded, ()),
}


def measure(name: str, folder: Path) -> Case:
    work, options = CASES[name]
    server = Server(folder / "redis", *options)
    access: dict[str, Any] = {"host": "127.0.0.1", "port": server.port, "embedded": "never"}
    if name == "wrong password":
        access["password"] = "wrong"
    root = make_home(folder / "home", redis=access)
    make_app(root, "web", restart={"policy": "never"})
    case = Case()
    server.start()
    try:
        with engine_process(root) as engine:
            if name != "wrong password":
                until(lambda: connected(engine))
            one_round(engine, Case())  # the first start also makes the app's folders
            work(engine, server, case)
            case.rss_mb = engine.client.engine()["rss_mb"]
    finally:
        with contextlib.suppress(ProcessLookupError):
            server.signal(signal.SIGCONT)
        server.kill()
    return case


def main() -> None:
    for name in sys.argv[1:] or CASES:
        with tempfile.TemporaryDirectory(prefix="hh-redis-") as folder:
            print(json.dumps({name: measure(name, Path(folder)).figures()}), flush=True)


if __name__ == "__main__":
    main()
