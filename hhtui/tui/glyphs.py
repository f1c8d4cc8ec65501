"""The characters that screens are drawn with: a Unicode set, and an ASCII set for other locales."""

from __future__ import annotations

import locale
from collections.abc import Mapping
from typing import NamedTuple

from hhtui.model.states import Health, Status


class Glyphs(NamedTuple):
    """One set; every glyph is one cell wide. ``ramp`` grows from empty to full, for graphs."""

    unicode: bool
    status: Mapping[Status, str]
    health: Mapping[Health, str]
    ramp: str
    bar_full: str
    bar_empty: str
    thumb: str
    track: str
    mark: str
    folded: str
    unfolded: str
    down: str
    up: str
    dot: str
    dash: str
    ellipsis: str
    degree: str
    pause: str
    play: str
    border: str
    border_focus: str

    def keep(self, text: str) -> str:
        """``text`` in what the terminal's encoding can show; other characters become ``?``."""
        return text if self.unicode else text.replace("…", "~").encode("ascii", "replace").decode("ascii")


UNICODE = Glyphs(
    unicode=True,
    status={
        Status.DISCOVERED: "◇",
        Status.INVALID: "⊘",
        Status.INSTALLING: "⇣",
        Status.STOPPED: "○",
        Status.STARTING: "◐",
        Status.RUNNING: "●",
        Status.STOPPING: "◑",
        Status.BACKOFF: "▲",
        Status.FAILED: "✖",
        Status.WAITING: "◌",
    },
    health={Health.UNKNOWN: "·", Health.GOOD: "✓", Health.WARNING: "!", Health.ERROR: "✗"},
    ramp=" ▁▂▃▄▅▆▇█",
    bar_full="█",
    bar_empty="░",
    thumb="┃",
    track="│",
    mark="▸",
    folded="▹",
    unfolded="▿",
    down="↓",
    up="↑",
    dot="·",
    dash="—",
    ellipsis="…",
    degree="°",
    pause="‖",
    play="▶",
    border="round",
    border_focus="round",
)

ASCII = Glyphs(
    unicode=False,
    status={
        Status.DISCOVERED: "?",
        Status.INVALID: "!",
        Status.INSTALLING: "+",
        Status.STOPPED: "-",
        Status.STARTING: "~",
        Status.RUNNING: "*",
        Status.STOPPING: "/",
        Status.BACKOFF: "^",
        Status.FAILED: "x",
        Status.WAITING: "z",
    },
    health={Health.UNKNOWN: ".", Health.GOOD: "+", Health.WARNING: "!", Health.ERROR: "x"},
    ramp=" ._-=+*%#",
    bar_full="#",
    bar_empty=".",
    thumb="#",
    track=":",
    mark=">",
    folded="+",
    unfolded="-",
    down="v",
    up="^",
    dot=".",
    dash="-",
    ellipsis="~",
    degree=" ",
    pause="=",
    play=">",
    border="ascii",
    border_focus="ascii",
)


def glyphs_for(encoding: str | None = None) -> Glyphs:
    """The set that the locale's encoding can show; the locale's own encoding unless one is given."""
    name = (encoding or locale.getpreferredencoding(False)).lower().replace("-", "")
    return UNICODE if name in ("utf8", "utf8mb4", "utf16") else ASCII
