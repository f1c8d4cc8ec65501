"""An engine's capture as a process of its own, to be killed: python capturer.py FIFOS LOGS MAX_BYTES APP..."""

from __future__ import annotations

import asyncio
import signal
import sys
from pathlib import Path

from hhtui.engine.logs.capture import LogCapture
from hhtui.engine.logs.rotation import LogLimits


async def capture_until_told(fifos: Path, logs: Path, max_bytes: int, apps: list[str]) -> None:
    limits = LogLimits(max_bytes=max_bytes, max_files=100_000)
    told = asyncio.Event()
    asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, told.set)
    capture = LogCapture(limits=lambda: limits, on_problem=lambda *_: None, on_recovered=lambda *_: None)
    for app in apps:
        capture.open(app, fifos, logs / app)
    print("ready", flush=True)
    await told.wait()
    capture.close_all()


if __name__ == "__main__":
    asyncio.run(capture_until_told(Path(sys.argv[1]), Path(sys.argv[2]), int(sys.argv[3]), sys.argv[4:]))
