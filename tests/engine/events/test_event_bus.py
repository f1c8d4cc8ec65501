"""The in-process bus: what is published, in which order, and what a slow or a late reader gets."""

from __future__ import annotations

import asyncio
import json
from datetime import datetime
from typing import Any

import pytest

from hhtui.engine.events.bus import EventBus, current_correlation
from hhtui.model.event import EventType, Message


def numbers(messages: list[Message]) -> list[int]:
    return [message.event.data["n"] for message in messages if message.event is not None]


async def drain(subscription: Any) -> list[Message]:
    found = []
    while (message := subscription.take()) is not None:
        found.append(message)
    return found


@pytest.mark.parametrize(
    ("event_type", "source", "channels"),
    [
        (EventType.APP_STARTED, "cam", ("homehelper:events", "homehelper:apps:cam")),
        (EventType.CONFIG_CHANGED, "system", ("homehelper:events",)),
        (EventType.APP_DISCOVERED, "service_manager", ("homehelper:events",)),
        (EventType.HEALTH_CHECK, "cam", ("homehelper:health", "homehelper:events", "homehelper:apps:cam")),
        (EventType.METRICS, "system", ("homehelper:metrics",)),
        (EventType.LOG, "service_manager", ("homehelper:logs",)),
        (EventType.LOG, "cam", ("homehelper:logs", "homehelper:apps:cam")),
    ],
)
async def test_each_event_goes_to_the_channels_of_its_type_and_its_app(bus, event_type, source, channels):
    reader = bus.subscribe()
    bus.publish(event_type, source, {})
    assert (await anext(reader)).channels == channels


async def test_an_event_has_the_documented_form(bus):
    event = bus.publish(EventType.APP_STARTED, "cam", {"app_id": "cam", "port": 8100})
    document = json.loads(event.model_dump_json())
    assert list(document) == ["timestamp", "event_type", "source", "data", "metadata"]
    assert document["event_type"] == "app_started"
    assert document["timestamp"].endswith("Z")
    assert datetime.fromisoformat(document["timestamp"])
    assert document["metadata"]["version"] == "1.0.0"
    assert (document["metadata"]["host"], document["metadata"]["sequence"]) == ("pi", 1)
    assert len(document["metadata"]["correlation_id"]) == 36


async def test_all_events_of_one_action_share_its_correlation_even_in_child_tasks(bus):
    async def child() -> str:
        return bus.publish(EventType.APP_STARTED, "cam").metadata.correlation_id

    async def action() -> list[str]:
        current_correlation.set("one-action")
        return [bus.publish(EventType.APP_STARTING, "cam").metadata.correlation_id, await asyncio.create_task(child())]

    assert await asyncio.create_task(action()) == ["one-action", "one-action"]
    assert bus.publish(EventType.ERROR, "system").metadata.correlation_id != "one-action"
    assert bus.publish(EventType.ERROR, "system", correlation_id="given").metadata.correlation_id == "given"


async def test_data_that_is_no_json_is_published_as_what_json_can_hold(bus):
    loop: dict[str, Any] = {}
    loop["again"] = loop
    data = {
        "nan": float("nan"),
        "inf": float("inf"),
        "path": "/\udcff",
        5: {1, 2},
        "raw": b"x",
        "o": object(),
        "l": loop,
    }
    event = bus.publish(EventType.ERROR, "system", data)
    document = json.loads(event.model_dump_json())["data"]
    assert (document["nan"], document["inf"], document["path"], document["5"]) == (None, None, "/?", [1, 2])
    assert bus.recent()[-1].model_dump(mode="json")


async def test_changing_the_data_afterwards_changes_no_event(bus):
    data = {"list": [1]}
    event = bus.publish(EventType.ERROR, "system", data)
    data["list"].append(2)
    assert event.data == {"list": [1]}


async def test_a_slow_reader_loses_the_oldest_and_the_next_message_says_how_many(bus):
    reader = bus.subscribe(maxsize=3)
    for n in range(10):
        bus.publish(EventType.ERROR, "system", {"n": n})
    found = await drain(reader)
    assert numbers(found) == [7, 8, 9]
    assert [message.dropped for message in found] == [7, 0, 0]


async def test_a_late_reader_gets_what_came_after_its_last_id_and_then_the_live_ones(bus):
    for n in range(5):
        bus.publish(EventType.ERROR, "system", {"n": n})
    reader = bus.subscribe(after=f"{bus.epoch}-3")
    bus.publish(EventType.ERROR, "system", {"n": 5})
    found = await drain(reader)
    assert numbers(found) == [3, 4, 5]
    assert not reader.gap
    assert found[0].dropped == 0


@pytest.mark.parametrize("after", ["1-4", "rubbish", "", "-", "9" * 400, "x-²"])
async def test_a_reader_of_another_epoch_gets_everything_and_is_told_of_the_gap(bus, after):
    for n in range(3):
        bus.publish(EventType.ERROR, "system", {"n": n})
    reader = bus.subscribe(after=after)
    found = await drain(reader)
    assert numbers(found) == [0, 1, 2]
    assert reader.gap
    assert found[0].dropped >= 1


async def test_an_id_older_than_the_ring_gives_the_ring_and_the_exact_number_that_is_gone():
    bus = EventBus("pi", 7, capacity=4)
    for n in range(10):
        bus.publish(EventType.ERROR, "system", {"n": n})
    reader = bus.subscribe(after="7-2", maxsize=1)
    found = await drain(reader)
    assert numbers(found) == [6, 7, 8, 9]
    assert found[0].dropped == 4  # the ids 3, 4, 5 and 6
    assert bus.subscribe(after="7-6").gap is False


@pytest.mark.parametrize("after", ["0", "0-0"])
async def test_a_fresh_reader_of_everything_kept_is_told_of_no_gap(after):
    bus = EventBus("pi", 7, capacity=4)
    for n in range(10):
        bus.publish(EventType.METRICS if n % 2 else EventType.ERROR, "system", {"n": n})
    reader = bus.subscribe(after=after)
    found = await drain(reader)
    assert numbers(found) == [2, 4, 6, 8]
    assert [message.dropped for message in found] == [0, 0, 0, 0]
    assert not reader.gap


async def test_metrics_and_log_records_reach_live_readers_only(bus):
    live = bus.subscribe()
    bus.publish(EventType.METRICS, "system", {"n": 1})
    bus.publish(EventType.LOG, "system", {"n": 2})
    assert numbers(await drain(live)) == [1, 2]
    assert bus.recent() == []


async def test_a_pattern_chooses_by_any_of_the_channels(bus):
    reader = bus.subscribe("homehelper:apps:c*")
    for app in ("cam", "door", "clock"):
        bus.publish(EventType.APP_STARTED, app, {"n": app})
    assert numbers(await drain(reader)) == ["cam", "clock"]


async def test_a_closed_subscription_ends_its_reader_and_counts_no_longer(bus):
    reader = bus.subscribe()
    assert bus.watchers == 1
    waiting = asyncio.create_task(anext(reader, "ended"))
    await asyncio.sleep(0)
    reader.close()
    reader.close()
    assert await asyncio.wait_for(waiting, 30) == "ended"
    assert bus.watchers == 0


async def test_a_failing_listener_harms_nobody_and_is_logged_once(bus, caplog):
    heard: list[str] = []

    def broken(message: Message) -> None:
        raise RuntimeError("broken")

    bus.add_listener(broken)
    remove = bus.add_listener(lambda message: heard.append(message.id))
    bus.publish(EventType.ERROR, "system")
    bus.publish(EventType.ERROR, "system")
    assert len(heard) == 2
    assert len([record for record in caplog.records if record.exc_info]) == 1
    remove()
    remove()
    bus.publish(EventType.ERROR, "system")
    assert len(heard) == 2


async def test_a_listener_that_publishes_changes_nobodys_order(bus):
    seen: list[int] = []

    def chain(message: Message) -> None:
        n = message.event.data["n"]
        if n < 3:
            bus.publish(EventType.ERROR, "system", {"n": n + 1})

    bus.add_listener(chain)
    bus.add_listener(lambda message: seen.append(message.event.data["n"]))
    bus.publish(EventType.ERROR, "system", {"n": 0})
    assert seen == [0, 1, 2, 3]


async def test_after_a_reload_ids_and_sequence_go_on_and_the_replay_is_whole(bus):
    for n in range(3):
        bus.publish(EventType.ERROR, "system", {"n": n})
    bus.inject("homehelper:events:door", b'{"open": true}')
    bus.inject("homehelper:events:door", b"plain")
    state = json.loads(json.dumps(bus.state()))
    again = EventBus.restored("pi", state)
    reader = again.subscribe(after=f"{bus.epoch}-1")
    event = again.publish(EventType.ERROR, "system", {"n": 3})
    assert event.metadata.sequence == 4
    found = await drain(reader)
    assert [message.id for message in found] == [f"{bus.epoch}-{n}" for n in range(2, 7)]
    assert found[2].payload == {"open": True}
    assert found[3].text == "plain"
    assert not reader.gap


async def test_a_state_with_messages_of_an_unknown_form_restores_the_rest(bus):
    bus.publish(EventType.ERROR, "system", {"n": 0})
    state = bus.state()
    state["messages"] += [{"id": "x"}, 5, None]
    assert numbers(EventBus.restored("pi", state).recent()) == [0]
