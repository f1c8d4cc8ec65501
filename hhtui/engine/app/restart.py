"""Whether and when an app that ended is started again: a sliding window with exponential backoff. Pure arithmetic."""

from __future__ import annotations

from dataclasses import dataclass, field
from enum import StrEnum

from hhtui.engine.app.reason import Reason, Why, reason
from hhtui.model.manifest import RestartPolicy

# The kernel keeps a port from others for at most a minute.
BLOCKED_SECONDS = 70.0
_TIMES = ("once", "twice", "three times", "four times", "five times", "six times", "seven times", "eight times")


class Decision(StrEnum):
    """What follows an exit."""

    RETRY = "retry"
    DONE = "done"
    GIVE_UP = "give_up"


@dataclass(frozen=True, slots=True)
class Verdict:
    """``delay`` is in seconds, for RETRY."""

    decision: Decision
    delay: float
    reason: Reason

    @property
    def words(self) -> str:
        """Why, for people."""
        return self.reason.words


@dataclass(slots=True)
class CrashHistory:
    """Times (monotonic seconds) of the crashes in the window, and how many came in a row without a healthy time.

    ``blocked_since`` is when the app first ended because its port was not free yet: that lasts a minute, and is not
    counted for so long. Seconds that starts took in vain are kept apart in ``vain`` and taken off all times: a start
    that never answers for longer than the window would else be repeated for ever.
    """

    times: list[float] = field(default_factory=list)
    in_a_row: int = 0
    vain: float = 0.0
    blocked_since: float | None = None

    def copy(self) -> CrashHistory:
        """The same, to be changed apart from this one."""
        return CrashHistory([*self.times], self.in_a_row, self.vain, self.blocked_since)

    def clear(self) -> None:
        """Forget all crashes: the user acted, or the app was healthy long enough."""
        self.times.clear()
        self.in_a_row = 0
        self.vain = 0.0
        self.blocked_since = None


def policy_of_schedule(policy: RestartPolicy, *, named: bool) -> RestartPolicy:
    """A scheduled run is over when it ends; a failed one is repeated only if the manifest names a policy that does."""
    repeats = named and policy.policy != "never"
    return policy.model_copy(update={"policy": "on-failure" if repeats else "never"})


def decide(
    policy: RestartPolicy,
    history: CrashHistory,
    *,
    now: float,
    uptime: float,
    failed: bool,
    ending: str,
    started: bool = True,
    blocked: bool = False,
    jitter: float = 0.0,
) -> Verdict:
    """What follows an exit at ``now`` after ``uptime`` seconds; records it in ``history``.

    ``failed`` is false for exit code 0. ``ending`` is what happened, such as "exited 1". ``started`` is false if it
    was still starting: then ``uptime`` is no time that it ran. ``blocked``: connections of an earlier run, which nobody
    can end, keep its port from it. ``jitter`` is in [-1, 1] and moves the backoff by up to
    a tenth. An app that ran for a whole window starts with a clean slate. The first crash is restarted at once; the
    wait doubles from ``backoff_seconds`` with the second in a row.
    """
    if policy.policy == "never":
        if failed:
            return Verdict(Decision.GIVE_UP, 0, reason(Why.NEVER_RESTARTED, ending=ending))
        return Verdict(Decision.DONE, 0, reason(Why.NEVER_RESTARTED, ending=ending))
    if policy.policy == "on-failure" and not failed:
        history.clear()
        return Verdict(Decision.DONE, 0, reason(Why.ENDED_WELL, ending=ending))
    if not started:
        history.vain += uptime
    elif uptime >= policy.window_seconds:
        history.clear()
    if blocked and now - (history.blocked_since or now) < BLOCKED_SECONDS:
        history.blocked_since = history.blocked_since or now
        history.in_a_row += 1
        delay = max(_backoff(policy, history.in_a_row - 1, jitter), 0.1)
        why = reason(Why.RETRY_NOT_COUNTED, ending=ending, seconds=f"{delay:.1f}")
        return Verdict(Decision.RETRY, delay, why)
    now -= history.vain
    history.times = [time for time in history.times if now - time < policy.window_seconds]
    history.times.append(now)
    history.in_a_row += 1
    count = len(history.times)
    if count >= max(policy.max_restarts, 1) or policy.max_restarts == 0:
        times = _TIMES[count - 1] if count <= len(_TIMES) else f"{count} times"
        span = policy.window_seconds
        if history.vain >= span:
            span = round(span + history.vain)
        return Verdict(Decision.GIVE_UP, 0, reason(Why.TOO_OFTEN, ending=ending, times=times, seconds=f"{span:g}"))
    delay = 0.0
    if history.in_a_row > 1:
        delay = _backoff(policy, history.in_a_row - 2, jitter)
    counted = {"ending": ending, "count": count, "most": policy.max_restarts}
    if delay:
        return Verdict(Decision.RETRY, delay, reason(Why.RETRY_LATER, seconds=f"{delay:.1f}", **counted))
    return Verdict(Decision.RETRY, delay, reason(Why.RETRY_AT_ONCE, **counted))


def _backoff(policy: RestartPolicy, doublings: int, jitter: float) -> float:
    delay = min(policy.backoff_seconds * 2.0 ** min(doublings, 60), policy.max_backoff_seconds)
    return max(delay * (1 + 0.1 * jitter), 0.0)
