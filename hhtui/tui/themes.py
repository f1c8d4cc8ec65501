"""How screens look: themes, the looks that widgets draw with, and the characters that a terminal can show."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path, PurePath
from typing import NamedTuple

from rich.style import Style
from textual.color import Color, ColorParseError
from textual.theme import Theme

from hhtui.client.words import GLYPH_OF_HEALTH, GLYPH_OF_STATUS
from hhtui.model.states import Health, Status

DEFAULT = "homehelper"
HIGH_CONTRAST = "high-contrast"
OFFERED = (DEFAULT, HIGH_CONTRAST, "ansi-dark", "ansi-light", "textual-light", "nord", "gruvbox", "solarized-light")

HOMEHELPER_THEME = Theme(
    name=DEFAULT,
    primary="#5fafd7",
    secondary="#87afaf",
    accent="#d7af5f",
    warning="#ffaf5f",
    error="#ff6b6b",
    success="#7fc97f",
    foreground="#d0d4d8",
    background="#11161b",
    surface="#171d23",
    panel="#1e262d",
    dark=True,
    variables={"dim": "#7f8b95", "border-blurred": "#3a4650", "border": "#5fafd7", "cursor": "#26475c"},
)

HIGH_CONTRAST_THEME = Theme(
    name=HIGH_CONTRAST,
    primary="#00ffff",
    secondary="#ffffff",
    accent="#ffff00",
    warning="#ffff00",
    error="#ff5f5f",
    success="#00ff00",
    foreground="#ffffff",
    background="#000000",
    surface="#000000",
    panel="#000000",
    dark=True,
    variables={"dim": "#d0d0d0", "border-blurred": "#a0a0a0", "border": "#ffff00", "cursor": "#0000d7"},
)


def styles_folder() -> Path:
    """Where the style sheets are: in the wheel below the package, in a checkout beside it."""
    package = Path(__file__).resolve().parent.parent
    installed = package / "styles"
    return installed if installed.is_dir() else package.parent / "styles"


def style_sheets(*names: str) -> list[str | PurePath]:
    """The paths of these style sheets: a screen's ``CSS_PATH``, read when the first of its kind is opened."""
    return [styles_folder() / f"{name}.tcss" for name in names]


class Looks(NamedTuple):
    """Foreground styles by meaning; they are laid over the widget's own background."""

    text: Style
    dim: Style
    title: Style
    good: Style
    warning: Style
    bad: Style
    accent: Style
    info: Style
    key: Style
    cursor: Style
    cursor_unfocused: Style
    found: Style
    found_current: Style
    alarm: Style

    def named(self, name: str) -> Style:
        """The style called ``name``; words, not styles, travel through the code that only knows meanings."""
        style: Style = getattr(self, name)
        return style


def looks_of(variables: Mapping[str, str], no_color: bool, ansi: bool) -> Looks:
    """The looks of a theme, from its CSS ``variables``; without colour everything is bold, dim or reversed."""
    if no_color:
        plain, bold, reverse = Style(), Style(bold=True), Style(reverse=True)
        return Looks(
            text=plain,
            dim=Style(dim=True),
            title=bold,
            good=plain,
            warning=bold,
            bad=bold,
            accent=bold,
            info=plain,
            key=bold,
            cursor=reverse,
            cursor_unfocused=Style(underline=True),
            found=Style(underline=True),
            found_current=reverse,
            alarm=Style(reverse=True, bold=True),
        )

    def style(name: str, fallback: str, *, bold: bool = False) -> Style:
        return Style(color=_color(variables, name, fallback).rich_color, bold=bold or None)

    if ansi:
        dim, cursor = Style(dim=True), Style(reverse=True)
        cursor_unfocused = Style(bold=True, underline=True)
    else:
        dim = style("dim", variables.get("foreground-muted", variables["foreground"]))
        cursor = Style(bgcolor=_color(variables, "cursor", variables["primary-darken-2"]).rich_color, bold=True)
        cursor_unfocused = Style(bgcolor=_color(variables, "panel", variables["surface"]).rich_color)
    warning = _color(variables, "warning", "ansi_yellow").rich_color
    black = Color.parse("ansi_black" if ansi else "#000000").rich_color
    return Looks(
        text=Style(),
        dim=dim,
        title=style("primary", "ansi_blue", bold=True),
        good=style("success", "ansi_green"),
        warning=style("warning", "ansi_yellow"),
        bad=style("error", "ansi_red", bold=True),
        accent=style("accent", "ansi_yellow"),
        info=style("primary", "ansi_blue"),
        key=style("accent", "ansi_yellow", bold=True),
        cursor=cursor,
        cursor_unfocused=cursor_unfocused,
        found=Style(underline=True, color=warning),
        found_current=Style(color=black, bgcolor=warning, bold=True),
        alarm=Style(
            color=Color.parse("ansi_bright_white" if ansi else "#ffffff").rich_color,
            bgcolor=Color.parse("ansi_red" if ansi else "#a02030").rich_color,
            bold=True,
        ),
    )


def _color(variables: Mapping[str, str], name: str, fallback: str) -> Color:
    for value in (variables.get(name), fallback):
        try:
            if value:
                return Color.parse(value.split()[0])
        except ColorParseError:
            continue
    return Color.parse("ansi_default")


class Glyphs(NamedTuple):
    """The characters that screens are drawn with; every glyph is one cell wide.

    ``ramp`` grows from empty to full, for graphs. ``encoding`` is what texts may hold: utf-8, latin-1 or ascii.
    """

    encoding: str
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
        if self.unicode:
            return text
        return text.replace("…", "~").encode(self.encoding, "replace").decode(self.encoding)

    @property
    def unicode(self) -> bool:
        """Whether symbols of all kinds can be shown."""
        return self.encoding == "utf-8"


UNICODE = Glyphs(
    encoding="utf-8",
    status={status: glyph for status, (glyph, _) in GLYPH_OF_STATUS.items()},
    health={health: glyph for health, (glyph, _) in GLYPH_OF_HEALTH.items()},
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
    encoding="ascii",
    status={status: glyph for status, (_, glyph) in GLYPH_OF_STATUS.items()},
    health={health: glyph for health, (_, glyph) in GLYPH_OF_HEALTH.items()},
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


def glyphs_for(encoding: str) -> Glyphs:
    """The set for a terminal that shows ``encoding``, as hhtui.client.encoding names it."""
    return UNICODE if encoding == UNICODE.encoding else ASCII._replace(encoding=encoding)
