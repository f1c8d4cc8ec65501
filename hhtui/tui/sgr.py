"""Fewer bytes for the same picture: colours are sent when they change, not with every piece of text.

The renderer sends all of a piece's attributes before it and a reset behind it, which is half of what a frame
takes. SELECT GRAPHIC RENDITION: ECMA-48, 8.3.117.
"""

from __future__ import annotations

import re
from functools import lru_cache

_SGR = re.compile(r"\x1b\[([0-9;]*)m")
# What moves the cursor or switches a mode shows nothing: attributes may stay as they are meanwhile.
_SHOWS_NOTHING = re.compile(r"(?:\x1b\[[?<>=]?[0-9;]*[ -/]*[@-ln-~]|[\r\n])*\Z")

# Foreground, background, other attributes; each as the parameters that switch it on.
Look = tuple[str, str, frozenset[str]]
_PLAIN: Look = ("", "", frozenset())


def compact(frame: str) -> str:
    """``frame`` with the same effect; it must begin and end without attributes, as every frame does."""
    parts: list[str] = []
    is_on, wanted = _PLAIN, _PLAIN
    position = 0
    for match in _SGR.finditer(frame):
        text = frame[position : match.start()]
        if text:
            if wanted != is_on and not _SHOWS_NOTHING.match(text):
                parts.append(_change(is_on, wanted))
                is_on = wanted
            parts.append(text)
        position = match.end()
        wanted = _then(wanted, match.group(1))
    text = frame[position:]
    if wanted != is_on and (text or wanted == _PLAIN):
        parts.append(_change(is_on, wanted))
        is_on = wanted
    parts.append(text)
    return "".join(parts)


@lru_cache(maxsize=1024)
def _change(old: Look, new: Look) -> str:
    (old_fg, old_bg, old_others), (fg, bg, others) = old, new
    if new == _PLAIN:
        return "\x1b[0m"
    if old_others - others or (old_fg and not fg) or (old_bg and not bg):
        return f"\x1b[{';'.join(['0', *sorted(others), *filter(None, (fg, bg))])}m"
    parts = [*sorted(others - old_others), *([fg] if fg != old_fg else []), *([bg] if bg != old_bg else [])]
    return f"\x1b[{';'.join(parts)}m"


@lru_cache(maxsize=1024)
def _then(look: Look, codes: str) -> Look:
    fg, bg, others = look
    numbers = codes.split(";")
    position = 0
    while position < len(numbers):
        code = numbers[position]
        taken = 1
        if code in ("", "0"):
            fg, bg, others = _PLAIN
        elif code in ("38", "48"):
            kind = numbers[position + 1] if position + 1 < len(numbers) else ""
            taken = 3 if kind == "5" else 5
            value = ";".join(numbers[position : position + taken])
            fg, bg = (value, bg) if code == "38" else (fg, value)
        elif code.isdigit() and (30 <= int(code) <= 39 or 90 <= int(code) <= 97):
            fg = code
        elif code.isdigit() and (40 <= int(code) <= 49 or 100 <= int(code) <= 107):
            bg = code
        else:
            others |= {code}
        position += taken
    return fg, bg, others
