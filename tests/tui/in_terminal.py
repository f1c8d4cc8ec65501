"""The interface above a fake transport, as a program for a real terminal: ``python -m tests.tui.in_terminal CASE``."""

from __future__ import annotations

import asyncio
import sys

from hhtui.tui.app import run_app
from tests.tui import fake
from tests.tui.hostile import hostile_transport


def main(case: str) -> int:
    transport = fake.FakeTransport()
    if case == "hostile":
        transport = hostile_transport()
    app = fake.make_app(transport, ours=case != "attached", encoding=None)
    if case == "bug":

        def fail() -> None:
            raise RuntimeError("the sky falls")

        app.call_after_refresh(lambda: app.set_timer(0.5, fail))
    if case == "flood":

        async def flood() -> None:
            number = 100
            while True:
                number += 1
                transport.emit(fake.event(number, "error", "thermometer", 0, message=f"flood {number} " * 20))
                await asyncio.sleep(0.002)

        app.call_after_refresh(lambda: app.run_worker(flood()))
    return run_app(app)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
