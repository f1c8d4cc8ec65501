"""A field for one line of text."""

from __future__ import annotations

from textual import events
from textual.widgets import Input


class TypedLine(Input):
    """Takes keys in the order in which they came.

    Textual sends a key that edits (Backspace, Enter) up to the screen and back as an action, while letters are taken at
    once: of what is typed fast or pasted as keys, letters would overtake it.
    """

    async def _on_key(self, event: events.Key) -> None:
        found = self._bindings.key_to_bindings.get(event.key, ())
        if found and not event.is_printable:
            event.stop()
            event.prevent_default()
            await self.run_action(found[0].action)
