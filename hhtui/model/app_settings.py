"""config/apps/<app_id>.json: what a home's owner has otherwise than an app's author (docs/configuration.md)."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_args

from pydantic import BaseModel, ConfigDict, Field, ValidationError, ValidationInfo, field_validator

from hhtui.errors import InvalidInputError
from hhtui.model.base import Model
from hhtui.model.manifest import (
    Endpoints,
    Limits,
    Manifest,
    Permissions,
    Restart,
    RestartPolicy,
    Setting,
    SettingValue,
    StopPolicy,
    parse_manifest,
)
from hhtui.model.problems import first_problem
from hhtui.storage import read_json_object
from hhtui.text import sanitise

MAX_SETTINGS_BYTES = 256 * 1024
# These hold fields of their own; of environment and settings the fields are what the app has.
PARTS: dict[str, type[BaseModel]] = {
    "limits": Limits,
    "endpoints": Endpoints,
    "restart": RestartPolicy,
    "stop": StopPolicy,
    "permissions": Permissions,
}
# Of these null says that there is none, whatever the author says; of the parts, that there is none of all.
_MAY_BE_NONE = frozenset({"group", "schedule", "limits", "endpoints"})


class OwnerSettings(Model):
    """An owner's word on one app; what is missing is as its author has it, so is null where there cannot be none."""

    model_config = ConfigDict(extra="forbid", strict=True, frozen=True)

    name: str | None = Field(None, min_length=1, max_length=200)
    group: str | None = Field(None, max_length=200)
    autostart: bool | None = None
    public: bool | None = Field(None, description="Whether the gateway lets everybody see its pages without the login.")
    port: int | None = Field(None, ge=1, le=65535)
    schedule: str | None = None
    environment: dict[str, str | None] = Field(default_factory=dict)
    settings: dict[str, SettingValue | None] = Field(default_factory=dict)
    limits: Limits | None = None
    endpoints: Endpoints | None = None
    restart: Restart | None = None
    stop: StopPolicy | None = None
    permissions: Permissions | None = None

    @field_validator("environment", "settings")
    @classmethod
    def _texts(cls, value: dict[str, Any]) -> dict[str, Any]:
        for name, text in value.items():
            # Half of a surrogate pair: a word of a command line that was no UTF-8, or a JSON escape.
            try:
                str(text).encode()
            except UnicodeEncodeError:
                raise ValueError(f"{sanitise(name, 60)}: the value is not UTF-8") from None
        return value

    @field_validator("limits", "endpoints", mode="before")
    @classmethod
    def _none_of_all(cls, value: Any, info: ValidationInfo) -> Any:
        return dict.fromkeys(PARTS[str(info.field_name)].model_fields) if value is None else value


NOTHING_SET = OwnerSettings()


class SettingRow(Model):
    """One field that an owner may set: what the author says, what the owner, and what holds.

    ``is_none``: the owner says that it has no value, which is possible if it ``may_be_none``. ``at_restart``: the
    running app has another value and gets this one when it is restarted. Of a secret no value is here: ``is_set`` says
    whether it has one.
    """

    key: str
    type: str
    author: Any = None
    owner: Any = None
    in_force: Any = None
    is_none: bool = False
    may_be_none: bool = False
    at_restart: bool = False
    description: str = ""
    enum: list[SettingValue] | None = None
    required: bool = False
    secret: bool = False
    is_set: bool = False


class AppSettings(Model):
    """All that can be set of one app; ``problem``: its file is broken, and why."""

    app_id: str
    path: str
    problem: str | None = None
    rows: list[SettingRow] = Field(default_factory=list)


def setting_secret(app_id: str, name: str) -> str:
    """The name in secrets.env of an app's secret setting. Two apps' may be one: what is set is marked with its app."""
    return f"{app_id.upper().replace('-', '_')}__{name}"


def may_be_none(key: str) -> bool:
    """Whether an owner may say that there is no such thing, whatever the author says: of ``limits.memory_mb``, of all
    ``limits``, of a variable."""
    part, dot, name = key.partition(".")
    if not dot:
        return key in _MAY_BE_NONE
    if part in ("environment", "settings"):
        return True
    field = PARTS[part].model_fields.get(name) if part in PARTS else None
    return field is not None and type(None) in get_args(field.annotation)


def with_none(document: Mapping[str, Any], key: str) -> dict[str, Any]:
    """The owner's settings with the word that there is none of ``key``; InvalidInputError if it has to have a value."""
    if not may_be_none(key):
        raise InvalidInputError(f"{sanitise(key, 60)}: has to have a value; unset, it has its author's")
    part, dot, name = key.partition(".")
    if dot:
        before = document.get(part)
        return {**document, part: {**(before if isinstance(before, Mapping) else {}), name: None}}
    return {**document, part: dict.fromkeys(PARTS[part].model_fields) if part in PARTS else None}


def parse_owner_settings(document: Mapping[str, Any]) -> OwnerSettings:
    """The owner's settings in a JSON object; InvalidInputError: field and reason."""
    for unknown in document.keys() - OwnerSettings.model_fields.keys():
        known = ", ".join(OwnerSettings.model_fields)
        raise InvalidInputError(f"{sanitise(unknown, 60)}: no such field; there are {known}")
    try:
        owner = OwnerSettings.model_validate(document)
    except ValidationError as error:
        raise InvalidInputError(first_problem(error)) from None
    for name in PARTS:
        part = getattr(owner, name)
        for unknown in (part.model_extra or {}) if part is not None else {}:
            known = ", ".join(PARTS[name].model_fields)
            raise InvalidInputError(f"{name}.{sanitise(unknown, 60)}: no such field; there are {known}")
    return owner


def read_owner_settings(path: Path) -> OwnerSettings:
    """What stands in the file; FileNotFoundError, or InvalidInputError: what is wrong and where."""
    try:
        return parse_owner_settings(read_json_object(path, MAX_SETTINGS_BYTES))
    except FileNotFoundError:
        raise
    except OSError as error:
        raise InvalidInputError(f"cannot be read: {error.strerror}") from None
    except ValueError as error:
        raise InvalidInputError(str(error)) from None


def with_owner(
    raw: Mapping[str, Any], author: Manifest, owner: OwnerSettings
) -> tuple[dict[str, Any], Manifest, list[str]]:
    """What holds of an app: a manifest's object and its one form with the owner's fields over the author's, and what
    of them has no effect. InvalidInputError: together they make no manifest."""
    document = dict(raw)
    warnings: list[str] = []
    given: dict[str, str] = {}
    none: set[str] = set()
    for name, value in owner.settings.items():
        if name not in author.settings:
            warnings.append(f"settings.{name}: the app has no such setting any more")
        elif author.settings[name].secret:
            warnings.append(f"settings.{name}: is a secret: `hhtui set` keeps it where secrets are")
        elif value is None:
            none.add(name)
        else:
            try:
                given[name] = Setting.text(author.settings[name].checked(value))
            except ValueError as error:
                warnings.append(f"settings.{name}: {error}; it has no effect")
    defaults = {name: setting.default for name, setting in author.settings.items() if name not in given}
    given |= {name: Setting.text(value) for name, value in defaults.items() if value is not None}
    # A setting is the text that it is: only the author and the environment ask for secrets.
    given = {name: text.replace("${", "$${") for name, text in given.items()}
    said = {**author.environment, **given, **dict.fromkeys(none), **owner.environment}
    environment = {name: text for name, text in said.items() if text is not None}
    if environment != author.environment:
        document["environment"] = environment
    for name in PARTS:
        if (part := getattr(owner, name)) is not None:
            document[name] = getattr(author, name).model_dump(exclude_unset=True) | part.model_dump(exclude_unset=True)
    for name in ("group", "autostart", "schedule"):
        value = getattr(owner, name)
        if value is not None or (name in _MAY_BE_NONE and name in owner.model_fields_set):
            document[name] = value
    if document == raw:
        return document, author, warnings
    manifest, _ = parse_manifest(document)
    return document, manifest, warnings


def merge(document: Mapping[str, Any], patch: Mapping[str, Any]) -> dict[str, Any]:
    """A JSON merge patch (RFC 7396); an object that has become empty goes, too. What is null in ``document`` stays."""
    merged = dict(document)
    for name, value in patch.items():
        if isinstance(value, Mapping):
            before = merged.get(name)
            value = merge(before if isinstance(before, Mapping) else {}, value)
        if value is None or value == {}:
            merged.pop(name, None)
        else:
            merged[name] = value
    return merged
