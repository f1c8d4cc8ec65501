"""What an app is started with: its command line, folder and environment (contract, section 4)."""

from __future__ import annotations

import os
import re
import shutil
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from pathlib import Path

from hhtui.engine.apps.environment import Declared, declared_environment
from hhtui.engine.apps.found_app import FoundApp
from hhtui.engine.apps.health import health_path
from hhtui.engine.process.tree import COOKIE_VARIABLE
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from hhtui.model.app import AppType
from hhtui.model.manifest import PLACEHOLDERS, Manifest
from hhtui.model.redis_access import RedisAccess
from hhtui.paths import MANIFEST_NAME, Home
from hhtui.text import sanitise

DATA_FOLDERS = ("config", "database", "uploads", "cache")
DEFAULT_PATH = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin"

# Of the engine alone: its service manager's channels and secrets (systemd.exec(5)), its Python, its terminal.
_ENGINE_ONLY = frozenset(
    {
        "NOTIFY_SOCKET",
        "WATCHDOG_PID",
        "WATCHDOG_USEC",
        "MAINPID",
        "MANAGERPID",
        "SYSTEMD_EXEC_PID",
        "FDSTORE",
        "RUNTIME_DIRECTORY",
        "STATE_DIRECTORY",
        "CACHE_DIRECTORY",
        "LOGS_DIRECTORY",
        "CONFIGURATION_DIRECTORY",
        "CREDENTIALS_DIRECTORY",
        "JOURNAL_STREAM",
        "INVOCATION_ID",
        "MEMORY_PRESSURE_WATCH",
        "MEMORY_PRESSURE_WRITE",
        "PYTHONHOME",
        "PYTHONPATH",
        "PYTHONSTARTUP",
        "VIRTUAL_ENV",
        "VIRTUAL_ENV_PROMPT",
        "__PYVENV_LAUNCHER__",
        "PORT",
        "REDIS_URL",
        "REDIS_HOST",
        "REDIS_PORT",
        "REDIS_USERNAME",
        "REDIS_PASSWORD",
        "TERM",
        "COLORTERM",
        "TERM_PROGRAM",
        "TERM_PROGRAM_VERSION",
        "COLUMNS",
        "LINES",
        "NO_COLOR",
        "FORCE_COLOR",
    }
)
_ENGINE_PREFIXES = ("HOMEHELPER_", "HHTUI_", "LISTEN_", "TEXTUAL")
_PLACEHOLDER = re.compile(r"\{(" + "|".join(sorted(PLACEHOLDERS)) + r")\}")


@dataclass(frozen=True, slots=True)
class Launch:
    """A start, ready but for the program, which is looked up when ``argv`` is asked for: installing may bring it."""

    words: tuple[str, ...]
    cwd: Path
    own: dict[str, str]
    inherited: Mapping[str, str]
    declared: Declared = field(default_factory=Declared)

    @property
    def environ(self) -> dict[str, str]:
        """All variables: what is inherited is one object for all apps, and may be replaced by the app's own."""
        return {**self.inherited, **self.own}

    @property
    def argv(self) -> list[str]:
        """The command line with the program's path; InvalidInputError says where it was looked for."""
        return [find_program(self.words[0], self.cwd, self.environ.get("PATH", "")), *self.words[1:]]


def base_python() -> Path:
    """The interpreter for apps without an environment of their own: never the one inside the engine's environment."""
    return Path(getattr(sys, "_base_executable", "") or sys.executable)


def build_launch(
    found: FoundApp,
    *,
    home: Home,
    port: int | None,
    redis: RedisAccess | None,
    instance: str,
    python: Path,
    environ: Mapping[str, str] = os.environ,
) -> Launch:
    """Everything for one start of the app, its folders below data/ and logs/ made.

    ``instance`` is the run's cookie that all of its descendants carry, ``python`` the interpreter that the installer
    names, ``environ`` the engine's own. HomeHelperError if the manifest asks for what cannot be.
    """
    manifest = found.manifest
    if manifest is None:
        raise ConflictError(found.error or f"{found.app_id} has no valid manifest", app_id=found.app_id)
    make_app_folders(home, found.app_id)
    words = command_line(found.path, manifest, _values(found, home, port, redis), python)
    declared = declared_environment(found, home.config_dir)
    variables = app_environment(
        found, declared, home=home, port=port, redis=redis, instance=instance, python=python, environ=environ
    )
    inherited = _shared(_inherited(environ))
    own = {name: value for name, value in variables.items() if inherited.get(name) != value}
    return Launch(tuple(words), found.path, own, inherited, declared)


def page_url(manifest: Manifest, host: str, port: int) -> str | None:
    """Where the app's page is, None for an app that serves nothing."""
    if manifest.endpoints.ui is None and not manifest.sleeps and health_path(manifest) is None:
        return None
    return f"http://{host}:{port}{manifest.endpoints.ui or '/'}"


def make_app_folders(home: Home, app_id: str) -> None:
    """The app's folders for data and logs; HomeHelperError if they cannot be made."""
    data = home.app_data(app_id)
    try:
        for folder in (home.app_logs(app_id), data, *(data / name for name in DATA_FOLDERS)):
            folder.mkdir(mode=0o750, parents=True, exist_ok=True)
    except OSError as error:
        where = sanitise(str(error.filename), 300)
        raise HomeHelperError(f"the app's folder {where} cannot be made: {error.strerror}") from None


def make_folders_of(home: Home, app_ids: Iterable[str]) -> None:
    """The folders of several apps, ahead of their starts; what is in the way is told when one is started."""
    for app_id in app_ids:
        with suppress(HomeHelperError):
            make_app_folders(home, app_id)


def command_line(folder: Path, manifest: Manifest, values: Mapping[str, str | None], python: Path) -> list[str]:
    """The words of the start command, placeholders filled in from ``values`` (None: there is no such thing now)."""
    if manifest.command is not None:
        words = [*manifest.command, *(manifest.args or [])]
        return _checked([_fill(word, values) for word in words])
    args = manifest.args
    if manifest.type is AppType.STREAMLIT:
        port = _fill("{port}", values)
        words = [str(python), "-m", "streamlit", "run", _script(manifest.main)]
        words += ["--server.port", port, "--server.headless", "true"]
        words += ["--browser.gatherUsageStats", "false", "--server.fileWatcherType", "none"]
        return _checked(words + [_fill(word, values) for word in args or []])
    if args is None:
        args = _default_args(manifest, values)
    return _checked([str(python), _script(manifest.main), *(_fill(word, values) for word in args)])


def app_environment(
    found: FoundApp,
    declared: Declared,
    *,
    home: Home,
    port: int | None,
    redis: RedisAccess | None,
    instance: str,
    python: Path,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The app's variables: the engine's without what is its own, the contract's, and what its manifest asks for."""
    manifest = found.manifest
    variables = _inherited(environ)
    variables["PATH"] = _path(variables.get("PATH", DEFAULT_PATH), python)
    if (python.parent.parent / "pyvenv.cfg").is_file():
        variables["VIRTUAL_ENV"] = str(python.parent.parent)
    variables |= {
        "PYTHONUNBUFFERED": "1",
        "HOMEHELPER_APP_ID": found.app_id,
        "HOMEHELPER_APP_NAME": found.name,
        "HOMEHELPER_APP_VERSION": manifest.version if manifest is not None else "",
        "HOMEHELPER_DATA_DIR": str(home.app_data(found.app_id)),
        "HOMEHELPER_LOGS_DIR": str(home.app_logs(found.app_id)),
        "HOMEHELPER_CONFIG_PATH": str(home.config_file),
    }
    if port is not None:
        variables |= {"PORT": str(port), "HOMEHELPER_PORT": str(port)}
    if redis is not None:
        variables |= {
            "HOMEHELPER_REDIS_URL": redis.url,
            "REDIS_URL": redis.url,
            "REDIS_HOST": redis.host,
            "REDIS_PORT": str(redis.port),
        }
        if redis.username is not None:
            variables["REDIS_USERNAME"] = redis.username
        if redis.password is not None:
            variables["REDIS_PASSWORD"] = redis.password
    variables |= declared.values
    variables[COOKIE_VARIABLE] = instance
    for name, value in variables.items():
        if "\0" in name or "\0" in value:
            raise InvalidInputError(f"{MANIFEST_NAME}: {sanitise(name, 100)} would hold a NUL character")
    return variables


def find_program(word: str, folder: Path, path: str) -> str:
    """The program that a command's first word means: in the app's folder, else on ``path`` (its environment first)."""
    shown = sanitise(word, 200)
    own = folder / word
    if own.is_file():
        if os.access(own, os.X_OK):
            return str(own)
        if "/" in word:
            raise InvalidInputError(f"{MANIFEST_NAME}: command: {shown} is not executable: chmod +x {shown}")
    elif "/" in word:
        where = "" if word.startswith("/") else " in the app's folder"
        raise InvalidInputError(f"{MANIFEST_NAME}: command: there is no program {shown}{where}")
    program = shutil.which(word, path=path)
    if program is None:
        raise InvalidInputError(
            f"{MANIFEST_NAME}: command: {shown} is neither an executable file in the app's folder, nor in its "
            "environment, nor on PATH"
        )
    return program


def _default_args(manifest: Manifest, values: Mapping[str, str | None]) -> list[str]:
    args = ["--port", "{port}"]
    for key, option in (("redis_url", "--redis-url"), ("data_dir", "--data-dir"), ("logs_dir", "--logs-dir")):
        if manifest.config.get(key) and values.get(key):
            args += [option, f"{{{key}}}"]
    return args


def _values(found: FoundApp, home: Home, port: int | None, redis: RedisAccess | None) -> dict[str, str | None]:
    return {
        "port": str(port) if port is not None else None,
        "data_dir": str(home.app_data(found.app_id)),
        "logs_dir": str(home.app_logs(found.app_id)),
        "redis_url": redis.url if redis is not None else "",
        "app_dir": str(found.path),
    }


def _fill(word: str, values: Mapping[str, str | None]) -> str:
    def value(match: re.Match[str]) -> str:
        found = values[match.group(1)]
        if found is None:
            raise InvalidInputError(f"{MANIFEST_NAME}: args: {match.group()} is asked for, but there is none")
        return found

    return _PLACEHOLDER.sub(value, word)


def _script(main: str) -> str:
    # A file's name must not be taken for an option.
    return f"./{main}" if main.startswith("-") else main


def _checked(words: list[str]) -> list[str]:
    if any("\0" in word for word in words):
        raise InvalidInputError(f"{MANIFEST_NAME}: a word of the command holds a NUL character")
    return words


def _inherited(environ: Mapping[str, str]) -> dict[str, str]:
    return {
        name: value
        for name, value in environ.items()
        if name not in _ENGINE_ONLY and not name.startswith(_ENGINE_PREFIXES)
    }


# What was inherited last time: the engine's environment hardly ever changes.
_last_inherited: dict[str, str] = {}


def _shared(inherited: dict[str, str]) -> dict[str, str]:
    global _last_inherited
    if inherited != _last_inherited:
        _last_inherited = inherited
    return _last_inherited


def _path(inherited: str, python: Path) -> str:
    engine_bin = os.path.dirname(sys.executable) if sys.prefix != sys.base_prefix else None
    folders = [str(python.parent)]
    folders += [folder for folder in inherited.split(":") if folder and folder != engine_bin]
    return ":".join(dict.fromkeys(folders))
