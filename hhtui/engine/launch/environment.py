"""What a manifest gives its app's environment: ``environment``, ``env_file``, and ``${NAME}`` from secrets.env."""

from __future__ import annotations

import logging
import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import TYPE_CHECKING

from hhtui.engine.discovery.found_app import FoundApp
from hhtui.errors import InvalidInputError
from hhtui.model.app_settings import setting_secret
from hhtui.model.manifest import REFERENCE, manifest_in
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.model.secrets import Secret

log = logging.getLogger("homehelper.secrets")

MAX_ENV_FILE_BYTES = 64 * 1024
SECRETS_FILE = "secrets.env"
DATABASE_VARIABLE = "DATABASE_URL"
# Shorter ones would hide ordinary words.
_SHORTEST_HIDDEN = 4
# An env_file is for secrets, and holds ordinary words as well.
_SHORTEST_OF_FILE = 8
_SECRET_NAME = re.compile(r"pass|pwd|secret|token|key|credential|auth|dsn", re.IGNORECASE)
_HIDDEN = "(secret)"


class VariablesError(InvalidInputError):
    """An app's variables cannot be put together: the file, the name and the reason, never a value."""


@dataclass(frozen=True, slots=True)
class Declared:
    """``values`` by name, secrets filled in; ``secrets`` are never to be shown: what stands in secrets.env or in an
    env_file, and values whose names say so."""

    values: dict[str, str] = field(default_factory=dict)
    secrets: tuple[str, ...] = ()
    warnings: tuple[str, ...] = ()

    def hide(self, text: str) -> str:
        """``text`` with every secret in it replaced: for what an app or an installer prints and others will read."""
        for secret in self.secrets:
            text = text.replace(secret, _HIDDEN)
        return text

    def changed_since(self, running: Mapping[str, str], before: Iterable[str] = ()) -> list[str]:
        """Names whose values differ from a ``running`` process's; ``before``: the names that were declared for it."""
        changed = {name for name, value in self.values.items() if running.get(name) != value}
        return sorted(changed | {name for name in before if name not in self.values})


def declared_environment(found: FoundApp, config_dir: Path) -> Declared:
    """The variables that the app's own files ask for; VariablesError."""
    manifest = found.manifest
    if manifest is None:
        return Declared()
    values: dict[str, str] = {}
    warnings: list[str] = []
    origin: dict[str, str] = {}
    if manifest.env_file is not None:
        values |= read_env_file(found.path, manifest.env_file, warnings)
        origin |= dict.fromkeys(values, f"env_file {sanitise(manifest.env_file, 100)}")
    values |= manifest.environment
    for name in (name for name, text in found.owner.environment.items() if text is None):
        values.pop(name, None)
    origin |= dict.fromkeys(manifest.environment, "environment")
    wanted = {name for value in values.values() for escape, name in REFERENCE.findall(value) if not escape}
    needed = manifest.config.requires_secrets
    chosen = {name for name, setting in manifest.settings.items() if setting.secret}
    stored = _read_secrets(config_dir) if wanted or needed or chosen else {}
    secrets = {name: secret.value for name, secret in stored.items() if may_read(found, name, secret)}
    for name in chosen:
        if (place := place_of_setting(found, name, stored)) in secrets:
            values[name] = f"${{{place}}}"
            wanted.add(place)
            origin[name] = "environment"
    if missing := [name for name in needed if name not in secrets and name not in values]:
        raise VariablesError(f"missing required secret: {', '.join(missing)}: `hhtui secret set {missing[0]}`")

    required = (name for name, setting in manifest.settings.items() if setting.required)
    if missing := [name for name in required if name not in values]:
        how = missing[0] if missing[0] in chosen else f"{missing[0]}=VALUE"
        raise VariablesError(f"missing setting: {', '.join(missing)}: `hhtui set {found.app_id} {how}`")

    def fill(name: str, value: str) -> str:
        def one(match: re.Match[str]) -> str:
            if match[1]:
                return match[0][1:]
            if match[2] not in secrets and origin[name] != "environment":
                # Files in this form are written for other programs, too, which may fill it in themselves.
                note = f"{origin[name]}: {name}: ${{{match[2]}}} is left as it is"
                warnings.append(f"{note}, config/{SECRETS_FILE} does not have it")
                return match[0]
            if match[2] not in secrets:
                raise VariablesError(
                    f"{found.file}: {origin[name]}: {name} asks for ${{{match[2]}}}, "
                    f"which config/{SECRETS_FILE} does not have: `hhtui secret set {match[2]}`"
                )
            return secrets[match[2]]

        return REFERENCE.sub(one, value)

    given = {name: secrets[name] for name in needed if name in secrets}
    filled = {name: fill(name, value) for name, value in values.items()} | given
    hidden = [*given.values(), *(secrets[name] for name in wanted & secrets.keys())]
    if manifest.config.database:
        url = filled.get(DATABASE_VARIABLE) or _read_dotenv(config_dir / ".env", "config/.env").get(DATABASE_VARIABLE)
        if not url:
            raise VariablesError(
                f"{found.file}: config.database: there is no {DATABASE_VARIABLE} for it: "
                f"write one into config/.env or into the app's env_file"
            )
        filled[DATABASE_VARIABLE] = url
        hidden += [url, url.partition("://")[2].rpartition("@")[0].partition(":")[2]]
    hidden += [
        value
        for name, value in filled.items()
        if _SECRET_NAME.search(name) or (origin.get(name) != "environment" and len(value) >= _SHORTEST_OF_FILE)
    ]
    used = sorted({value for value in hidden if len(value) >= _SHORTEST_HIDDEN}, key=len, reverse=True)
    return Declared(filled, tuple(used), tuple(warnings))


def is_secret(name: str, text: str) -> bool:
    """Whether a variable's text is one that nobody else may see, by the variable's name; what stands for a secret of
    secrets.env is none itself."""
    return bool(_SECRET_NAME.search(name)) and not any(not escape for escape, _ in REFERENCE.findall(text))


def asked_secrets(found: FoundApp) -> set[str]:
    """The names of the secrets that the app uses, in secrets.env or not; what its files hold cannot be told if they are
    not as they must be."""
    manifest = found.manifest
    if manifest is None:
        return set()
    names = set(manifest.asked_secrets)
    names |= {setting_secret(found.app_id, name) for name, setting in manifest.settings.items() if setting.secret}
    if manifest.env_file is not None:
        try:
            values = read_env_file(found.path, manifest.env_file).values()
        except VariablesError:
            return names
        names |= {name for value in values for escape, name in REFERENCE.findall(value) if not escape}
    return names


def may_read(found: FoundApp, name: str, secret: Secret) -> bool:
    """Whether a secret may be the app's: not what is another one's setting, by its mark or else by its name."""
    if secret.app_id is not None:
        return secret.app_id == found.app_id
    return not any(name == taken or (taken.endswith("__") and name.startswith(taken)) for taken in found.others_secrets)


def place_of_setting(found: FoundApp, setting: str, stored: Mapping[str, Secret]) -> str:
    """Where an app's secret setting is, or is to be, in secrets.env: by its own name, unless that is another app's."""
    name = setting_secret(found.app_id, setting)
    places = [name, *(f"{name}__{number}" for number in range(2, 10))]
    own = (place for place in places if place in stored and stored[place].app_id == found.app_id)
    free = (place for place in places if place not in stored or may_read(found, place, stored[place]))
    return next(own, None) or next(free, name)


def _read_secrets(config_dir: Path) -> Mapping[str, Secret]:
    """The home's secrets, which nobody but the engine's user may read; none where there is no such file."""
    from hhtui.model.secrets import protect_secrets, read_secrets

    path = config_dir / SECRETS_FILE
    try:
        if notice := protect_secrets(path):
            log.warning(notice)
        return read_secrets(path)
    except InvalidInputError as error:
        raise VariablesError(error.message) from None


def read_env_file(folder: Path, name: str, warnings: list[str] | None = None) -> dict[str, str]:
    """The variables of a dotenv file inside the app's folder; VariablesError."""
    shown = f"{manifest_in(folder)}: env_file: {sanitise(name, 200)}"
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise VariablesError(f"{shown} lies outside the app's folder")
        if not path.is_file():
            raise VariablesError(f"{shown} is not there, or no file")
        status = path.stat()
    except (OSError, RuntimeError) as error:
        raise VariablesError(f"{shown} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if status.st_mode & stat.S_IWOTH:
        raise VariablesError(f"{shown}: everybody may change it (mode {stat.S_IMODE(status.st_mode):04o}): chmod o-w")
    if status.st_mode & stat.S_IROTH and warnings is not None:
        mode = f"{stat.S_IMODE(status.st_mode):04o}"
        warnings.append(
            f"env_file {sanitise(name, 200)}: everybody may read it (mode {mode}): chmod 600 if it is secret"
        )
    return _read_dotenv(path, shown)


def environment_of(pid: int) -> dict[str, str]:
    """What a living process was started with: proc_pid_environ(5); empty if it may not be read."""
    try:
        data = Path(f"/proc/{pid}/environ").read_bytes()
    except OSError:
        return {}
    pairs = (entry.partition(b"=") for entry in data.split(b"\0") if b"=" in entry)
    return {os.fsdecode(name): os.fsdecode(value) for name, _, value in pairs}


def given_port(pid: int) -> int | None:
    """The port that a living process was given to listen on; None if it may not be read, or names none."""
    digits = environment_of(pid).get("HOMEHELPER_PORT", "")
    return int(digits) if digits.isascii() and digits.isdigit() and 1 <= int(digits) <= 65535 else None


def _read_dotenv(path: Path, shown: str) -> dict[str, str]:
    from dotenv import dotenv_values

    try:
        with path.open("rb") as file:
            data = file.read(MAX_ENV_FILE_BYTES + 1)
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise VariablesError(f"{shown} cannot be read: {error.strerror}") from None
    if len(data) > MAX_ENV_FILE_BYTES:
        raise VariablesError(f"{shown} is larger than 64 KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise VariablesError(f"{shown} is not UTF-8 (byte {error.start})") from None
    import io

    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {key: value for key, value in values.items() if value is not None and key and "=" not in key}
