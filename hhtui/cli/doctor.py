"""``hhtui doctor``: what is wrong, and how to fix it."""

from __future__ import annotations

import os
import time
from typing import Any

import click

from hhtui.cli.console import GREEN, RED, YELLOW, Console
from hhtui.cli.session import Session, command, run_task
from hhtui.client.encoding import terminal_encoding
from hhtui.client.wire import skew
from hhtui.errors import HomeHelperError
from hhtui.paths import expanded
from hhtui.text import human_bytes, sanitise

MODULE = "hhtui.engine.doctor"
_GLYPHS = {"ok": ("✔", "+"), "warning": ("▲", "!"), "error": ("✖", "x")}
_COLOURS = {"ok": GREEN, "warning": YELLOW, "error": RED}


@command()
@click.option(
    "--report",
    metavar="[FILE]",
    is_flag=False,
    flag_value="",
    help="Also write a bundle for a bug report, without secrets; else named by the time, here.",
)
@click.option("--problems", is_flag=True, help="Leave out what is in order.")
def doctor(session: Session, report: str | None, problems: bool) -> None:
    """Check the machine, the home, the engine and the apps; exit code 1 if something is broken."""
    console = session.console
    here = _terminal(console)
    client = session.client()
    engine: dict[str, Any] | None = None
    redis: dict[str, Any] | None = None
    gateway: dict[str, Any] | None = None
    sandbox: dict[str, Any] | None = None
    try:
        engine, redis = client.engine(), client.redis()
        gateway = client.gateway()
        sandbox = client.sandbox()
    except HomeHelperError:
        pass  # the diagnosis says why
    if note := skew((engine or {}).get("version")):
        here.append(_finding("version", "warning", note, "hhtui engine reload"))
    request: dict[str, Any] = {
        "task": "diagnose",
        "root": str(session.home.root),
        "engine": engine,
        "redis": redis,
        "gateway": gateway,
        "sandbox": sandbox,
    }
    if report is not None:
        name = report or f"hhtui-report-{time.strftime('%Y%m%dT%H%M%S')}.tar.gz"
        request |= {"report": str(expanded(name).absolute()), "findings": here}
    answer = run_task(console, MODULE, request, "looking")
    findings = [*answer["findings"], *here]
    counts = {level: sum(finding["level"] == level for finding in findings) for level in _GLYPHS}
    if console.json:
        console.document(
            # ``mend`` is the former name of ``fix``, for scripts that read it.
            {
                "findings": [{**finding, "mend": finding["fix"]} for finding in findings],
                **counts,
                "report": answer.get("report"),
                "notes": answer.get("notes") or [],
            }
        )
    else:
        for finding in findings:
            if not problems or finding["level"] != "ok":
                _print(console, finding)
        console.words(f"{counts['ok']} ok, {counts['warning']} warnings, {counts['error']} errors")
        for note in answer.get("notes") or []:
            console.complain(f"{note}; `sudo hhtui doctor --report` has them")
        if report is not None:
            console.words(f"{answer['report']}: {human_bytes(answer['bytes'])}; look at it before you send it")
    if counts["error"]:
        raise click.exceptions.Exit(1)


def _print(console: Console, finding: dict[str, str]) -> None:
    level = finding["level"]
    glyph = _GLYPHS[level][0 if console.unicode else 1]
    mark = f"{level}:" if console.linear else console.colour(f"{glyph} {level:<7}", _COLOURS[level])
    check = sanitise(finding["check"])
    console.data(f"{mark} {f'{check}:' if console.linear else f'{check:<12}'} {sanitise(finding['message'], 600)}")
    if finding["fix"]:
        before = "To fix: " if console.linear else " " * 23
        console.data(f"{before}{sanitise(finding['fix'], 600)}")


def _terminal(console: Console) -> list[dict[str, str]]:
    """What only this process can see: its locale and its terminal."""
    found = []
    encoding = terminal_encoding()
    effect = "" if encoding == "utf-8" else ": plain signs stand in for glyphs"
    if encoding == "ascii":
        fix = "sudo dpkg-reconfigure locales, choose one with UTF-8; over ssh: LANG=C.UTF-8"
        found.append(_finding("locale", "warning", f"{encoding}{effect}", fix))
    else:
        found.append(_finding("locale", "ok", f"{encoding}{effect}", ""))
    if not console.on_terminal:
        return found
    term = os.environ.get("TERM", "")
    width = console.width or 80
    if term in ("", "dumb"):
        found.append(_finding("terminal", "warning", f"TERM is {term or 'not set'}", "export TERM=xterm-256color"))
    elif width < 80:
        found.append(_finding("terminal", "warning", f"{width} columns", "the interface is made for 80 and more"))
    else:
        found.append(_finding("terminal", "ok", f"{term}, {width} columns", ""))
    return found


def _finding(check: str, level: str, message: str, fix: str) -> dict[str, str]:
    return {"check": check, "level": level, "message": message, "fix": fix}
