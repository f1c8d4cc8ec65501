"""``hhtui --web``: the interface in a browser on this machine, through textual-serve; it only attaches."""

from __future__ import annotations

import asyncio
import hmac
import logging
import os
import secrets
import shlex
import signal
import sys
import time
from typing import TYPE_CHECKING, Any

import psutil

from hhtui.cli.console import Console
from hhtui.client.sync import EngineClient
from hhtui.errors import HomeHelperError
from hhtui.paths import Home

if TYPE_CHECKING:
    from aiohttp import web

DEFAULT_PORT = 8010
HOST = "127.0.0.1"
# Each is an interface of its own, of some 40 MB.
MOST_PAGES = 4
# How long open pages have to end.
_FAREWELL_SECONDS = 3.0
_TOO_MANY = f"{MOST_PAGES} pages are open, and no more are shown at once: close one, then load this one again\n"
_NAMES = ("127.0.0.1", "localhost", "[::1]")
# What the page may load: its own files, and no font from elsewhere. W3C, Content Security Policy Level 3.
_POLICY = (
    "default-src 'none'; script-src 'self' 'unsafe-inline'; style-src 'self' 'unsafe-inline'; "
    "img-src 'self' data:; font-src 'self'; connect-src 'self' ws://{host}; frame-ancestors 'none'; base-uri 'none'"
)


def run_web(home: Home, console: Console, *, port: int, read_only: bool) -> int:
    """Serve the home's interface on loopback until Ctrl-C or SIGTERM; the exit code.

    NoEngineError: none runs, and this starts none. HomeHelperError: textual-serve is not installed, or the port is not
    free. Who opens the page must have the address with its key, which is printed.
    """
    EngineClient(home.engine_socket).health()
    try:
        import aiohttp_jinja2
        import jinja2
        import textual_serve.server as serving
        from aiohttp import web
    except ImportError:
        raise HomeHelperError("hhtui --web needs textual-serve: pipx install 'hhtui[web]'") from None
    key = secrets.token_urlsafe(24)
    words = [
        sys.executable,
        "-P",
        "-m",
        "hhtui.tui.run",
        str(home.root),
        *(["--read-only"] if read_only else []),
    ]

    class Server(serving.Server):
        """With a key, for loopback names alone, and with nothing from elsewhere."""

        def initialize_logging(self) -> None:
            # What a page sends that makes no sense is not worth a traceback on the terminal.
            logging.getLogger("textual-serve").setLevel(logging.CRITICAL)
            logging.getLogger("aiohttp").setLevel(logging.CRITICAL)

        _open_pages = 0

        async def handle_websocket(self, request: web.Request) -> web.WebSocketResponse:
            if self._open_pages >= MOST_PAGES:
                raise web.HTTPServiceUnavailable(text=_TOO_MANY)
            self._open_pages += 1
            try:
                return await super().handle_websocket(request)
            finally:
                self._open_pages -= 1

        async def handle_index(self, request: web.Request) -> Any:
            if self._open_pages >= MOST_PAGES:
                raise web.HTTPServiceUnavailable(text=_TOO_MANY)
            # By whatever name it is reached: an ssh -L may end at localhost.
            self.public_url = f"http://{request.host}"
            return await super().handle_index(request)

    @web.middleware
    async def guard(request: web.Request, handler: Any) -> web.StreamResponse:
        if refusal := _refusal(request.host, request.headers.get("Origin")):
            return web.Response(status=403, text=refusal)
        if not _same(request.path.split("/")[1], key):
            return web.Response(status=403, text="open the address with its key, as hhtui --web printed it\n")
        answer: web.StreamResponse = await handler(request)
        if not answer.prepared:
            answer.headers["Content-Security-Policy"] = _POLICY.format(host=request.host)
            answer.headers["Referrer-Policy"] = "no-referrer"
            answer.headers["Cache-Control"] = "no-store"
            answer.headers["X-Content-Type-Options"] = "nosniff"
        return answer

    server = Server(shlex.join(words), host=HOST, port=port, title=f"HomeHelper {home.root}")

    def application() -> web.Application:
        pages = web.Application()
        aiohttp_jinja2.setup(pages, loader=jinja2.FileSystemLoader(server.templates_path))
        pages.add_routes(
            [
                web.get("/", server.handle_index, name="index"),
                web.get("/ws", server.handle_websocket, name="websocket"),
                web.get("/download/{key}", server.handle_download, name="download"),
                web.static("/static", server.statics_path, show_index=True, name="static"),
            ]
        )
        pages.on_shutdown.append(server.on_shutdown)
        # The key is part of every path. In a cookie every other port of this machine would be sent it, too.
        app = web.Application(middlewares=[guard])
        app.add_subapp(f"/{key}/", pages)
        return app

    async def serve() -> None:
        server.initialize_logging()
        over = asyncio.Event()
        for number in (signal.SIGINT, signal.SIGTERM, signal.SIGHUP):
            asyncio.get_running_loop().add_signal_handler(number, over.set)
        runner = web.AppRunner(application(), shutdown_timeout=_FAREWELL_SECONDS, access_log=None)
        await runner.setup()
        try:
            await web.TCPSite(runner, HOST, port).start()
            console.data(f"http://{HOST}:{port}/{key}/")
            console.flush()
            console.words("open that address in a browser on this machine; Ctrl-C ends it, the apps run on")
            await over.wait()
        finally:
            await runner.cleanup()
            await _children_ended()

    try:
        asyncio.run(serve())
    except OSError as error:
        reason = os.strerror(error.errno) if error.errno else str(error)
        raise HomeHelperError(f"{HOST}:{port}: {reason}; `hhtui --web PORT` takes another port") from None
    return 0


async def _children_ended() -> None:
    """Wait until the pages' interfaces have ended: asyncio closes their pipes while the loop still runs."""
    this = psutil.Process()
    deadline = time.monotonic() + _FAREWELL_SECONDS
    while this.children() and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    # What waits for the children is called by the loop.
    await asyncio.sleep(0.05)


def _refusal(host: str, origin: str | None) -> str | None:
    """Why a request is not served: another name for this machine (DNS rebinding), or another site's page."""
    if host.rpartition(":")[0] not in _NAMES and host not in _NAMES:
        return "this server answers to 127.0.0.1 and localhost alone\n"
    if origin is not None and origin != f"http://{host}":
        return "a page of another site may not use this\n"
    return None


def _same(given: str, key: str) -> bool:
    return hmac.compare_digest(given.encode("utf-8", "replace"), key.encode())
