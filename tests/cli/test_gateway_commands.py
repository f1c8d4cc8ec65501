"""``hhtui gateway``: on, off, status and password, and what doctor and settings say of it."""

from __future__ import annotations

import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.cli.conftest import HHTUI, Outcome, environment, run_hhtui
from tests.engine.engine_process import EngineProcess, engine_process, eventually
from tests.engine.gateway.visitors import add_app, gateway_home, visit


@pytest.fixture(scope="module")
def home(tmp_path_factory: pytest.TempPathFactory) -> Iterator[tuple[EngineProcess, int]]:
    root, port = gateway_home(tmp_path_factory.mktemp("cli") / "home", enabled=False)
    add_app(root, "lamp")
    with engine_process(root) as engine:
        engine.wait_status("lamp", "running")
        yield engine, port


def typed(root: Path, text: str, *arguments: str) -> Outcome:
    env = environment(HOMEHELPER_HOME=str(root))
    done = subprocess.run([*HHTUI, *arguments], input=text, capture_output=True, text=True, env=env, check=False)
    return Outcome(done.returncode, done.stdout, done.stderr)


def test_on_says_what_it_has_opened_and_has_done_it_when_it_ends(home: tuple[EngineProcess, int]) -> None:
    engine, port = home
    root = engine.root
    assert "is off" in run_hhtui(root, "gateway", "status").out
    on = run_hhtui(root, "gateway", "on", timeout=60)
    assert on.code == 0 and str(port) in on.out and f"http://lamp.local:{port}/" in on.out
    assert visit(port, "lamp.local").status == 200
    assert run_hhtui(root, "gateway", "status", "--json").json["apps"][0]["name"] == "lamp.local"
    # Once more is no error, and nothing is read of a password that is none.
    assert run_hhtui(root, "gateway", "on", timeout=60).code == 0
    assert typed(root, "short\n", "gateway", "password").code == 1
    assert typed(root, "", "gateway", "password").code == 2
    assert run_hhtui(root, "gateway", "status", "--json").json["login"] is False
    set_ = typed(root, "a long password\n", "gateway", "password")
    assert set_.code == 0 and "passes the login" in set_.err and "a long password" not in set_.out + set_.err
    eventually(lambda: visit(port, "lamp.local").status == 401)
    doctor = run_hhtui(root, "doctor", "--json", timeout=60).json
    assert any(one["check"] == "gateway" and "lamp listens on all" in one["message"] for one in doctor["findings"])
    assert run_hhtui(root, "set", "lamp", "public=true").code == 0
    eventually(lambda: visit(port, "lamp.local").status == 200)
    assert run_hhtui(root, "gateway", "password", "--remove").code == 0
    assert run_hhtui(root, "gateway", "off", timeout=60).code == 0
    with pytest.raises(ConnectionRefusedError):
        visit(port, "lamp.local")


def test_without_an_engine_the_exit_code_is_3(tmp_path: Path) -> None:
    for words in (["on"], ["off"], ["status"], ["password", "--remove"]):
        assert run_hhtui(tmp_path, "gateway", *words).code == 3


def test_tls_with_an_own_certificate_that_is_not_there_is_refused_in_one_line(home: tuple[EngineProcess, int]) -> None:
    root = home[0].root
    refused = run_hhtui(root, "gateway", "on", "--tls", "own", timeout=60)
    assert refused.code == 1 and "gateway.certificate" in refused.err and refused.err.count("\n") == 1
    for key in ("certificate", "key"):
        assert run_hhtui(root, "config", "set", f"gateway.{key}", str(root / "missing.pem")).code == 0
    refused = run_hhtui(root, "gateway", "on", "--tls", "own", timeout=60)
    assert refused.code == 1 and "missing.pem" in refused.err and refused.err.count("\n") == 1
    assert run_hhtui(root, "gateway", "on", "--tls", "off", timeout=60).code == 0
    assert run_hhtui(root, "gateway", "off", timeout=60).code == 0
