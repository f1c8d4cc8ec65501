"""`hhtui --engine-only`: the engine in the foreground, as systemd or a terminal runs it."""

from __future__ import annotations

import asyncio
import os
import resource
import signal
import sys
import threading
from pathlib import Path

from hhtui.engine.engine import Engine
from hhtui.engine.handover import Handover
from hhtui.engine.memory import settle, share_one_arena
from hhtui.engine.next_image import refuse_reload, signature, trouble_with_next_image
from hhtui.errors import HomeHelperError
from hhtui.model.app import Status

_ENDING = (signal.SIGTERM, signal.SIGINT)
_RELOADING = signal.SIGHUP
# By then (seconds) the apps that start with the engine have mostly started; who takes longer is waited for, to a limit.
_SETTLED = 2.0
_LOOK_AGAIN = 1.0
_SETTLED_AT_LAST = 60.0


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
        watcher = asyncio.PidfdChildWatcher()
        watcher.attach_loop(asyncio.get_running_loop())
        asyncio.get_event_loop_policy().set_child_watcher(watcher)
    share_one_arena()
    installed = signature()
    loop = asyncio.get_running_loop()
    engine = Engine(root, console=console, handover=Handover.received())
    engine.can_restart = True
    interrupted = asyncio.Event()

    def end() -> None:
        interrupted.set()
        engine.stopped.set()

    def reload() -> None:
        engine.reload_wanted = True
        engine.stopped.set()

    for number in _ENDING:
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(_RELOADING, reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_ENDING, _RELOADING})
    try:
        await engine.start()
    except Exception:
        if not engine.backups.restarting:
            raise
        _replace_image(root, console)
    _settle_later(engine, loop.time() + _SETTLED_AT_LAST, _SETTLED)
    while True:
        await engine.stopped.wait()
        if interrupted.is_set() or not engine.reload_wanted:
            break
        engine.stopped.clear()
        engine.reload_wanted = False
        engine.problems.mended("reload")
        if (trouble := await trouble_with_next_image(installed)) is not None:
            refuse_reload(engine, trouble)
            continue
        await engine.hand_over()
        # A signal in the middle of the replacement must not end us: mask and pending signals survive execve, and the
        # next image takes them when it can.
        signal.pthread_sigmask(signal.SIG_BLOCK, {*_ENDING, _RELOADING})
        await asyncio.sleep(0.01)  # what came before the mask is caught but not told yet
        if interrupted.is_set():
            # To this thread, which survives execve: another one would take it, and take it along.
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        _replace_image(root, console)
    await engine.stop(keep_apps=engine.keep_apps)
    if engine.backups.restarting and not interrupted.is_set():
        _replace_image(root, console)
    return 0


def _settle_later(engine: Engine, at_last: float, delay: float) -> None:
    """Settle once no app is starting any more: what a start needs for a moment is given back after the last one."""
    loop = asyncio.get_running_loop()

    def look() -> None:
        starting = any(app.status is Status.STARTING for app in engine.fleet.supervisors.values())
        if starting and loop.time() < at_last:
            loop.call_later(_LOOK_AGAIN, look)
        else:
            settle()

    loop.call_later(delay, look)


def _replace_image(root: Path, console: bool) -> None:
    quiet = [] if console else ["--quiet"]
    # -P: the folder that the engine was started in must not provide its modules.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "hhtui", "--engine-only", *quiet, "--home", str(root)])


def _raise_descriptor_limit() -> None:
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    if soft != hard:
        try:
            resource.setrlimit(resource.RLIMIT_NOFILE, (hard, hard))
        except (OSError, ValueError):
            pass
