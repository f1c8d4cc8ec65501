"""What other programs say: hostile forms, and floods that must cost neither memory nor the engine's own events."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hhtui.engine.events.bus import EventBus
from hhtui.engine.events.foreign_messages import MAX_FOREIGN, read_foreign
from hhtui.model.event import EventType, Message
from tests.engine.conftest import configured, running
from tests.engine.homes import until


@pytest.mark.parametrize(
    "raw",
    [
        b"[1, 2]",
        b'"text"',
        b"{",
        b"",
        b"\xff\xfe",
        b'{"a": NaN}',
        b'{"a": Infinity}',
        b'{"a": "\\ud800"}',
        b'{"a": ' + b"9" * 5000 + b"}",
        b'{"a":' * 5000 + b"1" + b"}" * 5000,
        b"[" * 100_000,
        b'{"a": "' + b"x" * MAX_FOREIGN + b'"}',
    ],
    ids=lambda raw: raw[:16].decode("latin-1"),
)
def test_what_is_no_json_object_of_at_most_64_kib_is_text_cut_there(raw):
    payload, text = read_foreign(raw)
    assert payload is None
    assert text == raw[:MAX_FOREIGN].decode("utf-8", "replace")


@pytest.mark.parametrize("depth", [1, 50, 199])
def test_a_deep_json_object_can_be_written_again(depth):
    payload, _ = read_foreign(b'{"a":' * depth + b"1" + b"}" * depth)
    message = Message(id="1-1", channels=("x",), received_at="2026-01-01T00:00:00Z", payload=payload)
    assert json.loads(message.model_dump_json())["payload"] == payload
    assert message.model_dump(mode="json")["payload"] == payload


@given(st.binary(max_size=300))
@settings(max_examples=200, deadline=None)
def test_no_bytes_make_the_reader_fail(raw):
    payload, text = read_foreign(raw)
    assert (payload is None) != (text is None)
    Message(id="1-1", channels=("x",), received_at="2026-01-01T00:00:00Z", payload=payload, text=text).model_dump_json()


async def test_a_flood_is_sampled_counted_exactly_and_its_last_message_is_seen():
    now = 0.0
    bus = EventBus("pi", 1, clock=lambda: now)
    reader = bus.subscribe()
    for n in range(20_000):
        now += 1 / 100_000
        bus.inject("homehelper:events:spam", b'{"n": %d}' % n)
    seen: list[Message] = []
    total = 0

    def collect() -> bool:
        nonlocal now, total
        now += 0.01
        while (message := reader.take()) is not None:
            seen.append(message)
            total += 1 + message.dropped
        return total == 20_000

    await until(collect, what="every message is either seen or counted")
    assert len(seen) <= 60
    assert seen[-1].payload == {"n": 19_999}
    assert [m.payload["n"] for m in seen] == sorted(m.payload["n"] for m in seen)


async def test_a_flood_leaves_the_engines_events_and_quiet_channels_alone(bus):
    reader = bus.subscribe(maxsize=5000)
    for n in range(50):
        for _ in range(400):
            bus.inject("homehelper:events:spam", b"spam")
        bus.publish(EventType.ERROR, "system", {"n": n})
        if n % 10 == 0:
            bus.inject("homehelper:events:door", b"open")
        await asyncio.sleep(0.002)
    found = []
    while (message := reader.take()) is not None:
        found.append(message)
    assert [m.event.data["n"] for m in found if m.event] == list(range(50))
    assert sum(m.channels == ("homehelper:events:door",) for m in found) == 5
    assert len(bus.recent(limit=10_000)) < 250


async def test_a_flood_over_ever_new_channels_is_bounded_too():
    now = 0.0
    bus = EventBus("pi", 1, clock=lambda: now)
    started = time.process_time()
    for n in range(20_000):
        now += 1 / 100_000
        bus.inject(f"homehelper:events:{n}" + "x" * 500, b"spam")
    assert time.process_time() - started < 2
    assert len(bus.recent(limit=10_000)) <= 110
    assert max(len(message.channels[0]) for message in bus.recent()) <= 256


async def test_large_messages_cost_bounded_memory_however_many_come():
    now = 0.0
    bus = EventBus("pi", 1, clock=lambda: now)
    hanging = bus.subscribe()
    raw = b'{"a": [' + b"[]," * 20_000 + b"[]]}"
    tracemalloc.start()
    for _ in range(40):
        now += 0.1
        bus.inject("homehelper:events:big", raw)
        bus.inject("homehelper:events:text", b"\xf0\x9f\x98\x80" * 16_384)
    used, _ = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert used < 16_000_000
    assert hanging.take().dropped > 0


async def test_messages_of_any_form_and_size_arrive_over_redis(home, bus, server_at):
    server = server_at()
    async with running(home, configured(server.port), bus) as service:
        await until(lambda: service.status().connected, what="connected")
        client = server.client()
        sent = [
            ("homehelper:events:a", b"one\r\ntwo"),
            ("homehelper:events:b", b""),
            ("homehelper:" + "x" * 2000, b"*4\r\n"),
            ("homehelper:events:\x1b[31m", b"\xff\x00"),
            ("homehelper:events:big", b'"' + b"y" * 5_000_000 + b'"'),
            ("homehelper:events:last", b'{"n": 1}'),
        ]
        for channel, payload in sent:
            client.publish(channel, payload)
        await until(lambda: bus.foreign_count == len(sent), what="all of them")
        await until(lambda: len([m for m in bus.recent() if m.event is None]) == len(sent), what="all of them kept")
        assert service.status().connected
    found = [message for message in bus.recent() if message.event is None]
    assert [message.channels[0] for message in found] == [channel[:256] for channel, _ in sent]
    assert found[0].text == "one\r\ntwo"
    assert found[4].text is not None
    assert len(found[4].text) < 70_000
    assert found[5].payload == {"n": 1}


async def test_events_of_the_successors_apps_are_heard_beside_ours(home, bus, server_at):
    server = server_at()
    async with running(home, configured(server.port), bus) as service:
        await until(lambda: service.status().connected, what="connected")
        client = server.client()
        for channel in ("latarnia:events:door.opened", "latarnia:apps:x", "latarnia:x", "homehelper:events:bell"):
            client.publish(channel, '{"n": 1}')
        await until(lambda: "homehelper:events:bell" in heard_by(bus), what="the last one is heard")
        assert heard_by(bus) == {"latarnia:events:door.opened", "homehelper:events:bell"}
        # Heard again after the server has cut the subscription off, too.
        client.execute_command("CLIENT", "KILL", "TYPE", "pubsub")

        def heard_again() -> bool:
            client.publish("latarnia:events:door.closed", "{}")
            return "latarnia:events:door.closed" in heard_by(bus)

        await until(heard_again, what="heard again")


async def test_a_user_that_may_not_hear_the_successors_apps_hears_the_others(home, bus, server_at):
    server = server_at()
    client = server.client()
    client.execute_command("ACL", "SETUSER", "ours", "on", ">pw", "~*", "resetchannels", "&homehelper:*", "+@all")
    async with running(home, configured(server.port, username="ours", password="pw"), bus) as service:
        await until(lambda: service.status().connected, what="connected")
        client.publish("latarnia:events:door.opened", "{}")
        client.publish("homehelper:events:bell", "{}")
        await until(lambda: "homehelper:events:bell" in heard_by(bus), what="heard")
        assert heard_by(bus) == {"homehelper:events:bell"}
        assert service.status().connected


def heard_by(bus: EventBus) -> set[str]:
    return {channel for message in bus.recent(limit=5000) if message.event is None for channel in message.channels}
