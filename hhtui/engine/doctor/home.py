"""The home: its folders, files, rights, engine, and what an engine has left behind."""

from __future__ import annotations

import fcntl
import os
import stat
from collections.abc import Iterator
from typing import Any

from hhtui.engine.backup.catalog import load_state
from hhtui.engine.backup.journal import journal_path, living
from hhtui.engine.doctor.access import Standing, standing_on
from hhtui.engine.doctor.access import user_name as _user
from hhtui.engine.doctor.findings import Finding, error, ok, warning
from hhtui.errors import InvalidInputError
from hhtui.model.config_file import load_config
from hhtui.paths import MAX_SOCKET_PATH, Home
from hhtui.storage import read_json_object


def check_home(home: Home, engine: dict[str, Any] | None) -> Iterator[Finding]:
    """Every check of the home; ``engine`` is EngineInfo of the one that answers."""
    if not home.root.is_dir():
        yield warning("home", f"{home.root} is not there yet", "`hhtui engine start` makes it; --home names another")
        return
    yield from _folders(home)
    yield from _rights(home)
    yield from _config(home)
    yield from _state_files(home)
    yield from _engine(home, engine)
    yield from _backups(home)


def _folders(home: Home) -> Iterator[Finding]:
    owner = home.root.stat().st_uid
    member = standing_on(home) is Standing.MEMBER
    bad = False
    for folder in (home.root, home.config_dir, home.registry_dir, home.data_dir, home.logs_dir, home.run_dir):
        if folder.exists() and not folder.is_dir():
            bad = True
            yield error("home", f"{folder} is no folder", f"move it away: mv {folder} {folder}.old")
        elif folder.is_dir() and member:
            if not os.access(folder, os.R_OK | os.X_OK):
                bad = True
                yield warning("home", f"{folder} cannot be read by {_user(os.geteuid())}", f"sudo chmod g+rx {folder}")
        elif folder.is_dir() and not os.access(folder, os.R_OK | os.W_OK | os.X_OK):
            bad = True
            fix = f"sudo chown -R {_user(owner)} {folder}; sudo chmod u+rwx {folder}"
            yield error("home", f"{folder} cannot be written by {_user(os.geteuid())}", fix)
        elif folder.is_dir() and folder.stat().st_uid != owner:
            bad = True
            fix = f"sudo chown -R {_user(owner)} {folder}"
            yield warning("home", f"{folder} belongs to {_user(folder.stat().st_uid)}, not {_user(owner)}", fix)
    if not bad:
        yield ok("home", f"{home.root} belongs to {_user(owner)}")
    if os.geteuid() == 0 and owner == 0:
        fix = "give it a user of its own: `hhtui service install` explains how"
        yield warning("user", "the home belongs to root: every app runs as root", fix)
    if len(os.fsencode(home.engine_socket)) > MAX_SOCKET_PATH:
        fix = "curl and other programs cannot open it: choose a shorter --home"
        yield warning("home", f"the socket's path has over {MAX_SOCKET_PATH} bytes", fix)


def _rights(home: Home) -> Iterator[Finding]:
    if home.root.stat().st_mode & stat.S_IWOTH:
        yield error("rights", f"anybody can write to {home.root}", f"chmod o-w {home.root}")
    secret = [home.dotenv, home.secrets_env, home.redis_dir / "access.json", home.redis_dir / "users.acl"]
    for path in [*secret, *home.backups_dir.glob("homehelper-*")]:
        try:
            if path.stat().st_mode & stat.S_IROTH and home.root.stat().st_mode & stat.S_IXOTH:
                yield error("rights", f"anybody can read the secrets in {path}", f"chmod 600 {path}")
        except OSError:
            continue


def _config(home: Home) -> Iterator[Finding]:
    if home.config_file.exists() and not os.access(home.config_file, os.R_OK):
        if standing_on(home) is Standing.OWNER:
            yield error("config", f"{home.config_file} cannot be read", f"chmod u+rw {home.config_file}")
        return
    try:
        loaded = load_config(home)
    except InvalidInputError as problem:
        yield error("config", problem.message, "`hhtui config validate` after each change; config.backup.json is older")
        return
    if home.dotenv.exists() and not os.access(home.dotenv, os.R_OK):
        loaded.warnings.clear()
    for line in loaded.warnings:
        yield warning("config", line, "correct its spelling, or remove it")
    yield ok("config", f"{home.config_file} is valid" if home.config_file.exists() else "all settings are the defaults")


def _state_files(home: Home) -> Iterator[Finding]:
    for path in (home.apps_json, home.ports_json):
        try:
            read_json_object(path)
        except FileNotFoundError:
            continue
        except (OSError, ValueError) as problem:
            if isinstance(problem, PermissionError) and standing_on(home) is Standing.MEMBER:
                continue
            words = problem.strerror if isinstance(problem, OSError) else str(problem)
            yield error("state", f"{path}: {words}", "the engine's next start takes the newest good copy")
    broken = [path for folder in (home.config_dir, home.registry_dir) for path in folder.glob("*.broken-*")]
    if broken:
        names = ", ".join(sorted(path.name for path in broken)[:5])
        yield warning("state", f"broken files were kept: {names}", "look at them, then remove them")
    if journal_path(home).exists():
        fix = "start the engine: it completes the restore or takes it back"
        yield warning("restore", "a restore was broken off", fix)


def _engine(home: Home, engine: dict[str, Any] | None) -> Iterator[Finding]:
    holder = _lock_holder(home)
    if engine is not None:
        yield ok("engine", f"version {engine.get('version')} runs, pid {engine.get('pid')}")
        for line in engine.get("problems") or []:
            yield warning("engine", str(line), "see `hhtui engine status` and its log")
    elif holder:
        fix = f"look at {home.engine_log}; if it hangs: kill {holder}, then `hhtui engine start`"
        yield error("engine", f"an engine (pid {holder}) has the home but does not answer", fix)
    else:
        yield warning("engine", "no engine runs", "`hhtui engine start`, or `hhtui service install` for every boot")
        if running := living(home):
            fix = "`hhtui engine start` takes them over"
            yield warning("processes", f"these run without their engine: {', '.join(running)}", fix)


def _lock_holder(home: Home) -> str:
    try:
        descriptor = os.open(home.engine_lock, os.O_RDONLY | os.O_CLOEXEC)
    except OSError:
        return ""
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX | fcntl.LOCK_NB)
    except OSError:
        return os.pread(descriptor, 32, 0).decode("ascii", "replace").strip() or "unknown"
    finally:
        os.close(descriptor)
    return ""


def _backups(home: Home) -> Iterator[Finding]:
    if home.backups_dir.is_dir() and not os.access(home.backups_dir, os.R_OK | os.X_OK):
        return
    state = load_state(home)
    if state.last_error:
        yield error("backup", f"the last backup failed: {state.last_error}", "fix that, then `hhtui backup`")
    elif state.last_at is None:
        yield warning("backup", "there is no backup", "`hhtui backup --data`; `hhtui config set backup.schedule 03:30`")
    else:
        yield ok("backup", f"the last backup was made {state.last_at}")
    if state.proven is not None and not state.proven.get("ok"):
        words = f"{state.proven.get('archive')} cannot be restored: {state.proven.get('error')}"
        yield error("backup", words, "`hhtui backup`, then `hhtui backup --prove`")
