"""The palette: every action of the keymap, every app, every theme."""

from __future__ import annotations

from collections.abc import Callable, Iterable
from functools import partial
from typing import NamedTuple, cast

from textual.command import DiscoveryHit, Hit, Hits, Provider
from textual.content import Content

from hhtui.client.words import name_of
from hhtui.model.states import Verb
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.session.browser import visit
from hhtui.tui.session.interface import Interface

_VERBS = (Verb.START, Verb.STOP, Verb.RESTART, Verb.INSTALL, Verb.ENABLE, Verb.DISABLE, Verb.RESET)
# The palette itself, what only closes a screen or moves the focus, and a key that is for hands alone.
NOT_OFFERED = frozenset(
    {"app.palette", "app.interrupt", "panel.escape"}
    | {key.id for key in keymap.KEYS if key.action == "close" or key.keys in ("tab", "shift+tab")}
)


class Offer(NamedTuple):
    """One line of the palette."""

    text: str
    help: str
    run: Callable[[], object]


class HomeCommands(Provider):
    """What the palette offers; verbs for single apps are offered once something is typed."""

    @property
    def hh(self) -> Interface:
        """The app, with its own type."""
        return cast("Interface", self.app)

    async def discover(self) -> Hits:
        """What is offered before anything is typed."""
        for offer in self.general():
            yield DiscoveryHit(Content(offer.text), offer.run, text=offer.text, help=offer.help)

    async def search(self, query: str) -> Hits:
        """What matches."""
        matcher = self.matcher(query)
        for offer in (*self.general(), *self.for_apps()):
            score = matcher.match(offer.text)
            if score > 0:
                yield Hit(score, Content(offer.text), offer.run, text=offer.text, help=offer.help)

    def general(self) -> Iterable[Offer]:
        """What is offered whatever apps there are."""
        hh = self.hh
        # Besides what makes sense everywhere: what works on the screen below, where the focus is.
        here = {active.binding.id for active in self.screen.active_bindings.values()} - NOT_OFFERED
        for key in keymap.KEYS:
            if (key.palette or key.id in here) and not (key.writes and hh.read_only):
                shown = " ".join(keymap.keys_of(key, hh.changed_keys))
                yield Offer(key.help, f"{shown}  ({key.id})", partial(self._run, key.action))
        for name in hh.offered_themes:
            yield Offer(f"Theme: {name}", "Colours of the whole interface", partial(hh.set_theme, name))
        if not (hh.read_only or hh.in_browser):
            yield Offer(
                "Stop all apps and the engine, and quit",
                "Asks first; the interface ends with them",
                hh.ask_to_stop,
            )
            yield Offer("Quit and leave everything running", "Apps and engine go on", hh.leave)

    def for_apps(self) -> Iterable[Offer]:
        """What is offered for each app."""
        hh = self.hh
        for app in hh.link.snapshot.apps.values():
            name = sanitise(name_of(app), 60)
            yield Offer(f"Open {name}", app.app_id, partial(hh.open_app, app.app_id))
            yield Offer(f"Visit {name}", app.app_id, partial(visit, hh, app))
            yield Offer(f"Logs of {name}", app.app_id, partial(hh.open_logs, app.app_id))
            yield Offer(f"Settings of {name}", app.app_id, partial(hh.open_settings, app.app_id))
            if not hh.read_only:
                for verb in _VERBS:
                    yield Offer(
                        f"{verb.value.capitalize()} {name}", app.app_id, partial(hh.send_command, verb, [app.app_id])
                    )
                yield Offer(f"Update {name}", app.app_id, partial(hh.update_app, app.app_id))
                yield Offer(f"Go back to an earlier {name}", app.app_id, partial(hh.roll_back_app, app.app_id))
                yield Offer(f"Remove {name}", app.app_id, partial(hh.remove_app, app.app_id))

    async def _run(self, action: str) -> None:
        # The palette has closed by then: the action belongs to the screen below, and to what is focused there.
        screen = self.hh.screen
        target = screen.focused or screen
        if not await self.hh.run_action(action, target):
            await self.hh.run_action(action, screen)
