"""Whether newer versions of the apps are there: looked for once a day and on request, and marked at the apps."""

from __future__ import annotations

import asyncio
import contextlib
import logging
import secrets
from collections.abc import Callable, Iterable
from datetime import timedelta
from pathlib import Path

from pydantic import Field, ValidationError

from hhtui.engine.app.fleet import Fleet
from hhtui.engine.sources.cloned import source_of_clone
from hhtui.engine.sources.fetch import FetchSpec, fetch, latest_revision
from hhtui.engine.sources.jobs import remove_tree
from hhtui.engine.sources.updating import changelog_between, sent_words
from hhtui.errors import ConflictError, HomeHelperError
from hhtui.model.base import Model
from hhtui.model.config import Config
from hhtui.model.event import utc_now
from hhtui.model.source import AppSource
from hhtui.model.update import UpdateAvailable
from hhtui.paths import Home
from hhtui.storage import read_json_object, write_json
from hhtui.text import sanitise

log = logging.getLogger("homehelper.updates")

_DAY = timedelta(days=1)
# How often to look at the clock (seconds): it may jump, a Pi has none at boot.
_LOOK = 1800.0
_FIRST_LOOK = 300.0
# At most so many servers are asked at once.
_AT_ONCE = 3
_LOG_LINES = 50


class _Found(Model):
    """The file HOME/cache/updates.json."""

    looked_at: str = ""
    available: list[UpdateAvailable] = Field(default_factory=list)


class NewerVersions:
    """What could be updated, and the daily look for it."""

    def __init__(self, home: Home, config: Callable[[], Config], fleet: Fleet) -> None:
        self._home = home
        self._config = config
        self._fleet = fleet
        self._task: asyncio.Task[None] | None = None
        self._found: dict[str, UpdateAvailable] = {}

    def start(self) -> None:
        """Begin to look once a day."""
        with contextlib.suppress(OSError, ValueError, ValidationError):
            document = read_json_object(self._home.cache_dir / "updates.json")
            self._found = {one.app_id: one for one in _Found.model_validate(document).available}
        for one in self._found.values():
            self._mark(one)
        self._task = asyncio.get_running_loop().create_task(self._look_daily(), name="daily look for updates")

    async def stop(self) -> None:
        """Look no longer."""
        if self._task is not None:
            self._task.cancel()
            await asyncio.gather(self._task, return_exceptions=True)

    def known(self) -> list[UpdateAvailable]:
        """What was found when each app was last looked for."""
        return [one for app_id, one in sorted(self._found.items()) if app_id in self._fleet.supervisors]

    def forget(self, app_id: str) -> None:
        """The app was updated, or is another now."""
        self._found.pop(app_id, None)
        if (supervisor := self._fleet.supervisors.get(app_id)) is not None:
            supervisor.app.note(update_available=None)
            supervisor.app.touch()
        asyncio.get_running_loop().run_in_executor(None, self._save)

    async def look(self, app_ids: Iterable[str] | None = None) -> list[UpdateAvailable]:
        """Look for newer versions of these apps, of all that came from somewhere without; UnknownAppError."""
        wanted = list(self._fleet.supervisors) if app_ids is None else list(dict.fromkeys(app_ids))
        for app_id in wanted:
            self._fleet.get(app_id)
        turns = asyncio.Semaphore(_AT_ONCE)

        async def one(app_id: str) -> UpdateAvailable | None:
            async with turns:
                return await self._look_for(app_id, asked=app_ids is not None)

        answers = [answer for answer in await asyncio.gather(*map(one, wanted)) if answer is not None]
        for answer in answers:
            self._found[answer.app_id] = answer
            self._mark(answer)
        await asyncio.get_running_loop().run_in_executor(None, self._save)
        return answers

    async def _look_for(self, app_id: str, *, asked: bool) -> UpdateAvailable | None:
        now = utc_now()
        try:
            return await self._newer(app_id, asked=asked)
        except HomeHelperError as error:
            return UpdateAvailable(app_id=app_id, looked_at=now, error=sanitise(error.message, 500))
        except OSError as error:
            return UpdateAvailable(app_id=app_id, looked_at=now, error=sanitise(str(error), 500))

    async def _newer(self, app_id: str, *, asked: bool) -> UpdateAvailable | None:
        loop = asyncio.get_running_loop()
        folder = self._fleet.get(app_id).found.path
        source = await source_of_clone(self._home, folder) or AppSource.read(self._home, app_id)
        if source is not None and source.was_sent and asked:
            raise ConflictError(sent_words(app_id, source))
        if source is None or source.was_sent:
            return None
        answer = UpdateAvailable(app_id=app_id, looked_at=utc_now())
        spec = FetchSpec(self._home, source.url, folder=source.folder, ref=source.ref, since=source.revision)
        if await latest_revision(spec, _nobody) == source.revision:
            return answer
        area = self._home.incoming_dir / secrets.token_hex(8)
        await loop.run_in_executor(None, lambda: area.mkdir(mode=0o700, parents=True))
        try:
            fetched = await fetch(spec, area / "fetched", _nobody)
            if fetched.revision == source.revision:
                return answer
            lines = fetched.log or await loop.run_in_executor(None, changelog_between, folder, fetched.folder)
            return answer.model_copy(
                update={
                    "revision": fetched.revision,
                    "log": [sanitise(line, 300) for line in lines][:_LOG_LINES],
                }
            )
        finally:
            await loop.run_in_executor(None, _remove, area)

    def _mark(self, found: UpdateAvailable) -> None:
        supervisor = self._fleet.supervisors.get(found.app_id)
        if supervisor is None or found.error is not None:
            return
        words = None
        if found.revision is not None:
            count = len(found.log)
            words = f"{found.revision[:10]}{f', {count} changes' if count > 1 else ''}"
            words += f": {found.log[0]}" if found.log else ""
        supervisor.app.note(update_available=words)
        supervisor.app.touch()

    def _save(self) -> None:
        found = _Found(looked_at=utc_now().isoformat(), available=self.known())
        try:
            write_json(self._home.cache_dir / "updates.json", found.model_dump(mode="json"))
        except OSError as error:
            log.warning("what was found of newer versions cannot be kept: %s", error.strerror)

    async def _look_daily(self) -> None:
        await asyncio.sleep(_FIRST_LOOK)
        while True:
            last = max((one.looked_at for one in self._found.values()), default=None)
            now = utc_now()
            due = last is None or now - last >= _DAY or last > now
            if due and self._config().updates.check == "daily":
                found = await self.look()
                log.info("looked for newer versions: %d are there", sum(one.revision is not None for one in found))
            await asyncio.sleep(_LOOK)


def _nobody(_step: str, _done: int, _total: int) -> None:
    return


def _remove(area: Path) -> None:
    with contextlib.suppress(OSError):
        remove_tree(area)
