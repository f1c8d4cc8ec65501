"""What other programs say: hostile forms, and floods that must cost neither memory nor the engine's own events."""

from __future__ import annotations

import asyncio
import json
import time
import tracemalloc

import pytest
from hypothesis import given, settings
from hypothesis import strategies as st

from hhtui.engine.bus.bus import EventBus
from hhtui.engine.bus.plain import MAX_FOREIGN, read_foreign
from hhtui.engine.bus.pubsub_parser import ProtocolError, PubSubParser
from hhtui.model.event import EventType, Message
from tests.bus.conftest import until


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


async def test_a_flood_is_sampled_counted_exactly_and_its_last_message_is_seen(bus):
    reader = bus.subscribe()
    for n in range(20_000):
        bus.inject("homehelper:events:spam", b'{"n": %d}' % n)
    seen: list[Message] = []
    total = 0

    def collect() -> bool:
        nonlocal total
        while (message := reader.take()) is not None:
            seen.append(message)
            total += 1 + message.dropped
        return total == 20_000

    await until(collect, "every message is either seen or counted", within=3)
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


async def test_a_flood_over_ever_new_channels_is_bounded_too(bus):
    started = time.perf_counter()
    for n in range(20_000):
        bus.inject(f"homehelper:events:{n}" + "x" * 500, b"spam")
    assert time.perf_counter() - started < 2
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


PATTERN = "homehelper:*"


def wire(channel: bytes, payload: bytes) -> bytes:
    parts = (b"pmessage", PATTERN.encode(), channel, payload)
    return b"*4\r\n" + b"".join(b"$%d\r\n%s\r\n" % (len(part), part) for part in parts)


PONG = b"*2\r\n$4\r\npong\r\n$0\r\n\r\n"
CONFIRMED = b"*3\r\n$10\r\npsubscribe\r\n$12\r\nhomehelper:*\r\n:1\r\n"


@pytest.mark.parametrize("step", [1, 2, 3, 7, 50, 10_000])
def test_messages_are_read_wherever_the_stream_is_cut(step):
    stream = (
        CONFIRMED + wire(b"homehelper:a", b"one\r\ntwo") + PONG + wire(b"homehelper:b", b"") + wire(b"c", b"*4\r\n")
    )
    parser = PubSubParser(PATTERN)
    found = []
    for start in range(0, len(stream), step):
        found += parser.feed(stream[start : start + step])
    assert found == [(b"homehelper:a", b"one\r\ntwo"), (b"homehelper:b", b""), (b"c", b"*4\r\n")]


@given(st.lists(st.tuples(st.binary(max_size=40), st.binary(max_size=60)), max_size=6), st.integers(1, 40))
@settings(max_examples=150, deadline=None)
def test_any_channels_and_payloads_come_through_any_chunks(messages, step):
    stream = b"".join(wire(*message) for message in messages)
    parser = PubSubParser(PATTERN)
    found = []
    for start in range(0, len(stream), step):
        found += parser.feed(stream[start : start + step])
    assert found == messages


def test_a_huge_message_is_cut_and_the_rest_skipped_without_being_held():
    parser = PubSubParser(PATTERN)
    head = wire(b"homehelper:big", b"")[: -len(b"$0\r\n\r\n")]
    found = parser.feed(head + b"$50000000\r\n")
    tracemalloc.start()
    for _ in range(500):
        found += parser.feed(b"x" * 100_000)
    _, peak = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    found += parser.feed(b"\r\n" + wire(b"homehelper:next", b"small"))
    assert [(channel, len(payload)) for channel, payload in found] == [
        (b"homehelper:big", MAX_FOREIGN + 1),
        (b"homehelper:next", 5),
    ]
    assert peak < 1_000_000


def test_a_huge_channel_name_is_cut_and_skipped_too():
    stream = wire(b"homehelper:" + b"x" * 300_000, b"payload") + wire(b"homehelper:next", b"small")
    parser = PubSubParser(PATTERN)
    found = []
    for start in range(0, len(stream), 5000):
        found += parser.feed(stream[start : start + 5000])
    assert [(len(channel), payload) for channel, payload in found] == [(512, b"payload"), (15, b"small")]


@pytest.mark.parametrize("rubbish", [b"HTTP/1.1 400 Bad Request\r\n", b"-ERR gone\r\n", b"*4\r\n$x\r\n", b"\0" * 2000])
def test_bytes_that_are_no_answer_end_the_connection(rubbish):
    with pytest.raises(ProtocolError):
        PubSubParser(PATTERN).feed(rubbish)
