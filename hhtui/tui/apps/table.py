"""The apps: one line each, sorted, found by what is typed, under headings if they are grouped."""

from __future__ import annotations

from collections.abc import Hashable, Iterable, Sequence
from enum import StrEnum
from typing import ClassVar, NamedTuple

from rich.cells import cell_len
from textual.binding import BindingType
from textual.fuzzy import FuzzySearch

from hhtui.client import words
from hhtui.client.records import App
from hhtui.client.words import name_of
from hhtui.text import sanitise
from hhtui.tui import keymap
from hhtui.tui.apps import row as app_row
from hhtui.tui.apps.row import Row
from hhtui.tui.text.cells import Piece, wrap
from hhtui.tui.text.line_view import LineView

_OWN_KEYS = ("app.open", "apps.mark", "apps.mark_all", "apps.sort", "apps.reverse", "apps.group", "apps.fold")
SORTS = ("name", "state", "cpu", "memory", "uptime", "restarts", "port")
# A word that stands in the state, the type or the group is a match, but never better than one in the name.
_ELSEWHERE = 0.1


class Met(NamedTuple):
    """How well an app matches, and the places in its shown name that are to be marked."""

    score: float
    letters: frozenset[int]


_UNMET = Met(0, frozenset())


class Grouping(StrEnum):
    """By what apps stand together."""

    NONE = "none"
    STATE = "state"
    TYPE = "type"
    GROUP = "group"


class Heading(NamedTuple):
    """The line above a group; ``app_ids`` are its apps, whether they are shown below it or not."""

    name: str
    app_ids: tuple[str, ...]
    folded: bool


# A line of the table.
Entry = str | Heading


class AppsTable(LineView):
    """Shows the link's apps, sorted, grouped and filtered.

    Keys act on the app under the cursor, on all of a group where its heading is, or on all marked apps.
    """

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(keymap.Place.APPS, only=_OWN_KEYS)]
    has_cursor = True
    header_rows = 1

    def __init__(self, *, id: str | None = None) -> None:
        super().__init__(id=id)
        self.ids: list[str] = []
        self.marked: set[str] = set()
        self.filter = ""
        self.sorting = SORTS[0]
        self.reverse = False
        self.grouping = Grouping.NONE
        self.folded: set[str] = set()
        self._entries: list[Entry] = []
        self._met: dict[str, Met] = {}
        self._longest = 8
        self._announced: Entry | None = None

    @property
    def _entry(self) -> Entry | None:
        return self._entries[self.cursor] if self.cursor < len(self._entries) else None

    def on_mount(self) -> None:
        """Ordered as it was left."""
        saved = self.hh.preferences.values
        self.sorting = saved.sort if saved.sort in SORTS else SORTS[0]
        self.reverse = saved.sort_reversed
        self.grouping = Grouping(saved.grouping) if saved.grouping in [*Grouping] else Grouping.NONE

    @property
    def current(self) -> str | None:
        """The id under the cursor; None on a heading."""
        return self._entry if isinstance(self._entry, str) else None

    def targets(self) -> list[str]:
        """What a command acts on: the marked apps that are listed, else what is under the cursor."""
        if marked := [app_id for app_id in self.ids if app_id in self.marked]:
            return marked
        entry = self._entry
        return list(entry.app_ids) if isinstance(entry, Heading) else [entry] if entry else []

    @property
    def ordered_by_figures(self) -> bool:
        """Whether a change of an app may move it: then the list is to be loaded anew."""
        return bool(self.filter) or self.sorting not in ("name", "port") or self.grouping is Grouping.STATE

    def load(self, *, keep: str | None = None) -> None:
        """Take the apps from the link again; the cursor stays on its app, or its heading."""
        apps = self.hh.link.snapshot.apps
        entry = keep or self._entry
        self.marked &= apps.keys()
        self._longest = max((cell_len(words.name_of(app)) for app in apps.values()), default=8)
        self._met = {}
        shown = list(apps.values())
        if wanted := self.filter.strip():
            for app in shown:
                if (how := met(wanted, app)) is not None:
                    self._met[app.app_id] = how
            shown = [app for app in shown if app.app_id in self._met]
        shown.sort(key=lambda app: app.app_id)
        if self.sorting != SORTS[0]:
            shown.sort(key=self._rank)
        if self.reverse:
            shown.reverse()
        if wanted and self.sorting == SORTS[0] and not self.reverse:
            shown.sort(key=lambda app: -self._met[app.app_id].score)
        self._entries = entries(shown, self.grouping, self.folded)
        self.ids = [app.app_id for app in shown]
        self._keep_cursor(entry)
        self._clamp()
        self._title()
        self.sync()
        if self._entry != self._announced:
            self._announced = self._entry
            self.post_message(self.Chosen(self))

    def _keep_cursor(self, entry: Entry | None) -> None:
        for at, each in enumerate(self._entries):
            if each == entry or (isinstance(each, Heading) and isinstance(entry, Heading) and each.name == entry.name):
                self.cursor = at
                return

    def names_changed(self, app_ids: Iterable[str]) -> None:
        """Apps are different: the column of names may have to be wider."""
        apps = self.hh.link.snapshot.apps
        for app_id in app_ids:
            if (app := apps.get(app_id)) is not None:
                self._longest = max(self._longest, cell_len(words.name_of(app)))

    def set_filter(self, text: str) -> None:
        """Show only apps that every word of ``text`` matches, the best match first."""
        self.filter = text
        if text and not any(isinstance(entry, Heading) for entry in self._entries):
            self.cursor = 0
        self.load()

    def _rank(self, app: App) -> float:
        usage = app.usage
        match self.sorting:
            case "state":
                return words.ORDER_OF_STATUS.index(app.status)
            case "cpu":
                return -(usage.cpu_percent or 0)
            case "memory":
                return -(usage.memory_mb or 0)
            case "uptime":
                return (
                    app.started_at.timestamp() if app.started_at and words.uptime(app, self.hh.engine_now()) else 1e18
                )
            case "restarts":
                return -app.restarts
        return app.port or 1e9

    def _title(self) -> None:
        total = len(self.hh.link.snapshot.apps)
        parts = [f"{len(self.ids)} of {total}" if self.filter else f"{total}"]
        if self.filter:
            parts.append(f"filter: {sanitise(self.filter, 30)}")
        if self.marked:
            parts.append(f"{len(self.marked)} selected")
        if self.sorting != SORTS[0] or self.reverse:
            parts.append(f"by {self.sorting}" + (", reversed" if self.reverse else ""))
        if self.grouping is not Grouping.NONE:
            parts.append(f"grouped by {self.grouping.value}")
        self.label("1 Apps", f" {self.glyphs.dot} ".join(parts))

    def move_to(self, line: int) -> None:
        super().move_to(line)
        self._announced = self._entry

    # Drawing

    def count(self) -> int:
        return len(self._entries)

    def header_key(self) -> Hashable:
        return (bool(self._entries), app_row.name_width(self.content_size.width, self._longest))

    def draw_header(self, row: int, width: int) -> list[Piece]:
        return [(app_row.header(width, self._longest), self.looks.dim)] if self._entries else []

    def _row(self, app_id: str) -> Row | None:
        link = self.hh.link
        app = link.snapshot.apps.get(app_id)
        if app is None:
            return None
        return Row(
            app,
            words.uptime(app, self.hh.engine_now()),
            words.why(app, link.retry_in(app_id)),
            words.url_of(app, self.hh.host) or "",
            app_row.graph_levels(link.cpu_history.get(app_id, ()), len(self.glyphs.ramp) - 1),
            app_id in self.marked,
            self._met.get(app_id, _UNMET).letters,
        )

    def key(self, index: int) -> Hashable:
        entry = self._entries[index]
        if isinstance(entry, Heading):
            return (entry, self._marks(entry))
        row = self._row(entry)
        return row.key() if row else entry

    def draw(self, index: int, width: int) -> list[Piece]:
        entry = self._entries[index]
        if isinstance(entry, Heading):
            return self._draw_heading(entry)
        row = self._row(entry)
        return app_row.draw(row, width, self._longest, self.looks, self.glyphs) if row else []

    def _marks(self, heading: Heading) -> int:
        return sum(app_id in self.marked for app_id in heading.app_ids)

    def _draw_heading(self, heading: Heading) -> list[Piece]:
        looks, glyphs = self.looks, self.glyphs
        marks = self._marks(heading)
        return [
            (glyphs.folded if heading.folded else glyphs.unfolded, looks.title),
            (f" {glyphs.keep(heading.name)} ", looks.title),
            (f"({len(heading.app_ids)})", looks.dim),
            (f" {marks} selected" if marks else "", looks.accent),
        ]

    def empty_key(self) -> Hashable:
        return (self.filter, self.hh.link.snapshot.connection, self.hh.link.snapshot.apps_known)

    def draw_empty(self, row: int, width: int) -> list[Piece]:
        looks = self.looks
        if self.filter and self.hh.link.snapshot.apps:
            lines = [("No app matches the filter. Esc drops it.", looks.dim)]
        elif not self.hh.link.snapshot.apps_known:
            lines = [("Waiting for the engine …", looks.dim)]
        else:
            folder = sanitise(str(self.hh.apps_folder), 200)
            add = keymap.keys_of(keymap.BY_ID["app.add"], self.hh.changed_keys)[0]
            texts = [
                ("No apps yet.", looks.title),
                (f"{add} adds one: from a catalogue, a git repository, an archive or a folder.", looks.text),
                ("Or put its folder (with its homehelper.json) here:", looks.text),
                (f"  {folder}", looks.accent),
                ("It shows up by itself. To begin with a small app that runs:", looks.text),
                (f"  hhtui new {folder}/hello --type service", looks.accent),
                ("Then: s starts it, l shows its log, ? explains all keys.", looks.dim),
            ]
            lines = [(part, style) for text, style in texts for part in _wrapped(text, width - 2)]
        return [(" " + self.glyphs.keep(lines[row][0]), lines[row][1])] if 0 <= row < len(lines) else []

    # Acting

    def action_mark(self) -> None:
        """Select or unselect what is under the cursor, of a heading all its apps, and go on to the next line."""
        entry = self._entry
        if isinstance(entry, Heading):
            self.marked = self.marked - {*entry.app_ids} if self._marks(entry) else self.marked | {*entry.app_ids}
        elif entry:
            self.marked ^= {entry}
        self._title()
        self.action_move(1)
        self.sync()

    def action_mark_all(self) -> None:
        """Select all listed apps, or none if all are."""
        self.marked = set() if self.marked >= set(self.ids) else set(self.ids)
        self._title()
        self.sync()

    def unmark(self) -> bool:
        """Drop the selection; False if there was none."""
        had = bool(self.marked)
        self.marked = set()
        self._title()
        self.sync()
        return had

    def action_sort(self) -> None:
        """By the next of name, state, CPU, memory, uptime, restarts, port."""
        self.sorting = SORTS[(SORTS.index(self.sorting) + 1) % len(SORTS)]
        self.hh.preferences.values.sort = self.sorting
        self.load()

    def action_reverse(self) -> None:
        """The other way round."""
        self.reverse = self.hh.preferences.values.sort_reversed = not self.reverse
        self.load()

    def action_group(self) -> None:
        """Under headings by the next of state, type, the manifests' groups; or in one list."""
        kinds = list(Grouping)
        self.grouping = kinds[(kinds.index(self.grouping) + 1) % len(kinds)]
        self.hh.preferences.values.grouping = self.grouping.value
        self.folded.clear()
        self.load(keep=self.current)

    def action_fold(self) -> None:
        """Hide or show the apps of the group under the cursor."""
        at = next((at for at in range(self.cursor, -1, -1) if isinstance(self._entries[at], Heading)), None)
        if at is None:
            self.hh.say("The apps are in one list: T groups them.", "warning")
            return
        heading = self._entries[at]
        assert isinstance(heading, Heading)
        self.folded ^= {heading.name}
        self.cursor = at
        self.load()

    def opened(self) -> None:
        self.call_later(self.run_action, "screen.open_app")

    async def action_open_app(self) -> None:
        """The page of the app under the cursor; on a heading, fold or unfold."""
        if isinstance(self._entry, Heading):
            self.action_fold()
        else:
            await self.run_action("screen.open_app")


def _wrapped(text: str, width: int) -> list[str]:
    indent = text[: len(text) - len(text.lstrip())]
    return [indent + line for line in wrap(text.strip(), max(width - len(indent), 8))]


_search = FuzzySearch()


def met(wanted: str, app: App) -> Met | None:
    """How the app matches, if every word does: by its letters in name or id in their order, or as text elsewhere."""
    score = 0.0
    letters: set[int] = set()
    name = name_of(app)
    elsewhere = f"{app.status.value} {app.type} {app.health.value} {group_of(app)}".casefold()
    for word in wanted.split():
        by_name, offsets = _search.match(word, name)
        by_id, _ = _search.match(word, app.app_id)
        if not by_name and not by_id:
            if word.casefold() not in elsewhere:
                return None
            score += _ELSEWHERE
            continue
        score += max(by_name, by_id)
        letters.update(offsets)
    return Met(score, frozenset(letters))


def group_of(app: App) -> str:
    """The group that its manifest names, else the first of its tags, else nothing."""
    group = app.manifest.get("group")
    if isinstance(group, str):
        return group.strip()
    tags = app.manifest.get("tags")
    return tags[0].strip() if isinstance(tags, list) and tags and isinstance(tags[0], str) else ""


def entries(apps: Iterable[App], grouping: Grouping, folded: Iterable[str]) -> list[Entry]:
    """The lines for ``apps`` in their order; apps of folded groups are left out."""
    if grouping is Grouping.NONE:
        return [app.app_id for app in apps]
    groups: dict[str, list[App]] = {}
    for app in apps:
        groups.setdefault(_name(app, grouping), []).append(app)
    hidden = frozenset(folded)
    lines: list[Entry] = []
    for name in sorted(groups, key=lambda name: _rank(name, grouping, groups[name])):
        ids = tuple(app.app_id for app in groups[name])
        lines.append(Heading(name, ids, name in hidden))
        if name not in hidden:
            lines += ids
    return lines


def _name(app: App, grouping: Grouping) -> str:
    match grouping:
        case Grouping.STATE:
            return app.status.value
        case Grouping.TYPE:
            return sanitise(app.type, 40) or "no type"
    return sanitise(group_of(app), 40) or "no group"


def _rank(name: str, grouping: Grouping, apps: Sequence[App]) -> tuple[int, str]:
    if grouping is Grouping.STATE:
        return words.ORDER_OF_STATUS.index(apps[0].status), name
    # Those that name no group stand behind those that do.
    return int(name in ("no type", "no group")), name.casefold()
