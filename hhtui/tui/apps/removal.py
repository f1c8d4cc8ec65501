"""Removing an app from the screen: what will go, the progress, and the trash that it comes back from."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

from hhtui.errors import HomeHelperError
from hhtui.text import human_bytes, sanitise
from hhtui.tui.dialogs.choice import ChoiceScreen

if TYPE_CHECKING:
    from hhtui.tui.session.interface import Interface

Document = Mapping[str, Any]

_WHAT = {
    "files": "folder",
    "revisions": "earlier revisions",
    "environment": "environment",
    "data": "data",
    "logs": "logs",
    "settings": "settings",
    "source": "where it came from",
}
# As many entries of the trash as have a digit to be taken by.
_LISTED = 9


class RemoveScreen(ChoiceScreen):
    """Answers ``trash``, ``keep``, ``purge``, ``no`` or nothing."""

    def __init__(self, plan: Document) -> None:
        name = sanitise(str(plan.get("name") or plan.get("app_id")), 60)
        sizes: dict[str, int] = {}
        for part in plan.get("parts") or []:
            what = "link to its folder" if part.get("link") and part.get("kind") == "files" else part.get("kind")
            sizes[str(what)] = sizes.get(str(what), 0) + int(part.get("size_bytes") or 0)
        more = "" if all(part.get("whole", True) for part in plan.get("parts") or []) else "more than "
        listed = ", ".join(f"{_WHAT.get(kind, kind)} {human_bytes(size)}" for kind, size in sizes.items())
        stops = "It runs and is stopped first. " if plan.get("running") else ""
        super().__init__(
            f"Remove {name}?",
            f"{stops}{more}{human_bytes(int(plan.get('size_bytes') or 0))} will go: {listed}.",
            (
                ("trash", "y", "to the trash, for 30 days: u brings it back"),
                ("keep", "k", "to the trash, and leave its data where it is"),
                ("purge", "p", "delete everything at once: there is no way back"),
                ("no", "n", "leave it as it is"),
            ),
        )


class PurgeScreen(ChoiceScreen):
    """Answers ``yes``, ``no`` or nothing."""

    def __init__(self, plan: Document) -> None:
        name = sanitise(str(plan.get("name") or plan.get("app_id")), 60)
        size = human_bytes(int(plan.get("size_bytes") or 0))
        super().__init__(
            f"Delete {name} for good?",
            f"{size} are deleted now, its data too, and nothing brings them back.",
            (("no", "n", "leave it as it is"), ("yes", "y", "delete it for good")),
        )


class TrashScreen(ChoiceScreen):
    """Answers the name of the entry to bring back, or nothing."""

    def __init__(self, entries: Sequence[Document]) -> None:
        lines = [
            (
                str(entry.get("name")),
                str(number),
                f"{sanitise(str(entry.get('app_id')), 40)}, {human_bytes(int(entry.get('size_bytes') or 0))}, removed "
                f"{str(entry.get('removed_at'))[:10]}, until {str(entry.get('until'))[:10]}",
            )
            for number, entry in enumerate(entries[:_LISTED], 1)
        ]
        more = f" {len(entries) - _LISTED} older ones: `hhtui remove --list`." if len(entries) > _LISTED else ""
        super().__init__("Trash", f"Bring an app back as it was?{more}", (*lines, ("", "n", "leave them there")))


async def remove_app(hh: Interface, app_id: str) -> tuple[str, str] | None:
    """Ask, and remove the app, which is said; the trash's entry and the app's id if it can be brought back."""
    try:
        plan = await hh.link.api.removal(app_id)
        if refused := plan.get("refused"):
            hh.say(str(refused), "warning")
            return None
        answer = await hh.push_screen_wait(RemoveScreen(plan))
        if answer == "purge" and await hh.push_screen_wait(PurgeScreen(plan)) != "yes":
            return None
        if answer not in ("trash", "keep", "purge"):
            return None
        order = {"keep_data": answer == "keep", "purge": answer == "purge"}
    except HomeHelperError as error:
        hh.say(error.message, "error")
        return None
    result = await hh.jobs.finished(f"Remove {app_id}", lambda: hh.link.api.remove_app(app_id, order))
    return None if result is None or answer == "purge" else (str(result.get("name")), app_id)


async def bring_back(hh: Interface, entry: str) -> None:
    """Bring an app back from the trash; how it went is said."""
    await hh.jobs.finished("Bring it back", lambda: hh.link.api.bring_back(entry))


async def choose_from_trash(hh: Interface) -> None:
    """Show the trash, and bring back what is chosen."""
    try:
        entries = await hh.link.api.trash()
    except HomeHelperError as error:
        hh.say(error.message, "error")
        return
    if not entries:
        hh.say("The trash is empty: removed apps stay there for 30 days.")
    elif chosen := await hh.push_screen_wait(TrashScreen(entries)):
        await bring_back(hh, chosen)
