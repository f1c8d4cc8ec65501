"""One SSH connection to a remote home: its engine's socket, forwarded to a private one here.

ssh runs as a control master whose only session is a small script: it says where the home is, then waits. So there is
one authentication, the forwarding is asked for when the path is known, and ssh ends when this process does: the pipe
that is the script's input closes. No port is opened on either side.
"""

from __future__ import annotations

import os
import re
import selectors
import shutil
import stat
import subprocess
import sys
import tempfile
import threading
import time
from collections import deque
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path
from shlex import quote

from hhtui.client import ssh
from hhtui.errors import HomeHelperError, NoEngineError, UsageError
from hhtui.text import sanitise

# Longer than ssh's own way through a few addresses and keys; who types a password is waited for.
CONNECT_SECONDS = 30.0
_REASON_SECONDS = 0.5
_FORWARD_SECONDS = 10.0
_LARGEST_ANSWER = 65_536
_LONGEST_LINE = 4096

_BEGIN, _END = "hhtui-probe-begin", "hhtui-probe-end"
# A home on the other machine that could be more than a path to ssh's -L, which reads `:`, `%`, `$`, `\` and `[`.
_SOCKET = re.compile(r"/[^\x00-\x1f\x7f:%$\\\[\]]{1,106}\Z")

# Waits for the end of its standard input, which only our process holds open, then removes the folder.
_GUARD = 'trap "" HUP INT TERM; while read -r _; do :; done; rm -rf -- "$1"'
# sun_path holds 107 characters; ssh binds its control socket under a name with 17 more: unix(7), ssh's muxclient.c.
# ssh reads `%`, `$` and `:` in the paths that it is given as more than themselves: ssh_config(5), TOKENS.
_SOCKET_FOLDER = re.compile(r"/[A-Za-z0-9_./+,@~-]{0,59}\Z")
# Where pipx, a system-wide installation and the docs put it: beyond what a command over SSH has in its PATH.
SEARCH_PATH = 'PATH="$PATH:$HOME/.local/bin:/usr/local/bin:/opt/hhtui/bin:/opt/pipx/bin"'
# POSIX sh. The home's rules are those of hhtui.paths.find_home and Home.at. Then it waits for our end, and ssh with it.
_SCRIPT = f"""\
LC_ALL=C; export LC_ALL
{SEARCH_PATH}
absolute() {{
  case $1 in
    "~") printf %s "$HOME" ;;
    "~/"*) printf %s "$HOME/${{1#"~/"}}" ;;
    /*) printf %s "$1" ;;
    *) printf %s "$PWD/$1" ;;
  esac
}}
unit_home() {{
  sed -n 's/^ExecStart=.* --home //p' "$1" 2>/dev/null | tail -n 1 |
    sed -e 's/^"\\(.*\\)"$/\\1/' -e 's/\\\\\\(["\\\\]\\)/\\1/g' -e 's/%%/%/g' -e 's/\\$\\$/$/g'
}}
case $XDG_CONFIG_HOME in
  /*) config=$XDG_CONFIG_HOME ;;
  *) config=$HOME/.config ;;
esac
system=/opt/homehelper
can_be_home() {{
  [ -d "$1" ] && [ -w "$1" ] && [ -r "$1" ] || return 1
  [ -d "$1/config" ] || [ -d "$1/registry" ] || [ -d "$1/apps" ] || [ -z "$(ls -A "$1")" ]
}}
if [ -n "$given" ]; then home=$(absolute "$given")
elif [ -n "$HOMEHELPER_HOME" ]; then home=$(absolute "$HOMEHELPER_HOME")
elif home=$(unit_home "$config/systemd/user/hhtui.service"); [ -n "$home" ]; then :
elif home=$(unit_home /etc/systemd/system/hhtui.service); [ -n "$home" ]; then :
elif [ -w "$system/run/engine.sock" ] || can_be_home "$system"; then home=$system
else
  case $XDG_DATA_HOME in
    /*) home=$XDG_DATA_HOME/homehelper ;;
    *) home=$HOME/.local/share/homehelper ;;
  esac
fi
run=${{RUNTIME_DIRECTORY%%:*}}
socket=${{run:-$home/run}}/engine.sock
state=none
[ -S "$socket" ] && state=denied
[ -w "$socket" ] && state=there
printf '\\n%s\\n' {_BEGIN}
printf 'home=%s\\n' "$home"
printf 'socket=%s\\n' "$socket"
printf 'state=%s\\n' "$state"
printf 'hhtui=%s\\n' "$(command -v hhtui)"
printf 'name=%s\\n' "$(uname -n)"
printf '%s\\n' {_END}
while read -r _; do :; done
"""


@dataclass(frozen=True, slots=True)
class RemoteHome:
    """One answer. ``state`` is ``there``, ``denied`` or ``none``; texts are the remote machine's own, not yet safe."""

    host: str
    home: str
    socket: str
    state: str
    hhtui: str
    name: str

    @property
    def place(self) -> str:
        """Where it is, for people: ``pi@kitchen:/opt/homehelper``."""
        return f"{ssh.label_of(self.host)}:{sanitise(self.home, 200)}"


class Tunnel:
    """``open`` connects (again); ``socket_path`` is where the engine is then reached. Usable from any one thread."""

    def __init__(self, host: str, home: str | None = None) -> None:
        self.host = ssh.check_host(host)
        self.home = home
        self.remote: RemoteHome | None = None
        self._folder: PrivateFolder | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._stderr: deque[str] = deque(maxlen=20)
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
        """The home's folder on that machine; known once it was connected to."""
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

    def open(self, *, ask: bool = False, report: Callable[[str], None] | None = None) -> RemoteHome:
        """Connect unless connected; with ``ask`` ssh may ask on the terminal. Blocks until it stands or failed.

        UnreachableError: SSH does not get there; NoEngineError: no engine runs there. ``report`` gets ssh's remarks.
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
        self._stderr.clear()
        self._listener = threading.Thread(target=self._listen, args=(process, report), daemon=True, name="ssh-errors")
        self._listener.start()
        try:
            remote = _answer_of(self.host, self._asked(process, ask))
            self.remote = remote
            _check_usable(remote, self.home)
            self._forward(control, remote)
        except BaseException:
            self._end_process()
            raise
        return remote

    def lost(self, ask: bool = False) -> ssh.UnreachableError:
        """Why ssh is not connected any more."""
        if self._listener is not None:
            self._listener.join(1)
        return ssh.failure(self.host, self._stderr, ask)

    def refused(self) -> ssh.UnreachableError | None:
        """Why the SSH server does not connect us to the socket, if it said so; waits a moment for what ssh says."""
        deadline = time.monotonic() + _REASON_SECONDS
        # ssh writes its line before it closes our connection, but our thread reads it when it gets its turn.
        while not any("open failed" in line for line in list(self._stderr)) and time.monotonic() < deadline:
            time.sleep(0.01)
        prohibited = [line for line in list(self._stderr) if "administratively prohibited" in line.lower()]
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
            process.stdin.write(probe_script(self.home))
            process.stdin.flush()
        except OSError:
            raise self.lost(ask) from None
        deadline = None if ask else time.monotonic() + CONNECT_SECONDS
        data = b""
        begin, end = f"\n{_BEGIN}\n".encode(), f"\n{_END}\n".encode()
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
            lines = done.stderr.decode("utf-8", "replace").splitlines() or list(self._stderr)
            raise ssh.failure(self.host, lines)

    def _listen(self, process: subprocess.Popen[bytes], report: Callable[[str], None] | None) -> None:
        """Keep ssh's last words; from a thread, for a full pipe would stop ssh."""
        assert process.stderr is not None
        while line := process.stderr.readline(_LARGEST_ANSWER):
            text = sanitise(line.decode("utf-8", "replace").rstrip("\r\n"), 500)
            self._stderr.append(text)
            if report is not None and self.remote is None and text.strip():
                report(text)
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
    return tunnel.open(ask=sys.stdin.isatty(), report=lambda line: print(line, file=sys.stderr))  # noqa: T201


def engine_answers(tunnel: Tunnel, error: HomeHelperError) -> HomeHelperError:
    """What an error of the forwarded connection means: SSH is gone, or nothing listens at the other end."""
    if not tunnel.alive:
        return ssh.UnreachableError(f"the connection is lost: {tunnel.lost().message}")
    if (refused := tunnel.refused()) is not None:
        return refused
    if tunnel.remote is not None:
        return _no_engine(tunnel.remote, tunnel.home)
    return error


def probe_script(home: str | None) -> bytes:
    """The script for ``sh``; ``home`` is what the user gave with ``--home``."""
    if home is not None and "\n" in home:
        raise UsageError("--home: a folder with a line break in its name cannot be reached over SSH")
    return f"given={quote(home or '')}\n{_SCRIPT}".encode("utf-8", "surrogateescape")


def _answer_of(host: str, lines: list[str]) -> RemoteHome:
    """The answer in the lines that the script printed; UnreachableError if it is none."""
    found = dict(line[:_LONGEST_LINE].split("=", 1) for line in lines if "=" in line)
    home, socket = found.get("home", ""), found.get("socket", "")
    if not home.startswith("/") or not socket.startswith("/"):
        raise ssh.UnreachableError(f"{ssh.label_of(host)}: its shell gave no answer that can be understood")
    return RemoteHome(host, home, socket, found.get("state", ""), found.get("hhtui", ""), found.get("name", ""))


def _no_engine(remote: RemoteHome, given: str | None = None) -> NoEngineError:
    """Nothing listens there, and the fix."""
    label = ssh.label_of(remote.host)
    if not remote.hhtui:
        fix = "hhtui is not found there either: install it there"
    else:
        home = f" --home {quote(sanitise(given, 200))}" if given else ""
        fix = f"`hhtui --host {label}{home} engine start` starts one, `--home DIR` names another home of that machine"
    return NoEngineError(f"no engine runs on {remote.place}; {fix}")


def _check_usable(remote: RemoteHome, given: str | None = None) -> None:
    """Raise what stands in the way of a connection to its socket."""
    if remote.state == "denied":
        raise HomeHelperError(
            f"{remote.place}: its engine belongs to another user: become a member of its group there, "
            "or connect as that user"
        )
    if remote.state != "there":
        raise _no_engine(remote, given)
    if not _SOCKET.match(remote.socket):
        raise HomeHelperError(
            f"{remote.place}: the path of its socket cannot be forwarded by ssh: "
            "at most 107 characters, none of : % $ \\ [ ]; move that home, or name it by a link"
        )


class PrivateFolder:
    """Mode 0700, below XDG_RUNTIME_DIR where there is one."""

    def __init__(self) -> None:
        try:
            self.path = Path(tempfile.mkdtemp(prefix="hhtui-", dir=_socket_folder()))
        except OSError as error:
            raise HomeHelperError(f"no place for a socket: {error.filename}: {error.strerror}") from None
        self._guard = subprocess.Popen(
            ["/bin/sh", "-c", _GUARD, "sh", str(self.path)],
            stdin=subprocess.PIPE,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
            cwd="/",
            start_new_session=True,
        )

    def remove(self) -> None:
        """Remove it now."""
        shutil.rmtree(self.path, ignore_errors=True)
        if self._guard.stdin is not None:
            self._guard.stdin.close()
        self._guard.wait()


def _socket_folder() -> str | None:
    runtime = os.environ.get("XDG_RUNTIME_DIR", "")
    for folder in (runtime, tempfile.gettempdir()):
        if _SOCKET_FOLDER.match(folder) and (folder != runtime or _is_ours(folder)):
            return folder
    return "/tmp"


def _is_ours(folder: str) -> bool:
    try:
        found = os.stat(folder)
    except OSError:
        return False
    return stat.S_ISDIR(found.st_mode) and found.st_uid == os.geteuid() and not found.st_mode & 0o077
