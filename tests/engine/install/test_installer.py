"""Real environments, built from a package index in a folder, so that no network is needed."""

from __future__ import annotations

import asyncio
import functools
import http.server
import io
import os
import shutil
import ssl
import subprocess
import tarfile
import threading
import zipfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.discovery.found_app import FoundApp
from hhtui.engine.install import installer as installer_module
from hhtui.engine.install.installer import Installer, InstallError, find_uv
from hhtui.engine.install.pip_settings import for_uv, owners_settings, pip_settings
from hhtui.engine.install.requirements import plan_of, unsupported
from hhtui.engine.install.setup_step import cause_line
from hhtui.engine.launch.launch import base_python, make_app_folders
from hhtui.engine.launch.sandbox import NoSandboxError, Sandbox, find_bwrap, hidden_places, sandbox_mode
from hhtui.model.config import Config
from hhtui.paths import Home
from tests.engine.discovery.folders import make_found_app, program
from tests.engine.homes import until


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

    def __init__(self, root: Path, *, apart: bool | None = None, **options: Any) -> None:
        self.apart = sandbox_mode(Config()) != "off" if apart is None else apart
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
        return make_found_app(self.home.default_apps_dir, name, files, **manifest)

    async def install(self, app: FoundApp, report: Callable[[str], None] | None = None) -> list[str]:
        report = report or self.lines.append
        return await self.installer.install(app, self.environment, report, sandbox=self.sandbox(app))

    def sandbox(self, app: FoundApp) -> Sandbox | None:
        """As the engine makes it, if apps are to be kept apart."""
        if not self.apart or app.manifest is None:
            return None
        make_app_folders(self.home, app.app_id)
        return Sandbox(
            find_bwrap(), app.app_id, app.path, self.home.app_data(app.app_id), self.home.app_logs(app.app_id),
            self.installer.python(app.app_id), hidden_places(self.home, Config()), app.manifest.permissions,
        )  # fmt: skip

    def run(self, program: str, *words: str, name: str = "gadget") -> str:
        venv = self.home.app_venv(name)
        argv = [str(venv / "bin" / program), *words]
        return subprocess.run(argv, stdout=subprocess.PIPE, check=True, text=True).stdout

    def environments(self) -> list[str]:
        return sorted(path.name for path in self.home.venvs_dir.iterdir())


def made(root: Path, tool: str, apart: bool | None) -> Workshop:
    if tool == "uv" and find_uv() is None:
        pytest.skip("no uv here")
    if apart:
        try:
            find_bwrap()
        except NoSandboxError as error:
            pytest.skip(error.message)
    return Workshop(root, apart=apart, **({} if tool == "uv" else {"uv": None}))


@pytest.fixture(params=[("uv", False), ("pip", False), ("uv", True), ("pip", True)], ids=lambda param: f"{param}")
def either(request: pytest.FixtureRequest, tmp_path: Path) -> Workshop:
    return made(tmp_path, *request.param)


@pytest.fixture(params=["uv", "pip"])
def apart(request: pytest.FixtureRequest, tmp_path: Path) -> Workshop:
    """What installing runs is kept apart."""
    return made(tmp_path, request.param, True)


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
    assert len([name for name in either.environments() if name != ".gadget.cache"]) == 2
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
    assert len([name for name in workshop.environments() if name != ".gadget.cache"]) == 2
    # A user who asks for it, or other requirements, have it tried again.
    installer.forget("gadget")
    assert installer.needed(app)
    await workshop.install(workshop.app(requirements="hhgadget>=1.5\n"))
    assert workshop.run("hhgadget-say").startswith("hhgadget 2.0 ")


async def test_requirements_can_be_a_list_and_no_specifier_is_an_option(workshop: Workshop) -> None:
    await workshop.install(workshop.app(requirements=None))
    app = make_found_app(workshop.home.default_apps_dir, "gadget", requirements=["hhgadget<2; python_version > '3'"])
    await workshop.install(app)
    assert workshop.run("hhgadget-say").startswith("hhgadget 1.0 ")
    with pytest.raises(InstallError):
        await workshop.install(make_found_app(workshop.home.default_apps_dir, "sly", requirements=["--version"]))


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
    commands = {"first": "echo one >> order", "second": "hhgadget-say && echo two >> order && pwd"}
    app = workshop.app(requirements="hhgadget\n", setup_commands=commands)
    await workshop.install(app)
    await workshop.install(app)
    order = app.path / "order"
    assert order.read_text() == "one\ntwo\n"
    assert str(app.path) in workshop.lines
    assert any(line.startswith("hhgadget 2.0 ") for line in workshop.lines)
    commands["third"] = "echo three >> order"
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
    pids = workshop.home.default_apps_dir / "gadget" / "pids"
    # A child, one in a session of its own, and one whose parent has gone.
    command = "sleep 300 & setsid sleep 300 & (setsid sleep 300 &) ; echo $$ > pids; wait"
    app = workshop.app(requirements="hhgadget\n", setup_commands=[command])
    task = asyncio.create_task(workshop.install(app))
    await until(lambda: pids.exists() and len(sleepers(workshop)) == 3, 60)
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
    app = workshop.app(setup_commands=["test -e again || exec sleep 300"])
    task = asyncio.create_task(workshop.install(app))
    await until(lambda: sleepers(workshop), 60)
    environ = Path(f"/proc/{sleepers(workshop)[0]}/environ").read_bytes().split(b"\0")
    task.cancel()
    await asyncio.gather(task, return_exceptions=True)
    variables = dict(os.fsdecode(entry).split("=", 1) for entry in environ if entry)
    with program("sleep", "300", env=variables) as orphan:
        (app.path / "again").touch()
        await workshop.install(app)
        await until(lambda: orphan.poll() is not None)


async def test_a_command_that_takes_too_long_is_ended(workshop: Workshop, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(installer_module, "COMMAND_LIMIT", 0.5)
    with pytest.raises(InstallError, match=r"setup_commands.1 took longer than 0s and was ended"):
        await workshop.install(workshop.app(setup_commands=["sleep 300 & wait"]))
    await until(lambda: sleepers(workshop) == [])


async def test_at_most_two_install_at_once_and_who_waits_is_told_its_place(workshop: Workshop) -> None:
    command = "while ! test -e gate; do sleep 0.05; done"
    apps = [make_found_app(workshop.home.default_apps_dir, f"a{n}", setup_commands=[command]) for n in range(5)]
    lines: list[list[str]] = [[] for _ in apps]
    tasks = [asyncio.create_task(workshop.install(app, lines[n].append)) for n, app in enumerate(apps)]
    place = "waits for other apps to be installed: number {} in the queue".format
    await until(lambda: all(lines))
    assert [said[0].startswith("$ ") for said in lines] == [True, True, False, False, False]
    assert [said[0] for said in lines[2:]] == [place(1), place(2), place(3)]
    tasks[3].cancel()
    await until(lambda: lines[4][-1] == place(2))
    for app in apps:
        (app.path / "gate").touch()
    results = await asyncio.gather(*tasks, return_exceptions=True)
    assert [type(result).__name__ for result in results].count("list") == 4
    assert not any(workshop.installer.needed(app) for n, app in enumerate(apps) if n != 3)


async def test_leftovers_of_a_power_cut_are_removed(workshop: Workshop) -> None:
    (workshop.home.venvs_dir / ".gadget.0badbeef" / "lib").mkdir(parents=True)
    (workshop.home.venvs_dir / ".gadgets.1").mkdir()
    (workshop.home.app_venv("gadget") / "bin").mkdir(parents=True)
    app = workshop.app(requirements="hhgadget\n")
    await workshop.install(app)
    assert workshop.run("hhgadget-say")
    names = workshop.environments()
    names.remove(".gadgets.1")
    assert len([name for name in names if name != ".gadget.cache"]) == 2
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
    page, service = make_found_app(tmp_path, "page", type="streamlit"), make_found_app(tmp_path, "service")
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
            'ERROR: Exception:\nTraceback (most recent call last):\n  File "pip.py", line 1, in <module>\n    f()\n'
            "ValueError: check_hostname requires server_hostname",
            "ValueError: check_hostname requires server_hostname",
        ),
        (
            'Traceback (most recent call last):\n  File "x.py", line 1, in <module>\n    f()\n'
            "ModuleNotFoundError: No module named 'x'\nmake: *** [all] Error 1",
            "ModuleNotFoundError: No module named 'x'",
        ),
        (
            "WARNING: Retrying (Retry(total=4, connect=None, read=None, redirect=None, status=None)) after connection "
            "broken by 'NewConnectionError('<pip._vendor.urllib3.connection.HTTPSConnection object at 0x7f>: Failed to "
            "establish a new connection: [Errno -3] Temporary failure in name resolution')': /simple/x/\n"
            "ERROR: Could not find a version that satisfies the requirement x (from versions: none)",
            "no connection to the package index: NewConnectionError('Failed to establish a new connection: [Errno -3] "
            "Temporary failure in name resolution')",
        ),
        (
            "error: Failed to fetch: `https://pypi.org/simple/six/`\n  Caused by: error sending request\n"
            "  Caused by: dns error: failed to lookup address information: Temporary failure in name resolution",
            "Failed to fetch: `https://pypi.org/simple/six/`: dns error: failed to lookup address information: "
            "Temporary failure in name resolution",
        ),
        (
            "Using Python 3.11.2 environment at: v\nerror: Failed to fetch: https://10.0.0.1/simple/six/\n"
            "  cause: error sending request for url (https://10.0.0.1/simple/six/)\n"
            "  cause: client error (Connect)\n  cause: invalid peer certificate: UnknownIssuer",
            "Failed to fetch: https://10.0.0.1/simple/six/: invalid peer certificate: UnknownIssuer",
        ),
        ("ERROR: Could not install packages due to an OSError: [Errno 28] No space left on device\nhm", None),
    ],
    ids=range(11),
)
def test_the_line_that_tells_most_is_found(output: str, telling: str | None) -> None:
    found = cause_line(output.splitlines())
    assert found == telling if telling is not None else found.endswith("No space left on device")


def certificates(folder: Path) -> tuple[Path, Path]:
    """A certificate authority of our own, and a certificate with key that it gave to localhost."""
    run = ["openssl", "req", "-newkey", "rsa:2048", "-nodes", "-days", "2"]
    authority, request, both = folder / "ca.pem", folder / "server.csr", folder / "server.pem"
    (folder / "names").write_text("subjectAltName=DNS:localhost")
    for words in (
        [*run, "-x509", "-keyout", folder / "ca.key", "-out", authority, "-subj", "/CN=Company"],
        [*run, "-keyout", folder / "server.key", "-out", request, "-subj", "/CN=localhost"],
        [
            *("openssl", "x509", "-req", "-in", request, "-CA", authority, "-CAkey", folder / "ca.key"),
            *("-CAcreateserial", "-days", "2", "-extfile", folder / "names", "-out", folder / "server.crt"),
        ],
    ):
        subprocess.run([str(word) for word in words], check=True, stderr=subprocess.DEVNULL)
    both.write_text((folder / "server.key").read_text() + (folder / "server.crt").read_text())
    return authority, both


@pytest.fixture
def company(tmp_path: Path) -> Iterator[tuple[str, Path]]:
    """A package index over TLS whose certificate only one authority's file proves: its URL and that file."""
    if shutil.which("openssl") is None:
        pytest.skip("no openssl here")
    authority, both = certificates(tmp_path)
    packages = tmp_path / "served" / "simple" / "hhgadget"
    packages.mkdir(parents=True)
    build_wheel(packages, "hhgadget", "3.0")
    handler = functools.partial(http.server.SimpleHTTPRequestHandler, directory=str(tmp_path / "served"))
    server = http.server.ThreadingHTTPServer(("127.0.0.1", 0), handler)
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(both)
    server.socket = context.wrap_socket(server.socket, server_side=True)
    thread = threading.Thread(target=server.serve_forever)
    thread.start()
    yield f"https://localhost:{server.server_address[1]}/simple", authority
    server.shutdown()
    thread.join()
    server.server_close()


async def test_an_index_and_a_certificate_in_pips_configuration_hold_for_apps(
    either: Workshop, company: tuple[str, Path]
) -> None:
    url, authority = company
    conf = either.home.root.parent / ".config" / "pip" / "pip.conf"
    conf.parent.mkdir(parents=True)
    conf.write_text(f"[global]\nindex-url = {url}\n[install]\ncert = {authority}\n")
    either.environment = {"PATH": either.environment["PATH"], "HOME": str(conf.parents[2])}
    await either.install(either.app(requirements="hhgadget==3.0\n"))
    assert either.run("hhgadget-say").startswith("hhgadget 3.0 ")


async def test_an_unknown_certificate_is_the_reason_that_is_told(workshop: Workshop, company: tuple[str, Path]) -> None:
    url, _ = company
    workshop.environment = {
        "PATH": workshop.environment["PATH"], "HOME": str(workshop.home.root), "PIP_INDEX_URL": url, "PIP_RETRIES": "0",
        "UV_HTTP_RETRIES": "0",
    }  # fmt: skip
    with pytest.raises(InstallError) as error:
        await workshop.install(workshop.app(requirements="hhgadget==3.0\n"))
    assert "certificate" in error.value.message
    assert "exited" not in error.value.message
    assert any("; trying pip" in line for line in workshop.lines) is (find_uv() is not None)


def test_pips_settings_are_handed_on_unless_uv_has_its_own(tmp_path: Path) -> None:
    conf = tmp_path / "pip.conf"
    conf.write_text(
        "[global]\nindex_url = https://a/simple\nextra-index-url =\n  https://b/simple\n  https://c/simple\n"
        "trusted-host = a b\nproxy = http://p:3128\ntimeout = 60\nno-binary = :all:\nrequire-hashes = true\n"
        "[install]\nfind-links = /x /y\n[freeze]\ntimeout = 1\n"
    )
    environ = {"PIP_CONFIG_FILE": str(conf), "HOME": str(tmp_path), "PIP_CERT": "/ca.pem", "XDG_CONFIG_DIRS": "/none"}
    found = for_uv(pip_settings(environ), environ)
    expected = {
        "UV_DEFAULT_INDEX": "https://a/simple", "UV_EXTRA_INDEX_URL": "https://b/simple https://c/simple",
        "UV_INDEX_STRATEGY": "unsafe-best-match", "UV_INSECURE_HOST": "a b", "ALL_PROXY": "http://p:3128",
        "UV_HTTP_TIMEOUT": "60", "UV_NO_BINARY": "1", "UV_REQUIRE_HASHES": "1", "UV_FIND_LINKS": "/x,/y",
        "SSL_CERT_FILE": "/ca.pem",
    }  # fmt: skip
    assert found == expected
    own = {**environ, "UV_INDEX_URL": "https://mine", "SSL_CERT_FILE": "/mine.pem"}
    assert not {"UV_DEFAULT_INDEX", "SSL_CERT_FILE"} & for_uv(pip_settings(own), own).keys()
    assert pip_settings({"PIP_CONFIG_FILE": os.devnull, "HOME": str(tmp_path)}) == {}


@pytest.mark.parametrize(
    "line", ["./hhlib", "-e ./hhlib", "--editable=./hhlib[x] ; python_version > '3'", "hhlib @ file://{}/hhlib", "."]
)
def test_an_edited_local_package_is_something_to_install(tmp_path: Path, line: str) -> None:
    app = make_found_app(tmp_path, "gadget", {"requirements.txt": "", "hhlib/hhlib.py": "X = 1\n"})
    (app.path / "requirements.txt").write_text(f"# mine\n{line.format(app.path)}  # ours\n")
    first = plan_of(app)
    (app.path / "hhlib" / "build").mkdir()
    (app.path / "hhlib" / "build" / "hhlib.py").write_text("X = 1\n")
    assert plan_of(app) == first
    (app.path / "hhlib" / "hhlib.py").write_text("X = 2\n")
    second = plan_of(app)
    assert first is not None
    assert second is not None
    assert first.fingerprint != second.fingerprint


async def test_an_edited_local_package_is_installed_anew(either: Workshop) -> None:
    del either.environment["UV_OFFLINE"]  # uv takes no --refresh-package with it
    app = either.app(requirements="")
    package = app.path / "hhlib"
    package.mkdir()
    (package / "pyproject.toml").write_text(
        '[project]\nname = "hhlib"\nversion = "1"\n[build-system]\nrequires = []\nbuild-backend = "own"\n'
        'backend-path = ["."]\n'
    )
    # A build backend of its own (PEP 517 and 660), so that none has to be fetched.
    (package / "own.py").write_text(
        "import os, zipfile\n"
        "def build_wheel(folder, settings=None, metadata=None):\n"
        "    name = 'hhlib-1-py3-none-any.whl'\n"
        "    with zipfile.ZipFile(os.path.join(folder, name), 'w') as wheel:\n"
        "        wheel.write('hhlib.py')\n"
        "        info = 'hhlib-1.dist-info/'\n"
        "        wheel.writestr(info + 'METADATA', 'Metadata-Version: 2.1\\nName: hhlib\\nVersion: 1\\n')\n"
        "        wheel.writestr(info + 'WHEEL', 'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\n'\n"
        "                       'Tag: py3-none-any\\n')\n"
        "        wheel.writestr(info + 'RECORD', '')\n"
        "    return name\n"
        "build_editable = build_wheel\n"
    )
    (package / "hhlib.py").write_text("X = 1\n")
    (app.path / "requirements.txt").write_text("./hhlib\n")
    say = ("python", "-c", "import hhlib; print(hhlib.X)")
    await either.install(app)
    assert not either.installer.needed(app)
    assert either.run(*say) == "1\n"
    (package / "hhlib.py").write_text("X = 2\n")
    assert either.installer.needed(app)
    await either.install(app)
    assert either.run(*say) == "2\n"
    assert not either.installer.needed(app)
    assert not any("; trying pip" in line for line in either.lines)


def build_sdist(folder: Path, name: str, code: str) -> None:
    """A package of version 1 that has to be built: ``code`` runs, and what it binds to ``said`` is in its module."""
    backend = f"""
import json, os, sys, time, zipfile
{code}
def build_wheel(folder, settings=None, metadata=None):
    file = '{name}-1-py3-none-any.whl'
    with zipfile.ZipFile(os.path.join(folder, file), 'w') as wheel:
        wheel.writestr('{name}.py', 'SAID = ' + repr(said))
        wheel.writestr('{name}-1.dist-info/METADATA', 'Metadata-Version: 2.1\\nName: {name}\\nVersion: 1\\n')
        wheel.writestr('{name}-1.dist-info/WHEEL',
                       'Wheel-Version: 1.0\\nGenerator: x\\nRoot-Is-Purelib: true\\nTag: py3-none-any\\n')
        wheel.writestr('{name}-1.dist-info/RECORD', '')
    return file
"""
    project = f'[project]\nname = "{name}"\nversion = "1"\n[build-system]\nrequires = []\n'
    files = {
        "pyproject.toml": f'{project}build-backend = "own"\nbackend-path = ["."]\n',
        "own.py": backend,
        "PKG-INFO": f"Metadata-Version: 2.1\nName: {name}\nVersion: 1\n",
    }
    with tarfile.open(folder / f"{name}-1.tar.gz", "w:gz") as archive:
        for file, text in files.items():
            entry = tarfile.TarInfo(f"{name}-1/{file}")
            entry.size = len(text.encode())
            archive.addfile(entry, io.BytesIO(text.encode()))


def said(workshop: Workshop, module: str, name: str = "gadget") -> str:
    return workshop.run("python", "-c", f"import {module}; print({module}.SAID)", name=name).strip()


async def test_what_builds_a_package_sees_and_changes_what_the_app_may_and_no_more(apart: Workshop) -> None:
    other = apart.app("other").path
    apart.home.secrets_env.parent.mkdir(parents=True, exist_ok=True)
    apart.home.secrets_env.write_text("KEY=private\n")
    (apart.home.root.parent / ".netrc").write_text("machine x login y password z\n")
    app = apart.app(requirements="hhsly\n")
    read = [apart.home.secrets_env, other / "homehelper.json", apart.home.root.parent / ".netrc"]
    written = [app.path / "own", other / "own", apart.index / "own", apart.home.venvs_dir / "own", "/usr/own"]
    build_sdist(apart.index, "hhsly", f"""
def outcome(path, mode):
    try:
        open(path, mode).close()
    except OSError:
        return []
    return [path]
said = [path for paths, mode in (({[*map(str, read)]}, 'r'), ({[*map(str, written)]}, 'w'))
        for path in paths for path in outcome(path, mode)]
if os.listdir('/tmp') != [] and not '{apart.home.root}'.startswith('/tmp/'):
    said += os.listdir('/tmp')
""")  # fmt: skip
    await apart.install(app)
    assert said(apart, "hhsly") == "[]"
    assert not any(Path(path).exists() for path in written)


async def test_what_one_app_leaves_in_its_cache_and_its_packages_is_given_to_no_other(apart: Workshop) -> None:
    spoil = (
        "import os, pathlib\n"
        "for place in map(os.environ.get, ('VIRTUAL_ENV', 'PIP_CACHE_DIR', 'UV_CACHE_DIR')):\n"
        "    for path in pathlib.Path(place or 'none').rglob('hhgadget.py'):\n"
        "        path.write_text('VERSION = 666')\n"
    )
    first = apart.app("first", requirements="hhgadget\n", setup_commands=["python spoil.py"])
    (first.path / "spoil.py").write_text(spoil)
    await apart.install(first)
    say = ("python", "-c", "import hhgadget; print(hhgadget.VERSION)")
    assert apart.run(*say, name="first") == "666\n"
    await apart.install(apart.app("second", requirements="hhgadget\n"))
    assert apart.run(*say, name="second") == "2.0\n"
    assert not apart.home.cache_dir.exists()


async def test_a_uv_that_lies_in_the_home_is_used_also_by_what_does_not_see_the_home(tmp_path: Path) -> None:
    workshop = made(tmp_path, "uv", True)
    uv = workshop.home.root / "bin" / "uv"
    uv.parent.mkdir(parents=True)
    uv.symlink_to(find_uv() or "")
    workshop.installer = Installer(workshop.home, uv=str(uv))
    await workshop.install(workshop.app(requirements="hhgadget\n"))
    assert workshop.run("hhgadget-say").startswith("hhgadget 2.0 ")


async def test_a_link_that_is_left_in_the_place_of_the_cache_leads_to_no_other_app(apart: Workshop) -> None:
    await apart.install(apart.app("other", requirements="hhgadget\n"))
    there = os.path.realpath(apart.home.app_venv("other"))
    leave = f"rm -rf $VIRTUAL_ENV/.cache; ln -s {there} $VIRTUAL_ENV/.cache"
    await apart.install(apart.app(setup_commands=[leave]))
    await apart.install(apart.app())
    assert apart.run("hhgadget-say", name="other").startswith("hhgadget 2.0 ")
    assert not [name for name in apart.environments() if name.startswith((".gadget", "gadget"))]


async def test_what_took_long_to_build_is_kept_for_the_next_try_and_goes_with_the_environment(apart: Workshop) -> None:
    build_sdist(apart.index, "hhslow", "said = str(time.time_ns())")
    requirements = "hhslow\n"
    with pytest.raises(InstallError):
        await apart.install(
            apart.app(requirements=requirements, setup_commands=["cp -r $VIRTUAL_ENV/lib kept; exit 1"])
        )
    app = apart.app(requirements="hhslow\nhhgadget\n")
    (first,) = (app.path / "kept").rglob("hhslow.py")
    await apart.install(app)
    assert f"SAID = {said(apart, 'hhslow')!r}" == first.read_text()
    (app.path / "requirements.txt").unlink()
    await apart.install(apart.app())
    assert apart.environments() == []


def test_of_the_owners_configuration_variables_and_the_files_that_it_names_are_handed_on(tmp_path: Path) -> None:
    conf, config, wheels = tmp_path / "pip.conf", tmp_path / "config" / "uv" / "uv.toml", tmp_path / "wheels"
    config.parent.mkdir(parents=True)
    wheels.mkdir()
    config.write_text("offline = true\n")
    conf.write_text(
        f"[global]\nindex-url = https://me:secret@a/simple\nfind-links = {wheels} /nowhere\ncert = {conf}\n"
    )
    environ = {
        "PIP_CONFIG_FILE": str(conf), "XDG_CONFIG_HOME": str(tmp_path / "config"), "XDG_CONFIG_DIRS": "/none",
        "HOME": str(tmp_path), "PIP_TIMEOUT": "60",
    }  # fmt: skip
    variables, files = owners_settings(environ, ())
    assert variables == {
        "PIP_INDEX_URL": "https://me:secret@a/simple", "PIP_FIND_LINKS": f"{wheels} /nowhere", "PIP_CERT": str(conf),
        "PIP_TIMEOUT": "60", "UV_CONFIG_FILE": str(config), "PIP_CONFIG_FILE": os.devnull,
    }  # fmt: skip
    assert files == [str(wheels), str(conf), str(config)]
    # What the app says of itself leads to no file of the owner's.
    app = {"PIP_CONFIG_FILE": str(conf), "PIP_FIND_LINKS": str(wheels), "HOME": str(tmp_path)}
    environ = {"XDG_CONFIG_DIRS": "/none"}
    assert owners_settings({**environ, **app}, app.keys()) == owners_settings(environ, ())


@pytest.mark.parametrize("place", ["/opt/homehelper", "/opt/latarnia"])
async def test_a_setup_command_for_the_published_platforms_home_may_fail(workshop: Workshop, place: str) -> None:
    command = f"mkdir -p /dev/null{place}/data/gadget"
    app = workshop.app(setup_commands=[command, "echo second"])
    warnings = await workshop.install(app)
    assert len(warnings) == 1
    assert "setup_commands.1" in warnings[0]
    assert str(workshop.home.root) in warnings[0]
    assert "second" in workshop.lines
    assert not workshop.installer.needed(app)
    app = workshop.app("other", setup_commands=["mkdir -p /dev/null/data/other"])
    with pytest.raises(InstallError, match="setup_commands"):
        await workshop.install(app)
