"""The way to each place of the interface, for tests that visit all of them."""

from __future__ import annotations

from textual.keys import Keys

from hhtui.tui import keymap
from hhtui.tui.keymap import Key, Place, key_named

# What to press on the dashboard, where an app that runs is chosen. Where a place is only on the way to another
# one (EVERYWHERE), or has no keys of its own, its way is the dashboard's.
WAYS: dict[Place, tuple[str, ...]] = {
    Place.EVERYWHERE: (),
    Place.DASHBOARD: (),
    Place.APPS: (),
    Place.HARDWARE: ("2",),
    Place.LOG: ("3",),
    Place.EVENTS: ("4",),
    Place.APP_PAGE: ("enter",),
    Place.APP_SETTINGS: ("E",),
    Place.VIEWER: ("l",),
    Place.DETAILS: ("4", "enter"),
    Place.SYSTEM: ("M",),
    Place.PROCESSES: ("M", "2"),
    Place.CONFIG: ("C",),
    Place.CONFIG_DIFF: ("C", "slash", *"max_files", "enter", "e", *["backspace"] * 3, "7", "enter", "s"),
    Place.FIRST_RUN: ("f3",),
    Place.ADD: ("plus",),
    Place.JOB: ("plus", "enter"),
    Place.JOBS: ("f5",),
    Place.UPDATES: ("ctrl+u",),
    Place.CATALOGS: ("f8",),
    Place.SECRETS: ("f7",),
    Place.GATEWAY: ("f9",),
    Place.HOSTS: ("f4",),
    Place.HELP: ("question_mark",),
}
# xterm's sequences for keys that are no characters: ctlseqs, "PC-Style Function Keys".
_RAW = {
    Keys.Up: "\x1b[A", Keys.Down: "\x1b[B", Keys.Right: "\x1b[C", Keys.Left: "\x1b[D", Keys.Home: "\x1b[H",
    Keys.End: "\x1b[F", Keys.PageUp: "\x1b[5~", Keys.PageDown: "\x1b[6~", Keys.Insert: "\x1b[2~",
    Keys.Delete: "\x1b[3~", Keys.BackTab: "\x1b[Z", Keys.F1: "\x1bOP", Keys.F2: "\x1bOQ", Keys.F3: "\x1bOR",
    Keys.F4: "\x1bOS", Keys.F5: "\x1b[15~", Keys.F6: "\x1b[17~",
    Keys.F7: "\x1b[18~", Keys.F8: "\x1b[19~",
    Keys.F9: "\x1b[20~", Keys.Tab: "\t", Keys.Enter: "\r", Keys.Escape: "\x1b",
    Keys.Backspace: "\x7f", "space": " ",
}  # fmt: skip


def raw(key: str) -> str:
    """What a terminal sends for a key as Textual names it."""
    if key in _RAW:
        return _RAW[key]  # type: ignore[index]
    if key.startswith("ctrl+"):
        return chr(ord(key[-1]) & 0x1F)
    if len(key) == 1:
        return key
    return next(chr(code) for code in range(0x21, 0x7F) if key_named(chr(code)) == key)


def keys_of_place(place: Place) -> list[Key]:
    """The keys that belong to a place."""
    return [key for key in keymap.KEYS if key.place is place]
