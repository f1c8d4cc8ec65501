"""What is on the screen, as text; and waiting for it."""

from __future__ import annotations

import asyncio
import time
from collections.abc import AsyncIterator, Callable
from contextlib import asynccontextmanager
from typing import Any

from textual._compositor import visible_screen_stack
from textual.pilot import Pilot

from hhtui.tui.app import HomeHelperApp
from tests.tui.fake import FakeTransport, make_interface

# What the driver writes for borders where the locale is not UTF-8.
BORDERS = str.maketrans("─│╭╮╰╯", "-|++++")


def lines_of(app: HomeHelperApp) -> list[str]:
    """The screen's lines."""
    visible_screen_stack.set(app._background_screens)
    return ["".join(segment.text for segment in strip).rstrip() for strip in app.screen._compositor.render_strips()]


def text_of(app: HomeHelperApp) -> str:
    """The whole screen."""
    return "\n".join(lines_of(app))


def line_with(app: HomeHelperApp, words: str) -> str:
    """The first line that holds ``words``."""
    found = [line for line in lines_of(app) if words in line]
    assert found, f"{words!r} is not on the screen:\n{text_of(app)}"
    return found[0]


class Session:
    """A running interface: keys in, screen out."""

    def __init__(self, app: HomeHelperApp, pilot: Pilot[Any], transport: FakeTransport) -> None:
        self.app, self.pilot, self.transport = app, pilot, transport

    async def press(self, *keys: str) -> None:
        await self.pilot.press(*keys)
        await self.pilot.pause()

    async def type(self, text: str) -> None:
        await self.press(*text)

    @property
    def text(self) -> str:
        return text_of(self.app)

    @property
    def listed(self) -> bool:
        """Whether apps are in the list, which keys act on."""
        tables = self.app.screen_stack[0].query("#apps")
        return not tables or bool(tables.first().ids)  # type: ignore[attr-defined]

    def line(self, words: str) -> str:
        return line_with(self.app, words)

    async def until(self, condition: Callable[[], Any], what: str = "", seconds: float = 60) -> None:
        """Wait for it; the screen is told if it does not come."""
        deadline = time.monotonic() + seconds
        while not condition():
            assert time.monotonic() < deadline, f"{what or 'it'} did not come:\n{self.text}"
            await asyncio.sleep(0.02)
            await self.pilot.pause()

    async def shows(self, *words: str) -> None:
        """Wait until all of ``words`` are on the screen."""
        for word in words:
            await self.until(lambda word=word: word in self.text, repr(word))

    async def hides(self, *words: str) -> None:
        """Wait until none of ``words`` is on the screen."""
        for word in words:
            await self.until(lambda word=word: word not in self.text, f"the end of {word!r}")

    async def on(self, app_id: str) -> None:
        """Put the cursor on an app."""
        table = self.app.screen_stack[0].query_one("#apps")
        await self.until(lambda: app_id in table.ids)
        table.move_to(table.ids.index(app_id))
        await self.pilot.pause()


@asynccontextmanager
async def running(
    transport: FakeTransport | None = None, size: tuple[int, int] = (120, 40), **options: Any
) -> AsyncIterator[Session]:
    """The interface above a fake transport, up and painted."""
    transport = transport or FakeTransport()
    app = make_interface(transport, **options)
    async with app.run_test(size=size, notifications=True) as pilot:
        session = Session(app, pilot, transport)
        await session.until(lambda: app.link.snapshot.apps_known or transport.gone, "the link")
        await session.until(lambda: not app.link.snapshot.apps or session.listed, "the apps")
        await pilot.pause()
        yield session
