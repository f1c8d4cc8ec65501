"""Visitors of a gateway, and apps that say what they were asked."""

from __future__ import annotations

import http.client
import json
import socket
import ssl
import sys
from pathlib import Path
from typing import Any, NamedTuple

from tests.engine.engine_process import EngineProcess, eventually
from tests.engine.homes import free_ports, make_home

# Answers with what it was asked as JSON, and echoes on a WebSocket.
SCRIPT = """
import base64, hashlib, http.server, json, os

class Handler(http.server.BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"

    def do_GET(self):
        if self.headers.get("Upgrade", "").lower() == "websocket":
            return self.echo()
        length = int(self.headers.get("Content-Length") or 0)
        asked = {"app": os.environ["HOMEHELPER_APP_ID"], "pid": os.getpid(), "path": self.path, "method": self.command,
                 "headers": {name.lower(): value for name, value in self.headers.items()},
                 "body": self.rfile.read(length).decode(), "peer": self.client_address[0]}
        body = json.dumps(asked).encode()
        self.send_response(200)
        self.send_header("Content-Length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_POST = do_GET

    def echo(self):
        key = self.headers["Sec-WebSocket-Key"] + "258EAFA5-E914-47DA-95CA-C5AB0DC85B11"
        self.send_response(101)
        self.send_header("Upgrade", "websocket")
        self.send_header("Connection", "Upgrade")
        self.send_header("Sec-WebSocket-Accept", base64.b64encode(hashlib.sha1(key.encode()).digest()).decode())
        self.end_headers()
        self.wfile.flush()
        self.close_connection = True
        while data := self.connection.recv(4096):
            self.connection.sendall(data)

    def log_message(self, *arguments):
        pass

http.server.ThreadingHTTPServer((os.environ.get("HOST", ""), int(os.environ["PORT"])), Handler).serve_forever()
"""


class Reply(NamedTuple):
    """What a visitor got; ``asked`` is what the app says it was asked."""

    status: int
    headers: http.client.HTTPMessage
    text: str

    @property
    def asked(self) -> dict[str, Any]:
        return json.loads(self.text)

    @property
    def cookie(self) -> str:
        """The cookie that was set, as a browser sends it back."""
        return (self.headers["Set-Cookie"] or "").partition(";")[0]


def visit(
    port: int,
    host: str,
    path: str = "/",
    *,
    method: str = "GET",
    body: str | None = None,
    source: str = "127.0.0.1",
    tls: ssl.SSLContext | None = None,
    **headers: str,
) -> Reply:
    """Ask the gateway for a page of ``host``, from an address of this machine; names are underscored headers."""
    connection = http.client.HTTPConnection("127.0.0.1", port, timeout=30, source_address=(source, 0))
    if tls is not None:
        connection.connect()
        connection.sock = tls.wrap_socket(connection.sock, server_hostname=host)
    try:
        named = {name.replace("_", "-"): value for name, value in headers.items()}
        connection.request(method, path, body, {"Host": f"{host}:{port}", **named})
        answer = connection.getresponse()
        return Reply(answer.status, answer.headers, answer.read().decode())
    finally:
        connection.close()


def add_app(home: Path, app_id: str, **manifest: Any) -> Path:
    """An app whose page says what it was asked."""
    folder = home / "apps" / app_id
    folder.mkdir(parents=True)
    (folder / "app.py").write_text(SCRIPT)
    document = {
        "name": app_id.title(),
        "type": "service",
        "endpoints": {"ui": "/", "health": None},
        "command": [sys.executable, "app.py"],
        "autostart": True,
        **manifest,
    }
    (folder / "homehelper.json").write_text(json.dumps(document))
    return folder


def gateway_home(root: Path, **gateway: Any) -> tuple[Path, int]:
    """A home whose gateway is on, without names in the network, and its port."""
    port = free_ports(2)
    settings = {"enabled": True, "http_port": port, "https_port": port + 1, "names": False, **gateway}
    return make_home(root, gateway=settings), port


def up(engine: EngineProcess, **wanted: Any) -> dict[str, Any]:
    """The gateway's status once it is up, and as ``wanted``."""

    def look() -> dict[str, Any] | None:
        status = engine.client.gateway()
        return status if status["state"] == "up" and wanted.items() <= status.items() else None

    return eventually(look, what="the gateway is up")


def open_websocket(port: int, host: str, **headers: str) -> socket.socket:
    """An open WebSocket of the app's page."""
    connection = socket.create_connection(("127.0.0.1", port), timeout=30)
    more = "".join(f"{name.replace('_', '-')}: {value}\r\n" for name, value in headers.items())
    connection.sendall(
        f"GET /ws HTTP/1.1\r\nHost: {host}:{port}\r\nUpgrade: websocket\r\nConnection: Upgrade\r\n{more}"
        "Sec-WebSocket-Version: 13\r\nSec-WebSocket-Key: AAAAAAAAAAAAAAAAAAAAAA==\r\n\r\n".encode()
    )
    head = b""
    while b"\r\n\r\n" not in head:
        head += (data := connection.recv(4096))
        assert data, head
    assert head.startswith(b"HTTP/1.1 101"), head
    return connection


def echoes(connection: socket.socket) -> bool:
    """Whether the WebSocket is still open to the app."""
    frame = b"\x81\x02hi"
    connection.sendall(frame)
    got = b""
    # Caddy passes it on in pieces, now and then its first byte alone.
    while len(got) < len(frame) and (data := connection.recv(4096)):
        got += data
    return got == frame
