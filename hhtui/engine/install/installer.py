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
from collections.abc import AsyncIterator, Callable, Collection, Iterator, Mapping
from contextlib import asynccontextmanager, contextmanager, nullcontext
from pathlib import Path
from typing import Any

from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.install.pip_settings import for_uv, owners_settings, pip_settings
from hhtui.engine.install.requirements import Plan, plan_of, unsupported
from hhtui.engine.install.setup_step import InstallError, SetupLog, kill_all, run_step
from hhtui.engine.launch.launch import base_python
from hhtui.engine.launch.sandbox import Sandbox
from hhtui.errors import HomeHelperError
from hhtui.paths import SYSTEM_HOME, Home
from hhtui.storage import write_json
from hhtui.text import sanitise

__all__ = ["InstallError", "Installer"]

MARKER = ".homehelper.json"
# Where the cache of an app that is kept apart lies in an environment in the making: hard links stay within a mount.
_CACHE = ".cache"
# Seconds. Building a large package from source takes hours on the smallest boards.
PACKAGES_LIMIT = 4 * 3600.0
COMMAND_LIMIT = 600.0
# uv's exit code for anything but requirements that contradict each other or do not exist (which is 1).
_UV_BROKE_OFF = 2
_PLATFORMS_HOMES = (str(SYSTEM_HOME), "/opt/latarnia")
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

    For another version of the app one is built ``beside``: it is ``next_of`` until whoever exchanges versions puts it
    in place, the one before at ``previous_of``, and calls ``exchanged`` when that is over.
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
        return self.look(app)[0]

    def look(self, app: FoundApp) -> tuple[bool, str | None]:
        """Whether ``install`` has something to do, and the fingerprint of all that the app's environment is made from.

        The fingerprint is None if the app needs no environment.
        """
        plan = plan_of(app)
        venv = self._home.app_venv(app.app_id)
        if plan is None:
            return venv.exists() and app.manifest is not None, None
        if not os.access(venv / "bin" / "python", os.X_OK):
            return True, plan.fingerprint
        marker = _marker(venv)
        return plan.fingerprint not in (marker.get("fingerprint"), marker.get("rejected")), plan.fingerprint

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

    def next_of(self, app_id: str) -> Path:
        """Where the environment of the app's next version waits: a link, to nothing if that needs none."""
        return _beside(self._home.app_venv(app_id), "next")

    def previous_of(self, app_id: str) -> Path:
        """Where the environment of the version before is kept while the next one has yet to prove itself."""
        return _beside(self._home.app_venv(app_id), "previous")

    def exchanged(self, app_id: str) -> None:
        """Versions were exchanged, or were not: remove all environments but the one in use. Blocks."""
        venv = self._home.app_venv(app_id)
        for link in (self.next_of(app_id), self.previous_of(app_id), _before(venv)):
            if link.is_symlink():
                link.unlink()
            else:
                shutil.rmtree(link, ignore_errors=True)
        _remove_leftovers(venv)

    async def install(
        self,
        app: FoundApp,
        environment: Mapping[str, str],
        progress: Progress,
        *,
        hide: Callable[[str], str] = str,
        beside: bool = False,
        sandbox: Sandbox | None = None,
    ) -> list[str]:
        """Bring the app's environment up to date; InstallError has the failing line. Answers warnings.

        ``environment`` is the app's own. ``progress`` gets each line of output, which also goes to
        logs/<app_id>/setup.log, both after ``hide`` took secrets out of it. Cancelled, it
        leaves nothing running and the last working environment in use; so it does ``beside``. All that installing
        runs is kept apart in the app's ``sandbox``, if it has one, with a cache of the app's own.
        """
        if app.manifest is None:
            raise InstallError(app.error or "the manifest is invalid")
        if reason := unsupported(app.manifest, platform.machine(), 64 if sys.maxsize > 2**32 else 32):
            raise InstallError(reason)
        if not (self._differs(app) if beside else self.needed(app)):
            return []
        warnings: list[str] = []
        async with self._queue.turn(progress):
            plan = plan_of(app)
            with _as_install_error(), SetupLog(self._home.app_logs(app.app_id) / "setup.log") as log:

                def report(line: str) -> None:
                    line = hide(line)
                    log.write(line)
                    progress(line)

                try:
                    warnings = await self._replace(app, plan, environment, report, beside, sandbox)
                except InstallError as error:
                    log.write(hide(error.message))
                    raise InstallError(hide(error.message)) from None
                except asyncio.CancelledError:
                    log.write("broken off")
                    raise
                log.write("done")
        return [hide(warning) for warning in warnings]

    def _differs(self, app: FoundApp) -> bool:
        """Whether the environment in use is not the one that this version of the app asks for."""
        plan = plan_of(app)
        venv = self._home.app_venv(app.app_id)
        if plan is None:
            return os.path.lexists(venv)
        return not self.works(app.app_id) or _marker(venv).get("fingerprint") != plan.fingerprint

    async def _replace(
        self,
        app: FoundApp,
        plan: Plan | None,
        environment: Mapping[str, str],
        report: Progress,
        beside: bool,
        sandbox: Sandbox | None,
    ) -> list[str]:
        loop = asyncio.get_running_loop()
        venv = self._home.app_venv(app.app_id)
        venv.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if plan is None and beside:
            _link(self.next_of(app.app_id), _beside(venv, "none"))
            return []
        if plan is None:
            report("nothing to install any more: the app's environment is removed")
            await loop.run_in_executor(None, _remove, venv, ())
            _before(venv).unlink(missing_ok=True)
            await loop.run_in_executor(None, _remove, self._home.app_cache(app.app_id), ())
            await loop.run_in_executor(None, _remove_leftovers, venv)
            return []
        await loop.run_in_executor(None, _remove_leftovers, venv)
        building = venv.with_name(f".{app.app_id}.{secrets.token_hex(4)}")
        done = False
        try:
            with _workplace(building, self._home.app_cache(app.app_id)) if sandbox is not None else nullcontext():
                warnings = await self._build(app, plan, building, environment, report, sandbox)
            marker = {"fingerprint": plan.fingerprint}
            await loop.run_in_executor(None, write_json, building / MARKER, marker)
            # Not in the executor: nothing may be cancelled between the rename and the knowledge of it.
            if beside:
                _link(self.next_of(app.app_id), building)
                done = True
                return warnings
            if self.works(app.app_id) and not self.on_trial(app.app_id):
                _keep_before(venv)
            _put_in_place(building, venv)
            done = True
        finally:
            for place in (_tmp(building),) if done else (_tmp(building), building):
                # Shielded: a second cancellation must not leave half an environment behind.
                await asyncio.shield(loop.run_in_executor(None, _remove, place, ()))
        await loop.run_in_executor(None, _remove_leftovers, venv)
        return warnings

    async def _build(
        self,
        app: FoundApp,
        plan: Plan,
        building: Path,
        environment: Mapping[str, str],
        report: Progress,
        sandbox: Sandbox | None,
    ) -> list[str]:
        uv = self._uv() if callable(self._uv) else self._uv
        python = str(base_python())
        bin_dir = building / "bin"
        own = str(bin_dir / "python")
        cache = self._home.cache_dir
        settings: dict[str, str] = {}
        packages = commands = sandbox
        if sandbox is not None:
            cache = building / _CACHE
            settings, files = owners_settings(environment, sandbox.declared)
            files += [*([uv] if uv is not None else []), *plan.local]
            packages = sandbox.for_setup(building, _tmp(building), base_python(), files)
            commands = packages.with_own_folder()
            # Who builds a package from a folder leaves in it what setuptools makes there.
            packages = commands if plan.local else packages
        environ = {
            **environment,
            **settings,
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
        environ |= for_uv(pip_settings(environ), environ)
        cookie = f"install:{hashlib.sha256(os.fsencode(building.parent)).hexdigest()[:12]}:{app.app_id}"
        # What an engine that was killed has left of this very installation.
        kill_all(cookie)

        async def step(
            name: str, argv: list[str], limit: float = PACKAGES_LIMIT, apart: Sandbox | None = packages
        ) -> None:
            # What progresses is shown to everybody: a command of the app's own may hold a password.
            report(f"$ {name if name.startswith('setup_commands') else ' '.join(argv)}")
            inside = apart.words(argv[0]) if apart is not None else None
            await run_step(
                name, argv, cwd=app.path, environ=environ, cookie=cookie, limit=limit, line=report, sandbox=inside
            )

        # Python's own copy of pip needs no network.
        bundled = importlib.util.find_spec("ensurepip") is not None

        async def with_pip() -> None:
            await step("pip", [own, "-m", "pip", "install", *_safe(plan.words)])

        if uv is not None:
            # Commands of the app's own may call pip; only then is it worth its place.
            wants_pip = any("pip" in command for _, command in plan.commands)
            seed = ["--seed"] if wants_pip and not bundled else []
            make = [uv, "venv", "--quiet", "--no-project", "--allow-existing", "--python", python]
            await step("uv", [*make, *seed, str(building)])
            if wants_pip and bundled:
                await step("ensurepip", [own, "-m", "ensurepip", "--default-pip"])
            try:
                if plan.words:
                    install = [uv, "pip", "install", "--python", own, *_refreshed(plan)]
                    await step("uv", [*install, *_safe(plan.words)])
            except InstallError as error:
                if error.code != _UV_BROKE_OFF or not bundled:
                    raise
                # Not that the requirements cannot be met: uv could not get at something. pip may know a way.
                report(f"{error.message}; trying pip")
                environ.setdefault("PIP_RETRIES", "1")
                await step("ensurepip", [own, "-m", "ensurepip", "--default-pip"])
                await with_pip()
        else:
            await step("venv", [python, "-m", "venv", str(building)])
            if plan.words:
                await with_pip()
        warnings = []
        shell = "/bin/sh"
        for name, command in plan.commands:
            try:
                await step(f"setup_commands.{name}", [shell, "-c", command], COMMAND_LIMIT, commands)
            except InstallError as error:
                # Published apps make folders where that platform always lives.
                if self._home.root == SYSTEM_HOME or not any(place in command for place in _PLATFORMS_HOMES):
                    raise
                warnings.append(f"{error.message}; this home is {self._home.root}, so that is no failure")
                report(f"warning: {warnings[-1]}")
        return warnings


def _refreshed(plan: Plan) -> list[str]:
    """What makes uv build a local folder anew, which it takes from its cache as long as pyproject.toml is the same."""
    return [option for name in plan.local for option in ("--refresh-package", name)]


def _safe(words: tuple[str, ...]) -> list[str]:
    """Specifiers behind ``--``, so that none is taken for an option."""
    if words and words[0] == "-r":
        # "./" keeps a file's name from being taken for an option as well.
        return ["-r", f"./{words[1]}", *words[2:]]
    return ["--", *words]


def _marker(venv: Path) -> dict[str, Any]:
    try:
        marker = json.loads((venv / MARKER).read_bytes())
    except (OSError, ValueError):
        return {}
    return marker if isinstance(marker, dict) else {}


def _before(venv: Path) -> Path:
    return _beside(venv, "before")


@contextmanager
def _workplace(building: Path, cache: Path) -> Iterator[None]:
    """The folder ``building``, with the app's cache in it for as long as something is built there, and its /tmp."""
    building.mkdir()
    _tmp(building).mkdir()
    if cache.is_dir():
        os.rename(cache, building / _CACHE)
    try:
        yield
    finally:
        # Foreign code was there: of a link in its place nothing is kept.
        if (building / _CACHE).is_dir() and not (building / _CACHE).is_symlink():
            os.rename(building / _CACHE, cache)


def _tmp(building: Path) -> Path:
    """The /tmp of what is built apart: beside it, where that can put nothing else in its place."""
    return building.with_name(f"{building.name}.tmp")


def _beside(venv: Path, what: str) -> Path:
    return venv.with_name(f".{venv.name}.{what}")


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
    kept = {
        path
        for path in (_beside(venv, what) for what in ("before", "next", "previous", "cache"))
        if os.path.lexists(path)
    }
    used = {os.path.realpath(path) for path in (venv, *kept)}
    for path in venv.parent.glob(f".{venv.name}.*"):
        if path not in kept and (path.is_symlink() or os.path.realpath(path) not in used):
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


class InstallQueue:
    """At most so many installations at once, first come, first served; who waits learns its place."""

    def __init__(self, at_once: int) -> None:
        self._free = at_once
        self._waiting: list[tuple[asyncio.Future[None], Callable[[str], None]]] = []

    @asynccontextmanager
    async def turn(self, progress: Callable[[str], None]) -> AsyncIterator[None]:
        """Wait for a free place and hold it; ``progress`` hears of each step forward."""
        if self._free > 0:
            self._free -= 1
        else:
            await self._wait(progress)
        try:
            yield
        finally:
            self._pass_on()

    async def _wait(self, progress: Callable[[str], None]) -> None:
        granted: asyncio.Future[None] = asyncio.get_running_loop().create_future()
        entry = (granted, progress)
        self._waiting.append(entry)
        progress(_place(len(self._waiting)))
        try:
            await granted
        except asyncio.CancelledError:
            if entry in self._waiting:
                self._waiting.remove(entry)
                self._report()
            elif not granted.cancelled():
                self._pass_on()
            raise

    def _pass_on(self) -> None:
        while self._waiting:
            granted, _ = self._waiting.pop(0)
            # One that was cancelled a moment ago has not yet left the queue.
            if not granted.done():
                granted.set_result(None)
                self._report()
                return
        self._free += 1

    def _report(self) -> None:
        for place, (_, progress) in enumerate(self._waiting, 1):
            progress(_place(place))


def _place(place: int) -> str:
    return f"waits for other apps to be installed: number {place} in the queue"
