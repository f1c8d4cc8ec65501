"""supervisord, http://supervisord.org."""

from __future__ import annotations

import shlex
from pathlib import Path

from benchmarks.install import PYTHON_PEERS
from benchmarks.peers.base import MAX_BYTES, MAX_FILES, Peer, first_line


class Supervisord(Peer):
    """With its control socket; logs rotated as ours are."""

    name = "supervisord"

    @classmethod
    def version(cls) -> str | None:
        return first_line([str(PYTHON_PEERS / "supervisord"), "--version"])

    def prepare(self) -> None:
        self.log_folder().mkdir()
        lines = [
            "[unix_http_server]",
            "file=control.sock",
            "[supervisord]",
            "nodaemon=true",
            "logfile=supervisord.log",
            "pidfile=supervisord.pid",
            "minfds=8192",
            "[rpcinterface:supervisor]",
            "supervisor.rpcinterface_factory=supervisor.rpcinterface:make_main_rpcinterface",
            "[supervisorctl]",
            f"serverurl=unix://{self.folder}/control.sock",
        ]
        for app in self.apps:
            lines += [
                f"[program:{app.name}]",
                f"command={shlex.join(self.argv(app))}",
                "autorestart=true",
                f"stdout_logfile=logs/{app.name}.log",
                f"stdout_logfile_maxbytes={MAX_BYTES}",
                f"stdout_logfile_backups={MAX_FILES}",
                f"stderr_logfile=logs/{app.name}.err",
            ]
        (self.folder / "supervisord.conf").write_text("\n".join(lines) + "\n")

    def command(self) -> list[str]:
        return [str(PYTHON_PEERS / "supervisord"), "-c", str(self.folder / "supervisord.conf")]

    def status_command(self) -> list[str]:
        """What tells how the apps are."""
        return [str(PYTHON_PEERS / "supervisorctl"), "-c", str(self.folder / "supervisord.conf"), "status"]

    def log_files(self, name: str) -> list[Path]:
        return numbered_logs(self.log_folder() / f"{name}.log")


def numbered_logs(live: Path) -> list[Path]:
    """``x.log.2``, ``x.log.1``, ``x.log``: the oldest first."""
    archives = [path for path in live.parent.glob(f"{live.name}.*") if path.name.rpartition(".")[2].isdigit()]
    archives.sort(key=lambda path: -int(path.name.rpartition(".")[2]))
    return [*archives, *([live] if live.exists() else [])]
