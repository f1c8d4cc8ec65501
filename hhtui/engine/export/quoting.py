"""A text in double quotes, as YAML (1.2, section 7.3.1), HCL (its spec, "Template Literals") and systemd read it."""

from __future__ import annotations

_SHORT = {'"': '\\"', "\\": "\\\\", "\n": "\\n", "\r": "\\r", "\t": "\\t"}


def quoted(text: str) -> str:
    """JSON's form, but for what the two do not share with it: ``\\b``, ``\\f`` and pairs of surrogates."""
    return f'"{"".join(_SHORT.get(c) or (c if c.isprintable() else _escaped(c)) for c in text)}"'


def _escaped(character: str) -> str:
    number = ord(character)
    return f"\\u{number:04x}" if number < 0x10000 else f"\\U{number:08x}"
