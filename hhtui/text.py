"""Text for people and from them: hostile text made harmless, figures with units, times written and read."""

from __future__ import annotations

import json
import re
from datetime import UTC, datetime, timedelta

from hhtui.errors import InvalidInputError

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
    if 0xDC80 <= code <= 0xDCFF:  # a byte of a file's name that is not UTF-8 (os.fsdecode)
        return f"\\x{code - 0xDC00:02x}"
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


def value_text(value: object) -> str:
    """A setting's value as ``hhtui set`` takes it, not yet safe to show; "" for None. A list has commas between its
    items, or is JSON where one of them holds a comma."""
    if isinstance(value, list) and all(isinstance(item, str) and "," not in item for item in value):
        return ",".join(value) or "none"
    if isinstance(value, float) and value.is_integer():
        value = int(value)
    return "" if value is None else value if isinstance(value, str) else json.dumps(value)


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


_AGE = re.compile(r"-?(\d{1,9})([smhdw])\Z")
_UNITS = {"s": 1, "m": 60, "h": 3600, "d": 86_400, "w": 604_800}
_OF_DAY = re.compile(r"(\d{1,2}):(\d{2})(?::(\d{2}))?\Z")


def is_age(text: str) -> bool:
    """Whether ``text`` is an age such as ``10m`` or ``-10m`` rather than a time."""
    return _AGE.match(text) is not None


def moment_of(text: str, now: datetime) -> datetime:
    """A moment in UTC: an age before ``now``, a time of day (the last one), or an ISO date with or without a time.

    Times are local unless they name a zone. InvalidInputError if it is none of these.
    """
    text = text.strip()
    try:
        if match := _AGE.match(text):
            return _before(now, int(match[1]) * _UNITS[match[2]])
        if match := _OF_DAY.match(text):
            hour, minute, second = (int(part or 0) for part in match.groups())
            here = now.astimezone()
            # Made anew from its parts: on the day of a clock change the zone's offset is another one.
            moment = datetime(here.year, here.month, here.day, hour, minute, second)
            if moment.astimezone(UTC) > now:
                moment -= timedelta(days=1)
            return moment.astimezone(UTC)
        return datetime.fromisoformat(text).astimezone(UTC)
    except (ValueError, OverflowError, OSError):
        raise InvalidInputError(
            f"{sanitise(text, 60)!r} is neither a time such as 14:30 or 2026-11-24 14:30 nor an age such as 10m"
        ) from None


def _before(now: datetime, seconds: int) -> datetime:
    try:
        return (now - timedelta(seconds=seconds)).astimezone(UTC)
    except OverflowError:
        return datetime(1970, 1, 1, tzinfo=UTC)
