"""Catalogues: repositories, archives and folders whose folders hold apps; what they offer is kept, to be searched."""

from __future__ import annotations

import asyncio
import logging
import re
import time
import uuid
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hhtui.engine.app.registry import disk_trouble
from hhtui.engine.discovery.found_app import read_app
from hhtui.engine.sources.fetch import FetchSpec, apps_below, fetch_asking, kind_of
from hhtui.engine.sources.jobs import AppJobs, JobReport, remove_tree
from hhtui.errors import ConflictError, InvalidInputError, NotFoundError, NotSavedError
from hhtui.model.event import utc_now
from hhtui.model.source import BUILT_IN, AppJob, Catalog, CatalogApp, CatalogRequest
from hhtui.paths import Home, app_id_of, examples_folder
from hhtui.storage import read_json_object, sync_folder, write_json
from hhtui.text import sanitise

log = logging.getLogger("homehelper.sources")

BUILT_IN_NAME = "examples"
_NAME = re.compile(r"[a-z0-9][a-z0-9_.-]{0,62}\Z")
_APP_NAME = re.compile(r"(?:([a-z0-9][a-z0-9_.-]{0,62})/)?([A-Za-z0-9][A-Za-z0-9_-]{0,62})\Z")
_MOST_CATALOGS = 50
_MOST_APPS = 5000
_MAX_BYTES = 16 * 1024 * 1024


class Catalogs:
    """The catalogues of one home; each is a file, read anew when it is asked for."""

    def __init__(self, home: Home, jobs: AppJobs) -> None:
        self._home = home
        self._jobs = jobs
        self._built_in: Catalog | None = None

    def known(self) -> list[Catalog]:
        """All that are known, the built-in one first; a broken file is left out and logged. Reads small files."""
        if self._built_in is None:
            apps = index(examples_folder(), BUILT_IN_NAME)
            self._built_in = Catalog(name=BUILT_IN_NAME, url=BUILT_IN, apps=apps)
        found = [self._built_in]
        for path in sorted(self._home.catalogs_dir.glob("*.json"))[:_MOST_CATALOGS]:
            try:
                catalog = Catalog.model_validate(read_json_object(path, _MAX_BYTES))
                if catalog.name != path.stem or not _NAME.match(catalog.name):
                    raise ValueError("its name must be the file's: small letters, digits, . - _")
                found.append(catalog)
            except (OSError, ValueError, ValidationError) as error:
                log.warning("%s: is left out: %s", path, sanitise(str(error), 200))
        return found

    def search(self, words: str) -> list[CatalogApp]:
        """The apps that have all ``words`` in what is said of them; those whose name has them first."""
        wanted = words.lower().split()
        ranked: list[tuple[int, str, CatalogApp]] = []
        for catalog in self.known():
            for app in catalog.apps:
                names = f"{app.app_id} {app.name}".lower()
                text = f"{names} {app.description} {app.type} {' '.join(app.tags)} {app.catalog}".lower()
                if all(word in text for word in wanted):
                    ranked.append((sum(word not in names for word in wanted), app.app_id, app))
        return [app for _, _, app in sorted(ranked, key=lambda entry: entry[:2])]

    def is_name(self, source: str) -> bool:
        """Whether ``source`` has the form of an app's name in a catalogue."""
        return _APP_NAME.match(source) is not None

    def offering(self, name: str) -> CatalogApp | None:
        """An app of that id or name, of the first catalogue that has a whole one."""
        wanted = app_id_of(name)
        apps = [app for catalog in self.known() for app in catalog.apps if app.error is None]
        return next((app for app in apps if wanted == app.app_id or name == app.name), None)

    def spec_of(self, source: str, ref: str | None) -> FetchSpec:
        """What to fetch for ``NAME`` or ``CATALOG/NAME``; NotFoundError, ConflictError where several have one."""
        match = _APP_NAME.match(source)
        shown = sanitise(source, 100)
        if match is None:
            raise InvalidInputError(f"{shown}: is no name of a catalogue's app")
        catalogs = [catalog for catalog in self.known() if match[1] in (None, catalog.name)]
        if match[1] and not catalogs:
            raise NotFoundError(f"there is no catalogue {sanitise(match[1], 80)!r}: `hhtui catalog list`")
        wanted = app_id_of(match[2])
        found = [(catalog, app) for catalog in catalogs for app in catalog.apps if app.app_id == wanted]
        if not found:
            raise NotFoundError(
                f"no catalogue has an app {shown!r}: `hhtui search WORDS` searches them; a folder is ./{shown}"
            )
        if len(found) > 1:
            names = ", ".join(f"{catalog.name}/{app.app_id}" for catalog, app in found)
            raise ConflictError(f"several catalogues have an app {shown!r}: name one of {names}")
        catalog, app = found[0]
        return FetchSpec(self._home, catalog.url, app.folder, ref or catalog.ref)

    def begin_add(self, order: CatalogRequest, *, correlation_id: str) -> AppJob:
        """Begin to look at a new catalogue; ConflictError if one of that name is known."""
        kind_of(order.url)
        known = self.known()
        name = order.name or re.sub(r"[^a-z0-9_.-]+", "-", _last(order.url).lower()).strip("-._")[:63]
        if not _NAME.match(name):
            raise InvalidInputError(
                f"{sanitise(name, 80)!r}: cannot be a catalogue's name: letters, digits, . - _ (--as)"
            )
        if any(catalog.name == name for catalog in known) or order.url == BUILT_IN:
            raise ConflictError(f"there is a catalogue {name!r} already: --as gives another name")
        if len(known) > _MOST_CATALOGS:
            raise ConflictError(f"there are {_MOST_CATALOGS} catalogues, and no more can be")
        return self._begin(Catalog(name=name, url=order.url, ref=order.ref), order.yes, correlation_id)

    def begin_update(self, name: str, *, correlation_id: str) -> AppJob:
        """Begin to look at a catalogue anew; NotFoundError."""
        catalog = self._get(name)
        if catalog.url == BUILT_IN:
            raise ConflictError(f"{name} comes with the engine, and is updated with it")
        return self._begin(catalog, True, correlation_id)

    def remove(self, name: str) -> Catalog:
        """Forget a catalogue; NotFoundError, ConflictError for the built-in one, NotSavedError."""
        catalog = self._get(name)
        if catalog.url == BUILT_IN:
            raise ConflictError(f"{name} comes with the engine and stays")
        path = self._home.catalog_file(name)
        try:
            path.unlink(missing_ok=True)
            sync_folder(path.parent)
        except OSError as error:
            raise NotSavedError(f"{path}: cannot be removed: {disk_trouble(error)}", done=False) from None
        return catalog

    def _get(self, name: str) -> Catalog:
        known = self.known()
        for catalog in known:
            if catalog.name == name:
                return catalog
        names = ", ".join(catalog.name for catalog in known)
        raise NotFoundError(f"there is no catalogue {sanitise(name, 80)!r}; there are: {names}")

    def _begin(self, catalog: Catalog, yes: bool, correlation_id: str) -> AppJob:
        async def work(report: JobReport) -> dict[str, Any]:
            return await self._look(catalog, yes, report)

        return self._jobs.begin("catalog", "", work, correlation_id=correlation_id)

    async def _look(self, catalog: Catalog, yes: bool, report: JobReport) -> dict[str, Any]:
        loop = asyncio.get_running_loop()
        token = self._home.incoming_dir / uuid.uuid4().hex
        try:
            token.mkdir(mode=0o700, parents=True)
            spec = FetchSpec(self._home, catalog.url, ref=catalog.ref, whole=True)
            fetched = await fetch_asking(spec, token / "fetched", report, yes=yes)
            report("index")
            apps = await loop.run_in_executor(None, index, fetched.folder, catalog.name)
            if not apps:
                raise InvalidInputError(f"{sanitise(catalog.url, 200)}: none of its folders holds a homehelper.json")
            fresh = catalog.model_copy(update={"revision": fetched.revision, "updated_at": utc_now(), "apps": apps})
            report.commit()
            await loop.run_in_executor(None, self._keep, fresh)
            return fresh.model_dump(mode="json")
        finally:
            await asyncio.wait({loop.run_in_executor(None, remove_tree, token)})

    def _keep(self, catalog: Catalog) -> None:
        self._home.catalogs_dir.mkdir(mode=0o750, exist_ok=True)
        write_json(self._home.catalog_file(catalog.name), catalog.model_dump(mode="json"))


def index(tree: Path, catalog: str) -> list[CatalogApp]:
    """Every app below ``tree``, at most three folders deep."""
    found = []
    for folder in apps_below(tree)[:_MOST_APPS]:
        reading = read_app(tree / folder, time.monotonic())
        app_id = app_id_of(Path(folder).name)
        if reading is None or not app_id:
            continue
        app = CatalogApp(app_id=app_id, catalog=catalog, folder=folder, error=reading.error)
        if (manifest := reading.manifest) is not None:
            app.name, app.version, app.type = manifest.name, manifest.version, manifest.type.value
            app.description, app.tags = manifest.description[:500], (manifest.tags or [])[:20]
            app.secrets = manifest.asked_secrets
            app.requires = list(dict.fromkeys([*(entry.app for entry in manifest.requires), *manifest.depends_on]))
            app.installs = (
                bool(manifest.requirements or manifest.setup_commands) or (tree / folder / "requirements.txt").is_file()
            )
        found.append(app)
    return found


def _last(url: str) -> str:
    last = url.rstrip("/").rpartition("/")[2].rpartition(":")[2]
    return re.sub(r"\.(git|zip|tgz|tar(\.[a-z0-9]+)?)\Z", "", last)
