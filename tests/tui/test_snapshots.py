"""The main screens as pictures. After a wanted change: ``pytest tests/tui/test_snapshots.py --snapshot-update``."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import pytest
from textual.pilot import Pilot

from hhtui.tui.app import HomeHelperApp
from tests.tui.fake import FakeTransport, make_interface
from tests.tui.screen import Session

SMALL, NORMAL, WIDE = (80, 24), (120, 40), (160, 50)


def settled(*keys: str, shows: str = "1 Apps") -> Callable[[Pilot[Any]], Any]:
    async def before(pilot: Pilot[Any]) -> None:
        assert isinstance(pilot.app, HomeHelperApp)
        transport = pilot.app.connector.transport  # type: ignore[attr-defined]
        session = Session(pilot.app, pilot, transport)
        await session.until(lambda: pilot.app.link.recent and pilot.app.link.snapshot.metrics)
        await session.on("thermometer")
        await session.until(lambda: session.app.screen.log_view.window.lines)
        for key in keys:
            await session.press(key)
        await session.shows(shows)
        await pilot.pause(0.2)

    return before


@pytest.mark.parametrize(
    ("size", "keys", "shows"),
    [
        pytest.param(SMALL, (), "line 1000", id="dashboard_small"),
        pytest.param(NORMAL, (), "line 1000", id="dashboard_normal"),
        pytest.param(WIDE, (), "line 1000", id="dashboard_wide"),
        pytest.param(SMALL, ("enter",), "Timeline", id="app_page_small"),
        pytest.param(NORMAL, ("enter",), "Sizes", id="app_page_normal"),
        pytest.param(WIDE, ("enter", "m"), "homehelper.json", id="app_page_wide"),
        pytest.param(NORMAL, ("l",), "line 1000", id="log_viewer_normal"),
        pytest.param(WIDE, ("question_mark",), "Everywhere", id="help_wide"),
        pytest.param(SMALL, ("q",), "keep apps running", id="quit_small"),
        pytest.param(SMALL, ("plus",), "in the catalogues", id="add_small"),
        pytest.param(SMALL, ("plus", "enter"), "y does it", id="add_preview_small"),
        pytest.param(SMALL, ("M",), "systemd", id="system_small"),
        pytest.param(NORMAL, ("M",), "localhost:6379", id="system_normal"),
        pytest.param(WIDE, ("M",), "localhost:6379", id="system_wide"),
        pytest.param(SMALL, ("C",), "redis.port", id="config_small"),
        pytest.param(NORMAL, ("C",), "redis.port", id="config_normal"),
        pytest.param(WIDE, ("C",), "redis.port", id="config_wide"),
    ],
)
def test_screen(snap_compare: Any, size: tuple[int, int], keys: tuple[str, ...], shows: str) -> None:
    assert snap_compare(make_interface(), terminal_size=size, run_before=settled(*keys, shows=shows))


def test_dashboard_in_ascii(snap_compare: Any) -> None:
    app = make_interface(encoding="ascii")
    assert snap_compare(app, terminal_size=SMALL, run_before=settled(shows="* running"))


def test_dashboard_in_high_contrast(snap_compare: Any) -> None:
    app = make_interface(FakeTransport())
    app.theme = "high-contrast"
    app.looks = app.current_looks()
    assert snap_compare(app, terminal_size=SMALL, run_before=settled(shows="line 1000"))


@pytest.mark.parametrize("size", [SMALL, NORMAL, WIDE], ids=["small", "normal", "wide"])
def test_first_run(snap_compare: Any, size: tuple[int, int]) -> None:
    transport = FakeTransport()
    transport.records = {}

    async def before(pilot: Pilot[Any]) -> None:
        assert isinstance(pilot.app, HomeHelperApp)
        session = Session(pilot.app, pilot, transport)
        await session.shows("Welcome")
        await pilot.pause(0.2)

    assert snap_compare(make_interface(transport), terminal_size=size, run_before=before)


@pytest.mark.parametrize("keys", ["M", "C"], ids=["system", "config"])
def test_screen_in_ascii(snap_compare: Any, keys: str) -> None:
    app = make_interface(encoding="ascii")
    shows = "systemd" if keys == "M" else "redis.port"
    assert snap_compare(app, terminal_size=SMALL, run_before=settled(keys, shows=shows))


@pytest.mark.parametrize("keys", ["M", "C"], ids=["system", "config"])
def test_screen_without_colours(snap_compare: Any, keys: str, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("NO_COLOR", "1")
    shows = "systemd" if keys == "M" else "redis.port"
    assert snap_compare(make_interface(), terminal_size=SMALL, run_before=settled(keys, shows=shows))
