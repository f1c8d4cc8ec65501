"""runit, http://smarden.org/runit: runsvdir, one runsv an app, one svlogd an app."""

from __future__ import annotations

import os
import shlex
import shutil
import signal
from pathlib import Path

from benchmarks.peers.base import MAX_BYTES, MAX_FILES, Peer, first_line


class Runit(Peer):
    """A service directory with a log service for each app."""

    name = "runit"

    @classmethod
    def version(cls) -> str | None:
        if not shutil.which("runsvdir"):
            return None
        return first_line(["dpkg-query", "-W", "-f", "${Version}\n", "runit"]) or "unknown"

    def prepare(self) -> None:
        for app in self.apps:
            logs = self.log_folder() / app.name
            logs.mkdir(parents=True)
            (logs / "config").write_text(f"s{MAX_BYTES}\nn{MAX_FILES}\n")
            folder = self.folder / "services" / app.name
            (folder / "log").mkdir(parents=True)
            write_script(folder / "run", f"exec {shlex.join(self.argv(app))}")
            write_script(folder / "log" / "run", f"exec svlogd {shlex.quote(str(logs))}")

    def command(self) -> list[str]:
        return ["runsvdir", "-P", str(self.folder / "services")]

    def ask_to_stop(self) -> None:
        os.kill(self.root_pid(), signal.SIGHUP)

    def _is_gone(self, pid: int) -> bool:
        # runsvdir leaves at once, its runsv processes when their app is gone.
        return super()._is_gone(pid) and not self.engine_pids()

    def kill(self) -> None:
        os.kill(self.root_pid(), signal.SIGKILL)
        if self.process is not None:
            self.process.wait()

    def log_files(self, name: str) -> list[Path]:
        folder = self.log_folder() / name
        live = folder / "current"
        return [*sorted(folder.glob("@*")), *([live] if live.exists() else [])]


def write_script(path: Path, line: str) -> None:
    path.write_text(f"#!/bin/sh\n{line}\n")
    path.chmod(0o755)
