"""``hhtui config edit`` and ``config restore``: the whole file at once, checked before it takes effect."""

from __future__ import annotations

import json
import os
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import click

from hhtui.cli.session import Session, command
from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.text import sanitise

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
        raise InvalidInputError(f"{path}: cannot be read: {reason}") from None
    draft = path.with_name(f".config.edit-{os.getpid()}.json")
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        # Secrets may be in it.
        draft.touch(mode=0o600)
        draft.write_text(before)
        _edit_until_valid(session, draft, before)
    except OSError as error:
        raise HomeHelperError(f"{draft}: cannot be written: {error.strerror}") from None
    finally:
        draft.unlink(missing_ok=True)


@command("restore")
def restore(session: Session) -> None:
    """Go back to the configuration before the last change; again to come back."""
    from hhtui.model.config_backup import read_backup

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
            words = error.message if isinstance(error, InvalidInputError) else f"{draft}: not UTF-8"
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
    """Put the text in force and tell what that changes."""
    from hhtui.model.config import RESTART_KEYS
    from hhtui.model.config_backup import flat_with_secrets
    from hhtui.model.config_file import load_config, replace_config

    try:
        before = flat_with_secrets(load_config(session.home).config)
    except InvalidInputError:
        before = {}
    loaded, _ = replace_config(session.home, text)
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


def _shown(key: str, value: Any) -> str:
    from hhtui.model.config import SECRET_KEYS
    from hhtui.model.config_file import SECRET_SHOWN

    return SECRET_SHOWN if key in SECRET_KEYS and value else json.dumps(value, ensure_ascii=False)
