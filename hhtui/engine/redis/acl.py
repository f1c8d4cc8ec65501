"""Who may do what on the private server: its ACL file, one user for the engine and one for each app.

Publishing is restricted apart from subscribing by a selector, which needs Redis 7 or Valkey (redis.io, "ACL": a
channel pattern covers both, and a pattern subscription is allowed only if it stands in the list literally).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

from hhtui.model.redis import RedisGrants

ENGINE_USER = "homehelper"
DEFAULT_USER = "default"
_PREFIX = "homehelper:"
# Anything else would end the rule or the line.
_SAFE_PATTERN = re.compile(r"[!-~]{1,200}\Z")
_GLOB = re.compile(r"[*?\[\\]")
# The engine's own; other apps' streams lie beside them.
_READABLE = (
    "homehelper:config",
    "homehelper:apps:*",
    "homehelper:system:*",
    "homehelper:ports:*",
    "homehelper:health:*",
    "homehelper:stream:*",
)
_WATCHED = (
    "homehelper:*",
    "homehelper:events",
    "homehelper:events*",
    "homehelper:events:*",
    "homehelper:apps:*",
    "homehelper:health*",
    "homehelper:metrics*",
    "homehelper:logs*",
)
# What the platform's successor calls its events: a pattern subscription must be here to the letter.
_SUCCESSOR = "latarnia"
_SUCCESSOR_WATCHED = ("latarnia:*", "latarnia:events:*")
# INFO is among the dangerous ones, but client libraries ask it on connect, and it has no secret here.
# Functions and the script cache belong to the whole server.
_COMMANDS = (
    "+@all -@admin -@dangerous -publish -spublish -function +function|list -script +script|load +script|exists +info"
)
_STREAM_READS = "+xread +xlen +xrange +xrevrange +xinfo"
_STREAM_WRITES = f"{_STREAM_READS} +xadd +xtrim +xdel"
_GROUP_READS = (
    f"{_STREAM_READS} +xreadgroup +xack +xclaim +xautoclaim +xpending "
    "+xgroup|create +xgroup|createconsumer +xgroup|delconsumer +xgroup|setid"
)


def user_name(app_id: str) -> str:
    """The app's user; the prefix keeps an app named ``default`` away from the server's own."""
    return f"app-{app_id}"


def app_rules(app_id: str, grants: RedisGrants, password: str) -> list[str]:
    """The rules of an app's user, for ``ACL SETUSER`` or an ACL file.

    It may read and write ``<app_id>:*`` and the patterns of ``grants.keys``, read the engine's keys, subscribe to
    ``homehelper:*`` and its own channels, and publish on ``homehelper:events:*``, ``homehelper:apps:<app_id>`` and its
    own; add to the streams that it publishes, and read those that it subscribes to in groups. A pattern that could
    match the engine's keys or others' streams is granted for reading only, even to an app named ``homehelper``.
    """
    own = f"{app_id}:*"
    keys = [f"%R~{pattern}" for pattern in _READABLE]
    for pattern in (own, *grants.keys):
        if _SAFE_PATTERN.match(pattern):
            rule = f"%R~{pattern}" if _could_match_engine(pattern) else f"~{pattern}"
            if rule not in keys:
                keys.append(rule)
    watched = (*_WATCHED, *_SUCCESSOR_WATCHED, f"homehelper:apps:{app_id}*", own)
    publish = f"(-@all +publish resetchannels &homehelper:events:* &latarnia:events:* &homehelper:apps:{app_id}"
    publish += ")" if _could_match_engine(own) else f" &{own})"
    streams = [
        f"(-@all {commands} {' '.join(f'~{key}' for key in keys)})"
        for commands, keys in ((_STREAM_WRITES, grants.publishes), (_GROUP_READS, grants.subscribes))
        if keys
    ]
    channels = [f"&{pattern}" for pattern in dict.fromkeys(watched)]
    return ["reset", "on", f"#{_hash(password)}", *keys, *channels, *_COMMANDS.split(), publish, *streams]


def default_rules() -> list[str]:
    """What a client may do that sends an app's password without the user's name, as published apps may do.

    Redis then takes it for the default user: it may do what all apps may, and has no keys of its own.
    """
    keys = [f"%R~{pattern}" for pattern in _READABLE]
    channels = [f"&{pattern}" for pattern in (*_WATCHED, *_SUCCESSOR_WATCHED)]
    publish = "(-@all +publish resetchannels &homehelper:events:* &latarnia:events:*)"
    return ["reset", "on", *keys, *channels, *_COMMANDS.split(), publish]


def password_rule(password: str, *, remove: bool = False) -> str:
    """The rule that makes the password one of a user's, or takes it away."""
    return f"{'!' if remove else '#'}{_hash(password)}"


def refused_patterns(redis_keys: Sequence[str]) -> list[str]:
    """Those of ``redis_keys`` that no rule can be made of."""
    return [pattern for pattern in redis_keys if not _SAFE_PATTERN.match(pattern)]


def acl_file(engine_password: str, apps: Mapping[str, tuple[str, RedisGrants]]) -> str:
    """The whole file, passwords as hashes; ``apps`` maps each app_id to its password and what it asks for."""
    everybody = [password_rule(password) for password, _ in apps.values()]
    lines = [
        f"user {DEFAULT_USER} {' '.join([*default_rules(), *everybody])}",
        f"user {ENGINE_USER} reset on #{_hash(engine_password)} ~* &* +@all",
    ]
    for app_id, (password, grants) in sorted(apps.items()):
        lines.append(f"user {user_name(app_id)} {' '.join(app_rules(app_id, grants, password))}")
    return "\n".join(lines) + "\n"


def _could_match_engine(pattern: str) -> bool:
    """Whether the pattern could match a key of ours, or a stream, which its publisher alone may write."""
    literal = _GLOB.split(pattern, maxsplit=1)[0]
    return any(
        literal.startswith(prefix) or (prefix.startswith(literal) and literal != pattern)
        for prefix in (_PREFIX, f"{_SUCCESSOR}:streams:")
    )


def _hash(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
