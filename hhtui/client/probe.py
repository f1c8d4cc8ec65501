"""What a remote machine is asked first: where its home is, whether an engine listens there, where its hhtui is."""

from __future__ import annotations

import re
from dataclasses import dataclass
from shlex import quote

from hhtui.client.ssh import UnreachableError, label_of
from hhtui.errors import HomeHelperError, NoEngineError, UsageError
from hhtui.text import sanitise

BEGIN, END = "hhtui-probe-begin", "hhtui-probe-end"
# A home on the other machine that could be more than a path to ssh's -L, which reads `:`, `%`, `$`, `\` and `[`.
_SOCKET = re.compile(r"/[^\x00-\x1f\x7f:%$\\\[\]]{1,106}\Z")
_LONGEST = 4096

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
system=/opt/homehelper
if [ -n "$given" ]; then home=$(absolute "$given")
elif [ -n "$HOMEHELPER_HOME" ]; then home=$(absolute "$HOMEHELPER_HOME")
elif [ -d "$system" ] && {{ [ -w "$system" ] || [ -w "$system/run/engine.sock" ]; }}; then home=$system
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
printf '\\n%s\\n' {BEGIN}
printf 'home=%s\\n' "$home"
printf 'socket=%s\\n' "$socket"
printf 'state=%s\\n' "$state"
printf 'hhtui=%s\\n' "$(command -v hhtui)"
printf 'name=%s\\n' "$(uname -n)"
printf '%s\\n' {END}
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
        return f"{label_of(self.host)}:{sanitise(self.home, 200)}"


def script(home: str | None) -> bytes:
    """The script for ``sh``; ``home`` is what the user gave with ``--home``."""
    if home is not None and "\n" in home:
        raise UsageError("--home: a folder with a line break in its name cannot be reached over SSH")
    return f"given={quote(home or '')}\n{_SCRIPT}".encode("utf-8", "surrogateescape")


def answer_of(host: str, lines: list[str]) -> RemoteHome:
    """The answer in the lines between BEGIN and END; UnreachableError if it is none."""
    found = dict(line[:_LONGEST].split("=", 1) for line in lines if "=" in line)
    home, socket = found.get("home", ""), found.get("socket", "")
    if not home.startswith("/") or not socket.startswith("/"):
        raise UnreachableError(f"{label_of(host)}: its shell gave no answer that can be understood")
    return RemoteHome(host, home, socket, found.get("state", ""), found.get("hhtui", ""), found.get("name", ""))


def no_engine(remote: RemoteHome, given: str | None = None) -> NoEngineError:
    """Nothing listens over there, and the mend."""
    label = label_of(remote.host)
    if not remote.hhtui:
        mend = "hhtui is not found there either: install it there"
    else:
        home = f" --home {quote(sanitise(given, 200))}" if given else ""
        mend = f"`hhtui --host {label}{home} engine start` starts one, `--home DIR` names another home of that machine"
    return NoEngineError(f"no engine runs on {remote.place}; {mend}")


def usable(remote: RemoteHome, given: str | None = None) -> None:
    """Raise what stands in the way of a connection to its socket."""
    if remote.state == "denied":
        raise HomeHelperError(
            f"{remote.place}: its engine belongs to another user: become a member of its group there, "
            "or connect as that user"
        )
    if remote.state != "there":
        raise no_engine(remote, given)
    if not _SOCKET.match(remote.socket):
        raise HomeHelperError(
            f"{remote.place}: the path of its socket cannot be forwarded by ssh: "
            "at most 107 characters, none of : % $ \\ [ ]; move that home, or name it by a link"
        )
