"""Alerts of a running engine: the event, the banner, the API, the command and the webhook; and crashes on bad power."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from pathlib import Path
from typing import Any

import pytest

from hhtui.client.link import EngineLink
from hhtui.engine import engine as engine_module
from hhtui.engine.alerts import watch as watch_module
from hhtui.engine.alerts.watch import AlertWatch
from hhtui.engine.api import about as about_module
from hhtui.engine.engine import Engine
from hhtui.engine.events.bus import EventBus
from hhtui.model.app import AppRecord, Status
from hhtui.model.config import AlertsConfig
from hhtui.model.event import Event, EventType, utc_now
from tests.engine.hardware.machines import Machine, lay_out
from tests.engine.homes import alive, command, make_app, make_home, until

UNDER_VOLTAGE = "sys/devices/platform/soc/soc:firmware/get_throttled"
TEMPERATURE = "sys/class/thermal/thermal_zone0/temp"


def events(engine: Engine, *types: EventType) -> list[Event]:
    kept = (message.event for message in engine.bus.recent(limit=10_000))
    return [event for event in kept if event is not None and event.event_type in types]


def alert_events(engine: Engine) -> list[tuple[str, str]]:
    found = events(engine, EventType.ALERT_RAISED, EventType.ALERT_CLEARED)
    return [(event.event_type.value, event.data["key"]) for event in found]


@pytest.fixture
def board(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Machine:
    """The machine that the engine will see: a Raspberry Pi 3 B+, cool and well fed."""
    machine = lay_out("raspberry-pi-3b-plus", tmp_path / "board")
    machine.write(UNDER_VOLTAGE, "0\n")
    machine.write(TEMPERATURE, "40000\n")
    monkeypatch.setattr(engine_module, "HardwareReader", lambda home: machine.reader())
    return machine


async def look(engine: Engine) -> None:
    """Take the timed sample now."""
    await engine.sampler.timed_pass()


async def test_a_failed_app_is_an_event_a_line_for_the_banner_and_an_answer_until_it_is_started_again(
    tmp_path: Path,
) -> None:
    root = make_home(tmp_path / "home")
    make_app(
        root, "web", '[ -e "$HOMEHELPER_DATA_DIR/ok" ] && exec sleep 1000; exit 3',
        restart={"max_restarts": 2, "backoff_seconds": 0.05},
    )  # fmt: skip
    async with Engine(root) as engine:
        await command(engine, "web", "start")
        await until(engine.alerts.active, what="the alert")
        words = f"web has failed: {engine.app('web').runtime_info.error}"
        assert "exited 3" in words
        assert engine.about.info().problems == [words]
        link = EngineLink(engine.home.engine_socket)
        (alert,) = await link.alerts()
        assert (alert["key"], alert["rule"], alert["app_id"], alert["message"]) == (
            "app_failed:web", "app_failed", "web", words,
        )  # fmt: skip
        assert (await link.health())["message"] == words
        (raised,) = events(engine, EventType.ALERT_RAISED)
        assert raised.source == "web"
        (root / "data" / "web" / "ok").touch()
        await command(engine, "web", "start")
        await until(lambda: not engine.alerts.active(), what="the end of the alert")
        assert alert_events(engine) == [("alert_raised", "app_failed:web"), ("alert_cleared", "app_failed:web")]
        assert engine.about.info().problems == []


async def test_alerts_go_on_whatever_one_look_fails_at(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(watch_module, "LOOK_AGAIN", 0.2)
    bus, failures = EventBus("pi", 1), 2

    def apps() -> list[AppRecord]:
        nonlocal failures
        failures -= 1
        if failures >= 0:
            raise RuntimeError("dictionary changed size during iteration")
        now = utc_now()
        return [AppRecord(app_id="x", name="x", path="", status=Status.FAILED, discovered_at=now, last_updated=now)]

    alerts = AlertWatch(bus, AlertsConfig, apps, lambda: None, tmp_path)
    bus.publish(EventType.APP_FAILED, "x", {})
    await until(lambda: [alert.app_id for alert in alerts.active()] == ["x"])
    await alerts.stop()


async def test_a_hot_processor_is_told_once_and_is_over_when_it_was_cool_for_a_while(
    tmp_path: Path, board: Machine
) -> None:
    root = make_home(tmp_path / "home", alerts={"clear_after_seconds": 0.3})
    async with Engine(root) as engine:
        await look(engine)
        await asyncio.sleep(0.05)
        assert engine.alerts.active() == []
        for temperature in (81_000, 78_000, 82_000, 76_000):
            board.write(TEMPERATURE, f"{temperature}\n")
            board.now += 10
            await look(engine)
            await asyncio.sleep(0.02)
        assert alert_events(engine) == [("alert_raised", "temperature")]
        assert engine.about.info().problems == ["the processor is at 76 °C (limit 80 °C)"]
        board.write(TEMPERATURE, "60000\n")
        board.now += 10
        await look(engine)
        await until(lambda: len(alert_events(engine)) == 2, what="the end of the alert")
        assert engine.about.info().problems == []


async def test_who_asks_is_not_told_of_a_machine_that_is_well_again_until_the_next_timed_sample(
    tmp_path: Path, board: Machine, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(about_module, "_STALE_ALERT", 0.0)
    root = make_home(tmp_path / "home", alerts={"clear_after_seconds": 0.3})
    async with Engine(root) as engine:
        link = EngineLink(engine.home.engine_socket)
        board.write(TEMPERATURE, "82000\n")
        await look(engine)
        await until(lambda: alert_events(engine) == [("alert_raised", "temperature")], what="the alert")
        assert (await link.engine())["problems"] == ["the processor is at 82 °C (limit 80 °C)"]
        board.write(TEMPERATURE, "60000\n")
        board.now += 10
        await asyncio.sleep(0.3)  # the freshest that a sample is ever taken is a quarter of a second
        assert (await link.engine())["problems"] == []
        await until(lambda: len(alert_events(engine)) == 2, what="the end of the alert")


async def test_who_asks_before_the_first_timed_sample_is_told_of_a_machine_at_its_limits(
    tmp_path: Path, board: Machine
) -> None:
    board.write(TEMPERATURE, "82000\n")
    async with Engine(make_home(tmp_path / "home")) as engine:
        link = EngineLink(engine.home.engine_socket)
        assert (await link.engine())["problems"] == ["the processor is at 82 °C (limit 80 °C)"]


async def test_a_crash_soon_after_under_voltage_says_so_in_its_reason(tmp_path: Path, board: Machine) -> None:
    root = make_home(tmp_path / "home")
    make_app(root, "web", "exit 7", restart={"policy": "never"})
    make_app(root, "calm", "exit 7", restart={"policy": "never"})
    make_app(root, "done", "exit 0", restart={"policy": "never"})
    async with Engine(root) as engine:
        await look(engine)
        await command(engine, "calm", "start")
        await until(lambda: engine.app("calm").runtime_info.error)
        assert "reported" not in (engine.app("calm").runtime_info.error or "")
        # Nobody has looked since: the crash itself makes the engine look.
        board.write(UNDER_VOLTAGE, "50005\n")
        board.now += 10
        await command(engine, "web", "start")
        await until(lambda: engine.app("web").runtime_info.error)
        reason = engine.app("web").runtime_info.error or ""
        assert "this came while the machine reports under-voltage (the power supply gives too little)" in reason
        await until(lambda: any(event.source == "web" for event in events(engine, EventType.APP_CRASHED)))
        (crash,) = (event for event in events(engine, EventType.APP_CRASHED) if event.source == "web")
        assert "under-voltage" in crash.data["reason"]
        board.write(UNDER_VOLTAGE, "0\n")
        board.now += 10
        await look(engine)
        await command(engine, "web", "start")
        await until(lambda: "s after the machine reported" in (engine.app("web").runtime_info.error or ""))
        # What ends well has nothing to explain.
        await command(engine, "done", "start")
        await until(lambda: engine.app("done").runtime_info.exit)
        assert "machine" not in engine.app("done").runtime_info.reason


class Webhook:
    """A web server that keeps what is POSTed, or never answers."""

    def __init__(self, answer: bytes | None) -> None:
        self.answer = answer
        self.bodies: list[Any] = []
        self.heads: list[str] = []
        self.url = ""

    async def serve(self, reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        head = (await reader.readuntil(b"\r\n\r\n")).decode()
        length = next(
            int(line.split(":")[1]) for line in head.splitlines() if line.lower().startswith("content-length")
        )
        self.heads.append(head)
        self.bodies.append(json.loads(await reader.readexactly(length)))
        if self.answer is None:
            await reader.read()
        else:
            writer.write(self.answer)
        writer.close()


@asynccontextmanager
async def webhook(answer: bytes | None = b"HTTP/1.1 204 No Content\r\n\r\n") -> AsyncIterator[Webhook]:
    hook = Webhook(answer)
    server = await asyncio.start_server(hook.serve, "127.0.0.1", 0)
    hook.url = f"http://user:geheim@127.0.0.1:{server.sockets[0].getsockname()[1]}/token-geheim"
    try:
        yield hook
    finally:
        server.close()


async def failing(engine: Engine) -> None:
    await command(engine, "web", "start")
    await until(engine.alerts.active, what="the alert")


def home_with(tmp_path: Path, **alerts: Any) -> Path:
    root = make_home(tmp_path / "home", alerts=alerts)
    make_app(root, "web", "exit 1", restart={"policy": "never"})
    return root


async def test_a_command_and_a_webhook_get_the_alert_and_no_secret(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("HOMEHELPER_REDIS__PASSWORD", "geheim")
    monkeypatch.setenv("SOME_API_KEY", "geheim")
    told = tmp_path / "told"
    script = f'cat > "{told}.json"; env > "{told}.tmp"; mv "{told}.tmp" "{told}.env"'
    async with webhook() as hook:
        root = home_with(tmp_path, command=["/bin/sh", "-c", script], webhook_url=hook.url)
        async with Engine(root) as engine:
            await failing(engine)
            await until(lambda: hook.bodies, what="the webhook")
            posted = hook.bodies[0]
            assert posted["state"] == "raised"
            assert posted["alert"]["key"] == "app_failed:web"
            assert posted["text"].endswith(": web has failed: exited 1; its restart policy is never")
            assert "authorization: basic" in hook.heads[0].lower()
            assert json.loads(Path(f"{told}.json").read_text()) == posted
            variables = Path(f"{told}.env").read_text()
            assert "HOMEHELPER_ALERT_KEY=app_failed:web\n" in variables
            assert "geheim" not in variables
            await until(lambda: not engine.alerts.notices.busy)
            assert engine.about.info().problems == [posted["alert"]["message"]]
            link = EngineLink(engine.home.engine_socket)
            for document in (await link.config(), await link.engine(), await link.alerts()):
                assert "geheim" not in json.dumps(document)
    assert "geheim" not in (root / "logs" / "homehelper" / "main.log").read_text()


@pytest.mark.parametrize(
    ("answer", "problem"),
    [
        (b"HTTP/1.1 500 Oops\r\nContent-Length: 0\r\n\r\n", "the server answered with status 500"),
        (b"HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\n\r\n", "the server answered with status 302"),
        (None, "longer than"),
    ],
)
async def test_a_webhook_that_fails_or_hangs_is_told_in_one_line_without_its_address(
    tmp_path: Path, answer: bytes | None, problem: str
) -> None:
    async with webhook(answer) as hook:
        root = home_with(tmp_path, webhook_url=hook.url, timeout_seconds=0.7 if answer is None else 10)
        async with Engine(root) as engine:
            await failing(engine)
            await until(lambda: len(engine.about.info().problems) == 2, what="the webhook's failure")
            line = engine.about.info().problems[1]
            assert line.startswith("alerts.webhook_url: ")
            assert problem in line or (answer is None and "timed out" in line)
            assert "geheim" not in line


async def test_a_command_that_hangs_holds_nothing_up_and_is_ended_with_all_it_started(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    script = f'sleep 1000 & echo "$!" > "{pids}.tmp"; mv "{pids}.tmp" "{pids}"; yes >&2'
    root = home_with(tmp_path, command=["/bin/sh", "-c", script], timeout_seconds=8)
    make_app(root, "other")
    async with Engine(root) as engine:
        await failing(engine)
        await until(pids.exists)
        started = time.monotonic()
        await command(engine, "other", "start")
        await command(engine, "other", "stop")
        assert time.monotonic() - started < 7.9
        await until(lambda: any("longer than 8 s" in line for line in engine.about.info().problems))
        left = int(pids.read_text())
        await until(lambda: not alive(left), what="the end of what the command has started")


async def test_a_command_that_leaves_something_running_is_not_waited_for(tmp_path: Path) -> None:
    pids = tmp_path / "pids"
    # Not before it is in a session of its own: until then it is the command's, and is ended with it.
    daemon = f"setsid sh -c 'echo $$ > {pids}.tmp; mv {pids}.tmp {pids}; exec sleep 1000' & "
    script = f'{daemon} until [ -e {pids} ]; do sleep 0.01; done; echo "no \033[2J network" >&2; exit 3'
    root = home_with(tmp_path, command=["/bin/sh", "-c", script])
    async with Engine(root) as engine:
        started = time.monotonic()
        await failing(engine)
        await until(lambda: len(engine.about.info().problems) == 2)
        assert time.monotonic() - started < 9
        line = engine.about.info().problems[1]
        assert line.startswith("alerts.command: no ")
        assert "\x1b" not in line
        left = int(pids.read_text())
        assert alive(left)
        os.kill(left, signal.SIGKILL)


async def test_a_command_that_is_not_there_is_told(tmp_path: Path) -> None:
    root = home_with(tmp_path, command=["/nowhere/notify"])
    async with Engine(root) as engine:
        await failing(engine)
        await until(lambda: len(engine.about.info().problems) == 2)
        assert engine.about.info().problems[1] == "alerts.command: /nowhere/notify: No such file or directory"


async def test_a_reload_in_place_raises_nothing_twice(tmp_path: Path) -> None:
    def watch(bus: EventBus, apps: Callable[[], list[Any]]) -> AlertWatch:
        return AlertWatch(bus, AlertsConfig, apps, lambda: None, tmp_path)

    root = make_home(tmp_path / "home")
    make_app(root, "web", "exit 1", restart={"policy": "never"})
    async with Engine(root) as engine:
        await failing(engine)
        records = [record.model_copy(deep=True) for record in engine.apps()]
        restored = EventBus.restored("pi", engine.bus.state())
    again = watch(restored, lambda: records)
    assert [alert.key for alert in again.active()] == ["app_failed:web"]
    before = restored.last_id
    again.judge()
    assert restored.last_id == before
    records.clear()
    again.judge()
    assert again.active() == []
    await again.stop()
