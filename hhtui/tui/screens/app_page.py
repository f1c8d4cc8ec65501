"""One app: why it is in its state, health, ports, exit, environment names, manifest, and its timeline."""

from __future__ import annotations

import json
from collections.abc import Mapping
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar

from rich.style import Style
from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from hhtui.client.app_sizes import sizes_words
from hhtui.errors import HomeHelperError
from hhtui.model.states import Status
from hhtui.text import human_bytes, sanitise
from hhtui.tui import keymap, words
from hhtui.tui.app_tree import log_words, tree_lines
from hhtui.tui.cells import Piece, wrap
from hhtui.tui.keymap import Place
from hhtui.tui.messages import AppsChanged
from hhtui.tui.records import App, BusMessage
from hhtui.tui.screens.base import HomeScreen
from hhtui.tui.themes import style_sheets
from hhtui.tui.widgets.event_stream import EventStream
from hhtui.tui.widgets.log_view import LogView
from hhtui.tui.widgets.text_view import TextView

_LABEL = 13
_LOOK_SECONDS = 3
# So many lines of what the app last wrote to stderr stand beside its exit.
_LAST_LINES = 8
_COMMANDS = (
    "app.start",
    "app.stop",
    "app.restart",
    "app.install",
    "app.enable",
    "app.reset",
    "app.logs",
    "app.visit",
    "app.copy_url",
)


class AppPage(HomeScreen):
    """Facts on the left, the app's events and its log on the right; on small screens the events below, no log."""

    CSS_PATH = style_sheets("app_page")
    BINDINGS: ClassVar[list[BindingType]] = [
        *keymap.bindings(Place.APP_PAGE),
        *keymap.bindings(Place.APPS, only=_COMMANDS),
    ]
    AUTO_FOCUS = "#facts"

    def __init__(self, app_id: str) -> None:
        super().__init__()
        self.app_id = app_id
        self.facts = TextView(id="facts")
        self.timeline = EventStream(id="timeline", only=app_id)
        self.log_view = LogView(id="page-log")
        self._manifest = False
        self._ticks = 0
        self._processes: list[dict[str, Any]] = []
        self._logs: dict[str, int] = {}
        self._sizes = ""

    def compose_body(self) -> ComposeResult:
        with Container(id="page"):
            yield self.facts
            with Container(id="beside"):
                yield self.timeline
                yield self.log_view

    def on_mount(self) -> None:
        """Show what is known."""
        self._arrange()
        self.log_view.show(self.app_id)
        self.key_bar.show(Place.APP_PAGE, Place.APPS, without=("app.open", "apps.mark"))
        self.load()
        self._look()

    def on_resize(self, event: events.Resize) -> None:
        """Lines are wrapped to the width."""
        self._arrange()
        self.call_after_refresh(self.load)

    def _arrange(self) -> None:
        """The log joins where there is room for it."""
        narrow = self.app.size.width < 110
        self.set_class(narrow, "-narrow")
        self.log_view.display = not narrow and self.app.size.height >= 30

    def load(self) -> None:
        """Compose the facts again; only lines that differ are redrawn."""
        view = self.facts
        app = self.hh.link.snapshot.apps.get(self.app_id)
        if app is None:
            view.label(self.app_id, "")
            view.set_lines([[(" This app is gone: its folder was removed. Esc goes back.", self.hh.looks.warning)]])
            return
        glyphs = self.hh.glyphs
        view.label(f"{words.name_of(app)} {glyphs.dot} {app.app_id}", "")
        lines = self._facts(app, max(view.content_size.width - 2, 20))
        view.set_lines([[(glyphs.keep(text), style) for text, style in line] for line in lines])

    def caught_up(self) -> None:
        super().caught_up()
        self.load()

    def apps_changed(self, change: AppsChanged) -> None:
        super().apps_changed(change)
        if self.app_id in change.changed:
            self.load()
            self.log_view.app_changed()

    def events_arrived(self, messages: list[BusMessage]) -> None:
        self.timeline.add(messages)

    def ticked(self) -> None:
        super().ticked()
        self._ticks += 1
        if self._ticks % _LOOK_SECONDS == 0:
            self._look()
        self.load()
        self.log_view.tick()

    @work(thread=False, group="processes", exclusive=True, exit_on_error=True)
    async def _look(self) -> None:
        """What is measured for those alone who look: the processes, and what the logs and the folders hold."""
        processes, logs, sizes = self._processes, self._logs, self._sizes
        # The status line tells what is wrong with the engine; an older one knows no processes, or no sizes.
        with suppress(HomeHelperError):
            logs = await self.hh.link.log_files(self.app_id)
            processes = await self.hh.link.api.app_processes(self.app_id)
            sizes = sizes_words(await self.hh.link.api.app_sizes(self.app_id))
        if (processes, logs, sizes) != (self._processes, self._logs, self._sizes):
            self._processes, self._logs, self._sizes = processes, logs, sizes
            self.load()

    def target_ids(self) -> list[str]:
        return [self.app_id]

    def action_close(self) -> None:
        """First the search ends, then the filter, then the page."""
        if self.log_view.drop():
            return
        if self.timeline.filter:
            self.timeline.set_filter("")
        else:
            self.dismiss()

    def action_filter(self) -> None:
        """Type a filter for the timeline."""
        self.prompt.ask("filter timeline: ", self.timeline.filter, self.timeline.set_filter, self.timeline.set_filter)

    def action_setup_log(self) -> None:
        """What the installer printed."""
        self.hh.open_logs(self.app_id, "setup")

    def action_manifest(self) -> None:
        """Show or hide the manifest as it was read."""
        self._manifest = not self._manifest
        self.load()

    @on(EventStream.Opened)
    def _open_event(self, message: EventStream.Opened) -> None:
        from hhtui.tui.screens.event_details import EventDetails

        self.app.push_screen(EventDetails(message.stream, message.message))

    # What is said

    def _facts(self, app: App, width: int) -> list[list[Piece]]:
        looks, glyphs = self.hh.looks, self.hh.glyphs
        state = looks.named(words.LOOK_OF_STATUS[app.status])
        lines: list[list[Piece]] = []

        def say(label: str, text: str, style: Style = looks.text) -> None:
            for number, part in enumerate(wrap(text, width - _LABEL)):
                lines.append([(f" {label if not number else '':<{_LABEL}}", looks.dim), (part, style)])

        reason = words.why(app, self.hh.link.retry_in(app.app_id))
        say("State", f"{glyphs.status[app.status]} {app.status.value}", state)
        # What a running app says of itself stands below, as its health and its description.
        if reason and reason not in (sanitise(app.report.message, 200), sanitise(app.description, 200)):
            say("Why", reason, looks.warning if words.needs_attention(app) else looks.text)
        if up := words.uptime(app, self.hh.engine_now()):
            since = words.local_time(app.started_at, "%Y-%m-%d %H:%M:%S")
            say("Running", f"{up}, since {since}")
        url = words.url_of(app, self.hh.host)
        if url and app.status in (Status.RUNNING, Status.STARTING, Status.WAITING):
            say("Address", url, looks.info)
            for label, endpoint in (("Health at", "health"), ("Metrics at", "metrics")):
                if other := words.endpoint_url(app, self.hh.host, endpoint):
                    say(label, other, looks.info)
        elif app.port is not None:
            say("Port", str(app.port))
        self._usage(app, say)
        if app.process_id is not None:
            say(
                "Process",
                f"{app.process_id}" + (f" {glyphs.dot} {sanitise(app.service_name, 80)}" if app.service_name else ""),
            )
        say("Restarts", str(app.restarts), looks.warning if app.restarts else looks.text)
        if app.exit is not None:
            say("Last exit", f"{sanitise(app.exit.words, 300)} ({words.local_time(app.exit.at, '%Y-%m-%d %H:%M:%S')})")
            for text in app.exit.stderr[-_LAST_LINES:]:
                lines.append([(" " * (_LABEL + 1), looks.dim), (sanitise(text, width - _LABEL), looks.dim)])
        if app.schedule:
            say("Schedule", _schedule_words(app.schedule))
        lines.append([])
        self._health(app, say)
        lines.append([])
        if app.process_id is not None and (tree := tree_lines(self._processes, looks, glyphs)):
            lines += [*tree, []]
        if self._logs:
            say("Logs", log_words(self._logs))
        if self._sizes:
            say("Sizes", self._sizes)
        for warning in app.warnings:
            say("Warning", sanitise(warning, 300), looks.warning)
        self._about(app, say)
        if self._manifest:
            lines.append([])
            lines.append([(" homehelper.json", looks.title)])
            lines += [[(" " + text, looks.text)] for text in _manifest_lines(app.manifest)]
        else:
            lines.append([(" m shows the manifest", looks.dim)])
        return lines

    def _usage(self, app: App, say: Any) -> None:
        usage = app.usage
        parts = []
        if usage.cpu_percent is not None:
            parts.append(f"CPU {usage.cpu_percent:.1f}% of one core")
        if usage.memory_mb is not None:
            parts.append(f"memory {human_bytes(usage.memory_mb * 2**20)}")
        if usage.disk_mb is not None and not self._sizes:
            parts.append(f"data {human_bytes(usage.disk_mb * 2**20)}")
        if parts:
            say("Uses", ", ".join(parts))

    def _health(self, app: App, say: Any) -> None:
        looks, glyphs = self.hh.looks, self.hh.glyphs
        report = app.report
        say("Health", f"{glyphs.health[app.health]} {app.health.value}", looks.named(words.LOOK_OF_HEALTH[app.health]))
        if report.message:
            say("", sanitise(report.message, 500))
        if report.checked_at is not None:
            took = f", answered in {report.latency_ms:.0f} ms" if report.latency_ms is not None else ""
            failed = f", {report.failures} failures in a row" if report.failures else ""
            say("Checked", f"{words.local_time(report.checked_at)}{took}{failed}", looks.dim)
        if isinstance(report.extra_info, dict):
            for key, value in list(report.extra_info.items())[:40]:
                say(sanitise(str(key), _LABEL - 1), sanitise(_plain(value), 300))
        elif report.extra_info is not None:
            say("Extra", sanitise(_plain(report.extra_info), 500))

    @staticmethod
    def _about(app: App, say: Any) -> None:
        manifest = app.manifest
        if app.description:
            say("About", sanitise(app.description, 1000))
        say("Type", (sanitise(app.type, 40) or "?") + (f", version {sanitise(app.version, 40)}" if app.version else ""))
        told = "" if app.enabled is None else " (set here)"
        say("Autostart", ("on" if words.starts_by_itself(app) else "off") + told)
        depends = manifest.get("depends_on")
        if isinstance(depends, list) and depends:
            say("Depends on", sanitise(", ".join(str(name) for name in depends), 300))
        environment = manifest.get("environment")
        # Names only: values may be secrets. Before the first start those of its files are not known.
        if names := app.environment or (tuple(map(str, environment)) if isinstance(environment, dict) else ()):
            say("Environment", sanitise(", ".join(names), 500))
        if app.environment_changed:
            say("Changed", sanitise(", ".join(app.environment_changed), 500) + " (restart to apply)")
        say("Folder", sanitise(app.path, 300))


def _manifest_lines(manifest: Mapping[str, Any]) -> list[str]:
    shown = dict(manifest)
    if isinstance(environment := shown.get("environment"), dict):
        shown["environment"] = dict.fromkeys(environment, "(not shown)")
    text = json.dumps(shown, indent=2, ensure_ascii=False, default=str)
    return [sanitise(line, 500) for line in text.split("\n")[:500]]


def _schedule_words(schedule: Mapping[str, Any]) -> str:
    """``*/5 * * * *, next 2026-11-24 10:05, last 10:00 exited 0``."""
    parts = [sanitise(str(schedule.get("expression", "")), 100)]
    for label, name in (("next", "next_run"), ("last", "last_run")):
        try:
            moment = datetime.fromisoformat(str(schedule.get(name)))
        except ValueError:
            continue
        parts.append(f"{label} {words.local_time(moment, '%Y-%m-%d %H:%M')}")
    code, skipped = schedule.get("exit_code"), schedule.get("skipped")
    parts += [f"exited {code}"] if isinstance(code, int) else []
    parts += [f"{skipped} skipped"] if isinstance(skipped, int) and skipped else []
    return ", ".join(parts)


def _plain(value: Any) -> str:
    if isinstance(value, datetime):
        return value.isoformat()
    return value if isinstance(value, str) else json.dumps(value, ensure_ascii=False, default=str)
