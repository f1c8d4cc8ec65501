"""Which characters the person's terminal shows, by the locale that this process was given and by tmux."""

from __future__ import annotations

import os
from collections.abc import Mapping

_UTF8 = "utf-8"
_ASCII = "ascii"
# Of the Linux kernel's console (vt), whose fonts have at most 512 characters: the letters of western languages, and
# hardly a symbol. It is written to in UTF-8 all the same.
_CONSOLE = "latin-1"
_CONSOLE_TERMS = ("linux", "linux-16color")
_TMUX_SECONDS = 1.0
# What Python puts into LC_CTYPE, for its children too, where the locale is C, POSIX, none or not installed: PEP 538.
_COERCED = ("C.UTF-8", "C.utf8", "UTF-8")
_NONE = ("C", "POSIX")


def terminal_encoding() -> str:
    """``utf-8``; ``latin-1`` for the kernel's console; ``ascii`` where the locale or a tmux client has no more.

    Python's own answer is UTF-8 also where no locale is set (PEP 538, PEP 540), which says nothing of the terminal.
    """
    if locale_encoding(os.environ) == _ASCII:
        return _ASCII
    if os.environ.get("TMUX"):
        return _of_tmux_client()
    return _CONSOLE if os.environ.get("TERM") in _CONSOLE_TERMS else _UTF8


def locale_encoding(environ: Mapping[str, str]) -> str:
    """What the locale names: LC_ALL, else LC_CTYPE, else LANG, as locale(7) says."""
    ctype = environ.get("LC_CTYPE", "")
    if ctype in _COERCED:
        ctype = ""
    name = environ.get("LC_ALL") or ctype or environ.get("LANG") or _NONE[0]
    if name in _NONE:
        return _ASCII
    codeset = name.partition(".")[2].partition("@")[0]
    if not codeset:
        # Loaded where it is needed: hardly any name comes without its character set.
        import locale

        codeset = locale.nl_langinfo(locale.CODESET)
    return _UTF8 if codeset.lower().replace("-", "") == "utf8" else _ASCII


def _of_tmux_client() -> str:
    """What the client that looks at this pane shows: tmux(1), ``client_utf8``. To one without UTF-8 it sends ``_``."""
    import subprocess

    try:
        answer = subprocess.run(
            ["tmux", "display-message", "-p", "#{client_utf8} #{client_termname}"],
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_TMUX_SECONDS,
            check=False,
        )
    except (OSError, subprocess.TimeoutExpired):
        return _UTF8
    utf8, _, term = answer.stdout.decode("ascii", "replace").strip().partition(" ")
    if utf8 == "0":
        return _ASCII
    return _CONSOLE if term in _CONSOLE_TERMS else _UTF8
