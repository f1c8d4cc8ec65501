"""The API's own description is true: schemathesis asks a live engine whatever it allows, and checks every answer."""

from __future__ import annotations

import contextlib
import http.client
import socket
import threading
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from unittest.mock import Mock

import jsonschema_rs
import pytest
import schemathesis
from hypothesis import HealthCheck, Phase, given, settings
from hypothesis import strategies as st
from schemathesis.checks import not_a_server_error
from schemathesis.specs.openapi.checks import (
    content_type_conformance,
    response_schema_conformance,
    status_code_conformance,
)

from hhtui.engine.api.answers import Caller
from hhtui.engine.api.routes import api_handlers
from hhtui.engine.api.stream import OpenStreams
from hhtui.model.operations import OPERATIONS, Access, Operation
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import free_ports, make_app, make_home
from tests.fuzz.hostile import FACTOR

CHECKS = (not_a_server_error, status_code_conformance, content_type_conformance, response_schema_conformance)
# No answer of the API takes longer, whatever is asked; a stop waits for its app.
STALL_SECONDS = 8.0
# Would end the engine, or never end; the description itself is asked for by every test.
LEFT_OUT = {"/api/v1/engine/stop", "/api/v1/engine/reload", "/api/v1/events", "/api/v1/openapi.json"}
# Sections whose values are folders, programs to run and addresses to call, on the machine that tests.
NOT_FOR_CHANCE = ("process_manager", "alerts", "backup")
# One worker has the engine for all of them.
pytestmark = pytest.mark.xdist_group("openapi")


class Forwarder:
    """Connections to a port of this machine, forwarded to a Unix socket: schemathesis speaks TCP alone."""

    def __init__(self, target: Path) -> None:
        self._target = str(target)
        self._listener = socket.create_server(("127.0.0.1", 0))
        self.url = f"http://127.0.0.1:{self._listener.getsockname()[1]}"
        threading.Thread(target=self._accept, daemon=True).start()

    def _accept(self) -> None:
        while True:
            try:
                client, _ = self._listener.accept()
            except OSError:
                return
            engine = socket.socket(socket.AF_UNIX)
            engine.connect(self._target)
            for source, sink in ((client, engine), (engine, client)):
                threading.Thread(target=self._copy, args=(source, sink), daemon=True).start()

    @staticmethod
    def _copy(source: socket.socket, sink: socket.socket) -> None:
        with contextlib.suppress(OSError):
            while data := source.recv(65536):
                sink.sendall(data)
        with contextlib.suppress(OSError):
            sink.shutdown(socket.SHUT_WR)

    def close(self) -> None:
        self._listener.close()


@pytest.fixture(scope="module")
def engine(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    port = free_ports(1)
    root = make_home(tmp_path_factory.mktemp("openapi") / "home", system={"main_port": port})
    (root / "export.port").write_text(str(port))
    make_app(root, "web", "echo hello; exec sleep 1000", autostart=True)
    make_app(root, "crasher", "exit 1")
    (root / "apps" / "broken").mkdir()
    (root / "apps" / "broken" / "homehelper.json").write_text('{"name": 1}')
    process = EngineProcess(root)
    try:
        process.start()
        process.wait_status("web", "running")
        yield process
    finally:
        end_home(process)


@pytest.fixture(scope="module")
def url(engine: EngineProcess) -> Iterator[str]:
    forwarder = Forwarder(engine.home.engine_socket)
    yield forwarder.url
    forwarder.close()


@pytest.fixture(scope="module")
def description(url: str) -> Any:
    return schemathesis.openapi.from_url(f"{url}/api/v1/openapi.json")


def tame(case: Any, app_id: str | None) -> None:
    """Keep what chance has made from the machine's files, and half of the time let it be about an app that exists."""
    if app_id is not None and "app_id" in (case.path_parameters or {}):
        # One app has to be there afterwards.
        removes = case.operation.path.endswith("/remove") and app_id == "web"
        case.path_parameters["app_id"] = "crasher" if removes else app_id
    if isinstance(case.query, dict) and "wait" in case.query:
        case.query["wait"] = "0.2"
    if isinstance(case.body, dict):
        for section in NOT_FOR_CHANCE:
            case.body.pop(section, None)
        if "file" in case.body:
            case.body["file"] = "/nonexistent/backup.tar.gz"
        for name in ("source", "url"):
            if isinstance(case.body.get(name), str):
                case.body[name] = "file:///nonexistent/repository"


def test_whatever_the_description_allows_is_answered_as_it_says(engine: EngineProcess, description: Any) -> None:
    asked: dict[str, int] = {}
    slowest = (0.0, "")
    deadline = time.monotonic() + 22 * max(FACTOR, 1)
    for result in description.get_all_operations():
        operation = result.ok()
        if operation.path in LEFT_OUT:
            continue

        @settings(
            max_examples=20 * max(FACTOR, 1),
            deadline=None,
            database=None,
            derandomize=not FACTOR,
            phases=[Phase.generate],
            suppress_health_check=list(HealthCheck),
        )
        @given(case=operation.as_strategy(), app_id=st.sampled_from(["web", "crasher", "broken", None]))
        def ask(case: Any, app_id: str | None) -> None:
            nonlocal slowest
            name = f"{case.method} {case.operation.path}"
            if time.monotonic() > deadline and name in asked:
                return
            tame(case, app_id)
            began = time.monotonic()
            case.call_and_validate(checks=CHECKS, timeout=STALL_SECONDS)
            slowest = max(slowest, (time.monotonic() - began, name))
            asked[name] = asked.get(name, 0) + 1

        ask()
    described = {f"{row.method} {row.path}" for row in OPERATIONS if row.path not in LEFT_OUT}
    assert described == asked.keys(), "each operation was asked at least once"
    print(f"{sum(asked.values())} requests, the slowest {slowest[0]:.2f} s ({slowest[1]})")
    assert engine.process is not None and engine.process.poll() is None
    assert engine.client.health()["pid"] == engine.process.pid


def test_every_document_on_the_way_is_valid_openapi(engine: EngineProcess, description: Any) -> None:
    assert description.raw_schema["openapi"] == "3.1.0"
    description.validate()
    # The read-only export describes itself, too: without what it cannot do.
    port = (engine.root / "export.port").read_text()
    export = schemathesis.openapi.from_url(f"http://127.0.0.1:{port}/api/v1/openapi.json")
    described = {(method.upper(), path) for path, found in export.raw_schema["paths"].items() for method in found}
    assert described == {(row.method, row.path) for row in OPERATIONS if row.access is Access.EXPORT}
    assert {method for method, _ in described} == {"GET"}


@pytest.mark.parametrize("name", ["metrics", "event"])
def test_what_the_engine_says_fits_the_published_schema(engine: EngineProcess, name: str) -> None:
    from hhtui.model.json_schema import SCHEMAS

    validator = jsonschema_rs.validator_for(SCHEMAS[name]())
    if name == "metrics":
        documents = [engine.client.metrics()]
    else:
        messages = engine.client.events(follow=False)
        documents = [message["event"] for message in messages if message.get("event")]
    assert documents
    for document in documents:
        validator.validate(document)


def test_every_operation_has_a_handler_and_every_handler_an_operation() -> None:
    for access in Access:
        assert api_handlers(Mock(), Caller(access), streams=OpenStreams(1)).keys() == set(OPERATIONS)
    assert len({(row.method, row.path) for row in OPERATIONS}) == len(OPERATIONS)


@pytest.mark.parametrize("row", OPERATIONS, ids=lambda row: f"{row.method} {row.path}")
def test_the_export_answers_what_the_table_lets_it_answer(engine: EngineProcess, row: Operation) -> None:
    path = row.path.format(app_id="web", name="app")
    address = ("127.0.0.1", int((engine.root / "export.port").read_text()))
    with contextlib.closing(http.client.HTTPConnection(*address, timeout=10)) as connection:
        connection.request(row.method, path)
        status = connection.getresponse().status
    if row.access is Access.EXPORT:
        assert status == 200
    else:
        assert status == (404 if row.method == "GET" else 405)


def test_a_wrong_method_is_answered_with_those_that_the_path_takes(engine: EngineProcess, url: str) -> None:
    for path in dict.fromkeys(row.path for row in OPERATIONS):
        with contextlib.closing(http.client.HTTPConnection(url.removeprefix("http://"), timeout=10)) as connection:
            connection.request("DELETE", path.format(app_id="web", name="app"))
            answer = connection.getresponse()
        assert answer.status == 405
        allowed = set((answer.getheader("Allow") or "").split(", "))
        assert allowed - {"HEAD"} == {row.method for row in OPERATIONS if row.path == path}
