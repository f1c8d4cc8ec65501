"""A hostile app on a real engine: on every screen, none of what it says reaches the terminal as anything but text."""

from __future__ import annotations

import json
import os
import signal
import sys
from collections.abc import Iterator
from pathlib import Path

import pytest

from hhtui.tui.keymap import Place
from tests.engine.engine_process import EngineProcess, engine_process
from tests.engine.homes import make_app, make_home
from tests.tui.hostile import ALL, BIDI, CLIPBOARD, CURSOR, TITLE
from tests.tui.raw_output import not_allowed
from tests.tui.terminal import Terminal
from tests.tui.ways import WAYS, keys_of_place, raw

RUN = "import sys; from hhtui.__main__ import main; sys.exit(main())"
# What an environment can hold.
TEXT = ALL.replace("\0", "")
# What fits into names of files, processes and variables.
NAME = "N\x1b]0;owned\x07\x9b2J\x1b[2J\x1b[1;1Howned\u202eevil" + "e\u0301\u0301\u0301\u200b" * 8
# As terminals with kitty's keyboard protocol send it: a key that follows at once does not make another of both.
ESCAPE = "\x1b[27u"
# Screens that have something of the app's to show, and what stands on each of them alone.
SHOWING = {
    Place.DASHBOARD: "3 Log · evil", Place.APP_PAGE: "─ Timeline", Place.VIEWER: "╭─ Log · evil",
    Place.DETAILS: "╭─ Event · message", Place.PROCESSES: "app_failed  dies",
}  # fmt: skip
# Their keys sort, group, hide and mark: behind them, other rows are chosen.
CHANGING = (Place.EVERYWHERE, Place.DASHBOARD, Place.APPS, Place.HARDWARE, Place.LOG, Place.EVENTS)
BOMB = "e" + "\u0301" * 3000 + "\u200b" * 500
# An app that says ALL wherever an app can say anything, bytes that are no UTF-8 included.
PROGRAM = """
import json, os, socket, subprocess, sys, threading, time
from http.server import BaseHTTPRequestHandler, HTTPServer
from urllib.parse import unquote, urlsplit
hostile, name, bomb = json.load(open("texts.json"))
open(name, "w").close()
open("/proc/self/comm", "wb").write(name.encode()[:15])
subprocess.Popen([name.replace("\\0", ""), "1000"], executable="/bin/sleep")
class Handler(BaseHTTPRequestHandler):
    def do_GET(self):
        body = json.dumps({"status": "warning", "health": "warning", "message": hostile,
                           "extra_info": {hostile: hostile, "bomb": bomb}}).encode()
        self.send_response(200); self.send_header("Content-Type", "application/json")
        self.send_header("Content-Length", str(len(body))); self.end_headers(); self.wfile.write(body)
    def log_message(self, *_): pass
threading.Thread(target=HTTPServer(("127.0.0.1", int(os.environ["PORT"])), Handler).serve_forever, daemon=True).start()
url = urlsplit(os.environ["REDIS_URL"])
link = socket.create_connection((url.hostname, url.port))
def do(*words):
    words = [word if isinstance(word, bytes) else word.encode() for word in words]
    link.sendall(b"*%d\\r\\n" % len(words) + b"".join(b"$%d\\r\\n%s\\r\\n" % (len(w), w) for w in words))
    link.recv(1000)
do("AUTH", unquote(url.username or "default"), unquote(url.password or ""))
do("SET", "evil:" + hostile, hostile)
raw = hostile.encode() + b"\\x9b2J\\x9d0;owned\\x9c\\xff\\xfe" + bomb.encode()
while True:
    for stream in (sys.stdout.buffer, sys.stderr.buffer):
        stream.write(b"\\x1b[31mred " + raw + b"\\n{\\"json\\": \\"" + hostile.encode() + b"\\"}\\n")
        stream.flush()
    do("PUBLISH", "homehelper:events:" + hostile, json.dumps({hostile: hostile, "event_type": hostile}))
    do("PUBLISH", "homehelper:events:raw", raw)
    time.sleep(0.5)
"""


@pytest.fixture
def engine(tmp_path: Path) -> Iterator[EngineProcess]:
    root = make_home(tmp_path / "home", redis={"embedded": "always"}, **{f"evil{ALL}": ALL})
    folder = make_app(
        root, "evil", name=f"Evil{TEXT}", description=TEXT, version=TEXT[:90], command=[sys.executable, "evil.py"],
        autostart=True, endpoints={"health": "/health"}, environment={"EVIL": TEXT},
        permissions={"files": ["{app_dir}:rw"]}, **{TEXT: TEXT},
    )  # fmt: skip
    (folder / "evil.py").write_text(PROGRAM)
    (folder / "texts.json").write_text(json.dumps([ALL, NAME, BOMB]))
    make_app(root, "invalid", name=ALL, version=ALL, type=ALL, depends_on=[ALL], environment={ALL: ALL})
    make_app(root, "names", environment={NAME: TEXT})
    make_app(root, "dies", f"printf '%b' '{ascii(TEXT)[1:-1]}' >&2; exit 1", name=f"Dies{TEXT}", autostart=True)
    strange = root / "apps" / NAME
    strange.mkdir()
    (strange / "homehelper.json").write_text("{" + ALL)
    (root / "config/keymap.json").write_text(json.dumps({ALL: ALL, "app.stop": f"Foo{ALL}"}))
    with engine_process(root) as engine:
        yield engine


def press(terminal: Terminal, *keys: str) -> None:
    for key in keys:
        terminal.type(ESCAPE if key == "escape" else raw(key))
        terminal.read(0.04)


def shows_below(terminal: Terminal, alone: str) -> bool:
    """Whether ``alone`` stands on the screen, and what the app says below the first lines."""
    text = terminal.screen.text
    return alone in text and "owned" in "".join(text.splitlines()[3:])


def go_back(terminal: Terminal) -> None:
    """Leave questions, lines to type into, the palette and screens, to the apps on the dashboard."""
    for _ in range(8):
        terminal.type("y" if "drop them" in terminal.screen.text else ESCAPE)
        terminal.read(0.04)
        if "1 Apps" in terminal.screen.text and "Search for" not in terminal.screen.text:
            break
    terminal.type("1")
    terminal.catch_up()


@pytest.mark.timeout(600)
def test_nothing_that_an_app_says_reaches_the_terminal_as_a_sequence(engine: EngineProcess, tmp_path: Path) -> None:
    env = {"HOMEHELPER_HOME": str(engine.root), "XDG_STATE_HOME": str(tmp_path / "state")}
    engine.wait_status("evil", "running", timeout=60)
    with Terminal(RUN, size=(140, 45), env=env) as terminal:
        terminal.wait_for("Evil")
        terminal.wait_for("json")
        terminal.wait_for("! warning")
        terminal.wait_for("✖ failed")  # from now on, every message is the hostile app's
        terminal.type("j")
        # The text itself is there, below the line of problems: hidden text would pass, too.
        for place, alone in SHOWING.items():
            press(terminal, *WAYS[place])
            terminal.wait_until(lambda alone=alone: shows_below(terminal, alone))  # type: ignore[misc]
            go_back(terminal)
        # What ends or reloads something, or makes real apps.
        left_alone = {"app.quit", "app.interrupt", "app.suspend", "app.install", "config.reload", "hosts.switch"}
        left_alone |= {key.id for key in keys_of_place(Place.FIRST_RUN) if key.writes}
        for place in sorted(WAYS, key=CHANGING.__contains__):
            press(terminal, *WAYS[place])
            terminal.read(0.4)
            go_back(terminal)
            for key in keys_of_place(place):
                if key.id not in left_alone:
                    press(terminal, *WAYS[place], key.keys.split(",")[0])
                    go_back(terminal)
        terminal.type(":")
        terminal.wait_for("Search for commands")
        terminal.type("evil")
        terminal.read(1)
        os.kill(terminal.pid, signal.SIGTERM)
        assert terminal.end() == 143
        assert not_allowed(terminal.output) == set()


@pytest.mark.parametrize("written", [CLIPBOARD, TITLE, CURSOR, BIDI, "\x1bP1$r\x1b\\", "\x1b_apc\x1b\\", "\x00", "\x7f",
                                     "\x9b2J", "\x9d0;owned\x9c", "\u200b", "\t", "\x1b"])  # fmt: skip
def test_each_sequence_would_be_noticed(written: str) -> None:
    assert not_allowed(f"\x1b[1;1Htext{written}text".encode())
    assert not_allowed(b"\x9b2J\xff")
    assert not not_allowed("\x1b[1;1H\x1b[31mtext é漢e\u0301\x1b[0m\x1b]52;c;aGVsbG8=\x07\r\n".encode())
