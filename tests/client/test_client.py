"""What the clients say when there is no engine, a silent one, a foreign one, or another version of it."""

from __future__ import annotations

import asyncio
import contextlib
import os
import socket
import threading
from collections.abc import Callable, Iterator
from concurrent.futures import ThreadPoolExecutor
from pathlib import Path

import pytest

from hhtui import __version__
from hhtui.client.engine_start import Attached, EngineStartError, children, ensure_engine
from hhtui.client.link import EngineLink
from hhtui.client.sync import EngineClient
from hhtui.client.wire import EngineRefusedError, EngineSilentError, EventParser, call, error_of, quote, skew
from hhtui.errors import HomeHelperError, NoEngineError, NotFoundError
from hhtui.model import operations
from hhtui.paths import Home
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import alive, make_home


@pytest.fixture
def listener(tmp_path: Path) -> Iterator[Callable[[bytes | None], Path]]:
    """Something else on the engine's socket: answers with the given bytes, None not at all."""
    held = socket.socket(socket.AF_UNIX)
    path = tmp_path / "run" / "engine.sock"
    path.parent.mkdir()
    held.bind(str(path))
    held.listen(8)
    connections: list[socket.socket] = []

    def listen(answer: bytes | None) -> Path:
        def serve() -> None:
            with contextlib.suppress(OSError):
                while True:
                    connection, _ = held.accept()
                    connections.append(connection)
                    if answer is not None:
                        connection.recv(65536)
                        connection.sendall(answer)
                        connection.close()

        threading.Thread(target=serve, daemon=True).start()
        return path

    yield listen
    held.shutdown(socket.SHUT_RDWR)
    held.close()
    for connection in connections:
        connection.close()


def failure(path: Path, timeout: float = 5) -> HomeHelperError:
    """What both clients raise; they must agree."""
    with pytest.raises(HomeHelperError) as blocking:
        EngineClient(path, timeout=timeout).apps()
    with pytest.raises(HomeHelperError) as concurrent:
        asyncio.run(EngineLink(path, timeout=timeout).apps())
    assert type(blocking.value) is type(concurrent.value)
    assert blocking.value.message == concurrent.value.message
    return blocking.value


def test_no_engine_tells_how_to_start_one(tmp_path: Path) -> None:
    error = failure(tmp_path / "run" / "engine.sock")
    assert isinstance(error, NoEngineError)
    assert str(tmp_path) in error.message
    assert "hhtui engine start" in error.message


def test_a_socket_that_a_killed_engine_left_is_no_engine(tmp_path: Path) -> None:
    path = tmp_path / "run" / "engine.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as gone:
        gone.bind(str(path))
    assert isinstance(failure(path), NoEngineError)


def test_a_socket_of_another_user_is_told_as_such(tmp_path: Path) -> None:
    path = tmp_path / "run" / "engine.sock"
    path.parent.mkdir()
    with socket.socket(socket.AF_UNIX) as held:
        held.bind(str(path))
        held.listen()
        path.chmod(0)
        assert "permission denied" in as_nobody(lambda: failure(path).message)


def as_nobody(act: Callable[[], str]) -> str:
    """What ``act`` answers in a process without privileges: root may open everything."""
    if os.geteuid() != 0:
        return act()
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setuid(65534)
            os.write(writing, act().encode())
        finally:
            os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as answer:
        words = answer.read().decode()
    os.waitpid(child, 0)
    return words


def test_an_engine_that_hangs_is_told_after_the_time_limit(listener: Callable[[bytes | None], Path]) -> None:
    error = failure(listener(None), timeout=0.2)
    assert isinstance(error, EngineSilentError)
    assert "does not answer" in error.message
    assert "main.log" in error.message


JSON = b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\n"


@pytest.mark.parametrize(
    ("answer", "words"),
    [
        (b"SSH-2.0-OpenSSH_9.6\r\n\r\n", "no engine"),
        (b"", "ended before it answered"),
        (b"HTTP/1.0 200 OK\r\nContent-Type: application/json\r\nContent-Length: 100\r\n\r\n[", "middle of an answer"),
        (JSON + b"\r\n{nonsense", "no JSON"),
        (JSON + b"\r\n{}", "not the list"),
        (b"HTTP/1.0 500 Oops\r\nContent-Type: text/html\r\n\r\n<h1>", "status 500"),
        (b"x" * 200_000, "no engine"),
    ],
)
def test_an_answer_that_is_none_is_one_clear_line(
    listener: Callable[[bytes | None], Path], answer: bytes, words: str
) -> None:
    error = failure(listener(answer))
    assert words in error.message
    assert "\n" not in error.message


def test_an_error_of_a_newer_engine_keeps_its_words() -> None:
    error = error_of(418, {"error": "teapot", "message": "short\x1b[31m and stout", "details": {"message": 1, "a": 2}})
    assert isinstance(error, EngineRefusedError)
    assert (error.slug, error.http_status, error.details) == ("teapot", 418, {"a": 2})
    assert "\x1b" not in error.message


def test_another_version_is_told_and_the_same_is_not() -> None:
    assert skew(__version__) is None
    assert skew(None) is None
    assert "9.9.9" in (skew("9.9.9") or "")


@pytest.mark.parametrize("text", ["a b/c?d#e%", "ü\ud800"[:1], "..", "\n"])
def test_whatever_stands_in_a_path_is_quoted(text: str) -> None:
    from urllib.parse import unquote

    assert unquote(quote(text)) == text
    assert quote(text).isascii()
    assert not set(quote(text)) & set("/?# \n")


def test_the_event_parser_takes_any_split_of_the_bytes() -> None:
    data = b': hello\nretry: 5\n\nid: 1-1\nevent: error\ndata: {"id": "1-1"}\n\nid: 1-2\ndata: {"id":\ndata: "1-2"}\n\n'
    for size in range(1, len(data) + 1):
        parser = EventParser()
        found = []
        for start in range(0, len(data), size):
            found += parser.feed(data[start : start + size])
        assert [message["id"] for message in found] == ["1-1", "1-2"]
        assert parser.last_id == "1-2"


# Bringing an engine up.


@pytest.fixture
def home(tmp_path: Path) -> Iterator[Home]:
    root = make_home(tmp_path / "home")
    yield Home.at(root, environ={})
    client = EngineClient(Home.at(root, environ={}).engine_socket)
    with contextlib.suppress(HomeHelperError):
        client.stop_engine()
    for child in children:
        child.wait(60)
    children.clear()
    end_home(EngineProcess(root))


def test_an_engine_is_started_detached_and_then_attached_to(home: Home) -> None:
    told: list[str] = []
    first = ensure_engine(home, told.append)
    assert first.started
    assert told
    pid = first.health["pid"]
    assert os.getsid(pid) == pid
    assert os.readlink(f"/proc/{pid}/fd/0") == os.devnull
    assert os.readlink(f"/proc/{pid}/fd/1") == os.devnull
    second = ensure_engine(home)
    assert (second.started, second.health["pid"]) == (False, pid)


def test_of_two_that_start_at_once_one_starts_and_one_attaches(home: Home) -> None:
    with ThreadPoolExecutor(3) as pool:
        attached: list[Attached] = [future.result() for future in [pool.submit(ensure_engine, home) for _ in range(3)]]
    assert len({one.health["pid"] for one in attached}) == 1
    assert alive(attached[0].health["pid"])
    for child in children:
        if child.pid != attached[0].health["pid"]:
            assert child.wait(60) == 4


def test_an_engine_that_dies_while_it_starts_tells_its_last_words(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    (root / "logs").write_text("in the way")
    with pytest.raises(EngineStartError, match="logs"):
        ensure_engine(Home.at(root, environ={}))


def test_a_home_that_cannot_be_written_is_one_line(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    with pytest.raises(EngineStartError, match="cannot be created"):
        ensure_engine(Home.at(tmp_path / "file" / "home", environ={}))


@pytest.mark.parametrize("name", ["", ".", "..", "../x", "a/b", "/"])
@pytest.mark.parametrize("operation", [operations.BRING_BACK, operations.REMOVE_CATALOG, operations.CANCEL_JOB])
def test_a_name_that_no_path_can_carry_is_said_to_be_none(operation: operations.Operation, name: str) -> None:
    with pytest.raises(NotFoundError, match="a name is one word without /"):
        call(operation, name=name)
