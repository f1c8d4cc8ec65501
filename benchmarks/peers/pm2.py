"""pm2, https://pm2.keymetrics.io."""

from __future__ import annotations

import json
import os
import signal
import subprocess
from pathlib import Path

from benchmarks.install import NODE_PEERS
from benchmarks.peers.base import Peer, first_line


class Pm2(Peer):
    """Its daemon, in a PM2_HOME of its own; it rotates logs only with a module, so not here."""

    name = "pm2"

    @classmethod
    def version(cls) -> str | None:
        return first_line([str(NODE_PEERS / "pm2"), "--version", "--no-daemon"])

    def prepare(self) -> None:
        self.log_folder().mkdir()
        self.environ["PM2_HOME"] = str(self.folder / "pm2")
        apps = []
        for app in self.apps:
            program, *arguments = self.argv(app)
            apps.append(
                {
                    "name": app.name,
                    "script": program,
                    "args": arguments,
                    "interpreter": "none",
                    "out_file": str(self.log_folder() / f"{app.name}.log"),
                    "error_file": str(self.log_folder() / f"{app.name}.err"),
                }
            )
        (self.folder / "apps.json").write_text(json.dumps({"apps": apps}))

    def command(self) -> list[str]:
        return [str(NODE_PEERS / "pm2"), "start", str(self.folder / "apps.json"), "--silent"]

    def status_command(self) -> list[str]:
        """What tells how the apps are."""
        return [str(NODE_PEERS / "pm2"), "ls"]

    def root_pid(self) -> int:
        return int((self.folder / "pm2" / "pm2.pid").read_text())

    def engine_pids(self) -> list[int]:
        return [self.root_pid()]

    def ask_to_stop(self) -> None:
        subprocess.Popen(
            [str(NODE_PEERS / "pm2"), "kill"],
            env=self.environ,
            cwd=self.folder,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=subprocess.DEVNULL,
        )

    def kill(self) -> None:
        os.kill(self.root_pid(), signal.SIGKILL)

    def log_files(self, name: str) -> list[Path]:
        path = self.log_folder() / f"{name}.log"
        return [path] if path.exists() else []
