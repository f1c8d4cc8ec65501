"""One job of the engine: what it is about to do, what it does, and the way to say yes or to break it off; all jobs."""

from __future__ import annotations

import asyncio
import re
from collections.abc import Awaitable, Callable
from pathlib import Path
from typing import Any, ClassVar

from textual import work
from textual.app import ComposeResult
from textual.binding import BindingType

from hhtui.client.records import BusMessage
from hhtui.client.sending import chunks_of, wanted_of
from hhtui.client.sync import EngineClient
from hhtui.client.words import exchange_lines, job_outcome, job_step, job_title, preview_lines, whole_system_line
from hhtui.errors import HomeHelperError
from hhtui.model.states import EventType
from hhtui.text import human_bytes, sanitise
from hhtui.tui import keymap
from hhtui.tui.keymap import Place
from hhtui.tui.list_screen import ListScreen, Row
from hhtui.tui.screen import HomeScreen
from hhtui.tui.session.jobs import LOST
from hhtui.tui.session.link import Link
from hhtui.tui.text.cells import Piece, wrap
from hhtui.tui.text.line_view import TextView
from hhtui.tui.themes import style_sheets

Document = dict[str, Any]
Begin = Callable[[Document], Awaitable[Document]]
_EVENTS = (EventType.APP_JOB, EventType.APP_JOB_PROGRESS)
_BAR = 30
# The indentation of a line of a preview, with the label that stands there; or the sign before a step.
_LABEL = re.compile(r"  (?:\w[\w ]{9} |\s*)|[^\w\s] |")
# The field of a job's order that names a tag, branch or commit.
_REFS = {"add": "ref", "update": "to"}


class JobScreen(HomeScreen):
    """Begins a job by ``begin``, which is given the order, and follows it; or shows a ``job`` that has begun.

    Left while it asks, the job is cancelled; left while it works, it goes on, and its end is said wherever one is then.
    ``requires`` shows another app that this one requires, for a yes of its own; None where nobody can add it.
    """

    CSS_PATH = style_sheets("sources")
    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.JOB)]
    AUTO_FOCUS = "#job"

    def __init__(
        self,
        title: str,
        kind: str,
        begin: Begin | None = None,
        order: Document | None = None,
        *,
        job: Document | None = None,
        requires: Callable[[str], JobScreen | None] | None = None,
    ) -> None:
        super().__init__()
        self.view = TextView(id="job")
        self.job: Document = job or {}
        # What is done before there is a job, such as sending files.
        self.before = "asking the engine"
        self.left = False
        self._title = title
        self._kind = kind
        self._begin = begin
        self._order = dict(order or {})
        self._requires = requires
        self._confirming = False
        self._over = False
        # Each step's last words, in the order in which they came.
        self._steps: dict[str, str] = {}
        # Secrets that were set since the preview was made.
        self._set: set[str] = set()

    def compose_body(self) -> ComposeResult:
        yield self.view

    def on_mount(self) -> None:
        """Begin, or show how far it is."""
        self.key_bar.show(Place.JOB)
        if self.job:
            self._take(self.job)
            self._look()
        else:
            self._start()

    def on_unmount(self) -> None:
        """Nobody looks any more."""
        self.left = True
        self.hh.jobs.watched.discard(str(self.job.get("id")))

    def on_resize(self) -> None:
        """Lines are wrapped to the width."""
        self.call_after_refresh(self._show)

    def caught_up(self) -> None:
        super().caught_up()
        if self._over and self.job.get("state") != "failed":
            # It has ended while another screen stood over this one.
            self._leave()
        elif self.wanted_secrets():
            self._look_at_secrets()

    def wanted_secrets(self) -> list[str]:
        preview = self.job.get("preview")
        secrets = preview.get("secrets") if isinstance(preview, dict) else None
        # An update names only those that are new with it.
        entries = [entry if isinstance(entry, dict) else {"name": entry} for entry in secrets or []]
        names = [str(entry.get("name")) for entry in entries if not entry.get("there")]
        return [name for name in names if name not in self._set]

    @work(exclusive=True, group="secrets")
    async def _look_at_secrets(self) -> None:
        try:
            self._set = {str(one.get("name")) for one in await self.hh.link.api.secrets() if one.get("is_set")}
        except HomeHelperError:
            return  # the preview shows what it knew
        self._show()

    # Following it

    def _start(self) -> None:
        """Begin it; of the application and not of this screen, which may be left before the engine has answered."""
        self._over, self.job, self._steps = False, {}, {}
        self._show()
        self.hh.run_worker(self._started(), group="jobs", exclusive=False, exit_on_error=True)

    async def _started(self) -> None:
        if self._begin is None:
            return
        try:
            job = await self._begin(dict(self._order))
        except HomeHelperError as error:
            if not self.left:
                self._failed(error.message, error.slug)
            return
        if self.left:
            await self._cancelled(str(job.get("id")))
            return
        self.hh.jobs.watched.add(str(job.get("id")))
        self.hh.jobs.follow(job)
        self._take(job)

    def events_arrived(self, messages: list[BusMessage]) -> None:
        """Progress is in the events themselves; what it asks and how it ended is asked for."""
        for message in messages:
            event = message.event
            if event is None or event.type not in _EVENTS or event.data.get("id") != self.job.get("id"):
                continue
            if event.data.get("state") == "running" and event.data.get("step") != "confirm":
                self._take({**event.data, "preview": None})
            else:
                self._look()

    def ticked(self) -> None:
        """The same where events do not come."""
        super().ticked()
        if self.job.get("state") == "running":
            self._look()
        elif self._over and self.job.get("state") != "failed":
            self._leave()
        else:
            self._show()

    @work(exclusive=True, group="look")
    async def _look(self) -> None:
        try:
            jobs = await self.hh.link.api.jobs()
        except HomeHelperError:
            return  # the first lines say that the engine is away
        job = next((job for job in jobs if job.get("id") == self.job.get("id")), None)
        if job is None:
            self._failed(LOST)
        else:
            self._take(job)

    def _take(self, job: Document) -> None:
        if self._over:
            return
        self.job = job
        state = job.get("state")
        if state == "running":
            self.hh.jobs.watched.add(str(job.get("id")))
            if words := job_step(job):
                # Some steps come more than once: the last that has begun stands last.
                self._steps.pop(str(job.get("step")), None)
                self._steps[str(job.get("step"))] = words
            self._show()
        elif state == "failed":
            self._failed(str(job.get("error") or "it failed"), str(job.get("slug") or ""))
        else:
            # Said by those who follow all jobs.
            self._over = True
            self._leave()

    def _failed(self, words: str, slug: str = "") -> None:
        self._over = True
        self.job = {**self.job, "state": "failed", "error": words, "slug": slug, "preview": None}
        self._show()

    # What is said

    def _show(self) -> None:
        preview, state = self.job.get("preview"), self.job.get("state")
        asks = isinstance(preview, dict) and not self._confirming
        yes, no, back, cancel = (
            keymap.keys_of(keymap.BY_ID[name], self.hh.changed_keys)[number]
            for name, number in (("job.take", 0), ("job.cancel", 1), ("job.close", 0), ("job.cancel", 0))
        )
        told = f"{yes} does it, {no} leaves everything as it is" if asks else f"{cancel} cancels, {back} lets it go on"
        self.view.label(self._title, "" if state == "failed" else told)
        useless = {"job.take", "job.ref", "job.name"} if not asks else set()
        useless |= {"job.ref", "job.name", "job.origin"} if self._begin is None else set()
        useless |= {"job.cancel"} if state == "failed" else set()
        useless |= {"job.origin"} if self._kind != "update" or not (asks or state == "failed") else set()
        useless |= {"job.name"} if self._kind != "add" else set()
        useless |= {"job.ref"} if self._kind not in _REFS else set()
        self.key_bar.show(Place.JOB, without=useless)
        if not self.view.content_size:
            return
        lines = self._preview(preview) if asks and isinstance(preview, dict) else self._progress()
        self.view.set_lines([[], *lines])

    def _line(self, text: str, look: str = "text") -> list[list[Piece]]:
        """A line, wrapped below its own indentation, or below the words that follow its label."""
        looks, width = self.hh.looks, self.view.content_size.width - 2
        found = _LABEL.match(text)
        label = found[0] if found else ""
        parts = wrap(self.hh.glyphs.keep(text[len(label) :].strip()), max(width - len(label), 20))
        return [
            [(f" {label if not number else ' ' * len(label)}", looks.dim), (part, looks.named(look))]
            for number, part in enumerate(parts)
        ]

    def _preview(self, preview: Document) -> list[list[Piece]]:
        secrets = preview.get("secrets")
        if isinstance(secrets, list):
            there = [one | {"there": True} if isinstance(one, dict) and one["name"] in self._set else one
                     for one in secrets]  # fmt: skip
            preview = {**preview, "secrets": there}
        lines: list[list[Piece]] = []
        told = exchange_lines(preview) if "to" in preview else preview_lines(preview)
        alarming = whole_system_line(preview)
        for number, line in enumerate(told):
            lines += self._line(line, "bad" if line == alarming else "text" if number else "title")
        if names := self.wanted_secrets():
            key = keymap.keys_of(keymap.BY_ID["app.secrets"], self.hh.changed_keys)[0]
            lines += [[], *self._line(f"{key} sets {', '.join(sanitise(name, 100) for name in names[:5])}", "accent")]
        return lines

    def _progress(self) -> list[list[Piece]]:
        job, glyphs = self.job, self.hh.glyphs
        lines: list[list[Piece]] = []
        current = "" if job.get("state") == "failed" else str(job.get("step") or "")
        for step, words in self._steps.items():
            if step not in (current, "confirm"):
                lines += self._line(f"{glyphs.dot} {words}", "dim")
        if job.get("state") == "failed":
            lines += [[]] if lines else []
            lines += self._line(sanitise(str(job.get("error")), 1000), "bad")
            if job.get("slug") == "changed_files" and self._begin is not None:
                key = keymap.keys_of(keymap.BY_ID["job.discard"], self.hh.changed_keys)[0]
                lines += [[], *self._line(f"{key} gives up what was changed here, after it has shown all", "accent")]
            return lines
        lines += self._line(f"{glyphs.play} {job_step(job) or self.before}")
        done, total = int(job.get("done") or 0), int(job.get("total") or 0)
        if total:
            full = min(done * _BAR // total, _BAR)
            bar = glyphs.bar_full * full + glyphs.bar_empty * (_BAR - full)
            lines += self._line(f"  {bar} {human_bytes(done)} of {human_bytes(total)}", "accent")
        elif done and job.get("step") in ("fetch", "unpack"):
            lines += self._line(f"  {human_bytes(done)}", "accent")
        return lines

    # Acting

    def action_take(self) -> None:
        """Yes, do what the preview shows."""
        if isinstance(self.job.get("preview"), dict) and not self._confirming:
            self._confirm(self.job["preview"])

    @work
    async def _confirm(self, preview: Document) -> None:
        self._confirming = True
        try:
            # First what it requires, so that it can be started; each is shown, and may be declined.
            for entry in preview.get("requires") or []:
                name = None if entry.get("there") else entry.get("catalog")
                screen = self._requires(str(name)) if name and self._requires is not None else None
                if screen is not None:
                    await self.hh.push_screen_wait(screen)
            self._take(await self.hh.link.api.confirm_job(str(self.job.get("id"))))
        except HomeHelperError as error:
            self.hh.say(error.message, "error")
        finally:
            self._confirming = False
        if not self._over:
            self._look()

    def action_cancel(self) -> None:
        """No, or break it off; and back."""
        if not self._over and self.job.get("id"):
            self.hh.run_worker(self._cancelled(str(self.job["id"])), group="jobs", exclusive=False)
        elif not self._over:
            self.hh.say("It was cancelled; nothing has changed.")
        self._leave()

    def _leave(self) -> None:
        """Back, once; if another screen stands over this one, when that has gone."""
        if not self.left and self.is_active:
            self.left = True
            self.dismiss()

    def action_close(self) -> None:
        """Back: a question is answered with no, and what is done already goes on."""
        asks = isinstance(self.job.get("preview"), dict) and not self._confirming
        if self._over:
            self._leave()
        elif asks or not self.job.get("id"):
            self.action_cancel()
        else:
            key = keymap.keys_of(keymap.BY_ID["app.jobs"], self.hh.changed_keys)[0]
            self.hh.say(f"{self._title}: it goes on {self.hh.glyphs.dot} {key} shows it")
            self.hh.jobs.follow(self.job)
            self._leave()

    async def _cancelled(self, job_id: str) -> None:
        hh = self.hh
        hh.jobs.watched.discard(job_id)
        try:
            hh.jobs.follow(await hh.link.api.cancel_job(job_id))
        except HomeHelperError as error:
            hh.say(error.message, "warning")

    def action_ref(self) -> None:
        """Another tag, branch or commit instead."""
        field = _REFS.get(self._kind)
        if field is None or self._begin is None:
            self.hh.say("This one has no other tag or branch to choose.", "warning")
        else:
            self.prompt.ask(
                "tag, branch or commit (empty: the usual one): ",
                str(self._order.get(field) or ""),
                lambda text: _begun(self._anew(field, text.strip())),
            )

    def action_name(self) -> None:
        """Another name for what is added."""
        if self._kind != "add" or self._begin is None:
            self.hh.say("It keeps its name.", "warning")
        else:
            name = str((self.job.get("preview") or {}).get("app_id") or "")
            self.prompt.ask(
                "what it is to be called here: ", name, lambda text: _begun(self._anew("app_id", text.strip()))
            )

    def action_origin(self) -> None:
        """From somewhere else, now and from now on."""
        if self._kind != "update" or self._begin is None:
            self.hh.say("It comes from where it is said.", "warning")
        else:
            self.prompt.ask("from which URL, folder, archive or catalogue's app: ", "", self._from)

    def _from(self, text: str) -> None:
        if not text.strip():
            return
        try:
            self._anew("origin", wanted_of(text))
        except HomeHelperError as error:
            self.hh.say(error.message, "error")

    def action_discard(self) -> None:
        """Give up what was changed in the author's files."""
        if self.job.get("slug") == "changed_files" and self._begin is not None:
            self._anew("discard_changes", True)
        else:
            self.hh.say("There is nothing to give up.", "warning")

    @work(exclusive=True, group="anew")
    async def _anew(self, field: str, value: object) -> None:
        """Begin it anew with another order; the one that asks now makes room first."""
        if self.job.get("state") == "running" and self.job.get("id"):
            job_id = str(self.job["id"])
            self._over = True
            try:
                await self.hh.link.api.cancel_job(job_id)
            except HomeHelperError as error:
                self._over = False
                self.hh.say(error.message, "warning")
                return
        self._order = {name: kept for name, kept in {**self._order, field: value}.items() if kept}
        self._start()


async def sent(link: Link, path: Path, screen: JobScreen) -> str:
    """Send a folder or archive of this machine from a thread, for a job of ``screen``; what the engine calls it."""
    client = EngineClient(link.api.socket_path)

    def progress(done: int, total: int) -> None:
        if screen.left:
            raise HomeHelperError("it was cancelled; nothing has changed")
        screen.before = f"sending: {human_bytes(done)} of {human_bytes(total)}"

    answer = await asyncio.get_running_loop().run_in_executor(None, lambda: client.upload(chunks_of(path, progress)))
    return str(answer["upload"])


def _begun(_: object) -> None:
    """A worker's handle is not needed."""


class JobsScreen(ListScreen):
    """Jobs that run, whoever began them, and the last that have ended; Enter shows one, and answers what it asks."""

    BINDINGS: ClassVar[list[BindingType]] = [*keymap.bindings(Place.JOBS)]
    PLACE = Place.JOBS
    TITLE = "Jobs"
    COLUMNS = (("JOB", 30), ("STATE", 10), ("", 0))

    def __init__(self) -> None:
        super().__init__()
        self._jobs: list[Document] = []

    async def rows(self) -> tuple[list[Row], str]:
        """The newest first."""
        self._jobs = (await self.hh.link.api.jobs())[::-1]
        return [self._row(job) for job in self._jobs], "No job runs, and none has ended since the engine started."

    @staticmethod
    def _row(job: Document) -> Row:
        state = str(job.get("state"))
        look = {"running": "accent", "done": "good", "failed": "bad"}.get(state, "dim")
        asks = isinstance(job.get("preview"), dict)
        done, total = int(job.get("done") or 0), int(job.get("total") or 0)
        share = f", {done * 100 // total} % of {human_bytes(total)}" if total else ""
        words = str(job.get("error") or (job_outcome(job) if state == "done" else ""))
        if state == "running":
            words = "waits for a yes: Enter shows it" if asks else f"{job_step(job)}{share}"
        cells = ((job_title(job), "text"), (state, look), (words, "bad" if state == "failed" else "text"))
        return Row(str(job.get("id")), cells)

    def events_arrived(self, messages: list[BusMessage]) -> None:
        """One begins, goes on or ends."""
        if any(message.event is not None and message.event.type in _EVENTS for message in messages):
            self.load()

    @property
    def _chosen(self) -> Document | None:
        return next((job for job in self._jobs if job.get("id") == self.view.chosen), None)

    def action_open(self) -> None:
        """The chosen job on its own screen."""
        job = self._chosen
        if job is None or job.get("state") in ("done", "cancelled"):
            self.hh.say("This job has ended." if job else "There is no job.", "warning")
        else:
            self.hh.open_job(job, job_title(job))

    def action_cancel(self) -> None:
        """Break the chosen job off."""
        job = self._chosen
        if job is None:
            self.hh.say("There is no job.", "warning")
        elif self.may_change():
            self._cancel(str(job.get("id")))

    @work(group="cancel")
    async def _cancel(self, job_id: str) -> None:
        try:
            self.hh.jobs.follow(await self.hh.link.api.cancel_job(job_id))
        except HomeHelperError as error:
            self.hh.say(error.message, "warning")
        self.load()
