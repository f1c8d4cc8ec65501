"""What export makes for other supervisors, held against what they say of themselves."""

from __future__ import annotations

import ast
import glob
import json
import os
import pickle
import shutil
import subprocess
import sys
import tarfile
import time
import urllib.request
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import yaml

from hhtui.engine.export.bundle import bring_in
from hhtui.engine.redis.private_files import installed_servers
from hhtui.errors import ConflictError, HomeHelperError
from tests.cli.conftest import run_hhtui
from tests.engine.backup.archives import make_full_home, quiet
from tests.engine.homes import make_app

EXAMPLES = Path(__file__).parents[2] / "examples" / "apps"
PUBLISHED = Path(__file__).parents[1] / "engine" / "app" / "published"
AWKWARD = {"A": 'x$y %z "q" \\ ${q} $(r) %{p}', "B": "line\nbreak\ttab", "C": "\b\f\u2028 😀 é \u202e", "D": "yes"}
LONG = "l" + "o" * 60 + "ng"

# One worker makes it for all of them.
shared = pytest.mark.xdist_group("exported jobs")


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
        root, "awkward_app", 'echo "$HOME ${X} 100% %h"', limits=limits,
        environment={name: text.replace("${", "$${") for name, text in AWKWARD.items()},
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
    for form in ("systemd", "compose"):
        reported = run_hhtui(root, "export", str(folder / form), "--format", form, "--json")
        assert reported.code == 0, reported.err
        notes[form] = reported.json["notes"]
        printed = run_hhtui(root, "export", "--format", form).out
        for name, text in reported.json["files"].items():
            assert (folder / form / name).read_text("utf-8") == text
            assert text in printed, f"{name} is not printed as it is written"
    (folder / "notes").write_text(json.dumps(notes))
    return folder


@pytest.mark.skipif(not shutil.which("systemd-analyze"), reason="systemd is not installed")
@shared
def test_units_are_what_systemd_takes(exported: Path) -> None:
    units = sorted(str(path) for path in (exported / "systemd").iterdir())
    assert len(units) >= 15
    checked = subprocess.run(["systemd-analyze", "verify", *units], capture_output=True, text=True, check=False)
    assert (checked.returncode, checked.stderr) == (0, "")
    timer = (exported / "systemd" / "homehelper-nightly.timer").read_text()
    assert "OnCalendar=Mon..Fri *-*-* 1..4:0/5:00" in timer


@shared
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


@shared
def test_the_compose_file_fits_the_compose_specifications_schema(exported: Path) -> None:
    path = str(exported / "compose" / "compose.yaml")
    checker = [sys.executable, "-m", "check_jsonschema", "--builtin-schema", "vendor.compose-spec"]
    checked = subprocess.run([*checker, path], capture_output=True, text=True, check=False)
    assert checked.returncode == 0, checked.stdout
    broken = exported / "broken.yaml"
    broken.write_text("services: {a: {image: x, portz: []}}\n")
    assert subprocess.run([*checker, str(broken)], capture_output=True, check=False).returncode == 1


@shared
def test_the_compose_file_means_what_the_manifest_says(exported: Path) -> None:
    services = compose(exported)["services"]
    reported = services["awkward_app"]
    assert reported["environment"].items() >= {name: text.replace("$", "$$") for name, text in AWKWARD.items()}.items()
    assert reported["command"][-1] == 'echo "$$HOME $${X} 100% %h"'
    assert reported["depends_on"] == ["homehelper-redis", "lamp"], "what is left out cannot be waited for"
    assert {"nightly", LONG} & services.keys() == set()
    assert services["homehelper-redis"]["image"].startswith("redis:")
    assert reported["deploy"] == {"resources": {"limits": {"cpus": "0.5", "memory": "64M"}}}
    assert services["0___9-"]["deploy"] == {"resources": {"limits": {"cpus": "0.01", "memory": "6M"}}}
    assert reported["volumes"] == [
        "awkward_app-data:/homehelper/data/awkward_app", "awkward_app-logs:/homehelper/logs/awkward_app",
    ]  # fmt: skip
    assert compose(exported).keys() == {"services", "volumes"}, "the folder's name is the project's"
    notes = json.loads((exported / "notes").read_text())["compose"]
    for words in ("nightly: left out", "homehelper-redis: left out", "awkward_app: its health is not looked at"):
        assert any(words in note for note in notes), words


@pytest.mark.skipif(
    shutil.which("docker") is None
    or subprocess.run(["docker", "compose", "version"], capture_output=True, check=False).returncode != 0,
    reason="docker compose is not installed",
)
@shared
def test_docker_compose_takes_the_file(exported: Path) -> None:
    reported = subprocess.run(
        ["docker", "compose", "-f", str(exported / "compose" / "compose.yaml"), "config", "--format", "json"],
        capture_output=True,
        text=True,
        check=False,
    )
    assert reported.returncode == 0, reported.stderr
    assert json.loads(reported.stdout)["services"]["awkward_app"]["environment"].items() >= AWKWARD.items()


SECRET = 'it\'s $HOME \\ "so" #1'
WEB = """
import argparse, http.server, json, os, pathlib, socket
parser = argparse.ArgumentParser()
parser.add_argument("--port", type=int)
port = parser.parse_args().port
data, logs = (pathlib.Path(os.environ[f"HOMEHELPER_{name}_DIR"]) for name in ("DATA", "LOGS"))
(logs / "own.log").write_text("started")
with open(data / "starts", "a") as file:
    file.write("x")

class Handler(http.server.BaseHTTPRequestHandler):
    def do_GET(self):
        with socket.create_connection((os.environ["REDIS_HOST"], int(os.environ["REDIS_PORT"])), 5) as redis:
            redis.sendall(b"PING\\r\\n")
            pong = redis.recv(100).decode()
        config = json.loads(pathlib.Path(os.environ["HOMEHELPER_CONFIG_PATH"]).read_text())
        body = {"environ": dict(os.environ), "starts": (data / "starts").read_text(), "pong": pong, "config": config,
                "files": sorted(os.listdir("."))}
        self.send_response(200)
        self.end_headers()
        self.wfile.write(json.dumps(body).encode())

http.server.ThreadingHTTPServer(("0.0.0.0", port), Handler).serve_forever()
"""


def make_secret_app(root: Path) -> None:
    app = make_app(root, "web")
    manifest = {
        "name": "Web", "type": "service", "version": "2", "env_file": "own.env",
        "environment": {"PLAIN": "1e3", "TOKEN": "${API_TOKEN}", "PASSWORD": "written in it"},
    }  # fmt: skip
    (app / "homehelper.json").write_text(json.dumps(manifest))
    (app / "app.py").write_text(WEB)
    (app / "own.env").write_text(f"OWN={json.dumps(SECRET)}\n".replace("$", "\\$"))
    for name in (".env", ".git/config", "__pycache__/x.pyc", ".venv/pyvenv.cfg"):
        (app / name).parent.mkdir(exist_ok=True)
        (app / name).write_text("SOMETHING=secret-in-a-file")
    (app / "own.env").chmod(0o600)
    (root / "config" / "secrets.env").write_text("API_TOKEN=token-of-the-home\n")
    (root / "config" / "secrets.env").chmod(0o600)


@pytest.fixture
def project(tmp_path: Path) -> Path:
    root = make_full_home(tmp_path / "home")
    make_secret_app(root)
    reported = run_hhtui(root, "export", str(tmp_path / "stack"), "--format", "compose", "--app", "web", "--json")
    assert reported.code == 0, reported.err
    return tmp_path / "stack"


def test_secrets_are_in_the_env_file_alone(project: Path) -> None:
    files = {str(path.relative_to(project)): path for path in project.rglob("*") if path.is_file()}
    assert sorted(files) == ["compose.yaml", "web.env", "web/.dockerignore", "web/Dockerfile", "web/app/app.py"]
    assert files["web.env"].stat().st_mode & 0o777 == 0o600
    secrets = (b"token-of-the-home", b"written in it", b"secret-in-a-file", b"#1")
    for name, path in files.items():
        held = [secret for secret in secrets if secret in path.read_bytes()]
        assert held == ([] if name != "web.env" else [b"token-of-the-home", b"written in it", b"#1"]), name
    ignored = files["web/.dockerignore"].read_text().splitlines()
    assert {"**/.env", "**/.git", "**/__pycache__", "app/own.env", "app/homehelper.json"} <= set(ignored)


def test_secrets_of_units_are_in_files_that_nobody_else_may_read(tmp_path: Path) -> None:
    root = make_full_home(tmp_path / "home")
    make_secret_app(root)
    folder = tmp_path / "units"
    assert run_hhtui(root, "export", str(folder), "--format", "systemd", "--app", "web").code == 0
    unit, private = folder / "homehelper-web.service", folder / "homehelper-web.env"
    assert {path.name: path.stat().st_mode & 0o777 for path in folder.iterdir()} == {
        unit.name: 0o644,
        private.name: 0o600,
    }
    for secret in ("token-of-the-home", "written in it", "#1"):
        assert secret not in unit.read_text()
    # What systemd.exec(5) takes from a shell's rules means the same to a shell.
    read = subprocess.run(
        ["sh", "-c", f'. {private}; printf "%s|%s|%s" "$TOKEN" "$PASSWORD" "$OWN"'],
        capture_output=True,
        text=True,
        check=True,
    )
    own = SECRET.replace("$", "\\$")  # as the env_file has it
    assert read.stdout == f"token-of-the-home|written in it|{own}"


def test_what_an_owner_has_set_is_told_to_other_supervisors(tmp_path: Path) -> None:
    root = make_full_home(tmp_path / "home")
    make_secret_app(root)
    own = root / "config" / "apps" / "web.json"
    own.parent.mkdir(parents=True)
    there = {
        "environment": {"PLAIN": "mine", "PASSWORD": "owners-word", "NEW": "n", "TOKEN": None}, "port": 8177,
        "limits": {"memory_mb": 77}, "restart": "never", "stop": {"signal": "SIGINT", "timeout_seconds": 7},
        "endpoints": {"health": None},
    }  # fmt: skip
    own.write_text(json.dumps(there))
    units, stack = tmp_path / "units", tmp_path / "stack"
    for folder, form in ((units, "systemd"), (stack, "compose")):
        assert run_hhtui(root, "export", str(folder), "--format", form, "--app", "web").code == 0
    unit = (units / "homehelper-web.service").read_text()
    for line in ('"PLAIN=mine"', '"NEW=n"', '"PORT=8177"', "Restart=no", "KillSignal=SIGINT", "TimeoutStopSec=7",
                 f"MemoryMax={77 * 2**20}"):  # fmt: skip
        assert line in unit, line
    service = yaml.safe_load((stack / "compose.yaml").read_text())["services"]["web"]
    assert (service["environment"]["PLAIN"], service["environment"]["NEW"], service["ports"]) == (
        "mine", "n", ["8177:8177"],
    )  # fmt: skip
    assert (service["restart"], service["stop_signal"], service["stop_grace_period"]) == ("no", "SIGINT", "7s")
    assert service["deploy"]["resources"]["limits"] == {"memory": "77M"} and "healthcheck" not in service
    for folder, private in ((units, "homehelper-web.env"), (stack, "web.env")):
        held = {path.name for path in folder.rglob("*") if path.is_file() and b"owners-word" in path.read_bytes()}
        assert held == {private} and (folder / private).stat().st_mode & 0o777 == 0o600
        assert not any(b"written in it" in path.read_bytes() for path in folder.rglob("*") if path.is_file())
        assert "TOKEN" not in (folder / private).read_text()
    own.write_text('{"schedule": "0 3 * * *"}')
    assert run_hhtui(root, "export", str(units), "--format", "systemd", "--app", "web").code == 0
    assert "OnCalendar=*-*-* 3:0:00" in (units / "homehelper-web.timer").read_text()


@pytest.mark.parametrize("form", ["systemd", "compose"])
def test_of_an_app_that_may_use_the_engines_api_it_is_said_that_there_is_none(tmp_path: Path, form: str) -> None:
    root = make_full_home(tmp_path / "home")
    make_app(root, "panel", permissions={"control": True})
    reported = run_hhtui(root, "export", "--format", form, "--app", "panel", "--json")
    assert [note for note in reported.json["notes"] if note.startswith("panel: has no API of the engine there")]
    assert "HOMEHELPER_APP_ID" in reported.out and "HOMEHELPER_SOCKET" not in reported.out


def test_apps_of_the_published_specification_are_exported_with_all_that_they_ask_for(tmp_path: Path) -> None:
    root = tmp_path / "home"
    shutil.copytree(PUBLISHED, root / "apps")
    (root / "config").mkdir()
    (root / "registry").mkdir()
    (root / "config" / ".env").write_text("DATABASE_URL=postgres://me:pass%20'word$1@host/db\n")
    (root / "config" / "secrets.env").write_text("EXAMPLE_API_KEY=its-own-key\n")
    for name in (".env", "secrets.env"):
        (root / "config" / name).chmod(0o600)
    ports = {"everything": 8150, "everything:mcp": 8160, "receiver": 8151}
    (root / "registry" / "ports.json").write_text(json.dumps({"schema_version": 1, "assigned": ports, "released": {}}))
    address = "postgres://me:pass%20'word$1@host/db"

    units = run_hhtui(root, "export", "--format", "systemd", "--json").json["files"]
    unit = units["homehelper-everything.service"]
    start = next(line for line in unit.splitlines() if line.startswith("ExecStart="))
    assert '"--mcp-port" "8160" "--db-url" "${DATABASE_URL}"' in start
    assert "its-own-key" not in unit and "word" not in unit, "anybody may read a unit"
    assert "EnvironmentFile=/etc/systemd/system/homehelper-everything.env" in unit
    escaped = address.replace("$", "\\$")
    private = units["homehelper-everything.env"].splitlines()
    assert private == ["EXAMPLE_API_KEY='its-own-key'", f'DATABASE_URL="{escaped}"']
    assert 'Environment="HOMEHELPER_MCP_PORT=8160"' in unit
    assert "Requires=homehelper-receiver.service" in unit
    assert "Requires=homehelper-receiver.service" in units["homehelper-sender.service"], "it names it by its name"

    assert run_hhtui(root, "export", str(tmp_path / "stack"), "--format", "compose").code == 0
    services = compose_of(tmp_path / "stack")
    assert services["everything"]["ports"] == ["8150:8150", "8160:8160"]
    assert services["sender"]["depends_on"] == ["homehelper-redis", "receiver"]
    text = (tmp_path / "stack" / "compose.yaml").read_text()
    assert "word" not in text and "its-own-key" not in text
    words = [word.replace("$$", "$") for word in services["everything"]["command"]]
    (tmp_path / "app.py").write_text("import sys; print(sys.argv[1:])")
    started = subprocess.run(
        words, cwd=tmp_path, env={**os.environ, "DATABASE_URL": address}, capture_output=True, text=True, check=True
    )
    given = ast.literal_eval(started.stdout)
    assert given[given.index("--mcp-port") + 1] == "8160"
    assert given[given.index("--db-url") + 1] == address
    assert services["receiver"]["command"][:2] == ["python", "app.py"], "a shell is asked for only where it is needed"


def test_an_export_into_a_folder_of_something_else_is_refused_and_one_of_its_own_is_made_anew(
    project: Path, tmp_path: Path
) -> None:
    root = tmp_path / "home"
    (project / "web" / "app" / "gone.py").write_text("")
    assert run_hhtui(root, "export", str(project), "--format", "compose", "--app", "web").code == 0
    assert not (project / "web" / "app" / "gone.py").exists()
    other = tmp_path / "documents"
    other.mkdir()
    (other / "letter").write_text("dear")
    reported = run_hhtui(root, "export", str(other), "--format", "compose")
    assert (reported.code, "is not empty" in reported.err) == (1, True)
    assert [path.name for path in other.iterdir()] == ["letter"]


def compose_command() -> list[str] | None:
    """Docker's Compose where its engine runs, else Podman's."""
    for words in (["docker", "compose"], ["podman-compose"]):
        probe = [words[0], "info"] if words[0] == "docker" else ["podman", "--version"]
        if shutil.which(words[0]) and all(
            subprocess.run(each, capture_output=True, check=False).returncode == 0
            for each in (probe, [*words, "version"])
        ):
            return words
    return None


def base_image(path: Path) -> None:
    """A tar of what runs here: a shell, mkdir, Python and Redis, with their libraries."""
    python = os.path.realpath("/usr/bin/python3")
    library = f"/usr/lib/{os.path.basename(python)}"
    programs = {python: "/usr/local/bin/python", "/bin/sh": "/bin/sh", "/bin/mkdir": "/bin/mkdir",
                str(installed_servers()[0]): "/bin/redis-server"}  # fmt: skip
    needed = set()
    for file in (*programs, *glob.glob(f"{library}/lib-dynload/*.so")):
        reported = subprocess.run(["ldd", file], capture_output=True, text=True, check=False).stdout
        needed |= {word for word in reported.split() if word.startswith("/")}

    def without_tests(member: tarfile.TarInfo) -> tarfile.TarInfo | None:
        return None if {"test", "__pycache__"} & set(member.name.split("/")) else member

    with tarfile.open(path, "w") as tar:
        for origin, name in {**programs, **{each: each for each in needed}, python: python, **programs}.items():
            tar.add(os.path.realpath(origin), name.lstrip("/"))
        tar.add(python, python.lstrip("/"))
        tar.add(library, library.lstrip("/"), filter=without_tests)


@pytest.mark.skipif(compose_command() is None, reason="neither docker compose with its engine nor podman-compose")
@pytest.mark.skipif(not os.path.exists("/usr/bin/python3") or not installed_servers(), reason="nothing for an image")
def test_the_project_is_built_and_runs_on_a_real_engine(
    project: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    compose_words = compose_command()
    assert compose_words is not None
    engine = "docker" if compose_words[0] == "docker" else "podman"
    storage, settings = tmp_path / "storage.conf", tmp_path / "containers.conf"
    storage.write_text(f'[storage]\ndriver = "vfs"\ngraphroot = "{tmp_path}/images"\nrunroot = "{tmp_path}/running"\n')
    runtime = 'runtime = "runc"\n' if shutil.which("runc") else ""
    settings.write_text(
        '[containers]\ndefault_ulimits = ["nofile=1024:1024", "nproc=1000:1000"]\n'
        f'[engine]\ncgroup_manager = "cgroupfs"\n{runtime}'
    )
    monkeypatch.setenv("CONTAINERS_STORAGE_CONF", str(storage))
    monkeypatch.setenv("CONTAINERS_CONF", str(settings))

    def call(*words: str) -> str:
        done = subprocess.run(words, cwd=project, capture_output=True, text=True, check=False, timeout=240)
        assert done.returncode == 0, f"{words}: {done.stdout[-1000:]}{done.stderr[-2000:]}"
        return done.stdout

    base_image(tmp_path / "base.tar")
    call(engine, "import", str(tmp_path / "base.tar"), "localhost/hhtui-test-base")
    call(engine, "import", "--change", 'CMD ["/bin/redis-server", "--protected-mode", "no"]',
         str(tmp_path / "base.tar"), "docker.io/library/redis:7-alpine")  # fmt: skip
    try:
        call(*compose_words, "build", "--build-arg", "BASE=localhost/hhtui-test-base", "web")
        call(*compose_words, "up", "-d")
        service = compose_of(project)["web"]
        port = int(service["ports"][0].partition(":")[0])
        reported = answer_of(port)
        environ = reported["environ"]
        assert reported["pong"].startswith("+PONG")
        assert reported["config"] == {}
        assert "own.env" not in reported["files"] and "homehelper.json" not in reported["files"]
        assert environ.items() >= {
            "PORT": str(port), "HOMEHELPER_PORT": str(port), "HOMEHELPER_APP_ID": "web", "HOMEHELPER_APP_NAME": "Web",
            "HOMEHELPER_APP_VERSION": "2", "REDIS_URL": "redis://homehelper-redis:6379/0", "PYTHONUNBUFFERED": "1",
            "HOMEHELPER_REDIS_URL": "redis://homehelper-redis:6379/0", "REDIS_PORT": "6379", "PLAIN": "1e3",
            "TOKEN": "token-of-the-home", "PASSWORD": "written in it",
        }.items()  # fmt: skip
        # Podman takes an env_file's quotes for part of the value, as a note says.
        assert (environ["OWN"] == SECRET) == (engine == "docker")
        call(*compose_words, "down")
        call(*compose_words, "up", "-d")
        assert answer_of(port)["starts"] == reported["starts"] + "x", "the data has stayed"
        image = call(engine, "images", "-q", "--filter", "reference=*web*").split()[0]
        call(engine, "save", "-o", str(tmp_path / "image.tar"), image)
        saved = (tmp_path / "image.tar").read_bytes()
        assert b"http.server" in saved, "layers are not packed"
        assert not [
            secret for secret in (b"token-of-the-home", b"written in it", b"secret-in-a-file") if secret in saved
        ]
    finally:
        subprocess.run([*compose_words, "down", "-v"], cwd=project, capture_output=True, check=False)


def compose_of(project: Path) -> dict[str, Any]:
    return dict(yaml.safe_load((project / "compose.yaml").read_text())["services"])


def answer_of(port: int) -> dict[str, Any]:
    deadline = time.monotonic() + 60
    while True:
        try:
            with urllib.request.urlopen(f"http://127.0.0.1:{port}/", timeout=5) as answer:
                return dict(json.load(answer))
        except OSError:
            assert time.monotonic() < deadline
            time.sleep(0.2)


@pytest.mark.skipif(os.geteuid() != 0, reason="only root may be two users")
def test_whoever_does_not_own_the_apps_is_told_who_may_import_and_changes_nothing(tmp_path: Path) -> None:
    """A member of the group, who may look into the home and speak to its engine; then a stranger, who may not."""
    make_secret_app(make_full_home(tmp_path / "other"))
    file = tmp_path / "my apps.tar.gz"
    assert run_hhtui(tmp_path / "other", "export", str(file)).code == 0
    file.chmod(0o644)
    root = make_full_home(tmp_path / "home")
    for parent in tmp_path.parents:
        if parent.stat().st_uid == 0 and parent != Path("/tmp"):
            parent.chmod(parent.stat().st_mode | 0o711)
    tmp_path.chmod(0o711)
    for path in (root, *root.rglob("*")):
        os.chown(path, 0, 65534, follow_symlinks=False)
        if not path.is_symlink():
            path.chmod(0o2750 if path.is_dir() else 0o640)

    request = {"root": str(root), "file": str(file)}
    # Once as root, so that all modules are loaded: another user may not be able to read where they are.
    assert bring_in({**request, "dry_run": True}, quiet)["apps"] == ["web"]
    before = {str(path): path.lstat().st_mtime_ns for path in root.rglob("*")}
    with pytest.raises(ConflictError) as refusal:
        as_other(lambda: bring_in(request, quiet), group=65534)
    assert refusal.value.message == (
        f"{root}/apps belongs to root: bring it in as that user: `sudo -u root hhtui --home {root} import '{file}'`"
    )
    with pytest.raises(HomeHelperError) as refusal:
        as_other(lambda: bring_in(request, quiet), group=65533)
    assert str(root) in refusal.value.message and "\n" not in refusal.value.message
    assert {str(path): path.lstat().st_mtime_ns for path in root.rglob("*")} == before
    assert bring_in(request, quiet)["apps"] == ["web"]
    assert (root / "apps" / "web").is_dir()


def as_other(action: Callable[[], Any], *, group: int) -> Any:
    """Run ``action`` in a child, as the user 65534 with this group alone; what it raises is raised here."""
    reading, writing = os.pipe()
    child = os.fork()
    if child == 0:
        try:
            os.setgroups([])
            os.setgid(group)
            os.setuid(65534)
            outcome = (True, action())
        except Exception as error:
            outcome = (False, error)
        os.write(writing, pickle.dumps(outcome))
        os._exit(0)
    os.close(writing)
    with os.fdopen(reading, "rb") as file:
        done, outcome = pickle.loads(file.read())
    os.waitpid(child, 0)
    if not done:
        raise outcome
    return outcome
