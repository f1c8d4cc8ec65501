"""What is built can be installed into an empty environment and starts there, on every Python that is at hand."""

from __future__ import annotations

import os
import shutil
import subprocess
import sys
import sysconfig
import tarfile
import venv
import zipfile
from pathlib import Path

import pytest

from hhtui import __version__
from hhtui.client.sync import EngineClient
from hhtui.paths import Home
from tests.conftest import PERSON
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import make_home, until

ROOT = Path(__file__).parents[2]
# Where others may be: pyenv's, uv's, the system's.
OTHERS = [
    *PERSON.glob(".pyenv/versions/3.1[123].*/bin/python3"),
    *PERSON.glob(".local/share/uv/python/cpython-3.1[123].*/bin/python3"),
    *(Path(found) for name in ("python3.12", "python3.13") if (found := shutil.which(name))),
]

# One worker builds for all of them.
shared = pytest.mark.xdist_group("distribution")


@pytest.fixture(scope="module")
def built(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """dist/ with the wheel and the sdist; the sdist is built into the wheel, as pip would do it."""
    folder = tmp_path_factory.mktemp("dist")
    build = [sys.executable, "-m", "hatchling", "build", "--directory", str(folder)]
    subprocess.run([*build, "--target", "sdist"], cwd=ROOT, check=True, capture_output=True, timeout=60)
    (sdist,) = folder.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        archive.extraction_filter = getattr(tarfile, "data_filter", None)  # from 3.11.4 on
        archive.extractall(folder / "source")
    (source,) = (folder / "source").iterdir()
    subprocess.run([*build, "--target", "wheel"], cwd=source, check=True, capture_output=True, timeout=60)
    return folder


@pytest.fixture(scope="module")
def wheel(built: Path) -> Path:
    (wheel,) = built.glob("*.whl")
    return wheel


@pytest.fixture(scope="module")
def installed(wheel: Path, tmp_path_factory: pytest.TempPathFactory) -> Path:
    """An environment with the wheel; what it depends on is this environment's."""
    folder = tmp_path_factory.mktemp("installed")
    venv.create(folder, with_pip=False)
    subprocess.run(
        [
            *(sys.executable, "-m", "pip", "--python", str(folder / "bin" / "python"), "install", "--quiet"),
            *("--no-deps", "--no-index", "--disable-pip-version-check", str(wheel)),
        ],
        check=True,
        timeout=60,
    )
    (packages,) = (folder / "lib").glob("python*/site-packages")
    # Not as a .pth file's line: the editable hhtui of this environment must not come with it.
    here = sysconfig.get_paths()["purelib"]
    (packages / "dependencies.pth").write_text(f"{here}\n")
    return folder


def environment() -> dict[str, str]:
    return {
        name: value for name, value in os.environ.items() if not name.startswith(("PYTHON", "HOMEHELPER_", "VIRTUAL"))
    }


@shared
def test_the_wheel_holds_everything_that_the_program_reads(wheel: Path) -> None:
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
    for kind, here, there in (
        ("*.tcss", "styles", "hhtui/styles"),
        ("*", "config", "hhtui/default_config"),
        ("**/*", "examples/apps", "hhtui/examples"),
    ):
        sources = [path for path in (ROOT / here).glob(kind) if path.is_file() and "__pycache__" not in path.parts]
        assert sources
        assert [path for path in sources if f"{there}/{path.relative_to(ROOT / here)}" not in names] == []
    assert any(name.endswith(".data/data/share/man/man1/hhtui.1") for name in names)
    assert not [name for name in names if name.startswith("tests/") or "__pycache__" in name]


@shared
def test_the_sdist_holds_the_sources_tests_and_documentation(built: Path) -> None:
    (sdist,) = built.glob("*.tar.gz")
    with tarfile.open(sdist) as archive:
        names = {name.partition("/")[2] for name in archive.getnames()}
    assert {"Makefile", "README.md", "LICENSE", "pyproject.toml", "docs/install.md", "hhtui/__init__.py"} <= names
    assert "tests/packaging/test_distribution.py" in names


@shared
def test_an_installed_wheel_starts(installed: Path, tmp_path: Path) -> None:
    program = installed / "bin" / "hhtui"
    done = subprocess.run(
        [program, "--version"], env=environment(), cwd=tmp_path, capture_output=True, text=True, check=False
    )
    assert (done.returncode, done.stdout, done.stderr) == (0, f"hhtui {__version__}\n", "")
    where = subprocess.run(
        [installed / "bin" / "python", "-P", "-c", "import hhtui; print(hhtui.__file__)"],
        env=environment(),
        cwd=tmp_path,
        capture_output=True,
        text=True,
        check=True,
    )
    assert where.stdout.startswith(str(installed))
    shown = subprocess.run(
        [program, "service", "show", "--user"], env=environment(), capture_output=True, text=True, check=True
    )
    assert f"ExecStart={installed}/bin/python -P -m hhtui --engine-only" in shown.stdout


@shared
async def test_the_engine_of_an_installed_wheel_serves_and_ends(installed: Path, tmp_path: Path) -> None:
    engine = EngineProcess(make_home(tmp_path / "home"))
    engine.process = subprocess.Popen(
        [installed / "bin" / "hhtui", "--engine-only", "--quiet", "--home", str(engine.root)],
        env=environment(),
        cwd=tmp_path,
    )
    try:
        health = engine.answers()
        assert health["version"] == __version__
        assert engine.terminate() == 0
    finally:
        end_home(engine)


def test_make_without_a_network_ends_with_a_line_of_ours(tmp_path: Path) -> None:
    for name in ("Makefile", "requirements.lock", "pyproject.toml"):
        shutil.copy(ROOT / name, tmp_path)
    nobody = {"PIP_INDEX_URL": "http://127.0.0.1:1/simple", "PIP_RETRIES": "0", "PIP_CONFIG_FILE": os.devnull}
    done = subprocess.run(
        ["make", f"PYTHON={sys.executable}", "VENV=env", "run"],
        env={**environment(), **nobody},
        cwd=tmp_path,
        capture_output=True,
        text=True,
        timeout=110,
        check=False,
    )
    ours = [line for line in done.stderr.splitlines() if line.startswith("hhtui: ")]
    assert done.returncode == 2
    assert len(ours) == 1 and "needs a network" in ours[0]
    assert not (tmp_path / "env" / ".installed").exists()


def other_pythons() -> dict[str, Path]:
    """One Python of each other minor version that we support."""
    found: dict[str, Path] = {}
    for path in OTHERS:
        done = subprocess.run(
            [path, "-c", "import sys; print(*sys.version_info[:2], sep='.')"],
            capture_output=True,
            text=True,
            check=False,
        )
        version = done.stdout.strip()
        if version in ("3.11", "3.12", "3.13") and version != f"{sys.version_info[0]}.{sys.version_info[1]}":
            found.setdefault(version, path)
    return found


@pytest.mark.parametrize("version", ["3.11", "3.12", "3.13"])
@shared
async def test_the_program_runs_on_every_python_it_claims(version: str, wheel: Path, tmp_path: Path) -> None:
    python = other_pythons().get(version)
    if python is None:
        pytest.skip(f"no other Python {version} here")
    folder = tmp_path / "env"
    uv = shutil.which("uv") or str(Path(sys.executable).with_name("uv"))
    subprocess.run(
        [uv, "venv", "--quiet", "--no-project", "--python", str(python), str(folder)], check=True, timeout=60
    )
    done = subprocess.run(
        [uv, "pip", "install", "--quiet", "--python", str(folder / "bin" / "python"), str(wheel)],
        capture_output=True,
        text=True,
        timeout=60,
        check=False,
    )
    if done.returncode:
        assert "Failed to fetch" in done.stderr or "error sending request" in done.stderr, done.stderr
        pytest.skip(f"the packages for Python {version} cannot be had here")
    engine = EngineProcess(make_home(tmp_path / "home"))
    engine.process = subprocess.Popen(
        [folder / "bin" / "hhtui", "--engine-only", "--quiet", "--home", str(engine.root)], env=environment()
    )
    try:
        engine.answers(60)  # nothing is compiled yet
        client = EngineClient(Home.at(engine.root, environ={}).engine_socket)
        await until(lambda: client.metrics()["hardware"])
        assert engine.terminate() == 0
    finally:
        end_home(engine)
