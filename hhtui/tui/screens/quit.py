"""Asks what becomes of the apps when the interface is left."""

from __future__ import annotations

from hhtui.tui.screens.choice import ChoiceScreen


class QuitScreen(ChoiceScreen):
    """Answers ``keep``, ``stop``, ``stay`` or nothing; Ctrl+C leaves at once and keeps the apps running."""

    def __init__(self, running: int) -> None:
        apps = {0: "No app runs now.", 1: "One app is running."}.get(running, f"{running} apps are running.")
        super().__init__(
            "Quit",
            f"{apps} Shall the engine go on without this screen?",
            (
                ("keep", "k", "keep apps running and leave"),
                ("stop", "s", "stop all apps and the engine, then leave"),
                ("stay", "n", "stay here"),
            ),
        )
        self._bindings.bind("q", "answer('keep')", show=False)
