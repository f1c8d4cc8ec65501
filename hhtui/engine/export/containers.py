"""Apps as a Compose file (compose-spec.io) and as Kubernetes objects (apps/v1, batch/v1, v1)."""

from __future__ import annotations

from typing import Any

from hhtui.engine.export.spec import (
    CONTAINER_DATA,
    CONTAINER_LOGS,
    LABEL_LENGTH,
    REDIS_NAME,
    AppSpec,
    dockerfile,
    label,
)
from hhtui.engine.export.yaml import to_yaml

_STORAGE = "1Gi"
# kubernetes.io/docs/concepts/workloads/controllers/cron-jobs: eleven characters are added to it.
_CRON_JOB_LENGTH = 52


def compose_files(specs: list[AppSpec], notes: list[str]) -> dict[str, str]:
    """One compose.yaml with a Redis server; images are built from the apps' folders."""
    services: dict[str, Any] = {}
    volumes: dict[str, Any] = {}
    known = {spec.app_id for spec in specs if spec.manifest.schedule is None}
    for spec in specs:
        if spec.manifest.schedule is not None:
            notes.append(f"{spec.app_id}: left out: Compose has no schedules")
            continue
        services[spec.app_id] = _compose_service(spec, known, notes)
        volumes[f"{spec.app_id}-data"] = {}
    services[REDIS_NAME] = {"image": "redis:7-alpine", "restart": "always", "volumes": [f"{REDIS_NAME}-data:/data"]}
    volumes[f"{REDIS_NAME}-data"] = {}
    return {"compose.yaml": to_yaml({"name": "homehelper", "services": services, "volumes": volumes})}


def _compose_service(spec: AppSpec, known: set[str], notes: list[str]) -> dict[str, Any]:
    manifest = spec.manifest
    restart = manifest.restart
    policies = {"always": "always", "never": "no", "on-failure": f"on-failure:{restart.max_restarts}"}
    service: dict[str, Any] = {
        "build": {"context": str(spec.folder).replace("$", "$$"), "dockerfile_inline": _escape(dockerfile(spec))},
        "image": spec.image,
        "command": [_escape(word) for word in spec.argv],
        "environment": {name: _escape(value) for name, value in spec.environment.items()},
        "ports": [f"{spec.port}:{spec.port}"],
        "volumes": [f"{spec.app_id}-data:{CONTAINER_DATA}"],
        "restart": policies[restart.policy],
        "stop_signal": manifest.stop.signal,
        "stop_grace_period": f"{max(round(manifest.stop.timeout_seconds), 1)}s",
        "depends_on": sorted({*(name for name in manifest.depends_on if name in known), REDIS_NAME}),
    }
    if manifest.endpoints.health is not None and spec.python:
        url = f"http://127.0.0.1:{spec.port}{manifest.endpoints.health}"
        probe = f"import urllib.request; urllib.request.urlopen({url!r}, timeout=5)"
        service["healthcheck"] = {
            "test": ["CMD", "python", "-c", _escape(probe)],
            "interval": "60s",
            "timeout": "5s",
            "start_period": f"{max(round(manifest.start.timeout_seconds), 1)}s",
        }
    elif manifest.endpoints.health is not None:
        notes.append(f"{spec.app_id}: its health is not looked at: Compose asks inside the image, which has no Python")
    if manifest.limits.memory_mb is not None:
        service["mem_limit"] = f"{max(int(manifest.limits.memory_mb), 6)}m"
    if manifest.limits.cpu_percent is not None:
        service["cpus"] = manifest.limits.cpu_percent / 100
    return service


def _escape(text: str) -> str:
    """Compose puts variables in for ``$NAME``: the sign itself is ``$$``."""
    return text.replace("$", "$$")


def kubernetes_files(specs: list[AppSpec], notes: list[str]) -> dict[str, str]:
    """A file of objects an app, one for Redis, and the Dockerfiles of the images that they name."""
    files: dict[str, str] = {f"{REDIS_NAME}.yaml": _documents(_redis_objects())}
    taken = {REDIS_NAME}
    for spec in specs:
        name = _free_name(spec, taken)
        taken.add(name)
        files[f"{name}.yaml"] = _documents(_objects(spec, name))
        files[f"{name}.Dockerfile"] = dockerfile(spec)
        if spec.manifest.depends_on:
            notes.append(f"{spec.app_id}: Kubernetes knows no order of starting; it must wait for what it depends on")
        if spec.manifest.stop.signal != "SIGTERM":
            notes.append(f"{spec.app_id}: is stopped by {spec.manifest.stop.signal}: add STOPSIGNAL to its Dockerfile")
    notes.append("build and push the images first: docker build -f NAME.Dockerfile -t IMAGE FOLDER")
    return files


def _objects(spec: AppSpec, name: str) -> list[dict[str, Any]]:
    manifest = spec.manifest
    labels = {"app.kubernetes.io/name": name, "app.kubernetes.io/part-of": "homehelper"}
    container: dict[str, Any] = {
        "name": name,
        "image": spec.image,
        "command": [_dollars(word) for word in spec.argv],
        "env": [{"name": key, "value": _dollars(value)} for key, value in spec.environment.items()],
        "volumeMounts": [
            {"name": "data", "mountPath": CONTAINER_DATA},
            {"name": "logs", "mountPath": CONTAINER_LOGS},
        ],
    }
    limits: dict[str, str] = {}
    if manifest.limits.memory_mb is not None:
        limits["memory"] = f"{max(int(manifest.limits.memory_mb), 1)}Mi"
    if manifest.limits.cpu_percent is not None:
        limits["cpu"] = f"{max(int(manifest.limits.cpu_percent * 10), 1)}m"
    if limits:
        container["resources"] = {"limits": limits}
    pod: dict[str, Any] = {
        "terminationGracePeriodSeconds": round(manifest.stop.timeout_seconds),
        "containers": [container],
        "volumes": [
            {"name": "data", "persistentVolumeClaim": {"claimName": f"{name}-data"}},
            {"name": "logs", "emptyDir": {}},
        ],
    }
    claim = {
        "apiVersion": "v1",
        "kind": "PersistentVolumeClaim",
        "metadata": {"name": f"{name}-data", "labels": labels},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": _STORAGE}}},
    }
    if manifest.schedule is not None:
        pod["restartPolicy"] = "Never" if manifest.restart.policy == "never" else "OnFailure"
        job = {
            "apiVersion": "batch/v1",
            "kind": "CronJob",
            "metadata": {"name": name, "labels": labels},
            "spec": {
                "schedule": manifest.schedule,
                "concurrencyPolicy": "Forbid",
                "jobTemplate": {"spec": {"template": {"metadata": {"labels": labels}, "spec": pod}}},
            },
        }
        return [claim, job]
    container["ports"] = [{"containerPort": spec.port}]
    if manifest.endpoints.health is not None:
        check = {"httpGet": {"path": manifest.endpoints.health, "port": spec.port}, "timeoutSeconds": 5}
        attempts = max(round(manifest.start.timeout_seconds / 2), 1)
        container["startupProbe"] = {**check, "periodSeconds": 2, "failureThreshold": attempts}
        container["readinessProbe"] = {**check, "periodSeconds": 60}
    selector = {"app.kubernetes.io/name": name}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": name, "labels": labels},
        "spec": {
            "replicas": 1,
            "strategy": {"type": "Recreate"},
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": labels}, "spec": pod},
        },
    }
    return [claim, deployment, _service(name, labels, selector, spec.port)]


def _service(name: str, labels: dict[str, str], selector: dict[str, str], port: int) -> dict[str, Any]:
    return {
        "apiVersion": "v1",
        "kind": "Service",
        "metadata": {"name": name, "labels": labels},
        "spec": {"selector": selector, "ports": [{"port": port, "targetPort": port}]},
    }


def _redis_objects() -> list[dict[str, Any]]:
    labels = {"app.kubernetes.io/name": REDIS_NAME, "app.kubernetes.io/part-of": "homehelper"}
    selector = {"app.kubernetes.io/name": REDIS_NAME}
    container = {"name": "redis", "image": "redis:7-alpine", "ports": [{"containerPort": 6379}]}
    deployment = {
        "apiVersion": "apps/v1",
        "kind": "Deployment",
        "metadata": {"name": REDIS_NAME, "labels": labels},
        "spec": {
            "replicas": 1,
            "selector": {"matchLabels": selector},
            "template": {"metadata": {"labels": labels}, "spec": {"containers": [container]}},
        },
    }
    return [deployment, _service(REDIS_NAME, labels, selector, 6379)]


def _free_name(spec: AppSpec, taken: set[str]) -> str:
    """A label that no other app has; a CronJob's is shorter, since its jobs are named after it."""
    length = _CRON_JOB_LENGTH if spec.manifest.schedule is not None else LABEL_LENGTH
    name = label(spec.app_id, length)
    number = 2
    while name in taken:
        tail = f"-{number}"
        name = f"{label(spec.app_id, length - len(tail))}{tail}"
        number += 1
    return name


def _dollars(text: str) -> str:
    """Kubernetes puts variables in for ``$(NAME)``: ``$$(`` is the text itself."""
    return text.replace("$(", "$$(")


def _documents(objects: list[dict[str, Any]]) -> str:
    return "---\n".join(to_yaml(document) for document in objects)
