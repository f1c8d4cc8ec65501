"""The palette offers everything, where it makes sense."""

from __future__ import annotations

import pytest

from hhtui.tui import themes
from hhtui.tui.dialogs.palette import NOT_OFFERED, HomeCommands
from hhtui.tui.keymap import Place
from tests.tui.screen import Session, running
from tests.tui.ways import WAYS, keys_of_place


def offered(session: Session) -> list[str]:
    provider = HomeCommands(session.app.screen)
    return [offer.text + " " + offer.help for offer in (*provider.general(), *provider.for_apps())]


@pytest.mark.parametrize("place", list(Place))
async def test_each_action_is_in_the_palette_where_it_works(place: Place) -> None:
    async with running() as session:
        await session.on("thermometer")
        for key in WAYS[place]:
            await session.press(key)
        found = "\n".join(offered(session))
    wanted = [key.id for key in keys_of_place(place) if key.id not in NOT_OFFERED]
    assert [name for name in wanted if f"({name})" not in found] == []


async def test_apps_verbs_and_themes_are_in_the_palette() -> None:
    async with running() as session:
        found = offered(session)
        for verb in ("Start", "Stop", "Restart", "Install", "Enable", "Disable", "Reset", "Open", "Visit", "Logs of"):
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
