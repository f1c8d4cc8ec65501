"""Other programs that watch a machine or a log: btop and lnav from Debian, toolong from PyPI."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
from pathlib import Path

from benchmarks.install import BENCH
from benchmarks.tui.programs import Program

_TOOLONG = BENCH / "toolong" / "bin" / "tl"


def install_peers() -> list[str]:
    """Install what is missing; one line for each that cannot be had here."""
    BENCH.mkdir(exist_ok=True)
    missing = []
    packages = [name for name in ("btop", "lnav") if not shutil.which(name)]
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {' and '.join(packages)} with apt-get ...", file=sys.stderr)
        subprocess.run(
            ["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages],
            check=False, stdin=subprocess.DEVNULL, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL,
        )  # fmt: skip
    missing += [f"{name}: not installed (apt install {name})" for name in packages if not shutil.which(name)]
    if not _TOOLONG.exists():
        print("installing toolong into .bench/toolong ...", file=sys.stderr)
        subprocess.run([sys.executable, "-m", "venv", str(BENCH / "toolong")], check=False)
        # Toolong 1.5 was made for the Textual of its time.
        pip = [str(_TOOLONG.with_name("python")), "-m", "pip", "install", "--quiet", "toolong", "textual<0.80"]
        if subprocess.run(pip, check=False, stdin=subprocess.DEVNULL, capture_output=True).returncode:
            missing.append("toolong: cannot be installed from PyPI")
    return missing


def versions() -> str:
    """The versions of those that are there."""
    found = []
    for command in (["btop", "--version"], ["lnav", "--version"], [str(_TOOLONG), "--version"]):
        if shutil.which(command[0]):
            done = subprocess.run(command, check=False, capture_output=True, text=True, stdin=subprocess.DEVNULL)
            found.append((done.stdout or done.stderr).strip().splitlines()[0][:60])
    return ", ".join(found)


def watchers() -> list[Program]:
    """Programs that watch the machine."""
    return [Program("btop", ["btop", "--utf-force"], "cpu")] if shutil.which("btop") else []


def followers(log: Path) -> list[Program]:
    """Programs that follow a log."""
    found = []
    if shutil.which("lnav"):
        found.append(Program("lnav", ["lnav", str(log)], "request", home=log.parent))
    if _TOOLONG.exists():
        found.append(Program("toolong", [str(_TOOLONG), str(log)], "request", keys="\x1b[F"))
    return found
