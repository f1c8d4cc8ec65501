"""``hhtui service``: the engine as a systemd service, of the machine or of one user, and the unit's text."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
import sys
from collections.abc import Sequence
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import click

from hhtui.cli.session import Group, Session, command, shared_options
from hhtui.client.systemctl import SystemdError, systemctl, systemd_version, unit_state
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from hhtui.paths import SYSTEM_HOME, SYSTEM_UNIT, UNIT_NAME, Home, expanded, own_home, unit_home, user_unit
from hhtui.storage import write_atomically

SERVICE_ACCOUNT = "homehelper"
SOCKET_UNIT = "hhtui-gateway.socket"
_LINGER = Path("/var/lib/systemd/linger")

_user_option = click.option("--user", "own", is_flag=True, help="In your own systemd, without root.")
_account_option = click.option("--run-as", metavar="USER", help="Who the engine and its apps run as (system service).")


@click.group("service", cls=Group, context_settings={"help_option_names": ["-h", "--help"]})
@shared_options
def service() -> None:
    """Have systemd start the engine with the machine, and again if it dies."""


@command("show")
@_user_option
@_account_option
def show(session: Session, own: bool, run_as: str | None) -> None:
    """Print the unit that install would write, and what is installed."""
    path = user_unit() if own else SYSTEM_UNIT
    text = _unit(session, own=own, run_as=run_as, careful=False).text()
    installed = _read(path)
    state = unit_state(user=own)
    console = session.console
    if console.json:
        console.document(
            {
                "path": str(path),
                "installed": installed is not None,
                "current": installed == text,
                "active": state.get("ActiveState") or None,
                "enabled": state.get("UnitFileState") or None,
                "pid": int(state.get("MainPID") or 0) or None,
                "unit": text,
            }
        )
        return
    console.data(text.rstrip("\n"))
    if installed is None:
        console.words(f"{path}: not installed")
    else:
        same = "as above" if installed == text else "differs from the above: `hhtui service install` renews it"
        active = f", {state['ActiveState']} ({state.get('SubState')})" if state.get("ActiveState") else ""
        console.words(f"{path}: installed, {same}{active}")


@command("install")
@_user_option
@_account_option
@click.option("--no-start", is_flag=True, help="Write the unit and no more: nothing is enabled or started.")
@click.option("--gateway", is_flag=True, help="Have systemd open ports 80 and 443 for the gateway, too.")
def install(session: Session, own: bool, run_as: str | None, no_start: bool, gateway: bool) -> None:
    """Write the unit, start the engine by it, now and with the machine."""
    path = user_unit() if own else SYSTEM_UNIT
    if gateway and own:
        raise click.UsageError("--gateway goes without --user: only the machine's systemd may open these ports")
    _need_root(own, path, "install")
    unit = _unit(session, own=own, run_as=run_as, careful=True)
    installed = _read(path)
    if installed is not None and not installed.startswith(MARK):
        raise ConflictError(f"{path} is there and was not written by hhtui: move it away first")
    was_active = unit_state(user=own).get("ActiveState") == "active"
    if gateway:
        _install_socket(path.with_name(SOCKET_UNIT), start=not no_start)
    if not was_active and not no_start:
        _refuse_beside_another(session, unit.home)
    _check_account(unit)
    made = [*_make_home(unit), *_make_folders(path.parent)]
    try:
        _write(path, unit.text().encode())
        if not no_start:
            systemctl("daemon-reload", user=own)
            systemctl("enable", UNIT_NAME, user=own)
    except HomeHelperError:
        _take_back(path, installed, made, own=own)
        raise
    if not no_start and not was_active:
        try:
            systemctl("start", UNIT_NAME, user=own)
        except SystemdError as error:
            tool = "journalctl --user" if own else "sudo journalctl"
            raise SystemdError(
                f"{path} is installed, but does not start: {error.message}; see {tool} -u hhtui -e"
            ) from None
    _report_installed(session, path, unit, was_active=was_active, started=not no_start)
    if gateway and was_active:
        session.console.words(
            "ports 80 and 443 are the gateway's after: sudo systemctl stop hhtui && "
            f"sudo systemctl start {SOCKET_UNIT} hhtui"
        )


def _install_socket(path: Path, *, start: bool) -> None:
    """The unit by which systemd, which may, opens the gateway's ports: neither the engine nor an app needs to."""
    installed = _read(path)
    if installed is not None and not installed.startswith(MARK):
        raise ConflictError(f"{path} is there and was not written by hhtui: move it away first")
    _write(path, _template(SOCKET_UNIT).encode())
    if start:
        systemctl("daemon-reload", user=False)
        systemctl("enable", SOCKET_UNIT, user=False)
        # systemd.socket(5): one whose service runs cannot be started.
        with suppress(SystemdError):
            systemctl("start", SOCKET_UNIT, user=False)


@command("uninstall")
@_user_option
def uninstall(session: Session, own: bool) -> None:
    """Stop the service and remove its unit; the home, its apps and their data stay."""
    path = user_unit() if own else SYSTEM_UNIT
    _need_root(own, path, "uninstall")
    installed = _read(path)
    if installed is None:
        raise HomeHelperError(f"{path}: not installed")
    if not installed.startswith(MARK):
        raise ConflictError(f"{path} was not written by hhtui: it stays")
    managed = bool(unit_state(user=own))
    opened = path.with_name(SOCKET_UNIT)
    has_socket = not own and (_read(opened) or "").startswith(MARK)
    if managed:
        session.console.progress("the service stops, and its apps with it")
        systemctl("disable", "--now", *([SOCKET_UNIT] if has_socket else []), UNIT_NAME, user=own)
    try:
        if has_socket:
            opened.unlink()
        path.unlink()
    except OSError as error:
        raise HomeHelperError(f"{path}: cannot be removed: {error.strerror}") from None
    if managed:
        systemctl("daemon-reload", user=own)
    if session.console.json:
        session.console.document({"path": str(path), "removed": True})
    else:
        session.console.words(f"{path} is removed; the home stays as it is")


for _command in (install, uninstall, show):
    service.add_command(_command)


def _unit(session: Session, *, own: bool, run_as: str | None, careful: bool) -> Unit:
    """The unit for this invocation; ``careful``: refuse what could not run."""
    if own and run_as:
        raise click.UsageError("--run-as goes without --user: your own systemd runs everything as you")
    if session.home_given or os.environ.get("HOMEHELPER_HOME"):
        root = session.home.root
    elif own:
        # Never the machine's, that others steer too.
        root = unit_home(user_unit()) or own_home()
    else:
        root = unit_home(SYSTEM_UNIT) or SYSTEM_HOME
    account = None if own else _account(run_as, root, careful)
    return Unit(engine_command(), root, account, systemd_version(), _outside(root))


def _account(run_as: str | None, root: Path, careful: bool) -> tuple[str, str]:
    name = run_as or _default_account(root)
    try:
        entry = pwd.getpwnam(name)
    except KeyError:
        if not careful:
            return name, name
        if run_as is None:
            raise InvalidInputError(
                "--run-as USER: who should the engine and its apps run as? "
                f"For a user of their own: sudo useradd --system --home-dir {SYSTEM_HOME} {SERVICE_ACCOUNT}"
            ) from None
        raise InvalidInputError(f"--run-as: there is no user {name!r}") from None
    if careful and entry.pw_uid == 0 and run_as is None:
        raise InvalidInputError("--run-as USER: the engine and its apps would run as root; say so if you mean it")
    return name, grp.getgrgid(entry.pw_gid).gr_name


def _default_account(root: Path) -> str:
    """The service's own user, else who has the home, else who called sudo."""
    try:
        return pwd.getpwnam(SERVICE_ACCOUNT).pw_name
    except KeyError:
        pass
    try:
        owner = root.stat().st_uid
        if owner:
            return pwd.getpwuid(owner).pw_name
    except (OSError, KeyError):
        pass
    if os.geteuid():
        return pwd.getpwuid(os.geteuid()).pw_name
    return os.environ.get("SUDO_USER") or SERVICE_ACCOUNT


def _check_account(unit: Unit) -> None:
    """Refuse an account that cannot reach this Python: it may lie in somebody's private folder."""
    if unit.account is None or os.geteuid():
        return
    name, group = unit.account
    command = [*unit.command[:2], "-c", "import hhtui"]
    groups = os.getgrouplist(name, grp.getgrnam(group).gr_gid)
    try:
        done = subprocess.run(
            command, user=name, group=group, extra_groups=groups, cwd="/", env={}, capture_output=True, check=False
        )
        reason = "" if done.returncode == 0 else done.stderr.decode("utf-8", "replace").strip().rpartition("\n")[2]
    except OSError as error:
        reason = error.strerror or str(error)
    if reason:
        raise InvalidInputError(
            f"{name} cannot run {unit.command[0]}: {reason}; install hhtui where {name} can read it "
            "(for example: sudo python3 -m venv /opt/hhtui), or choose another --run-as"
        )


def _outside(root: Path) -> list[Path]:
    """Folders that the configuration puts outside the home."""
    from hhtui.model.config_file import load_config

    try:
        manager = load_config(Home.at(root)).config.process_manager
    except HomeHelperError:
        return []
    named = [root / expanded(folder) for folder in (manager.data_dir, manager.logs_dir, *manager.apps_dirs)]
    return sorted({folder for folder in named if not folder.is_relative_to(root)})


def _need_root(own: bool, path: Path, verb: str) -> None:
    if not own and not os.access(path.parent, os.W_OK):
        raise HomeHelperError(
            f'{path.parent} is root\'s: sudo "$(command -v hhtui)" service {verb}, or --user for your own systemd'
        )


def _refuse_beside_another(session: Session, root: Path) -> None:
    from hhtui.client.sync import EngineClient

    client = EngineClient(Home.at(root).engine_socket)
    if client.runs():
        raise ConflictError(
            f"an engine runs on {root} already: `hhtui --home {root} engine stop --keep-apps` first; "
            "the service takes its apps over"
        )


def _make_home(unit: Unit) -> list[Path]:
    """The folders that were made: a new home belongs to who will run in it."""
    try:
        if unit.home.exists():
            return []
        made = _make_folders(unit.home)
        unit.home.chmod(0o750)
        if unit.account is not None:
            entry = pwd.getpwnam(unit.account[0])
            os.chown(unit.home, entry.pw_uid, entry.pw_gid)
    except OSError as error:
        raise HomeHelperError(f"{unit.home}: cannot be made: {error.strerror}") from None
    return made


def _make_folders(path: Path) -> list[Path]:
    """Make a folder and those above it; which were made, the uppermost first."""
    made: list[Path] = []
    try:
        for folder in [*reversed(path.parents), path]:
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
    except OSError as error:
        raise HomeHelperError(f"{error.filename}: cannot be made: {error.strerror}") from None
    return made


def _write(path: Path, data: bytes) -> None:
    try:
        write_atomically(path, data, 0o644)
    except OSError as error:
        raise HomeHelperError(f"{path}: cannot be written: {error.strerror}") from None


def _take_back(path: Path, before: str | None, made: list[Path], *, own: bool) -> None:
    """After a failure: the unit as it was before, and no folder that was made for it."""
    with suppress(HomeHelperError, OSError):
        if before is None:
            with suppress(SystemdError):
                systemctl("disable", UNIT_NAME, user=own)
            path.unlink(missing_ok=True)
        else:
            _write(path, before.encode())
        with suppress(SystemdError):
            systemctl("daemon-reload", user=own)
    for folder in reversed(made):
        with suppress(OSError):
            folder.rmdir()


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HomeHelperError(f"{path}: cannot be read: {error.strerror}") from None


def _report_installed(session: Session, path: Path, unit: Unit, *, was_active: bool, started: bool) -> None:
    console = session.console
    document: dict[str, Any] = {"path": str(path), "home": str(unit.home), "started": started and not was_active}
    if console.json:
        console.document(document)
        return
    own = unit.account is None
    tool = "systemctl --user" if own else "sudo systemctl"
    console.words(
        f"{path} is written; home {unit.home}" + ("" if own else f", user {unit.account and unit.account[0]}")
    )
    if not started:
        console.words(f"nothing is started: {tool} daemon-reload && {tool} enable --now hhtui")
        return
    if was_active:
        console.words(f"the engine runs on under the old unit until: {tool} restart hhtui")
    else:
        console.words("the engine runs, and starts with " + ("your session" if own else "the machine"))
    if own and not _lingers():
        name = pwd.getpwuid(os.geteuid()).pw_name
        console.words(f"to start with the machine, and to run on when you log out: sudo loginctl enable-linger {name}")


def _lingers() -> bool:
    return (_LINGER / pwd.getpwuid(os.geteuid()).pw_name).exists()


# The first words of our templates: a file that begins otherwise is somebody else's.
MARK = "# Written by `hhtui service install`"
# systemd.resource-control(5): DelegateSubgroup= came with 254.
_DELEGATE_SUBGROUP = 254
# Without it the engine moves itself into a subgroup, to have controllers for its apps' groups. A group that gives any
# to its children can hold no process (cgroups(7)), so systemd could not place the next engine there: what comes after
# an engine, however that has ended, takes them away. It runs in the subgroup .control.
_STOP_POST = (
    "ExecStopPost=-/bin/sh -c 'group=$$(sed -n s/^0:://p /proc/self/cgroup); "
    'cd "/sys/fs/cgroup$${group%%/.control}" && '
    "for name in $$(cat cgroup.subtree_control); do echo -$$name > cgroup.subtree_control; done'"
)
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
        knows_subgroups = self.systemd >= _DELEGATE_SUBGROUP
        values = {
            "EXEC": " ".join(_exec_word(word) for word in self.command),
            "HOME": _exec_word(str(self.home)),
            "STOP_POST": "" if knows_subgroups else _STOP_POST,
            "USER": self.account[0] if self.account else "",
            "GROUP": self.account[1] if self.account else "",
            "PROTECT_HOME": "read-only" if self._uses(_PRIVATE_TREES) else "yes",
            "PRIVATE_TMP": "no" if self._uses(_TEMPORARY_TREES) else "yes",
            "WRITABLE": " ".join([_word(str(self.home)), *(_word(f"-{path}") for path in self.writable)]),
        }
        lines = []
        for line in _template("hhtui.service" if self.account else "hhtui-user.service").splitlines():
            if line == "DelegateSubgroup=engine" and not knows_subgroups:
                continue
            if line == "@STOP_POST@" and knows_subgroups:
                continue
            for name, value in values.items():
                line = line.replace(f"@{name}@", value)
            lines.append(line)
        return "\n".join(lines) + "\n"

    def _uses(self, trees: Sequence[Path]) -> bool:
        """Whether the home or this Python is somewhere below ``trees``, which then cannot be hidden from the engine."""
        used = [self.home, *self.writable, Path(sys.prefix), Path(sys.base_prefix), Path(self.command[0]).resolve()]
        return any(path.is_relative_to(tree) for path in used for tree in trees)


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
