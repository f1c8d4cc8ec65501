"""The palette offers everything, where it makes sense."""

from __future__ import annotations

import pytest

from hhtui.tui import keymap, themes
from hhtui.tui.commands import NOT_OFFERED, HomeCommands
from tests.tui.screen import Session, running


def offered(session: Session) -> list[str]:
    provider = HomeCommands(session.app.screen)
    return [offer.text + " " + offer.help for offer in (*provider._general(), *provider._apps())]


# Where each place's keys work: what to press on the dashboard to get there.
WAYS = {
    "apps": (),
    "hardware": ("2",),
    "log": ("3",),
    "events": ("4",),
    "app page": ("enter",),
    "viewer": ("l",),
    "details": ("4", "enter"),
}


async def test_each_action_is_in_the_palette_where_it_works() -> None:
    found = ""
    async with running() as session:
        await session.on("thermometer")
        for keys in WAYS.values():
            if keys:
                await session.press(*keys)
            found += "\n".join(offered(session))
            while len(session.app.screen_stack) > 1:
                await session.press("escape")
            await session.press("1")
    missing = [key.id for key in keymap.KEYS if f"({key.id})" not in found and key.id not in NOT_OFFERED]
    assert missing == []


async def test_apps_verbs_and_themes_are_in_the_palette() -> None:
    async with running() as session:
        found = offered(session)
        for verb in ("Start", "Stop", "Restart", "Install", "Enable", "Disable", "Reset", "Open", "Logs of"):
            assert f"{verb} Garden garden" in found
        for name in themes.OFFERED:
            assert any(line.startswith(f"Theme: {name} ") for line in found)


async def test_an_action_of_the_focused_panel_runs_from_the_palette() -> None:
    async with running() as session:
        await session.on("thermometer")
        await session.press("3", "colon")
        await session.type("wrap long lines")
        await session.shows("(log.wrap)")
        await session.until(lambda: session.app.screen.query_one("CommandList").option_count > 0)
        await session.press("enter")
        await session.until(lambda: session.app.screen_stack[0].log_view.wrapping)


@pytest.mark.parametrize("text", ["Start", "Undo the last", "Stop Garden"])
async def test_read_only_offers_nothing_that_changes(text: str) -> None:
    async with running(read_only=True) as session:
        assert not [line for line in offered(session) if line.startswith(text)]
