"""Every place in three sizes and three themes, as text with styles.

After a wanted change: ``pytest tests/tui/test_matrix.py --snapshot-update``.
"""

from __future__ import annotations

import asyncio
import re
from pathlib import Path

import pytest

from hhtui.tui.dialogs.choice import ChoiceScreen
from hhtui.tui.keymap import Place
from hhtui.tui.session.preferences import Preferences
from tests.tui.drawn import drawn
from tests.tui.screen import Session, running
from tests.tui.ways import WAYS

FOLDER = Path(__file__).parent / "__snapshots__" / "test_matrix"
VIEWS = {**{place.value: way for place, way in WAYS.items() if place is not Place.EVERYWHERE}, "Question": ("q",)}
# Attributes, no colour of its own: as tests.tui.drawn tells a style.
COLOURLESS = re.compile(r"(?:[a-z ]+ )?default on default|none")
_SECTION = re.compile(r"^== (.+)\n", re.MULTILINE)


@pytest.mark.parametrize("theme", ["homehelper", "ansi-dark", "NO_COLOR"])
@pytest.mark.parametrize("size", [(80, 24), (120, 40), (160, 50)], ids=["80x24", "120x40", "160x50"])
async def test_every_place_looks_as_it_did(
    size: tuple[int, int], theme: str, monkeypatch: pytest.MonkeyPatch, request: pytest.FixtureRequest
) -> None:
    preferences = Preferences()
    if theme == "NO_COLOR":
        monkeypatch.setenv("NO_COLOR", "1")
    else:
        preferences.values.theme = theme
    name = f"{size[0]}x{size[1]} {theme}"
    seen: dict[str, str] = {}
    async with running(size=size, preferences=preferences) as session:
        await session.until(lambda: session.app.link.recent and session.app.link.snapshot.metrics)
        for view, way in VIEWS.items():
            await session.on("thermometer")
            await session.press(*way)
            seen[view] = await at_rest(session)
            await back(session)
    if request.config.option.update_snapshots:
        for view, text in seen.items():
            keep(view, name, text)
    different = [view for view, text in seen.items() if sections(view).get(name) != text]
    assert different == [], "\n".join(f"{view}:\n{seen[view]}" for view in different[:2])


@pytest.mark.parametrize("view", VIEWS)
def test_without_colour_there_is_none_and_with_one_there_are_some(view: str) -> None:
    for name, text in sections(view).items():
        styles = re.findall(r"^. = (.*)$", text, re.MULTILINE)
        assert all(COLOURLESS.fullmatch(style) for style in styles) is name.endswith("NO_COLOR"), (name, styles)


async def at_rest(session: Session) -> str:
    """What is drawn, once that stands still, without what the place before still reports."""
    session.app.clear_notifications()
    text = ""
    while text != (text := drawn(session.app)):
        await asyncio.sleep(0.1)
        await session.pilot.pause()
    return text


async def back(session: Session) -> None:
    """To the dashboard's apps."""
    while len(session.app.screen_stack) > 1:
        dropped = isinstance(session.app.screen, ChoiceScreen) and "drop them" in session.text
        await session.press("y" if dropped else "escape")
    await session.press("1")


def path_of(view: str) -> Path:
    return FOLDER / f"{view.lower().replace(' ', '_')}.txt"


def sections(view: str) -> dict[str, str]:
    """What is kept of one place, by size and theme."""
    try:
        parts = _SECTION.split(path_of(view).read_text())
    except FileNotFoundError:
        return {}
    return dict(zip(parts[1::2], parts[2::2], strict=True))


def keep(view: str, name: str, text: str) -> None:
    FOLDER.mkdir(parents=True, exist_ok=True)
    kept = {**sections(view), name: text}
    path_of(view).write_text("".join(f"== {each}\n{kept[each]}" for each in sorted(kept)))
