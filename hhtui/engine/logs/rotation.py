"""Archives of a log, each with its index, whatever moment we die at; and the limits of all logs.

``app.log`` → ``app.log.1`` → ``app.log.2`` …
"""

from __future__ import annotations

import os
import re
import stat
from contextlib import suppress
from dataclasses import dataclass
from typing import TYPE_CHECKING

from hhtui.engine.logs.index import (
    FORMER_INDEX_SUFFIX,
    INDEX_SUFFIX,
    IndexHeader,
    index_name,
    open_index,
    read_header,
    read_record,
    record_count,
    set_inode,
)

if TYPE_CHECKING:
    from hhtui.model.config import LoggingConfig

# "name.log", "name.log.3", and the index of either.
LOG_FILE = re.compile(
    r"(?P<name>[A-Za-z0-9][A-Za-z0-9_.-]*?)\.log(?:\.(?P<number>[1-9][0-9]{0,5}))?(?P<idx>\.times)?\Z"
)
# Everything in one app's log folder together (docs/logs.md).
FOLDER_LIMIT = 100_000_000
# How far a file may grow beyond its limit while its last line is being finished.
LINE_ALLOWANCE = 64 * 1024


@dataclass(frozen=True, slots=True)
class LogLimits:
    """``max_bytes`` of one file, ``max_files`` archives kept beside the live file, days until an archive goes."""

    max_bytes: int = 10_485_760
    max_files: int = 10
    app_retention_days: int = 30
    system_retention_days: int = 7

    @classmethod
    def of(cls, config: LoggingConfig) -> LogLimits:
        """The limits that the configuration's ``logging`` section asks for."""
        return cls(config.max_bytes, config.max_files, config.app_retention_days, config.system_retention_days)

    @property
    def rotate_at(self) -> int:
        """The size at which an app's file is full: two live files must leave room for archives in the folder."""
        return min(self.max_bytes, FOLDER_LIMIT // 4)


def numbered(log_name: str, number: int) -> str:
    """``app.log`` and 2 → ``app.log.2``; 0 is the live file."""
    return f"{log_name}.{number}" if number else log_name


def archives(folder: int, log_name: str) -> list[int]:
    """The numbers of the archives that exist, ascending; 1 is the newest."""
    prefix = log_name + "."
    numbers = (entry[len(prefix) :] for entry in os.listdir(folder) if entry.startswith(prefix))
    return sorted(int(number) for number in numbers if number.isascii() and number.isdecimal() and number[0] != "0")


def remove(folder: int, name: str) -> None:
    """Delete a log file and its index, the index first: an index without a log could be taken for another's."""
    for entry in (index_name(name), name):
        with suppress(FileNotFoundError):
            os.unlink(entry, dir_fd=folder)


def shift(folder: int, log_name: str, keep: int) -> None:
    """Make the live file archive 1; OSError leaves a state that the next call or ``repair`` carries on from.

    Renames run from the highest number down, and only up to the first gap (which a kill in an earlier rotation left),
    so that no file is ever written over.
    """
    present = archives(folder, log_name)
    gap = 1
    while gap - 1 < len(present) and present[gap - 1] == gap:
        gap += 1
    for number in reversed(present):
        if (number + 1 if number < gap else number) > keep:
            remove(folder, numbered(log_name, number))
    for number in range(min(gap, keep) - 1, -1, -1):
        _move(folder, numbered(log_name, number), numbered(log_name, number + 1))


def _move(folder: int, source: str, target: str) -> None:
    for old, new in ((source, target), (index_name(source), index_name(target))):
        with suppress(FileNotFoundError):
            os.rename(old, new, src_dir_fd=folder, dst_dir_fd=folder)


def _inode(folder: int, name: str) -> int | None:
    try:
        status = os.stat(name, dir_fd=folder, follow_symlinks=False)
    except OSError:
        return None
    return status.st_ino if stat.S_ISREG(status.st_mode) else None


def _header(folder: int, name: str) -> IndexHeader | None:
    try:
        descriptor = open_index(folder, name, os.O_RDONLY)
    except OSError:
        return None
    try:
        return read_header(descriptor)
    finally:
        os.close(descriptor)


def rename_former_indexes(folder: int) -> None:
    """``app.log.idx`` → ``app.log.times``, unless there is one already."""
    for entry in os.listdir(folder):
        log_name = entry.removesuffix(FORMER_INDEX_SUFFIX)
        if log_name != entry and LOG_FILE.match(log_name) and _header(folder, entry) is not None:
            with suppress(OSError):
                if _inode(folder, index_name(log_name)) is None:
                    os.rename(entry, index_name(log_name), src_dir_fd=folder, dst_dir_fd=folder)
                else:
                    os.unlink(entry, dir_fd=folder)


def repair(folder: int, log_name: str) -> None:
    """Put every index beside the log that it belongs to, after a kill between two renames or a copied home.

    The inode in its header decides; an index whose inode is nowhere belongs to the log of its name if it fits that
    (a copy has new inodes), else it is deleted.
    """
    numbers = [0, *archives(folder, log_name)]
    inodes = {number: _inode(folder, numbered(log_name, number)) for number in numbers}
    owner = {inode: number for number, inode in inodes.items() if inode is not None}
    rename_former_indexes(folder)
    prefix, suffix = log_name + ".", INDEX_SUFFIX
    strays: list[int] = []
    moves: list[tuple[int, int]] = []
    for entry in os.listdir(folder):
        if not (entry.startswith(prefix) and entry.endswith(suffix)):
            continue
        middle = entry[len(prefix) : -len(suffix)] if entry != log_name + suffix else "0"
        if not (middle.isascii() and middle.isdecimal()):
            continue
        number = int(middle)
        header = _header(folder, entry)
        target = owner.get(header.inode) if header else None
        if target is None:
            strays.append(number)
        elif target != number:
            moves.append((target, number))
    for target, number in sorted(moves, reverse=True):
        source, destination = (index_name(numbered(log_name, each)) for each in (number, target))
        with suppress(FileNotFoundError):
            os.rename(source, destination, src_dir_fd=folder, dst_dir_fd=folder)
    for number in strays:
        name = index_name(numbered(log_name, number))
        header = _header(folder, name)
        if header is not None and header.inode in owner:
            continue  # a rename above has just put the right one here
        inode = inodes.get(number)
        if header is None or inode is None or not _adopt(folder, numbered(log_name, number), inode):
            with suppress(OSError):
                os.unlink(name, dir_fd=folder)


def _adopt(folder: int, name: str, inode: int) -> bool:
    """Tie the index of that name to its log if its records fit into the log."""
    size = os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
    try:
        descriptor = open_index(folder, index_name(name), os.O_RDWR)
    except OSError:
        return False
    try:
        count = record_count(descriptor)
        if count and read_record(descriptor, count - 1)[0] > size:
            return False
        set_inode(descriptor, inode)
        return True
    except OSError:
        return False
    finally:
        os.close(descriptor)


def next_base(folder: int, log_name: str) -> int:
    """The stream's offset at which a live file without an index begins: behind the newest archive.

    From that archive's index; without one, the sizes of what is there are all that is known.
    """
    total = 0
    for number in archives(folder, log_name):
        name = numbered(log_name, number)
        try:
            total += os.stat(name, dir_fd=folder, follow_symlinks=False).st_size
        except OSError:
            continue
        header = _header(folder, index_name(name))
        if header is not None:
            return header.base + total
    return total


def folder_files(folder: int) -> list[tuple[str, os.stat_result]]:
    """Every log file and index in the folder with its status."""
    found = []
    for entry in os.listdir(folder):
        if LOG_FILE.match(entry):
            with suppress(OSError):
                status = os.stat(entry, dir_fd=folder, follow_symlinks=False)
                if stat.S_ISREG(status.st_mode):
                    found.append((entry, status))
    return found


def remove_oldest_archive(folder: int) -> bool:
    """Delete the oldest archive of any log in the folder; False if there is none.

    Within one log the highest number is the oldest; between logs the file that was written last longest ago.
    """
    last: dict[str, tuple[int, int, str]] = {}
    for entry, status in folder_files(folder):
        match = LOG_FILE.match(entry)
        if match and match["number"] and not match["idx"]:
            candidate = (int(match["number"]), status.st_mtime_ns, entry)
            if candidate > last.get(match["name"], (0, 0, "")):
                last[match["name"]] = candidate
    for _, _, entry in sorted(last.values(), key=lambda each: each[1]):
        try:
            remove(folder, entry)
        except OSError:
            continue
        return True
    return False


def fit_folder(folder: int, limit: int) -> None:
    """Delete oldest archives until the logs in the folder take no more than ``limit`` bytes, or no archive is left."""
    while sum(status.st_size for _, status in folder_files(folder)) > limit:
        if not remove_oldest_archive(folder):
            return
