"""One app as every supervisor needs it told: its start, its variables, its limits."""

from __future__ import annotations

import re
from dataclasses import dataclass, field
from pathlib import Path

from hhtui.engine.apps.environment import read_env_file
from hhtui.engine.apps.installer import Installer
from hhtui.engine.apps.launch import command_line
from hhtui.engine.apps.requirements import plan_of
from hhtui.engine.backup.opening import open_home
from hhtui.engine.backup.records import read_records
from hhtui.engine.backup.sources import apps_folders, find_apps
from hhtui.errors import HomeHelperError, UnknownAppError
from hhtui.model.manifest import Manifest
from hhtui.paths import Home

CONTAINER_DATA = "/data"
CONTAINER_LOGS = "/logs"
CONTAINER_APP = "/app"
# No app's folder is likely to have this name; one that has it is left out.
REDIS_NAME = "homehelper-redis"
REDIS_URL = f"redis://{REDIS_NAME}:6379/0"
LABEL_LENGTH = 63


@dataclass
class AppSpec:
    """``argv`` and ``environment`` are complete; ``setup`` are shell commands that build the environment."""

    app_id: str
    folder: Path
    manifest: Manifest
    port: int
    argv: list[str]
    environment: dict[str, str]
    setup: list[str] = field(default_factory=list)

    @property
    def version(self) -> str:
        kept = re.sub(r"[^A-Za-z0-9._-]", "-", self.manifest.version).strip("-.")
        return kept[:64] or "latest"

    @property
    def image(self) -> str:
        """The name of the image that its Dockerfile builds (distribution/reference: no such runs of separators)."""
        name = re.sub(r"[_-]*-[_-]*|_{3,}", "-", self.app_id).strip("-_")
        return f"homehelper/{name}:{self.version}"

    @property
    def python(self) -> bool:
        """Whether it runs in Python rather than by a command of its own."""
        return self.manifest.command is None


def specs_of(root: str, chosen: list[str], *, container: bool) -> tuple[list[AppSpec], list[str]]:
    """The chosen apps (all without any named), and notes about what cannot be told; UnknownAppError.

    ``container`` has the paths inside a container, else those of this machine.
    """
    home, config, notes = open_home(root)
    found = find_apps([path for _, path in apps_folders(home, config)])
    for name in chosen:
        if name not in found:
            raise UnknownAppError(f"there is no app {name[:80]!r}; known: {', '.join(found) or 'none'}")
    _, ports, _ = read_records(home)
    free = iter(port for port in range(config.process_manager.port_range.start, 65536) if port not in ports.values())
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
        port = ports.get(app_id) or next(free)
        values, python = _places(home, app_id, app.path, port, container=container)
        try:
            argv = command_line(CONTAINER_PATH if container else app.path, app.manifest, values, python)
            variables = read_env_file(app.path, app.manifest.env_file) if app.manifest.env_file else {}
        except HomeHelperError as error:
            notes.append(f"{app_id}: left out: {error.message}")
            continue
        environment = {
            "PYTHONUNBUFFERED": "1",
            "PORT": str(port),
            "HOMEHELPER_PORT": str(port),
            "HOMEHELPER_APP_ID": app_id,
            "HOMEHELPER_DATA_DIR": str(values["data_dir"]),
            "HOMEHELPER_LOGS_DIR": str(values["logs_dir"]),
            **({"REDIS_URL": str(values["redis_url"])} if values["redis_url"] else {}),
            **variables,
            **app.manifest.environment,
        }
        plan = plan_of(app)
        setup = []
        if plan is not None:
            if plan.words:
                setup.append(_words(["pip", "install", "--no-cache-dir", *plan.words]))
            setup += [command for _, command in plan.commands]
        if app.manifest.sleeps:
            notes.append(f"{app_id}: runs always there; only HomeHelper starts it by its first visit")
        specs.append(AppSpec(app_id, app.path, app.manifest, port, argv, environment, setup))
    return specs, notes


CONTAINER_PATH = Path(CONTAINER_APP)


def _places(home: Home, app_id: str, folder: Path, port: int, *, container: bool) -> tuple[dict[str, str | None], Path]:
    if container:
        values: dict[str, str | None] = {
            "port": str(port),
            "data_dir": CONTAINER_DATA,
            "logs_dir": CONTAINER_LOGS,
            "redis_url": REDIS_URL,
            "app_dir": CONTAINER_APP,
        }
        return values, Path("python")
    values = {
        "port": str(port),
        "data_dir": str(home.app_data(app_id)),
        "logs_dir": str(home.app_logs(app_id)),
        "redis_url": "redis://127.0.0.1:6379/0",
        "app_dir": str(folder),
    }
    return values, Installer(home).python(app_id)


def _words(words: list[str]) -> str:
    import shlex

    return shlex.join(words)


def label(app_id: str, length: int = LABEL_LENGTH) -> str:
    """The id as an RFC 1035 label, as services elsewhere are named: no underscore, a letter first."""
    name = re.sub(r"_", "-", app_id)
    return (name if name[:1].isalpha() else f"app-{name}")[:length].strip("-")


def dockerfile(spec: AppSpec) -> str:
    """An image of the app: what it needs installed, then its folder."""
    base = "python:3.13-slim" if spec.python or spec.setup else "debian:stable-slim"
    lines = [f"FROM {base}", f"WORKDIR {CONTAINER_APP}", "COPY . ."]
    lines += [f"RUN {command}" for command in (" && ".join(c.splitlines()) for c in spec.setup)]
    lines += [f"RUN mkdir -p {CONTAINER_DATA} {CONTAINER_LOGS}"]
    return "\n".join(lines) + "\n"
