"""The only place where an app's record, which the registry keeps and the API answers with, is changed."""

from __future__ import annotations

from datetime import timedelta
from typing import Any

from hhtui.engine.app.reason import Reason, Why, reason
from hhtui.engine.app.state import AppState, Terms
from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.process.identity import age_seconds, boot_id, this_boot
from hhtui.model.app import AppRecord, Health, ResourceUsage, Status
from hhtui.model.event import utc_now
from hhtui.text import sanitise

# The process table tells ages to 10 ms; what differs by less than this is no set clock.
_TOLERANCE = timedelta(seconds=2)
# In these nothing of the app runs, and nothing of it is well or unwell.
_NOTHING_RUNS = frozenset({Status.STOPPED, Status.FAILED, Status.WAITING, Status.BACKOFF})


def remembered(record: AppRecord, terms: Terms) -> AppState:
    """The state that a record which is at rest stands for."""
    info = record.runtime_info
    return AppState(
        status=record.status,
        terms=terms,
        wanted=info.wanted,
        wanted_boot=info.wanted_boot,
        pending=info.pending,
        waits_for=info.waits_for if record.status is Status.FAILED else None,
        restarts=info.restarts,
        reason=reason(Why.OTHER, words=info.reason) if info.reason else Reason(),
    )


def show(record: AppRecord, state: AppState) -> None:
    """Bring the record up to the state."""
    info = record.runtime_info
    if record.status is not state.status:
        record.status = state.status
        if state.status in _NOTHING_RUNS:
            info.health = Health.UNKNOWN
    record.enabled = state.terms.enabled
    words = sanitise(state.reason.words, 500)
    is_error = state.status is Status.FAILED or state.reason.code is Why.CANNOT_LISTEN
    note(
        record,
        wanted=state.wanted,
        wanted_boot=state.wanted_boot,
        pending=state.pending,
        restarts=state.restarts,
        waits_for=state.waits_for,
        reason=words,
        refused=sanitise(state.refused.words, 500) if state.refused is not None else None,
        error=words if is_error else state.terms.error,
        next_restart_in_seconds=_pause(state),
    )


def _pause(state: AppState) -> float | None:
    """How long a crash has its app wait; None where it does not wait."""
    verdict = state.verdict if state.status is Status.BACKOFF else None
    return round(verdict.delay, 1) if verdict is not None and verdict.delay > 0 else None


def note(record: AppRecord, **fields: Any) -> None:
    """Set fields of ``runtime_info``: those that are as they should be cost nothing."""
    info = record.runtime_info
    for name, value in fields.items():
        if getattr(info, name) is not value:
            setattr(info, name, value)


def touch(record: AppRecord) -> None:
    """It was changed now."""
    record.last_updated = utc_now()


def warn(record: AppRecord, warnings: list[str]) -> None:
    """Show these warnings."""
    record.warnings = warnings


def allow(record: AppRecord, permissions: dict[str, Any]) -> None:
    """Its owner has agreed to these permissions, as they stand in a manifest."""
    record.allowed = permissions


def keep_folder(record: AppRecord) -> None:
    """It runs where it is not kept apart, and may come to need that its folder is writable."""
    record.writes_folder = True


def describe(record: AppRecord, found: FoundApp) -> None:
    """Bring a record up to what the manifest says."""
    manifest = found.manifest
    record.path = str(found.path)
    record.runtime_info.service_name = f"homehelper-{found.app_id}"
    record.manifest = found.raw
    record.warnings = list(found.warnings)
    record.enabled = found.owner.autostart
    if manifest is not None:
        record.name, record.type = found.name, manifest.type
        record.description, record.version = manifest.description, manifest.version
    elif not record.name:
        record.name = found.app_id


def measure(record: AppRecord, usage: ResourceUsage | None) -> None:
    """Take in live figures, and a wall clock that was set while the process ran: a Pi has the right time late."""
    info = record.runtime_info
    if usage is not None:
        info.resource_usage = usage
    if info.identity is None or info.started_at is None:
        return
    started = utc_now() - timedelta(seconds=age_seconds(info.identity))
    if abs(started - info.started_at) > _TOLERANCE:
        info.started_at = started


def rest(record: AppRecord) -> Status:
    """Bring a remembered record to rest, whatever it did when its engine ended; the status that it had then."""
    before = record.status
    info = record.runtime_info
    info.process_id = None
    info.install_progress = None
    info.next_restart_in_seconds = None
    info.health = Health.UNKNOWN
    info.resource_usage = ResourceUsage()
    if before not in (Status.FAILED, Status.DISCOVERED):
        record.status = Status.DISCOVERED if before is Status.INVALID else Status.STOPPED
        if before is not Status.STOPPED:
            info.reason = ""  # it said why the app was in that state
    elsewhere = info.identity is not None and info.identity.boot_id != boot_id()
    if elsewhere or info.wanted_boot not in (None, this_boot()):
        forget_boot(record)
    return before


def forget_boot(record: AppRecord) -> None:
    """The machine was restarted, or the home moved to another: autostart applies, not what was running.

    Only a user's stop holds beyond that.
    """
    info = record.runtime_info
    info.identity = info.instance = info.started_at = info.pending = None
    if info.wanted_boot is not None or info.wanted is not False:
        info.wanted = info.wanted_boot = None
        if record.status in (Status.FAILED, Status.STOPPED):
            record.status = Status.STOPPED
            info.error = None
            info.reason = ""
