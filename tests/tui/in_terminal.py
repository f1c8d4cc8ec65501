"""The interface above a fake transport, as a program for a real terminal; SIGUSR1 sets the case off."""

from __future__ import annotations

import asyncio
import random
import signal
import sys

from hhtui.tui.app import run_app
from tests.tui import fake
from tests.tui.hostile import hostile_transport


def main(case: str) -> int:
    transport = fake.FakeTransport()
    if case == "hostile":
        transport = hostile_transport()
    app = fake.make_app(transport, ours=case != "attached", encoding=None)
    app.call_after_refresh(lambda: asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, go))

    def go() -> None:
        if case == "bug":
            app.call_later(fail)
        else:
            app.run_worker(flood())

    def fail() -> None:
        raise RuntimeError("the sky falls")

    async def flood() -> None:
        number = 100
        while True:
            number += 1
            words = f"flood {number} " + "".join(random.choices("abcdefgh", k=150))
            transport.emit(fake.event(number, "backup_created", "thermometer", 0, message=words))
            await asyncio.sleep(0.02)

    return run_app(app)


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
