"""Which app has which port: the same one for as long as the range allows, never one that a stranger holds."""

from __future__ import annotations

from collections.abc import Callable, Collection, Mapping
from typing import Any

from hhtui.engine.process.tcp_table import port_is_free
from hhtui.errors import ConflictError

# How many ports from process_manager.streamlit_port on are for on-demand apps.
ON_DEMAND_PORTS = 100
SCHEMA_VERSION = 1


def port_ranges(start: int, end: int, on_demand_start: int) -> tuple[range, range]:
    """The ports of services and of on-demand apps."""
    return range(start, end + 1), range(on_demand_start, min(on_demand_start + ON_DEMAND_PORTS, 65536))


class PortAllocator:
    """Assigns ports and remembers them.

    ``document`` is the content of registry/ports.json, ``{"schema_version": 1, "assigned": {app_id: port},
    "released": {app_id: port}}``, the latter oldest first; what is wrong in it is left out. ``save`` gets the new
    content after each change and may raise OSError, which is the caller's. ``reserved`` is never assigned. A port that
    an owner wants for an app is that app's alone, in the range or not.
    """

    def __init__(
        self,
        document: Mapping[str, Any],
        save: Callable[[dict[str, Any]], None],
        *,
        start: int = 8100,
        end: int = 8199,
        on_demand_start: int = 8501,
        reserved: Collection[int] = (),
    ) -> None:
        self._save = save
        self._reserved = frozenset(reserved)
        self._wanted: dict[str, int] = {}
        self._assigned: dict[str, int] = {}
        self._released: dict[str, int] = {}
        for target, name in ((self._assigned, "assigned"), (self._released, "released")):
            entries = document.get(name)
            for app_id, port in entries.items() if isinstance(entries, dict) else ():
                if type(port) is int and 1 <= port <= 65535 and port not in self._taken() and app_id not in target:
                    target[app_id] = port
        self.configure(start=start, end=end, on_demand_start=on_demand_start)

    def configure(self, *, start: int, end: int, on_demand_start: int) -> None:
        """Take over a changed configuration; an app outside its range gets a new port when it is next assigned one."""
        self._services, self._on_demand = port_ranges(start, end, on_demand_start)

    def fits(self, app_id: str, *, on_demand: bool) -> bool:
        """Whether the app's port is one that it would be given now; also true if it has none yet."""
        port = self._assigned.get(app_id)
        return port is None or self._may_be(app_id, port, self._on_demand if on_demand else self._services)

    def _may_be(self, app_id: str, port: int, ports: range) -> bool:
        if (wanted := self._wanted.get(app_id)) is not None:
            return port == wanted
        return port in ports and port not in self._wanted.values()

    def want(self, app_id: str, port: int | None) -> None:
        """The owner wants this port for the app, None: any. It is kept free for it, and assigned when it starts."""
        if port is None:
            self._wanted.pop(app_id, None)
        else:
            self._wanted[app_id] = port

    def refuse(self, app_id: str, port: int) -> None:
        """ConflictError if the app cannot have this port, as it is another one's."""
        if port in self._reserved:
            raise ConflictError(f"port: {port} is HomeHelper's own: choose another one", app_id=app_id)
        for ports in (self._wanted, self._assigned):
            for other, taken in ports.items():
                if taken == port and other != app_id:
                    raise ConflictError(f"port: {port} is the one of {other}: choose another one", app_id=app_id)

    def document(self) -> dict[str, Any]:
        """The content of ports.json."""
        return {
            "schema_version": SCHEMA_VERSION,
            "assigned": dict(sorted(self._assigned.items())),
            "released": dict(self._released),
        }

    def ports(self) -> dict[str, int]:
        """The assigned ports by app."""
        return dict(sorted(self._assigned.items()))

    def port_of(self, app_id: str) -> int | None:
        """The app's port if it has one now."""
        return self._assigned.get(app_id)

    def assign(self, app_id: str, *, on_demand: bool) -> int:
        """The app's port: the one it has or had, even if a stranger holds it now, else the first free one.

        ConflictError if no port of the range is left.
        """
        ports = self._on_demand if on_demand else self._services
        known = self._assigned.get(app_id)
        if known is not None and self._may_be(app_id, known, ports):
            return known
        kept = self._released.get(app_id)
        if (wanted := self._wanted.get(app_id)) is not None:
            self.refuse(app_id, wanted)
            port: int | None = wanted
        elif kept is not None and self._may_be(app_id, kept, ports):
            port = kept
        else:
            port = self._new_port(ports)
        if port is None:
            raise ConflictError(self._exhausted(ports, on_demand), app_id=app_id)
        self._released = {other: held for other, held in self._released.items() if held != port and other != app_id}
        self._assigned[app_id] = port
        self._save(self.document())
        return port

    def keep(self, app_id: str, port: int) -> None:
        """The app's process lives and was given this port, in the range or not: no app gets it that has it not yet."""
        if port in self._assigned.values():
            return
        self._released = {other: held for other, held in self._released.items() if held != port and other != app_id}
        self._assigned[app_id] = port
        self._save(self.document())

    def release(self, app_id: str) -> None:
        """The app is gone: its port is kept for its return until no other is left, the longest gone giving first."""
        port = self._assigned.pop(app_id, None)
        if port is not None:
            self._released.pop(app_id, None)
            self._released[app_id] = port
            self._save(self.document())

    def _new_port(self, ports: range) -> int | None:
        taken = self._taken()
        for port in ports:
            if port not in taken and port_is_free(port):
                return port
        known = (port for port in self._released.values() if port in ports and port not in self._wanted.values())
        return next((port for port in known if port_is_free(port)), None)

    def _taken(self) -> set[int]:
        return {*self._wanted.values(), *self._assigned.values(), *self._released.values(), *self._reserved}

    def _exhausted(self, ports: range, on_demand: bool) -> str:
        key = "process_manager.streamlit_port" if on_demand else "process_manager.port_range"
        ours = sum(port in ports for port in self._assigned.values())
        return (
            f"no port is left in {ports[0]}-{ports[-1]}: {ours} are assigned to apps, other programs hold the rest; "
            f"{'move' if on_demand else 'widen'} {key}, or remove apps"
        )
