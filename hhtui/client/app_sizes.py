"""What an app takes on its disks, in words for both interfaces."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from hhtui.text import human_bytes

# AppSizes' fields in the order in which people ask for them.
_PARTS = ("files", "environment", "data", "logs")


def sizes_words(sizes: Mapping[str, Any]) -> str:
    """``files 12 KiB, environment 210 MiB, data measuring…``; a folder that is not there is left out.

    ``sizes`` is an AppSizes document.
    """
    words = []
    for name in _PARTS:
        part = sizes.get(name)
        if not isinstance(part, dict):
            words += [f"{name} measuring…"] if sizes.get("measuring") else []
            continue
        size, entries = part.get("size_bytes"), part.get("entries")
        if entries and isinstance(size, int | float):
            words.append(f"{name} {'' if part.get('whole', True) else 'more than '}{human_bytes(size)}")
    return ", ".join(words)
