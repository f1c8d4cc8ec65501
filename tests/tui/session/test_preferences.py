"""What the interface remembers of a home."""

from __future__ import annotations

import json
import os
from pathlib import Path

import pytest

from hhtui.tui.session.preferences import Preferences, PreferenceValues, state_folder
from tests.tui.screen import running


@pytest.fixture
def environ(tmp_path: Path) -> dict[str, str]:
    return {"XDG_STATE_HOME": str(tmp_path / "state")}


async def test_looks_and_layout_come_back_the_next_time(environ: dict[str, str]) -> None:
    preferences = Preferences.of("/home/pi/homehelper", environ)
    async with running(preferences=preferences, size=(80, 24)) as session:
        await session.on("doorbell")
        await session.press("o", "o", "f2", "4", "3", "w", "t", "z")
        await session.until(lambda: preferences.values.app == "doorbell")
        app = session.app
        theme, sorting = app.theme, app.screen.apps.sorting
        assert theme != "homehelper"
    preferences.save()
    async with running(preferences=Preferences.of("/home/pi/homehelper", environ), size=(80, 24)) as session:
        screen = session.app.screen
        assert (session.app.theme, screen.apps.sorting) == (theme, sorting)
        assert session.app.looks == session.app.current_looks()
        await session.until(lambda: screen.apps.current == "doorbell")
        assert (screen.log_view.wrapping, screen.log_view.times) == (True, 1)
        assert screen.log_view.display and not screen.apps.display
        await session.press("z")
        assert screen.apps.display and not screen.gauges.display


async def test_groups_the_reversed_order_and_hidden_panels_come_back(environ: dict[str, str]) -> None:
    preferences = Preferences.of("/home/pi/homehelper", environ)
    async with running(preferences=preferences) as session:
        await session.press("O", "T", "4", "H")
        await session.hides("4 Events")
    preferences.save()
    async with running(preferences=Preferences.of("/home/pi/homehelper", environ)) as session:
        await session.shows("by name, reversed · grouped by state")
        assert "4 Events" not in session.text
        await session.press("4")
        await session.shows("4 Events")
    assert session.app.preferences.values.hidden == ()


async def test_a_filter_is_forgotten(environ: dict[str, str]) -> None:
    preferences = Preferences.of("/home/pi/homehelper", environ)
    async with running(preferences=preferences) as session:
        await session.press("slash")
        await session.type("garden")
        await session.press("enter")
        await session.shows("1 of 9")
    preferences.save()
    async with running(preferences=Preferences.of("/home/pi/homehelper", environ)) as session:
        await session.hides("1 of 9")


async def test_an_app_that_is_gone_leaves_the_cursor_on_the_first(environ: dict[str, str]) -> None:
    preferences = Preferences.of("/home/pi/homehelper", environ)
    preferences.values.app = "gone"
    async with running(preferences=preferences) as session:
        await session.until(lambda: session.app.screen.apps.current == "broken")


def test_each_home_has_its_own(environ: dict[str, str]) -> None:
    kitchen = Preferences.of("pi@kitchen:/opt/homehelper", environ)
    garden = Preferences.of("pi@garden:/opt/homehelper", environ)
    kitchen.values.theme = "nord"
    kitchen.save()
    garden.save()
    assert Preferences.of("pi@kitchen:/opt/homehelper", environ).values.theme == "nord"
    assert Preferences.of("pi@garden:/opt/homehelper", environ).values == PreferenceValues()


def test_nothing_is_written_when_nothing_changed(environ: dict[str, str], tmp_path: Path) -> None:
    preferences = Preferences.of("/home/pi/homehelper", environ)
    preferences.save()
    assert not (tmp_path / "state").exists()
    preferences.values.log_wrap = True
    preferences.save()
    (written,) = (tmp_path / "state/hhtui/interface").iterdir()
    assert written.stat().st_mode & 0o777 == 0o600
    before = written.stat().st_ino
    preferences.save()
    assert written.stat().st_ino == before


@pytest.mark.parametrize(
    "content", [b"", b"\x00\xff", b"[]", b"{", b'{"theme": 5, "hidden": [1], "log_times": true, "app": null}',
                json.dumps({"theme": "x" * 300, "sort": ["a"]}).encode()]
)  # fmt: skip
def test_a_broken_file_costs_nothing(environ: dict[str, str], tmp_path: Path, content: bytes) -> None:
    preferences = Preferences.of("/home/pi/homehelper", environ)
    preferences.values.log_wrap = True
    preferences.save()
    (written,) = (tmp_path / "state/hhtui/interface").iterdir()
    written.write_bytes(content)
    assert Preferences.of("/home/pi/homehelper", environ).values == PreferenceValues()


def test_a_folder_that_cannot_be_made_costs_nothing(tmp_path: Path) -> None:
    (tmp_path / "file").write_text("")
    preferences = Preferences.of("/home/pi/homehelper", {"XDG_STATE_HOME": str(tmp_path / "file")})
    preferences.values.log_wrap = True
    preferences.save()
    assert (tmp_path / "file").read_text() == ""


def test_another_users_folder_is_left_alone(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(os, "geteuid", lambda: tmp_path.stat().st_uid + 1)
    assert state_folder({"HOME": str(tmp_path)}) is None
    assert state_folder({}) is None
    assert state_folder({"XDG_STATE_HOME": "relative"}) is None
