"""``hhtui config``: read, change and check the configuration, with or without an engine."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
import tempfile
from pathlib import Path
from typing import TYPE_CHECKING, Any

import click

from hhtui.cli.console import DIM, Console
from hhtui.cli.session import Group, Session, command, shared_options
from hhtui.errors import HomeHelperError, InvalidInputError, NoEngineError
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.model.config_file import LoadedConfig

# When apps whose port lies outside the configured range get another one.
_MOVES = {
    "next_start": "these keep their port until their next start, and then get another one",
    "now": "these sleep, and are waited for on another port from now on",
}


@click.group("config", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
def config() -> None:
    """Read and change the configuration."""


@command("path")
def path(session: Session) -> None:
    """Print where the configuration file is."""
    where = str(session.home.config_file)
    if session.console.json:
        session.console.document({"path": where})
    else:
        session.console.data(sanitise(where))


@command("show")
@click.option("--explain", is_flag=True, help="Say of each key what it is for and what it may be.")
def show(session: Session, explain: bool) -> None:
    """Print every key with its value; secrets stay hidden."""
    from hhtui.model.config import flatten

    view = _view(session)
    console = session.console
    known = _explained() if explain else {}
    if console.json:
        console.document({**view, "keys": list(known.values())} if explain else view)
        return
    sources = view.get("sources") or {}
    for name, value in sorted(flatten(view.get("values") or {}).items()):
        if name in known:
            console.data(console.colour(f"# {_help_line(known[name])}", DIM))
        origin = f"  # {sources[name]}" if name in sources else ""
        console.data(sanitise(f"{name} = {json.dumps(value, ensure_ascii=False)}") + console.colour(origin, DIM))
    _remarks(console, view)


@command("get")
@click.argument("key")
def get(session: Session, key: str) -> None:
    """Print the value of KEY, for example redis.port."""
    value: Any = _view(session).get("values")
    for part in key.split("."):
        if not isinstance(value, dict) or part not in value:
            raise InvalidInputError(f"{key}: no such key; `hhtui config show` lists them all")
        value = value[part]
    if session.console.json:
        session.console.document(value)
    else:
        text = value if isinstance(value, str) else json.dumps(value, ensure_ascii=False)
        session.console.data(sanitise(text))


@command("set", context_settings={"ignore_unknown_options": True})
@click.argument("key")
@click.argument("value")
def set_value(session: Session, key: str, value: str) -> None:
    """Set KEY to VALUE: JSON (8080, true, null, ["apps"]), else a text. null goes back to the default."""
    from hhtui.model.config_file import patch_of

    patch = patch_of(key, _parsed(value))
    view = _changed(session, patch)
    console = session.console
    if console.json:
        console.document(view)
        return
    sources = view.get("sources") or {}
    if key in sources:
        console.words(f"{key} is set in the file, but {sources[key]} overrides it")
    elif any(name == key or name.startswith(f"{key}.") for name in view.get("restart_needed") or []):
        console.words(f"{key} is set; it takes effect when the engine is restarted")
    else:
        console.words(f"{key} is set")
    if not key.startswith("process_manager."):
        return
    for when, words in _MOVES.items():
        moving = [f"{move['app_id']} ({move['port']})" for move in view.get("port_moves") or [] if move["when"] == when]
        if moving:
            console.words(f"{words}: {sanitise(', '.join(moving))}")


@command("validate")
def validate(session: Session) -> None:
    """Check the configuration file, config/.env and the variables, without an engine."""
    from hhtui.model.config_file import load_config

    console = session.console
    try:
        loaded = load_config(session.home)
        if loaded.problems:
            raise InvalidInputError(loaded.problems[0])
    except InvalidInputError as error:
        if console.json:
            console.document({"valid": False, "error": error.message, "warnings": []})
        raise
    if console.json:
        console.document({"valid": True, "error": None, "warnings": loaded.warnings})
        return
    for warning in loaded.warnings:
        console.complain(warning)
    where = session.home.config_file
    console.words(f"{where}: valid" if where.exists() else f"{where}: not there, the defaults apply")


def _view(session: Session) -> dict[str, Any]:
    """ConfigView: the running engine's, else what an engine would begin with."""
    try:
        return session.client().config()
    except NoEngineError:
        from hhtui.model.config_file import load_config

        return _view_of(session, load_config(session.home))


def _explained() -> dict[str, dict[str, Any]]:
    from hhtui.model.config import config_keys

    return {key.key: key.model_dump(mode="json") for key in config_keys()}


def _help_line(key: dict[str, Any]) -> str:
    allowed = f": {key['allowed']}" if key["allowed"] else ""
    default = "not set" if key["default"] is None else json.dumps(key["default"], ensure_ascii=False)
    restart = "; takes effect at the engine's restart" if key["restart"] else ""
    return f"{key['help']} ({key['type']}{allowed}; default {default}{restart})"


def _changed(session: Session, patch: dict[str, Any]) -> dict[str, Any]:
    try:
        return session.client().patch_config(patch)
    except NoEngineError:
        from hhtui.model.config_file import change_config

        loaded, _ = change_config(session.home, patch)
        return _view_of(session, loaded)


def _view_of(session: Session, loaded: Any) -> dict[str, Any]:
    from hhtui.model.config import flatten
    from hhtui.model.config_file import shown
    from hhtui.model.engine import ConfigView

    view = ConfigView(
        path=str(session.home.config_file),
        values=shown(loaded.config),
        sources=loaded.sources,
        in_file=sorted(flatten(loaded.document)),
        warnings=loaded.warnings,
        problems=loaded.problems,
    )
    return view.model_dump(mode="json")


def _remarks(console: Console, view: dict[str, Any]) -> None:
    for kind in ("problems", "warnings"):
        for line in view.get(kind) or []:
            console.complain(str(line))
    if waiting := view.get("restart_needed"):
        console.words(f"these take effect when the engine is restarted: {', '.join(map(str, waiting))}")


def _parsed(text: str) -> Any:
    try:
        return json.loads(text, parse_constant=lambda name: name)
    except (ValueError, RecursionError):
        return text


_EDITORS = ("editor", "nano", "vi")


@command("edit")
def edit(session: Session) -> None:
    """Open the configuration in $EDITOR; it is checked, and shown what changed, before it takes effect."""
    from hhtui.model.config import Config

    path = session.home.config_file
    try:
        before = path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        before = json.dumps(Config().model_dump(mode="json", exclude_none=True), indent=2) + "\n"
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        hint = "; `hhtui config set KEY VALUE` changes one value" if isinstance(error, PermissionError) else ""
        raise InvalidInputError(f"{path}: cannot be read: {reason}{hint}") from None
    # Not beside the file: who is in the service's group may not write there. Secrets may be in it.
    try:
        with tempfile.TemporaryDirectory(prefix="hhtui-config-") as folder:
            draft = Path(folder) / path.name
            draft.touch(mode=0o600)
            draft.write_text(before)
            _edit_until_valid(session, draft, before)
    except OSError as error:
        raise HomeHelperError(f"{error.filename or path}: cannot be written: {error.strerror}") from None


@command("restore")
def restore(session: Session) -> None:
    """Go back to the configuration before the last change; again to come back."""
    from hhtui.model.config_file import read_backup

    _take(session, read_backup(session.home))


def _edit_until_valid(session: Session, draft: Path, before: str) -> None:
    while True:
        _run_editor(draft)
        try:
            text = draft.read_text(encoding="utf-8-sig")
            if text == before:
                session.console.words("nothing was changed")
                if session.console.json:
                    session.console.document({"changed": [], "restart_needed": []})
                return
            _take(session, text)
            return
        except (InvalidInputError, UnicodeDecodeError) as error:
            words = error.message if isinstance(error, InvalidInputError) else f"{session.home.config_file}: not UTF-8"
            if not sys.stdin.isatty():
                raise InvalidInputError(f"{words}; the configuration stays as it was") from None
            session.console.complain(words)
            if not click.confirm("Edit again?", default=True, err=True):
                raise InvalidInputError("the configuration stays as it was") from None


def _run_editor(draft: Path) -> None:
    chosen = os.environ.get("VISUAL") or os.environ.get("EDITOR") or next(filter(shutil.which, _EDITORS), "")
    try:
        words = shlex.split(chosen)
        if not words:
            raise HomeHelperError("no editor is found: set EDITOR, for example EDITOR=nano")
        done = subprocess.run([*words, str(draft)], check=False)
    except (OSError, ValueError) as error:
        reason = error.strerror if isinstance(error, OSError) else str(error)
        raise HomeHelperError(f"the editor {chosen!r} cannot be run: {reason}; set EDITOR") from None
    if done.returncode:
        raise HomeHelperError(
            f"the editor {words[0]!r} ended with {done.returncode}; the configuration stays as it was"
        )


def _take(session: Session, text: str) -> None:
    """Put the text in force and say what that changes."""
    from hhtui.model.config import RESTART_KEYS
    from hhtui.model.config_file import flat_with_secrets, load_config

    try:
        before = flat_with_secrets(load_config(session.home).config)
    except InvalidInputError:
        before = {}
    loaded = _put_in_force(session, text)
    after = flat_with_secrets(loaded.config)
    changed = sorted(key for key in before.keys() | after.keys() if before.get(key) != after.get(key))
    waiting = [key for key in changed if key in RESTART_KEYS]
    console = session.console
    if console.json:
        console.document({"changed": changed, "restart_needed": waiting})
        return
    for key in changed:
        for mark, values in (("-", before), ("+", after)):
            if key in values:
                console.data(sanitise(f"{mark} {key} = {_shown(key, values[key])}"))
    for warning in loaded.warnings:
        console.complain(warning)
    console.words(f"{session.home.config_file} is written" if changed else "no value is different")
    if waiting:
        console.words(f"these take effect when the engine is restarted: {', '.join(waiting)}")


def _put_in_force(session: Session, text: str) -> LoadedConfig:
    """By the file, or by the engine for whoever may speak to it and not write its home, as a member of its group."""
    from hhtui.model.config_file import change_of, load_config, replace_config

    home = session.home
    folder = next(parent for parent in (home.config_dir, *home.config_dir.parents) if parent.exists())
    if os.access(folder, os.W_OK):
        return replace_config(home, text)[0]
    try:
        session.client().patch_config(change_of(home, text))
    except NoEngineError:
        raise HomeHelperError(
            f"{home.config_dir} cannot be written by this user, and no engine runs that could do it: "
            f"`sudo hhtui --home {home.root} config edit`"
        ) from None
    return load_config(home)


def _shown(key: str, value: Any) -> str:
    from hhtui.model.config import SECRET_KEYS
    from hhtui.model.config_file import SECRET_SHOWN

    return SECRET_SHOWN if key in SECRET_KEYS and value else json.dumps(value, ensure_ascii=False)


for _command in (show, get, set_value, edit, validate, restore, path):
    config.add_command(_command)
