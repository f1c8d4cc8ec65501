"""An app is added: fetched beside, shown, and put in place by one rename when its owner agrees.

Until that rename the home knows nothing of it but a folder in ``incoming/``, which goes with the job or, after a kill,
at the engine's next start. Where the app comes from is written just before; ``settle`` takes that back if the rename
never was.
"""

from __future__ import annotations

import asyncio
import errno
import hashlib
import logging
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable
from pathlib import Path
from typing import Any

from hhtui.engine.app.fleet import Fleet
from hhtui.engine.app.registry import disk_trouble
from hhtui.engine.discovery.found_app import RESERVED_IDS, FoundApp, read_app
from hhtui.engine.exchange import sync_disks
from hhtui.engine.install.requirements import plan_of
from hhtui.engine.sources.catalogs import Catalogs
from hhtui.engine.sources.fetch import Fetched, FetchSpec, fetch_asking, kind_of, room_for, source_of
from hhtui.engine.sources.jobs import AppJobs, JobReport, remove_tree
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError, NotFoundError, NotSavedError
from hhtui.model.app import AppType
from hhtui.model.manifest import Manifest
from hhtui.model.secrets import read_secrets
from hhtui.model.source import AddRequest, AppJob, AppSource, Origin, SourceKind
from hhtui.paths import Home, app_id_of
from hhtui.storage import read_json_object, sync_folder, write_json
from hhtui.text import human_bytes, sanitise

log = logging.getLogger("homehelper.sources")

_COMMIT_FILE = "commit.json"
_UPLOAD = "upload"
# An upload that nobody has used goes after this time (seconds), and so many may wait.
_UPLOAD_KEPT = 900.0
_MOST_UPLOADS = 8
MAX_UPLOAD = 2 * 1024**3
_WRITE_BYTES = 1024 * 1024
# How long discovery may take to see the new folder (seconds).
_SEEN_SECONDS = 30.0
_MOST_LINES = 200


class Adding:
    """Begins jobs that add apps; ``apps_dir`` is the folder that they are put into, ``rescan`` has discovery look."""

    def __init__(
        self,
        home: Home,
        jobs: AppJobs,
        fleet: Fleet,
        catalogs: Catalogs,
        apps_dir: Callable[[], Path],
        rescan: Callable[[], None],
    ) -> None:
        self.home = self._home = home
        self._jobs = jobs
        self._fleet = fleet
        self._catalogs = catalogs
        self._apps_dir = apps_dir
        self._rescan = rescan
        self._uploads: dict[str, asyncio.TimerHandle] = {}

    def stop(self) -> None:
        """Expect no upload any more."""
        for timer in self._uploads.values():
            timer.cancel()

    async def receive(self, chunks: AsyncIterator[bytes]) -> dict[str, Any]:
        """Keep what a client sends a while: ``{upload, bytes}``. ConflictError, NotSavedError; InvalidInputError."""
        if len(self._uploads) >= _MOST_UPLOADS:
            raise ConflictError(f"{_MOST_UPLOADS} uploads wait to be used, and no more can: try again in some minutes")
        loop = asyncio.get_running_loop()
        token = uuid.uuid4().hex
        folder = self._home.incoming_dir / token
        self._uploads[token] = loop.call_later(_UPLOAD_KEPT, self._forget_upload, token)
        try:
            folder.mkdir(mode=0o700, parents=True)
            size = await self._write(folder, chunks)
        except BaseException as error:
            self._forget_upload(token)
            if isinstance(error, OSError):
                raise NotSavedError(f"{folder}: cannot be written: {disk_trouble(error)}", done=False) from None
            raise
        return {"upload": token, "bytes": size}

    async def _write(self, folder: Path, chunks: AsyncIterator[bytes]) -> int:
        loop = asyncio.get_running_loop()
        most = min(room_for(folder), MAX_UPLOAD)
        size = 0
        waiting = bytearray()
        with (folder / _UPLOAD).open("xb") as file:
            async for chunk in chunks:
                size += len(chunk)
                if size > most:
                    raise InvalidInputError(f"it is larger than {human_bytes(most)}, the most that can be taken now")
                waiting += chunk
                if len(waiting) >= _WRITE_BYTES:
                    data, waiting = bytes(waiting), bytearray()
                    await loop.run_in_executor(None, file.write, data)
            await loop.run_in_executor(None, file.write, bytes(waiting))
        return size

    def _forget_upload(self, token: str) -> None:
        timer = self._uploads.pop(token, None)
        if timer is not None:
            timer.cancel()
        asyncio.get_running_loop().run_in_executor(None, remove_tree, self._home.incoming_dir / token)

    def begin(self, order: AddRequest, *, correlation_id: str) -> AppJob:
        """Begin to add an app; InvalidInputError, NotFoundError or ConflictError for what cannot be begun."""
        spec, kind = self.spec_of(order)
        if order.app_id is not None:
            self._check_id(order.app_id)

        async def work(report: JobReport) -> dict[str, Any]:
            return await self._add(order, spec, kind, report)

        job = self._jobs.begin("add", order.app_id or "", work, correlation_id=correlation_id)
        self.hand_over(order)
        return job

    def hand_over(self, order: Origin) -> None:
        """The upload that it names, if it names one, is its job's from now on."""
        if order.upload is not None:
            self._uploads.pop(order.upload).cancel()

    def spec_of(self, order: Origin) -> tuple[FetchSpec, SourceKind]:
        """What is to be fetched; InvalidInputError, NotFoundError."""
        folder, home = order.folder or "", self._home
        if order.upload is not None:
            if order.upload not in self._uploads:
                raise NotFoundError("the upload is not there any more: send it again")
            if order.kind not in ("archive", "folder") or order.ref is not None:
                raise InvalidInputError("kind: with an upload it must be archive or folder, and ref goes without one")
            return FetchSpec(home, order.source, folder, upload=home.incoming_dir / order.upload / _UPLOAD), order.kind
        if order.kind == "catalog" or (order.kind is None and self._catalogs.is_name(order.source)):
            if folder:
                raise InvalidInputError("folder: goes with a URL; an app of a catalogue has its place there")
            return self._catalogs.spec_of(order.source, order.ref), "catalog"
        kind = kind_of(order.source)
        if kind == "folder":
            raise InvalidInputError(
                f"{sanitise(order.source, 200)}: a folder is sent: POST /api/v1/uploads, then `upload`"
            )
        if kind == "archive" and order.ref is not None:
            raise InvalidInputError("ref: an archive has no tags or branches")
        return FetchSpec(home, order.source, folder, order.ref), "git" if kind == "git" else "archive"

    def _check_id(self, app_id: str) -> None:
        if app_id_of(app_id) != app_id or not app_id or app_id in RESERVED_IDS:
            fitted = app_id_of(app_id)
            hint = f", such as {fitted}" if fitted and fitted not in RESERVED_IDS else ""
            raise InvalidInputError(
                f"{sanitise(app_id, 80)!r}: cannot be an app's id: small letters, digits, - and _{hint} (--as)"
            )
        known = self._fleet.supervisors.get(app_id)
        path = Path(known.record.path) if known is not None else self._apps_dir() / app_id
        if known is not None or os.path.lexists(path):
            raise ConflictError(
                f"{app_id} is there already ({path}): `hhtui update {app_id} --from SOURCE` puts this in its place, "
                "--as gives another name",
                app_id=app_id,
            )

    async def _add(self, order: AddRequest, spec: FetchSpec, kind: SourceKind, report: JobReport) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        token = self._home.incoming_dir / (order.upload or uuid.uuid4().hex)
        try:
            token.mkdir(mode=0o700, parents=True, exist_ok=order.upload is not None)
            fetched = await fetch_asking(spec, token / "fetched", report, yes=order.yes)
            app_id = order.app_id or app_id_of(fetched.name)
            self._check_id(app_id)
            report.take(app_id)
            staged = token / "app"
            os.rename(fetched.folder, staged)
            found = await loop.run_in_executor(None, _read, staged, app_id)
            source = source_of(kind, spec, fetched)
            preview = await loop.run_in_executor(None, self._preview, found, fetched, source)
            if not order.yes:
                await report.confirmed(preview)
            # What may have changed while somebody read.
            self._check_id(app_id)
            report.commit()
            report("place")
            target = self._apps_dir() / app_id
            await loop.run_in_executor(None, put_in_place, self._home, token, staged, target, source)
            log.info("%s: added from %s, revision %s", app_id, sanitise(spec.url, 200), fetched.revision[:12])
            await self._seen(app_id, target)
            # A secret may have been set while somebody read.
            secrets = await loop.run_in_executor(None, self._secrets, found.manifest)
            return {**preview, "secrets": secrets, "status": self._fleet.get(app_id).status.value}
        finally:
            await asyncio.wait({loop.run_in_executor(None, remove_tree, token)})

    async def _seen(self, app_id: str, target: Path) -> None:
        """Wait until discovery shows it."""
        self._rescan()
        deadline = time.monotonic() + _SEEN_SECONDS
        while (known := self._fleet.supervisors.get(app_id)) is None or Path(known.record.path) != target:
            if time.monotonic() > deadline:
                raise HomeHelperError(
                    f"{target} is in place, but the engine does not show it as {app_id}: `hhtui doctor`"
                )
            await asyncio.sleep(0.05)

    def _preview(self, found: FoundApp, fetched: Fetched, source: AppSource) -> dict[str, Any]:
        """What is about to be added, for people and programs; reads files."""
        manifest = found.manifest
        assert manifest is not None
        data = self._home.app_data(found.app_id)
        return {
            "app_id": found.app_id,
            "name": manifest.name,
            "version": manifest.version,
            "description": manifest.description,
            "type": manifest.type.value,
            "source": source.model_dump(mode="json", exclude={"files"}),
            "path": str(self._apps_dir() / found.app_id),
            "bytes": fetched.bytes,
            "files": len(fetched.files),
            "starts": starting_of(manifest),
            "autostart": manifest.autostart,
            "requirements": requirements_of(found),
            "setup_commands": dict(manifest.setup_commands),
            "ports": ports_of(manifest),
            "permissions": manifest.asked_permissions,
            "whole_system": manifest.permissions.system,
            "secrets": self._secrets(manifest),
            "settings": found.raw["settings"] if isinstance(found.raw.get("settings"), dict) else {},
            "requires": self._requires(manifest),
            "has_data": data.is_dir() and any(data.iterdir()),
            "warnings": list(found.warnings),
            "manifest": found.raw,
        }

    def _secrets(self, manifest: Manifest | None) -> list[dict[str, Any]]:
        try:
            known = {name for name, secret in read_secrets(self._home.secrets_env).items() if secret.app_id is None}
        except InvalidInputError:
            known = set()
        asked = manifest.asked_secrets if manifest is not None else []
        return [{"name": name, "there": name in known} for name in asked]

    def _requires(self, manifest: Manifest) -> list[dict[str, Any]]:
        # By the name that its author gave it: its owner's is for people.
        names = {
            name: supervisor
            for supervisor in self._fleet.supervisors.values()
            for name in (supervisor.found.manifest.name if supervisor.found.manifest else "", supervisor.app_id)
        }
        wanted = {entry.app: entry.min_version for entry in manifest.requires}
        wanted = {**dict.fromkeys(manifest.depends_on), **wanted}
        found = []
        for name, min_version in wanted.items():
            there = names[name].record if name in names else None
            offered = None if there is not None else self._catalogs.offering(name)
            found.append(
                {
                    "app": name,
                    "min_version": min_version,
                    "there": there is not None,
                    "version": there.version if there is not None else None,
                    "catalog": f"{offered.catalog}/{offered.app_id}" if offered is not None else None,
                }
            )
        return found


def starting_of(manifest: Manifest) -> list[str]:
    """The words by which it is started, as its manifest has them."""
    if manifest.command is not None:
        return [*manifest.command, *(manifest.args or [])]
    program = ["streamlit", "run"] if manifest.type is AppType.STREAMLIT else ["python"]
    return [*program, manifest.main, *(manifest.args or [])]


def requirements_of(found: FoundApp) -> list[str]:
    """What is installed for it, line by line of its requirements, at most 200."""
    plan = plan_of(found)
    if plan is None:
        return []
    lines: list[str] = []
    words = list(plan.words)
    while words:
        word = words.pop(0)
        if word == "-r" and words:
            with (found.path / words.pop(0)).open("rb") as file:
                text = file.read(_MOST_LINES * 1024).decode("utf-8", "replace")
            lines += [
                line.partition(" #")[0].strip() for line in text.splitlines() if not line.lstrip().startswith("#")
            ]
        else:
            lines.append(word)
    return [line for line in lines if line][:_MOST_LINES]


def ports_of(manifest: Manifest) -> list[str]:
    """Which ports it is given: ``app``, and ``mcp``."""
    return ["app", "mcp"] if manifest.config.mcp_server else ["app"]


def _read(folder: Path, app_id: str) -> FoundApp:
    """What is in the staged folder; InvalidInputError if the engine could not take it."""
    reading = read_app(folder, time.monotonic())
    if reading is None:
        raise InvalidInputError("it holds no homehelper.json")
    if reading.error is not None or reading.manifest is None:
        raise InvalidInputError(f"it is not valid: {reading.error}")
    return FoundApp(app_id, folder, reading.raw, reading.manifest, reading.warnings, None, reading.file)


def put_in_place(home: Home, token: Path, staged: Path, target: Path, source: AppSource | None) -> None:
    """Note where it comes from, if that is known, and rename ``staged`` to ``target``, durably; else leave nothing."""
    app_id = target.name
    write_json(token / _COMMIT_FILE, {"app_id": app_id, "staged": str(staged), "target": str(target)}, 0o600)
    try:
        if source is not None:
            source.write(home, app_id)
        staged.chmod(0o750)
        target.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
        if os.path.lexists(target):
            raise ConflictError(f"{target}: is there already")
        try:
            os.rename(staged, target)
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # The apps folder lies on another disk.
            beside = _beside(target, token)
            shutil.copytree(staged, beside, symlinks=True)
            sync_disks([target.parent])
            os.rename(beside, target)
        sync_folder(target.parent)
    except BaseException:
        if not os.path.lexists(target) or staged.is_dir():
            home.app_source(app_id).unlink(missing_ok=True)
            remove_tree(_beside(target, token))
        raise


def _beside(target: Path, token: Path) -> Path:
    """Hidden folders are no apps to discovery."""
    return target.parent / f".{target.name}.{hashlib.sha256(token.name.encode()).hexdigest()[:12]}"


def settle(home: Home) -> None:
    """Before apps are looked for: what was about to be put in place when an engine was killed never was."""
    try:
        tokens = [Path(entry.path) for entry in os.scandir(home.incoming_dir)]
    except FileNotFoundError:
        return
    for token in tokens:
        try:
            document = read_json_object(token / _COMMIT_FILE, 65_536)
            app_id, staged, target = str(document["app_id"]), Path(document["staged"]), Path(document["target"])
        except (OSError, ValueError, KeyError):
            continue
        placed = os.path.lexists(target) and not _same_disk(staged, target)
        if not placed:
            log.warning("%s: was not added: the engine was killed before it was in place", sanitise(app_id, 80))
            if app_id_of(app_id) == app_id:
                home.app_source(app_id).unlink(missing_ok=True)
            remove_tree(_beside(target, token))


def _same_disk(staged: Path, target: Path) -> bool:
    """Whether ``staged`` is still there though a rename would have taken it away."""
    try:
        return staged.lstat().st_dev == target.lstat().st_dev
    except OSError:
        return False
