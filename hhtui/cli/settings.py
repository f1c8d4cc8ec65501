"""``hhtui set|unset|settings``: what an app's owner has otherwise than its author; ``hhtui secret``: the secrets."""

from __future__ import annotations

import re
import sys
from collections.abc import Sequence
from typing import Any

import click

from hhtui.cli.console import Table
from hhtui.cli.session import Group, Session, command, run_task, shared_options
from hhtui.cli.status import local_time, text_of
from hhtui.client.words import NONE_WORDS, says_none, setting_typed
from hhtui.errors import InvalidInputError, NoEngineError, NotFoundError, UsageError
from hhtui.text import sanitise, value_text

# More than any value may have, so that one that is too long is told so.
_MOST_TYPED = 1024 * 1024
_SETTING = re.compile(r"[A-Z][A-Z0-9_]*\Z")
# What does it where no engine runs.
_MODULE = "hhtui.engine.app.offline"


@command("set")
@click.argument("app_id", metavar="APP")
@click.argument("pairs", metavar="KEY=VALUE...", nargs=-1)
@click.option(
    "--none",
    "none",
    multiple=True,
    metavar="KEY",
    help="No value, whatever the author says.",
)
def set_app(session: Session, app_id: str, pairs: tuple[str, ...], none: tuple[str, ...]) -> None:
    """Set what you want otherwise than the app's author: port=8150 limits.memory_mb=200 environment.TONE=warm.

    Lists have commas between; += adds to one and -= takes from it: permissions.files+=/media/usb:rw.
    KEY=none: there is to be none, such as limits.memory_mb=none; of a text, which may be this word, say --none KEY.
    KEY alone, for a secret of the app: its value is asked for without echo, or read from standard input.
    """
    if not pairs and not none:
        raise click.UsageError("set needs KEY=VALUE")
    patch: dict[str, Any] = {}
    rows = {row["key"]: row for row in _view(session, app_id).get("rows") or []}
    without = [_full(key, rows) for key in none]
    for pair in pairs:
        key, equals, text = pair.partition("=")
        key, sign = (key[:-1], key[-1]) if equals and key[-1:] in ("+", "-") else (key, "")
        key = _full(key, rows)
        row = rows.get(key, {})
        if not equals and not row.get("secret"):
            raise UsageError(
                f"{sanitise(key, 60)}: say {sanitise(key, 60)}=VALUE; `hhtui settings {app_id}` lists all keys"
            )
        if row.get("secret"):
            if equals:
                raise UsageError(
                    f"{key} is a secret, and every user of the machine can read a command line: "
                    f"say `hhtui set {app_id} {key}` and type the value when asked, or pipe it in"
                )
            _put(patch, key, _typed(key))
        elif sign:
            _put(patch, key, _added(patch, row, sign, setting_typed(key, text, "list")))
        elif says_none(key, row.get("type", ""), text):
            without.append(key)
        else:
            _put(patch, key, setting_typed(key, text, row.get("type", "")))
    _report(session, app_id, _changed(session, app_id, patch, without), "set", patch, without)


@command("unset")
@click.argument("app_id", metavar="APP")
@click.argument("keys", metavar="KEY...", nargs=-1, required=True)
def unset(session: Session, app_id: str, keys: tuple[str, ...]) -> None:
    """Go back to what the app's author says: hhtui unset lamp limits.memory_mb."""
    patch: dict[str, Any] = {}
    rows = {row["key"]: row for row in _view(session, app_id).get("rows") or []}
    for key in keys:
        key = _full(key, rows)
        if key not in rows and key not in _WHOLE:
            raise InvalidInputError(f"{sanitise(key, 60)}: no such key; `hhtui settings {app_id}` lists them all")
        _put(patch, key, None)
    _report(session, app_id, _changed(session, app_id, patch), "unset", patch)


@command("settings")
@click.argument("app_id", metavar="APP")
def settings(session: Session, app_id: str) -> None:
    """Show what can be set of the app: its author's value, yours, and what holds; never a secret."""
    view = _view(session, app_id)
    console = session.console
    if console.json:
        console.document(view)
        return
    if view.get("problem"):
        console.complain(f"{text_of(view.get('path'))}: {text_of(view['problem'])}")
    table = Table(console)
    for title in ("KEY", "AUTHOR", "YOURS", "IN FORCE"):
        table.column(title)
    table.column("NOTE", optional=True)
    for row in view.get("rows") or []:
        table.row(
            [text_of(row.get("key")), *(_shown(row, part) for part in ("author", "owner", "in_force")), _note(row)]
        )
    table.print()


# Of these all that is below goes at once.
_WHOLE = frozenset({"environment", "settings", "limits", "restart", "stop", "permissions"})


def _full(key: str, rows: dict[str, Any]) -> str:
    """The whole key of a setting that is named alone."""
    return f"settings.{key}" if _SETTING.match(key) and f"settings.{key}" in rows else key


def _view(session: Session, app_id: str) -> dict[str, Any]:
    """An app's AppSettings: the running engine's, else what its files say."""
    try:
        return session.client().app_settings(app_id)
    except NoEngineError as error:
        return _alone(session, error, "settings", app_id=app_id)


def _changed(session: Session, app_id: str, patch: dict[str, Any], none: Sequence[str] = ()) -> dict[str, Any]:
    """The AppSettings after a change, by the running engine, else in its files."""
    try:
        return session.client().change_app_settings(app_id, patch, none)
    except NoEngineError as error:
        return _alone(session, error, "change_settings", app_id=app_id, patch=patch, none=list(none))


def _alone(session: Session, error: NoEngineError, task: str, **more: Any) -> dict[str, Any]:
    """What the engine's code does with the files of a home of this machine; the error for one elsewhere."""
    if session.host is not None:
        raise error
    request = {"task": task, "root": str(session.home.root), **more}
    return run_task(session.console, _MODULE, request, task)


def _put(patch: dict[str, Any], key: str, value: Any) -> None:
    part, dot, name = key.partition(".")
    if not part or (dot and not name):
        raise UsageError(f"{sanitise(key, 60)!r} is no key")
    if not dot:
        patch[part] = value
        return
    inner = patch.setdefault(part, {})
    if not isinstance(inner, dict):
        raise UsageError(f"{part} and {sanitise(key, 60)} do not go together")
    inner[name] = value


def _added(patch: dict[str, Any], row: dict[str, Any], sign: str, items: Any) -> list[Any]:
    """The list that holds now, or that was said before in the same command, with these items or without them."""
    key = str(row.get("key") or "")
    if row.get("type") != "list" or not isinstance(items, list):
        raise UsageError(f"{sanitise(key, 60) or 'this'}: += and -= are for lists, such as permissions.files")
    part, _, name = key.partition(".")
    before = patch.get(part, {}).get(name, row.get("in_force")) or []
    kept = [item for item in before if item not in items]
    return [*kept, *items] if sign == "+" else kept


def _shown(row: dict[str, Any], part: str) -> str:
    if row.get("secret"):
        return ("(set)" if row.get("is_set") else "") if part != "author" else ""
    if row.get("is_none") and part == "owner":
        return NONE_WORDS
    return value_text(row.get(part))


def _note(row: dict[str, Any]) -> str:
    if row.get("required") and not row.get("is_set"):
        return "is to be set: the app does not start without it"
    return "the next start" if row.get("at_restart") else text_of(row.get("description"))


def _report(
    session: Session, app_id: str, view: dict[str, Any], done: str, patch: dict[str, Any], none: Sequence[str] = ()
) -> None:
    if session.console.json:
        session.console.document(view)
        return
    keys = [f"{key}.{name}" for key, value in patch.items() if isinstance(value, dict) for name in value]
    keys += [key for key, value in patch.items() if not isinstance(value, dict)]
    if keys:
        session.console.words(f"{app_id}: {', '.join(keys)} {'is' if len(keys) == 1 else 'are'} {done}")
    for key in none:
        session.console.words(f"{app_id}: {key} has no value any more, whatever its author says")
    waiting = [text_of(row["key"]) for row in view.get("rows") or [] if row.get("at_restart")]
    if waiting:
        session.console.words(f"`hhtui restart {app_id}` gives it: {', '.join(waiting)}")


@click.group("secret", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
def secret() -> None:
    """Set, list and remove the secrets of apps (config/secrets.env)."""


@command("set")
@click.argument("name")
@click.argument("more", nargs=-1, metavar="")
def set_secret(session: Session, name: str, more: tuple[str, ...]) -> None:
    """Set the secret NAME; its value is asked for without echo, or read from standard input."""
    from hhtui.model.secrets import check_secret

    if more or "=" in name:
        shown = sanitise(name.partition("=")[0], 60)
        raise UsageError(
            "every user of the machine can read a command line: "
            f"say `hhtui secret set {shown}` and type the value when asked, or pipe it in"
        )
    check_secret(name, None)
    value = _typed(name)
    check_secret(name, value)
    changed = _change(session, {name: value})
    info = next(iter(changed), {"name": name, "is_set": True})
    if session.console.json:
        session.console.document(info)
        return
    session.console.words(f"{name} is set{_used_by(info)}" if changed else f"{name} is this already")


@command("list")
def list_secrets(session: Session) -> None:
    """List the secrets, since when each is set, and which apps use it; never a value."""
    secrets = _secrets(session)
    if session.console.json:
        session.console.document(secrets)
        return
    table = Table(session.console)
    for title in ("SECRET", "SET", "APPS"):
        table.column(title)
    for each in secrets:
        since = local_time(each.get("since")) if each.get("since") else "yes"
        table.row([text_of(each.get("name")), since if each.get("is_set") else "missing", _apps(each)])
    if secrets:
        table.print()
    else:
        session.console.words("no secrets yet: `hhtui secret set NAME` sets one")


@command("remove")
@click.argument("name")
def remove_secret(session: Session, name: str) -> None:
    """Remove the secret NAME; running apps keep what they were started with."""
    changed = _change(session, {name: None})
    if not changed:
        raise NotFoundError(f"there is no secret {sanitise(name, 60)!r}; `hhtui secret list` lists them all")
    if session.console.json:
        session.console.document(changed[0])
        return
    session.console.words(f"{name} is removed{_used_by(changed[0])}")


def _typed(name: str) -> str:
    """What is typed, or all of standard input without its last line end."""
    if sys.stdin.isatty():
        typed: str = click.prompt(f"Value of {name}", hide_input=True, err=True)
        return typed
    data = sys.stdin.buffer.read(_MOST_TYPED)
    try:
        return data.decode().removesuffix("\n").removesuffix("\r")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{name}: the value is not UTF-8 (byte {error.start})") from None


def _apps(info: dict[str, Any]) -> str:
    return ", ".join(text_of(app_id) for app_id in info.get("apps") or [])


def _used_by(info: dict[str, Any]) -> str:
    return f"; used by {_apps(info)}" if info.get("apps") else "; no app uses it"


def _secrets(session: Session) -> list[dict[str, Any]]:
    """Every SecretInfo: the running engine's, else what its file and the manifests say."""
    try:
        return session.client().secrets()
    except NoEngineError as error:
        listed: list[dict[str, Any]] = _secrets_alone(session, error)["secrets"]
        return listed


def _change(session: Session, changes: dict[str, str | None]) -> list[dict[str, Any]]:
    """Change secrets through the engine that runs, else in the file; the SecretInfo of each that changed."""
    try:
        return session.client().change_secrets(changes)
    except NoEngineError as error:
        changed: list[dict[str, Any]] = _secrets_alone(session, error, changes=changes)["changed"]
        return changed


def _secrets_alone(session: Session, error: NoEngineError, **more: Any) -> dict[str, Any]:
    answer = _alone(session, error, "secrets", **more)
    if notice := answer.get("notice"):
        session.console.complain(str(notice))
    return answer


for _command in (set_secret, list_secrets, remove_secret):
    secret.add_command(_command)
