"""The bundle for a bug report: everything that helps, nothing that is secret."""

from __future__ import annotations

import io
import json
import os
import platform
import re
import stat
import tarfile
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any
from urllib.parse import urlsplit

from hhtui import __version__
from hhtui.engine.backup.home_files import read_records
from hhtui.errors import HomeHelperError
from hhtui.model.config import SECRET_KEYS, Config
from hhtui.model.config_file import shown
from hhtui.model.outgoing import outgoing_record
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


def write_report(
    path: Path, home: Home, config: Config, findings: list[dict[str, str]], extra: dict[str, Any]
) -> dict[str, Any]:
    """Write the bundle (tar.gz, mode 0600): ``{report, bytes, notes}``. HomeHelperError if it cannot be written.

    Where a file of secrets cannot be read, they could not be found in a log either: the logs stay out, as a note says.
    """
    known, unread = _secrets(home, config)
    secrets = sorted(known, key=len, reverse=True)
    documents: dict[str, str] = {
        "findings.json": json.dumps(findings, indent=1),
        "machine.json": json.dumps(_machine(), indent=1),
        "config.json": json.dumps(shown(config), indent=1),
        "apps.json": json.dumps(_apps(home), indent=1),
        "engine.json": json.dumps(extra, indent=1, default=str),
        "files.txt": "\n".join(_files(home)),
    }
    logs = [home.engine_log, *sorted(home.system_logs_dir.glob("*.log")), home.run_dir / "engine.stderr"]
    notes = []
    if unread:
        logs = []
        names = ", ".join(str(path) for path in unread)
        notes.append(
            f"the logs are left out: secrets to be removed from them are in {names}, which cannot be read here"
        )
        documents["notes.txt"] = "\n".join(notes)
    for log in logs:
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
            if stat.S_ISREG(os.fstat(descriptor).st_mode):
                os.fchmod(descriptor, 0o600)
            file.write(packed.getvalue())
    except OSError as error:
        raise HomeHelperError(f"{path}: cannot be written: {error.strerror}") from None
    return {"report": str(path), "bytes": len(packed.getvalue()), "notes": notes}


def scrub(text: str, secrets: list[str]) -> str:
    """``text`` without the known ``secrets``, without what is called a password or token, and without URLs' logins."""
    for secret in secrets:
        for form in {secret, json.dumps(secret)[1:-1]}:
            text = text.replace(form, _HIDDEN)
    text = _TELLING.sub(rf"\1{_HIDDEN}", _CREDENTIALS.sub(f"{_HIDDEN}@", text))
    return "\n".join(sanitise(line, 4000) for line in text.split("\n"))


def _secrets(home: Home, config: Config) -> tuple[set[str], list[Path]]:
    """Every secret known to be in the home, and the files of secrets that cannot be read."""
    found: set[str] = set()
    unread: list[Path] = []
    for name in SECRET_KEYS:
        section, key = name.split(".")
        value = getattr(getattr(config, section), key, None)
        if value is not None:
            found |= {value.get_secret_value(), *_parts(value.get_secret_value())}
    access = home.redis_dir / "access.json"
    files = [home.dotenv, home.secrets_env]
    records = read_records(home)[0].values()
    for record in records:
        environment = record.manifest.get("environment")
        found |= {str(value) for value in environment.values()} if isinstance(environment, dict) else set()
        env_file = record.manifest.get("env_file")
        if isinstance(env_file, str):
            files.append(Path(record.path) / env_file)
    for path in (*files, access):
        try:
            found |= _passwords(path) if path == access else _values(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError):
            unread.append(path)
    return {secret for secret in found if len(secret) >= _SHORTEST}, unread


def _parts(text: str) -> set[str]:
    """What is secret in a URL, as a program that calls it may log it: its password, its path and its query."""
    try:
        parts = urlsplit(text)
    except ValueError:
        return set()
    return {parts.password or "", parts.path.strip("/"), parts.query} if parts.netloc else set()


def _values(path: Path) -> set[str]:
    from dotenv import dotenv_values

    with path.open(encoding="utf-8-sig", errors="replace", newline="") as file:  # line ends in a value are part of it
        return {value for value in dotenv_values(stream=file, interpolate=False).values() if value}


def _passwords(path: Path) -> set[str]:
    """Of the private Redis server's users."""
    access = read_json_object(path)
    users = access.get("apps")
    found = {str(user.get("password")) for user in users.values()} if isinstance(users, dict) else set()
    return {str(access.get("engine_password")), *found}


def _apps(home: Home) -> list[dict[str, Any]]:
    return [outgoing_record(record).model_dump(mode="json") for record in read_records(home)[0].values()]


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
