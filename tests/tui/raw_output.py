"""What a program wrote to its terminal, held against what the interface is allowed to write."""

from __future__ import annotations

import re

from tests.tui.hostile import FORBIDDEN
from tests.tui.terminal import CSI

# (private mark, final): SGR, cursor position, modes on and off and asked for, the kitty keyboard protocol.
_ALLOWED = {(b"", b"m"), (b"", b"H"), (b"?", b"h"), (b"?", b"l"), (b"?", b"p"), (b">", b"u"), (b"<", b"u")}
# The clipboard (OSC 52), by a key of the user alone, and nothing but base64.
_CLIPBOARD = re.compile(rb"\x1b\]52;c;[A-Za-z0-9+/=]*\x07")
# C0 but for line ends, C1, bidirectional and invisible characters: as in hhtui.text.
_HARMFUL = re.compile(
    "[\x00-\x09\x0b\x0c\x0e-\x1a\x1c-\x1f\x7f-\x9f\u061c\u200b-\u200f\u2028-\u202e\u2060-\u206f\ufeff\ufff9-\ufffb]"
)
_SGR = re.compile(rb"\x1b\[([0-9;:]*)m")


def not_allowed(output: bytes) -> set[object]:
    """Everything in ``output`` that the interface never writes; nothing, if all is well."""
    found: set[object] = {forbidden for forbidden in FORBIDDEN if forbidden != b"\x1b]52" and forbidden in output}
    if b"ZXZpbA==\x07" in output:
        found.add("the clipboard")
    rest = _CLIPBOARD.sub(b"", output)
    found |= {found_csi for found_csi in ((p, f) for p, _, _, f in CSI.findall(rest)) if found_csi not in _ALLOWED}
    rest = CSI.sub(b"", rest)
    found |= {rest[at : at + 20] for at in (match.start() for match in re.finditer(rb"\x1b", rest))}
    try:
        text = rest.decode()
    except UnicodeDecodeError as error:
        found.add(str(error))
        text = rest.decode(errors="replace")
    return found | {ascii(text[m.start() - 10 : m.start() + 20]) for m in _HARMFUL.finditer(text)}


def colours(output: bytes) -> set[str]:
    """The SGR parameters that are about colour: 30 to 49, 90 to 107."""
    codes = {int(code) for found in _SGR.findall(output) for code in re.split(rb"[;:]", found) if code}
    return {str(code) for code in codes if 30 <= code <= 49 or 90 <= code <= 107}
