"""install.md followed word by word on a Debian with nothing on it, as a new user would, by each of its two ways."""

from __future__ import annotations

import os
import re
import subprocess
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.docs.clean_debian import CleanDebian, make_base, why_not

ROOT = Path(__file__).parents[2]
PAGE = ROOT / "docs" / "install.md"
# A person looks at it, then presses q.
LOOK_AND_QUIT = """
python3 - <<'END'
import fcntl, os, pty, select, struct, sys, termios, time
child, master = pty.fork()
if child == 0:
    os.execvp("hhtui", ["hhtui", "--demo"])
fcntl.ioctl(master, termios.TIOCSWINSZ, struct.pack("HHHH", 30, 100, 0, 0))
shown, asked, pressed = b"", time.monotonic(), 0
while time.monotonic() < asked + 60:
    if select.select([master], [], [], 0.2)[0]:
        try:
            shown += os.read(master, 65536)
        except OSError:
            break
    if b"Thermometer" in shown and pressed < 9 and time.monotonic() > asked + 8 + 3 * pressed:
        pressed += 1
        os.write(master, b"q")
assert b"Thermometer" in shown and b"the demo is over" in shown, shown[-2000:]
sys.exit(os.waitstatus_to_exitcode(os.waitpid(child, 0)[1]))
END
"""
# Lines that cannot be typed here as they stand, and what stands for them.
INSTEAD = {
    "ssh pi@raspberrypi.local": "true  # every block is a login of its own already",
    "sudo reboot": "true  # the machine is started anew behind the block",
    "hhtui --demo": LOOK_AND_QUIT,
}


def blocks(way: str) -> Iterator[tuple[str, str]]:
    """``(section, commands)`` of the shell blocks that are for everybody or for ``way``."""
    section, chosen = "", ""
    for part in re.split(r"(?m)^(#{2,3} .*|```sh\n(?:.*\n)*?```)$", PAGE.read_text("utf-8")):
        if part.startswith("## "):
            section, chosen = part[3:], ""
        elif part.startswith("### "):
            chosen = part[4:].partition(":")[0]
        elif part.startswith("```sh\n") and (way == chosen or not chosen.startswith("For ")):
            yield section, part.removeprefix("```sh\n").removesuffix("```")


def test_the_page_has_two_whole_ways() -> None:
    for way in ("For yourself", "For the machine"):
        commands = "".join(text for _, text in blocks(way))
        for word in ("apt install", "service install", "hhtui --demo", "hhtui status", "doctor", "reload", "uninstall"):
            assert word in commands, (way, word)
    assert "pipx" in "".join(text for _, text in blocks("For yourself"))
    assert "useradd" not in "".join(text for _, text in blocks("For yourself"))


@pytest.mark.skipif(why_not() is not None, reason=why_not() or "")
@pytest.mark.timeout(1800)
@pytest.mark.parametrize("way", ["For yourself", "For the machine"])
def test_the_page_works_word_by_word_on_a_clean_debian(way: str, tmp_path: Path) -> None:
    source = tmp_path / "hhtui"
    subprocess.run(["git", "clone", "--quiet", str(ROOT), str(source)], check=True)
    machine = CleanDebian(make_base(Path(os.environ["HHTUI_CLEAN_DEBIAN"])), tmp_path / "machine")
    machine.put(source, "home/pi/hhtui", "pi")
    shown: dict[str, str] = {}
    with machine:
        for section, text in blocks(way):
            lines = [INSTEAD.get(line.partition("  #")[0].strip(), line) for line in text.splitlines()]
            done = machine.run("pi", "\n".join(lines) + "\n")
            assert done.returncode == 0, f"{section}: {text}\n{done.stdout[-3000:]}"
            shown[section] = shown.get(section, "") + done.stdout
            if "sudo reboot" in text:
                restart(machine)
            if "hhtui status" in text:
                assert_lamp_runs(machine)
                restart(machine)
                assert_lamp_runs(machine)
        gone = machine.run("pi", "! hhtui --version && ! systemctl status hhtui && ! systemctl --user status hhtui")
        assert gone.returncode == 0, gone.stdout
        kept = "/opt/homehelper" if way == "For the machine" else "/home/pi/.local/share/homehelper"
        assert machine.run("pi", f"sudo test -f {kept}/apps/lamp/homehelper.json").returncode == 0
    assert "cgroup_enable=memory cgroup_memory=1" in (machine.layer / "upper/boot/firmware/cmdline.txt").read_text()
    assert "0 errors" in next(text for section, text in shown.items() if section.startswith("6."))


def assert_lamp_runs(machine: CleanDebian) -> None:
    look = "for n in $(seq 100); do hhtui status lamp | grep running && exit; sleep 0.2; done; exit 1"
    up = machine.run("pi", look)
    assert up.returncode == 0, up.stdout


def restart(machine: CleanDebian) -> None:
    """``sudo reboot``, and on again."""
    machine.run("pi", "sudo reboot")
    machine.wait_end()
    machine.boot()
