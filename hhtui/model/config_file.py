"""config.json: read, changed, restored from its backup, and brought from older forms (docs/configuration.md).

To change its form: raise ``SCHEMA_VERSION`` in hhtui/model/config.py, add the step from the version before to
``STEPS``, and an example of that version to tests/model/test_migrations.py.
"""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, Field, ValidationError

from hhtui.errors import InvalidInputError
from hhtui.model.base import Model
from hhtui.model.config import SCHEMA_VERSION, SECRET_KEYS, Config, flatten, unknown_keys
from hhtui.model.problems import first_problem
from hhtui.paths import Home
from hhtui.storage import parse_json_object, read_json_object, set_aside, write_atomically, write_json
from hhtui.text import sanitise

ENV_PREFIX = "HOMEHELPER_"
# Variables of the product that are no configuration keys.
_NOT_KEYS = frozenset({"HOMEHELPER_HOME"})
SECRET_SHOWN = "********"
_MAX_BYTES = 1024 * 1024


@dataclass
class LoadedConfig:
    """A valid configuration, where each overridden key comes from, and what there is to report about the file."""

    config: Config
    document: dict[str, Any]
    sources: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


class ConfigChange(Model):
    """One key's value before and after; a secret is hidden in both, so they may look the same."""

    key: str
    old: Any = None
    new: Any = None


class ConfigBackup(Model):
    """What is in the backup against what is in config.json; ``error`` says in one line why it cannot be restored."""

    path: str
    exists: bool = False
    error: str | None = None
    changes: list[ConfigChange] = Field(default_factory=list)


def load_config(home: Home, environ: Mapping[str, str] = os.environ, *, repair: bool = False) -> LoadedConfig:
    """The configuration of ``home``: variables > config/.env > config.json > defaults.

    With ``repair`` (the engine's start) a broken file is kept beside as ``config.broken-<time>.json`` and the backup,
    else the defaults, take its place; without, a broken file raises InvalidInputError. A variable that would make the
    configuration invalid is ignored and reported in ``problems``: it must not keep the file from being read or changed.
    """
    problems: list[str] = []
    migrated: list[str] = []
    try:
        document = _read_document(home.config_file)
        _validate(document, home.config_file)
        if repair:
            migrated = _keep_older(home, document)
    except InvalidInputError as error:
        if not repair:
            raise
        document, note = _recover(home, error.message)
        problems.append(note)
    return _with_overrides(home, document, environ, problems, migrated)


def _with_overrides(
    home: Home, document: dict[str, Any], environ: Mapping[str, str], problems: list[str], warnings: list[str]
) -> LoadedConfig:
    overlaid = copy.deepcopy(document)
    sources: dict[str, str] = {}
    overrides, override_warnings = _overrides(home, environ)
    for name, (value, source) in overrides.items():
        candidate = copy.deepcopy(overlaid)
        _set_path(candidate, name, value)
        try:
            Config.model_validate(candidate)
        except ValidationError as error:
            problems.append(f"{source}: {first_problem(error)}; the variable is ignored")
            continue
        overlaid = candidate
        sources[name] = source
    config = Config.model_validate(overlaid)
    unknown = [f"{home.config_file}: unknown key {name} is kept but has no effect" for name in unknown_keys(config)]
    return LoadedConfig(config, document, sources, problems, warnings + unknown + override_warnings)


def change_config(
    home: Home, patch: Mapping[str, Any], environ: Mapping[str, str] = os.environ, *, only_check: bool = False
) -> tuple[LoadedConfig, list[str]]:
    """Apply a JSON merge patch (RFC 7396) to the file, after copying it to the backup; the new state and changed keys.

    InvalidInputError, with nothing written, if the result would be invalid. What the environment overrides is written
    as the patch says, never as the environment says. ``only_check`` writes nothing, and the state is what would be.
    """
    document = _read_document(home.config_file)
    merged = _merge(document, patch)
    merged.setdefault("schema_version", SCHEMA_VERSION)
    _validate(merged, home.config_file)
    _refuse_unreadable(merged, home.config_file)
    changed = changed_keys(document, merged)
    if only_check:
        return _with_overrides(home, merged, environ, [], []), changed
    if changed:
        try:
            home.config_dir.mkdir(parents=True, exist_ok=True)
            _keep_older(home, document)
            if home.config_file.exists():
                write_atomically(home.config_backup, home.config_file.read_bytes())
            elif not home.config_backup.exists():
                write_json(home.config_backup, {"schema_version": SCHEMA_VERSION})  # the defaults were in force
            write_json(_written_file(home), merged)
        except OSError as error:
            raise InvalidInputError(f"{home.config_file}: cannot be written: {error.strerror}") from None
        except UnicodeEncodeError:
            names = sanitise(", ".join(changed), 300)
            raise InvalidInputError(f"{names}: holds half a surrogate pair, no character") from None
    return load_config(home, environ), changed


def replace_config(home: Home, text: str, environ: Mapping[str, str] = os.environ) -> tuple[LoadedConfig, list[str]]:
    """Put ``text`` in the place of the file, as it is; the new state and the changed keys.

    InvalidInputError, with nothing written, if it is not valid. The file before becomes the backup if it was valid,
    else it is kept beside as ``config.broken-<time>.json``.
    """
    document, _ = _parse(text, home.config_file)
    try:
        before = _read_document(home.config_file)
        _validate(before, home.config_file)
    except InvalidInputError:
        before = {}
        set_aside(home.config_file)
    try:
        home.config_dir.mkdir(parents=True, exist_ok=True)
        if home.config_file.exists():
            write_atomically(home.config_backup, home.config_file.read_bytes())
        write_atomically(_written_file(home), text.encode())
    except OSError as error:
        raise InvalidInputError(f"{home.config_file}: cannot be written: {error.strerror}") from None
    return load_config(home, environ), changed_keys(before, document)


def change_of(home: Home, text: str) -> dict[str, Any]:
    """The merge patch (RFC 7396) that makes the file's document that of ``text``; InvalidInputError if it is none."""
    document, _ = _parse(text, home.config_file)
    return _difference(_read_document(home.config_file), document)


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
        _, after = _parse(read_backup(home), home.config_backup)
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


def changed_keys(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The dotted keys that differ."""
    old, new = flatten(before), flatten(after)
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


def flat_with_secrets(config: Config) -> dict[str, Any]:
    """Every dotted key with its value, secrets included: to compare, never to show."""
    document = config.model_dump(mode="json")
    for name in SECRET_KEYS:
        section, key = name.split(".")
        secret = getattr(getattr(config, section), key)
        document[section][key] = secret.get_secret_value() if secret is not None else None
    return flatten(document)


def patch_of(name: str, value: Any) -> dict[str, Any]:
    """The merge patch that sets the dotted key ``name``; InvalidInputError if there is no such key."""
    model: type[BaseModel] | None = Config
    for part in name.split("."):
        if model is None or part not in model.model_fields:
            raise InvalidInputError(f"{name}: no such key; `hhtui config show` lists them all")
        annotation = model.model_fields[part].annotation
        model = annotation if isinstance(annotation, type) and issubclass(annotation, BaseModel) else None
    patch: Any = value
    for part in reversed(name.split(".")):
        patch = {part: patch}
    result: dict[str, Any] = patch
    return result


def shown(config: Config) -> dict[str, Any]:
    """The configuration as JSON with its secrets hidden, for answers, events and Redis."""
    document = config.model_dump(mode="json")
    for name in SECRET_KEYS:
        section, key = name.split(".")
        if document[section].get(key):
            document[section][key] = SECRET_SHOWN
    return document


def version_of(document: dict[str, Any]) -> int:
    """The version of a file: what it says; without a word 0 if keys are dotted, else the present one.

    InvalidInputError: it is no whole number, or newer than this program.
    """
    if "schema_version" not in document:
        return 0 if any("." in name for name in document) else SCHEMA_VERSION
    version = document["schema_version"]
    if not isinstance(version, int) or isinstance(version, bool) or version < 0:
        raise InvalidInputError(f"schema_version: must be a whole number from 0, got {version!r:.60}")
    if version > SCHEMA_VERSION:
        raise InvalidInputError(f"schema_version: {version} is newer than this hhtui knows ({SCHEMA_VERSION})")
    return version


def migrate(document: dict[str, Any]) -> dict[str, Any]:
    """``document`` in the present form, the same object if it has that already. InvalidInputError as above."""
    version = version_of(document)
    if version == SCHEMA_VERSION:
        return document
    document = copy.deepcopy(document)
    while version < SCHEMA_VERSION:
        document = STEPS[version](document)
        version += 1
    return {**document, "schema_version": version}


Migration = Callable[[dict[str, Any]], dict[str, Any]]


def _nest_dotted_keys(document: dict[str, Any]) -> dict[str, Any]:
    """0 → 1: ``{"redis.host": "x"}``, as `hhtui config show` prints keys, becomes ``{"redis": {"host": "x"}}``."""
    nested = {name: value for name, value in document.items() if "." not in name}
    for name, value in document.items():
        if "." not in name:
            continue
        *parents, last = name.split(".")
        section = nested
        for part in parents:
            child = section.setdefault(part, {})
            if not isinstance(child, dict):
                raise InvalidInputError(f"{name}: {part} is set as a value and as a section")
            section = child
        if last in section:
            raise InvalidInputError(f"{name}: is set twice")
        section[last] = value
    return nested


# The step from each version to the next.
STEPS: dict[int, Migration] = {0: _nest_dotted_keys}


def _parse(text: str, path: Path) -> tuple[dict[str, Any], Config]:
    """The document that ``text`` is, in the present form, and what it configures; InvalidInputError if it is none."""
    try:
        document = migrate(parse_json_object(text))
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error.message}") from None
    except ValueError as error:
        raise InvalidInputError(f"{path}: {error}") from None
    return document, _validate(document, path)


def _validate(document: dict[str, Any], path: Path) -> Config:
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise InvalidInputError(f"{path}: {first_problem(error)}") from None


def _refuse_unreadable(document: dict[str, Any], path: Path) -> None:
    """InvalidInputError if the file could not be read back: nested too deeply, of a version that we do not know."""
    try:
        migrate(parse_json_object(json.dumps(document, ensure_ascii=False)))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: {error}") from None
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error.message}") from None


def _read_document(path: Path) -> dict[str, Any]:
    """What is in the file, in the present form."""
    document = _read_file(path)
    try:
        return migrate(document)
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error.message}") from None


def _read_file(path: Path) -> dict[str, Any]:
    try:
        return read_json_object(path, _MAX_BYTES)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidInputError(f"{path}: cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInputError(f"{path}: {error}") from None


def _written_file(home: Home) -> Path:
    """The file that config.json is, or links to: a link, made by whoever keeps their settings elsewhere, stays one."""
    return Path(os.path.realpath(home.config_file))


def _keep_older(home: Home, document: dict[str, Any]) -> list[str]:
    """Write a document that was migrated, the older file kept beside as ``config.v<N>.json``; what to report."""
    version = version_of(_read_file(home.config_file))
    if version == SCHEMA_VERSION:
        return []
    older = home.config_dir / f"config.v{version}.json"
    try:
        write_atomically(older, home.config_file.read_bytes())
        write_json(_written_file(home), document)
    except OSError as error:
        return [f"{home.config_file}: is of version {version} and cannot be written anew: {error.strerror}"]
    return [f"{home.config_file}: brought from version {version} to {SCHEMA_VERSION}; the older one is {older.name}"]


def _recover(home: Home, reason: str) -> tuple[dict[str, Any], str]:
    document: dict[str, Any] = {}
    origin = "the defaults"
    try:
        backup = migrate(read_json_object(home.config_backup, _MAX_BYTES))
        _validate(backup, home.config_backup)
        document, origin = backup, str(home.config_backup)
    except (OSError, ValueError, InvalidInputError):
        pass
    aside = set_aside(home.config_file)
    if aside is not None and document:
        try:
            write_json(_written_file(home), document)
        except OSError:
            pass
    beside = f"kept as {aside.name}" if aside else "left where it is"
    return document, f"{reason}; started from {origin}, the broken file is {beside}"


def _of_file(home: Home) -> dict[str, Any]:
    try:
        text = home.config_file.read_text(encoding="utf-8-sig")
    except FileNotFoundError:
        return flat_with_secrets(Config())
    except (OSError, UnicodeDecodeError):
        raise InvalidInputError(f"{home.config_file}: cannot be read") from None
    _, config = _parse(text, home.config_file)
    return flat_with_secrets(config)


def _read_dotenv(path: Path, warnings: list[str]) -> dict[str, str | None]:
    """The variables of a dotenv file; a line that is none adds to ``warnings``, and no more."""
    from dotenv.parser import parse_stream  # half a megabyte that a home without the file need not have

    found: dict[str, str | None] = {}
    with path.open(encoding="utf-8") as file:
        for binding in parse_stream(file):
            if binding.error:
                warnings.append(f"{path}: line {binding.original.line} is no NAME=value and has no effect")
            elif binding.key is not None:
                found[binding.key] = binding.value
    return found


def _overrides(home: Home, environ: Mapping[str, str]) -> tuple[dict[str, tuple[Any, str]], list[str]]:
    warnings: list[str] = []
    try:
        from_file = _read_dotenv(home.dotenv, warnings) if home.dotenv.is_file() else {}
    except (OSError, UnicodeDecodeError) as error:
        return {}, [f"{home.dotenv}: cannot be read: {error}"]
    known = set(flatten(Config().model_dump(mode="json")))
    found: dict[str, tuple[Any, str]] = {}
    for variables, where in ((from_file, str(home.dotenv)), (environ, "environment")):
        for variable, text in variables.items():
            if not variable.startswith(ENV_PREFIX) or variable in _NOT_KEYS or text is None:
                continue
            name = variable.removeprefix(ENV_PREFIX).lower().replace("__", ".")
            if name in known:
                found[name] = (_value_of(name, text), f"{where} {variable}")
            elif where != "environment":
                warnings.append(f"{where}: {variable} names no key")
    return found, warnings


def _value_of(name: str, text: str) -> Any:
    if name == "process_manager.apps_dirs":
        if text.lstrip().startswith("["):
            try:
                return json.loads(text)
            except ValueError:
                return text
        return [part for part in text.split(":") if part]
    return text if text != "" else None


def _set_path(document: dict[str, Any], name: str, value: Any) -> None:
    *parents, last = name.split(".")
    for part in parents:
        child = document.get(part)
        if not isinstance(child, dict):
            child = {}
            document[part] = child
        document = child
    document[last] = value


def _difference(before: dict[str, Any], after: dict[str, Any]) -> dict[str, Any]:
    patch: dict[str, Any] = dict.fromkeys(before.keys() - after.keys())
    for key, value in after.items():
        old = before.get(key)
        if isinstance(old, dict) and isinstance(value, dict):
            if inner := _difference(old, value):
                patch[key] = inner
        elif key not in before or old != value:
            patch[key] = value
    return patch


def _hidden(key: str, value: Any) -> Any:
    return SECRET_SHOWN if key in SECRET_KEYS and value else value


def _merge(target: Any, patch: Any) -> Any:
    if not isinstance(patch, Mapping):
        return patch
    merged = dict(target) if isinstance(target, dict) else {}
    for key, value in patch.items():
        if value is None:
            merged.pop(key, None)
        else:
            merged[key] = _merge(merged.get(key), value)
    return merged
