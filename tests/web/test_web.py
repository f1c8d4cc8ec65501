"""The interface in a browser: a real textual-serve, asked as a browser and as an attacker would."""

from __future__ import annotations

import json
import os
import re
import signal
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path

import aiohttp
import pytest

from hhtui.cli.web import MOST_PAGES
from tests.engine.engine_process import EngineProcess, end_home, eventually
from tests.engine.homes import free_ports, make_app, make_home, processes_with

HHTUI = [sys.executable, "-P", "-m", "hhtui"]


class Web:
    """``hhtui --web`` on a home with an engine; ``url`` is what it printed."""

    def __init__(self, engine: EngineProcess, *more: str) -> None:
        self.engine = engine
        self.port = free_ports(1)
        self.process = subprocess.Popen(
            [*HHTUI, "--home", str(engine.root), *more, "--web", str(self.port)],
            stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True, start_new_session=True,
        )  # fmt: skip
        assert self.process.stdout is not None
        self.url = self.process.stdout.readline().strip()
        self.origin = f"http://127.0.0.1:{self.port}"
        self.socket = self.url.replace("http", "ws", 1) + "ws"

    def children(self) -> list[int]:
        """The interfaces that run for open pages."""
        return processes_with(f"hhtui.tui.run\0{self.engine.root}")

    def end(self) -> None:
        if self.process.poll() is None:
            self.process.terminate()
        self.process.communicate(timeout=60)


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProcess]:
    root = make_home(tmp_path / "home")
    make_app(root, "lamp")
    engine = EngineProcess(root)
    try:
        yield engine.start()
    finally:
        end_home(engine)


@pytest.fixture
def served(engine: EngineProcess) -> Iterator[Web]:
    web = Web(engine)
    yield web
    web.end()


async def shown(socket: aiohttp.ClientWebSocketResponse, words: str, seconds: float = 60) -> str:
    """Read until the words were drawn."""
    text = ""
    deadline = time.monotonic() + seconds
    while words not in text:
        message = await socket.receive(timeout=max(deadline - time.monotonic(), 0.1))
        assert message.type in (aiohttp.WSMsgType.BINARY, aiohttp.WSMsgType.TEXT), f"{message.type}: {text[-500:]}"
        data = message.data
        text += data.decode("utf-8", "replace") if isinstance(data, bytes) else data
    return text


async def test_the_page_shows_the_interface_which_only_attaches_and_ends_with_the_page(served: Web) -> None:
    assert re.fullmatch(rf"http://127\.0\.0\.1:{served.port}/[\w-]{{32}}/", served.url)
    async with aiohttp.ClientSession() as browser:
        async with browser.get(served.url) as page:
            text = await page.text()
            # A cookie would be sent to every port of this machine.
            assert page.status == 200 and "Set-Cookie" not in page.headers
            assert "connect-src 'self'" in page.headers["Content-Security-Policy"]
        socket_url = re.search(r'data-session-websocket-url="([^"]+)"', text)
        assert socket_url is not None, text[:2000]
        async with browser.get(f"{served.url}static/js/textual.js") as script:
            assert script.status == 200
        async with browser.ws_connect(f"{socket_url[1]}?width=100&height=30", origin=served.origin) as socket:
            await shown(socket, "lamp")
            await socket.send_json(["stdin", "s"])
            eventually(lambda: served.engine.client.app("lamp")["status"] == "running", 60)
            await socket.send_json(["nonsense"])
            await socket.send_json(["stdin", "q"])
            while (await socket.receive(timeout=20)).type not in (aiohttp.WSMsgType.CLOSE, aiohttp.WSMsgType.CLOSED):
                pass
    eventually(lambda: not served.children(), 60)
    assert served.engine.client.app("lamp")["status"] == "running"


async def test_v_opens_an_apps_page_in_a_tab_of_the_browser_that_shows_the_interface(served: Web) -> None:
    make_app(served.engine.root, "lamp", endpoints={"health": None, "ui": "/"})
    port = served.engine.client.command("lamp", "start", wait=20)["runtime_info"]["assigned_port"]
    async with aiohttp.ClientSession() as browser:
        async with browser.ws_connect(f"{served.socket}?width=100&height=30", origin=served.origin) as socket:
            await shown(socket, "running")
            await socket.send_json(["stdin", "v"])
            reported = await shown(socket, '["open_url"')
            order = json.loads(reported[reported.index('["open_url"') :])
            assert order[0] == "open_url" and order[1]["url"].endswith(f":{port}") and order[1]["new_tab"]


async def test_without_the_key_from_another_site_or_by_another_name_nothing_is_served(served: Web) -> None:
    key = served.url.split("/")[3]
    nearly = key[:-1] + ("x" if key[-1] != "x" else "y")
    async with aiohttp.ClientSession() as browser:
        for path in ("/", "/ws", "/static/js/textual.js", f"/{nearly}/", f"/{key}x/", f"/x/{key}/ws", f"/?key={key}"):
            async with browser.get(served.origin + path) as answer:
                assert answer.status == 403, path
        for headers in (
            {"Host": "evil.example"},
            {"Host": f"evil.example:{served.port}"},
            {"Origin": "http://evil.example"},
            {"Origin": "null"},
            {"Origin": "http://127.0.0.1:1"},
        ):
            async with browser.get(served.url, headers=headers) as answer:
                assert answer.status == 403, headers
        with pytest.raises(aiohttp.WSServerHandshakeError):
            await browser.ws_connect(f"{served.socket}", origin="http://evil.example")
    assert served.children() == []


@pytest.mark.parametrize("number", [signal.SIGINT, signal.SIGTERM, signal.SIGKILL])
async def test_whatever_ends_the_server_its_interfaces_end_too(served: Web, number: signal.Signals) -> None:
    async with aiohttp.ClientSession() as browser:
        socket = await browser.ws_connect(f"{served.socket}?width=80&height=24", origin=served.origin)
        await shown(socket, "lamp")
        assert len(served.children()) >= 1
        os.kill(served.process.pid, number)
        eventually(lambda: served.process.poll() is not None, 60)
        eventually(lambda: not served.children(), 60)
        await socket.close()
    _, said = served.process.communicate(timeout=60)
    assert "Traceback" not in said
    assert served.engine.client.health()["pid"]


async def test_read_only_changes_nothing(engine: EngineProcess) -> None:
    web = Web(engine, "--read-only")
    try:
        async with aiohttp.ClientSession() as browser:
            async with browser.ws_connect(f"{web.socket}?width=100&height=30", origin=web.origin) as socket:
                await shown(socket, "lamp")
                await socket.send_json(["stdin", "s"])
                await shown(socket, "only watches")
        assert engine.client.app("lamp")["status"] == "discovered"
    finally:
        web.end()


def test_without_an_engine_or_with_a_taken_port_it_says_so_in_one_line(engine: EngineProcess, tmp_path: Path) -> None:
    def said(*arguments: str) -> tuple[int, str]:
        done = subprocess.run([*HHTUI, *arguments], capture_output=True, text=True, timeout=30, check=False)
        return done.returncode, done.stderr

    code, words = said("--home", str(tmp_path / "nothing"), "--web")
    assert (code, len(words.splitlines())) == (3, 1) and "no engine runs" in words
    code, words = said("--home", str(engine.root), "--web", "70000")
    assert (code, len(words.splitlines())) == (2, 1)
    web = Web(engine)
    try:
        code, words = said("--home", str(engine.root), "--web", str(web.port))
        assert (code, len(words.splitlines())) == (1, 1) and "another port" in words
    finally:
        web.end()


async def test_more_pages_than_the_machine_can_carry_are_refused_until_one_is_closed(served: Web) -> None:
    address = f"{served.socket}?width=80&height=24"
    async with aiohttp.ClientSession() as browser:
        pages = [await browser.ws_connect(address, origin=served.origin) for _ in range(MOST_PAGES)]
        with pytest.raises(aiohttp.WSServerHandshakeError, match="503"):
            await browser.ws_connect(address, origin=served.origin)
        async with browser.get(served.url) as answer:
            assert answer.status == 503 and f"{MOST_PAGES} pages are open" in await answer.text()
        await pages[0].close()
        deadline = time.monotonic() + 60
        while True:
            async with browser.get(served.url) as answer:
                if answer.status == 200:
                    break
            assert time.monotonic() < deadline
        async with browser.ws_connect(address, origin=served.origin) as again:
            await shown(again, "lamp")
        for page in pages[1:]:
            await page.close()
