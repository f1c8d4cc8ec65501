"""The apps of a list under headings: by state, by type, or by the group that their manifests name."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from enum import StrEnum
from typing import NamedTuple

from hhtui.model.states import Status
from hhtui.text import sanitise
from hhtui.tui.app_filter import group_of
from hhtui.tui.records import App

# Those first that somebody may have to do something about.
ORDER = (
    Status.FAILED,
    Status.INVALID,
    Status.BACKOFF,
    Status.INSTALLING,
    Status.STARTING,
    Status.STOPPING,
    Status.RUNNING,
    Status.WAITING,
    Status.STOPPED,
    Status.DISCOVERED,
)


class Grouping(StrEnum):
    """By what apps stand together."""

    NONE = "none"
    STATE = "state"
    TYPE = "type"
    GROUP = "group"


class Heading(NamedTuple):
    """The line above a group; ``app_ids`` are its apps, whether they are shown below it or not."""

    name: str
    app_ids: tuple[str, ...]
    folded: bool


# A line of the table.
Entry = str | Heading


def entries(apps: Iterable[App], grouping: Grouping, folded: Iterable[str]) -> list[Entry]:
    """The lines for ``apps`` in their order; apps of folded groups are left out."""
    if grouping is Grouping.NONE:
        return [app.app_id for app in apps]
    groups: dict[str, list[App]] = {}
    for app in apps:
        groups.setdefault(_name(app, grouping), []).append(app)
    hidden = frozenset(folded)
    lines: list[Entry] = []
    for name in sorted(groups, key=lambda name: _rank(name, grouping, groups[name])):
        ids = tuple(app.app_id for app in groups[name])
        lines.append(Heading(name, ids, name in hidden))
        if name not in hidden:
            lines += ids
    return lines


def _name(app: App, grouping: Grouping) -> str:
    match grouping:
        case Grouping.STATE:
            return app.status.value
        case Grouping.TYPE:
            return sanitise(app.type, 40) or "no type"
    return sanitise(group_of(app), 40) or "no group"


def _rank(name: str, grouping: Grouping, apps: Sequence[App]) -> tuple[int, str]:
    if grouping is Grouping.STATE:
        return ORDER.index(apps[0].status), name
    # Those that name no group stand behind those that do.
    return int(name in ("no type", "no group")), name.casefold()
