"""What an app needs installed, and the fingerprint by which a change of it is noticed. No installing here."""

from __future__ import annotations

import hashlib
import json
import platform
import re
import sys
from dataclasses import dataclass
from pathlib import Path

from hhtui.engine.apps.found_app import FoundApp
from hhtui.model.app import AppType
from hhtui.model.manifest import Manifest

# Raised when environments are laid out differently, so that all are built anew.
INSTALL_FORMAT = 1
DEFAULT_FILE = "requirements.txt"
MAX_FILE_BYTES = 1024 * 1024
_INCLUDE = re.compile(r"^\s*(?:-r|--requirement|-c|--constraint)[\s=]+(\S+)", re.MULTILINE)


@dataclass(frozen=True, slots=True)
class Plan:
    """``words``: what pip or uv is told to install; ``fingerprint``: of all that the result depends on."""

    words: tuple[str, ...]
    commands: tuple[tuple[str, str], ...]
    fingerprint: str


def plan_of(app: FoundApp) -> Plan | None:
    """What to install for the app; None if it needs no environment of its own."""
    manifest = app.manifest
    if manifest is None:
        return None
    words: list[str] = []
    content: list[str] = []
    if isinstance(manifest.requirements, list):
        words += manifest.requirements
    else:
        file = manifest.requirements or DEFAULT_FILE
        if manifest.requirements is not None or (app.path / file).is_file():
            words += ["-r", file]
            content = _contents(app.path, app.path / file)
    if manifest.type is AppType.STREAMLIT and manifest.command is None:
        # Without Streamlit nothing could start it; a version that the requirements pin stays as it is.
        words.append("streamlit")
    if not words and not manifest.setup_commands:
        return None
    commands = tuple(manifest.setup_commands.items())
    of = [INSTALL_FORMAT, platform.machine(), sys.implementation.name, sys.version_info[:2], words, content, commands]
    return Plan(tuple(words), commands, hashlib.sha256(json.dumps(of).encode()).hexdigest())


def unsupported(manifest: Manifest, machine: str, bits: int = 64) -> str | None:
    """Why the app cannot be installed on this kind of machine (platform.machine(), the interpreter's word size)."""
    is_32_bit_arm = (machine.startswith("arm") and machine != "arm64") or (machine == "aarch64" and bits == 32)
    if is_32_bit_arm and manifest.type is AppType.STREAMLIT and manifest.command is None:
        return (
            "Streamlit cannot be installed on 32-bit Arm: its part pyarrow is not made for it; "
            "use a 64-bit Raspberry Pi OS"
        )
    return None


def _contents(folder: Path, file: Path, depth: int = 5) -> list[str]:
    """The text of a requirements file and of those that it includes, as far as they lie in the app's folder."""
    try:
        if not file.resolve().is_relative_to(folder.resolve()) or not file.is_file():
            return []
        with file.open("rb") as opened:
            text = opened.read(MAX_FILE_BYTES).decode("utf-8", "backslashreplace")
    except (OSError, RuntimeError, ValueError):
        return []
    found = [text]
    if depth > 0:
        for name in _INCLUDE.findall(text):
            found += _contents(folder, file.parent / name, depth - 1)
    return found
