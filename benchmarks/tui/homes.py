"""Homes with a running engine for the interface to show."""

from __future__ import annotations

import contextlib
import sys
from collections.abc import Iterator
from pathlib import Path

from tests.engine.engine_process import EngineProcess, engine_process
from tests.engine.homes import make_app, make_home

# A line each 200 ms, as an app with some traffic prints.
LOGGING = 'n=0; while :; do n=$((n+1)); echo "request $n from 192.168.1.7 took 12 ms"; sleep 0.2; done'
# 10,000 lines and 1,000 messages a second, in steps of 10 ms: redis.io's RESP, spoken plainly.
FLOODING = """
import os, socket, sys, time
from urllib.parse import unquote, urlsplit
url = urlsplit(os.environ["REDIS_URL"])
link = socket.create_connection((url.hostname, url.port))
def encoded(*words):
    return b"*%d\\r\\n" % len(words) + b"".join(b"$%d\\r\\n%s\\r\\n" % (len(w), w) for w in map(str.encode, words))
link.sendall(encoded("AUTH", unquote(url.username or "default"), unquote(url.password or "")))
link.recv(100)
message = encoded("PUBLISH", "homehelper:events:flood", '{"reading": 21.5, "unit": "C"}') * 10
start, steps, lines = time.monotonic(), 0, 0
while True:
    sys.stdout.write("".join(f"flood line {lines + n} with some words behind it\\n" for n in range(100)))
    sys.stdout.flush()
    lines += 100
    link.sendall(message)
    got = 0
    while got < 10:
        got += link.recv(65536).count(b"\\r\\n")
    steps += 1
    if (ahead := start + steps * 0.01 - time.monotonic()) > 0:
        time.sleep(ahead)
"""


@contextlib.contextmanager
def home_with(root: Path, apps: int, *, logging: bool = False, flooding: bool = False) -> Iterator[EngineProcess]:
    """An engine with ``apps`` apps: twenty of them run and sleep, ``a-log`` prints, ``a-flood`` floods log and bus."""
    make_home(
        root, ports=min(apps, 40) + 5, redis={"embedded": "always"} if flooding else {}, metrics_interval_seconds=60
    )
    for number in range(apps):
        make_app(root, f"app{number:04d}", autostart=number < 20)
    if logging:
        make_app(root, "a-log", LOGGING, autostart=True)
    if flooding:
        make_app(root, "a-flood", command=[sys.executable, "-c", FLOODING])
    with engine_process(root) as engine:
        for number in range(min(apps, 20)):
            engine.wait_status(f"app{number:04d}", "running", timeout=60)
        if logging:
            engine.wait_status("a-log", "running", timeout=60)
        yield engine
