"""A real pseudo-terminal with the interface in it: what it writes, how it ends, what it leaves behind."""

from __future__ import annotations

import codecs
import fcntl
import os
import re
import select
import struct
import subprocess
import sys
import termios
import time
from collections.abc import Callable
from pathlib import Path
from typing import Any, Self

from tests.tui.emulator import Emulator

ROOT = Path(__file__).resolve().parents[2]
# ECMA-48: CSI sequences; OSC, DCS, SOS, PM and APC strings; other escapes; C1 controls as single characters.
CSI = re.compile(rb"\x1b\[([<>?=]?)([0-9;:]*)([ -/]*)([@-~])")
_TAKE_TERMINAL = """
import fcntl, os, sys, termios
fcntl.ioctl(0, termios.TIOCSCTTY, 0)
os.execvp(sys.argv[1], sys.argv[1:])
"""
STRINGS = re.compile(rb"\x1b[\]PX^_]")


class Terminal:
    """``command`` (or a Python program) in a terminal of ``size`` (columns, rows)."""

    def __init__(
        self,
        program: str,
        *arguments: str,
        size: tuple[int, int] = (80, 24),
        env: dict[str, str] | None = None,
        command: list[str] | None = None,
    ) -> None:
        self.master = os.open("/dev/ptmx", os.O_RDWR | os.O_NOCTTY)
        self._slave = _open_slave(self.master)
        self.resize(*size)
        self.before = termios.tcgetattr(self._slave)
        self.output = b""
        self.screen = Emulator()
        self._rest = ""
        self._decoder = codecs.getincrementaldecoder("utf-8")("replace")
        environ = {**os.environ, "TERM": "xterm-256color", "COLORTERM": "truecolor", "TZ": "UTC", "LC_ALL": "C.UTF-8"}
        environ.update(PYTHONPATH=str(ROOT), PYTHONDONTWRITEBYTECODE="1", **(env or {}))
        for name in ("COLUMNS", "LINES"):
            environ.pop(name, None)
        words = command or [sys.executable, "-c", program, *arguments]
        self._child = subprocess.Popen(
            [sys.executable, "-c", _TAKE_TERMINAL, *words],
            stdin=self._slave,
            stdout=self._slave,
            stderr=self._slave,
            env=environ,
            start_new_session=True,
        )
        self.pid = self._child.pid
        self.code: int | None = None

    def __enter__(self) -> Self:
        return self

    def __exit__(self, *_: object) -> None:
        if self._child.poll() is None:
            self._child.kill()
            self._child.wait()
        self.close()

    def close(self) -> None:
        """Take the terminal away."""
        for descriptor in (self.master, self._slave):
            if descriptor >= 0:
                os.close(descriptor)
        self.master = self._slave = -1

    def resize(self, columns: int, rows: int) -> None:
        fcntl.ioctl(self.master, termios.TIOCSWINSZ, struct.pack("HHHH", rows, columns, 0, 0))

    def type(self, keys: str) -> None:
        os.write(self.master, keys.encode())

    def ended(self, seconds: float) -> int:
        """Wait for the end without reading anything; the exit code."""
        self.code = self._child.wait(seconds)
        return self.code

    def read(self, seconds: float) -> bytes:
        """What comes within ``seconds``."""
        return self._read(time.monotonic() + seconds, lambda: False)

    def wait_for(self, text: str, seconds: float = 60) -> None:
        """Read until ``text`` stands on the screen."""
        self._read(time.monotonic() + seconds, lambda: text in self.screen.text)
        assert text in self.screen.text, f"{text!r} did not come:\n{self.screen.text}"

    def wait_until(self, condition: Callable[[], object], seconds: float = 60) -> None:
        """Read until it holds."""
        self._read(time.monotonic() + seconds, lambda: bool(condition()))
        assert condition(), f"it did not come:\n{self.screen.text}"

    def catch_up(self, seconds: float = 60) -> None:
        """Read until the program has done what was typed: it sleeps, and has used no processor for a moment."""
        deadline, before = time.monotonic() + seconds, ""
        while time.monotonic() < deadline:
            self.read(0.015)
            fields = Path(f"/proc/{self.pid}/stat").read_text().rpartition(")")[2].split()
            now = " ".join((fields[0], *fields[11:13]))  # state, utime, stime: proc_pid_stat(5)
            if now == before and now.startswith("S"):
                return
            before = now
        raise AssertionError(f"the program does not come to rest ({before}):\n{self.screen.text}")

    def settle(self, quiet: float = 1.2, seconds: float = 60) -> None:
        """Read until nothing comes for ``quiet`` seconds."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            if not self.read(quiet):
                return
        raise AssertionError("the output does not come to rest")

    def _read(self, deadline: float, enough: Callable[[], bool]) -> bytes:
        got = b""
        while not enough() and (left := deadline - time.monotonic()) > 0:
            ready, _, _ = select.select([self.master], [], [], left)
            if ready:
                try:
                    data = os.read(self.master, 65536)
                except OSError:
                    break
                if not data:
                    break
                got += data
                self.output += data
                self.screen.feed(self._decode(data))
        return got

    def _decode(self, data: bytes) -> str:
        """The text that is complete: what ends in the middle of a sequence waits for its rest."""
        text = self._rest + self._decoder.decode(data)
        cut = text.rfind("\x1b", max(len(text) - 64, 0))
        complete = cut < 0 or re.match(r"\x1b(?:\[[?<>=]?[0-9;]*[ -/]*[@-~]|\][^\x07\x1b]*(?:\x07|\x1b\\))", text[cut:])
        cut = len(text) if complete else cut
        self._rest = text[cut:]
        return text[:cut]

    def end(self, seconds: float = 60) -> int:
        """Read on until the program has ended; its exit code as a shell would tell it."""
        deadline = time.monotonic() + seconds
        while time.monotonic() < deadline:
            self.code = self._child.poll()
            if self.code is not None:
                self.read(0.2)
                return self.code if self.code >= 0 else 128 - self.code
            self.read(0.05)
        raise AssertionError("the program does not end")

    def attributes(self) -> list[Any]:
        return termios.tcgetattr(self._slave)


def _open_slave(master: int) -> int:
    # TIOCSPTLCK, TIOCGPTN: ioctl_tty(2). O_NOCTTY: the terminal must not become that of the tests themselves.
    fcntl.ioctl(master, 0x40045431, struct.pack("i", 0))
    (number,) = struct.unpack("i", fcntl.ioctl(master, 0x80045430, struct.pack("i", 0)))
    return os.open(f"/dev/pts/{number}", os.O_RDWR | os.O_NOCTTY)


def modes_left_on(output: bytes) -> set[str]:
    """DEC private modes that the output switched on and did not switch off again (7 and 25 are on by default)."""
    state = {"7": True, "25": True}
    for private, parameters, _, final in CSI.findall(output):
        if private == b"?" and final in (b"h", b"l"):
            for mode in parameters.decode().split(";"):
                state[mode] = final == b"h"
    return {mode for mode, on in state.items() if on != (mode in ("7", "25"))}
