"""Text as people see it: hostile text made harmless, figures with units, times."""

from __future__ import annotations

import re
from datetime import UTC, datetime

# C0 and C1 controls, bidirectional overrides and isolates, zero-width and other invisible format characters,
# line separators and lone surrogates: what can move a cursor, reach a terminal's command channel or reorder a line.
_HARMFUL = re.compile(
    "[\x00-\x1f\x7f-\x9f\u00ad\u061c\u180e\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb\ud800-\udfff"
    "\U000e0000-\U000e007f]"
)
_ELLIPSIS = "…"


def _visible(match: re.Match[str]) -> str:
    code = ord(match.group())
    if code < 0x20:
        return chr(0x2400 + code)
    if code == 0x7F:
        return "\u2421"
    if code < 0x100:
        return f"\\x{code:02x}"
    return f"\\u{code:04x}" if code <= 0xFFFF else f"\\U{code:08x}"


def sanitise(text: str, limit: int = 4096, *, tabs: bool = True) -> str:
    """One line that is safe to put on a terminal: control, bidi and invisible characters are shown, not obeyed.

    Tabs become spaces unless ``tabs`` is false (then they are shown); the result is cut at ``limit`` characters.
    """
    if tabs and "\t" in text:
        text = text.expandtabs(4)
    cut = len(text) > limit
    if cut:
        text = text[: max(limit - 1, 0)]
    text = _HARMFUL.sub(_visible, text)
    return text + _ELLIPSIS if cut else text


def human_bytes(count: float) -> str:
    """``1536`` → ``1.5 KiB``; binary units, one decimal from KiB on."""
    if abs(count) < 1024:
        return f"{count:.0f} B"
    for unit in ("KiB", "MiB", "GiB"):
        count /= 1024
        if abs(count) < 1024:
            return f"{count:.1f} {unit}"
    return f"{count / 1024:.1f} TiB"


def human_duration(seconds: float) -> str:
    """``93784`` → ``1d 2h``, ``59.2`` → ``59s``: the two largest units, rounded down."""
    whole = max(int(seconds), 0)
    units = (("d", 86400), ("h", 3600), ("m", 60), ("s", 1))
    parts: list[str] = []
    for name, size in units:
        if whole >= size or (name == "s" and not parts):
            parts.append(f"{whole // size}{name}")
            whole %= size
        elif parts:
            break
        if len(parts) == 2:
            break
    return " ".join(parts)


def iso_utc(moment: datetime, milliseconds: bool = False) -> str:
    """``2026-11-24T11:20:01Z`` (or ``…01.123Z``): every time in data is UTC in this form."""
    spec = "milliseconds" if milliseconds else "seconds"
    return moment.astimezone(UTC).isoformat(timespec=spec).replace("+00:00", "Z")
