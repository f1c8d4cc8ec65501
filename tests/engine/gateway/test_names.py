"""The names in the network, asked for by another machine: two network namespaces and a wire between them."""

from __future__ import annotations

import json
import shutil
import socket
import subprocess
import sys
import time
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest

from tests.engine.engine_process import EngineProcess, end_home, eventually
from tests.engine.gateway.visitors import add_app, gateway_home, up

# Asks by multicast, as RFC 6762 has it for resolvers that know no more of it, and prints what came within a moment.
ASK = """
import json, socket, sys, time
import dns.message, dns.rdatatype
own, name, kind = sys.argv[1:]
asking = socket.socket(socket.AF_INET, socket.SOCK_DGRAM)
asking.setsockopt(socket.IPPROTO_IP, socket.IP_MULTICAST_IF, socket.inet_aton(own))
asking.bind((own, 0))
asking.sendto(dns.message.make_query(name, kind).to_wire(), ("224.0.0.251", 5353))
found, end = set(), time.monotonic() + 1.5
while (left := end - time.monotonic()) > 0:
    asking.settimeout(left)
    try:
        # RFC 6762, 18.14: names in NSEC are compressed, which other DNS forbids.
        answer = dns.message.from_wire(asking.recv(9000), continue_on_error=True)
    except TimeoutError:
        break
    for section in answer.answer:
        if section.rdtype == dns.rdatatype.from_text(kind):
            found |= {record.to_text() for record in section if section.ttl}
print(json.dumps(sorted(found)))
"""
# Another machine that has a name.
HAVE = """
import socket, sys, time
from zeroconf import IPVersion, ServiceInfo, Zeroconf
own, label = sys.argv[1:]
zeroconf = Zeroconf([own], ip_version=IPVersion.V4Only)
zeroconf.register_service(ServiceInfo("_http._tcp.local.", f"{label}-of-another._http._tcp.local.", port=80,
                                      server=f"{label}.local.", addresses=[socket.inet_aton(own)]))
print("there", flush=True)
time.sleep(600)
"""
HERE, THERE = "10.77.0.1", "10.77.0.2"


class Machines:
    """``here`` and ``there`` run commands on one of two machines."""

    def __init__(self, here: int, there: int) -> None:
        self._enter = ["nsenter", "--preserve-credentials", "-U", "-n", "-t"]
        self._pids = {"here": str(here), "there": str(there)}

    def words(self, where: str, *words: str) -> list[str]:
        return [*self._enter, self._pids[where], *words]

    def run(self, where: str, *words: str) -> str:
        done = subprocess.run(self.words(where, *words), check=False, capture_output=True, text=True, timeout=60)
        assert done.returncode == 0, done.stderr
        return done.stdout

    def ask(self, name: str, kind: str = "A") -> Any:
        """What the network answers to the other machine."""
        return json.loads(self.run("there", sys.executable, "-c", ASK, THERE, name, kind))


@pytest.fixture
def machines() -> Iterator[Machines]:
    if not shutil.which("ip") or not shutil.which("nsenter"):
        pytest.skip("needs ip and nsenter")
    if subprocess.run(["unshare", "-rn", "ip", "link"], capture_output=True, check=False).returncode:
        pytest.skip("this machine lets nobody make network namespaces")
    with subprocess.Popen(["unshare", "-rn", "sleep", "600"]) as here:
        time.sleep(0.5)
        enter = ["nsenter", "--preserve-credentials", "-U", "-n", "-t", str(here.pid)]
        with subprocess.Popen([*enter, "unshare", "-n", "sleep", "600"]) as there:
            time.sleep(0.5)
            both = Machines(here.pid, there.pid)
            both.run(
                "here", "ip", "link", "add", "wire", "type", "veth", "peer", "name", "wire", "netns", str(there.pid)
            )
            for where, address in (("here", HERE), ("there", THERE)):
                both.run(where, "ip", "link", "set", "lo", "up")
                both.run(where, "ip", "addr", "add", f"{address}/24", "dev", "wire")
                both.run(where, "ip", "link", "set", "wire", "up")
            try:
                yield both
            finally:
                there.kill()
                here.kill()


@pytest.fixture
def engine(machines: Machines, tmp_path: Path) -> Iterator[EngineProcess]:
    root, _ = gateway_home(tmp_path / "home", names=True)
    add_app(root, "lamp")
    add_app(root, "door")
    engine = EngineProcess(root)
    command = [sys.executable, "-P", "-m", "hhtui", "--engine-only", "--home", str(root)]
    with (root / "engine.stderr").open("ab") as errors:
        engine.process = subprocess.Popen(
            machines.words("here", *command), stdin=subprocess.DEVNULL, stdout=errors, stderr=errors
        )
    try:
        yield engine
    finally:
        end_home(engine)


def announced(engine: EngineProcess, app_id: str) -> dict[str, Any] | None:
    """The app's part of the status once its name is announced."""
    apps = {app["app_id"]: app for app in engine.client.gateway()["apps"]}
    return apps[app_id] if app_id in apps and apps[app_id]["announced"] else None


def test_another_machine_finds_an_apps_name_and_service_until_it_stops_and_its_new_address_within_ten_seconds(
    machines: Machines, engine: EngineProcess
) -> None:
    engine.answers()
    port = up(engine)["http_port"]
    eventually(lambda: announced(engine, "lamp"))
    assert eventually(lambda: machines.ask("lamp.local.")) == [HERE]
    eventually(lambda: "Lamp._http._tcp.local." in machines.ask("_http._tcp.local.", "PTR"))
    assert machines.ask("Lamp._http._tcp.local.", "SRV") == [f"0 0 {port} lamp.local."]
    engine.client.command("lamp", "stop", wait=20)
    eventually(lambda: not machines.ask("lamp.local."))
    eventually(lambda: "Lamp._http._tcp.local." not in machines.ask("_http._tcp.local.", "PTR"))
    assert eventually(lambda: machines.ask("door.local.")) == [HERE]
    machines.run("here", "ip", "addr", "del", f"{HERE}/24", "dev", "wire")
    machines.run("here", "ip", "addr", "add", "10.77.0.9/24", "dev", "wire")
    began = time.monotonic()
    eventually(lambda: machines.ask("door.local.") == ["10.77.0.9"])
    assert time.monotonic() - began < 10
    # A machine that comes later and takes the name all the same has it: two of one name would lead anywhere.
    with subprocess.Popen(
        machines.words("there", sys.executable, "-c", HAVE, THERE, "door"), stdout=subprocess.PIPE, text=True
    ) as other:
        assert other.stdout is not None and other.stdout.readline() == "there\n"
        eventually(lambda: (found := announced(engine, "door")) and found["name"] == "door-2.local")
        other.kill()


def test_a_name_that_somebody_else_has_gets_a_number_and_the_machines_own_is_shared_with_who_announces_it(
    machines: Machines, engine: EngineProcess
) -> None:
    host = socket.gethostname().partition(".")[0].lower()
    # Another machine has one name; beside the engine, as avahi may be, somebody announces the machine's and another.
    others = [
        subprocess.Popen(machines.words(where, sys.executable, "-c", HAVE, *words), stdout=subprocess.PIPE, text=True)
        for where, words in (("there", (THERE, "lamp")), ("here", (HERE, host)), ("here", (HERE, "door")))
    ]
    try:
        for other in others:
            assert other.stdout is not None and other.stdout.readline() == "there\n"
        engine.answers()
        lamp = eventually(lambda: (found := announced(engine, "lamp")) and found["clash"] and found)
        assert lamp["name"] == "lamp-2.local" and "lamp.local" in lamp["clash"] and THERE in lamp["clash"]
        door = eventually(lambda: (found := announced(engine, "door")) and found["clash"] and found)
        assert door["name"] == "door-2.local"
        assert engine.client.gateway()["host"] == f"{host}.local"
        assert machines.ask("lamp-2.local.") == [HERE]
        assert machines.ask("lamp.local.") == [THERE]
        assert any("lamp.local" in warning for warning in engine.client.app("lamp")["warnings"])
    finally:
        for other in others:
            other.kill()
            other.communicate()
