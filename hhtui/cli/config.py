"""``hhtui config``: read, change and check the configuration, with or without an engine."""

from __future__ import annotations

import json
from typing import Any

import click

from hhtui.cli.config_edit import edit, restore
from hhtui.cli.console import DIM, Console
from hhtui.cli.session import Session, command, shared_options
from hhtui.errors import InvalidInputError, NoEngineError
from hhtui.text import sanitise


@click.group("config", context_settings={"help_option_names": ["-h", "--help"]})
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


for _command in (show, get, set_value, edit, validate, restore, path):
    config.add_command(_command)


def _view(session: Session) -> dict[str, Any]:
    """ConfigView: the running engine's, else what an engine would begin with."""
    try:
        return session.client().config()
    except NoEngineError:
        from hhtui.model.config_file import load_config

        return _view_of(session, load_config(session.home))


def _explained() -> dict[str, dict[str, Any]]:
    from hhtui.model.config_keys import config_keys

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
