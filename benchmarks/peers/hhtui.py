"""hhtui itself, as systemd runs it: `hhtui --engine-only`, its API and its private Redis server on."""

from __future__ import annotations

import json
import socket
import sys
from pathlib import Path

from benchmarks.peers.base import Peer
from benchmarks.peers.supervisord import numbered_logs
from hhtui import __version__
from hhtui.client.sync import EngineClient


class Hhtui(Peer):
    """A home in the peer's folder, everything at its default but the ports."""

    name = "hhtui"
    sandbox = "off"

    @classmethod
    def version(cls) -> str | None:
        return __version__

    @property
    def home(self) -> Path:
        return self.folder / "home"

    def log_folder(self) -> Path:
        return self.home / "logs"

    def prepare(self) -> None:
        config = {
            "schema_version": 1,
            "process_manager": {
                "port_range": {"start": 20_000, "end": 22_999},
                "streamlit_port": 23_000,
                "sandbox": self.sandbox,
            },
            "system": {"main_port": _free_port()},
        }
        (self.home / "config").mkdir(parents=True)
        (self.home / "config" / "config.json").write_text(json.dumps(config))
        self.environ.pop("HOMEHELPER_HOME", None)
        for app in self.apps:
            folder = self.home / "apps" / app.name
            folder.mkdir(parents=True)
            manifest = {
                "name": app.name,
                "type": "service",
                "command": self.argv(app),
                "endpoints": {"health": "/health" if app.health else None},
                "autostart": True,
                # It notes its first instruction there.
                "permissions": {"files": [f"{self.folder}:rw"]},
            }
            (folder / "homehelper.json").write_text(json.dumps(manifest))

    def command(self) -> list[str]:
        return [sys.executable, "-P", "-m", "hhtui", "--engine-only", "--quiet", "--home", str(self.home)]

    def status_command(self) -> list[str]:
        """What tells how the apps are."""
        return [str(Path(sys.executable).with_name("hhtui")), "--home", str(self.home), "status"]

    @property
    def client(self) -> EngineClient:
        """The engine's API."""
        return EngineClient(self.home / "run" / "engine.sock")

    def engine_pids(self) -> list[int]:
        """The engine alone; its private Redis server is told of apart."""
        return [self.root_pid()]

    def redis_pids(self) -> list[int]:
        """The private Redis server."""
        return [pid for pid in super().engine_pids() if pid != self.root_pid() and _is_server(pid)]

    def log_files(self, name: str) -> list[Path]:
        return numbered_logs(self.log_folder() / name / "app.log")


def _is_server(pid: int) -> bool:
    try:
        return Path(f"/proc/{pid}/comm").read_text().startswith(("redis", "valkey"))
    except OSError:
        return False


def _free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])
