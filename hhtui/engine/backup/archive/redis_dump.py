"""Redis' data on the disk: BGSAVE, waited for (redis.io, BGSAVE and INFO persistence)."""

from __future__ import annotations

import contextlib
import os
import subprocess
import tempfile
import time
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hhtui.engine.redis.address import ServerAddress, scrub
from hhtui.engine.redis.private_files import ACL_NAME, PrivateFiles, installed_servers
from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.config import RedisConfig
from hhtui.paths import Home, socket_address
from hhtui.storage import read_json_object

if TYPE_CHECKING:
    import redis

ENGINE_USER = "homehelper"
SAVE_WITHIN = 300.0
_ANSWER = 10.0
_POLL = 0.02


class RedisSaveError(HomeHelperError):
    """Redis did not save its data; says why in one line."""

    slug = "redis_save"


def private_server_runs(home: Home) -> bool:
    """Whether something listens on the private server's socket."""
    import socket

    try:
        with socket_address(_files(home).socket) as address, socket.socket(socket.AF_UNIX) as probe:
            probe.settimeout(2)
            probe.connect(address)
    except OSError:
        return False
    return True


def save_private(home: Home) -> bool:
    """Have the private server write its dump and wait for it; False if none runs: then its dump is as it left it."""
    if not private_server_runs(home):
        return False
    import redis

    files = _files(home)
    try:
        access = read_json_object(files.folder / "access.json")
        password = str(access["engine_password"])
    except (OSError, ValueError, KeyError):
        raise RedisSaveError(f"{files.folder}/access.json cannot be read, so Redis cannot be asked to save") from None
    with socket_address(files.socket) as address:
        client = redis.Redis(
            unix_socket_path=address, username=ENGINE_USER, password=password, socket_timeout=_ANSWER, protocol=2
        )
        try:
            _save(client, "the private server", (password,))
        finally:
            client.close()
    return True


def save_configured(config: RedisConfig) -> tuple[Path | None, str]:
    """Have the configured server save; its dump if it is a file that can be read here, and a note about it."""
    import redis

    try:
        address = ServerAddress.configured(config)
    except InvalidInputError as error:
        return None, error.message
    client = redis.Redis.from_url(address.url, socket_timeout=_ANSWER, socket_connect_timeout=2, protocol=2)
    try:
        _save(client, address.name, address.secrets)
        answer: Any = client.config_get("dir", "dbfilename")
        texts = {_text(key): _text(value) for key, value in dict(answer).items()}
    except RedisSaveError as error:
        return None, error.message
    except redis.RedisError as error:
        return None, f"{address.name} does not say where its dump is: {scrub(str(error), address.secrets)}"
    finally:
        client.close()
    dump = Path(texts.get("dir", "")) / texts.get("dbfilename", "")
    local = address.socket is not None or address.host in ("localhost", "127.0.0.1", "::1")
    try:
        if local and dump.is_file() and os.access(dump, os.R_OK):
            return dump, f"the configured server {address.name} has saved; its dump is in redis/configured-dump.rdb"
    except OSError:
        pass
    return None, f"the configured server {address.name} has saved, but its dump {dump} cannot be read from here"


def _save(client: redis.Redis, name: str, secrets: tuple[str, ...]) -> None:
    import redis

    def persistence() -> dict[str, Any]:
        answer: Any = client.info("persistence")
        return dict(answer)

    deadline = time.monotonic() + SAVE_WITHIN
    try:
        while persistence().get("rdb_bgsave_in_progress"):  # an older one: what came since must be in ours
            _wait(deadline, name)
        client.bgsave()
        while (state := persistence()).get("rdb_bgsave_in_progress") or state.get("aof_rewrite_in_progress"):
            _wait(deadline, name)
    except redis.RedisError as error:
        raise RedisSaveError(f"{name} does not save its data: {scrub(str(error), secrets)}") from None
    if state.get("rdb_last_bgsave_status") != "ok":
        raise RedisSaveError(f"{name} could not save its data: its disk may be full, see its log")


def _wait(deadline: float, name: str) -> None:
    if time.monotonic() > deadline:
        raise RedisSaveError(f"{name} has not saved its data within {SAVE_WITHIN:.0f} s")
    time.sleep(_POLL)


def count_keys(dump: Path) -> int | None:
    """Load a dump into a server of its own and count its keys; None if no server is installed.

    RedisSaveError if it cannot be loaded. The server has no port, and a socket in a folder that is only ours.
    """
    binaries = installed_servers()
    if not binaries:
        return None
    import redis

    with tempfile.TemporaryDirectory(prefix="hhtui-redis-") as folder:
        address = f"{folder}/s"
        (Path(folder) / dump.name).symlink_to(dump.resolve())
        words = [str(binaries[0]), "--port", "0", "--unixsocket", address, "--dir", folder, "--dbfilename", dump.name]
        words += ["--save", "", "--appendonly", "no", "--daemonize", "no", "--loglevel", "warning"]
        server = subprocess.Popen(words, stdin=subprocess.DEVNULL, stdout=subprocess.PIPE, stderr=subprocess.STDOUT)
        client = redis.Redis(unix_socket_path=address, socket_timeout=_ANSWER, protocol=2)
        try:
            deadline = time.monotonic() + 120
            while server.poll() is None and time.monotonic() < deadline:
                with contextlib.suppress(redis.RedisError):
                    keyspace: Any = client.info("keyspace")
                    return sum(int(database["keys"]) for database in dict(keyspace).values())
                time.sleep(_POLL)
        finally:
            client.close()
            server.kill()
            output, _ = server.communicate()
    lines = [line for line in output.decode("utf-8", "replace").splitlines() if line.strip()]
    raise RedisSaveError(f"the Redis dump cannot be loaded: {scrub(lines[-1] if lines else 'no reason given', ())}")


def _text(value: Any) -> str:
    return value.decode("utf-8", "surrogateescape") if isinstance(value, bytes) else str(value)


def _files(home: Home) -> PrivateFiles:
    return PrivateFiles(home.redis_dir, home.system_logs_dir / "redis.log")


# Made anew from access.json at each start of the server.
DERIVED_FILES = frozenset({ACL_NAME, "redis.conf", "server.json"})
