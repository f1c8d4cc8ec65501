"""The systemd unit of a home's engine: where it is, and its text from the shipped templates."""

from __future__ import annotations

import os
import sys
from collections.abc import Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path

from hhtui.errors import HomeHelperError
from hhtui.paths import expanded

UNIT_NAME = "hhtui.service"
SYSTEM_UNIT = Path("/etc/systemd/system") / UNIT_NAME
# The first words of our templates: a file that begins otherwise is somebody else's.
MARK = "# Written by `hhtui service install`"
# systemd.service(5): Type=notify-reload came with 253; systemd.resource-control(5): DelegateSubgroup= with 254.
_NOTIFY_RELOAD = 253
_DELEGATE_SUBGROUP = 254
# What ProtectHome= and PrivateTmp= hide.
_PRIVATE_TREES = (Path("/home"), Path("/root"), Path("/run/user"))
_TEMPORARY_TREES = (Path("/tmp"), Path("/var/tmp"))


@dataclass(frozen=True)
class Unit:
    """What a unit depends on: ``account`` is (user, group) of a system unit, None for a user's own manager.

    ``writable`` are folders outside the home that the configuration names; ``systemd`` is the version, 0: not known.
    """

    command: Sequence[str]
    home: Path
    account: tuple[str, str] | None
    systemd: int
    writable: Sequence[Path] = ()

    def text(self) -> str:
        """The unit file."""
        reload_is_known = self.systemd >= _NOTIFY_RELOAD
        values = {
            "TYPE": "notify-reload" if reload_is_known else "notify",
            "EXEC": " ".join(_exec_word(word) for word in self.command),
            "HOME": _exec_word(str(self.home)),
            "RELOAD": "" if reload_is_known else "ExecReload=/bin/kill -HUP $MAINPID",
            "USER": self.account[0] if self.account else "",
            "GROUP": self.account[1] if self.account else "",
            "PROTECT_HOME": "read-only" if self._uses(_PRIVATE_TREES) else "yes",
            "PRIVATE_TMP": "no" if self._uses(_TEMPORARY_TREES) else "yes",
            "WRITABLE": " ".join([_word(str(self.home)), *(_word(f"-{path}") for path in self.writable)]),
        }
        lines = []
        for line in _template("hhtui.service" if self.account else "hhtui-user.service").splitlines():
            if line == "DelegateSubgroup=engine" and self.systemd < _DELEGATE_SUBGROUP:
                continue
            if line == "@RELOAD@" and not values["RELOAD"]:
                continue
            for name, value in values.items():
                line = line.replace(f"@{name}@", value)
            lines.append(line)
        return "\n".join(lines) + "\n"

    def _uses(self, trees: Sequence[Path]) -> bool:
        """Whether the home or this Python is somewhere below ``trees``, which then cannot be hidden from the engine."""
        used = [self.home, *self.writable, Path(sys.prefix), Path(sys.base_prefix), Path(self.command[0]).resolve()]
        return any(path.is_relative_to(tree) for path in used for tree in trees)


def user_unit(environ: Mapping[str, str] = os.environ) -> Path:
    """Where the unit of a user's own manager is (systemd.unit(5), "User Unit Search Path")."""
    config = environ.get("XDG_CONFIG_HOME", "")
    base = Path(config) if config.startswith("/") else expanded(environ.get("HOME") or "~") / ".config"
    return base / "systemd" / "user" / UNIT_NAME


def engine_command() -> list[str]:
    """This installation's Python on our package: the same path after an upgrade with pipx, uv or pip."""
    return [os.path.abspath(sys.executable), "-P", "-m", "hhtui"]


def shipped_folder(installed: str, here: str) -> Path:
    """A folder that the wheel ships as ``hhtui/<installed>`` and a source tree has as ``<here>``."""
    package = Path(__file__).parents[1]
    folder = package / installed
    return folder if folder.is_dir() else package.parent / here


def _template(name: str) -> str:
    path = shipped_folder("default_config", "config") / name
    try:
        return path.read_text()
    except OSError as error:
        raise HomeHelperError(f"{path}: {error.strerror}; hhtui is not installed completely") from None


def _word(text: str) -> str:
    """One word of a setting: specifiers and quotes escaped (systemd.syntax(7))."""
    if "\n" in text:
        raise HomeHelperError(f"{text!r}: systemd takes no path with a line break")
    text = text.replace("%", "%%")
    if any(character in text for character in " \t\"'\\"):
        text = text.replace("\\", "\\\\").replace('"', '\\"')
        return f'"{text}"'
    return text


def _exec_word(text: str) -> str:
    """One word of a command line: also ``$`` is escaped (systemd.service(5), "Command lines")."""
    return _word(text.replace("$", "$$"))
