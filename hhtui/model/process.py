"""One process of the machine, and one of an app."""

from __future__ import annotations

from pydantic import BaseModel


class MachineProcess(BaseModel):
    """``name`` is the kernel's short name, never the command line; ``cpu_percent`` is of one core, None at first sight.

    ``app_id`` is the app that it belongs to; None for all others, ``homehelper`` for the engine.
    """

    pid: int
    name: str
    user: str
    cpu_percent: float | None = None
    memory_mb: float | None = None
    app_id: str | None = None


class AppProcess(BaseModel):
    """One process of an app's tree; ``name`` and ``cpu_percent`` as in MachineProcess, ``seconds`` since it began."""

    pid: int
    ppid: int
    name: str
    user: str
    cpu_percent: float | None = None
    memory_mb: float
    seconds: float
