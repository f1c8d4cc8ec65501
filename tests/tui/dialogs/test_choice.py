"""Questions: a key that comes late answers nothing else."""

from __future__ import annotations

from textual import events

from hhtui.tui.sources.add import AddScreen
from tests.tui.screen import running


async def test_keys_that_waited_for_a_question_or_a_screen_that_has_gone_do_nothing() -> None:
    async with running() as session:
        await session.press("plus")
        await session.shows("in the catalogues")
        await session.press("s")
        await session.shows("The engine's ssh key")
        question = session.app.screen
        for _ in range(3):
            question.post_message(events.Key("n", None))
        await session.hides("The engine's ssh key")
        await session.shows("3 in the catalogues")
        screen = session.app.screen
        assert isinstance(screen, AddScreen)
        for _ in range(3):
            screen.call_later(screen.action_close)
        await session.shows("1 Apps")
        assert session.app.return_code is None and len(session.app.screen_stack) == 1
