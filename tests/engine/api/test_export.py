"""The read-only export on TCP: nothing can be changed, nothing secret is told, no web page can read it."""

from __future__ import annotations

import socket
from pathlib import Path

import pytest

from hhtui.engine.api.guard import is_this_machine
from hhtui.engine.engine import Engine
from tests.engine.api.bare_http import exchange, with_body
from tests.engine.api.conftest import Served
from tests.engine.homes import make_home

NAME = socket.gethostname()


@pytest.mark.parametrize(
    "path",
    ["/health", "/metrics", "/api/v1/apps", "/api/v1/apps/web", "/api/v1/system/metrics", "/api/v1/system/redis",
     "/api/v1/config", "/api/v1/engine", "/api/v1/apps/homehelper/logs", "/api/v1/apps/homehelper/logs/main"],
)  # fmt: skip
async def test_everything_can_be_read(served: Served, path: str) -> None:
    answer = await served.ask(f"GET {path}", export=True)
    assert answer.status == 200
    assert answer.headers["x-content-type-options"] == "nosniff"
    assert "access-control-allow-origin" not in answer.headers


@pytest.mark.parametrize(
    "request_",
    [
        "POST /api/v1/apps/web/start",
        "POST /api/v1/engine/stop",
        "POST /api/v1/engine/reload",
        with_body("PATCH /api/v1/config", b"{}").replace(b"Host: hh", b"Host: localhost"),
        "DELETE /api/v1/apps/web",
        "OPTIONS /api/v1/apps",
    ],
)
async def test_nothing_can_be_changed(served: Served, request_: str | bytes) -> None:
    answer = await served.ask(request_, export=True)
    assert (answer.status, answer.json["error"]) == (405, "method_not_allowed")
    assert not served.engine.stopped.is_set()
    assert served.engine.app("web").status == "discovered"


async def test_no_secret_leaves_the_machine(served: Served) -> None:
    await served.link.patch_config({"redis": {"password": "geheim-passwort"}})
    await served.link.command("secretive", "start", wait=20)
    for path in ("apps", "apps/secretive", "config", "engine", "system/metrics", "system/redis", "events?follow=0"):
        answer = await served.ask(f"GET /api/v1/{path}", export=True)
        assert answer.status == 200
        assert b"geheim" not in answer.body, path
    assert b"geheim" not in (await served.ask("GET /metrics", export=True)).body
    record = (await served.ask("GET /api/v1/apps/secretive", export=True)).json
    assert record["manifest"]["environment"] == {"TOKEN": "********"}
    assert "my_own_field" not in record["manifest"]


@pytest.mark.parametrize(
    "lines",
    [
        "Host: evil.example",
        "Host: evil.example:8000",
        "Host: localhost.evil.example",
        "Host: 192.0.2.7:8000",
        "Host: 0.0.0.0",
        "Host: [2001:db8::1]",
        "Host: user@evil.example",
        "Host: localhost@evil.example",
        "Host: ",
        "Host: localhost\nOrigin: http://evil.example",
        "Host: localhost\nOrigin: https://localhost.evil.example",
        "Host: localhost\nOrigin: null",
        "Host: localhost\nOrigin: file://",
    ],
)
async def test_a_web_page_of_another_host_is_refused(served: Served, lines: str) -> None:
    answer = await served.ask(f"GET /api/v1/apps\n{lines}", export=True)
    assert (answer.status, answer.json["error"]) == (403, "foreign_host")
    assert b"app_id" not in answer.body


@pytest.mark.parametrize(
    "host",
    ["localhost", "LOCALHOST:8000", "127.0.0.1", "127.0.0.1:8000", "127.9.9.9", "[::1]:8000", NAME, NAME.upper(),
     f"{NAME}.local", f"{NAME.partition('.')[0]}.local:8000", "localhost."],
)  # fmt: skip
async def test_this_machines_own_names_are_served(served: Served, host: str) -> None:
    answer = await served.ask(f"GET /health\nHost: {host}\nOrigin: http://{host}", export=True)
    assert answer.status == 200


@pytest.mark.parametrize(
    ("host", "local", "own"),
    [
        ("192.168.1.5:8000", "192.168.1.5", True),
        ("192.168.1.5:8000", "192.168.1.6", False),
        ("192.168.1.5", "::ffff:192.168.1.5", True),
        ("[fe80::1]", "fe80::1%eth0", True),
        ("[fe80::1%25eth0]:80", "fe80::1", True),
        ("[::ffff:127.0.0.1]", "10.0.0.1", True),
        ("127.1", "127.0.0.1", False),
        ("[::1", "::1", False),
        ("localhost/evil", "127.0.0.1", False),
        ("2130706433", "127.0.0.1", False),
    ],
)
def test_an_address_is_own_if_the_connection_came_in_on_it(host: str, local: str, own: bool) -> None:
    assert is_this_machine(host, local) is own


async def test_http_1_0_without_a_host_is_refused(served: Served) -> None:
    answer = await served.ask(b"GET /api/v1/apps HTTP/1.0\r\n\r\n", export=True)
    assert answer.status == 403


async def test_the_unix_socket_takes_any_host(served: Served) -> None:
    assert (await served.ask("GET /health\nHost: whatever.example")).status == 200


async def test_head_is_answered_without_a_body(served: Served) -> None:
    answer = await served.ask("HEAD /api/v1/apps", export=True)
    assert (answer.status, answer.body) == (200, b"")


async def test_a_taken_port_is_a_problem_and_no_end(tmp_path: Path) -> None:
    with socket.socket() as taken:
        taken.bind(("127.0.0.1", 0))
        taken.listen()
        port = taken.getsockname()[1]
        home = make_home(tmp_path / "home", system={"main_port": port})
        async with Engine(home) as engine:
            problem = next(line for line in engine.about.info().problems if "export" in line)
            assert f"127.0.0.1:{port}" in problem
            assert "system.main_port" in problem
            answer = await exchange(engine.home.engine_socket, "GET /health")
            assert answer.json["health"] == "warning"


async def test_port_0_turns_the_export_off(tmp_path: Path) -> None:
    async with Engine(make_home(tmp_path / "home")) as engine:
        assert engine.about.info().problems == []
        assert engine.server.export_address is None


async def test_a_host_that_is_none_is_a_problem_and_no_end(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home", system={"main_port": 1, "host": "no.such.host.invalid"})
    async with Engine(home) as engine:
        assert any("no.such.host.invalid" in line for line in engine.about.info().problems)
