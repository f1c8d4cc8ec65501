"""The dashboard: apps, hardware, the chosen app's log, and the event stream."""

from __future__ import annotations

from typing import ClassVar

from textual import events, on
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container
from textual.timer import Timer

from hhtui.client.records import BusMessage
from hhtui.tui import keymap
from hhtui.tui.apps.table import AppsTable
from hhtui.tui.events.stream import EventStream
from hhtui.tui.keymap import Place
from hhtui.tui.logs.view import LogView
from hhtui.tui.machine.gauges import Gauges
from hhtui.tui.screen import HomeScreen
from hhtui.tui.session.link import AppsChanged
from hhtui.tui.text.line_view import LineView

PANELS = ("apps", "hardware", "log", "events")
_PLACES = {"apps": Place.APPS, "hardware": Place.HARDWARE, "log": Place.LOG, "events": Place.EVENTS}
_APP_KEYS = tuple(
    key.id for key in keymap.KEYS if key.place is Place.APPS and key.action.split("(")[0] in
    ("command", "autostart", "remove", "open_settings", "open_logs", "visit", "copy_url", "update", "roll_back",
     "move")
)  # fmt: skip
NARROW, SHORT = 100, 30
_NEIGHBOUR = {"apps": "hardware", "hardware": "apps", "log": "events", "events": "log"}


class Dashboard(HomeScreen):
    """All four panels from 100×30 on; below that the apps and one other panel, chosen by its number."""

    BINDINGS: ClassVar[list[BindingType]] = [
        *keymap.bindings(Place.DASHBOARD),
        *keymap.bindings(Place.APPS, only=_APP_KEYS),
    ]
    AUTO_FOCUS = "#apps"

    def __init__(self) -> None:
        super().__init__()
        self.apps = AppsTable(id="apps")
        self.gauges = Gauges(id="hardware")
        self.log_view = LogView(id="log", number="3")
        self.stream = EventStream(id="events")
        self._beside = "log"
        self._zoomed: str | None = None
        self._wanted = ""
        self.hidden: set[str] = set()
        self._soon: Timer | None = None

    def compose_body(self) -> ComposeResult:
        """The panels, arranged as they were left: to style them again costs the first paint milliseconds."""
        saved = self.hh.preferences.values
        self._beside = saved.panel if saved.panel in PANELS[1:] else self._beside
        self._zoomed = saved.zoomed if saved.zoomed in PANELS else None
        self.hidden = {name for name in saved.hidden if name in PANELS[1:]}
        self._wanted = saved.app
        self._arrange()
        with Container(id="panels"):
            yield from self._panels

    def on_mount(self) -> None:
        """Show what is known already."""
        if self._zoomed is not None:
            self.set_focus(self._panels[PANELS.index(self._zoomed)])
        self._load_apps()

    def _load_apps(self) -> None:
        """Take the apps from the link; the cursor goes to the app it stood on the last time, once that is there."""
        self.apps.load(keep=self._wanted or None)
        if self.hh.link.snapshot.apps_known:
            self._wanted = ""

    @property
    def _panels(self) -> tuple[LineView, ...]:
        return (self.apps, self.gauges, self.log_view, self.stream)

    # Layout

    def on_resize(self, event: events.Resize) -> None:
        """Another size may be another arrangement."""
        self._arrange()

    def _arrange(self) -> None:
        size = self.app.size
        narrow, short = size.width < NARROW, size.height < SHORT
        few = narrow or short
        self.set_class(few, "-few")
        self.set_class(few and not narrow, "-beside")
        self.set_class(self._zoomed is not None, "-zoomed")
        for name, panel in zip(PANELS, self._panels, strict=True):
            if self._zoomed is not None:
                panel.display = name == self._zoomed
            else:
                panel.display = name in ("apps", self._beside) if few else name not in self.hidden
            # Where its neighbour is hidden a panel has both columns.
            panel.styles.column_span = 2 if not few and _NEIGHBOUR[name] in self.hidden else 1
        self.set_class(not few and {"log", "events"} <= self.hidden, "-one-row")
        if self.status.hardware is self.gauges.display:
            self.status.hardware = not self.gauges.display
            self.status.load()

    def action_panel(self, name: str) -> None:
        """Go to a panel; where not all fit it takes the second place."""
        self.hidden.discard(name)
        self.hh.preferences.values.hidden = tuple(sorted(self.hidden))
        if name != "apps":
            self._beside = self.hh.preferences.values.panel = name
        if self._zoomed is not None:
            self._zoomed = self.hh.preferences.values.zoomed = name
        self._arrange()
        # At once: ``focus`` would take it back from a field that the next key asks for.
        self.set_focus(self._panels[PANELS.index(name)])

    def action_next_panel(self, step: int) -> None:
        """The next panel, also one that is hidden now."""
        focused = self.focused.id if self.focused is not None else None
        at = PANELS.index(focused) if focused in PANELS else -step
        self.action_panel(PANELS[(at + step) % len(PANELS)])

    def action_zoom(self) -> None:
        """The focused panel over the whole screen, and back."""
        focused = self.focused.id if self.focused is not None else None
        self._zoomed = None if self._zoomed is not None else focused if focused in PANELS else "apps"
        self.hh.preferences.values.zoomed = self._zoomed or ""
        self._arrange()

    def action_hide(self) -> None:
        """Hide the focused panel for the others to have its room; from the apps, show all again."""
        name = self.focused.id if self.focused is not None else None
        if name in PANELS and name != "apps":
            self.hidden.add(name)
            self._zoomed = None
            self.set_focus(self.apps)
            self.hh.say(f"The {name} panel is hidden: {PANELS.index(name) + 1} brings it back, H all of them.")
        elif self.hidden:
            self.hidden.clear()
        else:
            self.hh.say("The apps panel is always there; go to another one with 2, 3 or 4 to hide that.", "warning")
        self.hh.preferences.values.hidden = tuple(sorted(self.hidden))
        self._arrange()

    def action_back(self) -> None:
        """Drop the filter of the focused panel, the selection, the zoom, whichever comes first."""
        view = self.focused
        if isinstance(view, AppsTable | EventStream) and view.filter:
            view.set_filter("")
        elif (isinstance(view, LogView) and view.drop()) or self.apps.unmark():
            return
        elif self._zoomed is not None:
            self.action_zoom()
        elif view is not self.apps:
            self.set_focus(self.apps)

    def on_descendant_focus(self, event: events.DescendantFocus) -> None:
        """Other keys work in another panel."""
        self._keys()

    def _keys(self) -> None:
        focused = self.focused
        name = focused.id if focused is not None else None
        places = [_PLACES[name]] if name in PANELS else []
        if name in ("hardware", "apps", None):
            places = [Place.APPS]
        # The palette needs the room; the app's page shows this key.
        self.key_bar.show(*places, Place.DASHBOARD, without=("app.visit",))

    # What the link reports

    def caught_up(self) -> None:
        super().caught_up()
        self._load_apps()
        self.gauges.load()
        self.stream.sync()
        self.log_view.app_changed()

    def apps_changed(self, change: AppsChanged) -> None:
        super().apps_changed(change)
        if change.came_or_went or self.apps.ordered_by_figures:
            self._load_apps()
        else:
            self.apps.names_changed(change.changed)
            self.apps.sync()
        if self.log_view.app_id in change.changed:
            self.log_view.app_changed()

    def metrics_changed(self) -> None:
        self.gauges.load()
        if self.status.hardware:
            self.status.load()

    def engine_changed(self) -> None:
        super().engine_changed()
        self._load_apps()

    def events_arrived(self, messages: list[BusMessage]) -> None:
        self.stream.add(messages)

    def ticked(self) -> None:
        super().ticked()
        self.apps.sync()
        self.log_view.tick()

    # The panels

    @on(LineView.Chosen)
    def _chosen(self, message: LineView.Chosen) -> None:
        if isinstance(message.view, AppsTable):
            if self.apps.current and not self._wanted:
                self.hh.preferences.values.app = self.apps.current
            # Somebody who runs through the list does not want a log at each step.
            if self._soon is not None:
                self._soon.stop()
            self._soon = self.set_timer(0.12, self._show_log)

    def _show_log(self) -> None:
        if self.apps.current or not self.apps.ids:
            self.log_view.show(self.apps.current)

    @on(EventStream.Opened)
    def _open_event(self, message: EventStream.Opened) -> None:
        from hhtui.tui.events.details import EventDetails

        self.app.push_screen(EventDetails(message.stream, message.message))

    def target_ids(self) -> list[str]:
        return self.apps.targets()

    def current_id(self) -> str | None:
        return self.apps.current

    def action_filter(self) -> None:
        """Type a filter for the events if they are focused, else for the apps."""
        view: AppsTable | EventStream = self.stream if self.focused is self.stream else self.apps
        if view is self.apps and self._zoomed not in (None, "apps"):
            return
        self.prompt.ask(f"filter {view.id}: ", view.filter, view.set_filter, view.set_filter)
