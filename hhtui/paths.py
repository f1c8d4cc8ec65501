"""The home's layout (docs/home-folder.md): every path of the product is named here and nowhere else."""

from __future__ import annotations

import os
import re
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import NamedTuple

MANIFEST_NAME = "homehelper.json"
# The first of them that a folder has is its manifest; the second is the published specification's other spelling.
MANIFEST_NAMES = (MANIFEST_NAME, "latarnia.json")
APP_ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
# The endings of the archives that apps come in, the longest first.
ARCHIVE_ENDINGS = (".tar.bz2", ".tar.gz", ".tar.xz", ".tbz2", ".tgz", ".txz", ".tar", ".zip")
# What programs make anew by themselves: neither the author's nor the owner's.
MADE_ANEW = frozenset({"__pycache__", ".pytest_cache", ".mypy_cache", ".ruff_cache"})
# What of an author's folder is no part of the app: a repository's own, and what is made anew by itself.
NOT_OF_AN_APP = frozenset(
    {".git", "__pycache__", ".venv", ".pytest_cache", ".mypy_cache", ".ruff_cache", "node_modules"}
)
SYSTEM_HOME = Path("/opt/homehelper")
UNIT_NAME = "hhtui.service"
SYSTEM_UNIT = Path("/etc/systemd/system") / UNIT_NAME
_SYSTEM_SOCKET = SYSTEM_HOME / "run" / "engine.sock"
_ONLY_IN_A_HOME = ("config", "registry", "apps")
# Names an app's own socket of the engine's, where it may use the API.
SOCKET_VARIABLE = "HOMEHELPER_SOCKET"
# sizeof(sockaddr_un.sun_path) is 108 with its closing NUL: unix(7).
MAX_SOCKET_PATH = 107


def find_home(explicit: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The home's folder: ``--home``, ``HOMEHELPER_HOME``, a service's, /opt/homehelper, else the XDG data folder.

    A service is found by its unit, the user's own before the machine's, whether or not it runs and its home can be
    written: who looks while it is restarted must not be led to another home. /opt/homehelper without one if it can be
    written and is a home or still empty, or if the engine in it can be spoken to.
    """
    if explicit:
        return expanded(explicit).absolute()
    if from_environment := environ.get("HOMEHELPER_HOME"):
        return expanded(from_environment).absolute()
    if served := unit_home(user_unit(environ)) or unit_home(SYSTEM_UNIT):
        return served
    if os.access(_SYSTEM_SOCKET, os.W_OK) or _can_be_home(SYSTEM_HOME):
        return SYSTEM_HOME
    return own_home(environ)


def _can_be_home(folder: Path) -> bool:
    """If ``folder`` can be written, and is a home or is empty.

    Setup commands of published apps make ``/opt/homehelper/data/APP`` wherever the home is: that makes no home of it.
    """
    if not os.access(folder, os.W_OK | os.R_OK):
        return False
    try:
        inside = os.listdir(folder)
    except NotADirectoryError:
        return False
    return not inside or any((folder / name).is_dir() for name in _ONLY_IN_A_HOME)


def own_home(environ: Mapping[str, str] = os.environ) -> Path:
    """The home of a user who shares none."""
    data_home = environ.get("XDG_DATA_HOME", "")
    base = Path(data_home) if data_home.startswith("/") else expanded(environ.get("HOME") or "~") / ".local/share"
    return base / "homehelper"


def user_unit(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the unit of a user's own manager is (systemd.unit(5), "User Unit Search Path")."""
    config = environ.get("XDG_CONFIG_HOME", "")
    base = Path(config) if config.startswith("/") else expanded(environ.get("HOME") or "~") / ".config"
    return base / "systemd" / "user" / UNIT_NAME


def unit_home(unit: Path) -> Path | None:
    """The home that a unit's engine has (``--home`` in ExecStart=, systemd.service(5), "Command lines").

    None if the unit is not there or names none.
    """
    try:
        lines = unit.read_text(errors="replace").splitlines()
    except OSError:
        return None
    import shlex  # only where there is a unit

    command = next((line for line in reversed(lines) if line.startswith("ExecStart=")), "")
    try:
        words = shlex.split(command)
        home = Path(words[words.index("--home") + 1].replace("%%", "%").replace("$$", "$"))
    except (ValueError, IndexError):
        return None
    return home if home.is_absolute() else None


def expanded(path: str | Path) -> Path:
    """``path`` with ``~`` and ``~user`` replaced; as it stands, as in a shell, where there is no such user."""
    return Path(os.path.expanduser(path))


def as_called(words: str) -> str:
    """``words`` with its commands, as in "`hhtui doctor`", as this user can type them: after ``make run`` by a path."""
    return words.replace("`hhtui", f"`{own_command()}") if "`hhtui" in words else words


@cache
def own_command() -> str:
    """``hhtui`` where the shell finds it, else the path by which it was called, short where it is below here."""
    import shutil

    called = os.path.abspath(sys.argv[0])
    found = shutil.which("hhtui")
    is_found = found is not None and os.path.realpath(found) == os.path.realpath(called)
    if is_found or os.path.basename(called) != "hhtui":
        return "hhtui"
    below = os.path.relpath(called)
    return called if below.startswith("..") else below


def app_id_of(folder_name: str) -> str:
    """The app's id: the folder's name made to fit ``[a-z0-9][a-z0-9_-]{0,62}``; "" if nothing is left."""
    fitted = re.sub(r"[^a-z0-9_-]+", "-", folder_name.lower()).lstrip("_-")[:63]
    return fitted.rstrip("-") if fitted != folder_name else fitted


def examples_folder() -> Path:
    """Where the example apps are: in the wheel below the package, in a checkout beside it."""
    package = Path(__file__).resolve().parent
    installed = package / "examples"
    return installed if installed.is_dir() else package.parent / "examples" / "apps"


class Home(NamedTuple):
    """The paths below one home. ``data_dir`` and ``logs_dir`` follow the configuration, the rest is fixed.

    No dataclass: their module and what it needs would be an eighth of what ``hhtui status`` takes.
    """

    root: Path
    data_dir: Path
    logs_dir: Path
    run_dir: Path

    @classmethod
    def at(
        cls,
        root: Path,
        data_dir: str = "data",
        logs_dir: str = "logs",
        environ: Mapping[str, str] = os.environ,
    ) -> Home:
        """The layout below ``root``; relative folders are below it, ``run`` is systemd's RUNTIME_DIRECTORY if set."""
        runtime = environ.get("RUNTIME_DIRECTORY", "").split(":")[0]
        return cls(
            root=root,
            data_dir=root / expanded(data_dir),
            logs_dir=root / expanded(logs_dir),
            run_dir=Path(runtime) if runtime else root / "run",
        )

    @property
    def config_dir(self) -> Path:
        return self.root / "config"

    @property
    def config_file(self) -> Path:
        return self.config_dir / "config.json"

    @property
    def config_backup(self) -> Path:
        return self.config_dir / "config.backup.json"

    @property
    def dotenv(self) -> Path:
        return self.config_dir / ".env"

    @property
    def secrets_env(self) -> Path:
        return self.config_dir / "secrets.env"

    @property
    def app_settings_dir(self) -> Path:
        """What the owner has set of each app, ``<app_id>.json``."""
        return self.config_dir / "apps"

    @property
    def registry_dir(self) -> Path:
        return self.root / "registry"

    @property
    def apps_json(self) -> Path:
        return self.registry_dir / "apps.json"

    @property
    def ports_json(self) -> Path:
        return self.registry_dir / "ports.json"

    @property
    def history_dir(self) -> Path:
        return self.registry_dir / "history"

    @property
    def reserve(self) -> Path:
        """Room that is given back when the disk is full."""
        return self.registry_dir / "reserve"

    @property
    def gone_dir(self) -> Path:
        """What is kept of apps whose folders are gone."""
        return self.registry_dir / "gone"

    @property
    def sources_dir(self) -> Path:
        """Where the code of each app comes from that was added."""
        return self.registry_dir / "sources"

    def app_source(self, app_id: str) -> Path:
        return self.sources_dir / f"{app_id}.json"

    @property
    def updates_dir(self) -> Path:
        """The journals of updates that are under way."""
        return self.registry_dir / "updates"

    @property
    def moves_dir(self) -> Path:
        """Moves to and from other homes that are not over, ``<token>.json``."""
        return self.registry_dir / "moves"

    def update_journal(self, app_id: str) -> Path:
        return self.updates_dir / f"{app_id}.json"

    @property
    def catalogs_dir(self) -> Path:
        """The catalogues of apps that are known, with what they offer."""
        return self.config_dir / "catalogs"

    def catalog_file(self, name: str) -> Path:
        return self.catalogs_dir / f"{name}.json"

    @property
    def incoming_dir(self) -> Path:
        """What is being fetched and unpacked, a folder each; what an engine finds there at its start goes."""
        return self.root / "incoming"

    @property
    def revisions_dir(self) -> Path:
        """Earlier revisions of updated apps, in ``<app_id>/<n>/``."""
        return self.root / "revisions"

    @property
    def trash_dir(self) -> Path:
        """Removed apps, in ``<app_id>-<n>/``."""
        return self.root / "trash"

    def app_settings(self, app_id: str) -> Path:
        """What the owner has set for an app, over its manifest."""
        return self.config_dir / "apps" / f"{app_id}.json"

    @property
    def ssh_dir(self) -> Path:
        """The engine's own key for git over ssh, and the hosts that it knows."""
        return self.config_dir / "ssh"

    @property
    def default_apps_dir(self) -> Path:
        return self.root / "apps"

    @property
    def venvs_dir(self) -> Path:
        return self.root / "venvs"

    @property
    def backups_dir(self) -> Path:
        return self.root / "backups"

    @property
    def engine_socket(self) -> Path:
        return self.run_dir / "engine.sock"

    @property
    def app_sockets_dir(self) -> Path:
        """The sockets of the apps that may use the engine's API."""
        return self.run_dir / "control"

    def app_socket(self, app_id: str) -> Path:
        return self.app_sockets_dir / app_id / "engine.sock"

    @property
    def engine_lock(self) -> Path:
        return self.run_dir / "engine.lock"

    @property
    def fifo_dir(self) -> Path:
        return self.run_dir / "fifo"

    @property
    def redis_dir(self) -> Path:
        """The private Redis server's folder: configuration, dump and socket."""
        return self.root / "redis"

    @property
    def gateway_dir(self) -> Path:
        """What the gateway keeps: the password's hash, and its own certificate authority."""
        return self.config_dir / "gateway"

    @property
    def gateway_run_dir(self) -> Path:
        """The gateway's Unix sockets."""
        return self.run_dir / "gateway"

    @property
    def cache_dir(self) -> Path:
        return self.root / "cache"

    @property
    def engine_log_dir(self) -> Path:
        return self.logs_dir / "homehelper"

    @property
    def engine_log(self) -> Path:
        return self.engine_log_dir / "main.log"

    @property
    def system_logs_dir(self) -> Path:
        return self.logs_dir / "system"

    def app_data(self, app_id: str) -> Path:
        return self.data_dir / app_id

    def app_logs(self, app_id: str) -> Path:
        return self.logs_dir / app_id

    def app_venv(self, app_id: str) -> Path:
        return self.venvs_dir / app_id

    def app_cache(self, app_id: str) -> Path:
        """What was fetched and built for an app that is kept apart: another app's is never taken from there."""
        return self.venvs_dir / f".{app_id}.cache"


@contextmanager
def socket_address(path: Path) -> Iterator[str]:
    """An address of ``path`` that fits sockaddr_un however long the home's path is, for bind or connect."""
    if len(os.fsencode(path)) <= MAX_SOCKET_PATH:
        yield str(path)
        return
    folder = os.open(path.parent, os.O_PATH | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        yield f"/proc/self/fd/{folder}/{path.name}"
    finally:
        os.close(folder)
