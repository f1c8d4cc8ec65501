"""How an engine ends, and its reload in place: whether the next image would start, and what it is left over execve."""

from __future__ import annotations

import asyncio
import json
import os
import socket
import sys
from pathlib import Path
from typing import Any

from hhtui.text import sanitise

_VARIABLE = "HHTUI_HANDOVER_FD"
# What the next image may take to start on trial (seconds).
_TRIAL_SECONDS = 60.0
# A trial is no service, and no engine's next image.
_ENGINES_OWN = ("NOTIFY_SOCKET", "WATCHDOG_PID", "WATCHDOG_USEC", "SYSTEMD_EXEC_PID", "RUNTIME_DIRECTORY")
_OWN_PREFIXES = ("HHTUI_", "LISTEN_")
# What was asked for is begun when its answer is on its way (seconds).
_ANSWER_FIRST = 0.05


class EngineControl:
    """What the engine is asked to do with itself; whoever runs it waits for ``stopped`` and then looks at the rest.

    ``keep_apps``: they are to run on. ``reload_wanted``: its next image is to take over in place. ``restart_wanted``:
    it is to end with its apps and start again, as a restore needs; only where ``can_restart``.
    """

    def __init__(self) -> None:
        self.stopped = asyncio.Event()
        self.keep_apps = False
        self.reload_wanted = False
        self.restart_wanted = False
        self.can_restart = False

    async def shut_down(self, *, keep_apps: bool) -> None:
        """End the engine soon, and its apps unless ``keep_apps``."""
        self.keep_apps = keep_apps
        asyncio.get_running_loop().call_later(_ANSWER_FIRST, self.stopped.set)

    async def reload(self) -> None:
        """Take up changed code and configuration in place, soon; apps run on."""
        self.reload_wanted = True
        asyncio.get_running_loop().call_later(_ANSWER_FIRST, self.stopped.set)

    def restart(self) -> None:
        """End the engine with its apps, and start it again."""
        self.restart_wanted = True
        self.stopped.set()


class Handover:
    """The lock, the listening sockets, the apps' pipes and the bus, in a file that only this process has."""

    def __init__(
        self, lock: int, listener_fd: int | None, bus: dict[str, Any] | None, reloads: int, pipes: dict[str, int]
    ) -> None:
        self.reloads = reloads
        self.pipes = pipes
        self.lock = lock
        self.listener_fd = listener_fd
        self.bus = bus

    def listener(self) -> socket.socket | None:
        """The listening Unix socket of the image before."""
        return socket.socket(fileno=self.listener_fd) if self.listener_fd is not None else None

    @classmethod
    def received(cls) -> Handover | None:
        """What the image before left, None if this is a start like any other."""
        number = os.environ.pop(_VARIABLE, "")
        if not number.isdigit():
            return None
        try:
            with os.fdopen(int(number), "rb") as file:
                file.seek(0)
                document = json.load(file)
            os.fstat(document["lock"])
        except (OSError, ValueError, KeyError, TypeError):
            return None
        return cls(
            document["lock"],
            document.get("listener"),
            document.get("bus"),
            int(document.get("reloads", 1)),
            document.get("pipes") or {},
        )

    def leave(self) -> None:
        """Write everything down and let the descriptors survive execve."""
        descriptor = os.memfd_create("hhtui-handover", 0)
        document = {
            "lock": self.lock,
            "listener": self.listener_fd,
            "bus": self.bus,
            "reloads": self.reloads,
            "pipes": self.pipes,
        }
        os.write(descriptor, json.dumps(document).encode())
        for kept in (descriptor, self.lock, self.listener_fd, *self.pipes.values()):
            if kept is not None:
                os.set_inheritable(kept, True)
        os.environ[_VARIABLE] = str(descriptor)


async def trouble_with_next_image(root: Path) -> str | None:
    """Why an engine of what is installed now would not start on the home ``root``; None if it would.

    Tried each time: a dependency may be gone or a module edited though nothing looks replaced, and once the engine that
    runs has handed everything over, there is no way back.
    """
    environ = {
        name: value
        for name, value in os.environ.items()
        if name not in _ENGINES_OWN and not name.startswith(_OWN_PREFIXES)
    }
    try:
        process = await asyncio.create_subprocess_exec(
            sys.executable,
            "-P",
            "-m",
            "hhtui.engine.trial",
            str(root),
            stdin=asyncio.subprocess.DEVNULL,
            stdout=asyncio.subprocess.DEVNULL,
            stderr=asyncio.subprocess.PIPE,
            env=environ,
            cwd="/",
            start_new_session=True,
        )
        try:
            _, errors = await asyncio.wait_for(process.communicate(), _TRIAL_SECONDS)
        except TimeoutError:
            return f"it does not start within {_TRIAL_SECONDS:.0f} s"
        finally:
            if process.returncode is None:
                process.kill()
                await process.wait()
    except OSError as error:
        return f"{sys.executable}: {error.strerror}"
    if process.returncode == 0:
        return None
    lines = [line for line in errors.decode("utf-8", "replace").splitlines() if line.strip()]
    return sanitise(lines[-1], 300) if lines else f"exit code {process.returncode}"
