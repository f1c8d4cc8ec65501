"""A namespace with a cgroup tree of its own, where a real systemd can run beside the machine's."""

from __future__ import annotations

import contextlib
import os
import shutil
import subprocess
import sys
import time
from pathlib import Path

ROOT = Path(__file__).resolve().parents[2]
SYSTEMD = Path("/lib/systemd/systemd")


def why_not() -> str | None:
    """Why no systemd can be run here; None if it can."""
    if os.geteuid():
        return "namespaces with a cgroup tree need root"
    if not SYSTEMD.exists() or shutil.which("systemctl") is None or shutil.which("unshare") is None:
        return "no systemd on this machine"
    if cgroup2_tree() is None:
        return "no cgroup v2 tree that can be written"
    return None


def cgroup2_tree() -> Path | None:
    """A cgroup v2 tree in which a group can be made."""
    for line in Path("/proc/self/mountinfo").read_text().splitlines():
        fields, _, kind = line.partition(" - ")
        if kind.startswith("cgroup2 ") and os.access(fields.split()[4], os.W_OK):
            return Path(fields.split()[4])
    return None


def run_in_namespace(*arguments: str, timeout: float) -> subprocess.CompletedProcess[str]:
    """Run ``in_namespace.py`` with pids, mounts and cgroups of its own; everything in it ends with it."""
    tree = cgroup2_tree()
    assert tree is not None
    group = tree / f"hhtui-test-{os.getpid()}"
    group.mkdir()
    command = [
        *("unshare", "--mount", "--pid", "--fork", "--cgroup", "--mount-proc", "--kill-child"),
        *(sys.executable, "-m", "tests.service.in_namespace", *arguments),
    ]
    try:
        return subprocess.run(
            ["/bin/sh", "-c", f'echo $$ > "{group}/cgroup.procs" && exec "$@"', "sh", *command],
            capture_output=True,
            text=True,
            timeout=timeout,
            check=False,
            cwd=ROOT,
        )
    finally:
        # A group can be removed once the last of its processes has been reaped.
        deadline = time.monotonic() + 5
        while group.exists() and time.monotonic() < deadline:
            for folder in sorted([group, *group.glob("**/")], key=lambda path: len(path.parts), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            time.sleep(0.05)
