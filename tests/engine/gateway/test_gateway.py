"""Apps reached by their names, with a real Caddy."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from urllib.parse import quote, urlsplit

import pytest

from tests.engine.engine_process import EngineProcess, end_home, engine_process, eventually
from tests.engine.gateway.visitors import add_app, echoes, gateway_home, open_websocket, up, visit
from tests.engine.homes import alive

HOST = f"{socket.gethostname().partition('.')[0].lower()}.local"
PAGE = {"Accept": "text/html"}
PASSWORD = "correct horse"


@pytest.fixture
def home(tmp_path: Path) -> tuple[Path, int]:
    return gateway_home(tmp_path / "home")


@pytest.fixture(scope="module")
def opened(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EngineProcess, int]]:
    """A home whose visitors are asked for nothing."""
    root, port = gateway_home(tmp_path_factory.mktemp("opened") / "home")
    add_app(root, "lamp")
    add_app(root, "my_other-app")
    with engine_process(root) as engine:
        up(engine)
        for app_id in ("lamp", "my_other-app"):
            engine.wait_status(app_id, "running")
        eventually(lambda: visit(port, "lamp.local").status == 200)
        yield engine, port


def test_an_app_is_reached_by_its_name_and_gets_no_header_that_only_the_gateway_may_set(
    opened: tuple[EngineProcess, int],
) -> None:
    engine, port = opened
    forged = {"X_HomeHelper_User": "root", "X-Homehelper-Ask": "enter", "X_Forwarded_For": "6.6.6.6"}
    asked = visit(port, "lamp.local", "/a/b?c=d", method="POST", body="hello", source="127.0.0.9", **forged).asked
    assert (asked["app"], asked["path"], asked["method"], asked["body"]) == ("lamp", "/a/b?c=d", "POST", "hello")
    assert asked["headers"]["x-forwarded-for"] == "127.0.0.9"
    assert not [name for name in asked["headers"] if "homehelper" in name]
    assert visit(port, "LAMP.local.").asked["app"] == "lamp"
    assert visit(port, "my-other-app.local").asked["app"] == "my_other-app"
    # The path leads to the app's own name, and to its port who came by no name.
    assert visit(port, HOST, "/apps/lamp/x?y=z").headers["Location"] == f"http://lamp.local:{port}/x?y=z"
    app_port = engine.client.app("lamp")["runtime_info"]["assigned_port"]
    assert visit(port, "192.168.1.9", "/apps/lamp/x").headers["Location"] == f"http://192.168.1.9:{app_port}/x"
    assert visit(port, HOST, "/apps/nobody/").status == 404
    assert ">Lamp</a>" in visit(port, HOST).text
    assert engine.client.app("lamp")["runtime_info"]["name_url"] == f"http://lamp.local:{port}/"


def test_a_stopped_app_shows_why(opened: tuple[EngineProcess, int]) -> None:
    engine, port = opened
    engine.client.command("lamp", "stop", wait=20)
    page = eventually(lambda: (reply := visit(port, "lamp.local", **PAGE)).status == 503 and reply)
    assert "Lamp is not running" in page.text and "stopped by the user" in page.text
    assert "text/html" not in visit(port, "lamp.local").headers["Content-Type"]
    engine.client.command("lamp", "start", wait=20)
    eventually(lambda: visit(port, "lamp.local").status == 200)


def test_a_websocket_stays_open_while_apps_come_and_caddy_is_told_of_them(opened: tuple[EngineProcess, int]) -> None:
    engine, port = opened
    connection = open_websocket(port, "lamp.local")
    assert echoes(connection)
    add_app(engine.root, "door")
    eventually(lambda: visit(port, "door.local").status == 200)
    assert echoes(connection)
    connection.close()


def test_a_killed_caddy_is_back_within_two_seconds_nobody_is_refused_and_apps_are_untouched(
    opened: tuple[EngineProcess, int],
) -> None:
    engine, port = opened
    pid = up(engine)["pid"]
    app = visit(port, "lamp.local").asked["pid"]
    os.kill(pid, signal.SIGKILL)
    began = time.monotonic()
    reply = visit(port, "lamp.local")
    assert reply.status == 200 and reply.asked["pid"] == app
    assert time.monotonic() - began < 2
    assert up(engine)["pid"] != pid


def test_a_sleeping_app_wakes_by_its_name_and_sleeps_though_the_gateway_keeps_connections(
    home: tuple[Path, int],
) -> None:
    root, port = home
    add_app(root, "nap", on_demand=True, streamlit_ttl_seconds=3)
    with engine_process(root) as engine:
        up(engine)
        engine.wait_status("nap", "waiting")
        # A monitor wakes nobody, by the gateway as little as at its port.
        assert visit(port, "nap.local", "/healthz").status == 503
        assert engine.client.app("nap")["status"] == "waiting"
        reply = visit(port, "nap.local", source="127.0.0.7", X_Forwarded_For="6.6.6.6", **PAGE)
        assert reply.status == 503 and "waking up" in reply.text
        eventually(lambda: visit(port, "nap.local", source="127.0.0.7").status == 200)
        connection = open_websocket(port, "nap.local", X_Forwarded_For="6.6.6.6")
        log = root / "logs" / "nap" / "access.log"
        eventually(lambda: " 127.0.0.1 joined" in log.read_text())
        time.sleep(4)  # longer than it would be left alone
        assert echoes(connection)
        connection.close()
        engine.wait_status("nap", "waiting", timeout=40)
        lines = [line.split(" ", 1)[1] for line in log.read_text().splitlines()]
        assert lines[0] == "127.0.0.7 woke"
        assert lines[-1] == "127.0.0.1 left"
        assert not [line for line in lines if "127.0.0.80" in line or "6.6.6.6" in line]


def test_a_killed_engine_leaves_the_gateway_to_the_next_and_one_that_stops_ends_it(home: tuple[Path, int]) -> None:
    root, port = home
    add_app(root, "lamp")
    with engine_process(root) as engine:
        pid = up(engine)["pid"]
        engine.wait_status("lamp", "running")
        eventually(lambda: visit(port, "lamp.local").status == 200)
        engine.kill()
        assert visit(port, "lamp.local").status == 200
        engine.start()
        assert up(engine)["pid"] == pid
        # The one that was taken over is started again with sockets of the new engine's.
        os.kill(pid, signal.SIGKILL)
        again = eventually(lambda: (now := up(engine)["pid"]) != pid and now)
        eventually(lambda: _answers(port))
        # One that nobody wants any more when the next engine comes is ended.
        engine.kill()
        config = root / "config" / "config.json"
        config.write_text(config.read_text().replace('"enabled": true', '"enabled": false'))
        engine.start()
        eventually(lambda: not alive(again))
        again = engine.client.switch_gateway({"enabled": True}, 60)["pid"]
        engine.terminate()
        assert not alive(again)
        with pytest.raises(ConnectionRefusedError):
            visit(port, "lamp.local")


def _answers(port: int) -> bool:
    try:
        return visit(port, "lamp.local").status == 200
    except ConnectionError:
        return False


def test_the_gateway_is_off_until_it_is_turned_on_and_says_what_it_cannot_open(tmp_path: Path) -> None:
    root, port = gateway_home(tmp_path / "home", enabled=False)
    add_app(root, "lamp")
    with engine_process(root) as engine, socket.socket() as stranger:
        assert engine.client.gateway()["state"] == "off"
        assert not (root / "run" / "gateway").exists()
        stranger.bind(("0.0.0.0", port))
        stranger.listen()
        status = engine.client.switch_gateway({"enabled": True}, 60)
        if status["state"] == "up":  # 8080 was free
            assert status["http_port"] == 8080
            assert any(str(port) in note and "8080" in note for note in status["notes"])
        else:
            assert str(port) in status["problem"] and "8080" in status["problem"]
        stranger.close()
        engine.client.switch_gateway({"enabled": False}, 60)
        assert engine.client.switch_gateway({"enabled": True}, 60)["http_port"] == port
        assert oct((root / "run" / "gateway" / "admin.sock").stat().st_mode & 0o777) == "0o600"
        assert oct((root / "run" / "gateway").stat().st_mode & 0o777) == "0o700"
        assert engine.client.switch_gateway({"enabled": False}, 60)["state"] == "off"


def test_a_caddy_of_the_system_that_is_too_old_is_passed_over(home: tuple[Path, int], tmp_path: Path) -> None:
    root, port = home
    add_app(root, "lamp")
    old = tmp_path / "bin" / "caddy"
    old.parent.mkdir()
    old.write_text("#!/bin/sh\necho 'unknown flag' >&2\nexit 2\n")
    old.chmod(0o755)
    with engine_process(root, environ={**os.environ, "PATH": f"{old.parent}:{os.environ['PATH']}"}) as engine:
        status = up(engine)
        assert status["program"] != str(old) and status["program"].endswith("/caddy")
        engine.wait_status("lamp", "running")
        eventually(lambda: visit(port, "lamp.local").status == 200)


@pytest.fixture(scope="module")
def guarded(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EngineProcess, int]]:
    """A home whose visitors are asked for a password."""
    root, port = gateway_home(tmp_path_factory.mktemp("guarded") / "home")
    add_app(root, "lamp", config={"public_routes": ["/open", "/hook/"]})
    add_app(root, "door")
    add_app(root, "free")
    (root / "config" / "apps").mkdir()
    (root / "config" / "apps" / "free.json").write_text('{"public": true}')
    with engine_process(root) as engine:
        engine.client.set_gateway_password(PASSWORD)
        up(engine)
        for app_id in ("lamp", "door", "free"):
            engine.wait_status(app_id, "running")
        eventually(lambda: visit(port, "free.local").status == 200)
        yield engine, port


def log_in(port: int, name: str, path: str = "/", source: str = "127.0.0.1") -> tuple[str, str, str]:
    """Log in as a browser does: the cookie of the host, the ticket's address and the cookie of the app's name."""
    first = visit(port, name, path, source=source, **PAGE)
    assert first.status == 302
    where = urlsplit(first.headers["Location"])
    assert where.hostname == HOST
    login = f"{where.path}?{where.query}"
    assert "password" in visit(port, HOST, login, source=source, **PAGE).text
    form = {"Content_Type": "application/x-www-form-urlencoded"}
    second = visit(port, HOST, login, method="POST", body=f"password={quote(PASSWORD)}", source=source, **form, **PAGE)
    assert second.status == 302
    ticket = urlsplit(second.headers["Location"])
    assert ticket.hostname == name
    third = visit(port, name, f"{ticket.path}?{ticket.query}", source=source, **PAGE)
    assert (third.status, third.headers["Location"]) == (302, path)
    for reply in (second, third):
        assert "HttpOnly" in reply.headers["Set-Cookie"] and "Domain" not in reply.headers["Set-Cookie"]
    return second.cookie, f"{ticket.path}?{ticket.query}", third.cookie


def test_a_visitor_logs_in_once_and_a_single_use_ticket_takes_him_to_each_name(
    guarded: tuple[EngineProcess, int],
) -> None:
    _, port = guarded
    assert visit(port, "lamp.local").status == 401
    host_cookie, ticket, cookie = log_in(port, "lamp.local", "/page?a=b")
    asked = visit(port, "lamp.local", "/page", Cookie=f"mine=1; {cookie}; other=2").asked
    assert asked["headers"]["x-homehelper-user"] == "owner"
    assert asked["headers"]["cookie"] == "mine=1; other=2"
    # At another name he is let in by the session at the host, without the password.
    first = urlsplit(visit(port, "door.local", **PAGE).headers["Location"])
    second = urlsplit(visit(port, HOST, f"{first.path}?{first.query}", Cookie=host_cookie, **PAGE).headers["Location"])
    third = visit(port, "door.local", f"{second.path}?{second.query}", **PAGE)
    assert visit(port, "door.local", Cookie=third.cookie).asked["headers"]["x-homehelper-user"] == "owner"
    # What was used is used up; a ticket and a cookie are of one name and one visitor.
    assert "Set-Cookie" not in visit(port, "lamp.local", ticket).headers
    assert visit(port, "door.local", Cookie=cookie).status == 401
    assert visit(port, "lamp.local", Cookie=host_cookie).status == 401
    assert visit(port, "lamp.local", source="127.0.0.8", Cookie=cookie).status == 401
    assert visit(port, "lamp.local", Cookie=cookie[:-2] + "xx").status == 401
    assert visit(port, "lamp.local", X_HomeHelper_User="owner").status == 401


def test_a_login_leads_to_no_other_site(guarded: tuple[EngineProcess, int]) -> None:
    _, port = guarded
    host_cookie, _, _ = log_in(port, "lamp.local")
    for elsewhere in ("http://evil.example/", "//evil.example", "http://lamp.local@evil.example/", "javascript:x"):
        reply = visit(port, HOST, f"/.homehelper/login?to={quote(elsewhere, safe='')}", Cookie=host_cookie, **PAGE)
        assert reply.headers["Location"] == "/"
    reply = visit(
        port, HOST, f"/.homehelper/login?to={quote('http://lamp.local//evil.example/', safe='')}", Cookie=host_cookie
    )
    ticket = urlsplit(reply.headers["Location"])
    assert visit(port, "lamp.local", f"{ticket.path}?{ticket.query}").headers["Location"] == "/evil.example/"


def test_what_a_form_or_a_header_cannot_hold_is_answered_without_a_fault(guarded: tuple[EngineProcess, int]) -> None:
    engine, port = guarded
    many = "&".join(f"f{number}={number}" for number in range(50))
    assert visit(port, HOST, f"/.homehelper/login?{many}", **PAGE).status == 200
    assert visit(port, HOST, "/.homehelper/login", method="POST", body=many, source="127.0.0.68").status == 403
    assert visit(port, "lamp.local", f"/.homehelper/enter?{many}").headers["Location"] == "/"
    host_cookie, _, _ = log_in(port, "lamp.local", source="127.0.0.1")
    strange = quote("http://lamp.local/é\r\nX: y/\x00?ü=\U0001f4a1", safe="")
    reply = visit(port, HOST, f"/.homehelper/login?to={strange}", Cookie=host_cookie, **PAGE)
    ticket = urlsplit(reply.headers["Location"])
    arrived = visit(port, "lamp.local", f"{ticket.path}?{ticket.query}")
    assert arrived.status == 302 and arrived.headers["Location"].startswith("/%C3%A9")
    assert "X" not in arrived.headers
    assert "Traceback" not in engine.home.engine_log.read_text()


def test_public_routes_and_public_apps_need_no_login_and_lead_to_nothing_else(
    guarded: tuple[EngineProcess, int],
) -> None:
    _, port = guarded
    for path in ("/open", "/open/x?y", "/hook", "/hook/a/b"):
        reply = visit(port, "lamp.local", path)
        assert reply.status == 200 and "x-homehelper-user" not in reply.asked["headers"]
    for path in (
        "/",
        "/opened",
        "/open/../x",
        "/open/%2e%2e/x",
        "/open%2f..%2fx",
        "/open//../x",
        "/open\\..\\x",
        "/hoo",
    ):
        assert visit(port, "lamp.local", path).status == 401, path
    assert visit(port, "free.local", "/anything").status == 200


def test_wrong_passwords_are_limited_for_each_visitor(guarded: tuple[EngineProcess, int]) -> None:
    _, port = guarded

    def guess(password: str, source: str) -> int:
        return visit(port, HOST, "/.homehelper/login", method="POST", body=f"password={password}", source=source).status

    assert [guess(f"wrong{number}", "127.0.0.66") for number in range(4)] == [403] * 4
    assert guess("wrong", "127.0.0.66") == 429
    assert guess(quote(PASSWORD), "127.0.0.66") == 429
    assert guess(quote(PASSWORD), "127.0.0.67") == 302


def test_another_password_ends_all_sessions_and_none_lets_everybody_in(tmp_path: Path) -> None:
    root, port = gateway_home(tmp_path / "home")
    add_app(root, "lamp")
    with engine_process(root) as engine:
        up(engine)
        engine.wait_status("lamp", "running")
        engine.client.set_gateway_password(PASSWORD)
        status = up(engine, login=True)
        assert status["apps"][0]["open_port"] == engine.client.app("lamp")["runtime_info"]["assigned_port"]
        eventually(lambda: visit(port, "lamp.local").status == 401)
        _, _, cookie = log_in(port, "lamp.local")
        engine.kill()
        engine.start()
        up(engine)
        # An app that was just ready is asked once more whether it is.
        eventually(lambda: visit(port, "lamp.local", Cookie=cookie).status == 200)
        secret = (root / "config" / "gateway" / "login.json").read_text()
        assert (
            PASSWORD not in secret
            and oct((root / "config" / "gateway" / "login.json").stat().st_mode & 0o777) == "0o600"
        )
        engine.client.set_gateway_password("another password")
        assert visit(port, "lamp.local", Cookie=cookie).status == 401
        engine.client.set_gateway_password(None)
        eventually(lambda: visit(port, "lamp.local").status == 200)


def test_with_tls_names_have_certificates_of_the_homes_own_authority(tmp_path: Path) -> None:
    root, port = gateway_home(tmp_path / "home", tls="internal")
    add_app(root, "lamp")
    with engine_process(root) as engine:
        status = up(engine)
        engine.wait_status("lamp", "running")
        assert status["https_port"] == port + 1 and status["certificate_url"]
        certificate = visit(port, HOST, "/.homehelper/certificate.crt").text
        trusting = ssl.create_default_context(cadata=certificate)
        secure = eventually(lambda: _secure(port + 1, trusting))
        assert secure.asked["headers"]["x-forwarded-proto"] == "https"
        assert visit(port, "lamp.local", "/x?y").headers["Location"] == f"https://lamp.local:{port + 1}/x?y"
        assert "certificate.crt" in visit(port, HOST, "/.homehelper/certificate").text
        with pytest.raises(ssl.SSLCertVerificationError):
            visit(port + 1, "lamp.local", tls=ssl.create_default_context())
        # Certificates of an authority that stays the same.
        engine.client.switch_gateway({"enabled": False}, 60)
        fingerprint = engine.client.switch_gateway({"enabled": True}, 60)["fingerprint"]
        assert fingerprint == status["fingerprint"] or status["fingerprint"] is None
        engine.client.set_gateway_password(PASSWORD)
        eventually(lambda: visit(port + 1, "lamp.local", tls=trusting).status == 401)
        moved = visit(port + 1, "lamp.local", tls=trusting, **PAGE).headers["Location"]
        assert moved.startswith(f"https://{HOST}:{port + 1}/.homehelper/login")


@pytest.mark.skipif(not shutil.which("openssl"), reason="openssl is not installed")
def test_an_own_certificate_is_used_and_read_anew_after_its_renewal(tmp_path: Path) -> None:
    root, port = gateway_home(tmp_path / "home", tls="own", certificate="own.pem", key="own.key")
    add_app(root, "lamp")
    _make_certificate(root)
    with engine_process(root) as engine:
        up(engine)
        engine.wait_status("lamp", "running")
        first = ssl.create_default_context(cadata=(root / "own.pem").read_text())
        eventually(lambda: _secure(port + 1, first))
        _make_certificate(root)
        engine.client.switch_gateway({"enabled": True}, 60)
        second = ssl.create_default_context(cadata=(root / "own.pem").read_text())
        eventually(lambda: _secure(port + 1, second))
        assert _secure(port + 1, first) is None


def _make_certificate(folder: Path) -> None:
    names = ["-subj", "/CN=lamp.local", "-addext", "subjectAltName=DNS:lamp.local"]
    files = ["-keyout", str(folder / "own.key"), "-out", str(folder / "own.pem")]
    kind = ["-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256", "-nodes", "-days", "2"]
    subprocess.run(["openssl", "req", *kind, *names, *files], check=True, capture_output=True)


def _secure(port: int, trusting: ssl.SSLContext) -> object:
    try:
        reply = visit(port, "lamp.local", tls=trusting)
    except (ssl.SSLError, ConnectionError):
        return None
    return reply if reply.status == 200 else None


def test_with_gateway_only_apps_listen_for_the_gateway_alone_and_pass_no_login_by_their_ports(tmp_path: Path) -> None:
    root, port = gateway_home(tmp_path / "home", only=True)
    add_app(root, "lamp")
    with engine_process(root) as engine:
        up(engine)
        engine.wait_status("lamp", "running")
        eventually(lambda: visit(port, "lamp.local").status == 200)
        engine.client.set_gateway_password(PASSWORD)
        assert up(engine, only=True)["apps"][0]["open_port"] is None
        app_port = engine.client.app("lamp")["runtime_info"]["assigned_port"]
        with pytest.raises(ConnectionRefusedError), socket.create_connection(("127.0.0.99", app_port)):
            pass
        assert visit(port, "10.0.0.9", "/apps/lamp/").headers["Location"] == f"http://lamp.local:{port}/"


def test_with_gateway_only_a_sleeping_app_is_woken_by_the_gateway_alone(tmp_path: Path) -> None:
    root, port = gateway_home(tmp_path / "home", only=True)
    add_app(root, "lamp", on_demand=True)
    with engine_process(root) as engine:
        up(engine)
        engine.wait_status("lamp", "waiting")
        app_port = engine.client.app("lamp")["runtime_info"]["assigned_port"]

        def answers(host: str) -> bool:
            try:
                socket.create_connection((host, app_port), timeout=30).close()
            except (ConnectionRefusedError, ConnectionResetError):  # reset: as it stopped listening there
                return False
            return True

        eventually(lambda: answers("127.0.0.1"))
        assert not answers("127.0.0.99")
        engine.client.patch_config({"gateway": {"only": False}})
        eventually(lambda: answers("127.0.0.99"))
        engine.client.patch_config({"gateway": {"only": True}})
        eventually(lambda: answers("127.0.0.1") and not answers("127.0.0.99"))
        eventually(lambda: visit(port, "lamp.local").status == 200)


# As systemd starts a service with a socket unit (sd_listen_fds(3)).
_BY_SYSTEMD = """
import os, socket, sys
port, *command = sys.argv[1:]
listener = socket.create_server(("0.0.0.0", int(port)))
os.dup2(listener.fileno(), 3)
os.set_inheritable(3, True)
os.environ |= {"LISTEN_PID": str(os.getpid()), "LISTEN_FDS": "1", "LISTEN_FDNAMES": "gateway"}
os.execv(command[0], command)
"""


def test_caddy_gets_the_socket_that_systemd_opened_over_a_reload_too_and_no_app_has_it(home: tuple[Path, int]) -> None:
    root, port = home
    add_app(root, "lamp")
    engine = EngineProcess(root)
    command = [sys.executable, "-P", "-m", "hhtui", "--engine-only", "--home", str(root)]
    try:
        with (root / "engine.stderr").open("ab") as errors:
            engine.process = subprocess.Popen(
                [sys.executable, "-c", _BY_SYSTEMD, str(port), *command], stdout=errors, stderr=errors
            )
        engine.answers()
        status = up(engine)
        assert status["http_port"] == port and status["notes"] == []
        pid = engine.wait_status("lamp", "running")["runtime_info"]["process_id"]
        eventually(lambda: visit(port, "lamp.local").status == 200)
        listening = _sockets_on(port)
        assert listening and not listening & _sockets_of(int(pid))
        assert listening <= _sockets_of(status["pid"])
        engine.client.reload_engine()
        eventually(lambda: engine.client.engine()["reloads"] == 1)
        assert up(engine)["pid"] == status["pid"]
        # The next image has it still.
        os.kill(status["pid"], signal.SIGKILL)
        assert visit(port, "lamp.local").status == 200
        assert _sockets_on(port) == listening
    finally:
        end_home(engine)


def _sockets_on(port: int) -> set[str]:
    """The listening sockets of the port, as descriptors name them."""
    rows = [line.split() for line in Path("/proc/net/tcp").read_text().splitlines()[1:]]
    return {f"socket:[{row[9]}]" for row in rows if row[1].endswith(f":{port:04X}") and row[3] == "0A"}


def _sockets_of(pid: int) -> set[str]:
    return {os.readlink(entry) for entry in Path(f"/proc/{pid}/fd").iterdir()}
