"""Asks before several apps are stopped or restarted."""

from __future__ import annotations

from collections.abc import Sequence

from hhtui.model.states import Verb
from hhtui.tui.screens.choice import ChoiceScreen

_LISTED = 8


class ConfirmScreen(ChoiceScreen):
    """Answers ``yes``, ``no`` or nothing."""

    def __init__(self, verb: Verb, names: Sequence[str]) -> None:
        listed = ", ".join(names[:_LISTED])
        more = f" and {len(names) - _LISTED} more" if len(names) > _LISTED else ""
        super().__init__(
            f"{verb.value.capitalize()} {len(names)} apps?",
            f"{listed}{more}",
            (("yes", "y", f"{verb.value} them"), ("no", "n", "leave them as they are")),
        )
