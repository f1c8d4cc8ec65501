"""An app that may use the engine's API: it writes what it hears over its socket into its data folder, over and over."""

from __future__ import annotations

import http.client
import json
import os
import socket
import time
from pathlib import Path

DATA = Path(os.environ["HOMEHELPER_DATA_DIR"])
SOCKET = Path(os.environ["HOMEHELPER_SOCKET"])


class Connection(http.client.HTTPConnection):
    def connect(self) -> None:
        # Its path may be longer than an address can be.
        os.chdir(SOCKET.parent)
        self.sock = socket.socket(socket.AF_UNIX)
        self.sock.connect(SOCKET.name)


def ask(method: str, path: str, body: str | None = None) -> tuple[int, object]:
    connection = Connection("hh", timeout=20)
    connection.request(method, path, body)
    answer = connection.getresponse()
    return answer.status, json.loads(answer.read())


def put(name: str, content: object) -> None:
    (DATA / f".{name}").write_text(json.dumps(content))
    (DATA / f".{name}").rename(DATA / name)


sockets = [str(path) for path in SOCKET.parent.parent.rglob("*") if path.is_socket()]
put("sockets", sockets)
for order in (DATA / "orders").read_text().splitlines() if (DATA / "orders").exists() else ():
    put(order.split()[1].replace("/", "_"), ask(*order.split(maxsplit=2)))
while True:
    try:
        put("engine", ask("GET", "/health")[1])
    except OSError as error:
        put("engine", {"pid": None, "error": str(error)})
    time.sleep(0.05)
