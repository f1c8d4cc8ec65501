"""An empty home explains itself, and makes the first app."""

from __future__ import annotations

import json
from pathlib import Path

from hhtui.tui.session.preferences import Preferences
from tests.tui import fake
from tests.tui.fake import FakeTransport
from tests.tui.screen import Session, running


def empty() -> FakeTransport:
    transport = FakeTransport()
    transport.records = {}
    return transport


async def appears(session: Session, app_id: str, status: str) -> None:
    session.transport.records[app_id] = fake.app(app_id, status)
    session.transport.emit(fake.event(90, "app_discovered", app_id))


async def test_an_empty_home_is_explained_until_it_is_left_and_f3_explains_it_again() -> None:
    async with running(empty()) as session:
        await session.shows("Welcome", "homehelper.json", "/home/pi/homehelper/apps", "F3 comes back")
        await session.press("escape")
        await session.shows("No apps yet.")
        await session.press("f3")
        await session.shows("Welcome")
        await session.press("enter")
        await session.hides("Welcome")


async def test_examples_are_told_whole_and_the_cursor_goes_from_one_to_the_next() -> None:
    async with running(empty(), size=(80, 24)) as session:
        await session.press("e")
        await session.shows("Copy an example", "2 crasher: Works for three seconds", "traceback: shows restarts")
        assert "…" not in session.text
        answers = session.app.screen.query_one("Answers")
        await session.press("down", "down", "up", "j")
        assert answers.key(answers.cursor)[1].startswith("dashboard: ")
        await session.press("end", "down")
        assert answers.key(answers.cursor)[1].startswith("thermometer: ")
        await session.press("home", "up")
        assert answers.key(answers.cursor)[1].startswith("clock-worker: ")


async def test_who_has_left_it_is_not_stopped_by_it_at_another_time(tmp_path: Path) -> None:
    preferences = Preferences(tmp_path / "preferences.json")
    async with running(empty(), preferences=preferences) as session:
        await session.shows("Welcome")
        await session.press("escape")
        await session.shows("No apps yet.")
    preferences.save()
    async with running(empty(), preferences=Preferences(tmp_path / "preferences.json")) as session:
        await session.shows("No apps yet.")
        assert "Welcome" not in session.text
        await session.press("f3")
        await session.shows("Welcome")
    async with running(empty(), preferences=Preferences(tmp_path / "another.json")) as session:
        await session.shows("Welcome")


async def test_it_goes_by_itself_when_the_first_app_is_there() -> None:
    async with running(empty()) as session:
        await session.shows("Welcome")
        await appears(session, "garden", "stopped")
        await session.hides("Welcome")
        await session.shows("1 Apps")


async def test_a_home_with_apps_is_not_explained_unless_asked() -> None:
    async with running() as session:
        await session.shows("1 Apps")
        await session.press("f3")
        await session.shows("First steps")
        assert "Welcome" not in session.text
        await appears(session, "garden", "stopped")
        await session.shows("First steps")


async def test_s_makes_a_service_and_offers_to_start_it(tmp_path: Path) -> None:
    async with running(empty(), home=tmp_path) as session:
        await session.shows("Welcome")
        await session.press("s")
        await session.shows("name of the new service app: hello")
        await session.press(*["backspace"] * 5, *"My-Bell", "enter")
        made = tmp_path / "apps" / "My-Bell"
        await session.until((made / "app.py").exists)
        assert json.loads((made / "homehelper.json").read_text())["type"] == "service"
        await appears(session, "my-bell", "stopped")
        await session.shows("The app is there")
        await session.press("y")
        await session.until(lambda: ("start", "my-bell") in {order[:2] for order in session.transport.orders})


async def test_w_makes_a_streamlit_app_and_one_that_runs_is_not_asked_about(tmp_path: Path) -> None:
    async with running(empty(), home=tmp_path) as session:
        await session.press("w", "enter")
        await session.until((tmp_path / "apps" / "hello" / "requirements.txt").exists)
        await appears(session, "hello", "running")
        await session.hides("Welcome")
        assert "The app is there" not in session.text


async def test_e_copies_an_example(tmp_path: Path) -> None:
    async with running(empty(), home=tmp_path) as session:
        await session.press("e")
        await session.shows("Copy an example", "hello-http")
        await session.press("1")
        await session.until(lambda: list((tmp_path / "apps").glob("*/homehelper.json")))


async def test_a_bad_name_and_a_folder_that_is_there_are_told(tmp_path: Path) -> None:
    (tmp_path / "apps" / "hello").mkdir(parents=True)
    (tmp_path / "apps" / "hello" / "something").touch()
    async with running(empty(), home=tmp_path) as session:
        await session.press("s", "enter")
        await session.shows("is there already and not empty")
        await session.press("s", *["backspace"] * 5, *"../x", "enter")
        await session.shows("letters, digits")
        assert not (tmp_path / "x").exists()


async def test_read_only_makes_nothing(tmp_path: Path) -> None:
    async with running(empty(), home=tmp_path, read_only=True) as session:
        await session.shows("off: read-only")
        for key in ("s", "w", "e"):
            await session.press(key)
        await session.shows("nothing is made")
        assert not (tmp_path / "apps").exists()


async def test_a_home_on_another_machine_is_told(tmp_path: Path) -> None:
    async with running(empty(), home=tmp_path, home_is_here=False) as session:
        await session.press("s")
        await session.shows("make the app there")
    async with running(empty(), home=tmp_path / "nowhere") as session:
        await session.press("s")
        await session.shows("make the app there")
    assert not (tmp_path / "apps").exists()


async def test_on_a_small_screen_no_line_is_cut() -> None:
    for size in ((80, 24), (60, 24)):
        async with running(empty(), size=size) as session:
            await session.shows("Welcome")
            words = " ".join(" ".join(line.strip("│ ┃") for line in session.text.splitlines()).split())
            assert "a small Streamlit app: installed first, then started by its first visit" in words
