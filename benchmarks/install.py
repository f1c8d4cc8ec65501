"""The peers below .bench/: supervisor and circus from PyPI, pm2 from npm, runit and s6 from Debian; and the app."""

from __future__ import annotations

import compileall
import os
import shutil
import subprocess
import sys
from pathlib import Path

ROOT = Path(__file__).resolve().parent.parent
BENCH = ROOT / ".bench"
PYTHON_PEERS = BENCH / "python" / "bin"
NODE_PEERS = BENCH / "node" / "node_modules" / ".bin"


def install_peers() -> list[str]:
    """Install what is missing; one line for each peer that cannot be compared with here."""
    BENCH.mkdir(exist_ok=True)
    missing: list[str] = []
    if not (PYTHON_PEERS / "circusd").exists() or not (PYTHON_PEERS / "supervisord").exists():
        print("installing supervisor and circus into .bench/python ...", file=sys.stderr)
        _run([sys.executable, "-m", "venv", str(BENCH / "python")], missing, "supervisord, circus")
        pip = [str(PYTHON_PEERS / "python"), "-m", "pip", "install", "--quiet", "supervisor", "circus", "setuptools<81"]
        _run(pip, missing, "supervisord, circus")
    if not (NODE_PEERS / "pm2").exists():
        if shutil.which("npm"):
            print("installing pm2 into .bench/node ...", file=sys.stderr)
            _run(["npm", "install", "--silent", "--prefix", str(BENCH / "node"), "pm2"], missing, "pm2")
        else:
            missing.append("pm2: there is no npm")
    packages = [name for name, program in (("runit", "runsvdir"), ("s6", "s6-svscan")) if not shutil.which(program)]
    if packages and os.geteuid() == 0 and shutil.which("apt-get"):
        print(f"installing {' and '.join(packages)} with apt-get ...", file=sys.stderr)
        _run(["apt-get", "update", "-qq"], [], "")
        _run(["apt-get", "install", "-y", "-qq", "--no-install-recommends", *packages], missing, ", ".join(packages))
    elif packages:
        missing.append(f"{', '.join(packages)}: not installed (apt install {' '.join(packages)})")
    return missing


def compile_project() -> None:
    """Byte code of our own modules, which pip makes of those that it installs: the peers' is there."""
    compileall.compile_dir(ROOT / "hhtui", quiet=2)


def _run(argv: list[str], missing: list[str], names: str) -> None:
    try:
        done = subprocess.run(argv, check=False, stdin=subprocess.DEVNULL, capture_output=True, text=True, timeout=600)
    except (OSError, subprocess.TimeoutExpired) as error:
        missing.append(f"{names}: {error}")
        return
    if done.returncode:
        last = (done.stderr.strip() or done.stdout.strip() or "no reason told").splitlines()[-1]
        missing.append(f"{names}: {last[:200]}")


def compile_app() -> Path:
    """The program that every supervisor runs; SystemExit without a C compiler."""
    source, program = Path(__file__).with_name("app.c"), BENCH.resolve() / "app"
    BENCH.mkdir(exist_ok=True)
    if not program.exists() or program.stat().st_mtime < source.stat().st_mtime:
        compiler = shutil.which("cc") or shutil.which("gcc") or shutil.which("clang")
        if compiler is None:
            raise SystemExit("the benchmarks need a C compiler: sudo apt install gcc libc6-dev")
        subprocess.run([compiler, "-O2", "-o", str(program), str(source)], check=True)
    return program
