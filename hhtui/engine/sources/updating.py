"""Another version of an app in place of the one that is there: fetched, built and tried beside, exchanged at once."""

from __future__ import annotations

import asyncio
import logging
import os
import secrets
import shlex
import shutil
import time
from collections.abc import Callable, Mapping
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, NamedTuple, TypeVar

from hhtui.engine.app.fleet import Fleet
from hhtui.engine.app.permissions import asked
from hhtui.engine.app.supervisor import Supervisor
from hhtui.engine.discovery.discovery import Discovery
from hhtui.engine.discovery.found_app import FoundApp, read_app
from hhtui.engine.exchange import Component, sync_disks
from hhtui.engine.install.installer import Installer
from hhtui.engine.install.requirements import DEFAULT_FILE
from hhtui.engine.launch.environment import is_secret
from hhtui.engine.problems import Problems
from hhtui.engine.process.jobs import ask_task
from hhtui.engine.sources.cloned import bring_git, source_of_clone
from hhtui.engine.sources.fetch import FetchSpec, fetch, fetch_asking, source_of
from hhtui.engine.sources.jobs import AppJobs, JobReport, remove_tree
from hhtui.engine.sources.proving import fault_of
from hhtui.engine.sources.revisions import (
    Differences,
    Revisions,
    chosen,
    differences,
    digest_of_file,
    same_disk,
)
from hhtui.engine.sources.switch import Switch
from hhtui.engine.tasks import whatever_happens
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from hhtui.model.app import Status
from hhtui.model.config import Config, flatten
from hhtui.model.event import utc_now
from hhtui.model.secrets import read_secrets
from hhtui.model.source import AppJob, AppSource, SourceKind
from hhtui.model.update import Revision, RollbackRequest, UpdateRequest
from hhtui.paths import Home
from hhtui.storage import write_json
from hhtui.text import human_bytes, sanitise

log = logging.getLogger("homehelper.updates")

_MODULE = "hhtui.engine.sources"
# What is to stay free on each disk beside what an update needs (bytes).
_KEEP_FREE = 32 * 1024 * 1024
# How long a version that was put back may take until it is said whether it runs (seconds).
_BACK_PATIENCE = 90.0
_SHOWN = 200
# Shorter ones would hide ordinary words.
_SHORTEST_SECRET = 8
_T = TypeVar("_T")


class UpdateError(HomeHelperError):
    """The new version did not prove itself; the one before runs again."""

    slug = "update_failed"
    http_status = 409


class ChangedFilesError(ConflictError):
    """The author's files in the app's folder were changed; ``details["files"]`` names them."""

    slug = "changed_files"


@dataclass
class Version:
    """A version that is about to be put in place: its ``code`` waits in ``area``.

    ``number`` is that of the kept revision that it is, None for one that was fetched.
    """

    source: AppSource
    area: Path
    code: Path
    found: FoundApp
    log: list[str] = field(default_factory=list)
    number: int | None = None


class Present(NamedTuple):
    """What is there: where it came from, and how it differs from that; ``is_clone``: it has a ``.git`` of its own."""

    source: AppSource
    differs: Differences
    is_clone: bool


class Updating:
    """Updates and rollbacks, one job an app. ``begun`` are those that an earlier engine has left to prove themselves,
    ``undone`` those that this one's start took back. ``updated`` takes the app that has another version now,
    ``with_owner`` lays its owner's settings over what is found.
    """

    def __init__(
        self,
        home: Home,
        config: Callable[[], Config],
        jobs: AppJobs,
        fleet: Fleet,
        discovery: Discovery,
        installer: Installer,
        problems: Problems,
        *,
        begun: tuple[list[Switch], list[Switch]],
        rescan: Callable[[], None],
        updated: Callable[[str], None],
        with_owner: Callable[[FoundApp], FoundApp],
    ) -> None:
        self._home = home
        self._config = config
        self._jobs = jobs
        self._fleet = fleet
        self._discovery = discovery
        self._installer = installer
        self._problems = problems
        self._begun, self._undone = begun
        self._rescan = rescan
        self._updated = updated
        self._with_owner = with_owner
        self._engine_ends = False

    def start(self) -> None:
        """See to its end what an earlier engine has begun."""
        for switch in self._undone:
            self._fleet.allow(switch.app_id, switch.allowed)
            self._report_back(switch)
        if self._undone:
            self._rescan()
        for switch in self._begun:

            async def go_on(report: JobReport, switch: Switch = switch) -> dict[str, Any]:
                return await self._verify(switch, report)

            self._jobs.begin(switch.kind, switch.app_id, go_on)

    def stop(self) -> None:
        """The engine ends, and with it all jobs: a version that has yet to prove itself does so at the next start."""
        self._engine_ends = True

    def revisions(self, app_id: str) -> list[Revision]:
        """The earlier revisions that are kept, the newest first; UnknownAppError. Reads small files."""
        return self._revisions(self._fleet.get(app_id)).kept()

    def update(
        self, app_id: str, order: UpdateRequest, correlation_id: str, origin: tuple[FetchSpec, SourceKind] | None = None
    ) -> AppJob:
        """Begin an update, from another ``origin`` than so far if one is given; what was sent for it goes with the job.

        UnknownAppError, ConflictError if a job of the app is under way.
        """
        supervisor = self._fleet.get(app_id)

        async def work(report: JobReport) -> dict[str, Any]:
            upload = origin[0].upload if origin is not None else None
            try:
                async with self._area(supervisor) as area:
                    present = await self._present(supervisor)
                    if origin is None:
                        version = await self._fetched(supervisor, present.source, order.to, area, report)
                    else:
                        version = await self._brought(supervisor, present, order, origin, area, report)
                    if version is None:
                        return {"app_id": app_id, "updated": False, "revision": present.source.revision}
                    return await self._put_in_place(supervisor, present, version, order, report)
            finally:
                if upload is not None:
                    await whatever_happens(asyncio.to_thread(_remove, upload.parent))

        return self._jobs.begin("update", app_id, work, correlation_id=correlation_id)

    def rollback(self, app_id: str, order: RollbackRequest, correlation_id: str) -> AppJob:
        """Begin to go back to a kept revision; UnknownAppError, ConflictError if a job of the app is under way."""
        supervisor = self._fleet.get(app_id)

        async def work(report: JobReport) -> dict[str, Any]:
            async with self._area(supervisor) as area:
                present = await self._present(supervisor)
                revisions = self._revisions(supervisor)
                wanted = chosen(revisions, order.to, present.source.revision, with_data=order.with_data)
                version = await self._kept(supervisor, revisions, wanted, area)
                return await self._put_in_place(supervisor, present, version, order, report)

        return self._jobs.begin("rollback", app_id, work, correlation_id=correlation_id)

    # What is there, and what is to come.

    def _revisions(self, supervisor: Supervisor) -> Revisions:
        return Revisions(self._home, supervisor.app_id, supervisor.found.path)

    def _area(self, supervisor: Supervisor) -> _Area:
        folder = supervisor.found.path
        if supervisor.found.away or not folder.is_dir():
            raise ConflictError(f"{supervisor.app_id}: its folder is not there now: is its disk mounted?")
        if folder.is_symlink():
            raise ConflictError(
                f"{folder} is a link to {sanitise(os.readlink(folder), 300)}: change that folder itself"
            )
        if folder.is_mount():
            raise ConflictError(f"{folder} is a mount point of its own and cannot be exchanged")
        area = self._home.incoming_dir / secrets.token_hex(8)
        data = same_disk(self._home, self._home.app_data(supervisor.app_id), area)
        return _Area(same_disk(self._home, folder, area), data)

    async def _present(self, supervisor: Supervisor) -> Present:
        """Where what is there came from, and how it differs from that."""
        folder = supervisor.found.path
        source = await source_of_clone(self._home, folder)
        is_clone = source is not None
        if source is None:
            source = await asyncio.to_thread(AppSource.read, self._home, supervisor.app_id)
        if source is None:
            raise ConflictError(
                f"{supervisor.app_id} cannot be updated: `hhtui add` did not bring it, and its folder is no git clone "
                "with a remote; so nobody knows where it came from"
            )
        return Present(source, await asyncio.to_thread(differences, folder, source.files), is_clone)

    async def _fetched(
        self, supervisor: Supervisor, source: AppSource, to: str | None, area: Path, report: JobReport
    ) -> Version | None:
        """The version that ``to`` names, fetched; None if that is what is there."""
        if source.was_sent:
            raise ConflictError(sent_words(supervisor.app_id, source))
        report("fetch", message=f"fetching {source.url}")
        spec = FetchSpec(self._home, source.url, folder=source.folder, ref=to or source.ref, since=source.revision)
        fetched = await fetch(spec, area / "fetched", report)
        if fetched.revision == source.revision:
            return None
        new = source.model_copy(
            update={
                "revision": fetched.revision,
                "ref": to or source.ref,
                "added_at": utc_now(),
                "files": fetched.files,
            }
        )
        return await self._read(supervisor, new, area, fetched.folder, fetched.log)

    async def _brought(
        self,
        supervisor: Supervisor,
        present: Present,
        order: UpdateRequest,
        origin: tuple[FetchSpec, SourceKind],
        area: Path,
        report: JobReport,
    ) -> Version | None:
        """The version that another origin has; None if that is what is there."""
        if present.is_clone:
            raise ConflictError(
                f"{supervisor.app_id}: its folder is a git clone, which is updated from its own remote: `git remote "
                "set-url` there changes that"
            )
        if order.to is not None and origin[1] in ("archive", "folder"):
            raise InvalidInputError("to: an archive or a folder has no tags or branches")
        spec, kind = origin[0]._replace(ref=order.to or origin[0].ref), origin[1]
        report("fetch", message=f"fetching {sanitise(spec.url, 200)}")
        fetched = await fetch_asking(spec, area / "fetched", report, yes=order.yes)
        if fetched.revision == present.source.revision and spec.url == present.source.url:
            return None
        new = source_of(kind, spec, fetched)
        return await self._read(supervisor, new, area, fetched.folder, fetched.log)

    async def _kept(self, supervisor: Supervisor, revisions: Revisions, wanted: Revision, area: Path) -> Version:
        """A kept revision, its code copied."""
        source = await asyncio.to_thread(_source_of, revisions.source(wanted.number))
        code = area / "kept"
        await asyncio.to_thread(_copy_authors_files, revisions.code(wanted.number), code, list(source.files))
        version = await self._read(supervisor, source, area, code, [])
        version.number = wanted.number
        return version

    async def _read(
        self, supervisor: Supervisor, source: AppSource, area: Path, code: Path, changes: list[str]
    ) -> Version:
        reading = await asyncio.to_thread(read_app, code, time.monotonic())
        if reading is None:
            raise InvalidInputError(f"{supervisor.app_id}: revision {source.revision[:10]} has no manifest")
        found = FoundApp(
            supervisor.app_id, code, reading.raw, reading.manifest, reading.warnings, reading.error, reading.file
        )
        if found.manifest is None:
            raise InvalidInputError(f"{supervisor.app_id}: revision {source.revision[:10]}: {found.error}")
        return Version(source, area, code, self._with_owner(found), changes)

    # Putting it in place.

    async def _put_in_place(
        self,
        supervisor: Supervisor,
        present: Present,
        version: Version,
        order: UpdateRequest | RollbackRequest,
        report: JobReport,
    ) -> dict[str, Any]:
        source, differs = present.source, present.differs
        app_id, folder = supervisor.app_id, supervisor.found.path
        if differs.changed and not order.discard_changes:
            names = ", ".join(sanitise(name, 100) for name in differs.changed[:10])
            more = f" and {len(differs.changed) - 10} more" if len(differs.changed) > 10 else ""
            raise ChangedFilesError(
                f"{app_id}: files of its author were changed here: {names}{more}; move your changes elsewhere, or give "
                "them up with --discard-changes",
                files=differs.changed[:_SHOWN],
            )
        foreign = [name for name in differs.foreign if name not in version.source.files]
        taken = [name for name in differs.foreign if name in version.source.files
                 and digest_of_file(folder / name) != version.source.files[name]]  # fmt: skip
        if taken and not order.discard_changes:
            names = ", ".join(sanitise(name, 100) for name in taken[:10])
            raise ChangedFilesError(
                f"{app_id}: the new version brings files that you have made here: {names}; move yours elsewhere, or "
                "give them up with --discard-changes",
                files=taken[:_SHOWN],
            )
        with_data = isinstance(order, RollbackRequest) and order.with_data
        preview = await asyncio.to_thread(self._preview, supervisor, source, differs, foreign, version, with_data)
        self._refuse_full_disk(preview["needs"])
        if not order.yes:
            await report.confirmed(preview)
        switch = await self._prepared(supervisor, present, version, with_data)
        revisions = self._revisions(supervisor)
        try:
            if present.is_clone:
                number = version.number
                await bring_git(
                    self._home,
                    folder if number is None else revisions.code(number),
                    version.code,
                    version.source if number is None else None,
                    discard=order.discard_changes,
                )
            await self._build(supervisor, version, report)
            copies = self._copies(supervisor, source, version, switch, with_data)
            await self._copy(copies, report, "copy", "copying its files and data")
            await asyncio.to_thread(sync_disks, self._disks(version, switch))
            report("stop", message="stopping it")
            async with _Held(supervisor) as held:
                await self._installer.keep(app_id)
                copied = await self._copy(copies, report, "copy_again", "copying what has changed since")
                for copy, done in zip(copies, copied, strict=True):
                    if copy["origin"] == str(self._home.app_data(app_id)):
                        switch.data_seen, switch.replaced.data_bytes = done["seen"], done["bytes"]
                switch.ran = held.ran
                switch.replaced.replaced_at = utc_now()
                switch.result = {
                    "app_id": app_id,
                    "kind": switch.kind,
                    "updated": True,
                    "from": source.revision,
                    "revision": version.source.revision,
                    "version": version.found.manifest.version if version.found.manifest else "",
                    "carried_over": len(foreign),
                    "with_data": with_data,
                    "log": preview["log"],
                }
                await asyncio.to_thread(sync_disks, self._disks(version, switch))
                report("switch", message="putting it in place")
                self._fleet.allow(app_id, asked(version.found))
                await whatever_happens(asyncio.to_thread(switch.begin, self._home))
                await whatever_happens(self._look_anew())
        except BaseException as error:
            if not self._home.update_journal(app_id).exists():
                self._fleet.allow(app_id, switch.allowed)
                await whatever_happens(
                    asyncio.to_thread(_clear, revisions, switch.replaced.number, self._installer, app_id)
                )
                raise
            if self._engine_ends or not isinstance(error, asyncio.CancelledError | Exception):
                raise
            why = "it was broken off" if isinstance(error, asyncio.CancelledError) else sanitise(str(error), 300)
            await self._take_back(switch, why, report)
            raise
        return await self._verify(switch, report)

    def _preview(
        self,
        supervisor: Supervisor,
        source: AppSource,
        differs: Differences,
        foreign: list[str],
        version: Version,
        with_data: bool,
    ) -> dict[str, Any]:
        """What is about to be done, for whoever is asked. Blocks."""
        old, new = supervisor.found, version.found
        data = self._home.app_data(supervisor.app_id)
        code_bytes = sum(_size(version.code / name) for name in version.source.files)
        foreign_bytes = sum(_size(old.path / name) for name in foreign)
        data_bytes = _tree_size(data)
        venv = self._home.app_venv(supervisor.app_id)
        needs = {
            str(old.path.parent): code_bytes + foreign_bytes,
            str(data.parent): data_bytes,
            str(venv.parent): _tree_size(venv.resolve()),
        }
        manifest = new.manifest
        assert manifest is not None
        revisions = self._revisions(supervisor)
        kept = next((one for one in revisions.kept() if one.number == version.number), None)
        return {
            "app_id": supervisor.app_id,
            "from": {"revision": source.revision, "ref": source.ref, "version": supervisor.record.version},
            "to": {"revision": version.source.revision, "ref": version.source.ref, "version": manifest.version},
            "origin": sanitise(version.source.url, 300) if version.source.url != source.url else None,
            "log": [sanitise(line, 300) for line in version.log or changelog_between(old.path, new.path)][:_SHOWN],
            "manifest": self._hidden(manifest_changes((old.by_author or old).raw, (new.by_author or new).raw)),
            "setup": self._hidden(setup_changes(old, new)),
            "permissions": manifest.asked_permissions if _permissions(new) != _permissions(old) else [],
            "whole_system": manifest.permissions.system,
            "secrets": sorted(_secrets(new) - _secrets(old)),
            "discarded": [sanitise(name, 300) for name in differs.changed][:_SHOWN],
            "carried_over": [sanitise(name, 300) for name in foreign][:_SHOWN],
            "runs": supervisor.status in (Status.RUNNING, Status.STARTING, Status.BACKOFF),
            "data": "put back" if with_data else "copied" if version.number is None else "left",
            "data_of": kept.replaced_at.isoformat() if kept is not None and with_data else None,
            "bytes": code_bytes + foreign_bytes,
            "data_bytes": data_bytes,
            "needs": needs,
        }

    def _hidden(self, lines: list[str]) -> list[str]:
        """The lines without what stands in secrets.env: an author's file may hold the same."""
        try:
            values = [secret.value for secret in read_secrets(self._home.secrets_env).values()]
        except InvalidInputError:
            return lines
        for value in values:
            if len(value) >= _SHORTEST_SECRET:
                lines = [line.replace(value, "(secret)") for line in lines]
        return lines

    def _refuse_full_disk(self, needs: Mapping[str, int]) -> None:
        """ConflictError if a disk has not the room for it."""
        disks: dict[int, tuple[str, int]] = {}
        for place, size in needs.items():
            if not os.path.isdir(place):
                continue
            device = os.stat(place).st_dev
            first, so_far = disks.get(device, (place, 0))
            disks[device] = (first, so_far + size)
        for place, size in disks.values():
            free = shutil.disk_usage(place).free
            if size + _KEEP_FREE > free:
                raise ConflictError(
                    f"it needs {human_bytes(size + _KEEP_FREE)} on the disk of {place}, and {human_bytes(free)} are "
                    "free; nothing has changed"
                )

    async def _prepared(
        self,
        supervisor: Supervisor,
        present: Present,
        version: Version,
        with_data: bool,
    ) -> Switch:
        """The journal as it is to be, not yet written; the folder of the revision that the present one becomes."""
        home, app_id, source = self._home, supervisor.app_id, present.source
        revisions = self._revisions(supervisor)
        number = await asyncio.to_thread(revisions.next_number)
        place = revisions.source(number).parent
        # On the home's own disk; the version itself waits on that of the apps.
        new_source = place / "new-source.json"
        folder, data, venv = supervisor.found.path, home.app_data(app_id), home.app_venv(app_id)

        def lay_out() -> None:
            place.mkdir(mode=0o700, parents=True)
            for link in (self._installer.next_of(app_id), self._installer.previous_of(app_id)):
                remove_tree(link)
            # A clone says itself where it came from; of its kept revision that has to be written down.
            if present.is_clone:
                write_json(revisions.source(number), source.model_dump(mode="json"), 0o600)
            else:
                write_json(new_source, version.source.model_dump(mode="json"), 0o600)

        await asyncio.to_thread(lay_out)
        components = [
            _component("code", folder, version.code, revisions.code(number)),
            _component("environment", venv, self._installer.next_of(app_id), self._installer.previous_of(app_id)),
        ]
        if not present.is_clone:
            components.append(_component("source", home.app_source(app_id), new_source, revisions.source(number)))
        copied = _component("data", data, place / "none", revisions.data(number))
        if with_data:
            components.append(_component("data", data, self._data_area(version) / "data", revisions.data(number)))
        return Switch(
            app_id=app_id,
            kind="rollback" if version.number is not None else "update",
            folder=str(folder),
            components=components,
            data=None if with_data else copied,
            replaced=Revision(
                number=number,
                revision=source.revision,
                ref=source.ref,
                version=supervisor.record.version,
                replaced_at=utc_now(),
            ),
            to=version.source.revision,
            ran=False,
            allowed=supervisor.record.allowed,
        )

    def _data_area(self, version: Version) -> Path:
        incoming = self._home.incoming_dir / version.area.name
        return same_disk(self._home, self._home.app_data(version.found.app_id), incoming)

    def _disks(self, version: Version, switch: Switch) -> list[Path]:
        places = [version.area, self._home.venvs_dir, self._home.revisions_dir, self._home.data_dir]
        return [place for place in places if place.is_dir()]

    async def _build(self, supervisor: Supervisor, version: Version, report: JobReport) -> None:
        """What the new version is to be installed with, beside what is in use."""
        report("install", message="installing what it needs")
        try:
            launch = await supervisor.launching.describe(version.found)
            hide = launch.declared.hide
            await self._installer.install(
                version.found,
                launch.environ,
                lambda line: report("install", message=line),
                hide=hide,
                beside=True,
                sandbox=launch.sandbox,
            )
        finally:
            supervisor.compare()

    def _copies(
        self, supervisor: Supervisor, source: AppSource, version: Version, switch: Switch, with_data: bool
    ) -> list[dict[str, Any]]:
        """What is to be copied before the old version is stopped, and again when it is."""
        folder, data = supervisor.found.path, self._home.app_data(supervisor.app_id)
        copies: list[dict[str, Any]] = [
            {
                "origin": str(folder),
                "target": str(version.code),
                "notes": str(version.area / "folder.json"),
                "skip": [*source.files, ".git"],
                "keep": list(version.source.files),
            }
        ]
        if with_data and version.number is not None:
            revisions = self._revisions(supervisor)
            place = self._data_area(version)
            copies.append(
                {
                    "origin": str(revisions.data(version.number)),
                    "target": str(place / "data"),
                    "notes": str(version.area / "kept-data.json"),
                }
            )
        elif switch.data is not None and data.is_dir():
            copies.append({"origin": str(data), "target": switch.data.old, "notes": str(version.area / "data.json")})
        return copies

    async def _copy(
        self, copies: list[dict[str, Any]], report: JobReport, step: str, words: str
    ) -> list[dict[str, Any]]:
        def progress(name: str, done: int, total: int) -> None:
            report(step, done, total, f"{words}: {name}")

        report(step, message=words)
        answer = await ask_task(_MODULE, {"task": "copy", "copies": copies}, progress)
        copied: list[dict[str, Any]] = answer["copied"]
        return copied

    async def _look_anew(self) -> None:
        """Take up what lies in the app's folder now."""
        await self._discovery.look()
        self._rescan()

    # Whether it proves itself.

    async def _verify(self, switch: Switch, report: JobReport) -> dict[str, Any]:
        """Watch the version that was put in place, and keep it or put everything back."""
        supervisor = self._fleet.get(switch.app_id)
        report("verify", message="watching whether it is well")
        try:
            why = await fault_of(supervisor, self._config().updates.trial_seconds) if switch.ran else None
        except asyncio.CancelledError:
            if not self._engine_ends:
                await self._take_back(switch, "it was broken off", report)
            raise
        if why is not None:
            await self._take_back(switch, why, report)
            raise UpdateError(self._report_back(switch))
        report.commit()
        await whatever_happens(asyncio.to_thread(switch.finish, self._home, self._installer))
        self._problems.resolved(f"update-{switch.app_id}")
        self._updated(switch.app_id)
        return switch.result

    async def _take_back(self, switch: Switch, why: str, report: JobReport) -> None:
        await whatever_happens(self._back(self._fleet.get(switch.app_id), switch, why, report))

    async def _back(self, supervisor: Supervisor, switch: Switch, why: str, report: JobReport) -> None:
        report.commit()
        report("back", message=f"going back: {why}")
        log.error("%s: revision %s is taken back: %s", switch.app_id, switch.to, why)
        async with _Held(supervisor):
            await asyncio.to_thread(switch.back, self._home, why, self._installer)
            self._fleet.allow(switch.app_id, switch.allowed)
            await self._look_anew()
            supervisor.let_go(start=switch.ran)
        if switch.ran:
            await supervisor.app.settled(_BACK_PATIENCE)

    def _report_back(self, switch: Switch) -> str:
        what = "update" if switch.kind == "update" else "rollback"
        words = (
            f"{switch.app_id}: the {what} to {switch.to[:10]} was taken back, with code, environment and data: "
            f"{switch.reason}"
        )
        self._problems.report(f"update-{switch.app_id}", words)
        return words


def sent_words(app_id: str, source: AppSource) -> str:
    """Why an app that a client sent cannot be updated by itself, and what to do."""
    place = shlex.quote(source.url)
    words = f"{app_id} was sent here from {place}: `hhtui update {app_id} --from {place}` sends what is there now"
    return sanitise(words, 1000)


class _Area:
    """A fresh folder that is gone afterwards, whatever happens, and so is the one for what lies on the data's disk."""

    def __init__(self, path: Path, for_data: Path) -> None:
        self._path = path
        self._for_data = for_data

    async def __aenter__(self) -> Path:
        await asyncio.to_thread(lambda: self._path.mkdir(mode=0o700, parents=True))
        return self._path

    async def __aexit__(self, *_: object) -> None:
        await whatever_happens(asyncio.to_thread(_remove, self._path, self._for_data))


class _Held:
    """The app is stopped and not started while this is held; what ran goes on afterwards."""

    def __init__(self, supervisor: Supervisor) -> None:
        self._supervisor = supervisor
        self.ran = False

    async def __aenter__(self) -> _Held:
        self.ran = await self._supervisor.hold()
        return self

    async def __aexit__(self, *_: object) -> None:
        if self._supervisor.state.held:
            self._supervisor.let_go(start=self.ran)


def _clear(revisions: Revisions, number: int, installer: Installer, app_id: str) -> None:
    revisions.remove(number)
    installer.exchanged(app_id)


def _remove(*paths: Path) -> None:
    for path in paths:
        try:
            remove_tree(path)
        except OSError as error:
            log.warning("%s: is left over and cannot be removed: %s", error.filename or path, error.strerror)


def _component(name: str, target: Path, new: Path, old: Path) -> Component:
    return Component(name=name, target=str(target), new=str(new), old=str(old), had_old=os.path.lexists(target))


def _source_of(path: Path) -> AppSource:
    try:
        return AppSource.model_validate_json(path.read_bytes())
    except (OSError, ValueError):
        raise ConflictError(f"{path}: cannot be read, so that revision cannot be gone back to") from None


def _copy_authors_files(origin: Path, target: Path, names: list[str]) -> None:
    target.mkdir(mode=0o700, parents=True)
    for name in names:
        place = target / name
        try:
            place.parent.mkdir(parents=True, exist_ok=True)
            shutil.copy2(origin / name, place, follow_symlinks=False)
        except FileNotFoundError:
            continue  # it had been removed by then
    for parent in {Path(name).parent for name in names}:
        if (origin / parent).is_dir() and (target / parent).is_dir():
            shutil.copystat(origin / parent, target / parent)


def _size(path: Path) -> int:
    try:
        return path.lstat().st_size
    except OSError:
        return 0


def _tree_size(folder: Path) -> int:
    return sum(_size(Path(parent, name)) for parent, _, names in os.walk(folder) for name in names)


def manifest_changes(old: Mapping[str, Any], new: Mapping[str, Any]) -> list[str]:
    """``field: before -> after`` of each field of a manifest that differs."""
    before, after = flatten(dict(old)), flatten(dict(new))
    lines = []
    for name in sorted(before.keys() | after.keys()):
        if before.get(name) != after.get(name):
            lines.append(sanitise(f"{name}: {_shown(before, name)} -> {_shown(after, name)}", 300))
    return lines[:_SHOWN]


def _shown(values: Mapping[str, Any], name: str) -> str:
    import json

    part, _, variable = name.partition(".")
    if part == "environment" and name in values and is_secret(variable, str(values[name])):
        return "(secret)"
    return json.dumps(values[name], ensure_ascii=False) if name in values else "nothing"


def setup_changes(old: FoundApp, new: FoundApp) -> list[str]:
    """The lines that came (+) and went (-) in what is installed for the app."""
    import difflib

    lines = difflib.unified_diff(_requirements(old), _requirements(new), n=0, lineterm="")
    return [sanitise(line, 300) for line in lines if not line.startswith(("---", "+++", "@@"))][:_SHOWN]


def _requirements(app: FoundApp) -> list[str]:
    manifest = app.manifest
    if manifest is None:
        return []
    wanted = manifest.requirements
    if isinstance(wanted, list):
        return wanted
    return _lines(app.path / (wanted or DEFAULT_FILE))


def changelog_between(old: Path, new: Path) -> list[str]:
    """The lines that the new version's CHANGELOG.md has and the old one's has not."""
    before = set(_lines(old / "CHANGELOG.md"))
    return [line for line in _lines(new / "CHANGELOG.md") if line.strip() and line not in before]


def _permissions(app: FoundApp) -> list[str]:
    return app.manifest.asked_permissions if app.manifest is not None else []


def _secrets(app: FoundApp) -> set[str]:
    return set(app.manifest.config.requires_secrets) if app.manifest is not None else set()


def _lines(path: Path) -> list[str]:
    try:
        descriptor = os.open(path, os.O_RDONLY | os.O_NONBLOCK | os.O_CLOEXEC | os.O_NOFOLLOW)
        with os.fdopen(descriptor, "rb") as file:
            return file.read(1024 * 1024).decode("utf-8", "replace").splitlines()
    except OSError:
        return []
