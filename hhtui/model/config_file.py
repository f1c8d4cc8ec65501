"""Reading and changing config.json: precedence, backup, broken files (contract, section 2)."""

from __future__ import annotations

import copy
import json
import os
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

from pydantic import BaseModel, ValidationError

from hhtui.errors import InvalidInputError
from hhtui.model.config import SCHEMA_VERSION, SECRET_KEYS, Config, flatten, unknown_keys
from hhtui.model.migrations import migrate, version_of
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
    """A valid configuration, where each overridden key comes from, and what is to be told about the file."""

    config: Config
    document: dict[str, Any]
    sources: dict[str, str] = field(default_factory=dict)
    problems: list[str] = field(default_factory=list)
    warnings: list[str] = field(default_factory=list)


def load_config(home: Home, environ: Mapping[str, str] = os.environ, *, repair: bool = False) -> LoadedConfig:
    """The configuration of ``home``: variables > config/.env > config.json > defaults.

    With ``repair`` (the engine's start) a broken file is kept beside as ``config.broken-<time>.json`` and the backup,
    else the defaults, take its place; without, a broken file raises InvalidInputError. A variable that would make the
    configuration invalid is ignored and told in ``problems``: it must not keep the file from being read or changed.
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
        document, told = _recover(home, error.message)
        problems.append(told)
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
    warnings = [f"{home.config_file}: unknown key {name} is kept but has no effect" for name in unknown_keys(config)]
    return LoadedConfig(config, document, sources, problems, migrated + warnings + override_warnings)


def change_config(
    home: Home, patch: Mapping[str, Any], environ: Mapping[str, str] = os.environ, *, only_check: bool = False
) -> tuple[LoadedConfig, list[str]]:
    """Apply a JSON merge patch (RFC 7396) to the file, after copying it to the backup; the new state and changed keys.

    InvalidInputError, with nothing written, if the result would be invalid. What the environment overrides is written
    as the patch says, never as the environment says. ``only_check`` writes nothing whatever the result.
    """
    document = _read_document(home.config_file)
    merged = _merge(document, patch)
    merged.setdefault("schema_version", SCHEMA_VERSION)
    _validate(merged, home.config_file)
    _refuse_unreadable(merged, home.config_file)
    changed = changed_keys(document, merged)
    if changed and not only_check:
        try:
            home.config_dir.mkdir(parents=True, exist_ok=True)
            _keep_older(home, document)
            if home.config_file.exists():
                write_atomically(home.config_backup, home.config_file.read_bytes())
            elif not home.config_backup.exists():
                write_json(home.config_backup, {"schema_version": SCHEMA_VERSION})  # the defaults were in force
            write_json(home.config_file, merged)
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
    try:
        document = migrate(parse_json_object(text))
    except ValueError as error:
        raise InvalidInputError(f"{home.config_file}: {error}") from None
    _validate(document, home.config_file)
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
        write_atomically(home.config_file, text.encode())
    except OSError as error:
        raise InvalidInputError(f"{home.config_file}: cannot be written: {error.strerror}") from None
    return load_config(home, environ), changed_keys(before, document)


def changed_keys(before: dict[str, Any], after: dict[str, Any]) -> list[str]:
    """The dotted keys that differ."""
    old, new = flatten(before), flatten(after)
    return sorted(key for key in old.keys() | new.keys() if old.get(key) != new.get(key))


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


def _refuse_unreadable(document: dict[str, Any], path: Path) -> None:
    """InvalidInputError if the file could not be read back: nested too deeply, of a version that we do not know."""
    try:
        migrate(parse_json_object(json.dumps(document, ensure_ascii=False)))
    except (ValueError, RecursionError) as error:
        raise InvalidInputError(f"{path}: {error}") from None
    except InvalidInputError as error:
        raise InvalidInputError(f"{path}: {error.message}") from None


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


def _keep_older(home: Home, document: dict[str, Any]) -> list[str]:
    """Write a document that was migrated, the older file kept beside as ``config.v<N>.json``; what is to be told."""
    version = version_of(_read_file(home.config_file))
    if version == SCHEMA_VERSION:
        return []
    kept = home.config_dir / f"config.v{version}.json"
    try:
        write_atomically(kept, home.config_file.read_bytes())
        write_json(home.config_file, document)
    except OSError as error:
        return [f"{home.config_file}: is of version {version} and cannot be written anew: {error.strerror}"]
    return [f"{home.config_file}: brought from version {version} to {SCHEMA_VERSION}; the older one is {kept.name}"]


def _validate(document: dict[str, Any], path: Path) -> Config:
    try:
        return Config.model_validate(document)
    except ValidationError as error:
        raise InvalidInputError(f"{path}: {first_problem(error)}") from None


def _recover(home: Home, reason: str) -> tuple[dict[str, Any], str]:
    document: dict[str, Any] = {}
    origin = "the defaults"
    try:
        backup = migrate(read_json_object(home.config_backup, _MAX_BYTES))
        _validate(backup, home.config_backup)
        document, origin = backup, str(home.config_backup)
    except (OSError, ValueError, InvalidInputError):
        pass
    kept = set_aside(home.config_file)
    if kept is not None and document:
        try:
            write_json(home.config_file, document)
        except OSError:
            pass
    beside = f"kept as {kept.name}" if kept else "left where it is"
    return document, f"{reason}; started from {origin}, the broken file is {beside}"


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
