"""Filters of the event stream."""

from __future__ import annotations

import pytest

from hhtui.client import records
from hhtui.tui.events.filter import parse
from tests.tui import fake

CRASH = records.message_of(fake.event(1, "app_crashed", "thermo", correlation_id="abc-1", reason="exited 1"))
FOREIGN = records.message_of(fake.foreign(2, "homehelper:events:door", {"who": "postman", "source": 7}))


@pytest.mark.parametrize(
    ("text", "crash", "foreign"),
    [
        ("", True, True),
        ("type:app_crashed", True, False),
        ("type:crashed", True, False),
        ("type:app_started type:app_crashed", True, False),
        ("type:app_started app:thermo", False, False),
        ("app:THER*", True, False),
        ("app:ther", False, False),
        ("channel:homehelper:events:*", False, True),
        ("id:abc-1", True, False),
        ("exited thermo", True, False),
        ("postman", False, True),
        ("app:", True, True),
        ("12:30", False, False),
        ("type:[", False, False),
    ],
)
def test_fields_and_words_choose_messages(text: str, crash: bool, foreign: bool) -> None:
    assert (parse(text).passes(CRASH), parse(text).passes(FOREIGN)) == (crash, foreign)
