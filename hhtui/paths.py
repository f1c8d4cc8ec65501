"""The home's layout (contract, section 1): every path of the product is named here and nowhere else."""

from __future__ import annotations

import os
import re
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import NamedTuple

MANIFEST_NAME = "homehelper.json"
APP_ID_PATTERN = re.compile(r"[a-z0-9][a-z0-9_-]{0,62}\Z")
SYSTEM_HOME = Path("/opt/homehelper")
_SYSTEM_SOCKET = SYSTEM_HOME / "run" / "engine.sock"
# sizeof(sockaddr_un.sun_path) is 108 with its closing NUL: unix(7).
MAX_SOCKET_PATH = 107


def find_home(explicit: str | Path | None = None, environ: Mapping[str, str] = os.environ) -> Path:
    """The home's folder: ``--home``, ``HOMEHELPER_HOME``, /opt/homehelper, else the XDG data folder.

    /opt/homehelper if it can be written, or if the engine in it can be spoken to: who is in the service's group need
    not be able to write its home.
    """
    if explicit:
        return expanded(explicit).absolute()
    if from_environment := environ.get("HOMEHELPER_HOME"):
        return expanded(from_environment).absolute()
    if SYSTEM_HOME.is_dir() and (os.access(SYSTEM_HOME, os.W_OK) or os.access(_SYSTEM_SOCKET, os.W_OK)):
        return SYSTEM_HOME
    data_home = environ.get("XDG_DATA_HOME", "")
    base = Path(data_home) if data_home.startswith("/") else expanded(environ.get("HOME") or "~") / ".local/share"
    return base / "homehelper"


def expanded(path: str | Path) -> Path:
    """``path`` with ``~`` and ``~user`` replaced; as it stands, as in a shell, where there is no such user."""
    return Path(os.path.expanduser(path))


def app_id_of(folder_name: str) -> str:
    """The app's id: the folder's name made to fit ``[a-z0-9][a-z0-9_-]{0,62}``; "" if nothing is left."""
    fitted = re.sub(r"[^a-z0-9_-]+", "-", folder_name.lower()).lstrip("_-")[:63]
    return fitted.rstrip("-") if fitted != folder_name else fitted


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
