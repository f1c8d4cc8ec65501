"""One virtual environment an app, built beside the one in use and put in its place by one rename."""

from __future__ import annotations

import asyncio
import hashlib
import importlib.util
import json
import os
import platform
import secrets
import shutil
import sys
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from hhtui.engine.apps.found_app import FoundApp
from hhtui.engine.apps.install_queue import InstallQueue
from hhtui.engine.apps.launch import base_python
from hhtui.engine.apps.requirements import Plan, plan_of, unsupported
from hhtui.engine.apps.setup_log import SetupLog
from hhtui.engine.apps.setup_step import InstallError, kill_all, run_step
from hhtui.errors import HomeHelperError
from hhtui.paths import Home
from hhtui.storage import write_json
from hhtui.text import sanitise

__all__ = ["InstallError", "Installer"]

MARKER = ".homehelper.json"
# Seconds. Building a large package from source takes hours on the smallest boards.
PACKAGES_LIMIT = 4 * 3600.0
COMMAND_LIMIT = 600.0
Progress = Callable[[str], None]


def find_uv() -> str | None:
    """The uv on PATH, or the one of the uv package beside us; None: pip it is."""
    if found := shutil.which("uv"):
        return found
    try:
        from uv import find_uv_bin

        return os.fsdecode(find_uv_bin())
    except (ImportError, FileNotFoundError):
        return None


class Installer:
    """Installs what apps need.

    ``venvs/<app_id>`` is a link to the environment in use, a hidden folder beside it that never moves, so that the
    paths in its scripts hold, an update is one rename, and a failed one leaves the last that worked. A new one is on
    trial, with the one before kept as ``venvs/.<app_id>.before``, until ``keep`` or ``go_back`` is called.
    """

    def __init__(self, home: Home, *, at_once: int = 2, uv: str | Callable[[], str | None] | None = find_uv) -> None:
        self._home = home
        self._queue = InstallQueue(at_once)
        self._uv = uv

    def python(self, app_id: str) -> Path:
        """The interpreter to run the app with: of its environment, else the one that ours was made from."""
        own = self._home.app_venv(app_id) / "bin" / "python"
        return own if own.exists() else base_python()

    def needed(self, app: FoundApp) -> bool:
        """Whether ``install`` has something to do: never installed, changed since, or its interpreter is gone."""
        plan = plan_of(app)
        venv = self._home.app_venv(app.app_id)
        if plan is None:
            return venv.exists() and app.manifest is not None
        if not os.access(venv / "bin" / "python", os.X_OK):
            return True
        marker = _marker(venv)
        return plan.fingerprint not in (marker.get("fingerprint"), marker.get("rejected"))

    def works(self, app_id: str) -> bool:
        """Whether there is an environment that the app can run with, however old."""
        return os.access(self._home.app_venv(app_id) / "bin" / "python", os.X_OK)

    def on_trial(self, app_id: str) -> bool:
        """Whether the environment in use is new and the one before is still there."""
        venv = self._home.app_venv(app_id)
        before = _before(venv)
        return before.is_symlink() and os.path.realpath(before) != os.path.realpath(venv)

    async def keep(self, app_id: str) -> None:
        """The new environment has proved itself: remove the one before."""
        venv = self._home.app_venv(app_id)
        _before(venv).unlink(missing_ok=True)
        await asyncio.get_running_loop().run_in_executor(None, _remove_leftovers, venv)

    def go_back(self, app_id: str) -> bool:
        """Use the environment before again, until requirements change; False if there is none that works."""
        venv = self._home.app_venv(app_id)
        before = _before(venv)
        if not self.on_trial(app_id) or not os.access(before / "bin" / "python", os.X_OK):
            return False
        kept = Path(os.path.realpath(before))
        rejected = _marker(venv).get("fingerprint")
        write_json(kept / MARKER, {**_marker(kept), "rejected": rejected})
        _put_in_place(kept, venv)
        before.unlink(missing_ok=True)
        return True

    def forget(self, app_id: str) -> None:
        """Let the next ``install`` build anew, though nothing changed; until then the environment stays in use."""
        try:
            (self._home.app_venv(app_id) / MARKER).unlink()
        except OSError:
            pass

    async def install(
        self,
        app: FoundApp,
        environment: Mapping[str, str],
        progress: Progress,
        *,
        hide: Callable[[str], str] = str,
    ) -> None:
        """Bring the app's environment up to date; InstallError tells the failing line.

        ``environment`` is the app's own. ``progress`` gets each line of output, which also goes to
        logs/<app_id>/setup.log, both after ``hide`` took secrets out of it. Cancelled, it
        leaves nothing running and the last working environment in use.
        """
        if app.manifest is None:
            raise InstallError(app.error or "the manifest is invalid")
        if reason := unsupported(app.manifest, platform.machine(), 64 if sys.maxsize > 2**32 else 32):
            raise InstallError(reason)
        if not self.needed(app):
            return
        async with self._queue.turn(progress):
            plan = plan_of(app)
            with _as_install_error(), SetupLog(self._home.app_logs(app.app_id) / "setup.log") as log:

                def tell(line: str) -> None:
                    line = hide(line)
                    log.write(line)
                    progress(line)

                try:
                    await self._replace(app, plan, environment, tell)
                except InstallError as error:
                    log.write(hide(error.message))
                    raise InstallError(hide(error.message)) from None
                except asyncio.CancelledError:
                    log.write("broken off")
                    raise
                log.write("done")

    async def _replace(self, app: FoundApp, plan: Plan | None, environment: Mapping[str, str], tell: Progress) -> None:
        loop = asyncio.get_running_loop()
        venv = self._home.app_venv(app.app_id)
        venv.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if plan is None:
            tell("nothing to install any more: the app's environment is removed")
            await loop.run_in_executor(None, _remove, venv, ())
            _before(venv).unlink(missing_ok=True)
            await loop.run_in_executor(None, _remove_leftovers, venv)
            return
        await loop.run_in_executor(None, _remove_leftovers, venv)
        building = venv.with_name(f".{app.app_id}.{secrets.token_hex(4)}")
        done = False
        try:
            await self._build(app, plan, building, environment, tell)
            marker = {"fingerprint": plan.fingerprint}
            await loop.run_in_executor(None, write_json, building / MARKER, marker)
            # Not in the executor: nothing may be cancelled between the rename and the knowledge of it.
            if self.works(app.app_id) and not self.on_trial(app.app_id):
                _keep_before(venv)
            _put_in_place(building, venv)
            done = True
        finally:
            if not done:
                # Shielded: a second cancellation must not leave half an environment behind.
                await asyncio.shield(loop.run_in_executor(None, _remove, building, ()))
        await loop.run_in_executor(None, _remove_leftovers, venv)

    async def _build(
        self, app: FoundApp, plan: Plan, building: Path, environment: Mapping[str, str], tell: Progress
    ) -> None:
        cache = self._home.cache_dir
        uv = self._uv() if callable(self._uv) else self._uv
        python = str(base_python())
        bin_dir = building / "bin"
        own = str(bin_dir / "python")
        environ = {
            **environment,
            "VIRTUAL_ENV": str(building),
            "PATH": f"{bin_dir}:{environment.get('PATH', os.defpath)}",
            "PIP_CACHE_DIR": str(cache / "pip"),
            "PIP_DISABLE_PIP_VERSION_CHECK": "1",
            "PIP_NO_INPUT": "1",
            "UV_CACHE_DIR": str(cache / "uv"),
            "UV_LINK_MODE": "hardlink",
            "UV_PYTHON_DOWNLOADS": "never",
            "UV_NO_PROGRESS": "1",
            "NO_COLOR": "1",
        }
        environ |= _piwheels(environ)
        cookie = f"install:{hashlib.sha256(os.fsencode(building.parent)).hexdigest()[:12]}:{app.app_id}"
        # What an engine that was killed has left of this very installation.
        kill_all(cookie)

        async def step(name: str, argv: list[str], limit: float = PACKAGES_LIMIT) -> None:
            tell(f"$ {' '.join(argv)}")
            await run_step(name, argv, cwd=app.path, environ=environ, cookie=cookie, limit=limit, line=tell)

        if uv is not None:
            # Commands of the app's own may call pip; only then is it worth its place. Python's copy needs no network.
            wants_pip = any("pip" in command for _, command in plan.commands)
            bundled = importlib.util.find_spec("ensurepip") is not None
            seed = ["--seed"] if wants_pip and not bundled else []
            await step("uv", [uv, "venv", "--quiet", "--no-project", "--python", python, *seed, str(building)])
            if wants_pip and bundled:
                await step("ensurepip", [own, "-m", "ensurepip", "--default-pip"])
            install = [uv, "pip", "install", "--python", own]
        else:
            await step("venv", [python, "-m", "venv", str(building)])
            install = [own, "-m", "pip", "install"]
        if plan.words:
            await step("uv" if uv is not None else "pip", [*install, *_safe(plan.words)])
        for name, command in plan.commands:
            await step(f"setup_commands.{name}", ["/bin/sh", "-c", command], COMMAND_LIMIT)


def _safe(words: tuple[str, ...]) -> list[str]:
    """Specifiers behind ``--``, so that none is taken for an option."""
    if words and words[0] == "-r":
        # "./" keeps a file's name from being taken for an option as well.
        return ["-r", f"./{words[1]}", *words[2:]]
    return ["--", *words]


def _piwheels(environ: Mapping[str, str]) -> dict[str, str]:
    """uv reads no /etc/pip.conf, where 32-bit Raspberry Pi OS names the index with wheels for its processors."""
    if not platform.machine().startswith("armv") or "UV_EXTRA_INDEX_URL" in environ:
        return {}
    import configparser

    parser = configparser.ConfigParser(interpolation=None)
    try:
        parser.read("/etc/pip.conf")
        url = parser.get("global", "extra-index-url")
    except (configparser.Error, OSError, UnicodeDecodeError):
        return {}
    return {"UV_EXTRA_INDEX_URL": url, "UV_INDEX_STRATEGY": "unsafe-best-match"}


def _marker(venv: Path) -> dict[str, Any]:
    try:
        marker = json.loads((venv / MARKER).read_bytes())
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def _before(venv: Path) -> Path:
    return venv.with_name(f".{venv.name}.before")


def _keep_before(venv: Path) -> None:
    if venv.is_symlink():
        _link(_before(venv), Path(os.path.realpath(venv)))


def _link(link: Path, target: Path) -> None:
    """Make ``link`` point at its neighbour ``target`` in one step."""
    temporary = link.with_name(f".{link.name.lstrip('.')}.link")
    temporary.unlink(missing_ok=True)
    temporary.symlink_to(target.name)
    os.rename(temporary, link)


def _put_in_place(building: Path, venv: Path) -> None:
    """Make ``venv`` a link to ``building``, in one step where it is a link already."""
    if venv.is_dir() and not venv.is_symlink():
        os.rename(venv, venv.with_name(f".{venv.name}.{secrets.token_hex(4)}"))
    _link(venv, building)


def _remove_leftovers(venv: Path) -> None:
    """Remove the environments of the app that nobody uses: replaced, or half built when the power went."""
    before = _before(venv)
    used = {os.path.realpath(venv)}
    if before.is_symlink():
        used.add(os.path.realpath(before))
    for path in venv.parent.glob(f".{venv.name}.*"):
        if path != before and (path.is_symlink() or os.path.realpath(path) not in used):
            _remove(path, used)


def _remove(path: Path, used: Collection[str]) -> None:
    if path.is_symlink():
        target = os.path.realpath(path)
        path.unlink(missing_ok=True)
        if target not in used and os.path.dirname(target) == os.path.realpath(path.parent):
            shutil.rmtree(target, ignore_errors=True)
    else:
        shutil.rmtree(path, ignore_errors=True)


@contextmanager
def _as_install_error() -> Iterator[None]:
    try:
        yield
    except InstallError:
        raise
    except HomeHelperError as error:
        raise InstallError(error.message) from None
    except OSError as error:
        where = f" ({sanitise(str(error.filename), 200)})" if error.filename else ""
        raise InstallError(f"{error.strerror or error}{where}") from None
