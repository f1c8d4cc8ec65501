"""What an app needs installed, and the fingerprint by which a change of it is noticed. No installing here."""

from __future__ import annotations

import hashlib
import json
import os
import platform
import re
import stat
import sys
from collections.abc import Iterable
from dataclasses import dataclass
from pathlib import Path
from urllib.parse import unquote

from hhtui.engine.discovery.found_app import FoundApp
from hhtui.model.app import AppType
from hhtui.model.manifest import Manifest

# Raised when environments are laid out differently, so that all are built anew.
INSTALL_FORMAT = 1
DEFAULT_FILE = "requirements.txt"
MAX_FILE_BYTES = 1024 * 1024
# Of local packages so much is read at every start.
MAX_LOCAL_BYTES = 4 * 1024 * 1024
_LOCAL = re.compile(
    r"""\s*(?:(?:-e|--editable)[\s=]+)?
    (?:[A-Za-z0-9._-]+(?:\[[^\]]*\])?\s*@\s*)?
    (?:file://(?:localhost)?(?P<url>/[^\s\[;#]+)|(?:file:)?(?P<path>(?:\.{1,2}(?=[/\[\s;#]|$)|/)[^\s\[;#]*))""",
    re.VERBOSE,
)
_BUILT = re.compile(r"\..*|build|dist|__pycache__|.*\.egg-info|node_modules")
_SOURCES = frozenset({".py", ".toml", ".cfg", ".c", ".h", ".cpp", ".pyx", ".rs"})
_PACKAGE = re.compile(r"[A-Za-z0-9]([A-Za-z0-9._-]*[A-Za-z0-9])?")
_INCLUDE = re.compile(r"^\s*(?:-r|--requirement|-c|--constraint)[\s=]+(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Plan:
    """``words``: what pip or uv is given to install; ``fingerprint``: of all that the result depends on.

    ``local`` are the packages that are built from folders on this machine.
    """

    words: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]
    fingerprint: str
    local: tuple[str, ...] = ()


def plan_of(app: FoundApp) -> Plan | None:
    """What to install for the app; None if it needs no environment of its own."""
    manifest = app.manifest
    if manifest is None:
        return None
    words: list[str] = []
    content: list[str] = []
    lines: list[tuple[Path, str]] = []
    if isinstance(manifest.requirements, list):
        words += manifest.requirements
        lines = [(app.path, line) for line in manifest.requirements]
    else:
        file = manifest.requirements or DEFAULT_FILE
        if manifest.requirements is not None or (app.path / file).is_file():
            words += ["-r", file]
            found_files = _contents(app.path, app.path / file)
            content = [text for _, text in found_files]
            lines = [(folder, line) for folder, text in found_files for line in text.splitlines()]
    if manifest.type is AppType.STREAMLIT and manifest.command is None:
        # Without Streamlit nothing could start it; a version that the requirements pin stays as it is.
        words.append("streamlit")
    if not words and not manifest.setup_commands:
        return None
    commands = tuple(manifest.setup_commands.items())
    local = list(dict.fromkeys(path for folder, line in lines if (path := _local(app.path, folder, line)) is not None))
    of = [INSTALL_FORMAT, platform.machine(), sys.implementation.name, sys.version_info[:2], words, content, commands]
    if local:
        of.append([_digest(path, app.path) for path in local])
    names = tuple(name for path in local if path.is_dir() and (name := _package_name(path)) is not None)
    return Plan(tuple(words), commands, hashlib.sha256(json.dumps(of).encode()).hexdigest(), names)


def unsupported(manifest: Manifest, machine: str, bits: int = 64) -> str | None:
    """Why the app cannot be installed on this kind of machine (platform.machine(), the interpreter's word size)."""
    is_32_bit_arm = (machine.startswith("arm") and machine != "arm64") or (machine == "aarch64" and bits == 32)
    if is_32_bit_arm and manifest.type is AppType.STREAMLIT and manifest.command is None:
        return (
            "Streamlit cannot be installed on 32-bit Arm: its part pyarrow is not made for it; "
            "use a 64-bit Raspberry Pi OS"
        )
    return None


def _contents(folder: Path, file: Path, depth: int = 5) -> list[tuple[Path, str]]:
    """Folder and text of a requirements file and of those that it includes, as far as they lie in the app's folder."""
    try:
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            return []
        with file.open("rb") as opened:
            text = opened.read(MAX_FILE_BYTES).decode("utf-8", "backslashreplace")
    except (OSError, RuntimeError, ValueError):
        return []
    found = [(file.parent, text)]
    if depth > 0:
        for name in _INCLUDE.findall(text):
            found += _contents(folder, file.parent / name, depth - 1)
    return found


def _local(app: Path, folder: Path, line: str) -> Path | None:
    """The folder or archive on this machine that a requirement names: ``./lib``, ``-e ../lib[x]``, ``x @ file:///…``."""
    match = _LOCAL.match(line)
    if match is None:
        return None
    text = unquote(match["url"]) if match["url"] else match["path"]
    for base in (app, folder):
        try:
            path = (base / text).resolve()
            if path.is_dir() or path.is_file():
                return path
        except (OSError, ValueError, RuntimeError):
            continue
    return None


def _digest(path: Path, app: Path) -> str:
    """What shows that a local package has changed: its files' content, else (of large ones) size and time.

    Without what building leaves behind, and, where ``app`` itself is the package, without what running does.
    """
    own = app.resolve().is_relative_to(path)
    digest = hashlib.sha256(str(path).encode("utf-8", "surrogateescape"))
    left = MAX_LOCAL_BYTES
    tree: Iterable[tuple[str, list[str], list[str]]] = (
        os.walk(path) if path.is_dir() else [(str(path.parent), [], [path.name])]
    )
    for folder, folders, files in tree:
        folders[:] = sorted(name for name in folders if not _BUILT.fullmatch(name))
        for name in sorted(files):
            file = Path(folder, name)
            if name.endswith(".pyc") or (own and file.suffix not in _SOURCES):
                continue
            try:
                status = file.stat()
                digest.update(os.fsencode(file))
                if stat.S_ISREG(status.st_mode) and status.st_size <= left:
                    left -= status.st_size
                    digest.update(file.read_bytes())
                else:
                    digest.update(f"{status.st_size} {status.st_mtime_ns}".encode())
            except OSError:
                continue
    return digest.hexdigest()


def _package_name(folder: Path) -> str | None:
    """What a local project calls itself; the folder's name where only a build would show it."""
    import tomllib

    try:
        name = tomllib.loads((folder / "pyproject.toml").read_text("utf-8"))["project"]["name"]
    except (OSError, ValueError, KeyError, TypeError, RecursionError):
        name = None
    name = name if isinstance(name, str) else folder.name
    return name if _PACKAGE.fullmatch(name) else None
