"""Who may do what on the private server: its ACL file, one user for the engine and one for each app.

Publishing is restricted apart from subscribing by a selector, which needs Redis 7 or Valkey (redis.io, "ACL": a
channel pattern covers both, and a pattern subscription is allowed only if it stands in the list literally).
"""

from __future__ import annotations

import hashlib
import re
from collections.abc import Mapping, Sequence

ENGINE_USER = "homehelper"
_PREFIX = "homehelper:"
# Anything else would end the rule or the line.
_SAFE_PATTERN = re.compile(r"[!-~]{1,200}\Z")
_GLOB = re.compile(r"[*?\[\\]")
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
# INFO is among the dangerous ones, but client libraries ask it on connect, and it has no secret here.
# Functions and the script cache belong to the whole server.
_COMMANDS = (
    "+@all -@admin -@dangerous -publish -spublish -function +function|list -script +script|load +script|exists +info"
)


def user_name(app_id: str) -> str:
    """The app's user; the prefix keeps an app named ``default`` away from the server's own."""
    return f"app-{app_id}"


def app_rules(app_id: str, redis_keys: Sequence[str], password: str) -> list[str]:
    """The rules of an app's user, for ``ACL SETUSER`` or an ACL file.

    It may read and write ``<app_id>:*`` and the patterns of ``redis_keys``, read ``homehelper:*``, subscribe to
    ``homehelper:*`` and its own channels, and publish on ``homehelper:events:*``, ``homehelper:apps:<app_id>`` and its
    own. A pattern that could match the engine's keys is granted for reading only, even to an app named ``homehelper``.
    """
    own = f"{app_id}:*"
    keys = [f"%R~{_PREFIX}*"]
    for pattern in (own, *redis_keys):
        if _SAFE_PATTERN.match(pattern):
            rule = f"%R~{pattern}" if _could_match_engine(pattern) else f"~{pattern}"
            if rule not in keys:
                keys.append(rule)
    channels = list(dict.fromkeys(f"&{pattern}" for pattern in (*_WATCHED, f"homehelper:apps:{app_id}*", own)))
    publish = f"(-@all +publish resetchannels &homehelper:events:* &homehelper:apps:{app_id}"
    publish += ")" if _could_match_engine(own) else f" &{own})"
    return ["reset", "on", f"#{_hash(password)}", *keys, *channels, *_COMMANDS.split(), publish]


def refused_patterns(redis_keys: Sequence[str]) -> list[str]:
    """Those of ``redis_keys`` that no rule can be made of."""
    return [pattern for pattern in redis_keys if not _SAFE_PATTERN.match(pattern)]


def acl_file(engine_password: str, apps: Mapping[str, tuple[str, Sequence[str]]]) -> str:
    """The whole file, passwords as hashes; ``apps`` maps each app_id to its password and key patterns."""
    lines = [
        "user default reset off",
        f"user {ENGINE_USER} reset on #{_hash(engine_password)} ~* &* +@all",
    ]
    for app_id, (password, redis_keys) in sorted(apps.items()):
        lines.append(f"user {user_name(app_id)} {' '.join(app_rules(app_id, redis_keys, password))}")
    return "\n".join(lines) + "\n"


def _could_match_engine(pattern: str) -> bool:
    literal = _GLOB.split(pattern, maxsplit=1)[0]
    return literal.startswith(_PREFIX) or (_PREFIX.startswith(literal) and literal != pattern)


def _hash(password: str) -> str:
    return hashlib.sha256(password.encode()).hexdigest()
