"""The System screen: graphs over time, processes, Redis, the engine's own figures, alerts."""

from __future__ import annotations

from datetime import UTC, datetime, timedelta

from hhtui.tui.machine.history import Sample, ceiling, columns_of, rows_of
from tests.tui import fake
from tests.tui.fake import FakeTransport
from tests.tui.hostile import ALL
from tests.tui.screen import BORDERS, Session, running

NOW = datetime(2026, 11, 24, 11, 20, 0, tzinfo=UTC)


def samples(*ages_and_values: tuple[float, float | None]) -> list[Sample]:
    return [Sample(NOW - timedelta(seconds=age), {"x": value}) for age, value in ages_and_values]


async def opened(session: Session) -> None:
    await session.press("M")
    await session.shows("History", "Processes")


def test_an_older_sample_holds_until_the_next_and_a_hole_stays_a_hole() -> None:
    drawn = columns_of(samples((90, 10), (60, 20), (20, 30)), "x", NOW, 100, 10, 35)
    assert drawn == [10, 10, 10, 20, None, None, None, 30, 30, 30]


def test_columns_stay_where_they_are_while_time_goes_on_within_one() -> None:
    many = samples(*((age, age) for age in range(100, 0, -1)))
    first = columns_of(many, "x", NOW, 100, 10, 35)
    later = columns_of(many, "x", NOW + timedelta(seconds=5), 100, 10, 35)
    assert first[:-1] == later[:-1]


def test_a_known_value_shows_a_dot_and_a_hole_shows_none() -> None:
    assert rows_of([0, 0, None, None], 0, 100, 2, braille=True, ramp="") == ["  ", "⣀ "]
    assert rows_of([100, 50], 0, 100, 2, braille=True, ramp="") == ["⡇", "⣿"]
    assert rows_of([0, 100, None], 0, 100, 1, braille=False, ramp=" .#") == [".# "]


def test_the_network_scale_is_a_round_number_of_bytes() -> None:
    assert [ceiling(value) for value in (0, 1024, 1025, 2**20)] == [1024, 1024, 4096, 2**20]


async def test_it_shows_graphs_processes_redis_and_the_engine() -> None:
    transport = FakeTransport()
    transport.about |= {"rss_mb": 38.1, "loop_lag_ms": 1.5, "threads": 4, "fds": 30, "watches": 5,
                        "cpu_percent": 0.7, "export": "http://127.0.0.1:8000",
                        "socket_users": "root and members of the group pi"}  # fmt: skip
    async with running(transport, size=(160, 50)) as session:
        await opened(session)
        await session.shows("61.2%", "members of the group pi", "30 open files", "1.5 ms", "http://127.0.0.1:8000")
        await session.shows("localhost:6379", "version 7.2.4", "0.21 ms", "431 events", "1.2 MiB")
        assert "thermometer" in session.line("61.2%")
        assert "min" in session.line("CPU  ")
        assert any("\u2801" <= letter <= "\u28ff" for letter in session.text)


async def test_m_works_on_every_screen_and_escape_leads_back() -> None:
    async with running() as session:
        await session.on("thermometer")
        await session.press("enter")
        await session.shows("Timeline")
        await opened(session)
        await session.press("escape")
        await session.shows("Timeline")


async def test_t_changes_the_span_and_asks_for_its_history() -> None:
    async with running() as session:
        await opened(session)
        for words, since in (("1 hour", "1h"), ("1 day", "1d"), ("10 minutes", "10m")):
            await session.press("t")
            await session.shows(f"History · {words}")
            await session.until(lambda since=since: f"history {since}" in session.transport.requests)


async def test_panels_are_chosen_walked_through_and_zoomed() -> None:
    async with running(size=(80, 24)) as session:
        await opened(session)
        assert "Engine, Redis" not in session.text
        await session.press("3")
        await session.shows("3 Engine, Redis, alerts", "Version")
        await session.hides("2 Processes")
        await session.press("shift+tab")
        await session.shows("2 Processes")
        await session.press("z")
        await session.hides("1 History")
        await session.press("tab")
        await session.shows("3 Engine")
        await session.press("escape")
        await session.shows("1 History")
        await session.press("1")
        assert session.app.focused.id == "history"


async def test_processes_are_sorted_and_opened() -> None:
    async with running() as session:
        await opened(session)
        await session.press("2")
        await session.shows("by CPU", "61.2%")
        await session.press("o")
        await session.shows("by memory")
        assert session.text.index("systemd") < session.text.index("thermometer")
        await session.press("enter")
        await session.shows("belongs to no app")
        await session.press("o", "home", "enter")
        await session.shows("Timeline")


async def test_alerts_stand_with_their_limit_and_since_when() -> None:
    transport = FakeTransport()
    transport.up_alerts = [
        {"key": "disk:/", "rule": "disk", "message": "/ is 93 % full", "limit": 90.0, "raised_at": fake.at(7200)}
    ]
    transport.history.append(fake.event(6, "alert_cleared", "system", 50, message="the memory is well again"))
    async with running(transport, size=(160, 50)) as session:
        await opened(session)
        await session.shows("93 % full", "limit 90", "2h", "over: ", "well again")


async def test_an_engine_without_these_answers_says_so_in_a_line() -> None:
    async with running() as session:
        session.transport.gone = True
        await opened(session)
        await session.press("2")
        await session.shows("no engine runs on")


async def test_hostile_names_and_answers_are_shown_as_text_alone() -> None:
    transport = FakeTransport()
    transport.processes_answer = [
        {"pid": 7, "name": ALL, "user": ALL, "cpu_percent": "x", "memory_mb": None, "app_id": ALL}
    ]
    transport.redis_answer = dict.fromkeys((*transport.redis_answer, "error"), ALL)
    transport.redis_answer["details"] = {"clients": ALL, "keys": ALL, "stream_events": ALL, "error": ALL}
    transport.about |= {"socket_users": ALL, "export": ALL, "home": ALL, "problems": [ALL]}
    transport.up_alerts = [{"rule": ALL, "message": ALL, "raised_at": ALL, "limit": ALL}]
    for encoding in ("utf-8", "latin-1", "ascii"):
        async with running(transport, size=(160, 50), encoding=encoding) as session:
            await opened(session)
            await session.press("3", "z")
            await session.shows("Redis")
            assert not any(letter in session.text for letter in "\x1b\x9b\x9d\x90\u202e\u2066\x07\x00\x7f\x08")
            if encoding == "ascii":
                assert session.text.translate(BORDERS).isascii()


async def test_ascii_graphs_are_ascii() -> None:
    async with running(size=(120, 40), encoding="ascii") as session:
        await opened(session)
        await session.shows("now ")
        assert session.text.translate(BORDERS).isascii()
