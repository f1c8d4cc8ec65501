"""Apps as a Compose project (compose-spec.io) that builds and runs anywhere: what it needs is in its folder.

``compose.yaml``, and of each app ``<app_id>/`` with its ``Dockerfile``, ``.dockerignore`` and a copy of its folder as
``app/``; what is secret is in ``<app_id>.env`` alone, mode 0600, neither in the YAML nor in an image.
"""

from __future__ import annotations

import os
import re
import shlex
import shutil
import stat
from pathlib import Path
from typing import Any

import yaml

from hhtui.engine.export.spec import CONTAINER_APP, CONTAINER_HOME, REDIS_NAME, AppSpec, write_files
from hhtui.engine.launch.environment import DATABASE_VARIABLE
from hhtui.errors import InvalidInputError
from hhtui.paths import MANIFEST_NAMES

COMPOSE_FILE = "compose.yaml"
_FIRST_LINE = "# Made by hhtui export; https://compose-spec.io\n"
# Made anew by itself, works in its own place only, or is for nobody else to see.
_NOT_COPIED = ("__pycache__", ".git", ".pytest_cache", ".mypy_cache", ".ruff_cache", ".venv", "venv", ".env", ".env.*")
# Without quotes every reader of an env_file takes this for the value itself.
_PLAIN = re.compile(r"(?:[^\s$#'\"\\`](?:[^$#'\"\\`]*[^\s$#'\"\\`])?)?\Z")


class _Text(str):
    """What is always quoted: readers of YAML 1.2 take words for numbers that those of 1.1 do not."""


yaml.add_representer(
    _Text,
    lambda dumper, text: dumper.represent_scalar("tag:yaml.org,2002:str", str(text), style='"'),
    Dumper=yaml.SafeDumper,
)


def compose_files(specs: list[AppSpec], notes: list[str]) -> dict[str, str]:
    """The project's own files by name; of images built from Debian alone a note says so."""
    files: dict[str, str] = {}
    services: dict[str, Any] = {}
    volumes: dict[str, Any] = {}
    specs = [spec for spec in specs if _runs(spec, notes)]
    known = {spec.app_id for spec in specs}
    for spec in specs:
        services[spec.app_id] = _service(spec, known, notes)
        volumes |= {f"{spec.app_id}-data": {}, f"{spec.app_id}-logs": {}}
        files[f"{spec.app_id}/Dockerfile"] = _dockerfile(spec)
        files[f"{spec.app_id}/.dockerignore"] = "".join(f"{pattern}\n" for pattern in _ignored(spec))
        if spec.secrets:
            values = {name: _env_value(value) for name, value in spec.secrets.items()}
            files[f"{spec.app_id}.env"] = "".join(f"{name}={value}\n" for name, value in values.items())
            if quoted := [name for name, value in values.items() if value != spec.secrets[name]]:
                notes.append(f"{spec.app_id}: Podman takes the quotes in its .env for a part of {', '.join(quoted)}")
        if not spec.python and not spec.setup:
            notes.append(f"{spec.app_id}: its image has what Debian has; add to its Dockerfile what it needs more")
    services[REDIS_NAME] = {"image": "redis:7-alpine", "restart": "always", "volumes": [f"{REDIS_NAME}-data:/data"]}
    volumes[f"{REDIS_NAME}-data"] = {}
    text = yaml.safe_dump({"services": services, "volumes": volumes}, sort_keys=False, width=10**9)
    return {COMPOSE_FILE: _FIRST_LINE + text, **files}


def write_project(folder: Path, files: dict[str, str], specs: list[AppSpec]) -> None:
    """Write the files and copy the apps' folders beside them; InvalidInputError if something else is in ``folder``."""
    folder.mkdir(parents=True, exist_ok=True)
    own = folder / COMPOSE_FILE
    if any(folder.iterdir()) and not (own.is_file() and own.read_text("utf-8", "replace").startswith(_FIRST_LINE)):
        raise InvalidInputError(f"{folder}: is not empty, and was not made by this command: name another folder")
    for spec in specs:
        if f"{spec.app_id}/Dockerfile" in files:
            target = folder / spec.app_id / "app"
            if target.is_dir() and not target.is_symlink():
                shutil.rmtree(target)
            shutil.copytree(spec.folder.resolve(), target, symlinks=True, ignore=_ignoring(spec))
    write_files(folder, files)


def _runs(spec: AppSpec, notes: list[str]) -> bool:
    if spec.manifest.schedule is not None:
        notes.append(f"{spec.app_id}: left out: Compose has no schedules")
        return False
    return True


def _service(spec: AppSpec, known: set[str], notes: list[str]) -> dict[str, Any]:
    manifest = spec.manifest
    restart = manifest.restart
    policies = {"always": "always", "never": "no", "on-failure": f"on-failure:{restart.max_restarts}"}
    service: dict[str, Any] = {
        "build": {"context": f"./{spec.app_id}"},
        "command": [_Text(_escape(word)) for word in _command(spec)],
        "environment": {name: _Text(_escape(value)) for name, value in spec.environment.items()},
        "ports": [_Text(f"{port}:{port}") for port in (spec.port, spec.mcp_port) if port is not None],
        "volumes": [
            f"{spec.app_id}-data:{CONTAINER_HOME.app_data(spec.app_id)}",
            f"{spec.app_id}-logs:{CONTAINER_HOME.app_logs(spec.app_id)}",
        ],
        "restart": policies[restart.policy],
        "stop_signal": manifest.stop.signal,
        "stop_grace_period": f"{max(round(manifest.stop.timeout_seconds), 1)}s",
        "depends_on": sorted({*(name for name in spec.depends_on if name in known), REDIS_NAME}),
    }
    if spec.secrets:
        service["env_file"] = [f"./{spec.app_id}.env"]
    if manifest.endpoints.health is not None and spec.python:
        url = f"http://127.0.0.1:{spec.port}{manifest.endpoints.health}"
        probe = f"import urllib.request; urllib.request.urlopen({url!r}, timeout=5)"
        service["healthcheck"] = {
            "test": ["CMD", "python", "-c", _Text(_escape(probe))],
            "interval": "60s",
            "timeout": "5s",
            "start_period": f"{max(round(manifest.start.timeout_seconds), 1)}s",
        }
    elif manifest.endpoints.health is not None:
        notes.append(f"{spec.app_id}: its health is not looked at: Compose asks inside the image, which has no Python")
    limits: dict[str, Any] = {}
    if manifest.limits.cpu_percent is not None:
        limits["cpus"] = _Text(f"{max(manifest.limits.cpu_percent / 100, 0.01):g}")
    if manifest.limits.memory_mb is not None:
        limits["memory"] = f"{max(int(manifest.limits.memory_mb), 6)}M"
    if limits:
        service["deploy"] = {"resources": {"limits": limits}}
    return service


def _command(spec: AppSpec) -> list[str]:
    """The start command; the database's address, which is secret, is put in by a shell, which has the env_file."""
    address = spec.secrets.get(DATABASE_VARIABLE)
    if not address or not any(address in word for word in spec.argv):
        return spec.argv
    words = [
        f'"${DATABASE_VARIABLE}"'.join(part and shlex.quote(part) for part in word.split(address)) or "''"
        for word in spec.argv
    ]
    return ["sh", "-c", f"exec {' '.join(words)}"]


def _escape(text: str) -> str:
    """Compose puts variables in for ``$NAME``: the sign itself is ``$$``."""
    return text.replace("$", "$$")


def _dockerfile(spec: AppSpec) -> str:
    """An image of the app: what it needs installed, then its folder. Another base: ``--build-arg BASE=…``."""
    base = "python:3.13-slim" if spec.python or spec.setup else "debian:stable-slim"
    config = CONTAINER_HOME.config_file
    lines = [
        f"ARG BASE={base}",
        "FROM ${BASE}",
        f"RUN mkdir -p {config.parent} && echo '{{}}' > {config}",
        f"WORKDIR {CONTAINER_APP}",
        f"COPY app/ {CONTAINER_APP}/",
    ]
    lines += [f"RUN {command}" for command in (" && ".join(c.splitlines()) for c in spec.setup)]
    return "\n".join(lines) + "\n"


def _env_value(value: str) -> str:
    """As Compose reads an env_file (docs.docker.com, "Set environment variables", syntax): quotes where it must."""
    if _PLAIN.match(value) and value.isprintable():
        return value
    if "'" not in value and value.isprintable():
        return f"'{value}'"
    for character, escaped in (("\\", "\\\\"), ('"', '\\"'), ("$", "\\$"), ("\n", "\\n"), ("\r", "\\r")):
        value = value.replace(character, escaped)
    return f'"{value}"'


def _secret_files(spec: AppSpec) -> list[str]:
    """Files of the app that hold secrets: its env_file, and the manifest if one is written in it."""
    named = [os.path.normpath(spec.manifest.env_file)] if spec.manifest.env_file is not None else []
    return [*named, *(MANIFEST_NAMES if spec.secret_manifest else ())]


def _ignored(spec: AppSpec) -> list[str]:
    patterns = [f"**/{name}" for name in _NOT_COPIED]
    return [*patterns, *(f"app/{name}" for name in _secret_files(spec))]


def _ignoring(spec: AppSpec) -> Any:
    usual = shutil.ignore_patterns(*_NOT_COPIED)
    folder = spec.folder.resolve()
    secret = {str(folder / name) for name in _secret_files(spec)}

    def ignore(parent: str, names: list[str]) -> set[str]:
        left = set(usual(parent, names))
        for name in names:
            path = os.path.join(parent, name)
            kind = os.lstat(path).st_mode
            if path in secret or not (stat.S_ISREG(kind) or stat.S_ISDIR(kind) or stat.S_ISLNK(kind)):
                left.add(name)
        return left

    return ignore
