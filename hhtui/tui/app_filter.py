"""Which apps a filter shows, the best match first, and which letters of their names it met."""

from __future__ import annotations

from typing import NamedTuple

from textual.fuzzy import FuzzySearch

from hhtui.tui.records import App
from hhtui.tui.words import name_of

_search = FuzzySearch()
# A word that stands in the state, the type or the group is a match, but never better than one in the name.
_ELSEWHERE = 0.1


class Met(NamedTuple):
    """How well an app matches, and the places in its shown name that are to be marked."""

    score: float
    letters: frozenset[int]


def met(wanted: str, app: App) -> Met | None:
    """How the app matches, if every word does: by its letters in name or id in their order, or as text elsewhere."""
    score = 0.0
    letters: set[int] = set()
    name = name_of(app)
    elsewhere = f"{app.status.value} {app.type} {app.health.value} {group_of(app)}".casefold()
    for word in wanted.split():
        by_name, offsets = _search.match(word, name)
        by_id, _ = _search.match(word, app.app_id)
        if not by_name and not by_id:
            if word.casefold() not in elsewhere:
                return None
            score += _ELSEWHERE
            continue
        score += max(by_name, by_id)
        letters.update(offsets)
    return Met(score, frozenset(letters))


def group_of(app: App) -> str:
    """The group that its manifest names, else the first of its tags, else nothing."""
    group = app.manifest.get("group")
    if isinstance(group, str):
        return group.strip()
    tags = app.manifest.get("tags")
    return tags[0].strip() if isinstance(tags, list) and tags and isinstance(tags[0], str) else ""
