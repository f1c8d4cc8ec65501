"""What a manifest gives its app's environment: ``environment``, ``env_file``, and ``${NAME}`` from secrets.env."""

from __future__ import annotations

import os
import re
import stat
from collections.abc import Iterable, Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hhtui.engine.apps.found_app import FoundApp
from hhtui.errors import InvalidInputError
from hhtui.paths import MANIFEST_NAME
from hhtui.text import sanitise

MAX_ENV_FILE_BYTES = 64 * 1024
SECRETS_FILE = "secrets.env"
# ${NAME}; $${NAME} stands for the text ${NAME} itself, as in Compose files.
_REFERENCE = re.compile(r"(\$?)\$\{([A-Za-z_][A-Za-z0-9_]*)\}")
# Shorter ones would hide ordinary words.
_SHORTEST_HIDDEN = 4
_HIDDEN = "(secret)"


@dataclass(frozen=True, slots=True)
class Declared:
    """``values`` by name, secrets filled in; ``secrets`` are the values taken from secrets.env: never to be shown."""

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
    """The variables that the app's own files ask for; InvalidInputError: file, name and reason, never a value."""
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
    origin |= dict.fromkeys(manifest.environment, "environment")
    wanted = {name for value in values.values() for escape, name in _REFERENCE.findall(value) if not escape}
    secrets = read_secrets(config_dir) if wanted else {}

    def fill(name: str, value: str) -> str:
        def one(match: re.Match[str]) -> str:
            if match[1]:
                return match[0][1:]
            if match[2] not in secrets and origin[name] != "environment":
                # Files in this form are written for other programs, too, which may fill it in themselves.
                told = f"{origin[name]}: {name}: ${{{match[2]}}} is left as it is"
                warnings.append(f"{told}, config/{SECRETS_FILE} does not have it")
                return match[0]
            if match[2] not in secrets:
                raise InvalidInputError(
                    f"{MANIFEST_NAME}: {origin[name]}: {name} asks for ${{{match[2]}}}, "
                    f"which config/{SECRETS_FILE} does not have"
                )
            return secrets[match[2]]

        return _REFERENCE.sub(one, value)

    filled = {name: fill(name, value) for name, value in values.items()}
    used = {secrets[name] for name in wanted & secrets.keys() if len(secrets[name]) >= _SHORTEST_HIDDEN}
    return Declared(filled, tuple(sorted(used, key=len, reverse=True)), tuple(warnings))


def read_secrets(config_dir: Path) -> dict[str, str]:
    """The home's secrets, which nobody but the engine's user may read; none where there is no such file."""
    path = config_dir / SECRETS_FILE
    shown = f"config/{SECRETS_FILE}"
    try:
        mode = path.stat().st_mode
    except FileNotFoundError:
        return {}
    except OSError as error:
        raise InvalidInputError(f"{shown} cannot be read: {error.strerror}") from None
    if mode & 0o077:
        raise InvalidInputError(f"{shown}: others may read it (mode {stat.S_IMODE(mode):04o}): chmod 600 {path}")
    return _read_dotenv(path, shown)


def read_env_file(folder: Path, name: str, warnings: list[str] | None = None) -> dict[str, str]:
    """The variables of a dotenv file inside the app's folder; InvalidInputError: file and reason."""
    shown = f"{MANIFEST_NAME}: env_file: {sanitise(name, 200)}"
    path = folder / name
    try:
        if not path.resolve().is_relative_to(folder.resolve()):
            raise InvalidInputError(f"{shown} lies outside the app's folder")
        if not path.is_file():
            raise InvalidInputError(f"{shown} is not there, or no file")
        status = path.stat()
    except (OSError, RuntimeError) as error:
        raise InvalidInputError(f"{shown} cannot be read: {getattr(error, 'strerror', None) or error}") from None
    if status.st_mode & stat.S_IWOTH:
        raise InvalidInputError(
            f"{shown}: everybody may change it (mode {stat.S_IMODE(status.st_mode):04o}): chmod o-w"
        )
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


def _read_dotenv(path: Path, shown: str) -> dict[str, str]:
    from dotenv import dotenv_values

    try:
        with path.open("rb") as file:
            data = file.read(MAX_ENV_FILE_BYTES + 1)
    except OSError as error:
        raise InvalidInputError(f"{shown} cannot be read: {error.strerror}") from None
    if len(data) > MAX_ENV_FILE_BYTES:
        raise InvalidInputError(f"{shown} is larger than 64 KiB")
    try:
        text = data.decode("utf-8-sig")
    except UnicodeDecodeError as error:
        raise InvalidInputError(f"{shown} is not UTF-8 (byte {error.start})") from None
    import io

    values = dotenv_values(stream=io.StringIO(text), interpolate=False)
    return {key: value for key, value in values.items() if value is not None and key and "=" not in key}
