"""The dashboard: what it says of apps, machine, events; its layouts and its keys."""

from __future__ import annotations

from pathlib import Path

import pytest

from hhtui.client import records, words
from hhtui.model.states import Status
from hhtui.tui import keymap
from hhtui.tui.apps.page import AppPage
from hhtui.tui.dialogs.help import HelpScreen
from hhtui.tui.events.details import EventDetails
from hhtui.tui.logs.screen import LogViewer
from hhtui.tui.session.preferences import Preferences
from tests.tui import fake
from tests.tui.fake import FakeTransport, event
from tests.tui.screen import running


async def test_each_app_says_its_state_in_a_glyph_and_a_word_and_why() -> None:
    async with running(size=(160, 50)) as session:
        await session.shows("4 Events")
        assert "● running" in session.line("Thermometer")
        assert "✓ good 21.5 °C" in session.line("Thermometer")
        assert "! warning battery at 12 %" in session.line("Doorbell")
        assert "✖ failed" in session.line("Crasher  ")
        assert "exited 1 five times in 60 s; last: ModuleNotFoundError" in session.line("Crasher  ")
        assert "▲ backoff" in session.line("Flaky") and "next try in 12 s" in session.line("Flaky")
        assert "◌ waiting" in session.line("Energy Report") and "first visit to port 8501" in session.line(
            "Energy Report"
        )
        assert "○ stopped" in session.line("Garden")
        assert "◇ discovered" in session.line("New App")
        assert "⊘ invalid" in session.line("Broken  ") and "homehelper.json: type:" in session.line("Broken  ")
        assert "installing flask 3.1" in session.line("Updater")


async def test_the_machine_is_shown_with_cores_temperature_and_throttling() -> None:
    transport = FakeTransport()
    transport.sample["hardware"]["throttling"]["now"]["under_voltage"] = True
    async with running(transport, size=(160, 50)) as session:
        await session.shows("34%", "12%", "85%", "3.1 GiB of 7.6 GiB", "18.3 GiB of 29.0 GiB", "52°C", "under-voltage",
                            "12.1 KiB/s", "0.52 0.40 0.31", "Raspberry Pi 5")  # fmt: skip


async def test_a_machine_without_sensors_says_so_instead_of_zero() -> None:
    transport = FakeTransport()
    transport.sample["hardware"] = {}
    async with running(transport) as session:
        await session.shows("no sensor", "n/a")


@pytest.mark.parametrize(
    ("size", "seen", "hidden"),
    [
        ((160, 50), ["1 Apps", "2 Hardware", "3 Log", "4 Events"], []),
        ((120, 40), ["1 Apps", "2 Hardware", "3 Log", "4 Events"], []),
        ((80, 24), ["1 Apps", "3 Log", "CPU 34%", "Temp 52°C"], ["2 Hardware", "4 Events"]),
        ((160, 24), ["1 Apps", "3 Log", "CPU 34%"], ["2 Hardware", "4 Events"]),
        ((60, 15), ["1 Apps", "3 Log"], ["too small"]),
    ],
)
async def test_panels_by_size(size: tuple[int, int], seen: list[str], hidden: list[str]) -> None:
    async with running(size=size) as session:
        await session.shows(*seen)
        assert not [words for words in hidden if words in session.text]


async def test_number_keys_and_tab_reach_every_panel_on_a_small_screen() -> None:
    async with running(size=(80, 24)) as session:
        for key, title in (("2", "2 Hardware"), ("4", "4 Events"), ("3", "3 Log"), ("e", "4 Events")):
            await session.press(key)
            await session.shows(title, "1 Apps")
        await session.press("1")
        for panel in ("hardware", "log", "events", "apps"):
            await session.press("tab")
            assert session.app.focused is not None and session.app.focused.id == panel
        await session.press("shift+tab")
        assert session.app.focused is not None and session.app.focused.id == "events"


async def test_z_shows_one_panel_over_the_whole_screen_and_back() -> None:
    async with running() as session:
        await session.press("4", "z")
        await session.hides("1 Apps", "2 Hardware", "3 Log")
        await session.press("2")
        await session.shows("2 Hardware")
        await session.hides("4 Events")
        await session.press("z")
        await session.shows("1 Apps", "2 Hardware", "3 Log", "4 Events")


async def test_too_small_is_one_line_and_mends_itself() -> None:
    async with running(size=(120, 40)) as session:
        await session.pilot.resize_terminal(59, 14)
        await session.shows("Terminal too small: 59x14, needs 60x15")
        assert len([line for line in session.text.splitlines() if line.strip()]) == 1
        await session.pilot.resize_terminal(80, 24)
        await session.shows("1 Apps", "Doorbell")


async def test_slash_filters_while_typing_and_escape_drops_it() -> None:
    async with running() as session:
        await session.press("slash")
        await session.type("door")
        await session.hides("Thermometer  ")
        await session.shows("Doorbell", "1 of 9")
        await session.press("enter")
        await session.shows("filter: door")
        assert session.app.screen.query_one("#apps").current == "doorbell"
        await session.press("escape")
        await session.shows("Garden")


async def test_o_sorts_the_apps_and_the_cursor_stays_on_its_app() -> None:
    async with running() as session:
        await session.on("garden")
        table = session.app.screen.query_one("#apps")
        await session.press("o")
        await session.shows("by state")
        assert table.ids[0] == "crasher" and table.current == "garden"
        await session.press("o")
        assert table.ids[0] == "doorbell"


async def test_arrows_and_letters_move_and_the_log_follows_the_cursor() -> None:
    async with running() as session:
        table = session.app.screen.query_one("#apps")
        await session.press("j", "down", "k", "up", "j")
        assert table.cursor == 1
        await session.press("end")
        assert table.current == table.ids[-1]
        await session.press("home", "pagedown", "pageup")
        assert table.cursor == 0
        await session.on("thermometer")
        await session.shows("line 1000 of the thermometer")


async def test_keys_open_page_logs_help_and_details_and_escape_comes_back() -> None:
    async with running() as session:
        await session.on("doorbell")
        for key, screen in (("enter", AppPage), ("l", LogViewer), ("question_mark", HelpScreen)):
            await session.press(key)
            assert isinstance(session.app.screen, screen)
            await session.press("escape")
        await session.press("e", "enter")
        assert isinstance(session.app.screen, EventDetails)
        await session.shows("homehelper:events:door", '"who": "postman"')
        await session.press("escape")
        assert len(session.app.screen_stack) == 1


async def test_the_app_page_tells_everything_but_secrets() -> None:
    async with running(size=(140, 45)) as session:
        await session.on("thermometer")
        await session.press("enter")
        await session.shows(
            "● running", "http://pi.local:8100", "21.5 °C", "DS18B20", "API_TOKEN", "Timeline", "pid 1200"
        )
        await session.press("m")
        await session.shows('"name": "Thermometer"')
        assert "very-secret-value" not in session.text
        await session.press("pagedown")
        assert "very-secret-value" not in session.text


async def test_a_change_of_an_app_shows_at_once() -> None:
    async with running() as session:
        session.transport.change("garden", status="running", process_id=77, health="good")
        session.transport.emit(fake.event(50, "app_started", "garden", port=8104, pid=77))
        await session.until(lambda: "● running" in session.line("Garden"))
        await session.shows("garden started port 8104; pid 77")


async def test_an_app_that_is_removed_disappears() -> None:
    async with running() as session:
        del session.transport.records["garden"]
        session.transport.emit(fake.event(50, "app_removed", "garden"))
        await session.hides("Garden")


async def test_events_can_be_paused_filtered_and_cleared() -> None:
    async with running() as session:
        await session.press("e", "space")
        session.transport.emit(fake.event(60, "app_started", "garden"), fake.event(61, "app_stopped", "garden"))
        await session.shows("paused, +2 new")
        assert "garden started" not in session.text
        await session.press("space")
        await session.shows("garden started", "garden stopped")
        await session.press("slash")
        await session.type("door")
        await session.hides("garden started")
        await session.press("enter", "escape")
        await session.shows("garden started")
        await session.press("c")
        await session.shows("Nothing has happened yet.")


async def test_dropped_and_foreign_messages_are_told() -> None:
    async with running() as session:
        session.transport.emit(
            fake.foreign(70, "homehelper:weather", text="rain\x1b[31m"), fake.foreign(71, "homehelper:x", 1, dropped=40)
        )
        await session.shows("weather rain␛[31m", "+40 more")


async def test_an_empty_home_says_where_to_put_an_app_and_how_to_make_one() -> None:
    transport = FakeTransport()
    transport.records = {}
    async with running(transport) as session:
        await session.shows("Welcome")
        await session.press("escape")
        await session.shows("No apps yet", "/home/pi/homehelper/apps", "hhtui new /home/pi/homehelper/apps/hello")


async def test_redis_problems_and_a_lost_engine_are_told_in_one_line_each() -> None:
    transport = FakeTransport()
    transport.sample["redis_status"] = {"status": "disabled", "connected": False, "server": "none"}
    transport.about["problems"] = ["The disk is full: logs wait"]
    async with running(transport, size=(160, 50)) as session:
        await session.shows("no Redis: cross-app events are off", "! The disk is full: logs wait")
        transport.lose("no engine runs on /home/pi/homehelper")
        await session.shows("no engine", "trying again; apps are not touched", "Thermometer")
        transport.about["problems"] = []
        transport.come_back()
        await session.hides("trying again", "The disk is full")


@pytest.mark.parametrize("ahead", [86_400 * 40, -86_400 * 40], ids=["ahead", "behind"])
async def test_uptimes_and_orders_go_by_the_clock_of_the_engine(ahead: int) -> None:
    transport = FakeTransport()
    transport.about["time"] = fake.at(-ahead)
    transport.change("thermometer", started_at=fake.at(3700 - ahead))
    async with running(transport, size=(160, 50)) as session:
        await session.until(lambda: "1h 1m" in session.line("Thermometer"))
        await session.on("garden")
        await session.press("s")
        await session.until(lambda: transport.orders)
        transport.change("garden", status="running")
        correlation = transport.orders[0][2]
        transport.emit(fake.event(80, "app_started", "garden", -ahead - 1, correlation_id=correlation, port=8104))
        await session.shows("Garden is running on")
        transport.about["time"] = fake.at(-ahead - 4)
        await session.app.link.read_engine()
        await session.app.link.read_apps()
        assert session.app.link.engine_ahead.total_seconds() == ahead
        await session.press("enter")
        transport.about["time"] = fake.at(0)
        transport.change("thermometer", started_at=fake.at(7300))
        await session.app.link.read_engine()
        await session.app.link.read_apps()
        await session.press("escape")
        await session.until(lambda: "2h 1m" in session.line("Thermometer"))


async def test_the_address_is_copied_with_osc_52() -> None:
    async with running() as session:
        await session.on("thermometer")
        await session.press("y")
        assert session.app.clipboard == "http://pi.local:8100"
        await session.on("new-app")
        await session.press("y")
        await session.shows("has no address")


async def test_colon_opens_a_palette_with_actions_and_apps() -> None:
    async with running() as session:
        await session.press("colon")
        await session.type("restart doorbell")
        await session.shows("Restart Doorbell")
        await session.until(lambda: session.app.screen.query_one("CommandList").option_count > 0)
        await session.press("enter")
        await session.until(lambda: session.transport.orders)
        assert session.transport.orders[0][:2] == ("restart", "doorbell")


async def test_f2_goes_through_the_themes() -> None:
    async with running() as session:
        before = session.app.theme
        await session.press("f2")
        assert session.app.theme == "high-contrast" != before
        assert session.app.looks.bad.color is not None


async def test_a_keymap_file_changes_keys_footer_and_help(tmp_path: Path) -> None:
    (tmp_path / "config").mkdir()
    (tmp_path / "config/keymap.json").write_text('{"app.stop": "d", "no.such": "x"}')
    async with running(home=tmp_path, size=(160, 50)) as session:
        await session.shows("no.such", "d stop")
        await session.on("doorbell")
        await session.press("x")
        await session.press("d")
        await session.until(lambda: session.transport.orders)
        assert [order[:2] for order in session.transport.orders] == [("stop", "doorbell")]
        await session.press("question_mark")
        assert session.line("Stop").split()[1] == "d"


async def test_an_engine_of_another_version_is_told() -> None:
    async with running(version="9.9.9", size=(160, 50)) as session:
        await session.shows("the engine is 0.1.0, this is 9.9.9", "hhtui engine reload")


async def test_what_a_covered_screen_missed_is_there_when_it_is_seen_again() -> None:
    async with running() as session:
        await session.press("question_mark")
        session.transport.change("garden", status="running", process_id=77, health="good")
        session.transport.emit(fake.event(50, "app_started", "garden", port=8104, pid=77))
        await session.until(lambda: session.app.link.snapshot.apps["garden"].process_id == 77)
        await session.press("escape")
        await session.until(lambda: "● running" in session.line("Garden"))
        await session.shows("garden started port 8104; pid 77")


async def test_ctrl_c_asks_and_ctrl_c_again_leaves_with_130() -> None:
    async with running() as session:
        await session.press("ctrl+c")
        await session.shows("keep apps running")
        await session.press("ctrl+c")
        await session.until(lambda: session.app.return_code is not None)
        assert session.app.return_code == 130


def test_every_binding_has_an_id_of_its_own_and_no_place_binds_a_key_twice() -> None:
    keys = [*keymap.KEYS, *keymap.MOVES]
    assert len({key.id for key in keys}) == len(keys)
    for place in keymap.Place:
        bound = [name for key in keymap.KEYS if key.place is place for name in key.keys.split(",")]
        assert len(bound) == len(set(bound)), place


def test_addresses_name_the_machine_as_the_ssh_user_reached_it() -> None:
    assert words.host_for_urls({"SSH_CONNECTION": "10.0.0.9 51000 10.0.0.5 22"}, "pi") == "10.0.0.5"
    assert words.host_for_urls({"SSH_CONNECTION": "fe80::9%eth0 51000 fe80::5%eth0 22"}, "pi") == "fe80::5"
    assert words.host_for_urls({}, "pi") == "pi"
    app = records.app_of(fake.app("garden"))
    assert words.url_of(app, "fe80::5") == "http://[fe80::5]:8100"
    dashboard = records.app_of(fake.app("d", manifest={"endpoints": {"ui": "/ui/"}}))
    assert words.url_of(dashboard, "pi") == "http://pi:8100/ui"


def test_a_record_of_a_newer_engine_is_shown_all_the_same() -> None:
    app = records.app_of({"app_id": "x", "status": "dreaming", "runtime_info": {"health": "odd", "restarts": "many"}})
    assert app.status is Status.DISCOVERED and "'dreaming' is unknown" in app.reason
    assert records.app_of({"app_id": "y", "runtime_info": None, "manifest": [], "warnings": 3}).app_id == "y"
    assert records.metrics_of({"hardware": {"cpu": [], "memory": None}}).machine.cpu_percent is None
    assert records.message_of({}).channels == ()


@pytest.mark.parametrize(
    ("keys", "first"),
    [((), "Apps"), (("3",), "Logs"), (("l",), "Log viewer"), (("M",), "System"), (("C",), "Configuration"),
     (("enter",), "App page"), (("f4",), "Machines"), (("4",), "Events")],
)  # fmt: skip
async def test_help_begins_with_the_screen_one_is_on(keys: tuple[str, ...], first: str) -> None:
    async with running(size=(80, 24)) as session:
        await session.on("thermometer")
        await session.press(*keys)
        await session.press("question_mark")
        await session.shows("Help")
        await session.until(lambda: session.text.splitlines()[2].strip("│ ┃") == first)


@pytest.mark.parametrize("size", [(80, 24), (120, 40), (200, 50)])
async def test_help_is_wrapped_and_cut_nowhere(size: tuple[int, int]) -> None:
    async with running(size=size) as session:
        await session.press("question_mark")
        await session.shows("Help")
        view = session.app.screen.query_one("#help")
        await session.until(view.count)
        seen = ""
        for top in range(0, view.count(), view.rows):
            view.top = top
            view.sync()
            await session.pilot.pause()
            seen += session.text
        # One ends with such a sign of its own: "Next file: app, error, access, setup, …".
        assert seen.count("…") == seen.count("setup, …"), seen
        words = " ".join(seen.replace("│", " ").replace("┃", " ").split())
        assert size[0] > 80 or "over SSH its address is copied" in words
        assert "Esc F4 Backspace" in words


async def test_without_an_engine_the_header_tells_no_figures_of_before() -> None:
    async with running(size=(80, 24)) as session:
        await session.shows("●2", "CPU 34%")
        session.transport.lose()
        await session.shows("no engine")
        assert "●2" not in session.text and "CPU 34%" not in session.text
        session.transport.come_back()
        await session.shows("●2", "CPU 34%")


async def test_a_problem_that_is_known_is_hidden_until_there_is_another(tmp_path: Path) -> None:
    transport = FakeTransport()
    known = "/home/pi/homehelper/config/config.json: not valid JSON; kept as config.json.corrupt"
    transport.about["problems"] = [known]
    preferences = Preferences(tmp_path / "preferences.json")
    async with running(transport, preferences=preferences) as session:
        await session.shows("kept as config.json.corrupt (D hides it)")
        await session.press("D")
        await session.hides("kept as config.json.corrupt")
    preferences.save()
    async with running(transport, preferences=Preferences(tmp_path / "preferences.json")) as session:
        await session.shows("1 Apps")
        assert "kept as config.json.corrupt" not in session.text
        transport.about["problems"] = [known, "the disk is full"]
        transport.emit(event(99, "error", "system", message="the disk is full"))
        await session.shows("the disk is full (D hides it)")
        assert "kept as config.json.corrupt" not in session.text
