"""The apps: manifests, environments, ports."""

from __future__ import annotations

from collections.abc import Iterator
from typing import Any

from hhtui.engine.backup.archive.sources import apps_folders, find_apps
from hhtui.engine.doctor.findings import Finding, error, ok, warning
from hhtui.engine.install.installer import Installer
from hhtui.engine.process.tcp_table import obstacle
from hhtui.model.config import Config
from hhtui.paths import Home
from hhtui.storage import read_json_object


def check_apps(home: Home, config: Config, engine: dict[str, Any] | None) -> Iterator[Finding]:
    """Every app as an engine would see it; ports are looked at only while no engine holds them."""
    folders = apps_folders(home, config)
    for name, path in folders:
        if not path.is_dir():
            yield warning("apps", f"the apps folder {path} is not there", f"mkdir {path}, or mount the disk of {name}")
    found = find_apps([path for _, path in folders])
    installer = Installer(home)
    for app_id, app in found.items():
        if app.error is not None:
            yield error("manifest", f"{app_id}: {app.error}", f"fix it, then `hhtui validate {app.path}`")
            continue
        for line in app.warnings:
            yield warning("manifest", f"{app_id}: {line}", "remove it, or correct its spelling")
        if installer.needed(app):
            yield warning(
                "environment", f"{app_id}: it is not installed as its manifest says", f"hhtui install {app_id}"
            )
    good = sum(app.error is None for app in found.values())
    if found:
        yield ok("apps", f"{good} of {len(found)} apps are valid")
    else:
        yield warning("apps", "there are no apps", f"`hhtui new {folders[0][1]}/hello --type service` makes one")
    yield from _ports(home, config, set(found), running=engine is not None)


def _ports(home: Home, config: Config, app_ids: set[str], *, running: bool) -> Iterator[Finding]:
    manager = config.process_manager
    services = range(manager.port_range.start, manager.port_range.end + 1)
    if manager.streamlit_port in services:
        yield warning(
            "ports",
            f"process_manager.streamlit_port {manager.streamlit_port} lies inside port_range",
            "hhtui config set process_manager.streamlit_port 8501",
        )
    if len(app_ids) > len(services):
        yield error("ports", f"{len(app_ids)} apps, but {len(services)} ports", "widen process_manager.port_range.end")
    if running:
        return
    try:
        assigned = read_json_object(home.ports_json).get("assigned") or {}
    except (OSError, ValueError):
        assigned = {}
    taken = 0
    wanted = {**assigned, "the export (system.main_port)": config.system.main_port}
    for name, port in wanted.items():
        held = obstacle(port) if isinstance(port, int) and port else None
        if held is not None and held.holder is not None:
            taken += 1
            fix = f"end that program, or give {name} another port"
            yield warning("ports", f"port {port} of {name} is {held.words}", fix)
    if not taken:
        yield ok("ports", f"{len(assigned)} assigned ports are free")
