"""The first lines of every screen: the engine, Redis, the apps in figures; problems in red."""

from __future__ import annotations

from collections import Counter

from rich.cells import cell_len

from hhtui.model.states import Status
from hhtui.text import sanitise
from hhtui.tui.cells import Piece, text_of
from hhtui.tui.link import Connection
from hhtui.tui.records import Redis
from hhtui.tui.themes import Looks
from hhtui.tui.widgets.gauges import summary
from hhtui.tui.widgets.held_lines import HeldLines
from hhtui.tui.words import LOOK_OF_STATUS, age

# Every state, the ones worth a look first.
_ORDER = (
    Status.RUNNING,
    Status.FAILED,
    Status.INVALID,
    Status.BACKOFF,
    Status.INSTALLING,
    Status.STARTING,
    Status.STOPPING,
    Status.WAITING,
    Status.STOPPED,
    Status.DISCOVERED,
)


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
            lines.append(summary(snapshot.metrics.machine, self.looks, self.glyphs) if snapshot.metrics else [])
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
                problems.append(f"the engine is {engine}, this is {self.hh.version}: `hhtui engine reload` mends it")
            problems += [sanitise(problem, 300) for problem in snapshot.engine.problems]
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
