"""What an app may do on the private server, and what not: asked of every server that this machine has."""

from __future__ import annotations

import asyncio
import json
from collections.abc import AsyncIterator, Callable

import pytest
import redis
from redis.exceptions import NoPermissionError

from hhtui.engine.redis.acl import app_rules
from hhtui.engine.redis.service import RedisService
from hhtui.model.event import EventType
from hhtui.model.redis import RedisGrants
from tests.engine.conftest import configured, end, impatient, running
from tests.engine.homes import until
from tests.engine.redis.test_private_server import nowhere, server_pid


@pytest.fixture
async def service(home, bus, each_server) -> AsyncIterator[RedisService]:
    async with running(home, nowhere(), bus, [each_server]) as service:
        service.set_keys("homehelper:apps:registry", lambda: {"cam": {}})
        await until(lambda: service.status().connected, what="connected")
        yield service


async def client_of(service: RedisService, app_id: str, redis_keys: list[str] | None = None, **more) -> redis.Redis:
    access = await service.access_for(app_id, RedisGrants(tuple(redis_keys or ())))
    return redis.Redis.from_url(access.url, socket_timeout=5, **more)


ALLOWED: list[Callable[[redis.Redis], object]] = [
    lambda app: app.set("cam:a", 1),
    lambda app: app.get("cam:a"),
    lambda app: app.mget("cam:a", "cam:b"),
    lambda app: app.delete("cam:a"),
    lambda app: app.hset("cam:h", "f", "v"),
    lambda app: app.xadd("cam:s", {"f": "v"}),
    lambda app: app.expire("cam:h", 100),
    lambda app: app.rename("cam:h", "cam:i"),
    lambda app: app.set("shared:x", 1),
    lambda app: app.get("homehelper:apps:registry"),
    lambda app: app.xrange("homehelper:stream:events"),
    lambda app: app.eval("return redis.call('set', KEYS[1], 1)", 1, "cam:e"),
    lambda app: app.publish("homehelper:events:door", "open"),
    lambda app: app.publish("homehelper:apps:cam", "hello"),
    lambda app: app.publish("cam:own", "hello"),
    lambda app: app.ping(),
    lambda app: app.info(),
    lambda app: app.select(0),
    lambda app: app.client_setname("cam"),
    lambda app: app.execute_command("CLIENT", "SETINFO", "LIB-NAME", "x"),
    lambda app: app.client_id(),
    lambda app: app.execute_command("HELLO", "3"),
    lambda app: app.command_count(),
    lambda app: app.pipeline(transaction=True).set("cam:t", 1).get("cam:t").execute(),
    lambda app: app.lock("cam:lock", timeout=5).acquire(blocking=False),
    lambda app: list(app.scan_iter("cam:*")),
]

DENIED: list[Callable[[redis.Redis], object]] = [
    lambda app: app.set("homehelper:config", 1),
    lambda app: app.delete("homehelper:apps:registry"),
    lambda app: app.xadd("homehelper:stream:events", {"event": "{}"}),
    lambda app: app.xtrim("homehelper:stream:events", maxlen=0),
    lambda app: app.expire("homehelper:apps:registry", 1),
    lambda app: app.rename("homehelper:apps:registry", "cam:r"),
    lambda app: app.copy("cam:i", "homehelper:config"),
    lambda app: app.get("door:secret"),
    lambda app: app.set("door:x", 1),
    lambda app: app.set("camera:x", 1),
    lambda app: app.eval("return redis.call('set', 'homehelper:config', 1)", 0),
    lambda app: app.eval("return redis.call('publish', 'homehelper:events', 1)", 0),
    lambda app: app.publish("homehelper:events", "x"),
    lambda app: app.publish("homehelper:health", "x"),
    lambda app: app.publish("homehelper:apps:door", "x"),
    lambda app: app.publish("homehelper:apps:cam:x", "x"),
    lambda app: app.publish("elsewhere", "x"),
    lambda app: app.execute_command("SPUBLISH", "homehelper:events", "x"),
    lambda app: app.flushall(),
    lambda app: app.flushdb(),
    lambda app: app.keys("*"),
    lambda app: app.config_get("*"),
    lambda app: app.config_set("maxmemory", 0),
    lambda app: app.acl_list(),
    lambda app: app.acl_setuser("x", enabled=True),
    lambda app: app.client_list(),
    lambda app: app.execute_command("CLIENT", "KILL", "TYPE", "normal"),
    lambda app: app.shutdown(nosave=True),
    lambda app: app.execute_command("DEBUG", "SLEEP", 0),
    lambda app: app.execute_command("MODULE", "LIST"),
    lambda app: app.execute_command("REPLICAOF", "127.0.0.1", 1),
    lambda app: app.execute_command("FUNCTION", "FLUSH"),
    lambda app: app.execute_command("SCRIPT", "FLUSH"),
    lambda app: app.execute_command("MONITOR"),
    lambda app: app.swapdb(0, 1),
    lambda app: app.save(),
    lambda app: app.slowlog_get(),
    lambda app: app.execute_command("MIGRATE", "127.0.0.1", 1, "cam:a", 0, 1),
]


async def test_an_app_may_do_what_it_needs_and_nothing_that_harms_others(service):
    app = await client_of(service, "cam", ["shared:*"])
    refused = []
    for number, action in enumerate(ALLOWED):
        try:
            action(app)
        except redis.RedisError as error:
            if "unknown subcommand" not in str(error):  # an older server
                refused.append((number, str(error)))
    assert refused == []
    allowed = []
    for number, action in enumerate(DENIED):
        try:
            action(app)
            allowed.append(number)
        except redis.ResponseError as error:
            if not any(word in str(error) for word in ("permission", "ACL", "not allowed", "can't ")):
                allowed.append((number, str(error)))
    assert allowed == []
    assert service.status().connected


@pytest.mark.parametrize("protocol", [2, 3])
async def test_an_app_hears_the_engine_with_either_protocol(service, bus, protocol):
    app = await client_of(service, "cam", protocol=protocol)
    pubsub = app.pubsub(ignore_subscribe_messages=True)
    pubsub.psubscribe("homehelper:*", "homehelper:events:*", "homehelper:apps:*")
    pubsub.subscribe("homehelper:events", "homehelper:apps:cam", "homehelper:health", "homehelper:events:any")
    for _ in range(7):
        pubsub.get_message(timeout=1)
    bus.publish(EventType.APP_STARTED, "cam", {})
    found = []
    for _ in range(100):
        if (message := pubsub.get_message(timeout=0)) is not None:
            found.append(message["channel"])
        await asyncio.sleep(0.01)
        if b"homehelper:apps:cam" in found:
            break
    assert b"homehelper:events" in found
    for denied in ("psubscribe", "subscribe"):
        with pytest.raises(NoPermissionError):
            other = app.pubsub()
            getattr(other, denied)("*" if denied == "psubscribe" else "door:private")
            other.get_message(timeout=1)


async def test_each_app_has_its_own_password_and_a_forgotten_app_none(service):
    cam, door = await client_of(service, "cam"), await client_of(service, "door")
    assert cam.acl_whoami() == "app-cam"
    assert door.acl_whoami() == "app-door"
    url = (await service.access_for("cam")).url
    await service.forget_app("cam")
    with pytest.raises(redis.RedisError):
        impatient(url).ping()
    assert door.ping()
    assert (await service.access_for("cam")).url != url


async def test_changed_key_patterns_hold_at_once(service):
    app = await client_of(service, "cam", [])
    with pytest.raises(NoPermissionError):
        app.set("shared:x", 1)
    await service.access_for("cam", RedisGrants(("shared:*",)))
    assert app.set("shared:x", 1)
    await service.access_for("cam")
    with pytest.raises(NoPermissionError):
        app.set("shared:x", 1)


@pytest.mark.parametrize(
    "pattern", ["*", "h*", "homehelper:*", "homehelper:config", "?omehelper:config", "[h]*", "home*"]
)
async def test_a_pattern_that_could_match_the_engines_keys_is_for_reading_only(service, pattern):
    app = await client_of(service, "cam", [pattern])
    await until(lambda: app.get("homehelper:apps:registry"), what="readable")
    with pytest.raises(NoPermissionError):
        app.set("homehelper:config", 1)


async def test_a_hostile_pattern_grants_nothing_and_breaks_no_file(service, home):
    hostile = [
        "x ~*",
        "y\nuser evil on nopass ~* &* +@all",
        "",
        "\x00",
        "ünï",
        "z" * 5000,
        "%RW~*",
        "+@all",
        ")",
        "(+@all ~*)",
    ]
    app = await client_of(service, "cam", hostile)
    assert app.set("cam:x", 1)
    with pytest.raises(NoPermissionError):
        app.set("door:x", 1)
    with pytest.raises(NoPermissionError):
        app.flushall()
    assert "evil" not in (home.redis_dir / "users.acl").read_text()
    end(server_pid(home))
    await until(lambda: not service.status().connected, what="noticed")
    await until(lambda: service.status().connected, what="the file can still be loaded")
    assert (await client_of(service, "cam", hostile)).set("cam:x", 1)


@pytest.mark.parametrize("app_id", ["default", "homehelper", "on", "a", "x" * 63, "a-b_c"])
async def test_an_app_of_any_name_gets_a_user_of_its_own(service, app_id):
    app = await client_of(service, app_id)
    assert app.acl_whoami() == f"app-{app_id}"
    if app_id != "homehelper":
        assert app.set(f"{app_id}:x", 1)
    with pytest.raises(NoPermissionError):
        app.set("homehelper:config", 1)
    with pytest.raises(NoPermissionError):
        app.publish("homehelper:events", "forged")


async def test_every_app_on_a_configured_server_gets_that_servers_url(home, bus, server_at):
    server = server_at()
    async with running(home, configured(server.port, db=2), bus) as service:
        access = await service.access_for("cam", RedisGrants(("x:*",)))
        assert access.url == f"redis://127.0.0.1:{server.port}/2"
        assert (access.host, access.port, access.username, access.password) == ("127.0.0.1", server.port, None, None)


def test_the_rules_hold_no_password():
    assert "secret-password" not in " ".join(app_rules("cam", RedisGrants(), "secret-password"))


STREAMS = RedisGrants(publishes=("homehelper:streams:mine",), subscribes=("homehelper:streams:its",), groups=("cam",))


async def test_an_app_may_use_the_streams_that_it_declares_and_no_others(service):
    access = await service.access_for("cam", STREAMS)
    app = redis.Redis.from_url(access.url, socket_timeout=5, decode_responses=True)
    other = await client_of(service, "door")
    mine, its = "homehelper:streams:mine", "homehelper:streams:its"
    entry = app.xadd(mine, {"a": "b"}, maxlen=100)
    assert app.xlen(mine) == 1
    assert app.xdel(mine, entry) == 1
    assert app.xreadgroup("cam", "one", {its: ">"}) in ([], {})
    owner = await client_of(service, "writer")
    writer = redis.Redis.from_url((await service.access_for("writer", RedisGrants(publishes=(its,)))).url)
    number = writer.xadd(its, {"c": "d"}).decode()
    assert app.xreadgroup("cam", "one", {its: ">"}) == [[its, [(number, {"c": "d"})]]]
    assert app.xpending(its, "cam")["pending"] == 1
    assert app.xack(its, "cam", number) == 1
    app.xautoclaim(its, "cam", "two", 0)
    with pytest.raises(redis.ResponseError, match="BUSYGROUP"):  # as apps do that make their group themselves
        app.xgroup_create(its, "cam", id="0", mkstream=True)
    for denied in (
        lambda: app.xadd(its, {"forged": "x"}),
        lambda: app.delete(its),
        lambda: app.delete(mine),
        lambda: app.set(mine, "x"),
        lambda: app.expire(its, 1),
        lambda: app.xgroup_destroy(its, "cam"),
        lambda: app.xadd("homehelper:streams:others", {"x": "y"}),
        lambda: app.xread({"homehelper:streams:others": "0"}),
        lambda: other.xlen(mine),
        lambda: other.xreadgroup("cam", "one", {its: ">"}),
        lambda: owner.xreadgroup("cam", "one", {its: ">"}),
        lambda: app.pipeline().xadd(its, {"x": "y"}).execute(),
        lambda: app.eval("return redis.call('xadd', KEYS[1], '*', 'x', 'y')", 1, its),
    ):
        with pytest.raises(redis.ResponseError, match=r"(?i)permission|NOPERM|ACL"):
            denied()


async def test_streams_and_groups_are_back_after_the_server_lost_its_data(service, home):
    access = await service.access_for("cam", STREAMS)
    password = json.loads((home.redis_dir / "access.json").read_text())["engine_password"]
    owner = redis.Redis(port=access.port, username="homehelper", password=password, decode_responses=True)
    assert owner.exists("homehelper:streams:mine") == 1
    assert owner.xlen("homehelper:streams:mine") == 0
    assert owner.xinfo_groups("homehelper:streams:mine") == []
    owner.flushall()
    end(server_pid(home))
    await until(lambda: not service.status().connected, what="noticed")
    await until(lambda: service.status().connected, what="back")
    again = redis.Redis(port=service.status().port, username="homehelper", password=password, decode_responses=True)
    await until(lambda: again.exists("homehelper:streams:its"), what="made anew")
    assert [group["name"] for group in again.xinfo_groups("homehelper:streams:its")] == ["cam"]


async def test_a_client_that_sends_the_password_alone_hears_and_sends_events_and_no_more(service):
    access = await service.access_for("cam")
    app = redis.Redis(host=access.host, port=access.port, password=access.password, socket_timeout=5)
    assert app.ping()
    pubsub = app.pubsub()
    pubsub.psubscribe("homehelper:events:*", "latarnia:events:*")
    pubsub.subscribe("homehelper:events:door.opened")
    app.publish("homehelper:events:door.opened", "x")
    app.publish("latarnia:events:door.opened", "x")
    for denied in (
        lambda: app.set("cam:x", 1),
        lambda: app.get("cam:x"),
        lambda: app.publish("homehelper:events", "x"),
        lambda: app.publish("homehelper:apps:cam", "x"),
        lambda: app.config_get("*"),
        app.acl_list,
    ):
        with pytest.raises(NoPermissionError):
            denied()
    place = f"{access.host}:{access.port}"
    with pytest.raises(redis.AuthenticationError):
        impatient(f"redis://:guessed@{place}").ping()
    with pytest.raises(redis.AuthenticationError):
        impatient(f"redis://{place}").ping()
    await service.forget_app("cam")
    with pytest.raises(redis.RedisError):
        impatient(f"redis://:{access.password}@{place}").ping()
