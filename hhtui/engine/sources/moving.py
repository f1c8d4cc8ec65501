"""An app moves to another home: both engines are led by one client, and exactly one of them has the app at any time.

It is the home's that it comes from until that one has written that it was ``handed`` over, which it does only once the
other one has written that its copy is ``ready``: whole, verified, started and well. Each home knows by its mark
(hhtui/model/move.py) what to do when its client, its engine or the power goes: an ``open`` app goes on as before, a
``coming`` one is dropped, a ``handed`` and a ``ready`` one are not started until somebody says how it ended. A client
holds both sides by a request that stays open; what breaks off breaks that, too.
"""

from __future__ import annotations

import asyncio
import logging
import os
import shutil
import time
import uuid
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass
from pathlib import Path
from typing import Any, TypeVar

from pydantic import ValidationError

from hhtui.engine.app.fleet import Fleet
from hhtui.engine.app.reason import Reason, Why, reason
from hhtui.engine.app.secrets import SecretsKeeper
from hhtui.engine.app.supervisor import Supervisor
from hhtui.engine.discovery.found_app import RESERVED_IDS
from hhtui.engine.hardware.app_sizes import folder_size
from hhtui.engine.install.installer import Installer
from hhtui.engine.launch.environment import asked_secrets, place_of_setting
from hhtui.engine.launch.ports import PortAllocator
from hhtui.engine.process.identity import this_boot
from hhtui.engine.process.termination import end_runs
from hhtui.engine.process.tree import ProcessTable, find_survivors, home_id
from hhtui.engine.sources import trash
from hhtui.engine.sources.adding import put_in_place
from hhtui.engine.sources.fetch import RESERVE
from hhtui.engine.sources.jobs import AppJobs, JobReport, remove_tree
from hhtui.engine.sources.packer import Packer, unpacked
from hhtui.engine.sources.proving import fault_of
from hhtui.engine.sources.removal import Removals, parts_of, take_app
from hhtui.engine.tasks import whatever_happens
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError, NotFoundError
from hhtui.model.app import AppRecord, RuntimeInfo
from hhtui.model.config import Config
from hhtui.model.event import utc_now
from hhtui.model.manifest import parse_manifest
from hhtui.model.move import (
    FORM,
    ArriveRequest,
    LeaveRequest,
    MoveMark,
    MovePart,
    MovePlan,
    MoveState,
    MoveStep,
    PackRequest,
)
from hhtui.model.removal import RemoveRequest
from hhtui.model.secrets import change_secrets, read_secrets
from hhtui.model.source import AppSource
from hhtui.paths import Home, app_id_of
from hhtui.storage import read_json_object, sync_folder, write_json
from hhtui.text import human_bytes, sanitise

log = logging.getLogger("homehelper.moves")

# A client that says nothing for so long is gone (seconds).
LEASE_SECONDS = 20.0
_ARRIVAL_PATIENCE = 30.0
# How so many ended can still be asked.
_ENDED_KEPT = 8
_T = TypeVar("_T")


# What a home keeps.


def read_marks(home: Home) -> list[MoveMark]:
    """The moves that are not over, and those that brought an app here; what cannot be read is logged. Blocks."""
    found = []
    for path in sorted(home.moves_dir.glob("*.json")) if home.moves_dir.is_dir() else []:
        try:
            found.append(MoveMark.model_validate(read_json_object(path)))
        except (OSError, ValueError, ValidationError) as error:
            log.error("%s: cannot be read: %s", path, type(error).__name__)
    return found


def _write(home: Home, mark: MoveMark) -> None:
    home.moves_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
    write_json(home.moves_dir / f"{mark.token}.json", mark.model_dump(mode="json"), 0o600)


def _forget(home: Home, mark: MoveMark) -> None:
    (home.moves_dir / f"{mark.token}.json").unlink(missing_ok=True)
    if home.moves_dir.is_dir():
        sync_folder(home.moves_dir)


def _held_because(mark: MoveMark) -> Reason | None:
    """Why an app is not started here as long as its move is not over; None: it is."""
    other = sanitise(mark.other, 200)
    if mark.phase == "handed":
        return reason(Why.HANDED_OVER, place=other, app=mark.app_id, host=sanitise(mark.host, 100) or "HOST")
    if mark.phase == "ready":
        return reason(Why.NOT_HANDED_OVER, place=other, app=mark.app_id)
    if mark.phase == "coming":
        return reason(Why.ARRIVING, place=other)
    return None


def held_apps(marks: list[MoveMark]) -> dict[str, Reason]:
    """The apps that are not started here, and why."""
    return {mark.app_id: why for mark in marks if (why := _held_because(mark)) is not None}


async def recover(home: Home) -> list[MoveMark]:
    """At the engine's start, before apps are looked for: a copy that was coming is dropped, what is over is forgotten,
    and nothing runs of what may be the other home's. The marks that are left. Needs the home's lock."""
    loop = asyncio.get_running_loop()
    marks = await loop.run_in_executor(None, read_marks, home)
    left = []
    for mark in marks:
        if mark.role == "to" and mark.phase in ("coming", "ready"):
            table = ProcessTable()
            await end_runs(mark.app_id, find_survivors(table.now(), home_id(home)).get(mark.app_id, []), table)
        if mark.phase == "coming":
            log.warning("%s: its move here from %s was broken off", mark.app_id, sanitise(mark.other, 200))
            await loop.run_in_executor(None, _drop_now, home, mark)
        elif mark.phase == "handed" and await loop.run_in_executor(None, _is_in_trash, home, mark):
            await loop.run_in_executor(None, _forget, home, mark)
        else:
            left.append(mark)
    return left


def _drop_now(home: Home, mark: MoveMark) -> None:
    if parts_of(home, mark.app_id, Path(mark.folder)):
        now = utc_now()
        record = AppRecord(app_id=mark.app_id, name="", path=mark.folder, discovered_at=now, last_updated=now)
        take_app(home, record, RemoveRequest(purge=True), lambda *_: None)
        trash.settle(home)
    (home.gone_dir / f"{mark.app_id}.json").unlink(missing_ok=True)
    _forget_secrets(home, mark)
    _forget(home, mark)


def _forget_secrets(home: Home, mark: MoveMark) -> None:
    change_secrets(home.secrets_env, dict.fromkeys(mark.secrets))


def _is_in_trash(home: Home, mark: MoveMark) -> bool:
    moved = any(entry.app_id == mark.app_id and entry.moved_to for entry in trash.list_trash(home))
    return moved and not os.path.lexists(mark.folder)


# In a running engine.


@dataclass
class MoveTools:
    """What moves work with; ``backing_up``: whether a backup or a restore is under way."""

    home: Home
    config: Callable[[], Config]
    jobs: AppJobs
    fleet: Fleet
    removals: Removals
    secrets: SecretsKeeper
    installer: Installer
    ports: PortAllocator
    apps_dir: Callable[[], Path]
    backing_up: Callable[[], bool]


class Moving:
    """The moves of this home's apps to others, and of others' here; ``marks`` are those that an earlier engine left."""

    def __init__(self, tools: MoveTools, marks: list[MoveMark]) -> None:
        self._tools = tools
        # Two names of one home are told by that.
        self._engine = uuid.uuid4().hex
        self._marks = {mark.token: mark for mark in marks}
        self._live: dict[str, _Side] = {}
        tools.jobs.barred.update({app_id: why.words for app_id, why in held_apps(marks).items()})

    def stop(self) -> None:
        """The engine ends, and with it all jobs: the next one goes by the marks."""
        for side in self._live.values():
            side.engine_ends = True

    async def plan(self, app_id: str) -> MovePlan:
        """What moving the app would take along, measured now. UnknownAppError."""
        tools = self._tools
        supervisor = tools.fleet.get(app_id)
        found, home = supervisor.found, tools.home
        removal = await tools.removals.plan(app_id)
        asked = asked_secrets(found)
        try:
            stored = await asyncio.to_thread(read_secrets, home.secrets_env)
        except InvalidInputError:
            stored = {}
        manifest = found.manifest
        settings = [name for name, one in manifest.settings.items() if one.secret] if manifest is not None else []
        sizes = {part.kind: part.size_bytes for part in removal.parts}
        code = await asyncio.to_thread(folder_size, found.path.resolve())
        mark = next((one for one in self._marks.values() if one.app_id == app_id and one.phase != "arrived"), None)
        return MovePlan(
            app_id=app_id,
            name=sanitise(found.name, 200),
            version=sanitise(supervisor.record.version, 50),
            engine=self._engine,
            status=supervisor.status.value,
            refused=self._refusal(supervisor, removal.required_by, removal.refused),
            code_bytes=code.size_bytes if code is not None else 0,
            data_bytes=sizes.get("data", 0),
            environment_bytes=sum(part.size_bytes for part in removal.parts if part.kind == "environment"),
            revisions=sum(part.kind == "revisions" for part in removal.parts),
            settings="settings" in sizes,
            port=found.owner.port,
            has_port=supervisor.record.runtime_info.assigned_port,
            secrets=sorted(name for name in asked if name in stored and stored[name].app_id is None),
            secret_settings=[name for name in settings if place_of_setting(found, name, stored) in stored],
            manifest=found.by_author.raw if found.by_author is not None else found.raw,
            mark=mark,
        )

    def _refusal(self, supervisor: Supervisor, required_by: list[str], refused: str | None) -> str | None:
        app_id = supervisor.app_id
        if required_by:
            return f"{app_id} is required here by {', '.join(required_by)}: move or remove that first"
        if refused is not None:
            return refused
        if supervisor.found.error is not None:
            return f"{app_id} is invalid: {supervisor.found.error}"
        if (job := self._tools.jobs.running(app_id)) is not None:
            return f"{app_id}: another job ({job.kind}) is under way; wait for it, or cancel it: {job.id}"
        if self._tools.home.update_journal(app_id).exists():
            return f"{app_id}: an update of it is to be settled first"
        if self._tools.backing_up():
            return "a backup is under way: move the app when it is done"
        return None

    async def leave(self, app_id: str, order: LeaveRequest, correlation_id: str) -> MoveState:
        """Begin to move an app away. UnknownAppError, ConflictError."""
        plan = await self.plan(app_id)
        if plan.refused is not None:
            raise ConflictError(plan.refused, app_id=app_id)
        if plan.mark is not None and plan.mark.phase != "open":
            raise ConflictError(f"{app_id}: {self._tools.jobs.barred.get(app_id, 'a move of it is not over')}")
        supervisor = self._tools.fleet.get(app_id)
        if plan.mark is not None:
            await asyncio.to_thread(_forget, self._tools.home, plan.mark)
            self._marks.pop(plan.mark.token, None)
        mark = MoveMark(token=order.token, app_id=app_id, role="from", phase="open", other=order.other, host=order.host)
        mark.folder = str(supervisor.found.path)
        return self._begin(_Leaving(self._tools, self._marks, mark), correlation_id)

    async def arrive(self, order: ArriveRequest, correlation_id: str) -> MoveState:
        """Begin to take an app in, or only say what speaks against it: ConflictError, InvalidInputError."""
        kept = await self._check(order)
        mark = MoveMark(token=order.token, app_id=order.app_id, role="to", phase="coming", other=order.other)
        mark.folder = str(self._tools.apps_dir() / order.app_id)
        side = _Arriving(self._tools, self._marks, mark, kept)
        return side.state() if order.check else self._begin(side, correlation_id)

    async def _check(self, order: ArriveRequest) -> list[str]:
        """The secrets that are here already; ConflictError if the app cannot come."""
        app_id, tools = order.app_id, self._tools
        if order.form != FORM:
            raise ConflictError(f"it takes moves of the form {FORM}, not {order.form}: update hhtui on both machines")
        if order.engine == self._engine:
            raise ConflictError("that is the same home: an app moves to another one")
        if app_id_of(app_id) != app_id or app_id in RESERVED_IDS:
            raise InvalidInputError(f"{sanitise(app_id, 80)!r} cannot be an app's id")
        tools.jobs.refuse_second(app_id, None)
        await asyncio.to_thread(self._refuse_taken, app_id)
        if tools.backing_up():
            raise ConflictError("a backup is under way there: move the app when it is done")
        manifest, _ = parse_manifest(order.manifest)
        known = {name for record in tools.fleet.records() for name in (record.app_id, record.name)}
        wanted = [*manifest.depends_on, *(one.app for one in manifest.requires)]
        missing = [name for name in dict.fromkeys(wanted) if name not in known and app_id_of(name) not in known]
        if missing:
            names = ", ".join(sanitise(name, 80) for name in missing)
            raise ConflictError(f"{app_id} requires {names}, which is not there: move or add that first")
        if order.port is not None:
            tools.ports.refuse(app_id, order.port)
        self._refuse_full_disk(order)
        stored = await asyncio.to_thread(read_secrets, tools.home.secrets_env)
        return sorted(name for name in order.secrets if name in stored)

    def _refuse_taken(self, app_id: str) -> None:
        folder, data = self._tools.apps_dir() / app_id, self._tools.home.app_data(app_id)
        if app_id in self._tools.fleet.supervisors or os.path.lexists(folder):
            raise ConflictError(f"there is an app {app_id} there already; move or remove that one first", app_id=app_id)
        if data.is_dir() and any(data.iterdir()):
            raise ConflictError(f"there are data of an earlier {app_id} in {data}: move them elsewhere first")

    def _refuse_full_disk(self, order: ArriveRequest) -> None:
        home = self._tools.home
        for place in {self._tools.apps_dir(), home.data_dir, home.venvs_dir}:
            free = shutil.disk_usage(place if place.is_dir() else home.root).free
            needed = order.bytes + order.environment_bytes + RESERVE
            if needed > free:
                raise ConflictError(
                    f"it needs {human_bytes(needed)} there, with {human_bytes(RESERVE)} that stay free, and "
                    f"{human_bytes(free)} are free on the disk of {place}"
                )

    def _begin(self, side: _Side, correlation_id: str) -> MoveState:
        for token in [token for token, old in self._live.items() if old.over.is_set()][:-_ENDED_KEPT]:
            del self._live[token]
        self._tools.jobs.begin("move", side.mark.app_id, side.run, correlation_id=correlation_id)
        self._live[side.mark.token] = side
        return side.state()

    def state(self, token: str) -> MoveState:
        """How far a move is. NotFoundError."""
        if (side := self._live.get(token)) is not None:
            return side.state()
        if (mark := self._marks.get(token)) is None:
            raise NotFoundError(f"no move {sanitise(token, 40)} is known here")
        return MoveState(token=token, app_id=mark.app_id, role=mark.role, phase=mark.phase, ran=mark.ran)

    async def hold(self, token: str, chunks: AsyncIterator[bytes]) -> MoveState:
        """Whoever sends this leads the move, until it ends."""
        side = self._side(token)
        try:
            async for _ in chunks:
                side.heard()
        finally:
            side.lost.set()
        return side.state()

    def pack(self, token: str, order: PackRequest) -> AsyncIterator[bytes]:
        """The stream of what is to be sent. NotFoundError, ConflictError."""
        side = self._side(token)
        if not isinstance(side, _Leaving):
            raise ConflictError("this home takes the app in, and does not send it")
        return side.pack(order)

    async def unpack(self, token: str, part: MovePart, chunks: AsyncIterator[bytes]) -> MoveState:
        """Take in what was packed. NotFoundError, ConflictError."""
        side = self._side(token)
        if not isinstance(side, _Arriving):
            raise ConflictError("this home sends the app, and does not take it in")
        await side.unpack(part, chunks)
        return side.state()

    async def step(self, token: str, step: MoveStep, ran: bool, wait: float | None, correlation_id: str) -> MoveState:
        """Begin a step, and wait for its end at most ``wait`` seconds. NotFoundError, ConflictError."""
        side = self._live.get(token)
        if side is None or side.over.is_set():
            mark = self._marks.get(token)
            if mark is None:
                raise NotFoundError(f"no move {sanitise(token, 40)} is known here")
            if mark.phase == "arrived":
                return self.state(token)
            kind = _Leaving if mark.role == "from" else _Arriving
            side = kind(self._tools, self._marks, mark)
            side.alone = True
            self._begin(side, correlation_id)
        side.begin_step(step, ran)
        if wait is not None:
            await side.waited(wait)
        return side.state()

    def _side(self, token: str) -> _Side:
        side = self._live.get(token)
        if side is None or side.over.is_set():
            raise NotFoundError(f"the move {sanitise(token, 40)} is not under way here")
        return side


class _Side:
    """One home's side of a move that is under way. ``alone``: what an earlier one left is settled, by one step."""

    def __init__(self, tools: MoveTools, marks: dict[str, MoveMark], mark: MoveMark) -> None:
        self._tools = tools
        self._home = tools.home
        self._marks = marks
        self.mark = mark
        self.alone = False
        self.engine_ends = False
        self.lost = asyncio.Event()
        self.over = asyncio.Event()
        self._heard = time.monotonic()
        self._steps: asyncio.Queue[tuple[MoveStep, bool]] = asyncio.Queue()
        self._doing = ""
        self._failed: str | None = None
        self._changed = asyncio.Event()
        self._current: asyncio.Future[None] | None = None
        self._streams: set[asyncio.Future[Any]] = set()
        self._report: JobReport | None = None
        self._bytes = 0
        self._result: dict[str, Any] = {}
        self._area = self._home.incoming_dir / mark.token
        self._kept: list[str] = []

    @property
    def _supervisor(self) -> Supervisor:
        return self._tools.fleet.get(self.mark.app_id)

    def state(self) -> MoveState:
        mark, job = self.mark, self._report.job if self._report is not None else None
        return MoveState(
            token=mark.token,
            app_id=mark.app_id,
            role=mark.role,
            phase=mark.phase,
            live=not self.over.is_set(),
            doing=self._doing,
            message=job.message if job is not None else "",
            failed=self._failed,
            ran=mark.ran,
            bytes=self._bytes,
            secrets_kept=self._kept,
            result=self._result,
        )

    def heard(self) -> None:
        """Its client is there."""
        self._heard = time.monotonic()

    def begin_step(self, step: MoveStep, ran: bool) -> None:
        """ConflictError while another one, or a stream, is under way; ``drop`` breaks that off."""
        if step == "drop" and self._doing != "drop":
            for task in (*self._streams, *([self._current] if self._current is not None else [])):
                task.cancel()
        elif self._doing or self._streams:
            raise ConflictError(f"{self._doing or 'a stream'} is under way: wait for its end")
        self._doing, self._failed = step, None
        self._changed.clear()
        self._steps.put_nowait((step, ran))

    async def waited(self, seconds: float) -> None:
        """Wait for the end of the step, at most so many seconds."""
        try:
            async with asyncio.timeout(seconds):
                await self._changed.wait()
        except TimeoutError:
            pass

    async def run(self, report: JobReport) -> dict[str, Any]:
        """The job: take steps until the move is over, or nobody leads it any more."""
        self._report = report
        lost = asyncio.ensure_future(self._until_lost())
        try:
            while not self.over.is_set():
                step, ran = await _unless(lost, asyncio.ensure_future(self._steps.get()))
                self._current = asyncio.ensure_future(self._do(step, ran, report))
                try:
                    await _unless(lost, self._current)
                except _BrokenOffError:
                    continue
                except HomeHelperError as error:
                    if isinstance(error, _LostError):
                        raise
                    self._failed = error.message
                except OSError as error:
                    self._failed = sanitise(f"{error.filename or ''} {error.strerror or error}".strip(), 300)
                self._doing = ""
                self._changed.set()
                if self._failed is not None:
                    log.warning("%s: %s failed: %s", self.mark.app_id, step, self._failed)
                    if self.alone:
                        raise ConflictError(self._failed)
            return self._result
        except asyncio.CancelledError:
            self._failed = "it was cancelled"
            raise
        except _LostError as error:
            self._failed = error.message
            raise
        finally:
            lost.cancel()
            self.over.set()
            for stream in tuple(self._streams):
                stream.cancel()
            try:
                if not self.engine_ends:
                    await whatever_happens(self._settle(report))
            finally:
                self._doing = ""
                self._changed.set()
                await asyncio.shield(asyncio.to_thread(_remove, self._area))

    async def _until_lost(self) -> None:
        while not self.alone and (left := self._heard + LEASE_SECONDS - time.monotonic()) > 0:
            try:
                async with asyncio.timeout(left):
                    await self.lost.wait()
                return
            except TimeoutError:
                continue
        if self.alone:
            await asyncio.Event().wait()

    async def _do(self, step: MoveStep, ran: bool, report: JobReport) -> None:
        raise NotImplementedError

    async def _settle(self, report: JobReport) -> None:
        """The move has ended here, in whatever phase: go by that."""
        raise NotImplementedError

    def _refuse(self, step: MoveStep) -> ConflictError:
        return ConflictError(f"{self.mark.app_id}: {step} cannot be done as the move is ({self.mark.phase})")

    async def _note(self, **changes: Any) -> None:
        """Write the mark, changed: it holds once it is on the disk."""
        mark = self.mark.model_copy(update=changes)
        await asyncio.to_thread(_write, self._home, mark)
        self.mark = self._marks[mark.token] = mark
        why = _held_because(mark)
        if why is None:
            self._tools.fleet.held.pop(mark.app_id, None)
            self._tools.jobs.barred.pop(mark.app_id, None)
        else:
            self._tools.fleet.held[mark.app_id] = why
            self._tools.jobs.barred[mark.app_id] = why.words

    async def _end(self) -> None:
        """Nothing of the move is to be remembered."""
        await asyncio.to_thread(_forget, self._home, self.mark)
        self._marks.pop(self.mark.token, None)
        self._tools.fleet.held.pop(self.mark.app_id, None)
        self._tools.jobs.barred.pop(self.mark.app_id, None)
        self.mark = self.mark.model_copy(update={"phase": "ended"})
        self.over.set()

    def _begin_stream(self) -> asyncio.Task[Any]:
        if self._doing or self._streams:
            raise ConflictError(f"{self._doing or 'a stream'} is under way: wait for its end")
        task = asyncio.current_task()
        assert task is not None
        self._streams.add(task)
        self._failed, self._bytes = None, 0
        return task

    def _passed(self, size: int, words: str) -> None:
        self._bytes += size
        self.heard()
        if self._report is not None:
            self._report("copy", self._bytes, 0, words)


class _Leaving(_Side):
    """The home that the app comes from."""

    async def pack(self, order: PackRequest) -> AsyncIterator[bytes]:
        """What is to be sent, as it is or since it was sent."""
        task = self._begin_stream()
        try:
            home, found = self._home, self._supervisor.found
            roots = {"code": str(found.path.resolve()), "data": str(home.app_data(self.mark.app_id))}
            self._area.mkdir(mode=0o700, parents=True, exist_ok=True)
            extra = await asyncio.to_thread(self._extra, order) if order.part == "code" else {}
            wanted = {part: root for part, root in roots.items() if order.part in (part, "rest")}
            packer = Packer({"roots": wanted, "notes": str(self._area / "sent.json"), "extra": extra})
            words = f"sending its {order.part}"
            async for chunk in packer:
                self._passed(len(chunk), words)
                yield chunk
            if packer.failed is not None:
                self._failed = packer.failed.message
                # So that the answer is seen not to be whole.
                raise packer.failed
        finally:
            self._streams.discard(task)

    def _extra(self, order: PackRequest) -> dict[str, Any]:
        """What moves beside files. Blocks."""
        home, supervisor = self._home, self._supervisor
        stored, found = read_secrets(home.secrets_env), supervisor.found
        source = AppSource.read(home, self.mark.app_id)
        settings = home.app_settings(self.mark.app_id)
        manifest = found.manifest
        places = (
            {name: place_of_setting(found, name, stored) for name, one in manifest.settings.items() if one.secret}
            if manifest is not None
            else {}
        )
        state = supervisor.state
        may_go = asked_secrets(found)
        return {
            "source": source.model_dump(mode="json") if source is not None else None,
            "settings": read_json_object(settings) if settings.is_file() else None,
            "secrets": {
                name: stored[name].value
                for name in order.secrets
                if name in may_go and name in stored and stored[name].app_id is None
            },
            "secret_settings": {name: stored[place].value for name, place in places.items() if place in stored},
            "wanted": state.wanted,
            "this_boot": state.wanted_boot is not None,
        }

    async def _do(self, step: MoveStep, ran: bool, report: JobReport) -> None:
        phase, words = self.mark.phase, sanitise(self.mark.other, 200)
        if step == "stop" and phase == "open":
            # From here on the other home may come to have a whole copy.
            await self._note(phase="open")
            report("stop", message="stopping it")
            held = await self._supervisor.hold(reason(Why.MOVING, place=words))
            self.mark = self._marks[self.mark.token] = self.mark.model_copy(update={"ran": held})
        elif step == "hand" and phase == "open" and self._supervisor.state.held is not None:
            report.commit()
            await whatever_happens(self._note(phase="handed"))
            self._supervisor.stay_held(_held_because(self.mark) or Reason())
            log.info("%s: handed over to %s", self.mark.app_id, words)
        elif step == "finish" and phase == "handed":
            await whatever_happens(self._finish(report))
        elif step in ("drop", "keep") and phase == "open":
            await whatever_happens(self._stays())
        elif step == "keep" and phase == "handed" and self.alone:
            await whatever_happens(self._stays())
            self._result = {"app_id": self.mark.app_id, "kept": True}
        else:
            raise self._refuse(step)

    async def _finish(self, report: JobReport) -> None:
        report("place", message="putting it into the trash here")
        order = RemoveRequest()
        taken = await self._tools.removals.take_away(self._supervisor, order, report, moved_to=self.mark.other)
        await self._end()
        self._result = taken | {"moved_to": self.mark.other}

    async def _stays(self) -> None:
        ran = self.mark.ran
        await self._end()
        self._go_on(ran)

    def _go_on(self, ran: bool) -> None:
        supervisor = self._tools.fleet.supervisors.get(self.mark.app_id)
        if supervisor is not None and supervisor.state.held is not None:
            supervisor.let_go(start=ran, why=reason(Why.MOVE_ENDED))

    async def _settle(self, report: JobReport) -> None:
        if self.mark.phase == "open":
            self._go_on(self.mark.ran)


class _Arriving(_Side):
    """The home that the app goes to."""

    def __init__(
        self, tools: MoveTools, marks: dict[str, MoveMark], mark: MoveMark, kept: list[str] | None = None
    ) -> None:
        super().__init__(tools, marks, mark)
        self._kept = kept or []

    @property
    def _placed(self) -> bool:
        return self.mark.token in self._marks

    async def unpack(self, part: MovePart, chunks: AsyncIterator[bytes]) -> None:
        """Take in what the other home sends. ConflictError, NoRoomError."""
        if self.mark.phase != "coming" or (part != "code") != self._placed:
            raise ConflictError(f"{self.mark.app_id}: its {part} cannot come now")
        task = self._begin_stream()
        try:
            app_id = self.mark.app_id
            self._area.mkdir(mode=0o700, parents=True, exist_ok=True)
            code = Path(self.mark.folder) if self._placed else self._area / app_id
            roots = {"code": str(code), "data": str(self._home.app_data(app_id))}
            words = f"taking its {part} in"

            async def passed() -> AsyncIterator[bytes]:
                async for chunk in chunks:
                    self._passed(len(chunk), words)
                    yield chunk

            wanted = {one: root for one, root in roots.items() if part in (one, "rest")}
            extra = self._area / ("extra.json" if part == "code" else "nothing.json")
            notes = self._area / "verified.json"
            await unpacked({"roots": wanted, "notes": str(notes), "extra": str(extra)}, passed())
        except HomeHelperError as error:
            self._failed = error.message
            raise
        finally:
            self._streams.discard(task)

    async def _do(self, step: MoveStep, ran: bool, report: JobReport) -> None:
        phase = self.mark.phase
        if step == "install" and phase == "coming" and not self._placed:
            await whatever_happens(self._place(report))
            await self._install(report)
        elif step == "start" and phase == "coming" and self._placed:
            await self._start(ran, report)
        elif step in ("confirm", "keep") and phase == "ready":
            report.commit()
            await whatever_happens(self._is_here())
        elif step == "drop" and phase in ("coming", "ready"):
            await whatever_happens(self._drop(report))
        else:
            raise self._refuse(step)

    async def _place(self, report: JobReport) -> None:
        """The code, what is set of it and its secrets, where discovery finds them; nothing of it is started."""
        report("place", message="putting it in place")
        home, app_id = self._home, self.mark.app_id
        staged, folder = self._area / app_id, Path(self.mark.folder)
        extra = await asyncio.to_thread(read_json_object, self._area / "extra.json")
        source = AppSource.model_validate(extra["source"]) if extra.get("source") else None
        stored = await asyncio.to_thread(read_secrets, home.secrets_env)
        # What is here already, and what it would overwrite, stays.
        new = {str(name): str(value) for name, value in (extra.get("secrets") or {}).items() if name not in stored}
        await self._note(secrets=sorted(new))
        await self._tools.secrets.change(new)

        def lay_out() -> None:
            if (settings := extra.get("settings")) is not None:
                home.app_settings_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
                write_json(home.app_settings(app_id), settings, 0o600)
            home.gone_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
            wished = this_boot() if extra.get("this_boot") else None
            info = RuntimeInfo(wanted=extra.get("wanted"), wanted_boot=wished)
            now = utc_now()
            record = AppRecord(app_id=app_id, name="", path="", discovered_at=now, last_updated=now, runtime_info=info)
            write_json(home.gone_dir / f"{app_id}.json", record.model_dump(mode="json"))
            put_in_place(home, self._area, staged, folder, source)

        await asyncio.to_thread(lay_out)
        await self._tools.fleet.arrived(app_id, _ARRIVAL_PATIENCE)
        found = self._supervisor.found
        if found.error is not None:
            raise ConflictError(f"{app_id} is not valid there: {found.error}")
        settings = {
            place_of_setting(found, str(name), stored): str(value)
            for name, value in (extra.get("secret_settings") or {}).items()
        }
        if settings:
            await self._tools.secrets.change(settings, app_id)
        await asyncio.to_thread(_remove, self._area / "extra.json")

    async def _install(self, report: JobReport) -> None:
        supervisor, installer = self._supervisor, self._tools.installer
        if not installer.needed(supervisor.found):
            return
        report("install", message="installing what it needs")
        launch = await supervisor.launching.describe(supervisor.found)
        await installer.install(
            supervisor.found,
            launch.environ,
            lambda line: report("install", message=line),
            hide=launch.declared.hide,
            sandbox=launch.sandbox,
        )

    async def _start(self, ran: bool, report: JobReport) -> None:
        supervisor = self._supervisor
        came = reason(Why.MOVED, place=sanitise(self.mark.other, 200))
        report("verify", message="watching whether it is well")
        supervisor.let_go(start=ran, why=came)
        why = await fault_of(supervisor, self._tools.config().updates.trial_seconds) if ran else None
        if why is not None:
            await supervisor.hold(reason(Why.ARRIVING, place=sanitise(self.mark.other, 200)))
            raise ConflictError(f"{self.mark.app_id} is not well there: {why}")
        await self._note(phase="ready", ran=ran)

    async def _is_here(self) -> None:
        await self._note(phase="arrived")
        supervisor = self._tools.fleet.supervisors.get(self.mark.app_id)
        if supervisor is not None and supervisor.state.held is not None:
            supervisor.let_go(start=self.mark.ran, why=reason(Why.MOVED, place=sanitise(self.mark.other, 200)))
        log.info("%s: moved here from %s", self.mark.app_id, sanitise(self.mark.other, 200))
        self._result = {"app_id": self.mark.app_id, "kept": True}
        self.over.set()

    async def _drop(self, report: JobReport) -> None:
        if self._placed:
            if (supervisor := self._tools.fleet.supervisors.get(self.mark.app_id)) is not None:
                await self._tools.removals.take_away(supervisor, RemoveRequest(purge=True), report)
            else:
                await asyncio.to_thread(_drop_now, self._home, self.mark)
            await asyncio.to_thread(_forget_secrets, self._home, self.mark)
        await self._end()

    async def _settle(self, report: JobReport) -> None:
        if self.mark.phase == "coming":
            await self._drop(report)
        elif self.mark.phase == "ready" and (why := _held_because(self.mark)) is not None:
            # It may be the other home's: whoever leads the move again says so.
            await self._supervisor.hold(why)


class _LostError(ConflictError):
    """Nobody leads the move any more."""

    slug = "move_lost"


class _BrokenOffError(ConflictError):
    """A step was broken off by the next one."""


async def _unless(lost: asyncio.Future[None], task: asyncio.Future[_T]) -> _T:
    """What ``task`` answers; _LostError, with it cancelled, once nobody leads the move any more."""
    try:
        waiting: set[asyncio.Future[Any]] = {task, lost}
        await asyncio.wait(waiting, return_when=asyncio.FIRST_COMPLETED)
    finally:
        if not task.done():
            task.cancel()
            await asyncio.gather(task, return_exceptions=True)
    if not task.cancelled():
        return task.result()
    if lost.done():
        raise _LostError("whoever moved it is gone")
    raise _BrokenOffError("it was broken off")


def _remove(path: Path) -> None:
    try:
        remove_tree(path)
    except OSError as error:
        log.warning("%s: is left over and cannot be removed: %s", error.filename or path, error.strerror)
