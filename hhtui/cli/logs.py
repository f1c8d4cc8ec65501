"""``hhtui logs``: pages of an app's log, its newest lines, and what is being written."""

from __future__ import annotations

import re
import time
import warnings
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import click

from hhtui.cli.console import DIM, Console, ProgressLines, Table
from hhtui.cli.session import Session, command, number_of, time_option
from hhtui.cli.status import default_log, local_time, text_of
from hhtui.errors import HomeHelperError, NoEngineError
from hhtui.text import human_bytes, sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient

FOLLOW_SECONDS = 0.4
# While following: an engine that is restarted is waited for so long.
_ENGINE_PATIENCE_SECONDS = 20.0
PAGE = 1000
# Of one answer, lines around matches included; hhtui.model.log refuses more than 25,000.
_MOST_LINES = 20_000
_LONGEST_LINE = 65_536


@command()
@click.argument("app_id", metavar="APP")
@click.option("-f", "--follow", is_flag=True, help="Go on with what is being written, until Ctrl-C.")
@click.option("-n", "--lines", type=int, callback=number_of(0, 1_000_000), metavar="N", help="The newest N (50).")
@click.option("--page", type=int, callback=number_of(1, 10_000_000), metavar="N", help="Page N; 1 is the newest.")
@click.option(
    "--name",
    metavar="LOG",
    help="app (the default, else the only one there is), error, access, setup, …; several joined by +; "
    "all: the first three, merged by time.",
)
@click.option("--search", metavar="RE", help="Only lines that match the regular expression.")
@click.option(
    "-C",
    "--context",
    type=int,
    default=0,
    callback=number_of(0, 50),
    metavar="N",
    help="With --search: also N lines around each match.",
)
@click.option("--at", metavar="TIME", help="The page that holds what was written at a time (14:30) or an age.")
@click.option("--since", metavar="TIME", help="Only lines since a time (2026-11-24T11:20) or an age (10m, 2h, 1d).")
@click.option("--until", metavar="TIME", help="Only lines up to a time or an age.")
@click.option("--no-time", is_flag=True, help="The lines alone, without their times.")
@click.option("--list", "listing", is_flag=True, help="List the app's log files instead.")  # fmt: skip
def logs(
    session: Session,
    app_id: str,
    follow: bool,
    lines: int | None,
    page: int | None,
    name: str | None,
    search: str | None,
    context: int,
    at: str | None,
    since: str | None,
    until: str | None,
    no_time: bool,
    listing: bool,
) -> None:
    """Show an app's log, oldest line first. APP may also be homehelper or system."""
    client = session.client()
    if listing:
        _list(session.console, client.logs(app_id))
        return
    if page is not None and (follow or lines is not None):
        raise click.UsageError("--page goes without --follow and --lines")
    if until and follow:
        raise click.UsageError("--until goes without --follow")
    if context and (search is None or follow):
        raise click.UsageError("--context goes with --search, and without --follow")
    if at is not None and (follow or search is not None or page is not None or lines is not None):
        raise click.UsageError("--at goes without --follow, --search, --page and --lines")
    if name is None:
        name = default_log(client.logs(app_id))
    elif name == "all":
        name = _merged(client.logs(app_id))
    if search is not None:
        _check_pattern(search)
    query = {
        "search": search,
        "regex": search is not None,
        "since": time_option(since, "--since"),
        "until": time_option(until, "--until"),
        "at": time_option(at, "--at"),
        "context": context or None,
    }
    printer = _Printer(session.console, with_time=not no_time, as_lines=follow)
    report = ProgressLines(session.console, "searching")

    def searched(done: int, total: int) -> None:
        report("", done, total)

    if page is not None or at is not None:
        answer = client.log_page(app_id, name, progress=searched, page=page, page_size=200, **query)
        if session.console.json:
            session.console.document(answer)
            return
        printer.lines(answer, gaps=context > 0)
        session.console.words(f"page {answer.get('page')} of {answer.get('pages')}")
        return
    wanted = 50 if lines is None else lines
    answer = _newest(client, app_id, name, wanted, query, searched)
    if session.console.json and not follow:
        session.console.document(answer)
        return
    if follow:
        # A line that is still being written comes again when it is whole.
        answer["lines"] = [line for line in answer["lines"] if not line.get("partial")]
    printer.lines(answer, gaps=context > 0)
    if follow:
        _follow(session, client, app_id, name, answer, search, printer)


def _merged(files: list[dict[str, Any]]) -> str:
    """Those of stdout, stderr and visits that are there, as the API is asked for them merged."""
    found = {text_of(file.get("name")) for file in files}
    return "+".join(name for name in ("app", "error", "access") if name in found) or "app"


def _newest(
    client: EngineClient,
    app_id: str,
    name: str,
    wanted: int,
    query: dict[str, Any],
    searched: Callable[[int, int], None],
) -> dict[str, Any]:
    """The newest ``wanted`` lines as one page, fetched in pieces that the engine answers at once."""
    size = max(min(wanted, PAGE, _MOST_LINES // (2 * (query.get("context") or 0) + 1)), 1)
    answer = client.log_page(app_id, name, progress=searched, page=1, page_size=size, **query)
    lines = list(answer.get("lines") or [])
    number = 2
    while (number - 1) * size < wanted and number <= int(answer.get("pages") or 1):
        older = client.log_page(app_id, name, progress=searched, page=number, page_size=size, **query)
        lines = _joined(older.get("lines") or [], lines)
        number += 1
    if not query.get("context"):
        lines = lines[len(lines) - wanted :] if wanted < len(lines) else lines
    answer["lines"] = lines
    return answer


def _joined(older: list[dict[str, Any]], newer: list[dict[str, Any]]) -> list[dict[str, Any]]:
    """Two pages as one: a line around a match of both is in both."""
    found = {line["offset"]: line for line in newer}
    found.update((line["offset"], line) for line in older if line.get("match") or line["offset"] not in found)
    return [found[offset] for offset in sorted(found)]


def _follow(
    session: Session,
    client: EngineClient,
    app_id: str,
    name: str,
    last: dict[str, Any],
    search: str | None,
    printer: _Printer,
) -> None:
    for answer in _growing(session, client, app_id, name, last, search):
        printer.lines(answer)
        session.console.flush()


def _growing(
    session: Session, client: EngineClient, app_id: str, name: str, last: dict[str, Any], search: str | None
) -> Iterator[dict[str, Any]]:
    end = int(last.get("end") or 0)
    missing_since: float | None = None
    yield {"lines": []}
    behind = False
    while True:
        if not behind:
            time.sleep(FOLLOW_SECONDS)
        try:
            answer = client.log_page(app_id, name, after=end, page_size=PAGE, search=search, regex=search is not None)
        except NoEngineError:
            now = time.monotonic()
            if missing_since is None:
                missing_since = now
                session.console.progress("the engine is gone; waiting for it")
            if now - missing_since > _ENGINE_PATIENCE_SECONDS:
                raise
            continue
        except HomeHelperError as error:
            if missing_since is None:
                raise
            session.console.progress(error.message)
            continue
        missing_since = None
        end = int(answer.get("end") or end)
        behind = len(answer.get("lines") or []) >= PAGE
        yield answer


class _Printer:
    def __init__(self, console: Console, *, with_time: bool, as_lines: bool) -> None:
        self._console = console
        self._with_time = with_time
        self._as_json_lines = console.json and as_lines
        self._behind: int | None = None

    def lines(self, page: dict[str, Any], *, gaps: bool = False) -> None:
        for line in page.get("lines") or []:
            if not isinstance(line, dict):
                continue
            if self._as_json_lines:
                self._console.document(line)
                continue
            self._marks(line, gaps)
            text = sanitise(text_of(line.get("text")), _LONGEST_LINE)
            if line.get("cut"):
                text += f" [cut, {human_bytes(float(line.get('size') or 0))}]"
            when = self._time(line) if self._with_time else ""
            if line.get("name"):
                text = f"{sanitise(text_of(line['name']), 40)}: {text}"
            self._console.data(f"{self._console.colour(when, DIM)} {text}" if when else text)

    def _marks(self, line: dict[str, Any], gaps: bool) -> None:
        """Say what is left out before a line, and that the app was started there: to people, never into data."""
        offset = int(line.get("offset") or 0)
        if gaps and self._behind not in (None, offset):
            self._console.data("--")
        self._behind = offset + int(line.get("size") or 0) + 1
        if line.get("run") and self._console.on_terminal:
            line_text = sanitise(f"-- new run: {line['run']} --", 400)
            self._console.data(self._console.colour(line_text, DIM))

    def _time(self, line: dict[str, Any]) -> str:
        moment = line.get("time")
        if not isinstance(moment, str):
            return ""
        # People read their own clock, programs UTC.
        if not self._console.on_terminal:
            return sanitise(moment, 40)
        return local_time(moment, spec="%Y-%m-%d %H:%M:%S.%f")[:-3]


def _list(console: Console, files: list[dict[str, Any]]) -> None:
    if console.json:
        console.document(files)
        return
    table = Table(console)
    table.column("LOG")
    table.column("SIZE", right=True)
    table.column("FILES", right=True)
    table.column("WRITTEN")
    for file in files:
        size = human_bytes(float(file.get("size_bytes") or 0))
        table.row([text_of(file.get("name")), size, text_of(file.get("files")), local_time(file.get("modified_at"))])
    if files:
        table.print()
    else:
        console.words("no logs yet")


def _check_pattern(pattern: str) -> None:
    try:
        with warnings.catch_warnings(action="ignore"):
            re.compile(pattern)
    except (re.error, RecursionError, OverflowError) as error:
        raise click.UsageError(f"--search: {error}") from None
