"""The terminal's driver: nothing blocks on a stalled terminal, a lost one is noticed, and it is always restored."""

from __future__ import annotations

import asyncio
import errno
import os
import selectors
import signal
import sys
import termios
import threading
import time
from codecs import getincrementaldecoder
from collections import deque
from contextlib import suppress
from typing import Any

from textual import constants

# Private of Textual, as there is no other reader of keys: its own thread looks ten times a second and takes the end of
# the input for silence.
from textual._xterm_parser import XTermParser
from textual.app import App
from textual.drivers.linux_driver import LinuxDriver

from hhtui.tui.session.screen_buffer import ScreenBuffer

# Leave: line wrap on; bracketed paste, mouse (1000, 1003, 1006, 1015), focus reports, in-band resize and synchronized
# output off; kitty keyboard protocol popped; colours reset; alternate screen off; cursor on.
RESTORE = (
    "\x1b[?7h\x1b[?2004l\x1b[?1000l\x1b[?1003l\x1b[?1006l\x1b[?1015l\x1b[?1004l\x1b[?2048l\x1b[?2026l"
    "\x1b[<u\x1b[0m\x1b[?1049l\x1b[?25h"
)
_ENDING = (signal.SIGTERM, signal.SIGHUP, signal.SIGINT)
_STALLED_CHARACTERS = 200_000
# The first picture may hold up the loop for so long (seconds): else the writer gets its turn only after 5 ms or 10.
_FIRST_SECONDS = 0.02
# How exactly the deadline of an escape sequence is kept (seconds).
_TICK = 0.05
# https://sw.kovidgoyal.net/kitty/pointer-shapes/
_POINTER_SHAPE = "\x1b]22;"
_ASCII = {
    **dict.fromkeys("─━╌┄┈═╴╶╸╺", "-"),
    **dict.fromkeys("│┃╎┆┊║", "|"),
    **dict.fromkeys("┌┐└┘├┤┬┴┼╭╮╰╯╔╗╚╝", "+"),
    **dict.fromkeys("█▇▆▅▄▃▂▁▉▊▋▌▍▎▏▐░▒▓▀▔▕", "#"),
    "…": "~",
    "·": ".",
    "—": "-",
}


class TerminalWriter(threading.Thread):
    """Writes what the screen wants written, from a thread; a terminal that stops reading holds up nobody else.

    ``stalled(True)`` is called when too much waits, ``stalled(False)`` when it is written, in that order and never at
    once; ``lost()`` when the terminal is gone. They are called from either thread.
    """

    def __init__(self, fileno: int, encoding: str, stalled: Any, lost: Any) -> None:
        super().__init__(daemon=True, name="terminal-output")
        self._fileno = fileno
        self.encode_as(encoding)
        self._table = str.maketrans(_ASCII)
        self._parts: deque[str] = deque()
        self._ready = threading.Condition()
        self._waiting = 0
        self._stopping = False
        self._behind = False
        self._forgotten = False
        self._first, self._painted = False, threading.Event()
        self._picture = ScreenBuffer()
        self._stalled, self._lost = stalled, lost
        self.broken = False

    def write(self, text: str) -> None:
        """Have ``text`` written; never waits, but for a moment for the first picture."""
        if self.broken:
            return
        with self._ready:
            self._parts.append(text)
            self._waiting += len(text)
            if self._waiting > _STALLED_CHARACTERS and not self._behind:
                self._behind = True
                self._stalled(True)
            self._ready.notify()
        if self._first:
            self._first = False
            self._painted.wait(_FIRST_SECONDS)

    def picture_comes(self) -> None:
        """What is written next is the first picture."""
        self._painted.clear()
        self._first = True

    def encode_as(self, encoding: str) -> None:
        """From now on for a terminal that shows this: ``utf-8``, ``latin-1`` or ``ascii``; the others get no lines."""
        self._encoding = encoding

    def forget(self) -> None:
        """What the terminal shows is not known any more: what is written from now on is sent whole."""
        with self._ready:
            self._forgotten = True

    def stop(self, seconds: float = 2.0) -> None:
        """Write what waits, for at most ``seconds``, and end."""
        with self._ready:
            self._stopping = True
            self._ready.notify()
        self.join(seconds)

    def run(self) -> None:
        """Write until stopped."""
        while True:
            with self._ready:
                while not self._parts and not self._stopping:
                    self._ready.wait()
                text = "".join(self._parts)
                self._parts.clear()
                if not text and self._stopping:
                    return
                if self._forgotten:
                    self._picture.forget()
                    self._forgotten = False
            try:
                self._picture.fit(*os.get_terminal_size(self._fileno))
            except OSError:
                pass  # what is wrong with it shows when it is written to
            if not self._put(self._picture.update(text)):
                self.broken = True
                self._lost()
                return
            self._painted.set()
            with self._ready:
                self._waiting -= len(text)
                if self._behind and not self._parts:
                    self._behind = False
                    self._stalled(False)

    def _put(self, text: str) -> bool:
        if self._encoding != "utf-8":
            text = text.translate(self._table).encode(self._encoding, "replace").decode(self._encoding)
        data = text.encode("utf-8", "replace")
        view = memoryview(data)
        while view:
            try:
                view = view[os.write(self._fileno, view) :]
            except BlockingIOError:
                _wait_writable(self._fileno)
            except OSError as error:
                if error.errno == errno.EINTR:
                    continue
                return False
        return True


class TerminalApp(App[None], inherit_bindings=False):
    """An application on a terminal: what it needs of it, and how it ends after an exception that nobody expected.

    Private of Textual here, as it has no hook for that: ``_fatal_error`` prints a traceback with every local variable,
    passwords among them, over the terminal; ``_close_messages_no_wait`` is how it ends.
    """

    encoding: str
    terminal: HomeDriver | None = None

    def ended_by(self, number: int) -> None:
        """A signal ends the interface: the terminal is restored, the apps run on."""
        raise NotImplementedError

    def terminal_lost(self) -> None:
        """The terminal is gone: as if SIGHUP had come."""
        raise NotImplementedError

    def terminal_stalled(self, on: bool) -> None:
        """While the terminal does not read, nothing is drawn for it; then everything is drawn once."""
        raise NotImplementedError

    def crashed(self) -> None:
        """Called in the handler of the exception, before the end."""

    def _fatal_error(self) -> None:
        self.crashed()
        self._close_messages_no_wait()


class HomeDriver(LinuxDriver):
    """Textual's driver with a writer that cannot block the loop and a reader that sleeps until a key comes."""

    def __init__(self, app: App[Any], **options: Any) -> None:
        super().__init__(app, **options)
        assert isinstance(app, TerminalApp)
        self._hh = app
        self._hh.terminal = self
        self._own_loop = asyncio.get_running_loop()
        self._own_writer: TerminalWriter | None = None
        self._debugging = bool(options.get("debug"))
        self._has_terminal = False
        self._wake_read, self._wake_write = os.pipe2(os.O_CLOEXEC | os.O_NONBLOCK)
        # Where Textual writes, too.
        self._output = sys.__stderr__.fileno() if sys.__stderr__ is not None else 2
        # Textual's own handlers, but each in the loop's turn: never one in the middle of another.
        for number in (signal.SIGTSTP, signal.SIGCONT):
            self._own_loop.add_signal_handler(number, signal.getsignal(number), number, None)  # type: ignore[arg-type]

    def start_application_mode(self) -> None:
        """Take the terminal over, to be given back from this moment on whatever signal ends the program."""
        loop = asyncio.get_running_loop()
        for number in _ENDING:
            loop.add_signal_handler(number, self._hh.ended_by, number)
        self._own_writer = TerminalWriter(self._output, self._hh.encoding, self._stalled, self._terminal_lost)
        self._own_writer.start()
        # It starts a writer of its own, which then has nothing to do.
        super().start_application_mode()  # type: ignore[no-untyped-call]
        self._own_writer.picture_comes()
        self._has_terminal = True

    def resume_application_mode(self) -> None:
        """Take the terminal over again.

        SIGCONT comes to a program that never left it, too (``kill -STOP``, a debugger, twice from a shell): a second
        reader beside the first would tear what is typed apart, and the terminal would be left as it is now.
        """
        if self._has_terminal:
            self.suspend_application_mode()
        super().resume_application_mode()

    def write(self, data: str) -> None:
        """Have ``data`` written; never waits, but for a moment for the first picture.

        The mouse pointer's shape stays the terminal's own: setting it at each move is not worth it.
        """
        if self._own_writer is not None and not data.startswith(_POINTER_SHAPE):
            self._own_writer.write(data)

    def close(self) -> None:
        """Write what waits, and end both writers."""
        super().close()
        if self._own_writer is not None:
            self._own_writer.stop()

    def forget(self) -> None:
        """The terminal was resized, or shows what others wrote: it is to be drawn whole."""
        if self._own_writer is not None:
            self._own_writer.forget()

    def encode_as(self, encoding: str) -> None:
        """The terminal takes this encoding from now on."""
        if self._own_writer is not None:
            self._own_writer.encode_as(encoding)

    def _stalled(self, on: bool) -> None:
        self._call(self._hh.terminal_stalled, on)

    def _terminal_lost(self) -> None:
        self._call(self._hh.terminal_lost)

    def _call(self, method: Any, *arguments: Any) -> None:
        try:
            self._own_loop.call_soon_threadsafe(method, *arguments)
        except RuntimeError:
            pass  # the loop has ended: nobody is left to notify

    def disable_input(self) -> None:
        """Stop reading keys; the reader is woken, it does not poll."""
        self._has_terminal = False
        try:
            os.write(self._wake_write, b"x")
        except OSError:
            pass
        super().disable_input()
        # A reader that ended without it leaves it to the next one, which would end at once.
        with suppress(BlockingIOError):
            os.read(self._wake_read, 64)

    def run_input_thread(self) -> None:
        """Read keys until it is to stop. The end of the input, or an error, is a lost terminal."""
        parser = XTermParser(self._debugging)
        decode = getincrementaldecoder("utf-8")("replace").decode
        with selectors.DefaultSelector() as selector:
            selector.register(self.fileno, selectors.EVENT_READ)
            selector.register(self._wake_read, selectors.EVENT_READ)
            until = 0.0
            while not self.exit_event.is_set():
                # Only what has just come can be an unfinished escape sequence, which has a deadline.
                ready = selector.select(_TICK if time.monotonic() < until else None)
                if any(key.fd == self._wake_read for key, _ in ready):
                    os.read(self._wake_read, 64)
                    return
                if ready:
                    try:
                        data = os.read(self.fileno, 4096)
                    except OSError:
                        data = b""
                    if not data:
                        self._terminal_lost()
                        return
                    until = time.monotonic() + constants.ESCAPE_DELAY + 2 * _TICK
                    for message in parser.feed(decode(data)):
                        self.process_message(message)
                for message in parser.tick():
                    self.process_message(message)

    def restore_now(self) -> None:
        """Give the terminal back without waiting for anything: the last resort before the process ends."""
        if self.attrs_before is not None:
            try:
                termios.tcsetattr(self.fileno, termios.TCSANOW, self.attrs_before)
            except (termios.error, OSError):
                pass
        try:
            os.set_blocking(self._output, False)
            os.write(self._output, RESTORE.encode())
            os.set_blocking(self._output, True)
        except OSError:
            pass


def _wait_writable(fileno: int) -> None:
    with selectors.DefaultSelector() as selector:
        selector.register(fileno, selectors.EVENT_WRITE)
        selector.select()
