"""One app: why it is in its state, health, ports, exit, environment names, manifest, and its timeline."""

from __future__ import annotations

import json
from collections.abc import Mapping, Sequence
from contextlib import suppress
from datetime import datetime
from typing import Any, ClassVar

from rich.style import Style
from textual import events, on, work
from textual.app import ComposeResult
from textual.binding import BindingType
from textual.containers import Container

from hhtui.client import words
from hhtui.client.records import App, BusMessage
from hhtui.client.words import sizes_words
from hhtui.errors import HomeHelperError
from hhtui.model.states import Status
from hhtui.text import human_bytes, human_duration, sanitise
from hhtui.tui import keymap
from hhtui.tui.events.stream import EventStream
from hhtui.tui.keymap import Place
from hhtui.tui.logs.view import LogView
from hhtui.tui.screen import HomeScreen
from hhtui.tui.session.link import AppsChanged
from hhtui.tui.text.cells import Piece, fit, wrap
from hhtui.tui.text.line_view import TextView
from hhtui.tui.themes import Glyphs, Looks, style_sheets

_NAME = 26
_MOST = 40


def tree_lines(processes: Sequence[Mapping[str, Any]], looks: Looks, glyphs: Glyphs) -> list[list[Piece]]:
    """A line a process, indented below its parent; the API gives parents first. [] where there are none."""
    if not processes:
        return []
    depths: dict[Any, int] = {}
    lines: list[list[Piece]] = [[(f" {fit('Processes', _NAME)} {'PID':>7} {'CPU':>6} {'MEMORY':>10}  RUNS", looks.dim)]]
    for process in processes[:_MOST]:
        depth = depths[process.get("pid")] = depths.get(process.get("ppid"), -1) + 1
        name = glyphs.keep(sanitise(str(process.get("name") or "?"), 40))
        cpu, memory, seconds = (_number(process.get(key)) for key in ("cpu_percent", "memory_mb", "seconds"))
        figures = (
            f"{process.get('pid')!s:>7.7} {'' if cpu is None else f'{cpu:.1f}%':>6} "
            f"{'' if memory is None else human_bytes(memory * 2**20):>10}  "
            # Coarse, so that it rarely changes.
            f"{'' if seconds is None else human_duration(seconds - seconds % 60) if seconds >= 60 else '<1m'}"
        )
        shown = fit("  " * min(depth, 6) + name, _NAME, ellipsis=glyphs.ellipsis)
        lines.append([(f" {shown} ", looks.text), (figures, looks.text)])
    if len(processes) > _MOST:
        lines.append([(f" and {len(processes) - _MOST} more", looks.dim)])
    return lines


def log_words(sizes: Mapping[str, int]) -> str:
    """``app 1.2 MiB, error 3.0 KiB``; nothing where there are no logs."""
    return ", ".join(f"{sanitise(name, 40)} {human_bytes(size)}" for name, size in list(sizes.items())[:20])


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None


_LABEL = 13
_LOOK_SECONDS = 3
# Of what is new with a newer version so many lines are shown; the update itself shows all.
_MOST_NEWS = 8
# So many lines of what the app last wrote to stderr stand beside its exit.
_LAST_LINES = 8
_COMMANDS = (
    "app.settings",
    "app.start",
    "app.stop",
    "app.restart",
    "app.install",
    "app.enable",
    "app.reset",
    "app.remove",
    "app.logs",
    "app.visit",
    "app.copy_url",
    "app.update",
    "app.roll_back",
    "app.move",
)


class AppPage(HomeScreen):
    """Facts on the left, the app's events and its log on the right; on small screens the events below, no log."""

    CSS_PATH = style_sheets("apps")
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
        self._unset: list[str] = []
        self._news: list[str] = []

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
        before = (self._processes, self._logs, self._sizes, self._unset, self._news)
        processes, logs, sizes, unset, news = before
        app = self.hh.link.snapshot.apps.get(self.app_id)
        # The status line says what is wrong with the engine; an older one knows no processes, or no sizes.
        with suppress(HomeHelperError):
            logs = await self.hh.link.log_files(self.app_id)
            processes = await self.hh.link.api.app_processes(self.app_id)
            sizes = sizes_words(await self.hh.link.api.app_sizes(self.app_id))
            if app is not None and app.process_id is None:
                secrets = await self.hh.link.api.secrets()
                mine = (one for one in secrets if self.app_id in (one.get("apps") or []))
                unset = [sanitise(str(one.get("name")), 100) for one in mine if not one.get("is_set")]
            if app is not None and app.update_available:
                found = await self.hh.link.api.updates()
                mine = (one for one in found if one.get("app_id") == self.app_id)
                news = [sanitise(str(line), 200) for one in mine for line in one.get("log") or []]
        if (processes, logs, sizes, unset, news) != before:
            self._processes, self._logs, self._sizes, self._unset, self._news = processes, logs, sizes, unset, news
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
        from hhtui.tui.events.details import EventDetails

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
        below = (app.report.message, app.description, f"update available: {app.update_available}")
        if reason and reason not in {sanitise(text, 220) for text in below}:
            say("Why", reason, looks.warning if words.needs_attention(app) else looks.text)
        if self._unset and app.process_id is None:
            key = keymap.keys_of(keymap.BY_ID["app.secrets"], self.hh.changed_keys)[0]
            say("Not set", f"{', '.join(self._unset)} {glyphs.dot} {key} sets it", looks.warning)
        if app.update_available:
            self._update(app, say)
        if up := words.uptime(app, self.hh.engine_now()):
            since = words.local_time(app.started_at, "%Y-%m-%d %H:%M:%S")
            say("Running", f"{up}, since {since}")
        if app.name_url:
            say("By name", sanitise(app.name_url, 300), looks.info)
        url = words.url_of(app, self.hh.host)
        if url and app.status in (Status.RUNNING, Status.STARTING, Status.WAITING):
            say("Address", url, looks.info)
            for label, endpoint in (("Health at", "health"), ("Metrics at", "metrics")):
                if other := words.endpoint_url(app, self.hh.host, endpoint):
                    say(label, other, looks.info)
        elif app.port is not None:
            say("Port", str(app.port))
        if app.mcp_port is not None:
            say("MCP port", str(app.mcp_port))
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
        asked = app.manifest.get("permissions")
        asked = asked if isinstance(asked, dict) else {}
        if allowed := sanitise("; ".join(app.may), 500) or (_allowed(asked) if asked else ""):
            say("May", allowed, looks.bad if asked.get("system") else looks.text)
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

    def _update(self, app: App, say: Any) -> None:
        """That a newer version is there, and what is new with it."""
        key = keymap.keys_of(keymap.BY_ID["app.update"], self.hh.changed_keys)[0]
        revision = sanitise(app.update_available, 300).partition(":")[0].partition(",")[0]
        say("Update", f"{revision} is available {self.hh.glyphs.dot} {key} shows what would change", self.hh.looks.info)
        for line in self._news[:_MOST_NEWS]:
            say("", f"{self.hh.glyphs.dot} {line}")
        if len(self._news) > _MOST_NEWS:
            say("", f"and {len(self._news) - _MOST_NEWS} more", self.hh.looks.dim)

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
        note = "" if app.enabled is None else " (set here)"
        say("Autostart", ("on" if words.starts_by_itself(app) else "off") + note)
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


def _allowed(asked: Mapping[str, Any]) -> str:
    """What an app asks to be allowed, in words; "" for what its engine refuses."""
    from hhtui.model.manifest import Permissions  # of hardly any app

    with suppress(ValueError):
        return sanitise("; ".join(Permissions.model_validate(asked).words), 500)
    return ""


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
