"""`python -m benchmarks.picture`: takes the README's picture, docs/dashboard.svg, from the real interface."""

from __future__ import annotations

import asyncio
from pathlib import Path

from hhtui.cli.console import Console
from hhtui.cli.demo import DemoHome
from hhtui.model.event import new_correlation_id
from hhtui.model.states import Verb
from hhtui.paths import Home
from hhtui.tui.app import HomeHelperApp
from hhtui.tui.session.connect import Connector
from hhtui.tui.session.link import Connection

PICTURE = Path(__file__).parent.parent / "docs" / "dashboard.svg"
SIZE = (128, 36)


async def _take(root: Path) -> None:
    home = Home.at(root)
    connector = Connector(home, demo=True)
    app = HomeHelperApp(home, connector, demo=True, machine="kitchen-pi", host="kitchen-pi")
    async with app.run_test(size=SIZE) as pilot:
        while app.link.snapshot.connection is not Connection.UP:
            await pilot.pause(0.2)
        await pilot.pause(3)
        for app_id in ("thermometer", "crasher", "clock-worker"):
            await app.link.command(app_id, Verb.START, new_correlation_id())
        await pilot.pause(20)
        await pilot.press("down", "down", "down", "down")
        await pilot.pause(5)
        PICTURE.write_text(app.export_screenshot(title="hhtui"))
        await connector.stop(app.link, keep_apps=False)


def main() -> None:
    """Write the picture."""
    with DemoHome(Console()) as root:
        asyncio.run(_take(root))
    print(f"written: {PICTURE}")


if __name__ == "__main__":
    main()
