"""Whether redis-cli, redis-py and Node's redis read the same events, as an app on the private server.

Run: python -m benchmarks.event_subscribers  (needs redis-cli, node and npm; npm fetches the package `redis`)
"""

from __future__ import annotations

import contextlib
import json
import shutil
import subprocess
import sys
import tempfile
import threading
import time
from pathlib import Path
from urllib.parse import unquote, urlsplit

import redis

from tests.engine.engine_process import EngineProcess, engine_process
from tests.engine.homes import make_app, make_home

ROUNDS = 10
NODE = """
import { createClient } from "redis";
const client = createClient({ url: process.argv[2] });
await client.connect();
await client.pSubscribe("homehelper:*", (text, channel) => console.log(JSON.stringify([channel, text])));
console.error("ready");
"""
Seen = list[tuple[str, int]]


def url_of(engine: EngineProcess, app_id: str) -> str:
    """The URL that the running app was given."""
    pid = int(engine.client.app(app_id)["runtime_info"]["process_id"])
    variables = Path(f"/proc/{pid}/environ").read_bytes().split(b"\0")
    return next(v.split(b"=", 1)[1].decode() for v in variables if v.startswith(b"REDIS_URL="))


def note(seen: Seen, channel: str, text: str) -> None:
    """Keep the channel and the engine's own number of the event; ours is the only engine there."""
    event = json.loads(text)
    if event["event_type"] != "metrics":
        seen.append((channel, event["metadata"]["sequence"]))


def read_python(url: str, seen: Seen, ready: threading.Event) -> None:
    subscriber = redis.Redis.from_url(url).pubsub()  # type: ignore[no-untyped-call]
    subscriber.psubscribe("homehelper:*")
    with contextlib.suppress(redis.ConnectionError):  # the server ends with the engine
        for message in subscriber.listen():
            if message["type"] == "psubscribe":
                ready.set()
            elif message["type"] == "pmessage":
                note(seen, message["channel"].decode(), message["data"].decode())


def read_cli(process: subprocess.Popen[str], seen: Seen, ready: threading.Event) -> None:
    """redis-cli in a pipe prints four lines a message: pmessage, pattern, channel, text."""
    assert process.stdout is not None
    lines = iter(process.stdout)
    for line in lines:
        if line.strip() == "psubscribe":
            next(lines)
            next(lines)
            ready.set()
        elif line.strip() == "pmessage":
            next(lines)
            note(seen, next(lines).strip(), next(lines))


def read_node(process: subprocess.Popen[str], seen: Seen, ready: threading.Event) -> None:
    assert process.stdout is not None
    assert process.stderr is not None
    assert process.stderr.readline().strip() == "ready"
    ready.set()
    for line in process.stdout:
        note(seen, *json.loads(line))


def main() -> None:
    missing = [name for name in ("redis-cli", "node", "npm") if shutil.which(name) is None]
    if missing:
        sys.exit(f"skipped: there is no {', '.join(missing)}")
    with tempfile.TemporaryDirectory(prefix="hh-subscribers-") as temporary:
        folder = Path(temporary)
        install = ["npm", "install", "--silent", "--no-fund", "--no-audit", "--prefix", temporary, "redis"]
        subprocess.run(install, check=True)
        (folder / "subscriber.mjs").write_text(NODE)
        root = make_home(folder / "home", redis={"embedded": "always"})
        make_app(root, "listener")
        make_app(root, "web", restart={"policy": "never"})
        with engine_process(root) as engine:
            engine.client.command("listener", "start", wait=20)
            url = url_of(engine, "listener")
            parts = urlsplit(url)
            cli = subprocess.Popen(
                ["redis-cli", "-h", str(parts.hostname), "-p", str(parts.port), "--user", unquote(parts.username or ""),
                 "--no-auth-warning", "psubscribe", "homehelper:*"],
                stdout=subprocess.PIPE, text=True, env={"REDISCLI_AUTH": unquote(parts.password or "")},
            )  # fmt: skip
            node = subprocess.Popen(
                ["node", str(folder / "subscriber.mjs"), url], stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True
            )
            seen: dict[str, Seen] = {"redis-py": [], "redis-cli": [], "node": []}
            ready = {name: threading.Event() for name in seen}
            for target, argument, name in (
                (read_python, url, "redis-py"), (read_cli, cli, "redis-cli"), (read_node, node, "node")
            ):  # fmt: skip
                threading.Thread(target=target, args=(argument, seen[name], ready[name]), daemon=True).start()
            for event in ready.values():
                assert event.wait(20)
            for found in seen.values():
                found.clear()  # one was ready before the other
            for _ in range(ROUNDS):
                for verb in ("start", "stop"):
                    engine.client.command("web", verb, wait=20)
            time.sleep(1)
            read = {name: list(found) for name, found in seen.items()}
            cli.kill()
            node.kill()
        counts = {name: len(found) for name, found in read.items()}
        same = read["redis-py"] == read["redis-cli"] == read["node"]
        print(json.dumps({"read": counts, "the_same_in_the_same_order": same}))
        sys.exit(0 if same and counts["node"] >= ROUNDS * 8 else 1)


if __name__ == "__main__":
    main()
