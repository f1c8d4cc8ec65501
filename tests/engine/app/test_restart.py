"""The restart policy's arithmetic."""

from __future__ import annotations

from hhtui.engine.app.restart import CrashHistory, Decision, Verdict, decide
from hhtui.model.manifest import RestartPolicy


def crash(history: CrashHistory, now: float, policy: RestartPolicy | None = None, **kwargs: object) -> Verdict:
    arguments: dict[str, object] = {"uptime": 0.0, "failed": True, "ending": "exited 1"} | kwargs
    return decide(policy or RestartPolicy(), history, now=now, **arguments)  # type: ignore[arg-type]


def test_a_single_crash_is_restarted_at_once() -> None:
    verdict = crash(CrashHistory(), 0)
    assert (verdict.decision, verdict.delay) == (Decision.RETRY, 0)


def test_the_wait_doubles_from_the_second_crash_in_a_row_up_to_the_maximum() -> None:
    policy = RestartPolicy(max_restarts=100, max_backoff_seconds=5, window_seconds=10_000)
    history = CrashHistory()
    assert [crash(history, n, policy).delay for n in range(6)] == [0, 1, 2, 4, 5, 5]


def test_max_restarts_crashes_in_the_window_give_up_with_a_reason_in_words() -> None:
    history = CrashHistory()
    verdicts = [crash(history, n) for n in range(5)]
    assert [v.decision for v in verdicts] == [Decision.RETRY] * 4 + [Decision.GIVE_UP]
    assert verdicts[-1].words == "exited 1 five times in 60 s"


def test_crashes_that_left_the_window_do_not_count() -> None:
    history = CrashHistory()
    assert all(crash(history, n * 61).decision is Decision.RETRY for n in range(20))


def test_starts_that_never_answer_give_up_however_long_each_of_them_takes() -> None:
    history = CrashHistory()
    verdicts = [crash(history, n * 65, uptime=60, started=False, ending="did not answer") for n in range(5)]
    assert [v.decision for v in verdicts] == [Decision.RETRY] * 4 + [Decision.GIVE_UP]
    assert verdicts[-1].words == "did not answer five times in 360 s"


def test_a_slow_start_that_failed_is_no_healthy_time_but_one_that_then_ran_is() -> None:
    history = CrashHistory()
    crash(history, 0)
    assert crash(history, 100, uptime=100, started=False).delay == 1
    assert crash(history, 300, uptime=100).delay == 0


def test_a_healthy_time_as_long_as_the_window_resets_the_backoff() -> None:
    history = CrashHistory()
    crash(history, 0)
    crash(history, 1)
    assert crash(history, 70, uptime=65).delay == 0


def test_exit_zero_with_on_failure_is_done_and_with_always_is_restarted() -> None:
    quiet = {"failed": False, "ending": "exited 0"}
    assert crash(CrashHistory(), 0, RestartPolicy(policy="on-failure"), **quiet).decision is Decision.DONE
    assert crash(CrashHistory(), 0, RestartPolicy(policy="always"), **quiet).decision is Decision.RETRY


def test_never_neither_restarts_a_crash_nor_a_clean_exit() -> None:
    policy = RestartPolicy(policy="never")
    assert crash(CrashHistory(), 0, policy).decision is Decision.GIVE_UP
    assert crash(CrashHistory(), 0, policy, failed=False).decision is Decision.DONE


def test_max_restarts_zero_gives_up_at_the_first_crash() -> None:
    assert crash(CrashHistory(), 0, RestartPolicy(max_restarts=0)).decision is Decision.GIVE_UP


def test_jitter_moves_the_wait_by_at_most_a_tenth() -> None:
    for jitter, expected in ((1.0, 1.1), (-1.0, 0.9)):
        history = CrashHistory()
        crash(history, 0)
        assert abs(crash(history, 1, jitter=jitter).delay - expected) < 1e-9


def test_an_end_for_which_a_blocked_port_is_to_blame_waits_and_counts_only_after_the_minute_that_blocks_last() -> None:
    history = CrashHistory()
    policy = RestartPolicy(max_restarts=2)
    blocked = [crash(history, 1000 + n * 10, policy, blocked=True) for n in range(7)]
    assert {verdict.decision for verdict in blocked} == {Decision.RETRY}
    assert [verdict.delay for verdict in blocked] == [1, 2, 4, 8, 16, 32, 60]
    assert blocked[0].words == "exited 1; restarts in 1.0 s, not counted as a crash"
    later = [crash(history, 1075 + n, policy, blocked=True) for n in range(2)]
    assert [verdict.decision for verdict in later] == [Decision.RETRY, Decision.GIVE_UP]
    history.clear()
    assert crash(history, 2000, policy, blocked=True).delay == 1
