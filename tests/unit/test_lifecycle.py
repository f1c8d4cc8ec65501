"""The table is total, and reaches what it must."""

from __future__ import annotations

import itertools

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hhtui.engine.lifecycle import IGNORED, TRANSITIONS, Action, Trigger, advance, state_diagram
from hhtui.model.app import Status


@pytest.mark.parametrize(("status", "trigger"), itertools.product(Status, Trigger))
def test_every_pair_of_status_and_trigger_is_decided_exactly_once(status: Status, trigger: Trigger) -> None:
    assert ((status, trigger) in TRANSITIONS) != (trigger in IGNORED[status])


def test_every_status_can_be_reached_from_discovered() -> None:
    reached = {Status.DISCOVERED}
    while True:
        further = {t.status for (s, _), t in TRANSITIONS.items() if s in reached} - reached
        if not further:
            break
        reached |= further
    assert reached == set(Status)


@given(st.lists(st.sampled_from(list(Trigger)), max_size=60))
@settings(max_examples=300, deadline=None)
def test_no_sequence_of_triggers_spawns_a_second_process_of_one_app(triggers: list[Trigger]) -> None:
    status = Status.DISCOVERED
    processes = 0
    for trigger in triggers:
        if (
            trigger in (Trigger.READY, Trigger.EXITED_RETRY, Trigger.EXITED_DONE, Trigger.EXITED_GIVE_UP)
            and not processes
        ):
            continue  # only a living process can cause these
        if trigger is Trigger.STUCK:
            continue  # what is left alive is refused by the spawn itself, which names it
        if trigger is Trigger.DEPENDENCIES_READY and processes:
            continue  # said once a start, before the spawn
        if trigger in (Trigger.SPAWN_FAILED, Trigger.DEPENDENCY_FAILED) and processes:
            continue
        transition = advance(status, trigger)
        if transition is None:
            continue
        if trigger.value.startswith(("exited_", "gone_")):
            processes = 0
        status = transition.status
        for action in transition.actions:
            if action is Action.SPAWN or (action is Action.WATCH and trigger.value.startswith("adopted")):
                assert processes == 0
                processes = 1
        if status in (Status.STOPPED, Status.WAITING, Status.BACKOFF, Status.INSTALLING, Status.INVALID):
            assert processes == 0


def test_a_stopping_app_leaves_stopping_only_when_its_tree_is_gone_or_stuck() -> None:
    ends = {trigger for (status, trigger) in TRANSITIONS if status is Status.STOPPING}
    assert ends == {t for t in Trigger if t.value.startswith("gone_")} | {Trigger.STUCK}


def test_the_diagram_names_every_status() -> None:
    diagram = state_diagram()
    assert all(status.value in diagram for status in Status)
