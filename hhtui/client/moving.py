"""An app moved from one home to another: this process leads both engines, each over its own connection.

What moves passes through here and is kept nowhere. Whatever ends this process before the app is handed over lets it go
on where it was; afterwards the same command finishes the move (hhtui/engine/sources/moving.py).
"""

from __future__ import annotations

import contextlib
import threading
import time
import uuid
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any, NamedTuple

from packaging.version import InvalidVersion, Version

from hhtui.errors import ConflictError, HomeHelperError, NoEngineError, NotFoundError
from hhtui.text import human_bytes, sanitise

if TYPE_CHECKING:
    from hhtui.client.sync import EngineClient

Document = dict[str, Any]
Progress = Callable[[str, int, int], None]

# Of hhtui/engine/sources/moving.py: the form of what travels.
_FORM = 1
# An engine hears from us so often (seconds); after ten times as long it takes us for gone.
_BEAT = 2.0
_LOOK = 0.2
# The engine there, which has the app now, may just be starting again (seconds).
_CONFIRM_PATIENCE = 15.0


class Homes(NamedTuple):
    """``place`` is what people call a home; ``host`` what the other machine is called in a command."""

    source: EngineClient
    source_place: str
    target: EngineClient
    target_place: str
    host: str


class Move:
    """One app's. ``progress`` hears of each step: words, and bytes done and in all (0: not known)."""

    def __init__(self, homes: Homes, app_id: str, progress: Progress) -> None:
        self._homes = homes
        self._app_id = app_id
        self._progress = progress
        self._cancelled = threading.Event()
        self._lost: HomeHelperError | None = None
        self._over = threading.Event()
        self._handing = self._handed = False
        self._stopped = False
        self._stopped_at = 0.0
        self.plan: Document = {}

    def cancel(self) -> None:
        """Break it off, from another thread; once the app is handed over it goes on to its end."""
        self._cancelled.set()

    @property
    def handed(self) -> bool:
        """Whether the app is the other home's by now."""
        return self._handed

    def preview(self) -> Document:
        """What is about to be done; ConflictError or another one says what speaks against it. Changes nothing."""
        homes = self._homes
        plan = self.plan = homes.source.move_plan(self._app_id)
        mark = plan.get("mark") or {}
        preview: Document = {
            **{name: plan.get(name) for name in ("app_id", "name", "version", "status", "code_bytes", "data_bytes")},
            **{name: plan.get(name) for name in ("revisions", "settings", "secret_settings", "port", "has_port")},
            "from": homes.source_place,
            "to": homes.target_place,
            "goes_on": mark.get("phase") == "handed",
            "secrets": [],
            "secrets_kept": [],
        }
        if mark.get("phase") == "ready":
            raise ConflictError(
                f"{self._app_id} came from {text_of(mark.get('other'))}, which has not handed it over yet: move it "
                f"from there again, or `hhtui move {self._app_id} --keep`"
            )
        if preview["goes_on"]:
            return preview
        if refused := plan.get("refused"):
            raise ConflictError(str(refused))
        self._refuse_older()
        check = self._checked()
        kept = list(check.get("secrets_kept") or [])
        asked = list(plan.get("secrets") or [])
        return {**preview, "secrets": [name for name in asked if name not in kept], "secrets_kept": kept}

    def _refuse_older(self) -> None:
        ours, theirs = (str(client.engine().get("version")) for client in (self._homes.source, self._homes.target))
        try:
            older = Version(theirs) < Version(ours)
        except InvalidVersion:
            older = theirs != ours
        if older:
            raise ConflictError(
                f"{self._homes.target_place} runs hhtui {sanitise(theirs, 40)}, and this home {sanitise(ours, 40)}: "
                "bring that one up to date first"
            )

    def _checked(self) -> Document:
        left = self._left()
        if left and left.get("phase") in ("coming", "ready"):
            return {}  # what an earlier move has left there is dropped first
        return self._arrive(uuid.uuid4().hex, check=True)

    def _left(self) -> Document | None:
        """What the other home knows of a move that was broken off."""
        token = (self.plan.get("mark") or {}).get("token")
        if not token:
            return None
        try:
            return self._homes.target.move(str(token))
        except NotFoundError:
            return None

    def _arrive(self, token: str, *, check: bool = False) -> Document:
        plan = self.plan
        order = {
            "form": _FORM,
            "token": token,
            "check": check,
            "app_id": self._app_id,
            "engine": plan.get("engine"),
            "other": self._homes.source_place,
            "bytes": int(plan.get("code_bytes") or 0) + int(plan.get("data_bytes") or 0),
            "environment_bytes": plan.get("environment_bytes") or 0,
            "port": plan.get("port"),
            "secrets": plan.get("secrets") or [],
            "manifest": plan.get("manifest") or {},
        }
        try:
            return self._homes.target.arrive(order)
        except HomeHelperError as error:
            if error.http_status == 405 or isinstance(error, NotFoundError):
                words = "its engine cannot take apps in: bring hhtui up to date there"
                raise ConflictError(f"{self._homes.target_place}: {words}") from None
            raise _worded(error, f"{self._homes.target_place}: {error.message}") from None

    # Doing it.

    def run(self) -> Document:
        """Move the app, as ``preview`` said; what came of it. Whatever is raised says which home has the app."""
        began = time.monotonic()
        token = str((self.plan.get("mark") or {}).get("token") or "")
        if token and (self.plan.get("mark") or {}).get("phase") == "handed":
            self._handed = True
            return self._finished(token, began, 0.0, {})
        if (left := self._left()) is not None and left.get("phase") in ("coming", "ready"):
            self._progress("removing what an earlier move left there", 0, 0)
            self._settled(self._homes.target, token, "drop")
        token = uuid.uuid4().hex
        homes = self._homes
        order = {"token": token, "other": homes.target_place, "host": homes.host}
        try:
            homes.source.leave(self._app_id, order)
            with self._held(homes.source, token):
                arrived = self._arrive(token)
                with self._held(homes.target, token):
                    return self._moved(token, began, arrived)
        finally:
            self._over.set()

    def _moved(self, token: str, began: float, arrived: Document) -> Document:
        source, target = self._homes.source, self._homes.target
        try:
            kept = list(arrived.get("secrets_kept") or [])
            secrets = [name for name in self.plan.get("secrets") or [] if name not in kept]
            self._copy(token, "code", "copying its code", secrets)
            self._step(target, token, "install", "installing what it needs there")
            self._copy(token, "data", "copying its data")
            self._stopped, self._stopped_at = True, time.monotonic()
            stopped = self._step(source, token, "stop", "stopping it here")
            ran = bool(stopped.get("ran"))
            self._copy(token, "rest", "copying what has changed since")
            self._step(target, token, "start", "watching whether it is well there", ran=ran)
            down = time.monotonic() - self._stopped_at if ran else 0.0
            self._look()
            self._handing = True
            self._step(source, token, "hand", "handing it over")
            self._handed = True
        except BaseException as error:
            if self._handing:
                self._learn_whether_handed(token, error)
            if not self._handed:
                left = self._take_back(token)
                if not isinstance(error, HomeHelperError):
                    raise
                goes_on = f"{self._app_id} is not moved, and goes on at {self._homes.source_place}"
                raise _worded(error, f"{goes_on}: {error.message}{left}") from None
        return self._finished(token, began, down, {"secrets": secrets, "secrets_kept": kept})

    def _learn_whether_handed(self, token: str, error: BaseException) -> None:
        """What we asked for had no answer: where that cannot be learnt, neither home's copy may be touched."""
        try:
            self._handed = self._homes.source.move(token).get("phase") == "handed"
        except NotFoundError:
            self._handed = False
        except HomeHelperError as unknown:
            raise _worded(
                unknown,
                f"{self._app_id} was about to be handed over to {self._homes.target_place}, and {unknown.message}; the "
                "same command again finishes that, or takes it back",
            ) from error

    def _take_back(self, token: str) -> str:
        """Nothing was moved: the copy goes, the app goes on. What is left, in words."""
        self._progress("taking it back", 0, 0)
        dropped = False
        with contextlib.suppress(HomeHelperError):
            state = self._settled(self._homes.target, token, "drop")
            dropped = not state.get("failed")
        if dropped or not self._stopped:
            # Otherwise the other home may have a whole copy, which this one is to remember.
            with contextlib.suppress(HomeHelperError):
                self._settled(self._homes.source, token, "drop")
        return "" if dropped else f"; {self._homes.target_place} may have a copy, which the next move drops"

    def _settled(self, client: EngineClient, token: str, step: str) -> Document:
        """A step that waits for the one that is under way."""
        deadline = time.monotonic() + _CONFIRM_PATIENCE
        while True:
            try:
                state = client.step_move(token, step, wait=_CONFIRM_PATIENCE)
            except ConflictError:
                if time.monotonic() > deadline:
                    raise
                time.sleep(_LOOK)
                continue
            while state.get("doing"):
                time.sleep(_LOOK)
                state = client.move(token)
            return state

    def _finished(self, token: str, began: float, down: float, more: Document) -> Document:
        homes = self._homes
        self._progress("finishing", 0, 0)
        deadline = time.monotonic() + _CONFIRM_PATIENCE
        while True:
            try:
                state = homes.target.move(token)
                if state.get("phase") != "arrived":
                    state = self._settled(homes.target, token, "confirm")
                    if state.get("failed"):
                        raise HomeHelperError(str(state["failed"]))
                break
            except NotFoundError:
                raise ConflictError(
                    f"{homes.target_place} knows nothing of this move; {self._app_id} was handed over to "
                    f"{text_of((self.plan.get('mark') or {}).get('other')) or homes.target_place}: name that home, or "
                    f"take it back: `hhtui move {self._app_id} --keep`"
                ) from None
            except HomeHelperError as error:
                if time.monotonic() > deadline:
                    words = f"{self._app_id} was handed over to {homes.target_place}, which does not say that it has it"
                    raise HomeHelperError(f"{words}: {error.message}; the same command again finishes it") from None
                time.sleep(_LOOK)
        self._progress("putting it into the trash here", 0, 0)
        try:
            taken = self._settled(homes.source, token, "finish")
            failed = taken.get("failed")
        except HomeHelperError as error:
            failed, taken = error.message, {}
        if failed:
            raise HomeHelperError(
                f"{self._app_id} is moved to {homes.target_place}, but not yet put into the trash here: {failed}; the "
                "same command again finishes it"
            )
        result = taken.get("result") or {}
        record: Document = {}
        with contextlib.suppress(HomeHelperError):
            record = homes.target.app(self._app_id)
        info = record.get("runtime_info") or {}
        return {
            "app_id": self._app_id,
            "from": homes.source_place,
            "to": homes.target_place,
            "status": record.get("status"),
            "url": info.get("url"),
            "port": info.get("assigned_port"),
            "bytes": int(self.plan.get("code_bytes") or 0) + int(self.plan.get("data_bytes") or 0),
            "seconds": round(time.monotonic() - began, 1),
            "down_seconds": round(down, 1),
            "trash": result.get("name"),
            "until": result.get("until"),
            "secrets": more.get("secrets", []),
            "secrets_kept": more.get("secrets_kept", []),
        }

    def _look(self) -> None:
        """Raise if it is to be broken off, or one of the homes is gone."""
        if self._lost is not None and not self._handed:
            raise self._lost
        if self._cancelled.is_set() and not self._handed:
            raise ConflictError("it was cancelled")

    def _copy(self, token: str, part: str, words: str, secrets: list[str] | None = None) -> None:
        homes = self._homes
        total = int(self.plan.get(f"{part}_bytes") or 0)
        done = 0

        def passed() -> Iterator[bytes]:
            nonlocal done
            for chunk in homes.source.pack_move(token, {"part": part, "secrets": secrets or []}):
                self._look()
                done += len(chunk)
                self._progress(words, done, max(total, done) if total else 0)
                yield chunk
            self._progress(f"{words}: comparing its SHA-256", 0, 0)

        self._progress(words, 0, total)
        try:
            homes.target.unpack_move(token, part, passed())
        except HomeHelperError:
            self._look()
            # Of what breaks off, the side that failed knows best.
            for client, place in ((homes.source, homes.source_place), (homes.target, homes.target_place)):
                with contextlib.suppress(HomeHelperError):
                    if failed := client.move(token).get("failed"):
                        raise ConflictError(f"{place}: {failed}") from None
            raise

    def _step(self, client: EngineClient, token: str, step: str, words: str, *, ran: bool = False) -> Document:
        self._progress(words, 0, 0)
        state = client.step_move(token, step, ran=ran)
        while state.get("doing"):
            self._look()
            message = text_of(state.get("message"))
            self._progress(f"{words}: {message}" if message and step == "install" else words, 0, 0)
            time.sleep(_LOOK)
            state = client.move(token)
        if failed := state.get("failed"):
            raise ConflictError(str(failed))
        return state

    @contextlib.contextmanager
    def _held(self, client: EngineClient, token: str) -> Iterator[None]:
        """As long as this is held, the engine knows that somebody leads the move."""
        over = threading.Event()

        def beats() -> Iterator[bytes]:
            yield b"."
            while not over.wait(_BEAT):
                yield b"."

        def hold() -> None:
            try:
                client.hold_move(token, beats())
            except HomeHelperError as error:
                self._lost = self._lost or error
            else:
                if not over.is_set():
                    self._lost = self._lost or NoEngineError("the engine has ended the move")

        thread = threading.Thread(target=hold, daemon=True, name="move")
        thread.start()
        try:
            yield
        finally:
            over.set()
            thread.join(_BEAT * 2)


def keep(client: EngineClient, app_id: str) -> Document:
    """Of a move that is not over, the app stays with this home; the MoveState. ConflictError if there is none."""
    mark = client.move_plan(app_id).get("mark") or {}
    if mark.get("phase") not in ("handed", "ready"):
        raise ConflictError(f"{app_id}: no move of it waits to be decided")
    state = client.step_move(str(mark.get("token")), "keep", wait=60)
    if failed := state.get("failed"):
        raise ConflictError(str(failed))
    return {"app_id": app_id, "kept": True, "other": mark.get("other"), "role": mark.get("role")}


def preview_lines(preview: Document) -> list[str]:
    """What a move is about to do; the first line is the title."""
    app, there = text_of(preview.get("app_id")), text_of(preview.get("to"))
    if preview.get("goes_on"):
        return [f"{app} was handed over to {there}: this finishes that, and puts it into the trash here"]
    runs = preview.get("status") in ("running", "starting")
    version = f" {text_of(preview.get('version'))}" if preview.get("version") else ""
    lines = [
        f"{app}{version} moves from {text_of(preview.get('from'))} to {there}",
        f"code: {human_bytes(int(preview.get('code_bytes') or 0))}, data: "
        f"{human_bytes(int(preview.get('data_bytes') or 0))}, all verified by SHA-256 there",
        "it runs on until all is copied, is stopped, and is started and watched there"
        if runs
        else "it does not run, and is not started there",
    ]
    if preview.get("settings"):
        lines.append("your settings of it move, too")
    if names := [*(preview.get("secrets") or []), *(preview.get("secret_settings") or [])]:
        lines.append(f"secrets that move with it: {', '.join(map(text_of, names))}")
    if kept := preview.get("secrets_kept"):
        lines.append(f"secrets that are there already and stay as they are: {', '.join(map(text_of, kept))}")
    if preview.get("port"):
        lines.append(f"port {preview['port']}, which you have set, is its port there, too")
    elif preview.get("has_port"):
        lines.append(f"port: {preview['has_port']} here; there it gets one of that home's")
    if preview.get("revisions"):
        lines.append("earlier revisions stay here, in the trash with it")
    lines.append("once it is well there, it goes to the trash here, for 30 days; if not, it goes on here")
    return lines


def told(result: Document) -> str:
    """How a move went, in one line."""
    url = f", {text_of(result.get('url'))}" if result.get("url") else ""
    down = f", {result.get('down_seconds')} s not running" if result.get("down_seconds") else ""
    return (
        f"{text_of(result.get('app_id'))} is at {text_of(result.get('to'))} now, {text_of(result.get('status'))}{url}: "
        f"{human_bytes(int(result.get('bytes') or 0))} in {result.get('seconds')} s{down}; here it is in the trash"
    )


def _worded(error: HomeHelperError, words: str) -> HomeHelperError:
    """The same error in other words."""
    again = type(error)(words, **error.details)
    again.slug, again.http_status, again.exit_code = error.slug, error.http_status, error.exit_code
    return again


def text_of(value: object) -> str:
    """What a home says, safe to show."""
    return sanitise(str(value if value is not None else ""), 400)
