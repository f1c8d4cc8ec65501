"""OpenSSH's command line for one remote home: what may be its host, how it is called, what its errors mean."""

from __future__ import annotations

import os
import re
import shlex
import subprocess
from collections.abc import Mapping, Sequence

from hhtui.errors import HomeHelperError, UsageError
from hhtui.text import sanitise

# The ssh to call, with options of its own, as a shell would split them: `HHTUI_SSH="ssh -F other/config"`.
COMMAND_VARIABLE = "HHTUI_SSH"
# ssh(1): 255 is ssh's own failure, everything else is the remote command's.
SSH_FAILED = 255
# A dead connection is noticed after three of these, seconds.
ALIVE_SECONDS = 5
# [user@]host as ssh takes it, or ssh://[user@]host[:port]. Neither may begin with "-" (an option) nor hold what a shell
# or a ProxyCommand of the user's configuration would read as more than a name.
_NAME = r"[A-Za-z0-9_][A-Za-z0-9_.+-]*"
_PLACE = r"[A-Za-z0-9_][A-Za-z0-9_.-]*"
_PLAIN = re.compile(rf"(?:{_NAME}@)?(?:{_PLACE}|[0-9A-Fa-f:]*:[0-9A-Fa-f:.]*(?:%[A-Za-z0-9_.-]+)?)\Z")
_URL = re.compile(rf"ssh://(?:{_NAME}@)?(?:{_PLACE}|\[[0-9A-Fa-f:.]+\])(?::\d{{1,5}})?\Z")
# Nothing of the user's configuration may forward, run or keep more than this one connection needs.
_OPTIONS = (
    "ClearAllForwardings=yes",
    "ForwardAgent=no",
    "ForwardX11=no",
    "PermitLocalCommand=no",
    "RemoteCommand=none",
    # At ERROR a refused forwarding is not reported.
    "LogLevel=INFO",
    f"ServerAliveInterval={ALIVE_SECONDS}",
    "ServerAliveCountMax=3",
)
# ssh(1) exits with 255 whatever it was, and is not translated: its sentences are all there is.
_REASONS: tuple[tuple[str, str], ...] = (
    ("could not resolve hostname", "{ssh}; check the name, or add it to ~/.ssh/config"),
    ("host key verification failed", "its host key is not known here; run `ssh {host}` once and compare the key"),
    ("remote host identification has changed", "its host key has changed; find out why before you connect again"),
    ("permission denied", "{ssh}; `ssh {host}` must work without a question: ssh-add your key, or ssh-copy-id {host}"),
    ("too many authentication failures", "{ssh}; set IdentityFile and IdentitiesOnly for it in ~/.ssh/config"),
    ("connection refused", "{ssh}; no SSH server listens there: sudo systemctl enable --now ssh, on that machine"),
    ("timed out", "{ssh}; check that it is on and on this network"),
    ("no route to host", "{ssh}; check that it is on and on this network"),
    ("administratively prohibited", "its SSH server forwards no sockets; set AllowStreamLocalForwarding yes there"),
)


class UnreachableError(HomeHelperError):
    """The remote machine cannot be reached over SSH."""

    slug = "unreachable"


def check_host(host: str) -> str:
    """``host`` if it can only be a destination; UsageError for options, spaces, shell characters and the like."""
    if _PLAIN.match(host) or _URL.match(host):
        return host
    raise UsageError(f"--host {sanitise(host, 80)!r}: must be [user@]host, a name of ~/.ssh/config, or ssh://host:port")


def label_of(host: str) -> str:
    """The host as people call it."""
    return host.removeprefix("ssh://")


def program(environ: Mapping[str, str] = os.environ) -> list[str]:
    """The ssh to call; UsageError if HHTUI_SSH cannot be split."""
    try:
        words = shlex.split(environ.get(COMMAND_VARIABLE, ""))
    except ValueError as error:
        raise UsageError(f"{COMMAND_VARIABLE}: {error}") from None
    return words or ["ssh"]


def call(host: str, command: Sequence[str], *, ask: bool, more: Sequence[str] = ()) -> list[str]:
    """The words that run ``command`` on ``host`` without a terminal; with ``ask`` ssh may ask for a password."""
    options = [*_OPTIONS, f"BatchMode={'no' if ask else 'yes'}"]
    pairs = [word for option in options for word in ("-o", option)]
    return [*program(), *pairs, *more, "-T", "--", check_host(host), *command]


def missing() -> UnreachableError:
    """There is no ssh to call."""
    name = sanitise(program()[0], 80)
    return UnreachableError(f"{name} is not installed, and --host needs it: sudo apt install openssh-client")


def failure(host: str, stderr: Sequence[str], ask: bool = False) -> UnreachableError:
    """Why ssh failed, from its own last words, hostile ones included, in one line with the fix."""
    label = sanitise(label_of(host), 80)
    lines = [line.strip() for line in stderr if line.strip()]
    for token, words in _REASONS:
        if ask and token == "permission denied":
            continue
        found = next((line for line in reversed(lines) if token in line.lower()), None)
        if found is not None:
            return UnreachableError(f"{label}: {words.format(ssh=_brief(found), host=label)}")
    last = _brief(lines[-1]) if lines else "ssh ended without a word"
    return UnreachableError(f"{label}: {last}; `ssh {label}` shows more")


def _brief(line: str) -> str:
    return sanitise(line.removeprefix("ssh: "), 200).rstrip(". ")


def address_of(host: str) -> str:
    """The name or address that ssh connects to, by the user's configuration: what its apps' pages are reached by."""
    address = label_of(host).rpartition("@")[2]
    try:
        shown = subprocess.run(
            [*program(), "-G", "--", check_host(host)],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=5,
            check=False,
        ).stdout.decode("utf-8", "replace")
    except (OSError, subprocess.TimeoutExpired):
        shown = ""
    for line in shown.splitlines():
        name, _, value = line.partition(" ")
        if name == "hostname" and (value := sanitise(value.strip(), 253)):
            return value
    return address.rpartition(":")[0] if host.startswith("ssh://") and ":" in address else address
