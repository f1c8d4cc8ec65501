"""The user's own keys: a JSON object of binding id to keys, ``{"app.stop": "d,ctrl+x"}``."""

from __future__ import annotations

import unicodedata
from collections.abc import Iterator, Mapping
from pathlib import Path

from textual.keys import KEY_NAME_REPLACEMENTS, Keys, _character_to_key

from hhtui.storage import read_json_object
from hhtui.text import sanitise
from hhtui.tui.keymap import BY_ID, Key, Place, shown

_LARGEST = 64 * 1024
_MODIFIERS = frozenset({"ctrl", "shift", "alt", "super", "hyper", "meta"})
_NAMED = frozenset(name.split("+")[-1] for name in (key.value for key in Keys)) | set(KEY_NAME_REPLACEMENTS.values())
# Places whose keys work at the same time, besides those of one place: the dashboard has the apps in it.
_TOGETHER = frozenset({Place.DASHBOARD, Place.APPS})


def read_changes(path: Path) -> tuple[dict[str, str], str]:
    """What the keymap at ``path`` changes (binding id to keys), and what is wrong with it in one line, or "".

    What is wrong is left out, but for two actions on one key: there the changed one has it.
    """
    try:
        found = read_json_object(path, _LARGEST)
    except FileNotFoundError:
        return {}, ""
    except (OSError, ValueError, RecursionError) as error:
        return {}, f"{getattr(error, 'strerror', None) or error}; the usual keys are used"
    changes: dict[str, str] = {}
    problems: list[str] = []
    for name, keys in found.items():
        if name not in BY_ID:
            problems.append(f"no action is called {sanitise(name, 40)}: the names are in the palette")
        elif not isinstance(keys, str) or not keys.strip():
            problems.append(f'{name} needs keys as a text, such as "d" or "f5,ctrl+x"')
        else:
            parts = [(part, key_named(part)) for part in _parts(keys)]
            problems += [f"no key is called {sanitise(part, 40)} ({name})" for part, key in parts if key is None]
            if known := [key for _, key in parts if key is not None]:
                changes[name] = ",".join(known)
    problems += conflicts(changes)
    more = f" (and {len(problems) - 1} more)" if len(problems) > 1 else ""
    return changes, problems[0] + more if problems else ""


def key_named(text: str) -> str | None:
    """A key as Textual calls it, from ``Ctrl+X``, ``?`` or ``question_mark``; None if there is none such."""
    text = text.strip()
    if len(text) == 1:
        return _character_to_key(text) if text.isprintable() and text != " " else None
    *modifiers, last = text.split("+")
    if text.endswith("++"):
        modifiers, last = text[:-2].split("+"), "+"
    modifiers = [modifier.casefold() for modifier in modifiers]
    if not last or not set(modifiers) <= _MODIFIERS:
        return None
    if len(last) == 1:
        last = _character_to_key(last.lower() if "ctrl" in modifiers else last)
    elif last.casefold() in _NAMED or _is_character(last):
        last = last.casefold()
    else:
        return None
    return "+".join([*modifiers, last])


def conflicts(changes: Mapping[str, str]) -> Iterator[str]:
    """One line for each key that a changed action shares with another one that works in the same place."""
    for name, keys in changes.items():
        mine = BY_ID[name]
        for other in BY_ID.values():
            both_changed_and_told = other.id in changes and other.id < name
            if other.id == name or both_changed_and_told or not _meet(mine, other):
                continue
            theirs = changes.get(other.id, other.keys).split(",")
            for key in keys.split(","):
                if key in theirs and not (key in mine.keys.split(",") and key in other.keys.split(",")):
                    yield f"{shown(key)} is both {name} and {other.id}: give one of them another key"


def _meet(one: Key, other: Key) -> bool:
    places = {one.place, other.place}
    return len(places) == 1 or Place.EVERYWHERE in places or places <= _TOGETHER


def _parts(keys: str) -> list[str]:
    # A comma is a key, too: alone, or doubled.
    return ["," if part == "\0" else part for part in keys.replace(",,", "\0").split(",")] if keys != "," else [","]


def _is_character(name: str) -> bool:
    try:
        unicodedata.lookup(name.replace("_", " "))
    except KeyError:
        return False
    return True
