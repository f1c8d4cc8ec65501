"""`hhtui --engine-only`: the engine in the foreground, as systemd or a terminal runs it."""

from __future__ import annotations

import asyncio
import gc
import os
import resource
import signal
import sys
from pathlib import Path

from hhtui.engine.engine import Engine
from hhtui.engine.handover import Handover
from hhtui.errors import HomeHelperError


def run_engine(root: Path, *, console: bool = True) -> int:
    """Run the engine of ``root`` until SIGTERM, SIGINT or a client ends it; the exit code (contract, section 7)."""
    _raise_descriptor_limit()
    try:
        return asyncio.run(_serve(root, console))
    except HomeHelperError as error:
        sys.stderr.write(f"hhtui: {error.message}\n")
        return error.exit_code
    except KeyboardInterrupt:
        return 130


async def _serve(root: Path, console: bool) -> int:
    if sys.version_info < (3, 12):
        # The default watcher of 3.11 takes a thread for each child.
        asyncio.get_event_loop_policy().set_child_watcher(asyncio.PidfdChildWatcher())
    loop = asyncio.get_running_loop()
    engine = Engine(root, console=console, handover=Handover.received())
    interrupts = 0

    def end() -> None:
        nonlocal interrupts
        interrupts += 1
        engine.stopped.set()

    for number in (signal.SIGTERM, signal.SIGINT):
        loop.add_signal_handler(number, end)
    await engine.start()

    def reload() -> None:
        engine.reload_wanted = True
        engine.stopped.set()

    loop.add_signal_handler(signal.SIGHUP, reload)
    gc.collect()
    gc.freeze()
    while True:
        await engine.stopped.wait()
        if interrupts or not engine.reload_wanted:
            break
        engine.stopped.clear()
        engine.reload_wanted = False
        await engine.hand_over()
        os.execv(sys.executable, [sys.executable, "-m", "hhtui", "--engine-only", "--home", str(root)])
    await engine.stop(keep_apps=engine.keep_apps)
    return 0


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass
