"""``hhtui service``: the engine as a systemd service, of the machine or of one user."""

from __future__ import annotations

import grp
import os
import pwd
import subprocess
from pathlib import Path
from typing import Any

import click

from hhtui.cli.session import Session, command, shared_options
from hhtui.cli.systemctl import systemctl, systemd_version, unit_state
from hhtui.cli.unit_file import MARK, SYSTEM_UNIT, UNIT_NAME, Unit, engine_command, user_unit
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from hhtui.paths import SYSTEM_HOME, Home, expanded
from hhtui.storage import write_atomically

SERVICE_ACCOUNT = "homehelper"
_LINGER = Path("/var/lib/systemd/linger")

_user_option = click.option("--user", "own", is_flag=True, help="In your own systemd, without root.")
_account_option = click.option("--run-as", metavar="USER", help="Who the engine and its apps run as (system service).")


@click.group("service", context_settings={"help_option_names": ["-h", "--help"]})
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
def install(session: Session, own: bool, run_as: str | None, no_start: bool) -> None:
    """Write the unit, start the engine by it, now and with the machine."""
    path = user_unit() if own else SYSTEM_UNIT
    _need_root(own, path, "install")
    unit = _unit(session, own=own, run_as=run_as, careful=True)
    installed = _read(path)
    if installed is not None and not installed.startswith(MARK):
        raise ConflictError(f"{path} is there and was not written by hhtui: move it away first")
    was_active = unit_state(user=own).get("ActiveState") == "active"
    if not was_active and not no_start:
        _refuse_beside_another(session, unit.home)
    _check_account(unit)
    _make_home(unit)
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        write_atomically(path, unit.text().encode(), 0o644)
    except OSError as error:
        raise HomeHelperError(f"{path}: cannot be written: {error.strerror}") from None
    if not no_start:
        systemctl("daemon-reload", user=own)
        systemctl("enable", UNIT_NAME, user=own)
        if not was_active:
            systemctl("start", UNIT_NAME, user=own)
    _tell_installed(session, path, unit, was_active=was_active, started=not no_start)


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
    if managed:
        session.console.progress("the service stops, and its apps with it")
        systemctl("disable", "--now", UNIT_NAME, user=own)
    try:
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
    root = session.home.root
    if not own and not session.home_given and not os.environ.get("HOMEHELPER_HOME"):
        root = SYSTEM_HOME
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


def _make_home(unit: Unit) -> None:
    """A new home belongs to who will run in it."""
    try:
        if unit.home.exists():
            return
        unit.home.mkdir(mode=0o750, parents=True)
        if unit.account is not None:
            entry = pwd.getpwnam(unit.account[0])
            os.chown(unit.home, entry.pw_uid, entry.pw_gid)
    except OSError as error:
        raise HomeHelperError(f"{unit.home}: cannot be made: {error.strerror}") from None


def _read(path: Path) -> str | None:
    try:
        return path.read_text(errors="replace")
    except FileNotFoundError:
        return None
    except OSError as error:
        raise HomeHelperError(f"{path}: cannot be read: {error.strerror}") from None


def _tell_installed(session: Session, path: Path, unit: Unit, *, was_active: bool, started: bool) -> None:
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
