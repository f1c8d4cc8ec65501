"""One app as every supervisor needs it: its start, its variables, its limits."""

from __future__ import annotations

import os
import shlex
from collections.abc import Mapping
from dataclasses import dataclass, field
from pathlib import Path

from hhtui.engine.backup.archive.sources import apps_folders, find_apps
from hhtui.engine.backup.home_files import open_home, read_records
from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.discovery.owner_settings import OwnerFiles
from hhtui.engine.install.installer import Installer
from hhtui.engine.install.requirements import plan_of
from hhtui.engine.launch.environment import declared_environment, is_secret
from hhtui.engine.launch.launch import app_environment, command_line
from hhtui.engine.process.tree import COOKIE_VARIABLE
from hhtui.errors import HomeHelperError, UnknownAppError
from hhtui.model.config import Config
from hhtui.model.manifest import Manifest
from hhtui.model.redis import RedisAccess
from hhtui.paths import SOCKET_VARIABLE, Home, app_id_of

# Inside a container a home of the usual layout, with one app.
CONTAINER_HOME = Home.at(Path("/homehelper"), environ={})
CONTAINER_APP = Path("/app")
CONTAINER_PYTHON = Path("/usr/local/bin/python")
# No app's folder is likely to have this name; one that has it is left out.
REDIS_NAME = "homehelper-redis"
# Of the place where it is exported, or of one run.
_NOT_EXPORTED = ("PATH", "VIRTUAL_ENV", COOKIE_VARIABLE, SOCKET_VARIABLE)


@dataclass
class AppSpec:
    """``argv`` and the variables are complete, ``secrets`` are those that nobody else may see; ``setup`` are the shell
    commands that build the app's environment, ``depends_on`` the ids of apps that are started before it.
    ``secret_manifest``: its author's manifest holds a secret itself."""

    app_id: str
    folder: Path
    manifest: Manifest
    port: int
    mcp_port: int | None
    depends_on: list[str]
    argv: list[str]
    environment: dict[str, str]
    secrets: dict[str, str]
    setup: list[str] = field(default_factory=list)
    secret_manifest: bool = False

    @property
    def python(self) -> bool:
        """Whether it runs in Python rather than by a command of its own."""
        return self.manifest.command is None


def specs_of(root: str, chosen: list[str], *, container: bool) -> tuple[list[AppSpec], list[str]]:
    """The chosen apps (all without any named), and notes about what cannot be expressed; UnknownAppError.

    ``container`` has the paths inside a container, else those of this machine.
    """
    home, config, notes = open_home(root)
    settings = OwnerFiles(home.app_settings_dir)
    settings.look()
    apps = find_apps([path for _, path in apps_folders(home, config)])
    found = {app_id: settings.applied(app) for app_id, app in apps.items()}
    for name in chosen:
        if name not in found:
            raise UnknownAppError(f"there is no app {name[:80]!r}; known: {', '.join(found) or 'none'}")
    ports = _Ports(home, config)
    specs: list[AppSpec] = []
    for app_id, app in found.items():
        if chosen and app_id not in chosen:
            continue
        if container and app_id == REDIS_NAME:
            notes.append(f"{app_id}: left out: the Redis server beside the apps has that name; rename its folder")
            continue
        if app.manifest is None:
            notes.append(f"{app_id}: left out: {app.error}")
            continue
        needed = [_id_of(name, found) for name in app.manifest.depends_on]
        try:
            specs.append(_spec(home, app, app.manifest, ports, needed, notes, container=container))
        except HomeHelperError as error:
            notes.append(f"{app_id}: left out: {error.message}")
    return specs, notes


def write_files(folder: Path, files: dict[str, str]) -> None:
    """Write texts by their names below ``folder``; a ``.env`` holds secrets, and nobody else may read it."""
    folder.mkdir(parents=True, exist_ok=True)
    for name, text in files.items():
        path = folder / name
        path.unlink(missing_ok=True)
        mode = 0o600 if name.endswith(".env") else 0o644
        with os.fdopen(os.open(path, os.O_WRONLY | os.O_CREAT | os.O_EXCL | os.O_NOFOLLOW, mode), "w") as file:
            file.write(text)


class _Ports:
    """The apps' ports, and free ones for those that have none yet."""

    def __init__(self, home: Home, config: Config) -> None:
        self._assigned = read_records(home)[1]
        start = config.process_manager.port_range.start
        self._free = (port for port in range(start, 65536) if port not in self._assigned.values())

    def of(self, app_id: str) -> int:
        return self._assigned.get(app_id) or next(self._free)

    def of_mcp(self, app_id: str) -> int:
        return self.of(f"{app_id}:mcp")


def _id_of(name: str, found: Mapping[str, FoundApp]) -> str:
    """An app that is named by its id or, as published manifests do, by its name."""
    if name in found:
        return name
    return next((i for i, app in found.items() if app.manifest and app.manifest.name == name), app_id_of(name) or name)


def _spec(
    home: Home,
    app: FoundApp,
    manifest: Manifest,
    ports: _Ports,
    depends_on: list[str],
    notes: list[str],
    *,
    container: bool,
) -> AppSpec:
    declared = declared_environment(app, home.config_dir)
    notes += [f"{app.app_id}: {warning}" for warning in declared.warnings]
    port = app.owner.port or ports.of(app.app_id)
    mcp_port = ports.of_mcp(app.app_id) if manifest.config.mcp_server else None
    place = CONTAINER_HOME if container else home
    folder = CONTAINER_APP if container else app.path
    python = CONTAINER_PYTHON if container else Installer(home).python(app.app_id)
    host = REDIS_NAME if container else "127.0.0.1"
    redis = RedisAccess(url=f"redis://{host}:6379/0", host=host, port=6379)
    values = {
        "port": str(port),
        "mcp_port": str(mcp_port) if mcp_port is not None else None,
        "data_dir": str(place.app_data(app.app_id)),
        "logs_dir": str(place.app_logs(app.app_id)),
        "redis_url": redis.url,
        "db_url": declared.values.get("DATABASE_URL", ""),
        "app_dir": str(folder),
    }
    argv = command_line(folder, manifest, values, Path("python") if container else python)
    variables = app_environment(
        app, declared, home=place, port=port, redis=redis, instance="", python=python, mcp_port=mcp_port, environ={}
    )
    for name in _NOT_EXPORTED:
        variables.pop(name, None)
    secrets = {name: value for name, value in variables.items() if any(secret in value for secret in declared.secrets)}
    # Whatever is not written in the manifest comes from a file that is there to be kept apart.
    written = {name: value.replace("$${", "${") for name, value in manifest.environment.items()}
    secrets |= {name: value for name, value in declared.values.items() if value != written.get(name)}
    plan = plan_of(app)
    setup = []
    if plan is not None:
        if plan.words:
            setup.append(shlex.join(["pip", "install", "--no-cache-dir", *plan.words]))
        setup += [command for _, command in plan.commands]
    if manifest.sleeps:
        notes.append(f"{app.app_id}: runs always there; only HomeHelper starts it by its first visit")
    if manifest.permissions.control:
        notes.append(f"{app.app_id}: has no API of the engine there (permissions.control)")
    author = (app.by_author or app).manifest or manifest
    by_author = author.environment.items()
    in_manifest = bool(secrets.items() & by_author) or any(is_secret(name, text) for name, text in by_author)
    public = {name: value for name, value in variables.items() if name not in secrets}
    return AppSpec(
        app.app_id, app.path, manifest, port, mcp_port, depends_on, argv, public, secrets, setup, in_manifest
    )
