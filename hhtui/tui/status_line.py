"""The first lines of every screen: the engine, Redis, the apps in figures; problems in red."""

from __future__ import annotations

from collections import Counter

from rich.cells import cell_len

from hhtui.client.records import Machine, Redis
from hhtui.client.words import LOOK_OF_STATUS, ORDER_OF_STATUS, age
from hhtui.model.states import Status
from hhtui.text import human_bytes, sanitise
from hhtui.tui import keymap
from hhtui.tui.session.link import Connection
from hhtui.tui.text.cells import Piece, text_of
from hhtui.tui.text.line_view import HeldLines
from hhtui.tui.themes import Glyphs, Looks

# Every state; how many run comes first.
_ORDER = (Status.RUNNING, *(status for status in ORDER_OF_STATUS if status is not Status.RUNNING))


class StatusLine(HeldLines, can_focus=False):
    """One line, one more for each problem (three at most), and one for the machine where its panel is not shown."""

    def __init__(self, *, hardware: bool = False) -> None:
        super().__init__()
        self.hardware = hardware
        self._lines = [[]]

    def on_mount(self) -> None:
        """Show what is known already."""
        self.load()

    def on_resize(self) -> None:
        """Fewer words where there is less room."""
        self.load()

    def notify_style_update(self) -> None:
        """The lines hold styles of the theme."""
        super().notify_style_update()
        if self.is_mounted:
            self.call_later(self.load)

    def load(self) -> None:
        """Take the newest state from the link."""
        snapshot = self.hh.link.snapshot
        width = self.size.width or 80
        # As many words as fit.
        wordings = (self._first(width, words) for words in (2, 1, 0))
        lines = [next((line for line in wordings if cell_len(text_of(line)) <= width), self._first(width, 0))]
        lines += [[(" ! " + self.glyphs.keep(text), self.looks.alarm)] for text in self._problems()]
        if self.hardware:
            known = snapshot.metrics if snapshot.connection is not Connection.LOST else None
            lines.append(summary(known.machine, self.looks, self.glyphs) if known else [])
        self._lines = lines
        if self.styles.height is None or self.styles.height.value != len(lines):
            self.styles.height = len(lines)
        self.sync()

    def _problems(self) -> list[str]:
        snapshot = self.hh.link.snapshot
        problems = []
        if snapshot.connection is Connection.LOST:
            problems.append(f"{sanitise(snapshot.trouble, 200)} (trying again; apps are not touched)")
        elif snapshot.engine is not None:
            if snapshot.engine.version and snapshot.engine.version != self.hh.version:
                engine = sanitise(snapshot.engine.version, 40)
                problems.append(f"the engine is {engine}, this is {self.hh.version}: `hhtui engine reload` updates it")
            shown = [problem for problem in snapshot.engine.problems if not self.hh.preferences.is_dismissed(problem)]
            problems += [sanitise(problem, 300) for problem in shown]
            if shown:
                key = keymap.keys_of(keymap.BY_ID["app.dismiss"], self.hh.changed_keys)[0]
                problems[-1] += f" ({key} hides it)"
        if len(problems) > 3:
            problems[2:] = [f"{problems[2]} (and {len(problems) - 3} more: hhtui doctor)"]
        return problems

    def _first(self, width: int, words: int) -> list[Piece]:
        looks, glyphs = self.looks, self.glyphs
        snapshot = self.hh.link.snapshot
        pieces: list[Piece] = [(" HomeHelper ", looks.title)]
        # Which machine it is must never be in doubt once it may be another one.
        if words == 2 or not self.hh.home_is_here:
            pieces.append((f"{sanitise(self.hh.machine, 30)} ", looks.text))
        match snapshot.connection:
            case Connection.STARTING:
                pieces.append((f"{glyphs.status[Status.STARTING]} starting the engine", looks.accent))
            case Connection.LOST:
                pieces.append(
                    (
                        f"{glyphs.status[Status.FAILED]} {'no engine' if self.hh.home_is_here else 'not connected'}",
                        looks.bad,
                    )
                )
            case Connection.UP:
                pieces += self._engine(words > 0)
        # How many ran when an engine last answered is no news of now.
        if snapshot.connection is not Connection.LOST:
            pieces += self._counts(words == 2)
        if snapshot.redis is not None and snapshot.connection is Connection.UP:
            pieces.append((f" {glyphs.dot} ", looks.dim))
            pieces.append(redis_words(snapshot.redis, looks, short=not words))
        badges = [word for word, on in (("demo", self.hh.demo), ("read-only", self.hh.read_only)) if on]
        if badges:
            text = f" {' '.join(badges)} "
            pieces = [
                *pieces,
                (" " * max(width - len(text_of(pieces)) - len(text), 1), looks.dim),
                (text, looks.accent),
            ]
        return [(glyphs.keep(text), style) for text, style in pieces]

    def _engine(self, wordy: bool) -> list[Piece]:
        engine = self.hh.link.snapshot.engine
        if engine is None:
            return []
        running = f"engine {sanitise(engine.version, 20)}" if wordy else sanitise(engine.version, 20)
        return [(running, self.looks.text), (f" up {age(self.hh.link.engine_uptime())}", self.looks.dim)]

    def _counts(self, wordy: bool) -> list[Piece]:
        looks, glyphs = self.looks, self.glyphs
        counts = Counter(app.status for app in self.hh.link.snapshot.apps.values())
        if not counts:
            return []
        pieces: list[Piece] = [(f" {glyphs.dot} ", looks.dim)]
        for status in _ORDER:
            if counts[status]:
                word = f" {status.value}" if wordy else ""
                pieces.append((f"{glyphs.status[status]}{counts[status]}{word} ", looks.named(LOOK_OF_STATUS[status])))
        last, style = pieces[-1]
        pieces[-1] = (last.rstrip(), style)
        return pieces


def redis_words(redis: Redis, looks: Looks, *, short: bool) -> Piece:
    """Redis in a few words."""
    if redis.connected:
        where = "private" if redis.server == "private" else f"{sanitise(redis.host, 40)}:{redis.port}"
        return (f"Redis {where}", looks.text)
    if redis.status == "disabled" or redis.server == "none":
        return ("no Redis" if short else "no Redis: cross-app events are off", looks.warning)
    if redis.status == "connecting":
        return ("Redis: connecting", looks.accent)
    waiting = f", {redis.buffered} events wait" if redis.buffered else ""
    return (
        "Redis away" if short else f"Redis away: {sanitise(redis.error or 'no answer', 60)}{waiting}",
        looks.warning,
    )


def level(percent: float | None) -> str:
    """A share's meaning: good below 70 %, a warning below 90 %, bad above."""
    if percent is None:
        return "dim"
    return "bad" if percent >= 90 else "warning" if percent >= 70 else "good"


def summary(machine: Machine, looks: Looks, glyphs: Glyphs) -> list[Piece]:
    """The machine in one line, for the smallest screens."""
    pieces: list[Piece] = []

    def add(label: str, percent: float | None) -> None:
        pieces.append((f" {label} ", looks.dim))
        pieces.append(("n/a" if percent is None else f"{percent:.0f}%", looks.named(level(percent))))

    add("CPU", machine.cpu_percent)
    add("Mem", machine.memory_percent)
    add("Disk", machine.disk_percent)
    if (celsius := machine.celsius) is not None:
        look = "bad" if celsius >= 80 else "warning" if celsius >= 70 else "good"
        pieces += [(" Temp ", looks.dim), (f"{celsius:.0f}{glyphs.degree}C", looks.named(look))]
    pieces.append((f" {glyphs.down}{rate(machine.received)} {glyphs.up}{rate(machine.sent)}", looks.dim))
    if machine.throttled:
        pieces.append((" throttled!", looks.bad))
    return pieces


def rate(bytes_a_second: float | None) -> str:
    """``1.2 KiB/s``."""
    return "n/a" if bytes_a_second is None else f"{human_bytes(bytes_a_second)}/s"
