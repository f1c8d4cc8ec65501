"""Opening an app's page: in a browser where there is a display, else its address is copied.

Who sees this terminal over SSH would not see a browser that comes up here. The browser is started by a process of its
own without a terminal: webbrowser would fall back to one that runs in the terminal (TERM), and browsers talk.
"""

from __future__ import annotations

import asyncio
import os
import subprocess
import sys
import time
from collections.abc import Mapping
from typing import TYPE_CHECKING
from urllib.parse import urlsplit

from hhtui.client.words import name_of, url_of, why_no_address
from hhtui.model.states import Status

if TYPE_CHECKING:
    from hhtui.client.records import App
    from hhtui.tui.session.interface import Interface

_ANSWERING = (Status.RUNNING, Status.STARTING, Status.WAITING)
_OPENER = "import sys, webbrowser; sys.exit(not webbrowser.open(sys.argv[1], new=2))"
# A browser that stays in the foreground has come up if it did not fail until then.
_FAILS_WITHIN = 5.0


def has_display(environ: Mapping[str, str]) -> bool:
    """Whether a window would come up before the user's eyes."""
    seen_from_elsewhere = environ.get("SSH_CONNECTION") or environ.get("SSH_TTY")
    return bool(environ.get("DISPLAY") or environ.get("WAYLAND_DISPLAY")) and not seen_from_elsewhere


def address_of_page(app: App, host: str) -> str | None:
    """The app's address on ``host`` if it leads to the app's own port, whatever its manifest says; else None."""
    url = url_of(app, host)
    try:
        parts = urlsplit(url or "")
        own = parts.scheme == "http" and parts.hostname == host.lower() and parts.port == app.port
    except ValueError:
        return None
    printable = url is not None and url.isascii() and url.isprintable() and " " not in url
    return url if own and printable and parts.username is None else None


def visit(hh: Interface, app: App | None) -> None:
    """Open the app's page, or copy its address; a toast says which."""
    if app is None:
        hh.say("No app is chosen.", "warning")
        return
    name = name_of(app)
    # From here its port is reached on the loopback interface too, where some apps listen alone.
    local = hh.home_is_here and not hh.in_browser and has_display(os.environ)
    reachable, url = address_of_page(app, hh.host), address_of_page(app, "localhost" if local else hh.host)
    if url is None or reachable is None:
        missing = "the path in its manifest is wrong" if url_of(app, hh.host) else why_no_address(app)
        hh.say(f"{name} has no address: {missing}.", "warning")
    elif app.status not in _ANSWERING:
        hh.say(f"{name} is {app.status.value}, so nobody answers at {reachable}: s starts it.", "warning")
    elif hh.in_browser:
        hh.open_url(url)
        hh.say(f"{name} opens in a tab: {url}")
    elif has_display(os.environ):
        hh.say(f"{name} opens in the browser: {url}")
        hh.run_worker(_open(hh, name, url, reachable), group="visits", thread=False, exclusive=False)
    else:
        copy(hh, f"{name}: no display here, so open it where you sit", reachable)


def copy(hh: Interface, prefix: str, url: str) -> None:
    """Put an address into the clipboard of the user's terminal (OSC 52)."""
    hh.copy_to_clipboard(url)
    hh.say(f"{prefix}: {url} is copied (where the terminal allows it)")


async def _open(hh: Interface, name: str, url: str, reachable: str) -> None:
    if not await opened(url):
        copy(hh, f"{name}: no browser could be started", reachable)


async def opened(url: str) -> bool:
    """Have the user's browser show ``url``: webbrowser's choice, so $BROWSER is heeded. Whether it seems to."""
    try:
        opener = await asyncio.to_thread(_start, url)
    except OSError:
        return False
    deadline = time.monotonic() + _FAILS_WITHIN
    while (code := opener.poll()) is None and time.monotonic() < deadline:
        await asyncio.sleep(0.05)
    return not code


def _start(url: str) -> subprocess.Popen[bytes]:
    return subprocess.Popen(
        [sys.executable, "-I", "-c", _OPENER, url],
        stdin=subprocess.DEVNULL,
        stdout=subprocess.DEVNULL,
        stderr=subprocess.DEVNULL,
        env={name: value for name, value in os.environ.items() if name != "TERM"},
        start_new_session=True,
    )
