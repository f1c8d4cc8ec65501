"""Each app keeps its port, and no stranger's is given out."""

from __future__ import annotations

import os
import socket
from typing import Any

import pytest

from hhtui.engine.launch.ports import PortAllocator
from hhtui.engine.process.tcp_table import closing, holder, obstacle, port_is_free
from hhtui.errors import ConflictError
from tests.engine.discovery.folders import foreign_listener
from tests.engine.homes import free_ports


class Saved:
    """Ten real ports: five for services, from the sixth on for on-demand apps; and what was saved."""

    def __init__(self, document: dict[str, Any] | None = None, first: int | None = None, **options: Any) -> None:
        self.first = first or free_ports(10)
        self.documents: list[dict[str, Any]] = []
        self.ports = PortAllocator(
            document or {},
            self.documents.append,
            **{"start": self.first, "end": self.first + 4, "on_demand_start": self.first + 5, **options},
        )


def test_ports_are_given_from_the_start_of_the_range_and_stay() -> None:
    saved = Saved()
    assert saved.ports.assign("a", on_demand=False) == saved.first
    assert saved.ports.assign("b", on_demand=False) == saved.first + 1
    assert saved.ports.assign("page", on_demand=True) == saved.first + 5
    assert saved.ports.assign("a", on_demand=False) == saved.first
    assert len(saved.documents) == 3
    again = Saved(saved.documents[-1], saved.first)
    assert again.ports.assign("b", on_demand=False) == saved.first + 1
    assert again.ports.ports() == {"a": saved.first, "b": saved.first + 1, "page": saved.first + 5}
    assert again.documents == []


@pytest.mark.parametrize("host", ["127.0.0.1", "0.0.0.0", "::1"])
def test_a_port_that_a_stranger_holds_on_any_address_is_not_given_out(host: str) -> None:
    saved = Saved()
    family = socket.AF_INET6 if ":" in host else socket.AF_INET
    try:
        stranger = socket.create_server((host, saved.first), family=family)
    except OSError:
        pytest.skip("no IPv6 here")
    with stranger:
        assert not port_is_free(saved.first)
        assert saved.ports.assign("a", on_demand=False) == saved.first + 1
    assert port_is_free(saved.first)


def test_an_assigned_port_stays_its_apps_and_its_present_holder_has_a_name() -> None:
    saved = Saved()
    saved.ports.assign("a", on_demand=False)
    assert holder(saved.first) is None
    with foreign_listener(saved.first) as stranger:
        assert saved.ports.assign("a", on_demand=False) == saved.first
        name, _, pid = (holder(saved.first) or "").partition(" ")
        assert name.startswith("python")
        assert pid == f"(pid {stranger.pid})"


def test_connections_in_time_wait_do_not_make_a_port_taken() -> None:
    port = free_ports(1)
    with socket.create_server(("127.0.0.1", port)) as server:
        client = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        client.recv(1)
        client.close()
    assert port_is_free(port)


def test_connections_that_are_closing_are_told_from_a_program_that_has_the_port() -> None:
    with socket.socket() as server:  # not create_server, which sets SO_REUSEADDR
        server.bind(("127.0.0.1", 0))
        server.listen()
        port = server.getsockname()[1]
        visitor = socket.create_connection(("127.0.0.1", port))
        accepted, _ = server.accept()
        accepted.close()
        held = obstacle(port)
        assert held is not None
        assert held.holder is not None
        assert f"(pid {os.getpid()})" in held.holder
    left = obstacle(port)
    assert left is not None
    assert left.holder is None
    assert 0 < left.seconds <= 61
    assert closing(port, longer_than=30) is None  # they have just begun
    visitor.recv(1)
    visitor.close()
    assert obstacle(port) is not None  # now in TIME_WAIT


def test_a_program_that_is_connected_from_the_port_is_named_too() -> None:
    with socket.create_server(("127.0.0.1", 0)) as server, socket.socket() as client:
        client.bind(("127.0.0.1", 0))
        client.connect(server.getsockname())
        held = obstacle(client.getsockname()[1])
        assert held is not None
        assert f"(pid {os.getpid()})" in (held.holder or "")


def test_a_removed_app_gets_its_port_back_as_long_as_others_can_do_without() -> None:
    saved = Saved()
    for app_id in "abcde":
        saved.ports.assign(app_id, on_demand=False)
    saved.ports.release("b")
    saved.ports.release("a")
    assert saved.ports.port_of("b") is None
    assert saved.ports.assign("b", on_demand=False) == saved.first + 1
    saved.ports.release("b")
    # Nothing but the ports of those that are gone is left: the one that went first gives way.
    assert saved.ports.assign("new", on_demand=False) == saved.first
    assert saved.ports.assign("newer", on_demand=False) == saved.first + 1
    assert saved.ports.document()["released"] == {}


def test_an_exhausted_range_is_told_with_its_key() -> None:
    saved = Saved()
    for app_id in "abcde":
        saved.ports.assign(app_id, on_demand=False)
    with pytest.raises(ConflictError) as error:
        saved.ports.assign("f", on_demand=False)
    first = saved.first
    assert error.value.message == (
        f"no port is left in {first}-{first + 4}: 5 are assigned to apps, other programs hold the rest; "
        "widen process_manager.port_range, or remove apps"
    )


def test_a_changed_range_moves_apps_out_of_the_old_one() -> None:
    saved = Saved()
    saved.ports.assign("a", on_demand=False)
    saved.ports.configure(start=saved.first + 2, end=saved.first + 4, on_demand_start=saved.first + 5)
    assert saved.ports.assign("a", on_demand=False) == saved.first + 2
    # An app that becomes on-demand moves to where those live.
    assert saved.ports.assign("a", on_demand=True) == saved.first + 5


def test_a_living_apps_port_is_kept_out_of_the_range_and_given_to_nobody_else() -> None:
    saved = Saved()
    saved.ports.keep("a", saved.first)
    assert saved.ports.assign("b", on_demand=False) == saved.first + 1
    saved.ports.keep("c", saved.first + 1)  # what another app has is not taken from it
    assert saved.ports.ports() == {"a": saved.first, "b": saved.first + 1}
    saved.ports.configure(start=saved.first + 2, end=saved.first + 4, on_demand_start=saved.first + 5)
    assert not saved.ports.fits("a", on_demand=False)
    assert saved.ports.port_of("a") == saved.first
    assert saved.ports.assign("a", on_demand=False) == saved.first + 2
    assert saved.ports.fits("a", on_demand=False)


def test_reserved_ports_are_never_given_out() -> None:
    first = free_ports(10)
    assert Saved(first=first, reserved=[first, first + 1]).ports.assign("a", on_demand=False) == first + 2


@pytest.mark.parametrize(
    "document",
    [
        {"assigned": [], "released": "x"},
        {"assigned": {"a": "8100", "b": True, "c": 0, "d": 70000, "e": None, "f": 1.5}},
    ],
)
def test_what_is_wrong_in_the_file_is_left_out(document: dict[str, Any]) -> None:
    assert Saved(document).ports.ports() == {}


def test_a_port_that_the_file_gives_to_two_apps_stays_with_one() -> None:
    saved = Saved({"assigned": {"a": 8100, "b": 8100}, "released": {"c": 8100}})
    assert saved.ports.document() == {"schema_version": 1, "assigned": {"a": 8100}, "released": {}}


@pytest.mark.skipif(os.geteuid() == 0, reason="root may bind any port")
def test_a_port_that_we_may_not_bind_is_not_free() -> None:
    assert not port_is_free(80)
