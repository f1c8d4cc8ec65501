"""The bundle for a bug report: everything that helps, nothing that is secret."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

from hhtui import __version__
from hhtui.engine.api.export import exported_record
from hhtui.engine.backup.records import read_records
from hhtui.errors import HomeHelperError
from hhtui.model.config import SECRET_KEYS, Config
from hhtui.model.config_file import shown
from hhtui.paths import Home
from hhtui.storage import read_json_object
from hhtui.text import sanitise

_LOG_BYTES = 256 * 1024
_SHORTEST = 4
_HIDDEN = "********"
_CREDENTIALS = re.compile(r"(?<=://)[^/@\s]*@")
_TELLING = re.compile(
    r"(?i)((?:password|passwd|secret|token|api[_-]?key|authorization)[\"']?\s*[=:]\s*)(\"[^\"]*\"|'[^']*'|\S+)"
)


def write_report(path: Path, home: Home, config: Config, findings: list[dict[str, str]], extra: dict[str, Any]) -> int:
    """Write the bundle (tar.gz, mode 0600); how many bytes. HomeHelperError if it cannot be written."""
    secrets = sorted(_secrets(home, config), key=len, reverse=True)
    documents: dict[str, str] = {
        "findings.json": json.dumps(findings, indent=1),
        "machine.json": json.dumps(_machine(), indent=1),
        "config.json": json.dumps(shown(config), indent=1),
        "apps.json": json.dumps(_apps(home), indent=1),
        "engine.json": json.dumps(extra, indent=1, default=str),
        "files.txt": "\n".join(_files(home)),
    }
    for log in (home.engine_log, *sorted(home.system_logs_dir.glob("*.log")), home.run_dir / "engine.stderr"):
        if (text := _tail(log)) is not None:
            documents[f"logs/{log.name}"] = text
    packed = io.BytesIO()
    with tarfile.open(fileobj=packed, mode="w:gz") as tar:
        for name, text in documents.items():
            data = scrub(text, secrets).encode("utf-8", "replace")
            member = tarfile.TarInfo(f"hhtui-report/{name}")
            member.size, member.mode, member.mtime = len(data), 0o600, int(time.time())
            tar.addfile(member, io.BytesIO(data))
    try:
        descriptor = os.open(path, os.O_WRONLY | os.O_CREAT | os.O_TRUNC | os.O_CLOEXEC, 0o600)
        with os.fdopen(descriptor, "wb") as file:
            file.write(packed.getvalue())
    except OSError as error:
        raise HomeHelperError(f"{path}: cannot be written: {error.strerror}") from None
    return len(packed.getvalue())


def scrub(text: str, secrets: list[str]) -> str:
    """``text`` without the known ``secrets``, without what is called a password or token, and without URLs' logins."""
    for secret in secrets:
        for form in {secret, json.dumps(secret)[1:-1]}:
            text = text.replace(form, _HIDDEN)
    text = _TELLING.sub(rf"\1{_HIDDEN}", _CREDENTIALS.sub(f"{_HIDDEN}@", text))
    return "\n".join(sanitise(line, 4000) for line in text.split("\n"))


def _secrets(home: Home, config: Config) -> set[str]:
    found: set[str] = set()
    for name in SECRET_KEYS:
        section, key = name.split(".")
        value = getattr(getattr(config, section), key, None)
        if value is not None:
            found.add(value.get_secret_value())
    for path in (home.dotenv, home.secrets_env):
        found |= _values(path)
    try:
        access = read_json_object(home.redis_dir / "access.json")
        found.add(str(access.get("engine_password")))
        found |= {str(user.get("password")) for user in (access.get("apps") or {}).values()}
    except (OSError, ValueError, AttributeError):
        pass
    for record in read_records(home)[0].values():
        environment = record.manifest.get("environment")
        found |= {str(value) for value in environment.values()} if isinstance(environment, dict) else set()
        env_file = record.manifest.get("env_file")
        found |= _values(Path(record.path) / env_file) if isinstance(env_file, str) else set()
    return {secret for secret in found if len(secret) >= _SHORTEST}


def _values(path: Path) -> set[str]:
    from dotenv import dotenv_values

    try:
        return (
            {value for value in dotenv_values(path, interpolate=False).values() if value} if path.is_file() else set()
        )
    except (OSError, UnicodeDecodeError):
        return set()


def _apps(home: Home) -> list[dict[str, Any]]:
    return [exported_record(record) for record in read_records(home)[0].values()]


def _machine() -> dict[str, Any]:
    return {
        "hhtui": __version__,
        "python": platform.python_version(),
        "kernel": platform.release(),
        "machine": platform.machine(),
        "board": _first_line(Path("/proc/device-tree/model")),
        "os": _first_line(Path("/etc/os-release")),
        "processors": os.cpu_count(),
        "memory": (_tail(Path("/proc/meminfo")) or "").splitlines()[:5],
        "load": os.getloadavg(),
        "locale": {name: os.environ.get(name) for name in ("LANG", "LC_ALL", "TERM")},
    }


def _files(home: Home) -> Iterator[str]:
    """Modes, owners and sizes; below apps/ and data/ no deeper than the apps' folders."""
    for folder in (home.root, home.config_dir, home.registry_dir, home.run_dir, home.redis_dir, home.default_apps_dir,
                   home.data_dir, home.venvs_dir, home.backups_dir):  # fmt: skip
        try:
            entries = sorted(os.scandir(folder), key=lambda entry: entry.name)
        except OSError:
            continue
        for entry in entries:
            status = entry.stat(follow_symlinks=False)
            yield f"{status.st_mode:06o} {status.st_uid}:{status.st_gid} {status.st_size:>10} {entry.path}"


def _first_line(path: Path) -> str:
    return (_tail(path) or "").strip("\0").split("\n")[0]


def _tail(path: Path) -> str | None:
    try:
        with path.open("rb") as file:
            size = os.fstat(file.fileno()).st_size
            file.seek(max(size - _LOG_BYTES, 0))
            return file.read(_LOG_BYTES).decode("utf-8", "replace")
    except OSError:
        return None
