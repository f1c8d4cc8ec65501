"""The interface as textual-serve's child: ``python -m hhtui.tui.in_browser HOME [--read-only]``. It only attaches."""

from __future__ import annotations

import sys
from pathlib import Path

from hhtui.paths import Home
from hhtui.tui.app import HomeHelperApp, run_app
from hhtui.tui.connecting import Connector
from hhtui.tui.remembered import Memory


def main() -> int:
    """Run on the home that is named until the page is closed."""
    root, read_only = Path(sys.argv[1]), "--read-only" in sys.argv[2:]
    home = Home.at(root)
    app = HomeHelperApp(
        home,
        # Who only watches starts no engine.
        Connector(home, read_only=True),
        read_only=read_only,
        encoding="UTF-8",
        memory=Memory.of(str(root)),
        in_browser=True,
    )
    return run_app(app)


if __name__ == "__main__":
    sys.exit(main())
