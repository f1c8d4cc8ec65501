"""What export makes for other supervisors, held against what they say of themselves."""

from __future__ import annotations

import json
import re
import shutil
import subprocess
import sys
from pathlib import Path
from typing import Any

import hcl2
import kubernetes_validate
import pytest
import yaml
from hypothesis import given, settings
from hypothesis import strategies as st

from hhtui.engine.export.nomad import _text as hcl_text
from hhtui.engine.export.yaml import to_yaml
from hhtui.text import sanitise
from tests.backup.archives import make_full_home
from tests.cli.conftest import run_hhtui
from tests.engine.homes import make_app

EXAMPLES = Path(__file__).parents[2] / "examples" / "apps"
AWKWARD = {"A": 'x$y %z "q" \\ ${q} $(r) %{p}', "B": "line\nbreak\ttab", "C": "\b\f\u2028 😀 é \u202e", "D": "yes"}
LONG = "l" + "o" * 60 + "ng"


@pytest.fixture(scope="module")
def exported(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """Awkward apps told in every form; ``notes`` has what was said of each."""
    folder = tmp_path_factory.mktemp("exported")
    root = make_full_home(folder / "home")
    for path in EXAMPLES.iterdir():
        shutil.copytree(path, root / "apps" / path.name)
    limits = {"memory_mb": 64, "cpu_percent": 50}
    health = {"health": "/h", "ui": "/"}
    make_app(
        root, "awkward_app", 'echo "$HOME ${X} 100% %h"', limits=limits, environment=AWKWARD,
        depends_on=["lamp", "nightly"], version="1.0é/ß", stop={"signal": "SIGINT", "timeout_seconds": 0.2},
        endpoints=health, restart={"policy": "on-failure", "max_restarts": 0},
    )  # fmt: skip
    make_app(root, "awkward-app", "true", restart={"policy": "never"})
    make_app(root, "redis", "true", name="$x %n\n[Install]")
    make_app(root, "homehelper-redis", "true")
    make_app(root, "0___9-", "true", limits={"memory_mb": 0.5, "cpu_percent": 0.01})
    make_app(root, LONG, "true", schedule="0 3 * * *")
    make_app(root, "nightly", "true", schedule="*/5 1-4 * * 1-5")
    notes = {}
    for form in ("systemd", "compose", "kubernetes", "nomad"):
        told = run_hhtui(root, "export", str(folder / form), "--format", form, "--json")
        assert told.code == 0, told.err
        notes[form] = told.json["notes"]
        printed = run_hhtui(root, "export", "--format", form).out
        for path in (folder / form).iterdir():
            assert path.read_text("utf-8") in printed, f"{path} is not printed as it is written"
    (folder / "notes").write_text(json.dumps(notes))
    return folder


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
def test_units_are_what_systemd_takes(exported: Path) -> None:
    units = sorted(str(path) for path in (exported / "systemd").iterdir())
    assert len(units) >= 15
    checked = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    timer = (exported / "systemd" / "homehelper-nightly.timer").read_text()
    assert "OnCalendar=Mon..Fri *-*-* 1..4:0/5:00" in timer


def test_units_mean_what_the_manifest_says(exported: Path) -> None:
    unit = (exported / "systemd" / "homehelper-awkward_app.service").read_text()
    assert 'ExecStart="/bin/sh" "-c" "echo \\"$$HOME $${X} 100%% %%h\\""' in unit
    assert "MemoryMax=67108864" in unit
    assert "Requires=homehelper-lamp.service homehelper-nightly.service" in unit
    assert (
        "\n[Install]" not in (exported / "systemd" / "homehelper-redis.service").read_text().partition("[Service]")[0]
    )


def compose(exported: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((exported / "compose" / "compose.yaml").read_text("utf-8")))


def test_the_compose_file_fits_the_compose_specifications_schema(exported: Path) -> None:
    path = str(exported / "compose" / "compose.yaml")
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*checker, path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    broken = exported / "broken.yaml"
    broken.write_text("services: {a: {image: x, portz: []}}\n")
    assert subprocess.run([*checker, str(broken)], capture_output=True, check=False).returncode == 1


def test_the_compose_file_means_what_the_manifest_says(exported: Path) -> None:
    services = compose(exported)["services"]
    told = services["awkward_app"]
    assert told["environment"].items() >= {name: text.replace("$", "$$") for name, text in AWKWARD.items()}.items()
    assert told["command"][-1] == 'echo "$$HOME $${X} 100% %h"'
    assert told["depends_on"] == ["homehelper-redis", "lamp"], "what is left out cannot be waited for"
    assert {"nightly", LONG} & services.keys() == set()
    assert services["redis"]["image"].startswith("homehelper/redis:")
    assert services["homehelper-redis"]["image"].startswith("redis:")
    # distribution/reference/regexp.go
    image = re.compile(
        r"[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*(?:/[a-z0-9]+(?:(?:\.|_|__|-+)[a-z0-9]+)*)*:\w[\w.-]{0,127}", re.A
    )
    assert [service["image"] for service in services.values() if not image.fullmatch(service["image"])] == []
    notes = json.loads((exported / "notes").read_text())["compose"]
    for words in ("nightly: left out", "homehelper-redis: left out", "awkward_app: its health is not looked at"):
        assert any(words in note for note in notes), words


@pytest.mark.skipif(
    shutil.which("docker") is None
    or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0,
    reason="docker compose is not installed",
)
def test_docker_compose_takes_the_file(exported: Path) -> None:
    told = subprocess.run(
        ["docker", "compose", "-f", str(exported / "compose" / "compose.yaml"), "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert told.returncode == 0, told.stderr
    assert json.loads(told.stdout)["services"]["awkward_app"]["environment"].items() >= AWKWARD.items()


def test_kubernetes_objects_fit_the_published_schemas(exported: Path) -> None:
    objects = [
        (path.name, document)
        for path in sorted((exported / "kubernetes").glob("*.yaml"))
        for document in yaml.safe_load_all(path.read_text("utf-8"))
    ]
    for version in ("1.25", kubernetes_validate.latest_version()):
        for name, document in objects:
            try:
                kubernetes_validate.validate(document, version, strict=True)
            except kubernetes_validate.ValidationError as error:
                raise AssertionError(f"{name}: {error}") from None
    with pytest.raises(kubernetes_validate.ValidationError):
        kubernetes_validate.validate({**objects[0][1], "spek": {}}, "1.30", strict=True)
    # What the schemas leave to the server: RFC 1035 labels, each once, with room for the jobs' own endings.
    names = [(document["kind"], document["metadata"]["name"]) for _, document in objects]
    assert len(set(names)) == len(names)
    assert {kind for kind, _ in names} == {"Deployment", "CronJob", "Service", "PersistentVolumeClaim"}
    for kind, name in names:
        assert re.fullmatch(r"[a-z]([-a-z0-9]*[a-z0-9])?", name), name
        assert len(name) <= {"CronJob": 52, "PersistentVolumeClaim": 253}.get(kind, 63), name


def test_kubernetes_objects_mean_what_the_manifest_says(exported: Path) -> None:
    found = {
        document["metadata"]["name"]: document
        for path in (exported / "kubernetes").glob("awkward-app*.yaml")
        for document in yaml.safe_load_all(path.read_text("utf-8"))
        if document["kind"] == "Deployment"
    }
    (pod,) = (
        d["spec"]["template"]["spec"]
        for d in found.values()
        if d["spec"]["template"]["spec"]["containers"][0].get("resources")
    )
    container = pod["containers"][0]
    told = {entry["name"]: entry["value"] for entry in container["env"]}
    assert told.items() >= {name: text.replace("$(", "$$(") for name, text in AWKWARD.items()}.items()
    assert container["resources"]["limits"] == {"memory": "64Mi", "cpu": "500m"}
    assert container["readinessProbe"]["httpGet"]["path"] == "/h"
    assert len(found) == 2


# developer.hashicorp.com/nomad/docs/job-specification: what may stand in each block, and of what kind. The docker
# driver's own configuration is developer.hashicorp.com/nomad/docs/job-declare/task-driver/docker.
NOMAD: dict[str, dict[str, Any]] = {
    "job": {"type": str, "group": "group", "periodic": "periodic"},
    "periodic": {"crons": list, "prohibit_overlap": bool},
    "group": {"count": int, "volume": "volume", "restart": "restart", "network": "network", "service": "service",
              "task": "task"},
    "volume": {"type": str, "source": str, "read_only": bool},
    "restart": {"attempts": int, "interval": "duration", "delay": "duration", "mode": ("fail", "delay")},
    "network": {"port": "port"},
    "port": {"static": int},
    "service": {"name": str, "port": str, "provider": ("nomad", "consul"), "check": "check"},
    "check": {"type": ("http", "tcp", "script"), "path": str, "interval": "duration", "timeout": "duration"},
    "task": {"driver": ("docker",), "kill_signal": str, "kill_timeout": "duration", "config": "config", "env": dict,
             "volume_mount": "volume_mount", "resources": "resources"},
    "config": {"image": str, "command": str, "args": list, "ports": list},
    "volume_mount": {"volume": str, "destination": str},
    "resources": {"cpu": int, "memory": int},
}  # fmt: skip
LABELLED = {"job", "group", "task", "volume", "port"}


def unquoted(text: str) -> str:
    """The text of an HCL literal, templates and all (hashicorp/hcl, spec.md)."""
    assert text[0] == text[-1] == '"', text
    escape = {"n": "\n", "r": "\r", "t": "\t", '"': '"', "\\": "\\"}

    def one(match: re.Match[str]) -> str:
        word = match[0]
        if word[0] == "\\":
            return chr(int(word[2:], 16)) if word[1] in "uU" else escape[word[1]]
        return word[1:]

    return re.sub(r"\\u[0-9a-f]{4}|\\U[0-9a-f]{8}|\\.|\$\$\{|%%\{", one, text[1:-1])


def check_block(kind: str, body: dict[str, Any], where: str) -> None:
    for name, value in body.items():
        if name == "__is_block__":
            continue
        form = NOMAD[kind].get(name)
        assert form is not None, f"{where}: {kind} has no {name}"
        if isinstance(form, str) and form != "duration":
            for block in value:
                inner = next(iter(block.values())) if form in LABELLED else block
                check_block(form, inner, f"{where}.{name}")
        elif form == "duration":
            assert re.fullmatch(r'"\d+(ms|s|m|h)"', value), f"{where}.{name}: {value}"
        elif isinstance(form, tuple):
            assert unquoted(value) in form, f"{where}.{name}: {value}"
        elif form is str:
            assert isinstance(value, str) and unquoted(value), f"{where}.{name}: {value}"
        elif form is dict:
            assert all(re.fullmatch(r"[A-Za-z_]\w*", key) for key in value[0] if key != "__is_block__")
        else:
            assert type(value) is form, f"{where}.{name}: {value!r}"


def test_nomad_jobs_are_hcl_of_the_documented_form(exported: Path) -> None:
    files = sorted((exported / "nomad").glob("*.nomad.hcl"))
    assert len(files) >= 13
    for path in files:
        text = path.read_text("utf-8")
        (job,) = hcl2.loads(text)["job"]
        ((name, body),) = job.items()
        assert unquoted(name) == path.name.removesuffix(".nomad.hcl")
        check_block("job", body, path.name)
        periodic = "periodic" in body
        assert unquoted(body["type"]) == ("batch" if periodic else "service")
        (group,) = (next(iter(block.values())) for block in body["group"])
        if not periodic:
            assert re.fullmatch(r"[A-Za-z]([-A-Za-z0-9]{0,61}[A-Za-z0-9])?", unquoted(group["service"][0]["name"]))
        (task,) = (next(iter(block.values())) for block in group["task"])
        assert task["resources"][0]["memory"] >= 10
    (task,) = (
        next(iter(block.values()))
        for block in next(
            iter(hcl2.loads((exported / "nomad/awkward_app.nomad.hcl").read_text("utf-8"))["job"][0].values())
        )["group"][0]['"awkward_app"']["task"]
    )
    told = {name: unquoted(value) for name, value in task["env"][0].items() if name != "__is_block__"}
    assert told.items() >= AWKWARD.items()
    assert (unquoted(task["kill_signal"]), unquoted(task["kill_timeout"])) == ("SIGINT", "1s")


@given(st.text(st.characters(exclude_categories=("Cs",), exclude_characters="\0"), max_size=40))
@settings(max_examples=300, deadline=None)
def test_any_text_is_the_same_text_in_yaml_and_hcl_and_harmless_on_a_screen(text: str) -> None:
    document = to_yaml({"a": text, text or "k": [text, {"b": text}]})
    assert yaml.safe_load(document) == {"a": text, text or "k": [text, {"b": text}]}
    assert unquoted(hcl_text(text)) == text
    for line in [*document.splitlines(), hcl_text(text)]:
        assert sanitise(line, 65_536, tabs=False) == line
