"""One line of a diagnosis."""

from __future__ import annotations

from typing import Literal, NamedTuple

from hhtui.text import sanitise

Level = Literal["ok", "warning", "error"]


class Finding(NamedTuple):
    """``fix`` says what to do; it is empty exactly if the level is ok."""

    check: str
    level: Level
    message: str
    fix: str = ""

    def as_document(self) -> dict[str, str]:
        """``{check, level, message, fix}``, safe to show."""
        return {
            "check": self.check,
            "level": self.level,
            "message": sanitise(self.message, 500),
            "fix": sanitise(self.fix, 500),
        }


def ok(check: str, message: str) -> Finding:
    """All is well."""
    return Finding(check, "ok", message)


def warning(check: str, message: str, fix: str) -> Finding:
    """It works, but not for long, or not for everybody."""
    return Finding(check, "warning", message, fix)


def error(check: str, message: str, fix: str) -> Finding:
    """Something does not work."""
    return Finding(check, "error", message, fix)
