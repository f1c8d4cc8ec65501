"""Apps as Nomad jobs in HCL (developer.hashicorp.com/nomad/docs/job-specification)."""

from __future__ import annotations

import json
from typing import Any

from hhtui.engine.export.quoting import quoted
from hhtui.engine.export.spec import CONTAINER_DATA, AppSpec, dockerfile, label


def nomad_files(specs: list[AppSpec], notes: list[str]) -> dict[str, str]:
    """A job an app for the docker driver, and the Dockerfile of its image."""
    files: dict[str, str] = {}
    for spec in specs:
        files[f"{spec.app_id}.nomad.hcl"] = _job(spec)
        files[f"{spec.app_id}.Dockerfile"] = dockerfile(spec)
    notes.append("build the images on the clients first: docker build -f NAME.Dockerfile -t IMAGE FOLDER")
    notes.append("each job mounts a host volume of its app's name, to be declared in the client's configuration")
    return files


def _job(spec: AppSpec) -> str:
    manifest = spec.manifest
    restart = manifest.restart
    attempts = 0 if restart.policy == "never" else restart.max_restarts
    config: list[Any] = [
        ("image", spec.image),
        ("command", spec.argv[0]),
        ("args", spec.argv[1:]),
    ]
    scheduled = manifest.schedule is not None
    if not scheduled:
        config.append(("ports", ["http"]))
    task: list[Any] = [
        ("driver", "docker"),
        ("kill_signal", manifest.stop.signal),
        ("kill_timeout", f"{max(round(manifest.stop.timeout_seconds), 1)}s"),
        ("config {}", config),
        ("env {}", [(name, value) for name, value in spec.environment.items()]),
        ("volume_mount {}", [("volume", "data"), ("destination", CONTAINER_DATA)]),
        (
            "resources {}",
            [
                ("cpu", max(round(manifest.limits.cpu_percent * 10), 50) if manifest.limits.cpu_percent else 200),
                ("memory", max(round(manifest.limits.memory_mb), 10) if manifest.limits.memory_mb else 256),
            ],
        ),
    ]
    group: list[Any] = [
        ("count", 1),
        ('volume "data" {}', [("type", "host"), ("source", spec.app_id), ("read_only", False)]),
        (
            "restart {}",
            [
                ("attempts", attempts),
                ("interval", f"{max(round(restart.window_seconds), 5)}s"),
                ("delay", f"{max(round(restart.backoff_seconds), 1)}s"),
                ("mode", "fail"),
            ],
        ),
    ]
    if not scheduled:
        group.append(("network {}", [('port "http" {}', [("static", spec.port)])]))
        service: list[Any] = [("name", label(spec.app_id)), ("port", "http"), ("provider", "nomad")]
        if manifest.endpoints.health is not None:
            check = [("type", "http"), ("path", manifest.endpoints.health), ("interval", "60s"), ("timeout", "5s")]
            service.append(("check {}", check))
        group.append(("service {}", service))
    group.append((f"task {_text(spec.app_id)} {{}}", task))
    job: list[Any] = [("type", "batch" if scheduled else "service")]
    if scheduled:
        job.append(("periodic {}", [("crons", [manifest.schedule]), ("prohibit_overlap", True)]))
    job.append((f"group {_text(spec.app_id)} {{}}", group))
    return _block([(f"job {_text(spec.app_id)} {{}}", job)], 0)


def _block(entries: list[Any], indent: int) -> str:
    """``("name", value)`` is an attribute, ``("name {}", [...])`` a block."""
    pad = "  " * indent
    lines: list[str] = []
    for name, value in entries:
        if name.endswith(" {}"):
            lines.append(f"{pad}{name[:-1]}\n{_block(value, indent + 1)}{pad}}}\n")
        else:
            lines.append(f"{pad}{name} = {_value(value)}\n")
    return "".join(lines)


def _value(value: Any) -> str:
    if isinstance(value, str):
        return _text(value)
    if isinstance(value, list):
        return f"[{', '.join(_value(item) for item in value)}]"
    return json.dumps(value)


def _text(text: str) -> str:
    """An HCL text, with both signs of a template doubled."""
    return quoted(text).replace("${", "$${").replace("%{", "%%{")
