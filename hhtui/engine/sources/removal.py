"""Removing apps and bringing them back: what belongs to one, who needs it, its stop, and its way to the trash and back.

``python -m hhtui.engine.sources.removal`` is the process that handles the files (hhtui/engine/process/jobs.py), for an
engine, and for `hhtui remove` where none runs.
"""

from __future__ import annotations

import asyncio
import logging
import os
import stat
import sys
from collections.abc import Iterator, Mapping, Sequence
from functools import partial
from pathlib import Path
from typing import TYPE_CHECKING, Any

from hhtui.engine.app.secrets import keep_apart
from hhtui.engine.backup.archive.sources import apps_folders, find_apps
from hhtui.engine.backup.home_files import open_home, read_records
from hhtui.engine.backup.journal import Journal
from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.hardware.app_sizes import folder_size, in_a_thread
from hhtui.engine.lock import EngineLock, make_home
from hhtui.engine.process.jobs import Progress, ask_task, run_task
from hhtui.engine.process.tree import ProcessTable, find_survivors, home_id
from hhtui.engine.sources import trash
from hhtui.engine.sources.revisions import same_disk
from hhtui.errors import ConflictError, HomeHelperError, UnknownAppError
from hhtui.model.app import AppRecord, Status
from hhtui.model.event import utc_now
from hhtui.model.removal import PartKind, Removal, RemovalPart, RemoveRequest, TrashEntry, TrashPart
from hhtui.model.secrets import change_secrets, read_secrets
from hhtui.paths import Home, app_id_of
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.engine.app.fleet import Fleet
    from hhtui.engine.app.secrets import SecretsKeeper
    from hhtui.engine.app.supervisor import Supervisor
    from hhtui.engine.problems import Problems
    from hhtui.engine.sources.jobs import AppJobs, JobReport
    from hhtui.model.source import AppJob

log = logging.getLogger("homehelper.trash")

_MODULE = "hhtui.engine.sources.removal"
# Soon after the start, but not in its way; then daily (seconds).
_FIRST_SWEEP, _DAY = 240.0, 86_400.0
# An app that is back is found within this time (seconds).
_ARRIVAL_PATIENCE = 20.0


# What belongs to an app.


def parts_of(home: Home, app_id: str, folder: Path) -> list[RemovalPart]:
    """Everything of an app on this home, its folder first, measured. Blocks."""
    parts = (_measured(kind, path) for kind, path in _paths(home, app_id, folder))
    return [part for part in parts if part is not None]


def _paths(home: Home, app_id: str, folder: Path) -> Iterator[tuple[PartKind, Path]]:
    yield "files", folder
    revisions = home.revisions_dir / app_id
    yield "revisions", revisions
    # What lies on other disks has its revisions there.
    for target in (folder, home.app_data(app_id)):
        if os.path.isdir(target.parent) and (beside := same_disk(home, target, revisions)) != revisions:
            yield "revisions", beside
    yield "environment", home.app_venv(app_id)
    for path in sorted(home.venvs_dir.glob(f".{app_id}.*")):
        yield "environment", path  # where that link leads, the one before on trial, the cache
    yield "data", home.app_data(app_id)
    yield "logs", home.app_logs(app_id)
    yield "settings", home.app_settings(app_id)
    yield "source", home.app_source(app_id)


def _measured(kind: PartKind, path: Path) -> RemovalPart | None:
    try:
        status = path.lstat()
    except OSError:
        return None  # there is none
    if not stat.S_ISDIR(status.st_mode):
        return RemovalPart(kind=kind, path=str(path), size_bytes=status.st_size, link=stat.S_ISLNK(status.st_mode))
    size = folder_size(path)
    return RemovalPart(
        kind=kind, path=str(path), size_bytes=size.size_bytes if size else 0, whole=size.whole if size else False
    )


def required_by(app_id: str, apps: Mapping[str, FoundApp]) -> list[str]:
    """The apps that cannot be without it, by ``depends_on`` and ``requires``, which name apps by id or name."""
    if app_id not in apps:
        return []
    meant = {app_id, _authors_name(apps[app_id])}
    others = {name for other, found in apps.items() if other != app_id for name in (other, _authors_name(found))}
    found = []
    for other, app in apps.items():
        if other == app_id or app.manifest is None:
            continue
        wanted = {*app.manifest.depends_on, *(requirement.app for requirement in app.manifest.requires)}
        if any((name in meant or app_id_of(name) == app_id) and name not in others for name in wanted):
            found.append(other)
    return sorted(found)


def _authors_name(found: FoundApp) -> str:
    """The name by which others require it: its owner's is for people."""
    return found.manifest.name if found.manifest is not None else found.app_id


def refuse_required(app_id: str, apps: Mapping[str, FoundApp]) -> None:
    """ConflictError names the apps that require this one."""
    if names := required_by(app_id, apps):
        raise ConflictError(
            f"{app_id} is required by {', '.join(names)}: remove {'that' if len(names) == 1 else 'those'} first",
            app_id=app_id,
            required_by=names,
        )


def _refuse_folder(found: FoundApp) -> None:
    shown = sanitise(str(found.path), 300)
    if found.away or not os.path.lexists(found.path):
        raise ConflictError(f"{found.app_id}: its folder {shown} is not there now: is its disk mounted?")
    if os.path.ismount(found.path) and not found.path.is_symlink():
        raise ConflictError(f"{found.app_id}: its folder {shown} is a disk of its own: unmount it first")


def _described(
    app_id: str, apps: Mapping[str, FoundApp], record: AppRecord | None, parts: list[RemovalPart]
) -> Removal:
    found, needed = apps[app_id], required_by(app_id, apps)
    try:
        refuse_required(app_id, apps)
        _refuse_folder(found)
        refused = None
    except ConflictError as error:
        refused = error.message
    return Removal(
        app_id=app_id,
        name=sanitise(found.name, 200),
        version=sanitise(record.version if record else "", 50),
        running=record is not None and record.runtime_info.process_id is not None,
        required_by=needed,
        refused=refused,
        parts=parts,
        size_bytes=sum(part.size_bytes for part in parts),
    )


def take_app(
    home: Home, record: AppRecord, order: RemoveRequest, progress: Progress, name: str = "", moved_to: str = ""
) -> TrashEntry:
    """Take away what is the app's, as ``order`` says, into the entry ``name``, else into a new one. Blocks."""
    entry = _entry(home, name or trash.new_entry(home, record.app_id).name, record, order)
    if moved_to:
        # Whoever brings it back is told, and it does not start by itself: there are two of it then.
        entry.moved_to = moved_to
        entry.record["runtime_info"] |= {"wanted": False, "wanted_boot": None}
    trash.take(home, entry, progress)
    return entry


def _entry(home: Home, name: str, record: AppRecord, order: RemoveRequest) -> TrashEntry:
    disk = os.stat(home.trash_dir).st_dev
    parts: list[TrashPart] = []
    for part in parts_of(home, record.app_id, Path(record.path)):
        if part.kind == "data" and order.keep_data:
            continue
        path = Path(part.path)
        # Two disks: by the folder that it is renamed in, and by itself, as it may be a mount.
        elsewhere = {path.parent.stat().st_dev, path.lstat().st_dev} != {disk}
        away = str(trash.hidden_beside(path, name)) if elsewhere else None
        kind = f"{part.kind}-{len(parts)}" if part.kind in {other.kind for other in parts} else part.kind
        parts.append(TrashPart(**part.model_dump(), kept=f"{kind}/{path.name}", away=away))
    now = utc_now()
    return TrashEntry(
        name=name,
        app_id=record.app_id,
        app_name=record.name,
        version=record.version,
        purge=order.purge,
        removed_at=now,
        until=trash.until(now),
        parts=parts,
        size_bytes=sum(part.size_bytes for part in parts),
        record=record.model_copy(update={"manifest": {}}).model_dump(mode="json"),
    )


def _secrets_of(home: Home, app_id: str) -> list[str]:
    """The names of the app's secret settings; none while something in the trash may come back to them."""
    if any(entry.app_id == app_id for entry in trash.list_trash(home)):
        return []
    return [name for name, secret in read_secrets(home.secrets_env).items() if secret.app_id == app_id]


# In a running engine.


class Removals:
    """Removes apps as jobs, brings them back, and empties the trash of what has lain in it for 30 days."""

    def __init__(self, home: Home, fleet: Fleet, jobs: AppJobs, problems: Problems, secrets: SecretsKeeper) -> None:
        self._home = home
        self._fleet = fleet
        self._jobs = jobs
        self._problems = problems
        self._secrets = secrets
        self._timer: asyncio.TimerHandle | None = None
        self._sweeping: asyncio.Task[None] | None = None

    def start(self) -> None:
        """Begin to empty the trash daily."""
        self._timer = asyncio.get_running_loop().call_later(_FIRST_SWEEP, self._sweep)

    async def stop(self) -> None:
        """End; what is being deleted is deleted later."""
        if self._timer is not None:
            self._timer.cancel()
        if self._sweeping is not None:
            self._sweeping.cancel()
            await asyncio.gather(self._sweeping, return_exceptions=True)

    def list(self) -> list[TrashEntry]:
        """What can be brought back, the newest first. Reads small files."""
        return _shown(trash.list_trash(self._home))

    async def plan(self, app_id: str) -> Removal:
        """What removing the app would take away, measured now. UnknownAppError."""
        supervisor = self._fleet.get(app_id)
        parts = await in_a_thread(partial(parts_of, self._home, app_id, supervisor.found.path))
        return _described(app_id, self._found(), supervisor.record, parts)

    def remove(self, app_id: str, order: RemoveRequest, correlation_id: str) -> AppJob:
        """Begin to remove the app. UnknownAppError; ConflictError names who requires it, or what stands against it."""
        supervisor = self._fleet.get(app_id)
        refuse_required(app_id, self._found())
        _refuse_folder(supervisor.found)

        async def work(report: JobReport) -> dict[str, Any]:
            return await self.take_away(supervisor, order, report)

        return self._jobs.begin("remove", app_id, work, correlation_id=correlation_id)

    def undo(self, name: str, correlation_id: str) -> AppJob:
        """Begin to bring an app back, by its id or its entry's name. NotFoundError; ConflictError if it is taken."""
        entry = trash.find(self._home, name)
        self._refuse_taken(entry)

        async def work(report: JobReport) -> dict[str, Any]:
            return await self._undo(entry, report)

        return self._jobs.begin("remove", entry.app_id, work, correlation_id=correlation_id)

    def _refuse_taken(self, entry: TrashEntry) -> None:
        if (other := self._fleet.supervisors.get(entry.app_id)) is not None:
            where = sanitise(str(other.found.path), 300)
            raise ConflictError(f"{entry.app_id} cannot come back: there is another app of that id in {where}")
        trash.refuse_taken(entry)

    async def take_away(
        self, supervisor: Supervisor, order: RemoveRequest, report: JobReport, moved_to: str = ""
    ) -> dict[str, Any]:
        """Within a job: stop the app and take it away, ``moved_to`` another home; what came of it."""
        app_id = supervisor.app_id
        name = ""
        taken: TrashEntry | None = None

        async def take(record: AppRecord) -> None:
            nonlocal name, taken
            name = trash.new_entry(self._home, app_id).name
            request = {"name": name, "record": record.model_dump(mode="json"), "order": order.model_dump()}
            request["moved_to"] = moved_to
            try:
                taken = TrashEntry.model_validate(await self._ask("take", report, **request))
            except BaseException:
                # Whatever ended that process: nothing of the app is left between two places.
                await asyncio.shield(self._ask("settle", name=name))
                raise

        await self._secrets.keep_apart(app_id)
        report("stop", message=f"stopping {app_id}")
        trouble = await self._fleet.remove(app_id, take, report.correlation_id)
        assert taken is not None
        report.commit()
        if trouble is None:
            taken = TrashEntry.model_validate(await self._ask("forgotten", name=name))
        if order.purge:
            await self._ask("sweep", report)
            await self._forget_secrets(app_id)
        return _outcome(taken, order)

    async def _undo(self, entry: TrashEntry, report: JobReport) -> dict[str, Any]:
        try:
            await self._ask("return", report, name=entry.name)
        except BaseException:
            await asyncio.shield(self._ask("settle", name=entry.name))
            raise
        report.commit()
        report("arrive", message=f"{entry.app_id} is back")
        await self._fleet.arrived(entry.app_id, _ARRIVAL_PATIENCE)
        supervisor = self._fleet.supervisors.get(entry.app_id)
        return {
            "app_id": entry.app_id,
            "name": entry.name,
            "status": supervisor.status.value if supervisor is not None else Status.DISCOVERED.value,
            "moved_to": entry.moved_to,
            "parts": [part.model_dump(mode="json", exclude={"kept", "away"}) for part in entry.parts],
        }

    def _found(self) -> dict[str, FoundApp]:
        return {app_id: supervisor.found for app_id, supervisor in self._fleet.supervisors.items()}

    async def _ask(self, task: str, report: JobReport | None = None, **more: Any) -> dict[str, Any]:
        request = {"task": task, "home": [str(folder) for folder in self._home], **more}
        return await ask_task(_MODULE, request, report if report is not None else _silent)

    def _sweep(self) -> None:
        self._timer = asyncio.get_running_loop().call_later(_DAY, self._sweep)
        if self._home.trash_dir.is_dir() and (self._sweeping is None or self._sweeping.done()):
            self._sweeping = asyncio.get_running_loop().create_task(self._emptied(), name="trash: sweep")

    async def _emptied(self) -> None:
        try:
            answer = await self._ask("sweep")
        except HomeHelperError as error:
            self._problems.report("trash", f"the trash cannot be emptied: {error.message}")
            return
        self._problems.resolved("trash")
        for name, app_id in answer["deleted"]:
            log.info("%s: deleted from the trash", name)
            await self._forget_secrets(app_id)

    async def _forget_secrets(self, app_id: str) -> None:
        """Remove the secret settings of an app that nothing brings back."""
        if app_id in self._fleet.supervisors:
            return
        try:
            await self._secrets.change(dict.fromkeys(_secrets_of(self._home, app_id)))
        except HomeHelperError as error:
            log.warning("%s: its secret settings are left: %s", app_id, error.message)


def _shown(entries: Sequence[TrashEntry]) -> list[TrashEntry]:
    """The entries without the registry's records, which are for nobody else."""
    return [entry.model_copy(update={"record": {}}) for entry in entries]


def _silent(_step: str, _done: int, _total: int) -> None:
    pass


def _outcome(entry: TrashEntry, order: RemoveRequest) -> dict[str, Any]:
    """A removal's result."""
    return {
        "app_id": entry.app_id,
        "name": entry.name,
        "purged": order.purge,
        "kept_data": order.keep_data,
        "size_bytes": entry.size_bytes,
        "until": None if order.purge else entry.model_dump(mode="json")["until"],
        "parts": [part.model_dump(mode="json", exclude={"kept", "away"}) for part in entry.parts],
    }


# The process.


def _home_of(request: dict[str, Any]) -> Home:
    root, data, logs, run = (Path(folder) for folder in request["home"])
    return Home(root, data, logs, run)


def _take(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    home, order = _home_of(request), RemoveRequest.model_validate(request["order"])
    record = AppRecord.model_validate(request["record"])
    return take_app(home, record, order, progress, request["name"], request["moved_to"]).model_dump(mode="json")


def _return(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    home = _home_of(request)
    trash.bring_back(home, trash.find(home, request["name"]), progress)
    return {}


def _settle(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    trash.settle_one(_home_of(request), request["name"])
    return {}


def _forgotten(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    return trash.forgotten(_home_of(request), request["name"]).model_dump(mode="json")


def _sweep(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    return {"deleted": [[entry.name, entry.app_id] for entry in trash.sweep(_home_of(request), progress)]}


# The same without an engine.


def _alone(request: dict[str, Any]) -> tuple[Home, dict[str, FoundApp], EngineLock]:
    """The home, its apps, and the lock that keeps engines away."""
    home, config, _ = open_home(request["root"])
    make_home(home)
    lock = EngineLock(home)
    lock.acquire()
    try:
        if Journal.read(home) is not None:
            raise ConflictError("a restore is to be completed first: `hhtui engine start` does")
        if problems := trash.settle(home):
            raise HomeHelperError(problems[0])
        return home, find_apps([path for _, path in apps_folders(home, config)]), lock
    except BaseException:
        lock.release()
        raise


def _known(app_id: str, apps: Mapping[str, FoundApp]) -> FoundApp:
    if (found := apps.get(app_id)) is None:
        known = ", ".join(list(apps)[:20]) or "none yet"
        raise UnknownAppError(f"there is no app {sanitise(app_id, 80)!r}; known: {known}")
    return found


def _record_of(home: Home, found: FoundApp) -> AppRecord:
    record = read_records(home)[0].get(found.app_id)
    now = utc_now()
    if record is None:
        record = AppRecord(app_id=found.app_id, name=found.name, path="", discovered_at=now, last_updated=now)
    record.path = str(found.path)
    return record


def plan_alone(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """The Removal of ``app_id``; nothing is changed."""
    home, config, _ = open_home(request["root"])
    apps = find_apps([path for _, path in apps_folders(home, config)])
    found = _known(request["app_id"], apps)
    parts = parts_of(home, found.app_id, found.path)
    record = _record_of(home, found)
    return _described(found.app_id, apps, record, parts).model_dump(mode="json")


def remove_alone(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Remove ``app_id`` as ``order`` says; the result as a job has it."""
    order = RemoveRequest.model_validate(request["order"])
    home, apps, lock = _alone(request)
    try:
        found = _known(request["app_id"], apps)
        refuse_required(found.app_id, apps)
        _refuse_folder(found)
        if home.update_journal(found.app_id).exists():
            raise ConflictError(f"{found.app_id}: an update is to be settled first: `hhtui engine start` does")
        if found.app_id in find_survivors(ProcessTable().now(), home_id(home)):
            raise ConflictError(
                f"{found.app_id} still runs, without its engine; `hhtui engine start` takes it over, then remove it"
            )
        keep_apart(home.secrets_env, apps.values(), found.app_id)
        entry = take_app(home, _record_of(home, found), order, progress)
        trash.settle(home)  # apps.json forgets it
        if order.purge:
            trash.sweep(home, progress)
            change_secrets(home.secrets_env, dict.fromkeys(_secrets_of(home, found.app_id)))
        return _outcome(entry, order)
    finally:
        lock.release()


def undo_alone(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """Bring ``name`` back; the result as a job has it."""
    home, apps, lock = _alone(request)
    try:
        entry = trash.find(home, request["name"])
        if (other := apps.get(entry.app_id)) is not None:
            where = sanitise(str(other.path), 300)
            raise ConflictError(f"{entry.app_id} cannot come back: there is another app of that id in {where}")
        trash.bring_back(home, entry, progress)
        parts = [part.model_dump(mode="json", exclude={"kept", "away"}) for part in entry.parts]
        answer = {"app_id": entry.app_id, "name": entry.name, "status": Status.STOPPED.value, "parts": parts}
        return {**answer, "moved_to": entry.moved_to}
    finally:
        lock.release()


def list_alone(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """``{trash}``: every TrashEntry."""
    home, _, _ = open_home(request["root"])
    return {"trash": [entry.model_dump(mode="json") for entry in _shown(trash.list_trash(home))]}


if __name__ == "__main__":
    sys.exit(
        run_task(
            {
                "take": _take,
                "return": _return,
                "settle": _settle,
                "forgotten": _forgotten,
                "sweep": _sweep,
                "plan": plan_alone,
                "remove": remove_alone,
                "undo": undo_alone,
                "list": list_alone,
            }
        )
    )
