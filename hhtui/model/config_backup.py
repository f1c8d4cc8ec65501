"""config.backup.json: what going back to it would change, and going back."""

from __future__ import annotations

import os
from collections.abc import Mapping
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from hhtui.errors import InvalidInputError
from hhtui.model.config import SECRET_KEYS, Config, flatten
from hhtui.model.config_file import SECRET_SHOWN, LoadedConfig, replace_config
from hhtui.model.migrations import migrate
from hhtui.model.problems import first_problem
from hhtui.paths import Home
from hhtui.storage import parse_json_object


class ConfigChange(BaseModel):
    """One key's value before and after; a secret is hidden in both, so they may look the same."""

    key: str
    old: Any = None
    new: Any = None


class ConfigBackup(BaseModel):
    """What is in the backup against what is in config.json; ``error`` says in one line why it cannot be restored."""

    path: str
    exists: bool = False
    error: str | None = None
    changes: list[ConfigChange] = Field(default_factory=list)


def read_backup(home: Home) -> str:
    """The backup's text; InvalidInputError if there is none or it cannot be read."""
    path: Path = home.config_backup
    try:
        return path.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        raise InvalidInputError(f"{path}: not there; nothing has been changed through hhtui yet") from None
    except (OSError, UnicodeDecodeError) as error:
        reason = error.strerror if isinstance(error, OSError) else "not UTF-8"
        raise InvalidInputError(f"{path}: cannot be read: {reason}") from None


def restore_backup(home: Home, environ: Mapping[str, str] = os.environ) -> tuple[LoadedConfig, list[str]]:
    """Put the backup in the place of the file, which becomes the backup; the new state and the changed keys."""
    return replace_config(home, read_backup(home), environ)


def about_backup(home: Home) -> ConfigBackup:
    """What a restore would do to config.json, without doing it; a broken config.json counts as all defaults."""
    about = ConfigBackup(path=str(home.config_backup), exists=home.config_backup.exists())
    try:
        after = _validated(read_backup(home), home.config_backup)
    except InvalidInputError as error:
        return about.model_copy(update={"error": error.message})
    try:
        before = _of_file(home)
    except InvalidInputError:
        before = flat_with_secrets(Config())
    return about.model_copy(update={"changes": differences(before, flat_with_secrets(after))})


def differences(before: Mapping[str, Any], after: Mapping[str, Any]) -> list[ConfigChange]:
    """The keys whose values differ, by name, secrets hidden."""
    return [
        ConfigChange(key=key, old=_hidden(key, before.get(key)), new=_hidden(key, after.get(key)))
        for key in sorted(before.keys() | after.keys())
        if before.get(key) != after.get(key)
    ]


def flat_with_secrets(config: Config) -> dict[str, Any]:
    """Every dotted key with its value, secrets included: to compare, never to show."""
    document = config.model_dump(mode="json")
    for name in SECRET_KEYS:
        section, key = name.split(".")
        secret = getattr(getattr(config, section), key)
        document[section][key] = secret.get_secret_value() if secret is not None else None
    return flatten(document)


def _of_file(home: Home) -> dict[str, Any]:
    try:
        text = home.config_file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return flat_with_secrets(Config())
    except (OSError, UnicodeDecodeError):
        raise InvalidInputError(f"{home.config_file}: cannot be read") from None
    return flat_with_secrets(_validated(text, home.config_file))


def _validated(text: str, path: Path) -> Config:
    try:
        return Config.model_validate(migrate(parse_json_object(text)))
    except ValidationError as error:
        raise InvalidInputError(f"{path}: {first_problem(error)}") from None
    except (ValueError, InvalidInputError) as error:
        words = error.message if isinstance(error, InvalidInputError) else str(error)
        raise InvalidInputError(f"{path}: {words}") from None


def _hidden(key: str, value: Any) -> Any:
    return SECRET_SHOWN if key in SECRET_KEYS and value else value
