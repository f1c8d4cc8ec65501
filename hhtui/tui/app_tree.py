"""An app's processes as a tree of lines, and its logs with their sizes, for its page."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from hhtui.text import human_bytes, human_duration, sanitise
from hhtui.tui.cells import Piece, fit
from hhtui.tui.glyphs import Glyphs
from hhtui.tui.themes import Looks

_NAME = 26
_MOST = 40


def tree_lines(processes: Sequence[Mapping[str, Any]], looks: Looks, glyphs: Glyphs) -> list[list[Piece]]:
    """A line a process, indented below its parent; the API gives parents first. [] where there are none."""
    if not processes:
        return []
    depths: dict[Any, int] = {}
    lines: list[list[Piece]] = [[(f" {fit('Processes', _NAME)} {'PID':>7} {'CPU':>6} {'MEMORY':>10}  RUNS", looks.dim)]]
    for process in processes[:_MOST]:
        depth = depths[process.get("pid")] = depths.get(process.get("ppid"), -1) + 1
        name = glyphs.keep(sanitise(str(process.get("name") or "?"), 40))
        cpu, memory, seconds = (_number(process.get(key)) for key in ("cpu_percent", "memory_mb", "seconds"))
        figures = (
            f"{process.get('pid')!s:>7.7} {'' if cpu is None else f'{cpu:.1f}%':>6} "
            f"{'' if memory is None else human_bytes(memory * 2**20):>10}  "
            # Coarse, so that it rarely changes.
            f"{'' if seconds is None else human_duration(seconds - seconds % 60) if seconds >= 60 else '<1m'}"
        )
        shown = fit("  " * min(depth, 6) + name, _NAME, ellipsis=glyphs.ellipsis)
        lines.append([(f" {shown} ", looks.text), (figures, looks.text)])
    if len(processes) > _MOST:
        lines.append([(f" and {len(processes) - _MOST} more", looks.dim)])
    return lines


def log_words(sizes: Mapping[str, int]) -> str:
    """``app 1.2 MiB, error 3.0 KiB``; nothing where there are no logs."""
    return ", ".join(f"{sanitise(name, 40)} {human_bytes(size)}" for name, size in list(sizes.items())[:20])


def _number(value: Any) -> float | None:
    return float(value) if isinstance(value, int | float) and not isinstance(value, bool) else None
