"""What an app is started with: its command line, folder and environment (docs/writing-an-app.md)."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterable, Mapping
from contextlib import suppress
from dataclasses import dataclass, field, replace
from pathlib import Path

from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.launch.environment import DATABASE_VARIABLE, Declared, declared_environment
from hhtui.engine.launch.health import health_path
from hhtui.engine.launch.sandbox import Sandbox
from hhtui.engine.process.tree import COOKIE_VARIABLE
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from hhtui.model.app import AppType
from hhtui.model.manifest import PLACEHOLDERS, Manifest, find_program, manifest_in
from hhtui.model.redis import RedisAccess, RedisGrants
from hhtui.paths import MANIFEST_NAMES, SOCKET_VARIABLE, Home
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
_OWN_PREFIX = "HOMEHELPER_"
_ENGINE_PREFIXES = (_OWN_PREFIX, "HHTUI_", "LISTEN_", "TEXTUAL")
_GROUP_NAME = re.compile(r"[a-z0-9][a-z0-9._-]*\Z")
_PLACEHOLDER = re.compile(r"\{(" + "|".join(sorted(PLACEHOLDERS)) + r")\}")


@dataclass(frozen=True, slots=True)
class Launch:
    """A start, ready but for the program, which is looked up when ``argv`` is asked for: installing may bring it."""

    words: tuple[str, ...]
    cwd: Path
    own: dict[str, str]
    inherited: Mapping[str, str]
    declared: Declared = field(default_factory=Declared)
    sandbox: Sandbox | None = None

    @property
    def environ(self) -> dict[str, str]:
        """All variables: what is inherited is one object for all apps, and may be replaced by the app's own."""
        return {**self.inherited, **self.own}

    @property
    def argv(self) -> list[str]:
        """The command line with the program's path; InvalidInputError says where it was looked for."""
        try:
            path = self.own.get("PATH", self.inherited.get("PATH", ""))
            return [find_program(self.words[0], self.cwd, path), *self.words[1:]]
        except InvalidInputError as error:
            raise InvalidInputError(f"{manifest_in(self.cwd)}: {error.message}") from None


def base_python() -> Path:
    """The interpreter for apps without an environment of their own: never the one inside the engine's environment."""
    if sys.prefix == sys.base_prefix:
        return Path(sys.executable)
    # The environment's own is mostly a link to it; of a copy (`venv --copies`) the base has one of the same version.
    real = Path(os.path.realpath(sys.executable))
    if not real.is_relative_to(os.path.realpath(sys.prefix)):
        return real
    return Path(sys.base_exec_prefix, "bin", f"python{sys.version_info.major}.{sys.version_info.minor}")


def build_launch(
    found: FoundApp,
    *,
    home: Home,
    port: int | None,
    redis: RedisAccess | None,
    instance: str,
    python: Path,
    mcp_port: int | None = None,
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
    declared = declared_environment(found, home.config_dir)
    values = {
        "port": str(port) if port is not None else None,
        "mcp_port": str(mcp_port) if mcp_port is not None else None,
        "data_dir": str(home.app_data(found.app_id)),
        "logs_dir": str(home.app_logs(found.app_id)),
        "redis_url": redis.url if redis is not None else "",
        "db_url": declared.values.get(DATABASE_VARIABLE, ""),
        "app_dir": str(found.path),
    }
    words = command_line(found.path, manifest, values, python)
    variables = app_environment(
        found,
        declared,
        home=home,
        port=port,
        redis=redis,
        instance=instance,
        python=python,
        mcp_port=mcp_port,
        environ=environ,
    )
    if redis is not None and redis.password:
        declared = replace(declared, secrets=(redis.url, redis.password, *declared.secrets))
    inherited = _shared(_inherited(environ))
    own = {name: value for name, value in variables.items() if inherited.get(name) != value}
    return Launch(tuple(words), found.path, own, inherited, declared)


def page_path(manifest: Manifest) -> str | None:
    """Where the app's page is below its address, None for an app that serves nothing."""
    if manifest.endpoints.ui is None and not manifest.sleeps and health_path(manifest) is None:
        return None
    return manifest.endpoints.ui or "/"


def page_url(manifest: Manifest, host: str, port: int) -> str | None:
    """Where the app's page is, None for an app that serves nothing."""
    path = page_path(manifest)
    return None if path is None else f"http://{host}:{port}{path}"


def grants_of(found: FoundApp, manifest: Manifest) -> RedisGrants:
    """What the app may do in Redis beyond its own keys, and the streams that are made for it."""
    config = manifest.config
    prefix = f"{found.file.removesuffix('.json')}:streams:"
    groups = [found.app_id]
    if manifest.name != found.app_id and _GROUP_NAME.match(manifest.name):
        groups.append(manifest.name)  # where an app's folder has another name than its author gave it
    return RedisGrants(
        keys=tuple(dict.fromkeys(manifest.redis_keys)),
        publishes=tuple(prefix + name for name in config.redis_streams_publish),
        subscribes=tuple(prefix + name for name in config.redis_streams_subscribe),
        groups=tuple(groups) if config.redis_streams_subscribe else (),
    )


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
    """The folders of several apps, ahead of their starts; what is in the way is said when one is started."""
    for app_id in app_ids:
        with suppress(HomeHelperError):
            make_app_folders(home, app_id)


def command_line(folder: Path, manifest: Manifest, values: Mapping[str, str | None], python: Path) -> list[str]:
    """The words of the start command, placeholders filled in from ``values`` (None: there is no such thing now)."""
    options = _published_options(manifest, values)
    if manifest.command is not None:
        words = [*manifest.command, *(manifest.args or [])]
    elif manifest.type is AppType.STREAMLIT:
        words = [str(python), "-m", "streamlit", "run", _script(manifest.main), "--server.port", "{port}"]
        words += ["--server.headless", "true", "--browser.gatherUsageStats", "false"]
        words += ["--server.fileWatcherType", "none"]
        words += manifest.args if manifest.args is not None else ["--", *options] if options else []
    else:
        args = manifest.args if manifest.args is not None else ["--port", "{port}", *options]
        words = [str(python), _script(manifest.main), *args]
    try:
        return [_fill(word, values) for word in words]
    except InvalidInputError as error:
        raise InvalidInputError(f"{manifest_in(folder)}: {error.message}") from None


def _published_options(manifest: Manifest, values: Mapping[str, str | None]) -> list[str]:
    """What the published specification's ``config`` asks for; nothing that there is not."""
    config = manifest.config
    asked = (
        (config.wants_redis, "redis_url", "--redis-url"),
        (config.data_dir, "data_dir", "--data-dir"),
        (config.logs_dir, "logs_dir", "--logs-dir"),
        (config.mcp_server, "mcp_port", "--mcp-port"),
        (config.database, "db_url", "--db-url"),
    )
    return [word for wanted, key, option in asked if wanted and values.get(key) for word in (option, f"{{{key}}}")]


def app_environment(
    found: FoundApp,
    declared: Declared,
    *,
    home: Home,
    port: int | None,
    redis: RedisAccess | None,
    instance: str,
    python: Path,
    mcp_port: int | None = None,
    environ: Mapping[str, str] = os.environ,
) -> dict[str, str]:
    """The app's variables: what it inherits, those of docs/writing-an-app.md, and what its manifest asks for."""
    manifest = found.manifest
    variables = _inherited(environ)
    variables["PATH"] = _path(variables.get("PATH", DEFAULT_PATH), python)
    if (python.parent.parent / "pyvenv.cfg").is_file():
        variables["VIRTUAL_ENV"] = str(python.parent.parent)
    variables |= {
        "PYTHONUNBUFFERED": "1",
        "HOMEHELPER_APP_ID": found.app_id,
        "HOMEHELPER_APP_NAME": manifest.name if manifest is not None else found.name,
        "HOMEHELPER_APP_VERSION": manifest.version if manifest is not None else "",
        "HOMEHELPER_DATA_DIR": str(home.app_data(found.app_id)),
        "HOMEHELPER_LOGS_DIR": str(home.app_logs(found.app_id)),
        "HOMEHELPER_CONFIG_PATH": str(home.config_file),
    }
    if manifest is not None and manifest.permissions.control:
        variables[SOCKET_VARIABLE] = str(home.app_socket(found.app_id))
    if port is not None:
        variables |= {"PORT": str(port), "HOMEHELPER_PORT": str(port)}
    if mcp_port is not None:
        variables["HOMEHELPER_MCP_PORT"] = str(mcp_port)
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
    if found.file != MANIFEST_NAMES[0]:
        # The successor's apps look for the same under its name.
        own = [name for name in variables if name.startswith(_OWN_PREFIX) and name not in environ]
        variables |= {f"LATARNIA_{name.removeprefix(_OWN_PREFIX)}": variables[name] for name in own}
    variables |= declared.values
    variables[COOKIE_VARIABLE] = instance
    for name, value in variables.items():
        if "\0" in name or "\0" in value:
            raise InvalidInputError(f"{found.file}: {sanitise(name, 100)} would hold a NUL character")
    return variables


def _fill(word: str, values: Mapping[str, str | None]) -> str:
    def value(match: re.Match[str]) -> str:
        found = values.get(match.group(1))
        if found is None:
            raise InvalidInputError(f"args: {match.group()} is asked for, but there is none")
        return found

    filled = _PLACEHOLDER.sub(value, word)
    if "\0" in filled:
        raise InvalidInputError("a word of the command holds a NUL character")
    return filled


def _script(main: str) -> str:
    # A file's name must not be taken for an option.
    return f"./{main}" if main.startswith("-") else main


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
