"""Telling others of an alert: a command of the user's, a webhook. Each is a short-lived process of its own."""

from __future__ import annotations

import asyncio
import contextlib
import json
import logging
import os
import signal
import sys
from asyncio.subprocess import DEVNULL
from collections import deque
from collections.abc import Callable, Iterator, Sequence
from pathlib import Path
from typing import Any, Self

from hhtui.engine.process.inherited import given
from hhtui.model.config import AlertsConfig
from hhtui.text import sanitise

_log = logging.getLogger("homehelper.alerts")

# Notices that wait their turn; a storm of alerts loses the oldest.
_MOST_WAITING = 64
_MOST_ERROR_BYTES = 4096
_CHUNK = 65_536
# What a child is given of our environment: what it needs to run and to reach the network, and nothing secret.
_KEPT = ("PATH", "HOME", "USER", "LOGNAME", "SHELL", "LANG", "LC_ALL", "TZ", "TMPDIR", "XDG_RUNTIME_DIR",
         "DBUS_SESSION_BUS_ADDRESS", "SSL_CERT_FILE", "SSL_CERT_DIR",
         "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY")  # fmt: skip
_WEBHOOK = str(Path(__file__).with_name("webhook.py"))


class Notices:
    """One notice after the other, in order, each way with its own timeout; nothing runs when there is none.

    ``problem`` is one line while the last notice did not reach everybody.
    """

    def __init__(self, config: Callable[[], AlertsConfig], folder: Path) -> None:
        self.problem: str | None = None
        self._config = config
        self._folder = folder
        self._waiting: deque[dict[str, Any]] = deque(maxlen=_MOST_WAITING)
        self._task: asyncio.Task[None] | None = None

    def notify(self, document: dict[str, Any]) -> None:
        """Queue ``{"state": "raised" | "cleared", "alert": {…}, "text", …}``; never blocks."""
        config = self._config()
        if config.command is None and config.webhook_url is None:
            self.problem = None
            return
        if len(self._waiting) == self._waiting.maxlen:
            _log.warning("too many alerts at once: one notice is left out")
        self._waiting.append(document)
        if self._task is None or self._task.done():
            self._task = asyncio.get_running_loop().create_task(self._notify_all(), name="alert notices")

    @property
    def busy(self) -> bool:
        """Whether somebody is still being notified."""
        return self._task is not None and not self._task.done()

    async def stop(self) -> None:
        """End what still runs."""
        self._waiting.clear()
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)
            self._task = None

    async def _notify_all(self) -> None:
        while self._waiting:
            document = self._waiting.popleft()
            config = self._config()
            problems = []
            if config.command is not None:
                problem = await self._run(config.command, json.dumps(document), document, config.timeout_seconds)
                problems.append(f"alerts.command: {problem}" if problem else "")
            if config.webhook_url is not None:
                order = {
                    "url": config.webhook_url.get_secret_value(),
                    "body": document,
                    "timeout": config.timeout_seconds,
                }
                # -I: neither the environment nor a folder of the user's changes what this Python imports.
                command = [sys.executable, "-I", "-S", _WEBHOOK]
                problem = await self._run(command, json.dumps(order), document, config.timeout_seconds)
                problems.append(f"alerts.webhook_url: {problem}" if problem else "")
            said = "; ".join(filter(None, problems)) or None
            if said and said != self.problem:
                _log.warning("an alert was not passed on: %s", said)
            self.problem = said

    async def _run(
        self, command: Sequence[str], data: str, document: dict[str, Any], timeout: float
    ) -> str | None:  # fmt: skip
        """Why it failed, None if it did not."""
        environ = {name: os.environ[name] for name in _KEPT if name in os.environ}
        environ["HOMEHELPER_ALERT_STATE"] = document["state"]
        environ["HOMEHELPER_ALERT_KEY"] = document["alert"]["key"]
        environ["HOMEHELPER_ALERT_MESSAGE"] = document["alert"]["message"]
        # Not asyncio's pipes: a program that the child leaves behind would keep them open, and us waiting.
        state = given()
        with _input(data.encode()) as stdin, _Words() as words:
            try:
                child = await asyncio.create_subprocess_exec(
                    *state.words(command, self._folder),
                    stdin=stdin,
                    stdout=DEVNULL,
                    stderr=words.descriptor,
                    cwd=self._folder,
                    env=environ,
                    start_new_session=True,
                    umask=state.umask,
                )
                state.lower(child.pid)
            except (OSError, ValueError) as error:
                return f"{sanitise(command[0], 100)}: {getattr(error, 'strerror', None) or error}"
            try:
                async with asyncio.timeout(timeout):
                    code = await child.wait()
            except TimeoutError:
                return f"it took longer than {timeout:g} s"
            finally:
                # What it has left behind goes too: the group outlives its leader.
                with contextlib.suppress(ProcessLookupError, PermissionError):
                    os.killpg(child.pid, signal.SIGKILL)
                if child.returncode is None:
                    await child.wait()
            if code == 0:
                return None
            return words.last_line() or (f"it exited {code}" if code > 0 else f"it was ended by signal {-code}")


@contextlib.contextmanager
def _input(data: bytes) -> Iterator[int]:
    """A file in memory alone, open at its beginning."""
    descriptor = os.memfd_create("alert")
    try:
        os.write(descriptor, data)
        os.lseek(descriptor, 0, os.SEEK_SET)
        yield descriptor
    finally:
        os.close(descriptor)


class _Words:
    """A pipe for a child's stderr that is always emptied and of which only the end is kept."""

    def __init__(self) -> None:
        self._loop = asyncio.get_running_loop()
        self._held = b""

    def __enter__(self) -> Self:
        self._read, self.descriptor = os.pipe()
        os.set_blocking(self._read, False)
        self._loop.add_reader(self._read, self._take)
        return self

    def __exit__(self, *_: object) -> None:
        self._loop.remove_reader(self._read)
        os.close(self._read)
        os.close(self.descriptor)

    def last_line(self) -> str:
        """The last line that was said; "" if there is none."""
        self._take()
        lines = [line for line in self._held.decode("utf-8", "replace").splitlines() if line.strip()]
        return sanitise(lines[-1].strip(), 200) if lines else ""

    def _take(self) -> None:
        with contextlib.suppress(BlockingIOError):
            self._held = (self._held + os.read(self._read, _CHUNK))[-_MOST_ERROR_BYTES:]
