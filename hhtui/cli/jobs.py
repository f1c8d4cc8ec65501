"""A job of the engine about an app, followed by a command: its progress, its question, its end, and Ctrl-C."""

from __future__ import annotations

import sys
import time
from collections.abc import Callable
from typing import TYPE_CHECKING, Any

import click

from hhtui.cli.console import Console, ProgressLines
from hhtui.cli.status import text_of
from hhtui.client.words import STEPS
from hhtui.errors import HomeHelperError
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient, EventReader

# Of a job whose events do not come, the state is asked for so often (seconds).
_LOOK_SECONDS = 1.0


def refuse_unasked(yes: bool, what: str) -> None:
    """A usage error where there is nobody to answer, and no ``--yes``."""
    if not yes and not sys.stdin.isatty():
        raise click.UsageError(f"{what} asks before it does anything, and there is no terminal: say --yes")


def finished(
    client: EngineClient,
    console: Console,
    start: Callable[[EngineClient], dict[str, Any]],
    verb: str,
    agreed: Callable[[dict[str, Any]], None] | None = None,
) -> dict[str, Any]:
    """Begin a job and see it to its end; what it brought. HomeHelperError if it failed or somebody else cancelled it.

    ``agreed`` is given what a job is about to do, and raises if it is not to (click.Abort: quietly). Whatever ends the
    command before the job's end, Ctrl-C too, cancels the job.
    """
    with client.events("homehelper:events") as stream:
        job = start(client)
        try:
            job = _followed(client, stream, job, ProgressLines(console, verb), agreed)
        except BaseException:
            _cancel(client, job)
            raise
    return _result_of(job)


def _followed(
    client: EngineClient,
    stream: EventReader,
    job: dict[str, Any],
    report: ProgressLines,
    agreed: Callable[[dict[str, Any]], None] | None,
) -> dict[str, Any]:
    while job.get("state") == "running":
        preview = job.get("preview")
        if isinstance(preview, dict):
            if agreed is not None:
                agreed(preview)
            client.confirm_job(str(job.get("id")))
        asked_again = False
        for message in stream.take(_LOOK_SECONDS):
            event = message.get("event")
            data = event.get("data") if isinstance(event, dict) else None
            if not isinstance(data, dict) or data.get("id") != job.get("id"):
                continue
            step = str(data.get("step") or "")
            words = text_of(data.get("message")) or STEPS.get(step, sanitise(step, 100))
            if step == "confirm" or data.get("state") != "running":
                asked_again = True
            elif words:
                report(words, int(data.get("done") or 0), int(data.get("total") or 0))
        if stream.ended and not asked_again:
            time.sleep(0.1)
        job = next((now for now in client.jobs() if now.get("id") == job.get("id")), {**job, "state": "gone"})
    return job


def _cancel(client: EngineClient, job: dict[str, Any]) -> None:
    try:
        client.cancel_job(str(job.get("id")))
    except HomeHelperError:
        pass  # it has ended, or is carried through: what is begun is never left half done


def _result_of(job: dict[str, Any]) -> dict[str, Any]:
    if job.get("state") == "cancelled":
        raise HomeHelperError("it was cancelled; nothing has changed")
    if job.get("state") != "done":
        error = HomeHelperError(str(job.get("error") or "the engine ended meanwhile; nothing is left half done"))
        error.slug = str(job.get("slug") or "failed")
        raise error
    result = job.get("result")
    return result if isinstance(result, dict) else {}
