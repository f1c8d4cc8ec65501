"""What all supervisors of one engine share."""

from __future__ import annotations

import asyncio
from collections.abc import Awaitable, Callable
from dataclasses import dataclass, field
from typing import TYPE_CHECKING

from hhtui.engine.process.cgroup import Cgroups
from hhtui.engine.process.tree import ProcessTable
from hhtui.engine.scheduling import WallClock
from hhtui.model.config import Config
from hhtui.model.redis_access import RedisAccess
from hhtui.paths import Home

if TYPE_CHECKING:
    from hhtui.engine.apps.installer import Installer
    from hhtui.engine.apps.ports import PortAllocator
    from hhtui.engine.bus.bus import EventBus
    from hhtui.engine.logs.capture import LogCapture
    from hhtui.engine.supervisor import Supervisor


@dataclass
class Services:
    """The rooms that a supervisor works with; ``changed`` is told the app whose record is to be saved,
    ``rescan`` has the apps folders looked at, ``on_demand_runs`` has connections counted from now on, ``power_words``
    says whether the power supply or the heat may have to do with what happens now ("" if not).
    """

    home: Home
    config: Callable[[], Config]
    bus: EventBus
    capture: LogCapture
    installer: Installer
    ports: PortAllocator
    redis_access: Callable[[str, list[str]], Awaitable[RedisAccess | None]]
    changed: Callable[[str], None]
    rescan: Callable[[], None]
    on_demand_runs: Callable[[], None]
    home_id: str
    power_words: Callable[[], str]
    url_host: str = "127.0.0.1"
    cgroups: Cgroups | None = None
    wall_clock: WallClock = field(default_factory=WallClock)
    table: ProcessTable = field(default_factory=ProcessTable)
    supervisors: dict[str, Supervisor] = field(default_factory=dict)
    starting: asyncio.Lock = field(default_factory=asyncio.Lock)
