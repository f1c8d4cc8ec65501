"""Real environments, built from a package index in a folder, so that no network is needed."""

from __future__ import annotations

import asyncio
import os
import subprocess
import zipfile
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.apps import installer as installer_module
from hhtui.engine.apps.found_app import FoundApp
from hhtui.engine.apps.installer import Installer, InstallError, find_uv
from hhtui.engine.apps.launch import base_python
from hhtui.engine.apps.requirements import plan_of, unsupported
from hhtui.engine.apps.setup_step import telling_line
from hhtui.paths import Home
from tests.apps.folders import make_app, program, until


def build_wheel(folder: Path, name: str, version: str) -> None:
    """A package with one module and one console script (the wheel format: PEP 427)."""
    info = f"{name}-{version}.dist-info"
    files = {
        f"{name}.py": f"VERSION = '{version}'\ndef main():\n    import sys\n    print('{name}', VERSION, sys.prefix)\n",
        f"{info}/METADATA": f"Metadata-Version: 2.1\nName: {name}\nVersion: {version}\n",
        f"{info}/WHEEL": "Wheel-Version: 1.0\nGenerator: test\nRoot-Is-Purelib: true\nTag: py3-none-any\n",
        f"{info}/entry_points.txt": f"[console_scripts]\n{name}-say = {name}:main\n",
    }
    record = "".join(f"{file},,\n" for file in [*files, f"{info}/RECORD"])
    with zipfile.ZipFile(folder / f"{name}-{version}-py3-none-any.whl", "w") as wheel:
        for file, text in {**files, f"{info}/RECORD": record}.items():
            wheel.writestr(file, text)


class Workshop:
    """A home, its installer, and a package index of its own."""

    def __init__(self, root: Path, **options: Any) -> None:
        self.home = Home.at(root / "home", environ={})
        self.index = root / "index"
        self.index.mkdir()
        build_wheel(self.index, "hhgadget", "1.0")
        build_wheel(self.index, "hhgadget", "2.0")
        self.installer = Installer(self.home, **options)
        self.lines: list[str] = []
        self.environment = {
            "PATH": "/usr/local/bin:/usr/bin:/bin",
            "HOME": str(root),
            "PIP_NO_INDEX": "1",
            "PIP_FIND_LINKS": str(self.index),
            "PIP_CONFIG_FILE": os.devnull,
            "UV_NO_INDEX": "1",
            "UV_OFFLINE": "1",
            "UV_FIND_LINKS": str(self.index),
            "UV_NO_CONFIG": "1",
        }

    def app(self, name: str = "gadget", requirements: str | None = None, **manifest: Any) -> FoundApp:
        files = {"requirements.txt": requirements} if requirements is not None else None
        return make_app(self.home.default_apps_dir, name, files, **manifest)

    async def install(self, app: FoundApp) -> None:
        await self.installer.install(app, self.environment, self.lines.append)

    def run(self, program: str, *words: str, name: str = "gadget") -> str:
        venv = self.home.app_venv(name)
        argv = [str(venv / "bin" / program), *words]
        return subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout

    def environments(self) -> list[str]:
        return sorted(path.name for path in self.home.venvs_dir.iterdir())


@pytest.fixture(params=["uv", "pip"])
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Workshop:
    if request.param == "uv" and find_uv() is None:
        pytest.skip("no uv here")
    return Workshop(tmp_path, **({} if request.param == "uv" else {"uv": None}))


@pytest.fixture
def workshop(tmp_path: Path) -> Workshop:
    """With the quick one of both, if it is there."""
    return Workshop(tmp_path)


async def test_an_app_gets_an_environment_whose_scripts_run_also_after_an_update(either: Workshop) -> None:
    app = either.app(requirements="hhgadget==1.0\n")
    assert either.installer.needed(app)
    assert either.installer.python("gadget") == base_python()
    await either.install(app)
    assert not either.installer.needed(app)
    assert either.installer.python("gadget") == either.home.app_venv("gadget") / "bin" / "python"
    assert either.run("hhgadget-say").startswith("hhgadget 1.0 ")
    before = sorted(path.name for path in app.path.iterdir())

    app = either.app(requirements="hhgadget>=2\n")
    assert either.installer.needed(app)
    await either.install(app)
    assert not either.installer.needed(app)
    assert either.run("hhgadget-say").startswith("hhgadget 2.0 ")
    assert either.run("python", "-c", "import hhgadget; print(hhgadget.VERSION)") == "2.0\n"
    assert either.installer.on_trial("gadget")
    await either.installer.keep("gadget")
    assert not either.installer.on_trial("gadget")
    assert len(either.environments()) == 2
    assert sorted(path.name for path in app.path.iterdir()) == before

    told = len(either.lines)
    await either.install(app)
    assert len(either.lines) == told


async def test_a_failing_install_tells_the_line_and_leaves_the_last_environment_in_use(workshop: Workshop) -> None:
    await workshop.install(workshop.app(requirements="hhgadget==1.0\n"))
    environments = workshop.environments()
    app = workshop.app(requirements="hhgadget==1.0\nhh-no-such-package\n")
    with pytest.raises(InstallError) as error:
        await workshop.install(app)
    assert "hh-no-such-package" in error.value.message
    assert "\n" not in error.value.message
    assert workshop.installer.needed(app)
    assert workshop.environments() == environments
    assert workshop.run("hhgadget-say").startswith("hhgadget 1.0 ")


async def test_an_update_can_be_undone_until_it_is_kept_and_is_not_tried_again(workshop: Workshop) -> None:
    await workshop.install(workshop.app(requirements="hhgadget==1.0\n"))
    assert not workshop.installer.on_trial("gadget")
    assert not workshop.installer.go_back("gadget")
    app = workshop.app(requirements="hhgadget==2.0\n")
    await workshop.install(app)
    assert workshop.run("hhgadget-say").startswith("hhgadget 2.0 ")
    # Another engine, after the power was cut, still knows it.
    installer = Installer(workshop.home)
    assert installer.on_trial("gadget")
    assert installer.go_back("gadget")
    assert workshop.run("hhgadget-say").startswith("hhgadget 1.0 ")
    assert not installer.on_trial("gadget")
    assert not installer.needed(app)
    await installer.keep("gadget")
    assert len(workshop.environments()) == 2
    # A user who asks for it, or other requirements, have it tried again.
    installer.forget("gadget")
    assert installer.needed(app)
    await workshop.install(workshop.app(requirements="hhgadget>=1.5\n"))
    assert workshop.run("hhgadget-say").startswith("hhgadget 2.0 ")


async def test_requirements_can_be_a_list_and_no_specifier_is_an_option(workshop: Workshop) -> None:
    await workshop.install(workshop.app(requirements=None))
    app = make_app(workshop.home.default_apps_dir, "gadget", requirements=["hhgadget<2; python_version > '3'"])
    await workshop.install(app)
    assert workshop.run("hhgadget-say").startswith("hhgadget 1.0 ")
    with pytest.raises(InstallError):
        await workshop.install(make_app(workshop.home.default_apps_dir, "sly", requirements=["--version"]))


async def test_an_app_without_requirements_needs_no_environment_and_loses_one_that_it_had(workshop: Workshop) -> None:
    app = workshop.app()
    assert not workshop.installer.needed(app)
    assert workshop.installer.python("gadget") == base_python()
    await workshop.install(workshop.app(requirements="hhgadget\n"))
    (app.path / "requirements.txt").unlink()
    assert workshop.installer.needed(app)
    await workshop.install(app)
    assert workshop.environments() == []
    assert not workshop.installer.needed(app)


async def test_setup_commands_run_in_order_in_the_apps_environment_once_per_change(workshop: Workshop) -> None:
    commands = {"first": "echo one >> ../order", "second": "hhgadget-say && echo two >> ../order && pwd"}
    app = workshop.app(requirements="hhgadget\n", setup_commands=commands)
    await workshop.install(app)
    await workshop.install(app)
    order = workshop.home.default_apps_dir / "order"
    assert order.read_text() == "one\ntwo\n"
    assert str(app.path) in workshop.lines
    assert any(line.startswith("hhgadget 2.0 ") for line in workshop.lines)
    commands["third"] = "echo three >> ../order"
    await workshop.install(workshop.app(setup_commands=commands))
    assert order.read_text() == "one\ntwo\none\ntwo\nthree\n"


async def test_forgetting_makes_the_next_install_build_anew(workshop: Workshop) -> None:
    app = workshop.app(requirements="hhgadget\n")
    await workshop.install(app)
    before = workshop.environments()
    workshop.installer.forget("gadget")
    assert workshop.run("hhgadget-say")
    assert workshop.installer.needed(app)
    await workshop.install(app)
    assert workshop.environments() != before


async def test_an_environment_whose_interpreter_is_gone_is_built_anew(workshop: Workshop) -> None:
    app = workshop.app(requirements="hhgadget\n")
    await workshop.install(app)
    python = workshop.home.app_venv("gadget") / "bin" / "python"
    python.unlink()
    python.symlink_to("/no/such/python3.9")
    assert workshop.installer.needed(app)
    assert workshop.installer.python("gadget") == base_python()
    await workshop.install(app)
    assert workshop.run("hhgadget-say")


async def test_what_installing_prints_is_kept_with_times_and_within_bounds(workshop: Workshop) -> None:
    log = workshop.home.app_logs("gadget") / "setup.log"
    log.parent.mkdir(parents=True)
    log.write_text("an old line\n" * 200_000)
    commands = {"talk": "printf 'h\\303\\244llo \\033[31mred\\033[0m\\n'; echo oops >&2; exit 3"}
    with pytest.raises(InstallError, match=r"^setup_commands.talk exited 3: oops$"):
        await workshop.install(workshop.app(setup_commands=commands))
    lines = log.read_text().splitlines()
    assert log.stat().st_size < 1.1 * 1024 * 1024
    assert lines[0] == "an old line"
    assert [line.split(" ", 1)[1] for line in lines[-3:]] == ["hällo red", "oops", "setup_commands.talk exited 3: oops"]
    assert lines[-1][:4].isdigit()
    assert lines[-1][23] == "Z"


async def test_cancelling_ends_everything_that_was_started_and_leaves_nothing_behind(workshop: Workshop) -> None:
    await workshop.install(workshop.app(requirements="hhgadget\n"))
    environments = workshop.environments()
    pids = workshop.home.default_apps_dir / "pids"
    # A child, one in a session of its own, and one whose parent has gone.
    command = f"sleep 300 & setsid sleep 300 & (setsid sleep 300 &) ; echo $$ > {pids}; wait"
    app = workshop.app(requirements="hhgadget\n", setup_commands=[command])
    task = asyncio.create_task(workshop.install(app))
    await until(lambda: pids.exists() and len(sleepers(workshop)) == 3, 20)
    task.cancel()
    with pytest.raises(asyncio.CancelledError):
        await task
    await until(lambda: sleepers(workshop) == [])
    assert workshop.environments() == environments
    assert workshop.run("hhgadget-say")


def sleepers(workshop: Workshop) -> list[str]:
    """The living ``sleep`` processes that carry this workshop's environment."""
    found = []
    for entry in os.listdir("/proc"):
        try:
            command = Path(f"/proc/{entry}/cmdline").read_bytes()
            environ = Path(f"/proc/{entry}/environ").read_bytes()
        except OSError:
            continue
        if command == b"sleep\x00300\x00" and os.fsencode(workshop.index) in environ:
            found.append(entry)
    return found


async def test_what_a_killed_engine_left_of_an_installation_is_ended_by_the_next(workshop: Workshop) -> None:
    app = workshop.app(setup_commands=["test -e ../again || exec sleep 300"])
    task = asyncio.create_task(workshop.install(app))
    await until(lambda: sleepers(workshop), 20)
    environ = Path(f"/proc/{sleepers(workshop)[0]}/environ").read_bytes().split(b"\0")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    variables = dict(os.fsdecode(entry).split("=", 1) for entry in environ if entry)
    with program("sleep", "300", env=variables) as orphan:
        (workshop.home.default_apps_dir / "again").touch()
        await workshop.install(app)
        await until(lambda: orphan.poll() is not None)


async def test_a_command_that_takes_too_long_is_ended(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer_module, "COMMAND_LIMIT", 0.5)
    with pytest.raises(InstallError, match=r"setup_commands.1 took longer than 0s and was ended"):
        await workshop.install(workshop.app(setup_commands=["sleep 300 & wait"]))
    await until(lambda: sleepers(workshop) == [])


async def test_at_most_two_install_at_once_and_who_waits_is_told_its_place(workshop: Workshop) -> None:
    gate = workshop.home.root / "gate"
    command = f"while ! test -e {gate}; do sleep 0.05; done"
    apps = [make_app(workshop.home.default_apps_dir, f"a{n}", setup_commands=[command]) for n in range(5)]
    lines: list[list[str]] = [[] for _ in apps]
    tasks = [
        asyncio.create_task(workshop.installer.install(app, workshop.environment, lines[n].append))
        for n, app in enumerate(apps)
    ]
    place = "waits for other apps to be installed: number {} in the queue".format
    await until(lambda: lines[4])
    assert [said[0].startswith("$ ") for said in lines] == [True, True, False, False, False]
    assert [said[0] for said in lines[2:]] == [place(1), place(2), place(3)]
    tasks[3].cancel()
    await until(lambda: lines[4][-1] == place(2))
    gate.touch()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results].count("NoneType") == 4
    assert not any(workshop.installer.needed(app) for n, app in enumerate(apps) if n != 3)


async def test_leftovers_of_a_power_cut_are_removed(workshop: Workshop) -> None:
    (workshop.home.venvs_dir / ".gadget.0badbeef" / "lib").mkdir(parents=True)
    (workshop.home.venvs_dir / ".gadgets.1").mkdir()
    (workshop.home.app_venv("gadget") / "bin").mkdir(parents=True)
    app = workshop.app(requirements="hhgadget\n")
    await workshop.install(app)
    assert workshop.run("hhgadget-say")
    names = workshop.environments()
    assert len(names) == 3
    assert ".gadgets.1" in names
    assert ".gadget.0badbeef" not in names


def test_the_fingerprint_follows_included_files_and_streamlit_is_added(workshop: Workshop) -> None:
    app = workshop.app(requirements="-r more/base.txt\n")
    (app.path / "more").mkdir()
    (app.path / "more" / "base.txt").write_text("-r ../requirements.txt\nsix\n")
    first = plan_of(app)
    (app.path / "more" / "base.txt").write_text("six>1\n")
    second = plan_of(app)
    assert first is not None
    assert second is not None
    assert first.fingerprint != second.fingerprint
    page = plan_of(workshop.app("page", type="streamlit"))
    assert page is not None
    assert page.words == ("streamlit",)


@pytest.mark.parametrize(
    ("machine", "bits", "refused"),
    [("armv7l", 32, True), ("armv6l", 32, True), ("aarch64", 32, True), ("aarch64", 64, False), ("x86_64", 64, False)],
)
def test_streamlit_is_refused_on_32_bit_arm_with_the_reason(
    tmp_path: Path, machine: str, bits: int, refused: bool
) -> None:
    page, service = make_app(tmp_path, "page", type="streamlit"), make_app(tmp_path, "service")
    assert page.manifest is not None
    assert service.manifest is not None
    assert ("pyarrow" in (unsupported(page.manifest, machine, bits) or "")) is refused
    assert unsupported(service.manifest, machine, bits) is None


@pytest.mark.parametrize(
    ("output", "telling"),
    [
        ("", ""),
        ("one\ntwo", "two"),
        (
            "Resolving\n  × No solution found when resolving dependencies:\n"
            "  ╰─▶ Because only six<=1.17.0 is available\n"
            "      and you require six>=99, we can conclude\n      that your requirements are unsatisfiable.",
            "Because only six<=1.17.0 is available and you require six>=99, we can conclude that your requirements are "
            "unsatisfiable.",
        ),
        (
            "error: Couldn't parse requirement in `r.txt` at position 0\n  cause: no such comparison operator",
            "Couldn't parse requirement in `r.txt` at position 0: no such comparison operator",
        ),
        (
            "gcc -c x.c\nx.c:1:10: fatal error: Python.h: No such file or directory\ncompilation terminated.\n"
            "error: command '/usr/bin/gcc' failed with exit code 1\nERROR: Failed building wheel for x",
            "x.c:1:10: fatal error: Python.h: No such file or directory",
        ),
        (
            'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n    f()\n'
            "ModuleNotFoundError: No module named 'x'\nmake: *** [all] Error 1",
            "ModuleNotFoundError: No module named 'x'",
        ),
        (
            "error: Failed to fetch: `https://pypi.org/simple/six/`\n  Caused by: error sending request\n"
            "  Caused by: dns error: failed to lookup address information: Temporary failure in name resolution",
            "dns error: failed to lookup address information: Temporary failure in name resolution",
        ),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\nhm", None),
    ],
    ids=range(8),
)
def test_the_line_that_tells_most_is_found(output: str, telling: str | None) -> None:
    found = telling_line(output.splitlines())
    assert found == telling if telling is not None else found.endswith("No space left on device")
