"""The gateway: what it has opened, its login, and by which names the apps are reached."""

from __future__ import annotations

import json
from collections.abc import Hashable
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.client.wire import Document
from hhtui.client.words import gateway_lines, gateway_note
from hhtui.errors import HomeHelperError
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.keymap import Place
from hhtui.tui.screen import HomeScreen
from hhtui.tui.session.browser import copy
from hhtui.tui.session.link import AppsChanged
from hhtui.tui.text.cells import Piece, fit, wrap
from hhtui.tui.text.line_view import LineView, TextView
from hhtui.tui.themes import style_sheets

_NAME, _URL = 16, 30
# Caddy, and certificates, take some seconds on a small board.
_SECONDS = 45.0


class GatewayApps(LineView):
    """An app with a page a line, with its address by name."""

    has_cursor = True
    header_rows = 1

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.apps: list[Document] = []

    @property
    def current(self) -> Document | None:
        """The app under the cursor."""
        return self.apps[self.cursor] if self.cursor < len(self.apps) else None

    def count(self) -> int:
        return len(self.apps)

    def key(self, index: int) -> Hashable:
        return json.dumps(self.apps[index], sort_keys=True)

    def draw_header(self, row: int, width: int) -> list[Piece]:
        return [(f" {'APP':<{_NAME}} {'ADDRESS':<{_URL}} NOTE", self.looks.dim)]

    def draw(self, index: int, width: int) -> list[Piece]:
        looks, glyphs, app = self.looks, self.glyphs, self.apps[index]

        def cell(key: str, room: int) -> str:
            return fit(glyphs.keep(sanitise(str(app.get(key) or ""), 200)), room, ellipsis=glyphs.ellipsis) + " "

        return [
            (" " + cell("app_id", _NAME), looks.text),
            (cell("url", _URL), looks.info if app.get("up") else looks.dim),
            (glyphs.keep(gateway_note(app)), looks.warning),
        ]

    def empty_key(self) -> Hashable:
        return None

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        return [(" No names", self.looks.dim)] if row == 0 else []


class GatewayScreen(HomeScreen):
    """What the gateway is, and the apps' names below it; each key does one thing, and says how it went."""

    CSS_PATH = style_sheets("machine", "gateway")
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.GATEWAY)]
    AUTO_FOCUS = "#gateway-apps"

    def __init__(self) -> None:
        super().__init__()
        self.facts = TextView(id="gateway-facts")
        self.apps = GatewayApps(id="gateway-apps")
        self.gateway: Document = {}

    def compose_body(self) -> ComposeResult:
        yield self.facts
        yield self.apps

    def on_mount(self) -> None:
        """Ask how it is."""
        self.facts.can_focus = False
        self.facts.label("The gateway", "")
        self.apps.label("Names", "")
        self.key_bar.show(Place.GATEWAY)
        self.read()

    def on_resize(self) -> None:
        """Lines are wrapped to the width."""
        self.call_after_refresh(self._show)

    def caught_up(self) -> None:
        super().caught_up()
        self.read()

    def apps_changed(self, change: AppsChanged) -> None:
        super().apps_changed(change)
        self.read()

    @work(group="gateway", exclusive=True, exit_on_error=True)
    async def read(self) -> None:
        """Ask the engine anew."""
        try:
            self._take(await self.hh.link.api.gateway())
        except HomeHelperError as error:
            self.hh.say(error.message, "error")

    def _take(self, status: Document) -> None:
        self.gateway = status
        apps = status.get("apps")
        self.apps.apps = [app for app in apps if isinstance(app, dict)] if isinstance(apps, list) else []
        self.apps.sync()
        self._show()

    def _show(self) -> None:
        if not self.facts.content_size or not self.gateway:
            return
        looks, keep = self.hh.looks, self.hh.glyphs.keep
        first = {"up": looks.good, "failed": looks.bad}.get(str(self.gateway.get("state")), looks.text)
        lines: list[list[Piece]] = []
        for number, line in enumerate(gateway_lines(self.gateway)):
            for part in wrap(keep(line), max(self.facts.content_size.width - 2, 20)):
                lines.append([(f" {part}", looks.text if number else first)])
        self.facts.set_lines(lines)

    # Acting

    def action_switch(self) -> None:
        """On, or off."""
        if self._may_write():
            on = not self.gateway.get("enabled")
            self._order({"enabled": on}, "The gateway is on." if on else "The gateway is off.")

    def action_tls(self) -> None:
        """Certificates of its own, or no TLS."""
        if self._may_write():
            tls = "internal" if self.gateway.get("tls") == "off" else "off"
            words = "TLS is on: devices have to trust its certificate." if tls == "internal" else "TLS is off."
            self._order({"enabled": True, "tls": tls}, words)

    def action_password(self) -> None:
        """Type the password that visitors are asked for."""
        if self._may_write():
            self.prompt.ask("password for visitors: ", "", self._typed, secret=True)

    def action_no_password(self) -> None:
        """Visitors need none any more."""
        if self._may_write():
            self._password(None)

    def action_copy(self) -> None:
        """The address of the app under the cursor."""
        if (app := self.apps.current) is not None:
            copy(self.hh, sanitise(str(app.get("title")), 60), sanitise(str(app.get("url")), 300))

    def action_close(self) -> None:
        """Back."""
        self.dismiss()

    def _typed(self, text: str) -> None:
        if text:
            self._password(text)

    @work(group="gateway-write", exit_on_error=True)
    async def _order(self, order: dict[str, Any], done: str) -> None:
        self.hh.say("The gateway is being changed")
        try:
            status = await self.hh.link.api.switch_gateway(order, _SECONDS)
        except HomeHelperError as error:
            self.hh.say(f"Not changed: {error.message}", "error")
            return
        self._take(status)
        if order["enabled"] and status.get("state") != "up":
            self.hh.say(sanitise(str(status.get("problem") or "It takes long to start."), 300), "error")
        else:
            self.hh.say(done)

    @work(group="gateway-write", exit_on_error=True)
    async def _password(self, password: str | None) -> None:
        try:
            self._take(await self.hh.link.api.set_gateway_password(password))
        except HomeHelperError as error:
            self.hh.say(f"Not changed: {error.message}", "error")
            return
        self.hh.say("Visitors are asked for the password." if password else "Visitors are asked for no password.")

    def _may_write(self) -> bool:
        if self.hh.read_only:
            self.hh.say("This interface only watches (--read-only): nothing is changed.", "warning")
        return not self.hh.read_only
