"""What the user should fix: one line each, shown until it is fixed, published once as an event."""

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
        """All that is not fixed yet."""
        return list(self._lines.values())

    def words(self, key: str) -> str | None:
        """What is not fixed yet of ``key``, None: nothing."""
        return self._lines.get(key)

    def report(self, key: str, words: str, source: str = "service_manager") -> None:
        """Show ``words`` until ``key`` is fixed."""
        if self._lines.get(key) == words:
            return
        self._lines[key] = words
        log.error("%s", words)
        self._publish(source, words)

    def resolved(self, key: str) -> None:
        """The problem is gone."""
        words = self._lines.pop(key, None)
        if words is not None:
            log.info("fixed: %s", words)

    def app_output_stuck(self, app_id: str, words: str) -> None:
        """An app's output cannot be written; it waits in its pipe."""
        self.report(f"output:{app_id}", f"{app_id}: {words}", app_id)

    def app_output_flows(self, app_id: str) -> None:
        """It can be written again."""
        self.resolved(f"output:{app_id}")
