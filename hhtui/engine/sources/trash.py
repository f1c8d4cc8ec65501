"""HOME/trash: removed apps, each whole in an entry, for 30 days; whatever dies, an app is here or there as a whole.

An entry's ``entry.json`` says what was where, and is the journal of what is under way. ``taking``: parts go into the
entry one by one; whoever finds that puts them back. ``kept``: they are all there. ``returning``: parts go back, the
app's folder last; once it is there, not another one, the app is back, before it is still in the trash. ``purging``:
nothing of it is needed any more. Each part goes by one rename; where it lies on another file system a copy is made and
verified first, and the original is renamed to a hidden name beside itself, then deleted.
"""

from __future__ import annotations

import errno
import fcntl
import hashlib
import logging
import os
import shutil
import stat
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from datetime import datetime, timedelta
from functools import partial
from pathlib import Path

from pydantic import ValidationError

from hhtui.engine.app.registry import drop_record
from hhtui.engine.process.jobs import Progress
from hhtui.engine.sources.jobs import remove_tree
from hhtui.errors import ConflictError, HomeHelperError, NotFoundError
from hhtui.model.event import utc_now
from hhtui.model.removal import TRASH_DAYS, TrashEntry, TrashPart
from hhtui.paths import Home
from hhtui.storage import read_json_object, sync_folder, write_json
from hhtui.text import human_bytes, sanitise

log = logging.getLogger("homehelper.trash")

_ENTRY = "entry.json"
_CHUNK = 1024 * 1024
# A wall clock that is wrong at the start of a machine is right by then: an entry is due this long before it goes.
_SURE = timedelta(hours=20)


def list_trash(home: Home) -> list[TrashEntry]:
    """What can be brought back, the newest first."""
    kept = [entry for entry in _entries(home)[0] if entry.phase == "kept"]
    return sorted(kept, key=lambda entry: (entry.removed_at, entry.name), reverse=True)


def find(home: Home, name: str) -> TrashEntry:
    """The entry of that name, else the newest of that app; NotFoundError names what there is."""
    entries = list_trash(home)
    for entry in entries:
        if entry.name == name:
            return entry
    for entry in entries:
        if entry.app_id == name:
            return entry
    there = ", ".join(dict.fromkeys(entry.app_id for entry in entries)) or "nothing"
    words = f"{sanitise(name, 80)!r} is not in the trash; there is: {sanitise(there, 500)}"
    if broken := _entries(home)[1]:
        listed = ", ".join(sanitise(str(folder / _ENTRY), 300) for folder in broken[:5])
        words += f"; what lies beside {listed} cannot come back, as that file cannot be read"
    raise NotFoundError(words)


def new_entry(home: Home, app_id: str) -> Path:
    """A new folder ``trash/<app_id>-<n>``, empty."""
    home.trash_dir.mkdir(mode=0o700, exist_ok=True)
    number = 1
    while True:
        folder = home.trash_dir / f"{app_id}-{number}"
        try:
            folder.mkdir(mode=0o700)
        except FileExistsError:
            number += 1
            continue
        sync_folder(home.trash_dir)
        return folder


def until(removed_at: datetime) -> datetime:
    """When an entry of that time goes."""
    return removed_at + timedelta(days=TRASH_DAYS)


def refuse_taken(entry: TrashEntry) -> None:
    """ConflictError if something is where a part of the app is to return to."""
    for part in entry.parts:
        if os.path.lexists(part.path):
            raise ConflictError(
                f"{entry.app_id} cannot come back: there is {sanitise(part.path, 300)} already; "
                "move or remove that first"
            )


@contextmanager
def one_at_a_time(home: Home) -> Iterator[None]:
    """Nobody else changes the trash meanwhile; waits for whoever does."""
    home.trash_dir.mkdir(mode=0o700, exist_ok=True)
    descriptor = os.open(home.trash_dir, os.O_RDONLY | os.O_DIRECTORY | os.O_CLOEXEC)
    try:
        fcntl.flock(descriptor, fcntl.LOCK_EX)
        yield
    finally:
        os.close(descriptor)


# Into the trash.


def take(home: Home, entry: TrashEntry, progress: Progress) -> None:
    """Take the app's parts away, into the entry's folder; whatever fails puts everything back."""
    with one_at_a_time(home):
        folder = home.trash_dir / entry.name
        _write(home, entry)
        try:
            _check_room(home, entry)
            done = 0
            for part in entry.parts:
                progress("take", done, entry.size_bytes)
                _take_part(home, entry, part, partial(_further, progress, "take", done, entry.size_bytes))
                done += part.size_bytes
            for kind in {part.kept.partition("/")[0] for part in entry.parts}:
                if (folder / kind).is_dir():
                    sync_folder(folder / kind)
            entry.phase = "purging" if entry.purge else "kept"
            _write(home, entry)
        except BaseException:
            entry.phase = "taking"
            _put_back(home, entry)
            raise
        if not entry.purge:
            _remove_originals(entry)


def _further(progress: Progress, step: str, done: int, total: int, more: int) -> None:
    progress(step, done + more, max(total, done + more))


def _take_part(home: Home, entry: TrashEntry, part: TrashPart, progress: Callable[[int], None]) -> None:
    source, kept = Path(part.path), home.trash_dir / entry.name / part.kept
    kept.parent.mkdir(mode=0o700, exist_ok=True)
    if part.away is None:
        try:
            _rename(source, kept)
            return
        except OSError as error:
            if error.errno != errno.EXDEV:
                raise
            # Mounted twice, or a layer of an overlay: the same device, and yet no rename.
            part.away = str(hidden_beside(source, entry.name))
            _write(home, entry)
    if not entry.purge:
        copy_verified(source, kept, progress)
    _rename(source, Path(part.away))


def _check_room(home: Home, entry: TrashEntry) -> None:
    needed = sum(part.size_bytes for part in entry.parts if part.away is not None and not entry.purge)
    free = shutil.disk_usage(home.trash_dir).free
    if needed > free:
        raise HomeHelperError(
            f"{home.trash_dir}: {human_bytes(needed)} are to be copied there and {human_bytes(free)} are free; "
            "`--purge` deletes at once, `--keep-data` leaves the data"
        )


def _put_back(home: Home, entry: TrashEntry) -> None:
    """Nothing was taken: each part is where it was, the app's folder last."""
    for part in reversed(entry.parts):
        source, kept = Path(part.path), home.trash_dir / entry.name / part.kept
        if part.away is not None and os.path.lexists(part.away):
            _make_way(source)
            _rename(Path(part.away), source)
        elif part.away is None and os.path.lexists(kept):
            _make_way(source)
            _rename(kept, source)
    entry.phase, entry.forgotten = "purging", True
    _delete_entry(home, entry)


def _make_way(path: Path) -> None:
    """Remove an empty folder that was made here meanwhile; ConflictError if it is not empty."""
    try:
        path.rmdir()
    except FileNotFoundError:
        pass
    except OSError as error:
        raise ConflictError(
            f"{path}: something is here again, and the removed app's own cannot return: {error}"
        ) from None


# Back from it.


def bring_back(home: Home, entry: TrashEntry, progress: Progress) -> None:
    """Put everything where it was, the app's folder last; whatever fails leaves the app in the trash."""
    with one_at_a_time(home):
        if entry.phase != "kept" or not (home.trash_dir / entry.name / _ENTRY).is_file():
            raise ConflictError(f"{entry.name} is not in the trash any more")
        refuse_taken(entry)
        for part in entry.parts:
            parent = Path(part.path).parent
            if home.root in parent.parents:
                parent.mkdir(mode=0o750, parents=True, exist_ok=True)
            elif not parent.is_dir():
                raise ConflictError(f"{entry.app_id} cannot come back: {parent} is not there: is its disk mounted?")
            part.away = str(hidden_beside(Path(part.path), entry.name)) if _elsewhere(home, parent) else None
            part.inode = None
        entry.phase = "returning"
        _write(home, entry)
        try:
            done = 0
            for part in sorted(entry.parts, key=lambda part: part.kind == "files"):
                progress("return", done, entry.size_bytes)
                if part.kind == "files" and entry.record:
                    home.gone_dir.mkdir(mode=0o750, parents=True, exist_ok=True)
                    write_json(home.gone_dir / f"{entry.app_id}.json", entry.record)
                kept, target = home.trash_dir / entry.name / part.kept, Path(part.path)
                if part.away is not None:
                    further = partial(_further, progress, "return", done, entry.size_bytes)
                    copy_verified(kept, Path(part.away), further)
                    part.inode = os.lstat(part.away).st_ino
                    _write(home, entry)
                    _rename(Path(part.away), target)
                else:
                    _rename(kept, target)
                done += part.size_bytes
        except BaseException:
            _take_again(home, entry)
            raise
        entry.phase = "purging"
        _delete_entry(home, entry)


def _take_again(home: Home, entry: TrashEntry) -> None:
    """The app has not come back: what has goes into the trash again."""
    for part in entry.parts:
        source, kept = Path(part.path), home.trash_dir / entry.name / part.kept
        if part.away is not None:
            remove_tree(Path(part.away))
            if _has_returned(home, entry, part):
                remove_tree(source)
        elif _has_returned(home, entry, part):
            _rename(source, kept)
    entry.phase = "kept"
    _write(home, entry)


def _has_returned(home: Home, entry: TrashEntry, part: TrashPart) -> bool:
    """Whether what is at the part's place is the part: somebody may have put something else there."""
    try:
        inode = os.lstat(part.path).st_ino
    except OSError:
        return False
    if part.away is not None:
        return inode == part.inode
    return not os.path.lexists(home.trash_dir / entry.name / part.kept)


# What an engine does with it.


def settle(home: Home) -> list[str]:
    """Before an engine looks for apps: end or take back what was under way; a line for whatever cannot be.

    What is only to be deleted waits for ``sweep``.
    """
    problems: list[str] = []
    entries, broken = _entries(home)
    for folder in broken:
        if all(child.name.startswith(f".{_ENTRY}.") for child in folder.iterdir()):
            remove_tree(folder)  # made, and nothing begun
        else:
            problems.append(f"{folder}: its {_ENTRY} cannot be read; what was removed lies below it")
    for entry in entries:
        try:
            _settle(home, entry)
        except (OSError, HomeHelperError) as error:
            words = error.message if isinstance(error, HomeHelperError) else f"{error.filename}: {error.strerror}"
            problems.append(f"{entry.app_id}: its removal cannot be settled: {words}")
    return problems


def _settle(home: Home, entry: TrashEntry) -> None:
    if entry.phase == "taking":
        log.warning("%s: its removal was broken off, and is taken back", entry.app_id)
        _put_back(home, entry)
        return
    if entry.phase == "returning":
        if any(part.kind == "files" and _has_returned(home, entry, part) for part in entry.parts):
            log.warning("%s: its return is completed", entry.app_id)
            entry.phase, entry.forgotten = "purging", True
        else:
            log.warning("%s: its return was broken off: it is in the trash still", entry.app_id)
            _take_again(home, entry)
    if not entry.forgotten:
        drop_record(home, entry.app_id)
        entry.forgotten = True
    _write(home, entry)


def forgotten(home: Home, name: str) -> TrashEntry:
    """Note that the registry on disk knows nothing of the app any more; NotFoundError if the entry is gone."""
    with one_at_a_time(home):
        for entry in _entries(home)[0]:
            if entry.name == name:
                entry.forgotten = True
                _write(home, entry)
                return entry
    raise NotFoundError(f"{name} is not in the trash any more")


def settle_one(home: Home, name: str) -> None:
    """What a process that was killed has left of one entry."""
    with one_at_a_time(home):
        for entry in _entries(home)[0]:
            if entry.name == name and entry.phase in ("taking", "returning"):
                _settle(home, entry)


def sweep(home: Home, progress: Progress) -> list[TrashEntry]:
    """Delete what nobody needs any more, and what has been in the trash for its time; answers these.

    An entry goes when its time is seen to have come twice, most of a day apart.
    """
    deleted: list[TrashEntry] = []
    with one_at_a_time(home):
        now = utc_now()
        for entry in _entries(home)[0]:
            if entry.phase == "kept":
                _remove_originals(entry)
                due = entry.until <= now
                if due and entry.due_since is not None and now - entry.due_since >= _SURE:
                    entry.phase = "purging"
                    _write(home, entry)
                    deleted.append(entry)
                elif due != (entry.due_since is not None):
                    entry.due_since = now if due else None
                    _write(home, entry)
            if entry.phase == "purging":
                _delete_entry(home, entry, progress)
    return deleted


def delete(home: Home, name: str) -> None:
    """Delete an entry for good."""
    with one_at_a_time(home):
        entry = find(home, name)
        entry.phase = "purging"
        _delete_entry(home, entry)


def due(home: Home) -> list[TrashEntry]:
    """Those whose time has come by the clock."""
    now = utc_now()
    return [entry for entry in list_trash(home) if entry.until <= now]


def _delete_entry(home: Home, entry: TrashEntry, progress: Progress | None = None) -> None:
    """Delete an entry in phase ``purging``, what describes it last."""
    folder = home.trash_dir / entry.name
    _write(home, entry)
    _remove_originals(entry)
    done = 0
    for part in entry.parts:
        if progress is not None:
            progress("delete", done, entry.size_bytes)
        remove_tree(folder / part.kept)
        done += part.size_bytes
    for child in folder.iterdir():
        if child.name != _ENTRY:
            remove_tree(child)
    remove_tree(folder)
    sync_folder(home.trash_dir)


def _remove_originals(entry: TrashEntry) -> None:
    for part in entry.parts:
        if part.away is not None:
            remove_tree(Path(part.away))


def _entries(home: Home) -> tuple[list[TrashEntry], list[Path]]:
    """All entries that can be read, and the folders of the others."""
    entries: list[TrashEntry] = []
    broken: list[Path] = []
    try:
        folders = sorted(path for path in home.trash_dir.iterdir() if path.is_dir() and not path.is_symlink())
    except OSError:
        return [], []
    for folder in folders:
        try:
            entry = TrashEntry.model_validate(read_json_object(folder / _ENTRY))
        except (OSError, ValueError, ValidationError):
            broken.append(folder)
            continue
        entry.name = folder.name
        entries.append(entry)
    return entries, broken


def _write(home: Home, entry: TrashEntry) -> None:
    write_json(home.trash_dir / entry.name / _ENTRY, entry.model_dump(mode="json"), 0o600)


# Files.


def hidden_beside(path: Path, entry_name: str) -> Path:
    """The name beside ``path`` under which nobody looks for an app."""
    return path.with_name(f".{path.name.lstrip('.')}.{entry_name}.trash")


def _elsewhere(home: Home, folder: Path) -> bool:
    return folder.stat().st_dev != home.trash_dir.stat().st_dev


def _rename(source: Path, target: Path) -> None:
    try:
        os.rename(source, target)
    except OSError as error:
        if error.errno == errno.EXDEV:
            raise
        raise HomeHelperError(f"{source}: cannot be moved to {target}: {error.strerror}") from None
    sync_folder(target.parent)
    sync_folder(source.parent)


def copy_verified(source: Path, target: Path, progress: Callable[[int], None]) -> None:
    """Copy a file, link or folder with its times, modes and owners, read it back and compare; it is on disk then.

    HomeHelperError if the copy differs. Sockets are left out: whoever listens makes them anew.
    """
    copied = 0

    def copy(entry: Path, to: Path) -> None:
        nonlocal copied
        status = os.lstat(entry)
        if stat.S_ISLNK(status.st_mode):
            os.symlink(os.readlink(entry), to)
        elif stat.S_ISDIR(status.st_mode):
            os.mkdir(to, 0o700)
            for child in sorted(os.listdir(entry)):
                copy(entry / child, to / child)
        elif stat.S_ISFIFO(status.st_mode):
            os.mkfifo(to)
        elif stat.S_ISREG(status.st_mode):
            _copy_file(entry, to)
            copied += status.st_size
            progress(copied)
        else:
            return
        if os.geteuid() == 0:
            os.chown(to, status.st_uid, status.st_gid, follow_symlinks=False)
        shutil.copystat(entry, to, follow_symlinks=False)
        if stat.S_ISDIR(status.st_mode):
            sync_folder(to)

    copy(source, target)
    sync_folder(target.parent)


def _copy_file(source: Path, target: Path) -> None:
    digest = hashlib.sha256()
    with source.open("rb") as reader, target.open("xb") as writer:
        while data := reader.read(_CHUNK):
            digest.update(data)
            writer.write(data)
        writer.flush()
        os.fsync(writer.fileno())
        # What is read back then comes from the disk.
        os.posix_fadvise(writer.fileno(), 0, 0, os.POSIX_FADV_DONTNEED)
    with target.open("rb") as reader:
        if hashlib.file_digest(reader, "sha256").digest() != digest.digest():
            raise HomeHelperError(
                f"{target}: the copy of {source} differs from it: is the disk faulty? nothing has changed"
            )
