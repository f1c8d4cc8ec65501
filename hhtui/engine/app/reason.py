"""Why an app is as it is: a code with values, and the words that it is shown with."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass
from enum import StrEnum


class Why(StrEnum):
    """The codes; each has its words in ``_WORDS``, which take the reason's values."""

    NONE = "none"
    OTHER = "other"
    AUTOSTART_OFF = "autostart_off"
    STARTED_BY_USER = "started_by_user"
    STARTED_BY_AUTOSTART = "started_by_autostart"
    STARTED_BY_SCHEDULE = "started_by_schedule"
    STARTED_AS_PORT_IS_FREE = "started_as_port_is_free"
    VARIABLES_THERE = "variables_there"
    DEPENDENCY_RUNS = "dependency_runs"
    STOPPED_BY_USER = "stopped_by_user"
    STOP_GOES_ON = "stop_goes_on"
    RESTARTED_BY_USER = "restarted_by_user"
    RESTARTED = "restarted"
    RESTARTED_WITH = "restarted_with"
    NOT_RESTARTED = "not_restarted"
    INSTALLED_BY_USER = "installed_by_user"
    INSTALLED = "installed"
    INSTALLED_SLEEPS = "installed_sleeps"
    INSTALL_FAILED = "install_failed"
    STARTS_WITH_OLD = "starts_with_old"
    UPDATING = "updating"
    NEEDS_CHANGED = "needs_changed"
    EXCHANGING = "exchanging"
    EXCHANGED = "exchanged"
    MOVING = "moving"
    ARRIVING = "arriving"
    HANDED_OVER = "handed_over"
    NOT_HANDED_OVER = "not_handed_over"
    MOVED = "moved"
    MOVE_ENDED = "move_ended"
    RESET_BY_USER = "reset_by_user"
    STARTED_BY_APP = "started_by_app"
    STOPPED_BY_APP = "stopped_by_app"
    RESTARTED_BY_APP = "restarted_by_app"
    RESET_BY_APP = "reset_by_app"
    ENGINE_STOPPED = "engine_stopped"
    FOLDER_REMOVED = "folder_removed"
    FOLDER_MISSING = "folder_missing"
    FOLDER_BACK = "folder_back"
    INVALID = "invalid"
    VALID = "valid"
    SLEEPS = "sleeps"
    IDLE = "idle"
    NOT_BY_VISITS = "not_by_visits"
    CANNOT_LISTEN = "cannot_listen"
    WOKEN = "woken"
    RUNNING = "running"
    DEPENDENCY = "dependency"
    WAITS = "waits"
    CANNOT_SPAWN = "cannot_spawn"
    STUCK = "stuck"
    FAULT = "fault"
    ENDED_WITHOUT_ENGINE = "ended_without_engine"
    ENDED_WITHOUT_ENGINE_SLEEPS = "ended_without_engine_sleeps"
    # What follows an end; each has the value ``ending``.
    NEVER_RESTARTED = "never_restarted"
    ENDED_WELL = "ended_well"
    RETRY_AT_ONCE = "retry_at_once"
    RETRY_LATER = "retry_later"
    RETRY_NOT_COUNTED = "retry_not_counted"
    TOO_OFTEN = "too_often"
    RESTART_GOES_ON = "restart_goes_on"
    ENDED = "ended"
    # What is added to another reason.
    UNTIL_NEXT_VISIT = "until_next_visit"
    NEXT_RUN = "next_run"
    POWER = "power"
    CAUSE = "cause"
    LEFT_OTHERS = "left_others"


_WORDS: dict[Why, str] = {
    Why.NONE: "",
    Why.OTHER: "{words}",
    Why.AUTOSTART_OFF: "autostart is off",
    Why.STARTED_BY_USER: "started by the user",
    Why.STARTED_BY_AUTOSTART: "started automatically",
    Why.STARTED_BY_SCHEDULE: "started by its schedule{missed}",
    Why.STARTED_AS_PORT_IS_FREE: "port {port} is free again",
    Why.VARIABLES_THERE: "the variables that it needs are there",
    Why.DEPENDENCY_RUNS: "{app}, which it depends on, runs",
    Why.STOPPED_BY_USER: "stopped by the user",
    Why.STOP_GOES_ON: "its stop goes on",
    Why.RESTARTED_BY_USER: "restarted by the user",
    Why.RESTARTED: "restarted",
    Why.RESTARTED_WITH: "restarted with {app}, which it depends on",
    Why.NOT_RESTARTED: "not restarted: {words}",
    Why.INSTALLED_BY_USER: "installed by the user",
    Why.INSTALLED: "installed",
    Why.INSTALLED_SLEEPS: "installed; sleeps until its first visit",
    Why.INSTALL_FAILED: "{words}",
    Why.STARTS_WITH_OLD: "starts with what was installed before: {words}",
    Why.UPDATING: "its new environment is built, then it is restarted",
    Why.NEEDS_CHANGED: "what it needs has changed",
    Why.EXCHANGING: "another version of it is put in place",
    Why.EXCHANGED: "another version of it was put in place",
    Why.MOVING: "it is being moved to {place}",
    Why.ARRIVING: "it is being moved here from {place}",
    Why.HANDED_OVER: (
        "handed over to {place}: `hhtui move {app} {host}` finishes that, `hhtui move {app} --keep` takes it back"
    ),
    Why.NOT_HANDED_OVER: (
        "{place} has not handed it over yet: `hhtui move {app}` there goes on, `hhtui move {app} --keep` keeps it here"
    ),
    Why.MOVED: "moved here from {place}",
    Why.MOVE_ENDED: "its move has ended",
    Why.RESET_BY_USER: "reset by the user",
    Why.STARTED_BY_APP: "started by the app {app}",
    Why.STOPPED_BY_APP: "stopped by the app {app}",
    Why.RESTARTED_BY_APP: "restarted by the app {app}",
    Why.RESET_BY_APP: "reset by the app {app}",
    Why.ENGINE_STOPPED: "the engine stopped",
    Why.FOLDER_REMOVED: "its folder was removed",
    Why.FOLDER_MISSING: "its folder is not there",
    Why.FOLDER_BACK: "its folder is back",
    Why.INVALID: "{words}",
    Why.VALID: "its manifest is valid",
    Why.SLEEPS: "sleeps until its first visit",
    Why.IDLE: "nobody visited for {seconds} s",
    Why.NOT_BY_VISITS: "it is no longer started by visits",
    Why.CANNOT_LISTEN: "cannot wait for visits: {words}",
    Why.WOKEN: "woken by a visit from {peer}",
    Why.RUNNING: "running",
    Why.DEPENDENCY: "{words}",
    Why.WAITS: "waits {words}",
    Why.CANNOT_SPAWN: "{words}",
    Why.STUCK: "would not die, even by SIGKILL: {processes}",
    Why.FAULT: "{words}",
    Why.ENDED_WITHOUT_ENGINE: "ended while the engine was down",
    Why.ENDED_WITHOUT_ENGINE_SLEEPS: "ended while the engine was down; sleeps until its next visit",
    Why.NEVER_RESTARTED: "{ending}; its restart policy is never",
    Why.ENDED_WELL: "{ending}; its restart policy is on-failure",
    Why.RETRY_AT_ONCE: "{ending}; restarts at once ({count} of {most} crashes)",
    Why.RETRY_LATER: "{ending}; restarts in {seconds} s ({count} of {most} crashes)",
    Why.RETRY_NOT_COUNTED: "{ending}; restarts in {seconds} s, not counted as a crash",
    Why.TOO_OFTEN: "{ending} {times} in {seconds} s",
    Why.RESTART_GOES_ON: "{ending}; the restart that was asked for goes on",
    Why.ENDED: "{ending}",
    Why.UNTIL_NEXT_VISIT: "sleeps until its next visit",
    Why.NEXT_RUN: "{words}",
    Why.POWER: "this came {words}",
    Why.CAUSE: "last: {words}",
    Why.LEFT_OTHERS: "ends what it left: {processes}",
}


@dataclass(frozen=True, slots=True)
class Reason:
    """A code, its values as text, and what is added to it."""

    code: Why = Why.NONE
    values: tuple[tuple[str, str], ...] = ()
    more: tuple[Reason, ...] = ()

    @property
    def words(self) -> str:
        """The reason for people, not sanitised: values may be an app's own words."""
        own = _WORDS[self.code].format_map(dict(self.values))
        return "; ".join(part for part in (own, *(reason.words for reason in self.more)) if part)

    def and_(self, code: Why, **values: object) -> Reason:
        """The same with another reason added."""
        return Reason(self.code, self.values, (*self.more, reason(code, **values)))

    def document(self) -> Mapping[str, object]:
        """For programs."""
        document: dict[str, object] = {"code": self.code.value, "values": dict(self.values), "words": self.words}
        if self.more:
            document["more"] = [reason.document() for reason in self.more]
        return document


def reason(code: Why, **values: object) -> Reason:
    """A reason of ``code``; its values become text."""
    return Reason(code, tuple((name, str(value)) for name, value in values.items()))


# What apps with the permission ``control`` may ask for.
_BY_APP = {
    Why.STARTED_BY_USER: Why.STARTED_BY_APP,
    Why.STOPPED_BY_USER: Why.STOPPED_BY_APP,
    Why.RESTARTED_BY_USER: Why.RESTARTED_BY_APP,
    Why.RESET_BY_USER: Why.RESET_BY_APP,
}


def asked_for(code: Why, app: str) -> Reason:
    """That a user asked for it, as ``code`` says, or an ``app`` if that is not ""."""
    return reason(_BY_APP[code], app=app) if app else reason(code)


NO_REASON = Reason()
EXCHANGING, EXCHANGED = Reason(Why.EXCHANGING), Reason(Why.EXCHANGED)
