"""`hhtui --engine-only`: the engine in the foreground, as systemd or a terminal runs it."""

from __future__ import annotations

import asyncio
import ctypes
import gc
import os
import signal
import sys
import threading
from contextlib import suppress
from pathlib import Path

import hhtui
from hhtui.engine.engine import Engine
from hhtui.engine.process.inherited import take_own_state
from hhtui.engine.reload import Handover, trouble_with_next_image
from hhtui.errors import HomeHelperError
from hhtui.model.app import Status

_ENDING = (signal.SIGTERM, signal.SIGINT)
_RELOADING = signal.SIGHUP
# By then (seconds) the apps that start with the engine have mostly started; who takes longer is waited for, to a limit.
_SETTLED = 2.0
_LOOK_AGAIN = 1.0
_SETTLED_AT_LAST = 60.0
# How often the engine looks whether its program is still there (seconds).
_PROGRAM_LOOK = 10.0
# malloc.h
_M_ARENA_MAX = -8


def run_engine(root: Path, *, console: bool = True) -> int:
    """Run the engine of ``root`` until SIGTERM, SIGINT or a client ends it; the exit code (docs/command-line.md)."""
    take_own_state()
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
    _share_one_arena()
    loop = asyncio.get_running_loop()
    engine = Engine(root, console=console, handover=Handover.received())
    engine.control.can_restart = True
    interrupted = asyncio.Event()

    def end() -> None:
        interrupted.set()
        engine.control.stopped.set()

    def reload() -> None:
        engine.control.reload_wanted = True
        engine.control.stopped.set()

    for number in _ENDING:
        loop.add_signal_handler(number, end)
    loop.add_signal_handler(_RELOADING, reload)
    signal.pthread_sigmask(signal.SIG_UNBLOCK, {*_ENDING, _RELOADING})
    try:
        await engine.start()
    except Exception:
        if not engine.control.restart_wanted:
            raise
        _replace_image(root, console)
    _watch_installation(engine)
    _settle_later(engine, loop.time() + _SETTLED_AT_LAST, _SETTLED)
    while True:
        await engine.control.stopped.wait()
        if interrupted.is_set() or not engine.control.reload_wanted:
            break
        engine.control.stopped.clear()
        engine.control.reload_wanted = False
        engine.problems.resolved("reload")
        trial = asyncio.create_task(trouble_with_next_image(root))
        ending = asyncio.create_task(interrupted.wait())
        await asyncio.wait((trial, ending), return_when=asyncio.FIRST_COMPLETED)
        ending.cancel()
        if not trial.done():
            trial.cancel()
            await asyncio.wait((trial,))
            break
        if (trouble := trial.result()) is not None:
            _refuse_reload(engine, trouble)
            continue
        await engine.hand_over()
        # A signal in the middle of the replacement must not end us: mask and pending signals survive execve, and the
        # next image takes them when it can.
        signal.pthread_sigmask(signal.SIG_BLOCK, {*_ENDING, _RELOADING})
        await asyncio.sleep(0.01)  # what came before the mask is caught but not reported yet
        if interrupted.is_set():
            # To this thread, which survives execve: another one would take it, and take it along.
            signal.pthread_kill(threading.get_ident(), signal.SIGTERM)
        _replace_image(root, console)
    await engine.stop(keep_apps=engine.control.keep_apps)
    if engine.control.restart_wanted and not interrupted.is_set():
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
            _give_memory_back()

    loop.call_later(delay, look)


def _refuse_reload(engine: Engine, trouble: str) -> None:
    """Run on as before. The manager that asked for the reload hears of its end."""
    engine.about.refused_reloads += 1
    engine.about.reload_refusal = words = f"reload refused: the next engine would not start: {trouble}"
    engine.problems.report("reload", words)
    engine.notifier.reloading()
    engine.notifier.ready(engine.status_line())


def _watch_installation(engine: Engine) -> None:
    """Have the engine say it as long as its own program is gone (`pipx uninstall`), and how it can be ended."""
    asyncio.get_running_loop().call_later(_PROGRAM_LOOK, _watch_installation, engine)
    gone = [path for path in (Path(sys.executable), Path(hhtui.__file__)) if not path.exists()]
    if gone:
        end = f"`kill {os.getpid()}` ends it and its apps"
        if engine.notifier.service is not None:
            tool = "systemctl --user" if engine.notifier.service == "user" else "sudo systemctl"
            end = f"`{tool} disable --now hhtui` ends it and its apps"
        engine.problems.report(
            "installation", f"hhtui is not installed any more: {gone[0]} is gone; the engine and its apps run on: {end}"
        )
    else:
        engine.problems.resolved("installation")


def _share_one_arena() -> None:
    """Keep the two file threads from heaps of their own, which would never shrink (mallopt(3)); nothing where
    libc has no say.
    """
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).mallopt(_M_ARENA_MAX, 1)


def _give_memory_back() -> None:
    """After a start: collect, look at what stays no more (``gc.freeze``), and return free pages to the kernel
    (malloc_trim(3)).
    """
    gc.collect()
    gc.freeze()
    with suppress(AttributeError, OSError):
        ctypes.CDLL(None).malloc_trim(0)


def _replace_image(root: Path, console: bool) -> None:
    quiet = [] if console else ["--quiet"]
    # -P: the folder that the engine was started in must not provide its modules.
    os.execv(sys.executable, [sys.executable, "-P", "-m", "hhtui", "--engine-only", *quiet, "--home", str(root)])
