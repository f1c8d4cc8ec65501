"""A Debian with nothing on it, booted by its own systemd beside this machine's: where install.md is followed.

Its root is made once by debootstrap into a folder that stays; every boot writes to a layer above it (overlayfs).
"""

from __future__ import annotations

import contextlib
import os
import shutil
import signal
import subprocess
import time
from pathlib import Path

from tests.service.real_systemd import cgroup2_tree

# What Raspberry Pi OS Lite has beyond the smallest Debian.
PACKAGES = "ca-certificates,sudo,systemd,systemd-sysv,dbus,libpam-systemd,man-db,procps,iproute2,bsdutils"
# Hardware and logins at a screen, which a machine inside a machine has not.
MASKED = ("systemd-udevd", "systemd-udevd-kernel.socket", "systemd-udevd-control.socket", "systemd-udev-trigger",
          "systemd-timesyncd", "systemd-remount-fs", "systemd-sysctl", "console-getty", "getty.target",
          "dev-hugepages.mount", "dev-mqueue.mount", "sys-kernel-debug.mount", "sys-kernel-tracing.mount",
          "sys-fs-fuse-connections.mount", "apt-daily.timer", "apt-daily-upgrade.timer")  # fmt: skip
_BOOT = r"""
set -e
mount --make-rprivate /
mount -t overlay overlay -o "lowerdir=$BASE,upperdir=$LAYER/upper,workdir=$LAYER/work" "$LAYER/root"
cd "$LAYER/root"
mount -t proc proc proc
mount -t sysfs sysfs sys
mount -t cgroup2 cgroup2 sys/fs/cgroup 2>/dev/null || { mount -t tmpfs tmpfs sys/fs/cgroup; umount sys/fs/cgroup; \
  mount -t cgroup2 cgroup2 sys/fs/cgroup; }
mount -t tmpfs -o mode=755 tmpfs run
mount -t tmpfs -o mode=1777 tmpfs tmp
mount -t tmpfs -o mode=755 tmpfs dev
mkdir dev/pts dev/shm
mount -t devpts -o newinstance,ptmxmode=0666,mode=0620 devpts dev/pts
ln -s pts/ptmx dev/ptmx
for node in null zero full random urandom tty; do touch dev/$node; mount --bind /dev/$node dev/$node; done
mount -t tmpfs -o mode=1777 tmpfs dev/shm
hostname raspberrypi
mkdir -p .old
pivot_root . .old
umount -l /.old
exec env -i container=hhtui PATH=/usr/sbin:/usr/bin:/sbin:/bin /lib/systemd/systemd --unit=multi-user.target
"""


def why_not() -> str | None:
    """Why this cannot be done here; None if it can."""
    if not os.environ.get("HHTUI_CLEAN_DEBIAN"):
        return "it takes minutes and a network: HHTUI_CLEAN_DEBIAN=FOLDER (where its Debian is kept) runs it"
    if os.geteuid():
        return "only root can boot another system"
    if shutil.which("debootstrap") is None and not (Path(os.environ["HHTUI_CLEAN_DEBIAN"]) / "root").exists():
        return "debootstrap is not installed"
    return None if cgroup2_tree() else "no cgroup v2 tree that can be written"


def make_base(folder: Path) -> Path:
    """The clean root below ``folder``, made if it is not there: Debian 12 and a user ``pi`` who may sudo."""
    root = folder / "root"
    if root.exists():
        return root
    new = folder / "root.new"
    shutil.rmtree(new, ignore_errors=True)
    new.mkdir(parents=True)
    subprocess.run(
        ["debootstrap", "--variant=minbase", f"--include={PACKAGES}", "bookworm", str(new)],
        check=True,
        stdout=subprocess.DEVNULL,
    )
    _reach_the_registries(new)
    (new / "etc" / "hostname").write_text("raspberrypi\n")
    (new / "etc" / "hosts").write_text(f"{Path('/etc/hosts').read_text()}\n127.0.1.1 raspberrypi\n")
    # A test answers no questions; nothing else of apt is changed.
    (new / "etc" / "apt" / "apt.conf.d" / "90-yes").write_text('APT::Get::Assume-Yes "true";\n')
    firmware = new / "boot" / "firmware"
    firmware.mkdir(exist_ok=True)
    (firmware / "cmdline.txt").write_text("console=serial0,115200 root=PARTUUID=1-02 rootwait\n")

    def inside(*words: str) -> None:
        subprocess.run(["chroot", str(new), *words], check=True, stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL)

    for group in ("gpio", "i2c", "spi"):
        inside("groupadd", "--system", group)
    inside("useradd", "--create-home", "--shell", "/bin/bash", "--groups", "adm,sudo", "pi")
    sudoers = new / "etc" / "sudoers.d" / "010_pi-nopasswd"
    sudoers.write_text("pi ALL=(ALL) NOPASSWD: ALL\n")
    sudoers.chmod(0o440)
    inside("systemctl", "mask", *MASKED)
    new.rename(root)
    return root


def _reach_the_registries(root: Path) -> None:
    """The ways by which this machine reaches its package registries, whatever they are."""
    for name in ("etc/resolv.conf", "etc/pip.conf", "etc/ssl/certs/ca-certificates.crt"):
        if Path("/", name).exists():
            shutil.copyfile(Path("/", name), root / name)
    for path in Path("/etc/apt/apt.conf.d").iterdir():
        if "Acquire" in path.read_text(errors="replace") and "docker" not in path.name:
            shutil.copyfile(path, root / "etc" / "apt" / "apt.conf.d" / path.name)
    debian = Path("/etc/apt/sources.list.d/debian.sources")
    if debian.exists():
        shutil.copyfile(debian, root / "etc" / "apt" / "sources.list.d" / debian.name)
        (root / "etc" / "apt" / "sources.list").unlink(missing_ok=True)


class CleanDebian:
    """One machine: ``layer`` is what it writes. Leaving the context ends everything that runs in it."""

    def __init__(self, base: Path, layer: Path) -> None:
        self.base, self.layer = base, layer
        for name in ("upper", "work", "root"):
            (layer / name).mkdir(parents=True)
        self._process: subprocess.Popen[bytes] | None = None

    def __enter__(self) -> CleanDebian:
        self.boot()
        return self

    def __exit__(self, *_: object) -> None:
        self.end()

    def put(self, source: Path, inside: str, owner: str) -> None:
        """Copy a folder in while it does not run; ``owner`` is a name that both machines may not share."""
        target = self.layer / "upper" / inside
        target.parent.mkdir(parents=True, exist_ok=True)
        shutil.copytree(source, target, symlinks=True)
        numbers = next(
            line.split(":")[2:4]
            for line in (self.base / "etc" / "passwd").read_text().splitlines()
            if line.startswith(f"{owner}:")
        )
        subprocess.run(["chown", "-R", ":".join(numbers), str(target.parent)], check=True)

    def boot(self) -> None:
        """Start its systemd and wait until it says that it is up."""
        tree = cgroup2_tree()
        assert tree is not None
        self._group = tree / f"hhtui-clean-{os.getpid()}"
        self._group.mkdir(exist_ok=True)
        self._process = subprocess.Popen(
            [
                *("/bin/sh", "-c", f'echo $$ > "{self._group}/cgroup.procs" && exec "$@"', "sh"),
                *("unshare", "--mount", "--pid", "--fork", "--cgroup", "--uts", "--ipc", "--kill-child"),
                *("/bin/bash", "-c", _BOOT),
            ],
            env={**os.environ, "BASE": str(self.base), "LAYER": str(self.layer)},
            stdin=subprocess.DEVNULL,
            stdout=subprocess.DEVNULL,
            stderr=(self.layer / "boot.log").open("ab"),
            start_new_session=True,
        )
        deadline = time.monotonic() + 60
        while self._enter("systemctl", "is-system-running").stdout.strip() not in ("running", "degraded"):
            assert self._process.poll() is None, (self.layer / "boot.log").read_text()
            assert time.monotonic() < deadline, "it does not come up"
            time.sleep(0.2)

    def wait_end(self, timeout: float = 60) -> None:
        """Wait for a reboot's first half."""
        assert self._process is not None
        self._process.wait(timeout)

    def end(self) -> None:
        """Pull the plug."""
        if self._process is not None and self._process.poll() is None:
            os.killpg(self._process.pid, signal.SIGKILL)
            self._process.wait()
        for _ in range(100):
            for folder in sorted(self._group.glob("**/"), key=lambda path: len(path.parts), reverse=True):
                with contextlib.suppress(OSError):
                    folder.rmdir()
            if not self._group.exists():
                break
            time.sleep(0.05)

    def run(self, user: str, script: str, timeout: float = 300) -> subprocess.CompletedProcess[str]:
        """``script`` in bash, in a login session of its own, as over ssh; the first command that fails ends it."""
        return self._enter("su", "-l", user, "-c", "bash -e -x -s", script=script, timeout=timeout)

    def _enter(self, *words: str, script: str = "", timeout: float = 30) -> subprocess.CompletedProcess[str]:
        assert self._process is not None
        children = Path(f"/proc/{self._process.pid}/task/{self._process.pid}/children").read_text().split()
        if not children:
            return subprocess.CompletedProcess(words, 1, "", "")
        return subprocess.run(
            ["nsenter", "--target", children[0], "--all", *words],
            input=script,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            timeout=timeout,
            check=False,
        )
