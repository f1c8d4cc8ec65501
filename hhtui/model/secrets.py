"""config/secrets.env: the home's secrets, in python-dotenv's form (docs/configuration.md)."""

from __future__ import annotations

import io
import os
import re
import stat
from collections.abc import Collection, Mapping
from datetime import UTC, datetime
from pathlib import Path
from typing import NamedTuple

from dotenv.parser import Binding, parse_stream
from pydantic import Field

from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.base import Model
from hhtui.storage import only_one_in, write_atomically
from hhtui.text import iso_utc, sanitise

SECRETS_FILE = "secrets.env"
_SHOWN = f"config/{SECRETS_FILE}"
_NAME = re.compile(r"[A-Za-z_][A-Za-z0-9_]{0,199}\Z")
# A variable with its name takes at most 128 KiB: execve(2), MAX_ARG_STRLEN.
MAX_VALUE_BYTES = 64 * 1024
_MAX_FILE_BYTES = 1024 * 1024
# What we add to a line: since when it holds, and the app whose setting it is.
_MARK = re.compile(r"\s*#\s*set (\d{4}-\d\d-\d\dT\d\d:\d\d:\d\dZ)(?: for ([a-z0-9][a-z0-9_-]{0,62}))?\s*\Z")


class SecretInfo(Model):
    """A secret without its value: whether it is set, since when if that is known, the app whose setting it is, and the
    apps that use it."""

    name: str
    is_set: bool
    since: datetime | None = None
    setting_of: str | None = None
    apps: list[str] = Field(default_factory=list)


class Secret(NamedTuple):
    """What stands in the file; ``app_id``: it is a setting of this app, which no other may read."""

    value: str
    since: datetime | None = None
    app_id: str | None = None

    def __repr__(self) -> str:
        return f"Secret(since={self.since}, app_id={self.app_id})"


def check_secret(name: str, value: str | None) -> None:
    """InvalidInputError, without the value, if there can be no such secret; None as a value removes it."""
    if not _NAME.match(name):
        raise InvalidInputError(
            f"{sanitise(name.partition('=')[0], 60)!r} cannot be the name of a secret: letters, digits and _ make one"
        )
    if value is None:
        return
    if not value:
        raise InvalidInputError(f"{name}: the value is empty; `hhtui secret remove {name}` removes it")
    if "\0" in value:
        raise InvalidInputError(f"{name}: a value cannot hold a NUL character")
    try:
        size = len(value.encode())
    except UnicodeEncodeError:
        raise InvalidInputError(f"{name}: the value is not UTF-8") from None
    if size > MAX_VALUE_BYTES:
        raise InvalidInputError(f"{name}: the value is larger than {MAX_VALUE_BYTES // 1024} KiB")


def protect_secrets(path: Path) -> str | None:
    """Take others' rights to the file away; a line that says so, None if there were none or no file.

    InvalidInputError if that fails: what others may read is not used.
    """
    try:
        status = path.stat()
    except FileNotFoundError:
        return None
    except OSError as error:
        raise InvalidInputError(f"{_SHOWN} cannot be read: {error.strerror}") from None
    if not stat.S_ISREG(status.st_mode):
        raise InvalidInputError(f"{_SHOWN} is no file")
    if not status.st_mode & 0o077:
        return None
    mode = f"{stat.S_IMODE(status.st_mode):04o}"
    try:
        os.chmod(path, 0o600)
    except OSError as error:
        words = f"{_SHOWN}: others may read it (mode {mode}), and that cannot be changed: {error.strerror}"
        raise InvalidInputError(f"{words}: chmod 600 {path}") from None
    return f"{_SHOWN}: others could read it (mode {mode}): it is set to 0600; change what was secret in it"


def read_secrets(path: Path) -> dict[str, Secret]:
    """The secrets by name; none where there is no such file. InvalidInputError, with nothing of what is in it."""
    return _secrets(_text(path))


def change_secrets(
    path: Path, changes: Mapping[str, str | None], *, app_id: str | None = None, owners: Mapping[str, str] | None = None
) -> list[str]:
    """Set secrets, or remove those whose value is None, on disk when this returns; the names of those that changed.

    Comments and the order stay. ``app_id``: they are that app's settings; ``owners``: those with such a name are the
    settings of these apps, unless they are marked already. InvalidInputError, or HomeHelperError where the disk does
    not take it; either leaves the file as it was.
    """
    for name, value in changes.items():
        check_secret(name, value)
    try:
        target = path.resolve()
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        with only_one_in(target.parent):
            return _change(target, changes, {**(owners or {}), **(dict.fromkeys(changes, app_id) if app_id else {})})
    except (OSError, RuntimeError) as error:
        raise HomeHelperError(f"{_SHOWN} cannot be written: {getattr(error, 'strerror', None) or error}") from None


def _change(path: Path, changes: Mapping[str, str | None], owners: Mapping[str, str]) -> list[str]:
    text = _text(path)
    before = _secrets(text)
    changed = [name for name, value in changes.items() if _differs(before.get(name), value, name in owners)]
    if not changed:
        return []
    now = iso_utc(datetime.now(UTC))
    bindings = _bindings(text)
    last = {binding.key: number for number, binding in enumerate(bindings) if binding.key in changed}
    written = []
    for number, binding in enumerate(bindings):
        line = binding.original.string
        if binding.key is None or binding.key not in last:
            written.append(line)
            continue
        name, value = binding.key, changes[binding.key]
        written.append(line[: len(line) - len(line.lstrip())])  # the empty lines before it
        if value is not None and last[name] == number:
            export = "export " if line.lstrip().startswith("export ") else ""
            known = before.get(name)
            of_app = known.app_id if known and known.app_id else owners.get(name)
            written.append(f"{export}{_line(name, value, _MARK.sub('', _comment(binding)), now, of_app)}\n")
    new = "".join(written)
    for name in changed:
        if (added := changes[name]) is not None and name not in last:
            new += "" if not new or new.endswith(("\n", "\r")) else "\n"
            new += _line(name, added, "", now, owners.get(name)) + "\n"
    wanted = {name: secret.value for name, secret in before.items() if name not in changed}
    wanted |= {name: given for name in changed if (given := changes[name]) is not None}
    if {
        binding.key: binding.value for binding in _bindings(new) if binding.key and binding.value is not None
    } != wanted:
        broken = next((binding.original.line for binding in _bindings(text) if binding.error), 1)
        raise InvalidInputError(f"{_SHOWN}: line {broken} is not NAME=value: repair it, nothing was changed")
    data = new.encode()
    if len(data) > _MAX_FILE_BYTES:
        raise InvalidInputError(f"{_SHOWN} would be larger than {_MAX_FILE_BYTES // 1024} KiB")
    write_atomically(path, data, 0o600)
    return changed


def _differs(known: Secret | None, value: str | None, owned: bool) -> bool:
    if known is None or value is None:
        return (known is None) != (value is None)
    return known.value != value or (owned and known.app_id is None)


def secrets_listed(secrets: Mapping[str, Secret], asked: Mapping[str, Collection[str]]) -> list[SecretInfo]:
    """All secrets, and those that an app of ``asked`` (names by app) asks for and that are not set; by name."""
    listed = []
    for name in sorted({*secrets, *(name for names in asked.values() for name in names)}):
        known = secrets.get(name)
        mine = known.app_id if known else None
        apps = [mine] if mine else sorted(app_id for app_id, names in asked.items() if name in names)
        listed.append(
            SecretInfo(
                name=name, is_set=known is not None, since=known.since if known else None, setting_of=mine, apps=apps
            )
        )
    return listed


def _line(name: str, value: str, comment: str, now: str, app_id: str | None) -> str:
    quoted = value.replace("\\", "\\\\").replace("'", "\\'")
    return f"{name}='{quoted}'{comment.rstrip()}  # set {now}" + (f" for {app_id}" if app_id else "")


def _secrets(text: str) -> dict[str, Secret]:
    found = {}
    for binding in _bindings(text):
        if binding.key and binding.value is not None:
            mark = _MARK.search(_comment(binding))
            since = datetime.fromisoformat(mark[1]) if mark else None
            found[binding.key] = Secret(binding.value, since, mark[2] if mark else None)
    return found


def _comment(binding: Binding) -> str:
    """What follows the value on its line, from the blanks before its ``#`` on."""
    line = binding.original.string.rstrip("\r\n")
    at = line.find("#")
    while at >= 0:
        head = next(parse_stream(io.StringIO(line[:at])), None)
        if head is not None and not head.error and (head.key, head.value) == (binding.key, binding.value):
            return line[len(line[:at].rstrip()) :]
        at = line.find("#", at + 1)
    return ""


def _bindings(text: str) -> list[Binding]:
    return list(parse_stream(io.StringIO(text, newline="")))


def _text(path: Path) -> str:
    protect_secrets(path)
    try:
        with path.open("rb") as file:
            data = file.read(_MAX_FILE_BYTES + 1)
    except FileNotFoundError:
        return ""
    except OSError as error:
        raise InvalidInputError(f"{_SHOWN} cannot be read: {error.strerror}") from None
    if len(data) > _MAX_FILE_BYTES:
        raise InvalidInputError(f"{_SHOWN} is larger than {_MAX_FILE_BYTES // 1024} KiB")
    try:
        return data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{_SHOWN} is not UTF-8 (byte {error.start})") from None
