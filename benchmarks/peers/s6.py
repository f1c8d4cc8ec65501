"""s6, https://skarnet.org/software/s6: s6-svscan, one s6-supervise an app and a logger, one s6-log an app."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from pathlib import Path

from benchmarks.peers.base import MAX_BYTES, MAX_FILES, Peer, first_line
from benchmarks.peers.runit import write_script


class S6(Peer):
    """A scan directory with a log service for each app."""

    name = "s6"

    @classmethod
    def version(cls) -> str | None:
        if not shutil.which("s6-svscan"):
            return None
        return first_line(["dpkg-query", "-W", "-f", "${Version}\n", "s6"]) or "unknown"

    def prepare(self) -> None:
        for app in self.apps:
            logs = self.log_folder() / app.name
            logs.mkdir(parents=True)
            folder = self.folder / "scan" / app.name
            (folder / "log").mkdir(parents=True)
            write_script(folder / "run", f"exec {shlex.join(self.argv(app))}")
            write_script(folder / "log" / "run", f"exec s6-log n{MAX_FILES} s{MAX_BYTES} {shlex.quote(str(logs))}")

    def command(self) -> list[str]:
        return ["s6-svscan", "-c", str(max(len(self.apps) * 2 + 10, 500)), str(self.folder / "scan")]

    def ask_to_stop(self) -> None:
        os.kill(self.root_pid(), signal.SIGTERM)

    def _is_gone(self, pid: int) -> bool:
        return super()._is_gone(pid) and not self.engine_pids()

    def kill(self) -> None:
        os.kill(self.root_pid(), signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def log_files(self, name: str) -> list[Path]:
        folder = self.log_folder() / name
        live = folder / "current"
        return [*sorted(folder.glob("@*")), *([live] if live.exists() else [])]
