"""A screen that is closed at once, as by two keys in a burst."""

from __future__ import annotations

from hhtui.tui.screen import HomeScreen
from tests.tui.screen import running


async def test_a_screen_that_is_closed_before_it_was_drawn_is_not_filled_any_more() -> None:
    async with running() as session:
        await session.press("question_mark")
        screen = session.app.screen
        assert isinstance(screen, HomeScreen)
        called: list[int] = []
        session.app.pop_screen()
        screen.call_after_refresh(called.append, 1)
        await session.until(lambda: session.app.screen is not screen)
        await session.pilot.pause()
        assert called == []
