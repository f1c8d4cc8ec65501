"""The owner's settings of apps: what there is to set, and a change, checked as a whole, on disk and then in force."""

from __future__ import annotations

import asyncio
import errno
import json
import logging
import shutil
from collections.abc import Callable, Collection, Iterator, Mapping
from contextlib import suppress
from pathlib import Path
from typing import TYPE_CHECKING, Any, get_args, get_origin

from hhtui.engine.app.registry import LoadedRegistry, disk_trouble
from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.discovery.owner_settings import OwnerFiles
from hhtui.engine.launch.environment import place_of_setting
from hhtui.errors import InvalidInputError, NotSavedError
from hhtui.model.app import AppRecord
from hhtui.model.app_settings import (
    MAX_SETTINGS_BYTES,
    PARTS,
    AppSettings,
    SettingRow,
    may_be_none,
    merge,
    parse_owner_settings,
    read_owner_settings,
    with_none,
    with_owner,
)
from hhtui.model.manifest import Setting
from hhtui.model.secrets import Secret, read_secrets
from hhtui.paths import APP_ID_PATTERN, Home
from hhtui.storage import only_one_in, read_json_object, sync_folder, write_atomically, write_json
from hhtui.text import sanitise

if TYPE_CHECKING:
    from hhtui.engine.app.fleet import Fleet
    from hhtui.engine.app.secrets import SecretsKeeper

log = logging.getLogger("homehelper.settings")

# How long the disk may take until a change is refused; after how long one that holds already is tried again (seconds).
_PATIENCE = 8.0
_RETRY = 1.0
# Kept for apps' first files on a full disk, so that they take no room that other files need to be renewed.
_RESERVE_BYTES = 32 * 1024
_PLENTY_BYTES = 1024 * 1024


class SettingsKeeper:
    """One change of an app at a time: secrets go into secrets.env, all else into the app's file.

    ``give_room`` makes room on a full disk, if there is any to be had.
    """

    def __init__(
        self, home: Home, files: OwnerFiles, fleet: Fleet, secrets: SecretsKeeper, give_room: Callable[[], bool]
    ) -> None:
        self._give_room = give_room
        self._home = home
        self._files = files
        self._fleet = fleet
        self._secrets = secrets
        self._changing: dict[str, asyncio.Lock] = {}
        # Apps whose autostart is off, which the disk has yet to take.
        self._unwritten: set[str] = set()

    def keep_reserve(self) -> None:
        """Make the reserve where there is plenty of room. Blocks."""
        with suppress(OSError):
            if not self._home.reserve.exists() and shutil.disk_usage(self._home.root).free > _PLENTY_BYTES:
                self._home.reserve.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
                write_atomically(self._home.reserve, bytes(_RESERVE_BYTES), 0o600)

    async def settings(self, app_id: str) -> AppSettings:
        """All that can be set of the app, and what is; UnknownAppError."""
        supervisor = self._fleet.get(app_id)
        stored = await asyncio.get_running_loop().run_in_executor(None, stored_secrets, self._home)
        info = supervisor.record.runtime_info
        return AppSettings(
            app_id=app_id,
            path=str(self._files.path(app_id)),
            problem=self._files.error(app_id),
            rows=setting_rows(
                supervisor.found,
                stored,
                port=info.assigned_port,
                alive=supervisor.child is not None,
                changed=info.environment_changed,
            ),
        )

    async def change(
        self, app_id: str, patch: Mapping[str, Any], none: Collection[str] = (), *, only_check: bool = False
    ) -> AppSettings:
        """Apply a JSON merge patch (RFC 7396); on disk and in force when this returns.

        ``none`` are keys (``limits.memory_mb``) that are to have no value whatever the author says, which no merge
        patch can say. InvalidInputError: field and reason; ConflictError: another app has the port; NotSavedError. Any
        of these leaves everything as it was.
        """
        await self._change(app_id, patch, none, only_check=only_check)
        return await self.settings(app_id)

    async def set_autostart(self, app_id: str, wanted: bool) -> None:
        """The owner's word on whether the app starts with a boot, on disk and in force; HomeHelperError.

        That it does not holds also where the disk does not take it, and is written once it does: then the NotSavedError
        says ``done``.
        """
        self._unwritten.discard(app_id)
        try:
            async with asyncio.timeout(_PATIENCE):
                await self._change(app_id, {"autostart": wanted})
            return
        except TimeoutError:
            trouble = f"the disk has not answered for {_PATIENCE:g} s"
        except NotSavedError as error:
            trouble = error.message
        if not wanted:
            supervisor = self._fleet.get(app_id)
            self._files.assume(app_id, autostart=False)
            self._fleet.settings_changed(self._files.applied(supervisor.found))
            self._unwritten.add(app_id)
            supervisor.app.background(self._write_later(app_id))
        raise NotSavedError(trouble, app_id=app_id, done=not wanted)

    async def _write_later(self, app_id: str) -> None:
        while app_id in self._unwritten:
            await asyncio.sleep(_RETRY)
            if app_id in self._unwritten:
                with suppress(NotSavedError):
                    await self._change(app_id, {"autostart": False})
                    self._unwritten.discard(app_id)

    async def _change(
        self, app_id: str, patch: Mapping[str, Any], none: Collection[str] = (), *, only_check: bool = False
    ) -> None:
        async with self._changing.setdefault(app_id, asyncio.Lock()):
            supervisor = self._fleet.get(app_id)
            found = supervisor.found
            document, secrets = apart(found, patch, none)
            loop = asyncio.get_running_loop()
            stored = await loop.run_in_executor(None, read_secrets, self._home.secrets_env) if secrets else {}
            path = self._files.path(app_id)
            await loop.run_in_executor(None, merged, path, found, document, none)
            if (port := document.get("port")) is not None:
                supervisor.tools.ports.refuse(app_id, port)
            if only_check:
                return
            if secrets:
                places = {place_of_setting(found, name, stored): text for name, text in secrets.items()}
                await self._secrets.change(places, app_id)
            if document or none:
                await loop.run_in_executor(None, self._write, found, document, none)
                log.info("%s: %s set by its owner", app_id, ", ".join(sorted([*_keys(document), *none])))
                self._fleet.settings_changed(self._files.applied(self._fleet.get(app_id).found))
            if secrets:
                supervisor.variables_changed()

    def _write(self, found: FoundApp, patch: Mapping[str, Any], none: Collection[str]) -> None:
        path = self._files.path(found.app_id)

        def write() -> None:
            if not path.exists() and shutil.disk_usage(self._home.root).free < _RESERVE_BYTES:
                self._home.reserve.unlink(missing_ok=True)
            write_settings(path, found, patch, none)

        try:
            with self._files.lock:
                try:
                    write()
                except OSError as error:
                    if error.errno not in (errno.ENOSPC, errno.EDQUOT) or not self._give_room():
                        raise
                    write()
                self._files.take(found.app_id)
        except OSError as error:
            raise NotSavedError(disk_trouble(error), app_id=found.app_id, done=False) from None
        self.keep_reserve()


# Of an app's file, with an engine or without.


def stored_secrets(home: Home) -> Mapping[str, Secret]:
    """The home's secrets; none where their file is broken, as whoever sets one is told."""
    try:
        return read_secrets(home.secrets_env)
    except InvalidInputError:
        return {}


def apart(
    found: FoundApp, patch: Mapping[str, Any], none: Collection[str] = ()
) -> tuple[dict[str, Any], dict[str, str | None]]:
    """What of the patch goes into the app's file, values as their settings have them, and what into secrets.env.

    InvalidInputError: field and reason.
    """
    document = dict(patch)
    known = found.manifest.settings if found.manifest is not None else {}
    for key in none:
        if key.startswith("settings."):
            setting = _known(known, key.removeprefix("settings."))
            if setting.secret:
                raise InvalidInputError(f"{key}: has no value of its author: unset takes yours away")
    chosen = patch.get("settings")
    if not isinstance(chosen, Mapping):
        return document, {}
    plain: dict[str, Any] = {}
    secrets: dict[str, str | None] = {}
    for name, value in chosen.items():
        if value is None and name not in known:
            plain[name] = None
            continue
        setting = _known(known, name)
        try:
            checked = None if value is None else setting.checked(value)
        except ValueError as error:
            raise InvalidInputError(f"settings.{name}: {error}") from None
        if setting.secret:
            secrets[name] = None if checked is None else Setting.text(checked)
        else:
            plain[name] = checked
    del document["settings"]
    return document | ({"settings": plain} if plain else {}), secrets


def _known(settings: Mapping[str, Setting], name: str) -> Setting:
    if name not in settings:
        words = ", ".join(settings) or "none"
        raise InvalidInputError(f"settings.{sanitise(name, 60)}: the app has no such setting; it has {words}")
    return settings[name]


def merged(path: Path, found: FoundApp, patch: Mapping[str, Any], none: Collection[str]) -> dict[str, Any]:
    """What would stand in the app's file; InvalidInputError if the app cannot be as its owner wants it."""
    try:
        before = read_owner_settings(path).model_dump(mode="json", exclude_unset=True)
    except FileNotFoundError:
        before = {}
    except InvalidInputError as error:
        words = f"config/apps/{path.name}: {error.message}; repair or remove it first, nothing was changed"
        raise InvalidInputError(words) from None
    document = merge(before, patch)
    for key in none:
        document = with_none(document, key)
    if len(json.dumps(document)) > MAX_SETTINGS_BYTES // 2:
        raise InvalidInputError(f"all settings together are larger than {MAX_SETTINGS_BYTES // 2048} KiB")
    owner, base = parse_owner_settings(document), found.by_author or found
    if base.manifest is not None:
        with_owner(base.raw, base.manifest, owner)
    return document


def write_settings(path: Path, found: FoundApp, patch: Mapping[str, Any], none: Collection[str]) -> None:
    """Change the app's file, on disk when this returns; a file that says nothing goes. OSError; InvalidInputError."""
    path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
    with only_one_in(path.parent):
        document = merged(path, found, patch, none)
        if document:
            write_json(path, document, 0o600)
        elif path.exists():
            path.unlink()
            sync_folder(path.parent)


def move_marks(home: Home, remembered: LoadedRegistry) -> None:
    """Write down as an owner's ``autostart`` what an older engine kept in the registry of `enable` and `disable`.

    What cannot be written is tried again at the next start, as the registry keeps it until then.
    """
    records = {**_gone(home), **remembered.records}
    for app_id, record in records.items():
        if record.enabled is None or APP_ID_PATTERN.match(app_id) is None:
            continue
        path = home.app_settings_dir / f"{app_id}.json"
        try:
            document = read_json_object(path, MAX_SETTINGS_BYTES)
        except FileNotFoundError:
            document = {}
        except (OSError, ValueError):
            continue
        if "autostart" not in document:
            try:
                path.parent.mkdir(mode=0o750, parents=True, exist_ok=True)
                write_json(path, {**document, "autostart": record.enabled}, 0o600)
            except OSError as error:
                log.warning("%s: autostart cannot be written: %s", path, disk_trouble(error))


def setting_rows(
    found: FoundApp, stored: Mapping[str, Secret], *, port: int | None, alive: bool, changed: Collection[str] = ()
) -> list[SettingRow]:
    """All that can be set of an app. ``port`` is the one it has, ``changed`` the variables that differ from those of
    its process, if it is ``alive``."""
    owner, author, holds = found.owner, (found.by_author or found).manifest, found.manifest
    set_ = owner.model_dump(mode="json", exclude_unset=True)

    def row(key: str, type_: str, **more: Any) -> SettingRow:
        part, dot, name = key.partition(".")
        given = (set_.get(part) or {}) if dot else set_
        named, nullable = name or part, may_be_none(key)
        is_none = nullable and named in given and given[named] is None
        return SettingRow(
            key=key, type=type_, owner=given.get(named), is_none=is_none, **{"may_be_none": nullable, **more}
        )

    rows = [row("name", "string", author=author.name if author else None, in_force=found.name)]
    for key, type_ in (("group", "string"), ("schedule", "string"), ("autostart", "boolean")):
        rows.append(row(key, type_, author=getattr(author, key, None), in_force=getattr(holds, key, None)))
    rows.append(row("public", "boolean", in_force=bool(owner.public)))
    moves = alive and owner.port is not None and owner.port != port
    rows.append(row("port", "integer", in_force=owner.port if moves else port, at_restart=moves))
    for part, model in PARTS.items():
        for name, field in model.model_fields.items():
            rows.append(
                row(
                    f"{part}.{name}",
                    _type_word(field.annotation),
                    author=getattr(getattr(author, part, None), name, None),
                    in_force=getattr(getattr(holds, part, None), name, None),
                )
            )
    for name, setting in (author.settings if author else {}).items():
        place = place_of_setting(found, name, stored) if setting.secret else ""
        held = holds.environment.get(name) if holds and not setting.secret else None
        is_set = place in stored if setting.secret else held is not None
        rows.append(
            row(
                f"settings.{name}", setting.type, author=setting.default, at_restart=name in changed,
                in_force=held.replace("$${", "${") if held is not None else None, may_be_none=not setting.secret,
                description=setting.description, enum=setting.enum, required=setting.required, secret=setting.secret,
                is_set=is_set,
            )
        )  # fmt: skip
    for name in dict.fromkeys((*(author.environment if author else ()), *owner.environment)):
        rows.append(
            row(
                f"environment.{name}",
                "string",
                author=author.environment.get(name) if author else None,
                in_force=holds.environment.get(name) if holds else None,
                at_restart=name in changed,
            )
        )
    return rows


def _type_word(annotation: Any) -> str:
    if get_origin(annotation) is list:
        return "list"
    if annotation is bool:
        return "boolean"
    return "number" if {int, float} & {annotation, *get_args(annotation)} else "string"


def _keys(document: Mapping[str, Any]) -> Iterator[str]:
    for name, value in document.items():
        if isinstance(value, Mapping):
            yield from (f"{name}.{inner}" for inner in _keys(value))
        else:
            yield sanitise(name, 60)


def _gone(home: Home) -> dict[str, AppRecord]:
    found = {}
    for path in home.gone_dir.glob("*.json"):
        try:
            found[path.stem] = AppRecord.model_validate(read_json_object(path))
        except (OSError, ValueError):
            continue  # said when it is wanted
    return found
