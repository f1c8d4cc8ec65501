"""One SSH connection to a remote home: its engine's socket, forwarded to a private one here.

ssh runs as a control master whose only session is a small script: it tells where the home is, then waits. So there is
one authentication, the forwarding is asked for when the path is known, and ssh ends when this process does: the pipe
that is the script's input closes. No port is opened on either side.
"""

from __future__ import annotations

import os
import selectors
import subprocess
import sys
import threading
import time
from collections import deque
from collections.abc import Callable
from pathlib import Path

from hhtui.client import probe, ssh
from hhtui.client.private_folder import PrivateFolder
from hhtui.client.probe import RemoteHome
from hhtui.errors import HomeHelperError
from hhtui.text import sanitise

# Longer than ssh's own way through a few addresses and keys; who types a password is waited for.
CONNECT_SECONDS = 30.0
_FORWARD_SECONDS = 10.0
_LARGEST_ANSWER = 65_536


class Tunnel:
    """``open`` connects (again); ``socket_path`` is where the engine is then reached. Usable from any one thread."""

    def __init__(self, host: str, home: str | None = None) -> None:
        self.host = ssh.check_host(host)
        self.home = home
        self.remote: RemoteHome | None = None
        self._folder: PrivateFolder | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._said: deque[str] = deque(maxlen=20)
        self._listener: threading.Thread | None = None
        self._closed = False

    @property
    def label(self) -> str:
        """The host as the user calls it."""
        return ssh.label_of(self.host)

    @property
    def place(self) -> str:
        """Which home of which machine, for people."""
        return self.remote.place if self.remote else self.label

    @property
    def remote_home(self) -> str:
        """The home's folder over there; known once it was connected to."""
        return self.remote.home if self.remote else self.home or "/"

    @property
    def socket_path(self) -> Path:
        """The local end; the same over reconnections."""
        if self._folder is None:
            self._folder = PrivateFolder()
        return self._folder.path / "engine.sock"

    @property
    def alive(self) -> bool:
        """Whether ssh is connected, as far as it knows."""
        return self._process is not None and self._process.poll() is None

    def open(self, *, ask: bool = False, tell: Callable[[str], None] | None = None) -> RemoteHome:
        """Connect unless connected; with ``ask`` ssh may ask on the terminal. Blocks until it stands or failed.

        UnreachableError: SSH does not get there; NoEngineError: no engine runs there. ``tell`` gets ssh's own remarks.
        """
        if self.alive and self.remote is not None:
            return self.remote
        self._end_process()
        if self._closed:
            raise ssh.UnreachableError(f"{self.label}: the connection is closed")
        control = str(self.socket_path.with_name("ctl"))
        self.socket_path.unlink(missing_ok=True)
        more = ["-M", "-S", control, "-o", "ControlPersist=no", "-o", "StreamLocalBindUnlink=yes"]
        try:
            process = subprocess.Popen(
                ssh.call(self.host, ["sh"], ask=ask, more=more),
                stdin=subprocess.PIPE,
                stdout=subprocess.PIPE,
                stderr=subprocess.PIPE,
                # Without a question nothing may reach for this terminal; with one ssh must.
                start_new_session=not ask,
            )
        except OSError:
            raise ssh.missing() from None
        self._process = process
        self._said.clear()
        self._listener = threading.Thread(target=self._listen, args=(process, tell), daemon=True, name="ssh-errors")
        self._listener.start()
        try:
            remote = probe.answer_of(self.host, self._asked(process, ask))
            self.remote = remote
            probe.usable(remote, self.home)
            self._forward(control, remote)
        except BaseException:
            self._end_process()
            raise
        return remote

    def lost(self, ask: bool = False) -> ssh.UnreachableError:
        """Why ssh is not connected any more."""
        if self._listener is not None:
            self._listener.join(1)
        return ssh.failure(self.host, self._said, ask)

    def refused(self) -> ssh.UnreachableError | None:
        """Why the SSH server does not connect us to the socket, if it said so."""
        prohibited = [line for line in self._said if "administratively prohibited" in line.lower()]
        return ssh.failure(self.host, prohibited) if prohibited else None

    def close(self) -> None:
        """Disconnect and remove the socket."""
        self._closed = True
        self._end_process()
        if self._folder is not None:
            self._folder.remove()
            self._folder = None

    def __enter__(self) -> Tunnel:
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def _asked(self, process: subprocess.Popen[bytes], ask: bool) -> list[str]:
        """What the script answers; what a login shell says before is left out."""
        assert process.stdin is not None and process.stdout is not None
        try:
            process.stdin.write(probe.script(self.home))
            process.stdin.flush()
        except OSError:
            raise self.lost(ask) from None
        deadline = None if ask else time.monotonic() + CONNECT_SECONDS
        data = b""
        begin, end = f"\n{probe.BEGIN}\n".encode(), f"\n{probe.END}\n".encode()
        with selectors.DefaultSelector() as selector:
            selector.register(process.stdout, selectors.EVENT_READ)
            while begin not in data or end not in data.partition(begin)[2]:
                left = None if deadline is None else deadline - time.monotonic()
                if left is not None and left <= 0:
                    raise ssh.UnreachableError(
                        f"{self.label}: no answer over SSH in {CONNECT_SECONDS:.0f} s; `ssh {self.label}` shows more"
                    )
                if not selector.select(left):
                    continue
                chunk = os.read(process.stdout.fileno(), 4096)
                if not chunk:
                    raise self.lost(ask)
                data += chunk
                if len(data) > _LARGEST_ANSWER:
                    raise ssh.UnreachableError(f"{self.label}: its shell says too much to be understood")
        answer = data.partition(begin)[2].partition(end)[0]
        return answer.decode("utf-8", "surrogateescape").split("\n")

    def _forward(self, control: str, remote: RemoteHome) -> None:
        """Have the master forward the socket; no configuration file is read for that, so nothing else is."""
        words = [*ssh.program(), "-F", "none", "-S", control, "-o", "ExitOnForwardFailure=yes", "-O", "forward"]
        words += ["-L", f"{self.socket_path}:{remote.socket}", "--", "hhtui"]
        try:
            done = subprocess.run(
                words, stdin=subprocess.DEVNULL, capture_output=True, timeout=_FORWARD_SECONDS, check=False
            )
        except subprocess.TimeoutExpired:
            raise ssh.UnreachableError(f"{self.label}: ssh does not forward within {_FORWARD_SECONDS:.0f} s") from None
        if done.returncode != 0 or not self.socket_path.exists():
            said = done.stderr.decode("utf-8", "replace").splitlines() or list(self._said)
            raise ssh.failure(self.host, said)

    def _listen(self, process: subprocess.Popen[bytes], tell: Callable[[str], None] | None) -> None:
        """Keep ssh's last words; from a thread, for a full pipe would stop ssh."""
        assert process.stderr is not None
        while line := process.stderr.readline(_LARGEST_ANSWER):
            text = sanitise(line.decode("utf-8", "replace").rstrip("\r\n"), 500)
            self._said.append(text)
            if tell is not None and self.remote is None and text.strip():
                tell(text)
        process.stderr.close()

    def _end_process(self) -> None:
        process, self._process = self._process, None
        if process is None:
            return
        for stream in (process.stdin, process.stdout):
            if stream is not None:
                try:
                    stream.close()
                except OSError:
                    pass  # what was still to be written to it
        process.terminate()
        try:
            process.wait(3)
        except subprocess.TimeoutExpired:
            process.kill()
            process.wait()
        if self._listener is not None and self._listener is not threading.current_thread():
            self._listener.join(1)


def open_first(tunnel: Tunnel) -> RemoteHome:
    """Connect before a screen is taken over: passwords and host keys may be asked for on this terminal."""
    return tunnel.open(ask=sys.stdin.isatty(), tell=lambda line: print(line, file=sys.stderr))  # noqa: T201


def engine_answers(tunnel: Tunnel, error: HomeHelperError) -> HomeHelperError:
    """What an error of the forwarded connection means: SSH is gone, or nothing listens at the other end."""
    if not tunnel.alive:
        return ssh.UnreachableError(f"the connection is lost: {tunnel.lost().message}")
    if (refused := tunnel.refused()) is not None:
        return refused
    if tunnel.remote is not None:
        return probe.no_engine(tunnel.remote, tunnel.home)
    return error
