"""The interface above a fake transport, as a program for a real terminal; SIGUSR1 sets the case off."""

from __future__ import annotations

import asyncio
import random
import signal
import sys

from hhtui.cli.console import settle_streams
from hhtui.model.states import EventType
from hhtui.tui.run import run_app
from tests.tui import fake
from tests.tui.hostile import hostile_transport


def main(case: str) -> int:
    transport = fake.FakeTransport()
    if case == "hostile":
        transport = hostile_transport()
    if case == "twenty":
        transport.records = {f"app{n:02}": fake.app(f"app{n:02}", process_id=n + 9) for n in range(20)}
        transport.logs_of = {("app00", "app"): ["the first line"]}
    app = fake.make_interface(transport, ours=case != "attached", encoding=None)
    # One that comes before the loop takes it waits.
    signal.pthread_sigmask(signal.SIG_BLOCK, {signal.SIGUSR1})

    def listen() -> None:
        asyncio.get_running_loop().add_signal_handler(signal.SIGUSR1, go)
        signal.pthread_sigmask(signal.SIG_UNBLOCK, {signal.SIGUSR1})

    app.call_after_refresh(listen)

    def go() -> None:
        if case == "bug":
            app.call_later(fail)
        else:
            app.run_worker(flood() if case == "flood" else everyday())

    def fail() -> None:
        raise RuntimeError("the sky falls")

    async def flood() -> None:
        number = 100
        while True:
            number += 1
            words = f"flood {number} " + "".join(random.choices("abcdefgh", k=150))
            transport.emit(fake.event(number, "backup_created", "thermometer", 0, message=words))
            await asyncio.sleep(0.02)

    async def everyday() -> None:
        """Five lines a second in the log that is followed; four gauges and each app's CPU move every two seconds."""
        number = 0
        while True:
            number += 1
            transport.logs_of["app00", "app"].append(f"request {number} from 192.168.1.7 took 12 ms")
            if number % 10 == 0:
                transport.sample = fake.metrics()
                hardware = transport.sample["hardware"]
                hardware["cpu"]["usage_percent"] = random.uniform(2, 60)
                hardware["cpu"]["per_cpu_percent"] = [random.uniform(2, 60) for _ in range(4)]
                hardware["memory"]["percent"] = random.uniform(40, 45)
                hardware["temperature"]["cpu_temp"] = random.uniform(50, 60)
                hardware["network"]["received_bytes_per_second"] = random.uniform(1e3, 1e5)
                used = {"memory_mb": 40.0, "disk_mb": 1.0}
                transport.sample["apps"] = {
                    app_id: {"cpu_percent": random.uniform(0, 20), **used} for app_id in transport.records
                }
                transport.emit(fake.event(number, EventType.METRICS, "system", **transport.sample))
            await asyncio.sleep(0.2)

    try:
        return run_app(app)
    finally:
        settle_streams()


if __name__ == "__main__":
    sys.exit(main(sys.argv[1]))
