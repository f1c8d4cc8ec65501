"""The event stream: nothing missed, nothing doubled, ended when it must."""

from __future__ import annotations

import asyncio
import contextlib
import json
import time
from collections.abc import AsyncIterator
from typing import Any, cast

from hhtui.client.link import EngineLink, LinkState
from hhtui.engine.api.server import ApiServer
from hhtui.engine.api.stream import EventStream, OpenStreams
from hhtui.model.event import EventType, Message
from tests.engine.api.bare_http import Answer, connect, whole
from tests.engine.api.conftest import Served
from tests.engine.homes import until


@contextlib.asynccontextmanager
async def reading(served: Served, request: str) -> AsyncIterator[asyncio.StreamReader]:
    """An open stream, its head read."""
    reader, writer = await connect(served.socket)
    writer.write(whole(request))
    head = await asyncio.wait_for(reader.readuntil(b"\r\n\r\n"), 30)
    assert b"text/event-stream" in head.lower()
    try:
        yield reader
    finally:
        writer.close()


async def next_message(reader: asyncio.StreamReader) -> dict[str, str]:
    """The fields of the next message; comments and the retry time are skipped."""
    while True:
        block = (await asyncio.wait_for(reader.readuntil(b"\n\n"), 30)).decode().strip()
        fields = dict(line.split(": ", 1) for line in block.split("\n") if not line.startswith(":"))
        if "data" in fields:
            return fields


def messages(answer: Answer) -> list[dict[str, Any]]:
    return [json.loads(line[6:]) for line in answer.body.decode().split("\n") if line.startswith("data: ")]


def numbers_of(found: list[dict[str, Any]]) -> list[int]:
    """The numbers that ``publish`` gave; the engine has events of its own in between."""
    return [message["event"]["data"]["number"] for message in found if "number" in message["event"]["data"]]


def publish(served: Served, number: int) -> None:
    served.engine.bus.publish(EventType.ERROR, "web", {"number": number})


async def test_a_message_has_its_id_its_type_and_the_event(served: Served) -> None:
    async with reading(served, "GET /api/v1/events?channel=homehelper:apps:web") as reader:
        publish(served, 7)
        fields = await next_message(reader)
    message = Message.model_validate_json(fields["data"])
    assert fields["id"] == message.id
    assert fields["event"] == "error"
    assert message.event is not None
    assert message.event.data == {"number": 7}
    assert message.channels == ("homehelper:events", "homehelper:apps:web")


async def test_a_foreign_message_is_called_message(served: Served) -> None:
    async with reading(served, "GET /api/v1/events?channel=homehelper:events:*") as reader:
        served.engine.bus.inject("homehelper:events:own", b'{"a": "line\\nbreak"}')
        fields = await next_message(reader)
    assert fields["event"] == "message"
    assert json.loads(fields["data"])["payload"] == {"a": "line\nbreak"}


async def test_last_event_id_resumes_without_gap_or_doubling(served: Served) -> None:
    for number in range(5):
        publish(served, number)
    kept = messages(await served.ask("GET /api/v1/events?follow=0"))
    third = next(message["id"] for message in kept if message["event"]["data"].get("number") == 2)
    for request in (
        f"GET /api/v1/events?follow=0\nLast-Event-ID: {third}",
        f"GET /api/v1/events?follow=0&after={third}",
    ):
        resumed = messages(await served.ask(request))
        assert numbers_of(resumed) == [3, 4]
        assert all(message["dropped"] == 0 for message in resumed)


async def test_an_id_of_an_engine_before_replays_all_and_tells_the_gap(served: Served) -> None:
    publish(served, 1)
    resumed = messages(await served.ask("GET /api/v1/events?follow=0&after=12345-9"))
    assert resumed[0]["dropped"] >= 1
    assert numbers_of(resumed) == [1]


async def test_a_fresh_reader_of_everything_kept_is_told_of_no_gap(served: Served) -> None:
    publish(served, 1)
    for request in ("follow=0", "follow=0&after=0", "follow=0&after=0-0"):
        found = messages(await served.ask(f"GET /api/v1/events?{request}"))
        assert numbers_of(found) == [1]
        assert all(message["dropped"] == 0 for message in found)


async def test_a_channel_glob_leaves_out_the_rest(served: Served) -> None:
    served.engine.bus.publish(EventType.ERROR, "secretive", {})
    publish(served, 1)
    found = messages(await served.ask("GET /api/v1/events?follow=0&channel=homehelper:apps:w*"))
    assert found
    assert {message["event"]["source"] for message in found} == {"web"}


async def test_a_watching_stream_brings_metrics_and_a_closed_one_stops_them(served: Served) -> None:
    assert served.engine.bus.watchers == 0
    async with reading(served, "GET /api/v1/events?watch=1&channel=homehelper:metrics") as reader:
        fields = await next_message(reader)
        assert fields["event"] == "metrics"
        assert "hardware" in json.loads(fields["data"])["event"]["data"]
        assert served.engine.bus.watchers == 1
        assert served.engine.sampler.watchers == 1
    await until(lambda: served.engine.bus.watchers == 0)
    await until(lambda: served.engine.sampler.watchers == 0)


async def test_a_client_that_leaves_frees_its_subscription(served: Served) -> None:
    for _ in range(5):
        async with reading(served, "GET /api/v1/events"):
            assert served.engine.bus.watchers == 1
        await until(lambda: served.engine.bus.watchers == 0)


async def test_a_client_that_does_not_read_costs_nothing_but_its_own_messages(served: Served) -> None:
    async with reading(served, "GET /api/v1/events?channel=homehelper:apps:web") as slow:
        for number in range(3000):
            served.engine.bus.publish(EventType.ERROR, "web", {"number": number, "filler": "x" * 2000})
            if number % 100 == 0:
                await asyncio.sleep(0)
        assert (await served.link.health())["pid"]
        first = json.loads((await next_message(slow))["data"])
        numbers, dropped = [first["event"]["data"]["number"]], first["dropped"]
        while numbers[-1] < 2999:
            message = json.loads((await next_message(slow))["data"])
            numbers.append(message["event"]["data"]["number"])
            dropped += message["dropped"]
    assert dropped > 0
    assert len(numbers) + dropped == 3000
    assert numbers == sorted(set(numbers))


async def test_readers_of_everything_kept_that_do_not_read_cost_little_and_hold_nobody_up(served: Served) -> None:
    for number in range(2100):
        served.engine.bus.publish(EventType.ERROR, "web", {"number": number, "filler": "x" * 500})
    writers = []
    for _ in range(64):
        _, writer = await connect(served.socket)
        cast(asyncio.ReadTransport, writer.transport).pause_reading()
        writer.write(whole("GET /api/v1/events?after=0"))
        writers.append(writer)
    await until(lambda: served.engine.bus.watchers == 64)
    began, busy = time.monotonic(), time.process_time()
    assert (await served.link.health())["pid"]
    assert time.monotonic() - began < 10
    refused = await served.ask("GET /api/v1/events?after=0")
    assert (refused.status, refused.json["error"]) == (503, "busy")
    # What nobody reads is not made: all of it would take some 100 ms for each of them.
    assert time.process_time() - busy < 2
    writers.pop().close()
    await until(lambda: served.engine.bus.watchers == 63)
    found = messages(await served.ask("GET /api/v1/events?after=0&follow=0"))
    assert numbers_of(found)[-1] == 2099
    assert len(found) >= 2000
    for writer in writers:
        writer.close()


async def test_what_is_pushed_out_while_it_is_replayed_is_told_as_missing(served: Served) -> None:
    bus = served.engine.bus
    for number in range(2000):
        publish(served, number)
    with bus.subscribe("homehelper:apps:web", after="0") as reader:
        found = [message for _ in range(100) if (message := reader.take())]
        for number in range(2000, 3000):
            publish(served, number)
        while (message := reader.take()) is not None:
            found.append(message)
    numbers = [message.event.data["number"] for message in found if message.event]
    assert numbers == sorted(set(numbers))
    assert numbers[-1] == 2999
    missing = sum(message.dropped for message in found)
    assert missing > 0
    assert len(numbers) + missing >= 3000 - numbers[0]


async def test_head_of_the_stream_ends_at_once(served: Served) -> None:
    answer = await served.ask("HEAD /api/v1/events")
    assert (answer.status, answer.body) == (200, b"")


async def test_a_silent_stream_is_kept_alive_by_pings(served: Served) -> None:
    sent: list[bytes] = []

    async def send(message: Any) -> None:
        sent.append(message.get("body", b""))

    async def receive() -> dict[str, str]:
        await until(lambda: sent.count(b": ping\n\n") >= 2)
        return {"type": "http.disconnect"}

    stream = EventStream(served.engine.bus.subscribe, None, OpenStreams(1), ping_seconds=0.02)
    await asyncio.wait_for(stream({"type": "http", "method": "GET"}, receive, send), 30)
    assert sent[-1] == b""
    assert served.engine.bus.watchers == 0


async def test_the_links_stream_resumes_when_the_server_comes_back(served: Served) -> None:
    states: list[LinkState] = []
    numbers: list[int] = []

    async def follow() -> None:
        link = EngineLink(served.socket)
        async for message in link.events(on_state=lambda state, _: states.append(state)):
            number = message["event"]["data"].get("number")
            if number is not None:
                numbers.append(number)

    task = asyncio.create_task(follow())
    await until(lambda: LinkState.CONNECTED in states)
    publish(served, 1)
    await until(lambda: numbers == [1])
    await served.engine.server.stop()
    await until(lambda: states[-1] is LinkState.LOST)
    publish(served, 2)
    served.engine.server = ApiServer(served.engine.api_parts(), served.socket, host="127.0.0.1", port=0)
    await served.engine.server.start()
    await until(lambda: numbers == [1, 2])
    publish(served, 3)
    await until(lambda: numbers == [1, 2, 3])
    assert states == [LinkState.CONNECTING, LinkState.CONNECTED, LinkState.LOST, LinkState.CONNECTED]
    task.cancel()
    with contextlib.suppress(asyncio.CancelledError):
        await task
    await until(lambda: served.engine.bus.watchers == 0)
