"""When a living process was started, in the wall clock's present time: that may have been set since."""

from __future__ import annotations

from datetime import timedelta

from hhtui.engine.process.identity import age_seconds
from hhtui.model.app import RuntimeInfo
from hhtui.model.event import utc_now

# The process table tells ages to 10 ms; what differs by less than this is no set clock.
_TOLERANCE = timedelta(seconds=2)


def correct_start(info: RuntimeInfo) -> None:
    """Move ``started_at`` with a wall clock that was set while the process ran; a Pi has the right time late."""
    if info.identity is None or info.started_at is None:
        return
    started = utc_now() - timedelta(seconds=age_seconds(info.identity))
    if abs(started - info.started_at) > _TOLERANCE:
        info.started_at = started
