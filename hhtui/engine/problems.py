"""What the user should mend: one line each, shown until it is mended, told once as an event."""

from __future__ import annotations

import logging
from collections.abc import Callable

log = logging.getLogger("homehelper.engine")


class Problems:
    """Lines by key; ``publish(source, words)`` makes an event of each new one."""

    def __init__(self, publish: Callable[[str, str], None]) -> None:
        self._publish = publish
        self._lines: dict[str, str] = {}

    def lines(self) -> list[str]:
        """All that is not mended yet."""
        return list(self._lines.values())

    def told(self, key: str, words: str, source: str = "service_manager") -> None:
        """Show ``words`` until ``key`` is mended."""
        if self._lines.get(key) == words:
            return
        self._lines[key] = words
        log.error("%s", words)
        self._publish(source, words)

    def mended(self, key: str) -> None:
        """The problem is gone."""
        words = self._lines.pop(key, None)
        if words is not None:
            log.info("mended: %s", words)

    def app_output_stuck(self, app_id: str, words: str) -> None:
        """An app's output cannot be written; it waits in its pipe."""
        self.told(f"output:{app_id}", f"{app_id}: {words}", app_id)

    def app_output_flows(self, app_id: str) -> None:
        """It can be written again."""
        self.mended(f"output:{app_id}")
