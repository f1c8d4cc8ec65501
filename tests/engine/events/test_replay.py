"""What is kept of an event gives back the message that was delivered."""

from __future__ import annotations

from typing import Any

from hypothesis import given
from hypothesis import strategies as st

from hhtui.engine.events.bus import EventBus
from hhtui.engine.events.replay import keep
from hhtui.model.event import EventType, Message

JSON = st.recursive(
    st.none() | st.booleans() | st.integers(-(2**70), 2**70) | st.floats() | st.text(max_size=9),
    lambda inner: st.lists(inner, max_size=3) | st.dictionaries(st.text(max_size=5), inner, max_size=3),
    max_leaves=8,
)


@given(data=st.dictionaries(st.text(max_size=9), JSON, max_size=4), source=st.sampled_from(["lamp", "system"]))
def test_a_kept_event_is_the_one_that_was_delivered(data: dict[str, Any], source: str) -> None:
    bus = EventBus("pi", 7)
    delivered: list[Message] = []
    bus.add_listener(delivered.append)
    bus.publish(EventType.APP_CRASHED, source, data)
    (message,) = delivered
    assert message.event is not None
    again = keep(message, message.event).message()
    assert again.model_dump_json() == message.model_dump_json()
    assert bus.recent() == [again]
