"""Real apps that crash in every way: each does what the documentation's table says, which the code itself wrote."""

from __future__ import annotations

import json
import re
from pathlib import Path

import pytest

from hhtui.engine.app import run as run_module
from hhtui.engine.app.docs import CASES, filled_in, outcome
from hhtui.engine.engine import Engine
from hhtui.engine.events.bus import current_correlation
from hhtui.model.app import Health, Status
from hhtui.model.event import Message
from tests.engine.engine_process import engine_process
from tests.engine.homes import command, make_app, make_home, until

DOCS = Path(__file__).resolve().parents[3] / "docs"
# The table's seconds, so many times faster.
FAST = 0.02

FLAPPING = """
import http.server, os, time
born = time.monotonic()
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        self.send_response(200 if time.monotonic() - born < 0.5 else 503)
        self.end_headers()
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""

MOODY = """
import http.server, json, os
class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        health = open(VERDICT).read()
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps({"health": health, "message": f"all is {health}"}).encode())
    def log_message(self, *_): pass
http.server.HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever()
"""


def test_the_page_says_what_the_code_does() -> None:
    page = (DOCS / "app-life.md").read_text("utf-8")
    assert page == filled_in(page), "run: python -m hhtui.engine.app.docs docs/app-life.md"


@pytest.mark.parametrize("case", [case for case in CASES if not case.scheduled], ids=lambda case: case.words)
async def test_an_app_that_ends_does_what_the_table_says(engine: Engine, case: object) -> None:
    assert isinstance(case, type(CASES[0]))
    messages: list[Message] = []
    engine.bus.add_listener(messages.append)
    waits, status, _ = outcome(case)
    policy = {"backoff_seconds": FAST, "max_backoff_seconds": 60 * FAST, **case.policy}
    if status == "running":
        # Watched for its first restarts. A start takes its time whatever the scale: rare crashes must stay rare.
        waits = waits[:2]
        policy |= {"max_restarts": 50, "window_seconds": 60 * FAST}
    make_app(engine.home.root, "lamp", f"sleep {case.uptime * FAST}; exit {case.code}", restart=policy)
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    await command(engine, "lamp", "start", wait=None)
    if status == "running":
        await until(lambda: engine.app("lamp").runtime_info.restarts >= len(waits), 30)
        await command(engine, "lamp", "stop")
    else:
        await until(lambda: engine.app("lamp").status is Status(status), 30)
        assert engine.app("lamp").runtime_info.restarts == len(waits)
    crashes = [m.event for m in messages if m.event and m.event.event_type == "app_crashed"]
    assert bool(crashes) == (case.code != 0)


async def test_the_last_lines_of_stderr_stay_beside_the_reason(engine: Engine) -> None:
    script = "for n in $(seq 30); do echo line $n >&2; done; printf '\\033[31mred\\n' >&2; exit 4"
    make_app(engine.home.root, "lamp", script, restart={"policy": "never"})
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    await command(engine, "lamp", "start", wait=None)
    await until(lambda: engine.app("lamp").status is Status.FAILED)
    info = engine.app("lamp").runtime_info
    await until(lambda: info.exit and info.exit.stderr)
    assert info.exit is not None
    assert len(info.exit.stderr) == 20
    assert info.exit.stderr[-2] == "line 30"
    assert info.exit.stderr[-1] == "␛[31mred"
    await engine.registry.flush()
    saved = json.loads(engine.home.apps_json.read_text())["apps"]["lamp"]["runtime_info"]["exit"]
    assert saved["stderr"] == info.exit.stderr


async def test_an_app_that_never_answers_its_health_page_fails_though_each_start_takes_longer_than_the_window(
    engine: Engine,
) -> None:
    make_app(
        engine.home.root,
        "mute",
        endpoints={"health": "/health"},
        start={"timeout_seconds": 1.5},
        restart={"max_restarts": 3, "window_seconds": 1, "backoff_seconds": 0.01},
    )
    await until(lambda: engine.fleet.supervisors.get("mute"))
    await command(engine, "mute", "start", wait=None)
    await until(lambda: engine.app("mute").status is Status.FAILED)
    assert engine.app("mute").runtime_info.restarts == 2
    assert re.search(r"three times in ([4-9]|\d\d+) s", str(engine.app("mute").runtime_info.error))


async def test_three_failed_checks_in_a_row_are_an_error_and_restart_only_where_that_is_wished(
    engine: Engine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(run_module, "RECHECK", 0.1)
    await engine.settings.change({"health_check_interval_seconds": 1})
    for app_id, wished in (("heals", True), ("stays", False)):
        (engine.home.default_apps_dir / app_id).mkdir(parents=True)
        (engine.home.default_apps_dir / app_id / "app.py").write_text(FLAPPING)
        make_app(
            engine.home.root,
            app_id,
            command=None,
            endpoints={"health": "/health"},
            restart={"on_unhealthy": wished, "max_restarts": 20},
        )
    await until(lambda: {"heals", "stays"} <= engine.fleet.supervisors.keys())
    for app_id in ("heals", "stays"):
        await command(engine, app_id, "start")
    pid = engine.app("stays").runtime_info.process_id
    await until(lambda: engine.app("heals").runtime_info.restarts == 1, 60)
    await until(lambda: engine.app("stays").runtime_info.health_report.failures >= 3, 60)
    info = engine.app("stays").runtime_info
    assert info.health is Health.ERROR
    assert "503" in info.health_report.message
    assert (info.process_id, info.restarts) == (pid, 0)


async def test_each_change_of_an_apps_health_is_in_health_log_and_nothing_else_is(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home", health_check_interval_seconds=1)
    make_app(root, "moody", command=None, endpoints={"health": "/health"}, autostart=True)
    (root / "apps" / "moody" / "app.py").write_text(
        MOODY.replace("VERDICT", repr(str(root / "apps" / "moody" / "verdict")))
    )
    verdict = root / "apps" / "moody" / "verdict"
    verdict.write_text("good")
    path = root / "logs" / "system" / "health.log"

    async def told(words: str) -> None:
        await until(lambda: path.exists() and words in path.read_text(), what=f"{words!r} in health.log")

    with engine_process(root):
        await told("moody: good, before unknown: all is good")
        verdict.write_text("warning")
        await told("moody: warning, before good: all is warning")
        verdict.write_text("error")
        await told("moody: error, before warning: all is error")
        verdict.write_text("good")
        await told("moody: good, before error: all is good")
    lines = path.read_text().splitlines()
    assert len(lines) == 4 and all("moody: " in line and "INFO" in line for line in lines), lines


async def test_what_an_app_does_later_is_not_of_the_request_that_started_it(engine: Engine) -> None:
    make_app(engine.home.root, "lamp")
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    supervisor = engine.fleet.supervisors["lamp"]
    seen: list[str | None] = []
    token = current_correlation.set("of-the-request")
    try:
        await command(engine, "lamp", "start")
    finally:
        current_correlation.reset(token)
    assert supervisor.child is not None
    original = supervisor.child.on_exit
    supervisor.child.on_exit = lambda ending: (seen.append(current_correlation.get()), original(ending))[1]
    await command(engine, "lamp", "stop")
    assert seen == [None]


async def test_a_crash_is_on_the_channel_of_logs_with_the_end_of_stderr(engine: Engine) -> None:
    records: list[dict[str, object]] = []

    def note(message: Message) -> None:
        if message.event is not None and "homehelper:logs" in message.channels:
            records.append(message.event.data)

    engine.bus.add_listener(note)
    (engine.home.config_dir / "secrets.env").write_text("PASSWORD=hunter2hunter2\n")
    (engine.home.config_dir / "secrets.env").chmod(0o600)
    script = 'echo "before" >&2; echo "KeyError: $PASSWORD" >&2; exit 3'
    make_app(
        engine.home.root,
        "lamp",
        script,
        restart={"policy": "never"},
        environment={"PASSWORD": "${PASSWORD}"},
    )
    await until(lambda: engine.fleet.supervisors.get("lamp"))
    await command(engine, "lamp", "start", wait=None)
    await until(lambda: any("crashed" in str(record["message"]) for record in records))
    (crash,) = [record for record in records if "crashed" in str(record["message"])]
    assert crash["level"] == "WARNING"
    assert "lamp" in str(crash["message"]) and "exited 3" in str(crash["message"])
    assert "before | KeyError:" in str(crash["message"])
    assert "hunter2" not in str(crash["message"])
