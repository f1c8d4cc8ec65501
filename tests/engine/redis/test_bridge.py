"""The bridge on a configured server: what is published, kept and written anew, whatever the server does."""

from __future__ import annotations

import asyncio
import json
import shutil
import signal
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from contextlib import contextmanager

import pytest
import redis

from hhtui.engine.events.bus import EventBus
from hhtui.engine.redis.address import ServerAddress
from hhtui.engine.redis.bridge import Outbox, Outgoing
from hhtui.engine.redis.link import Link, LinkError
from hhtui.model.config import RedisConfig
from hhtui.model.event import EventType, Message
from hhtui.paths import Home, socket_address
from tests.engine.conftest import Server, configured, new_home, running
from tests.engine.homes import free_ports, until


@contextmanager
def listening(server: Server, pattern: str = "homehelper:*") -> Iterator[list[tuple[str, dict]]]:
    """Everything that a second program hears, gathered by ``hear()`` of the test's loop."""
    client = server.client()
    pubsub = client.pubsub(ignore_subscribe_messages=True)
    pubsub.psubscribe(pattern)
    pubsub.get_message(timeout=1)
    heard: list[tuple[str, dict]] = []

    class Heard(list):
        def hear(self) -> list:
            while (message := pubsub.get_message(timeout=0)) is not None:
                self.append((message["channel"].decode(), json.loads(message["data"])))
            return self

    yield Heard(heard)
    pubsub.close()
    client.close()


def sequences(heard: list[tuple[str, dict]], channel: str = "homehelper:events") -> list[int]:
    return [event["metadata"]["sequence"] for name, event in heard if name == channel]


def events(bus: EventBus, kind: EventType) -> list[Message]:
    return [message for message in bus.recent(limit=5000) if message.event and message.event.event_type is kind]


async def test_an_event_reaches_all_its_channels_and_the_stream_under_the_same_id(home, bus, server_at):
    server = server_at()
    with listening(server) as heard:
        async with running(home, configured(server.port), bus) as service:
            await until(lambda: service.status().connected, what="connected")
            event = bus.publish(EventType.HEALTH_CHECK, "cam", {"health": "good"})
            await until(lambda: len(heard.hear()) >= 4, what="four messages")
    assert [name for name, _ in heard[-3:]] == ["homehelper:health", "homehelper:events", "homehelper:apps:cam"]
    assert heard[-1][1] == json.loads(event.model_dump_json())
    stream = server.client().xrange("homehelper:stream:events")
    assert [entry.decode() for entry, _ in stream] == [message.id for message in bus.recent()]
    assert json.loads(stream[-1][1][b"event"]) == heard[-1][1]


async def test_own_events_do_not_come_back_and_foreign_ones_do(home, bus, server_at):
    server = server_at()
    async with running(home, configured(server.port), bus) as service:
        await until(lambda: service.status().connected, what="connected")
        for n in range(50):
            bus.publish(EventType.HEALTH_CHECK, "cam", {"n": n})
        client = server.client()
        twin = bus.recent()[-1].event.model_dump_json()
        client.publish("homehelper:events:door", '{"open": true}')
        client.publish("homehelper:apps:cam", b"\xff\x1b]52;c;x\x07")
        await until(lambda: len(server.client().xrange("homehelper:stream:events")) == 51, what="all events out")
        client.publish("homehelper:events", twin)
        await until(lambda: len([m for m in bus.recent() if m.event is None]) == 3, what="three foreign messages")
    foreign = [message for message in bus.recent() if message.event is None]
    assert (foreign[0].payload, foreign[0].text) == ({"open": True}, None)
    assert foreign[1].text == "\ufffd\x1b]52;c;x\x07"
    assert foreign[2].payload == json.loads(twin)


async def test_killed_five_times_under_load_nothing_is_lost_or_out_of_order_and_each_loss_is_told_once(
    home, bus, server_at
):
    server = server_at("--save", "", "--appendonly", "yes", "--appendfsync", "no")
    async with running(home, configured(server.port), bus) as service:
        await until(lambda: service.status().connected, what="connected")
        published = 0

        async def load() -> None:
            nonlocal published
            while True:
                published += 1
                bus.publish(EventType.APP_CHANGED, "system", {"n": published})
                await asyncio.sleep(0.004)

        task = asyncio.create_task(load())
        for _ in range(5):
            await asyncio.sleep(0.1)
            server.kill()
            await until(lambda: not service.status().connected, what="noticed")
            server.start()
            await until(lambda: service.status().connected, what="connected again")
        task.cancel()
        await until(lambda: service.status().buffered == 0, what="all sent")
        stream = [json.loads(fields[b"event"]) for _, fields in server.client().xrange("homehelper:stream:events")]
        numbers = [event["data"]["n"] for event in stream if event["event_type"] == "app_changed"]
    assert numbers == list(range(1, published + 1))
    assert service.status().dropped == 0
    assert len(events(bus, EventType.REDIS_LOST)) == 5
    assert len(events(bus, EventType.REDIS_CONNECTED)) == 6


async def test_while_redis_is_away_the_newest_1000_wait_and_come_in_order_with_the_gap_in_the_sequence(
    home, bus, server_at
):
    server = server_at()
    async with running(home, configured(server.port), bus) as service:
        await until(lambda: service.status().connected, what="connected")
        server.kill()
        await until(lambda: not service.status().connected, what="noticed")
        before = bus.publish(EventType.APP_CHANGED, "system", {}).metadata.sequence
        for _ in range(1500):
            last = bus.publish(EventType.APP_CHANGED, "system", {}).metadata.sequence
        assert service.status().buffered == 1000
        assert service.status().dropped > 0
        server.start()
        await until(lambda: service.status().connected and not service.status().buffered, what="all sent")
        stream = [json.loads(fields[b"event"]) for _, fields in server.client().xrange("homehelper:stream:events")]
    # Before them stands what the new server was given of the time before the loss.
    found = [number for event in stream if (number := event["metadata"]["sequence"]) >= before]
    assert found == list(range(found[0], found[-1] + 1))
    assert found[0] > before
    assert found[-1] >= last
    assert len(found) in (1000, 1001)


async def test_a_server_that_hangs_for_seconds_slows_no_publisher_and_loses_nothing(home, bus, server_at):
    server = server_at()
    async with running(home, configured(server.port), bus) as service:
        await until(lambda: service.status().connected, what="connected")
        server.signal(signal.SIGSTOP)
        deadline = time.monotonic() + 2.5
        count = 0
        while time.monotonic() < deadline:
            bus.publish(EventType.APP_CHANGED, "cam", {"n": count})
            count += 1
            await asyncio.sleep(0.005)
        assert not service.status().connected
        server.signal(signal.SIGCONT)
        await until(lambda: service.status().connected and not service.status().buffered, what="all sent")
        stream = [json.loads(fields[b"event"]) for _, fields in server.client().xrange("homehelper:stream:events")]
    # A publisher that waits for one answer, or a loop that does, would have got no further than two or three.
    assert count > 50
    found = [event["data"]["n"] for event in stream if event["event_type"] == "app_changed"]
    assert found == list(range(count))


async def test_after_a_flush_the_keys_are_there_again(home, bus, server_at):
    server = server_at()
    client = server.client()
    async with running(home, configured(server.port), bus) as service:
        service.set_keys("homehelper:apps:registry", lambda: {"cam": {"status": "running"}})
        service.set_keys("homehelper:system:metrics", lambda: {"cpu": 5}, 3600)
        await until(lambda: client.exists("homehelper:apps:registry", "homehelper:system:metrics") == 2, what="written")
        assert client.ttl("homehelper:apps:registry") == -1
        assert 3590 < client.ttl("homehelper:system:metrics") <= 3600
        client.flushall()
        await until(
            lambda: client.exists("homehelper:apps:registry", "homehelper:system:metrics") == 2, what="written anew"
        )


async def test_changes_of_a_key_are_written_together_and_a_reconnect_writes_all(home, bus, server_at):
    server = server_at()
    client = server.client()
    value = {"n": 0}
    async with running(home, configured(server.port), bus) as service:
        service.set_keys("homehelper:ports:allocated", lambda: value)
        await until(lambda: client.exists("homehelper:ports:allocated"), what="written")
        sets = client.info("commandstats")["cmdstat_set"]["calls"]
        for n in range(1, 500):
            value["n"] = n
            service.key_changed("homehelper:ports:allocated")
        await until(lambda: json.loads(client.get("homehelper:ports:allocated"))["n"] == 499, what="the newest value")
        assert client.info("commandstats")["cmdstat_set"]["calls"] == sets + 1
        server.kill()
        await until(lambda: not service.status().connected, what="noticed")
        server.start()
        await until(lambda: client.exists("homehelper:ports:allocated"), what="written after the reconnect")


async def test_a_family_of_keys_is_written_renewed_and_deleted_member_by_member(home, bus, server_at):
    server = server_at()
    client = server.client()
    health: dict[str, dict | None] = {"cam": {"health": "good"}, "door": {"health": "error"}}
    async with running(home, configured(server.port), bus) as service:
        service.set_keys("homehelper:health:*", lambda app_id: health[app_id], 1.2)
        service.key_changed("homehelper:health:cam")
        service.key_changed("homehelper:health:door")
        await until(lambda: client.exists("homehelper:health:cam", "homehelper:health:door") == 2, what="both written")
        await asyncio.sleep(1.5)
        assert client.exists("homehelper:health:cam") == 1, "a key with a TTL lives as long as the engine"
        health["cam"] = None
        service.key_changed("homehelper:health:cam")
        service.delete_key("homehelper:health:door")
        await until(lambda: client.exists("homehelper:health:cam", "homehelper:health:door") == 0, what="both deleted")


async def test_a_document_that_fails_or_is_no_json_harms_no_other_key(home, bus, server_at, caplog):
    server = server_at()
    client = server.client()
    async with running(home, configured(server.port), bus) as service:
        service.set_keys("homehelper:config", lambda: 1 / 0)
        service.set_keys("homehelper:odd", lambda: {"path": "/\udcff", "nan": float("nan"), "o": object})
        service.set_keys("homehelper:apps:registry", dict)
        await until(lambda: client.exists("homehelper:apps:registry"), what="the healthy key")
        assert json.loads(client.get("homehelper:odd"))["nan"] is None
    assert len([record for record in caplog.records if record.exc_info]) == 1


async def test_a_wrong_password_is_told_in_one_line_without_the_secret(home, bus, server_at):
    server = server_at("--requirepass", "the-right-one")
    config = configured(server.port, password="the-wrong/one")
    async with running(home, config, bus) as service:
        await until(lambda: events(bus, EventType.REDIS_LOST), what="the event")
        status = service.status()
        assert (status.connected, status.status, status.server) == (False, "disconnected", "configured")
        assert "WRONGPASS" in status.error
        server.client(password="the-right-one").config_set("requirepass", "the-wrong/one")
        await until(lambda: service.status().connected, what="connected once the password is right")
        assert service.status().error is None
    told = json.dumps([message.model_dump(mode="json") for message in bus.recent()]) + status.model_dump_json()
    assert "wrong/one" not in told
    assert "wrong%2Fone" not in told
    assert len(events(bus, EventType.REDIS_LOST)) == 1


async def test_no_password_where_one_is_wanted_says_which_key_to_set(home, bus, server_at):
    server = server_at("--requirepass", "secret")
    async with running(home, configured(server.port), bus) as service:
        assert "redis.password" in service.status().error


async def test_why_there_is_no_connection_is_read_from_the_error_not_from_its_words(tmp_path):
    async def close(_reader, writer):
        writer.close()

    folder = tmp_path / "Connection refused" / "No such file"
    folder.mkdir(parents=True)
    with socket.socket(socket.AF_UNIX) as left, socket_address(folder / "left.sock") as address:
        left.bind(address)
    async with await asyncio.start_server(close, "127.0.0.1", 0) as server:
        closing = server.sockets[0].getsockname()[1]
        for config, words in (
            (RedisConfig(unix_socket=str(folder / "none.sock")), "there is no such socket"),
            (RedisConfig(unix_socket=str(folder / "left.sock")), "no server listens there"),
            (RedisConfig(host="127.0.0.1", port=free_ports(1)), "no server listens there"),
            (RedisConfig(host="127.0.0.1", port=closing), "closed the connection"),
            (RedisConfig(host="no-such-host.invalid"), "no-such-host.invalid:6379: "),
        ):
            with pytest.raises(LinkError, match=words):
                await Link.open(ServerAddress.configured(config), timeout=5)


@pytest.mark.parametrize("form", ["parts", "url", "unix", "unix url"])
async def test_every_form_of_address_with_credentials_and_a_database_connects(home, bus, server_at, short_folder, form):
    socket = short_folder / "r.sock"
    server = server_at("--unixsocket", str(socket), "--requirepass", "p@ss/w:rd")
    quoted = "p%40ss%2Fw%3Ard"
    config = {
        "parts": {"host": "127.0.0.1", "port": server.port, "db": 3, "password": "p@ss/w:rd"},
        "url": {"url": f"redis://default:{quoted}@127.0.0.1:{server.port}/3"},
        "unix": {"unix_socket": str(socket), "db": 3, "password": "p@ss/w:rd"},
        "unix url": {"url": f"unix://:{quoted}@{socket}?db=3"},
    }[form]
    async with running(home, RedisConfig.model_validate({"embedded": "never", **config}), bus) as service:
        service.set_keys("homehelper:config", dict)
        client = server.client(password="p@ss/w:rd", db=3)
        await until(lambda: client.exists("homehelper:config"), what="the key in database 3")
        access = await service.access_for("cam")
        app = redis.Redis.from_url(access.url)
        assert app.get("homehelper:config") == b"{}"
        assert access.password == "p@ss/w:rd"
        assert "p@ss" not in repr(access) + service.explain() + service.status().model_dump_json()


async def test_a_full_server_refuses_keys_but_events_go_on_and_the_status_says_so(home, bus, server_at):
    server = server_at("--maxmemory-policy", "noeviction")
    client = server.client()
    with listening(server, "homehelper:events") as heard:
        async with running(home, configured(server.port), bus) as service:
            await until(lambda: service.status().connected, what="connected")
            client.config_set("maxmemory", "100kb")  # less than an empty server needs
            service.set_keys("homehelper:config", lambda: {"a": "x" * 10_000})
            bus.publish(EventType.APP_STARTED, "cam", {})
            await until(lambda: service.status().error, what="the refusal is told")
            status = service.status()
            assert status.connected
            assert "OOM" in status.error
            await until(lambda: len(heard.hear()) >= 2, what="the event is published")
            client.config_set("maxmemory", 0)
            await until(lambda: client.exists("homehelper:config"), what="written once there is room")
            await until(lambda: service.status().error is None, what="the status is clean again")


async def test_a_read_only_replica_is_told_and_does_not_stop_the_bridge(home, bus, server_at):
    server = server_at("--replicaof", "127.0.0.1", str(free_ports(1)))
    async with running(home, configured(server.port), bus) as service:
        service.set_keys("homehelper:config", dict)
        await until(lambda: "READONLY" in (service.status().error or ""), what="told")
        assert service.status().connected


async def test_a_server_busy_with_a_script_makes_events_wait_instead_of_losing_them(home, bus, server_at):
    server = server_at("--busy-reply-threshold", "50")
    async with running(home, configured(server.port), bus) as service:
        await until(lambda: service.status().connected, what="connected")
        busy = subprocess.Popen(
            [sys.executable, "-c", f"import redis; redis.Redis(port={server.port}).eval('while true do end', 0)"],
            stderr=subprocess.DEVNULL,
        )
        try:
            await until(lambda: not service.status().connected, what="busy noticed")
            last = bus.publish(EventType.APP_STARTED, "cam", {}).metadata.sequence
            server.client().script_kill()
            await until(lambda: service.status().connected and not service.status().buffered, what="sent")
        finally:
            busy.kill()
            busy.wait()
        stream = server.client().xrange("homehelper:stream:events")
        assert last in [json.loads(fields[b"event"])["metadata"]["sequence"] for _, fields in stream]


async def test_no_server_at_all_costs_nothing_and_is_told_once(home, bus):
    port = free_ports(1)
    async with running(home, configured(port), bus) as service:
        await asyncio.sleep(0.5)
        status = service.status()
        assert (status.status, status.connected, status.port) == ("disconnected", False, port)
        assert "no server listens" in status.error
        assert str(port) in service.explain()
    assert len(events(bus, EventType.REDIS_LOST)) == 1


async def test_the_configured_server_appearing_later_is_used(home, bus, server_at):
    server = server_at()
    server.kill()
    async with running(home, configured(server.port), bus) as service:
        assert not service.status().connected
        bus.publish(EventType.APP_STARTED, "cam", {"early": True})
        server.start()
        await until(lambda: service.status().connected and not service.status().buffered, what="connected")
        assert "is used" in service.status().why
        assert "refused" not in service.explain()
        assert b"early" in b"".join(f[b"event"] for _, f in server.client().xrange("homehelper:stream:events"))


async def test_a_stream_whose_ids_are_already_higher_is_still_appended_to(home, server_at):
    server = server_at()
    server.client().xadd("homehelper:stream:events", {"event": "{}"}, id="9999999999999-5")
    bus = EventBus("pi", 7)
    async with running(home, configured(server.port), bus):
        bus.publish(EventType.APP_STARTED, "cam", {})
        await until(lambda: len(server.client().xrange("homehelper:stream:events")) == 3, what="appended")


async def test_somebody_raising_the_streams_ids_meanwhile_loses_no_event(home, server_at):
    server = server_at()
    bus = EventBus("pi", 7)
    async with running(home, configured(server.port), bus) as service:
        await until(lambda: service.status().connected and not service.status().buffered, what="connected")
        server.client().xadd("homehelper:stream:events", {"event": '{"data": {}}'}, id="9999999999999-5")
        for n in range(20):
            bus.publish(EventType.APP_STARTED, "cam", {"n": n})
        await until(lambda: len(server.client().xrange("homehelper:stream:events")) == 22, what="appended")
        stream = [json.loads(fields[b"event"]) for _, fields in server.client().xrange("homehelper:stream:events")]
        assert [event["data"]["n"] for event in stream[2:]] == list(range(20))


async def test_two_engines_on_one_server_see_each_others_events_as_foreign(tmp_path, server_at):
    server = server_at()
    one, two = EventBus("pi", 7), EventBus("pi", 7)
    config = configured(server.port)
    async with running(new_home(tmp_path / "1"), config, one) as a, running(new_home(tmp_path / "2"), config, two) as b:
        await until(lambda: a.status().connected and b.status().connected, what="both connected")
        one.publish(EventType.APP_STARTED, "cam", {"from": "one"})

        def arrived() -> bool:
            payloads = [message.payload for message in two.recent() if message.payload]
            return any(payload["data"].get("from") == "one" for payload in payloads)

        await until(arrived, what="seen by the other")


async def test_what_is_left_is_delivered_at_the_end(home, bus, server_at):
    server = server_at()
    async with running(home, configured(server.port), bus) as service:
        await until(lambda: service.status().connected, what="connected")
        for n in range(300):
            bus.publish(EventType.ENGINE_STOPPING, "system", {"n": n})
    assert len(server.client().xrange("homehelper:stream:events")) == 301


async def test_what_waited_for_redis_is_sent_after_a_reload_in_place(tmp_path, server_at):
    server = server_at("--save", "", "--appendonly", "yes")
    bus, config = EventBus("pi", 7), configured(server.port)
    async with running(new_home(tmp_path / "home"), config, bus) as service:
        await until(lambda: service.status().connected, what="connected")
        bus.publish(EventType.APP_STARTED, "cam", {"n": 1})
        await until(lambda: not service.status().buffered, what="sent")
        server.kill()
        await until(lambda: not service.status().connected, what="noticed")
        bus.publish(EventType.APP_CRASHED, "cam", {"n": 2})
    server.start()
    again = EventBus.restored("pi", bus.state())
    async with running(Home.at(tmp_path / "home", environ={}), config, again) as service:
        again.publish(EventType.APP_STARTED, "cam", {"n": 3})
        await until(lambda: service.status().connected and not service.status().buffered, what="all sent")
        entries = server.client().xrange("homehelper:stream:events")
    assert [entry.decode() for entry, _ in entries] == [f"7-{n}" for n in range(1, len(entries) + 1)]
    own = [json.loads(fields[b"event"])["data"].get("n") for _, fields in entries]
    assert [n for n in own if n] == [1, 2, 3]


async def test_a_tls_server_is_reached_by_rediss_and_only_with_the_right_certificate(home, bus, server_at, tmp_path):
    if shutil.which("openssl") is None:
        pytest.skip("openssl makes the certificate")
    command = (
        "openssl req -x509 -newkey rsa:2048 -nodes -days 2 -subj /CN=localhost -addext subjectAltName=DNS:localhost"
    )
    subprocess.run(
        [*command.split(), "-keyout", "key.pem", "-out", "cert.pem"], cwd=tmp_path, check=True, capture_output=True
    )
    port = free_ports(1)
    files = ("--tls-cert-file", str(tmp_path / "cert.pem"), "--tls-key-file", str(tmp_path / "key.pem"))
    try:
        server_at("--tls-port", str(port), *files, "--tls-auth-clients", "no")
    except pytest.fail.Exception:
        pytest.skip("this server is built without TLS")
    url = f"rediss://localhost:{port}/0?ssl_ca_certs={tmp_path / 'cert.pem'}"
    async with running(home, RedisConfig.model_validate({"embedded": "never", "url": url}), bus) as service:
        await until(lambda: service.status().connected, what="connected over TLS")
    stranger = RedisConfig.model_validate({"embedded": "never", "url": f"rediss://localhost:{port}/0"})
    async with running(home, stranger, EventBus("pi", 2)) as service:
        await until(lambda: "CERTIFICATE_VERIFY_FAILED" in (service.status().error or ""), what="the reason")
        assert "\n" not in service.explain()


_FLOODER = """
import socket, sys, time
s = socket.create_connection(("127.0.0.1", int(sys.argv[1])))
payload = b'{"a": 1, "text": "' + b"x" * 60 + b'"}'
one = b"*3\\r\\n$7\\r\\nPUBLISH\\r\\n$22\\r\\nhomehelper:events:spam\\r\\n$%d\\r\\n%s\\r\\n" % (len(payload), payload)
sent, start = 0, time.monotonic()
while sent < int(sys.argv[2]):
    s.sendall(one * 20)
    sent += 20
    got = 0
    while got < 80:
        got += len(s.recv(65536))
    ahead = start + sent / 10000 - time.monotonic()
    if ahead > 0:
        time.sleep(ahead)
"""


async def test_a_flood_of_10000_a_second_is_counted_exactly(home, bus, server_at):
    server = server_at()
    async with running(home, configured(server.port), bus) as service:
        await until(lambda: service.status().connected, what="connected")
        reader = bus.subscribe("homehelper:events:spam", maxsize=5000)
        flood = subprocess.Popen([sys.executable, "-c", _FLOODER, str(server.port), "20000"])
        own = 0
        total = 0

        def count() -> int:
            nonlocal total
            while (message := reader.take()) is not None:
                total += 1 + message.dropped
            return total

        while flood.poll() is None:
            bus.publish(EventType.APP_CHANGED, "cam", {"n": own})
            own += 1
            count()
            await asyncio.sleep(0.02)
        await until(lambda: count() == 20_000, what="every message is seen or counted")
        await until(lambda: service.status().buffered == 0, what="own events out")
        assert service.status().connected
        assert service.status().dropped == 0
    assert len([m for m in bus.recent(limit=5000) if m.event and m.event.event_type is EventType.APP_CHANGED]) == own


def test_of_metrics_only_the_newest_waits():
    bus = EventBus("pi", 1)
    outbox = Outbox(capacity=10)
    bus.add_listener(lambda message: outbox.add(Outgoing.of(message)))
    for n in range(50):
        bus.publish(EventType.METRICS, "system", {"n": n})
        if n % 10 == 0:
            bus.publish(EventType.APP_CRASHED, "cam", {"n": n})
    events = [json.loads(event.raw) for event in outbox.take(100)]
    waiting = [(event["event_type"], event["data"]["n"]) for event in events]
    assert waiting == [("app_crashed", n) for n in (0, 10, 20, 30, 40)] + [("metrics", 49)]
    assert outbox.dropped == 49
    outbox.unsent()
    assert len(outbox) == 6
