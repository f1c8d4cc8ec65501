"""What an app is started with."""

from __future__ import annotations

import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.launch.launch import Launch, base_python, build_launch
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError
from hhtui.model.redis import RedisAccess
from hhtui.paths import Home
from tests.engine.discovery.folders import found_at, make_found_app, write_app

REDIS = RedisAccess("redis://lamp:s3cret@127.0.0.1:6400/0", "127.0.0.1", 6400, "lamp", "s3cret")
PYTHON = Path("/opt/x/venvs/lamp/bin/python")


def launch(
    home: Home, files: dict[str, str] | None = None, *, environ: dict[str, str] | None = None, **more: Any
) -> Launch:
    options = {"port": 8100, "redis": None, "instance": "cookie", "python": PYTHON}
    options |= {key: more.pop(key) for key in list(options) if key in more}
    app = make_found_app(home.default_apps_dir, "lamp", files, **more)
    return build_launch(
        app, home=home, environ=environ if environ is not None else {"PATH": "/usr/bin:/bin"}, **options
    )


@pytest.fixture
def home(tmp_path: Path) -> Home:
    return Home.at(tmp_path, environ={})


def test_a_service_gets_its_port_and_what_its_config_asks_for(home: Home) -> None:
    assert launch(home).words == (str(PYTHON), "app.py", "--port", "8100")
    asked = {"redis_url": "redis://localhost", "data_dir": True, "logs_dir": "logs"}
    words = launch(home, config=asked, redis=REDIS).words
    assert words[2:] == (
        "--port",
        "8100",
        "--redis-url",
        REDIS.url,
        "--data-dir",
        str(home.app_data("lamp")),
        "--logs-dir",
        str(home.app_logs("lamp")),
    )
    assert "--redis-url" not in launch(home, config=asked).words


def test_own_args_replace_the_defaults_and_placeholders_are_filled_in(home: Home) -> None:
    args = ["-p{port}", "{data_dir}/x", "{logs_dir}", "{redis_url}", "{app_dir}", "{}", '{"a": 1}', "{{port}}"]
    assert launch(home, args=args, redis=REDIS).words[2:] == (
        "-p8100",
        f"{home.app_data('lamp')}/x",
        str(home.app_logs("lamp")),
        REDIS.url,
        str(home.default_apps_dir / "lamp"),
        "{}",
        '{"a": 1}',
        "{8100}",
    )
    assert launch(home, args=["{redis_url}"]).words[2:] == ("",)


def test_a_streamlit_app_is_started_as_documented(home: Home) -> None:
    words = launch(home, type="streamlit", main="page.py", files={"page.py": ""}, args=["--", "x"]).words
    assert " ".join(words[1:]) == (
        "-m streamlit run page.py --server.port 8100 --server.headless true "
        "--browser.gatherUsageStats false --server.fileWatcherType none -- x"
    )


def test_a_placeholder_without_a_value_is_told(home: Home) -> None:
    with pytest.raises(InvalidInputError, match=r"args: \{port\} is asked for, but there is none"):
        launch(home, port=None)


def test_a_file_that_looks_like_an_option_is_no_option(home: Home) -> None:
    assert launch(home, {"-c": ""}, main="-c").words[1] == "./-c"


def test_the_environment_is_the_documented_one(home: Home) -> None:
    environ = launch(home, redis=REDIS, version="1.2", environment={"MINE": "yes", "PORT": "9"}).environ
    expected = {
        "PORT": "9",
        "MINE": "yes",
        "HOMEHELPER_APP_ID": "lamp",
        "HOMEHELPER_APP_NAME": "lamp",
        "HOMEHELPER_APP_VERSION": "1.2",
        "HOMEHELPER_PORT": "8100",
        "HOMEHELPER_DATA_DIR": str(home.app_data("lamp")),
        "HOMEHELPER_LOGS_DIR": str(home.app_logs("lamp")),
        "HOMEHELPER_REDIS_URL": REDIS.url,
        "REDIS_URL": REDIS.url,
        "REDIS_HOST": "127.0.0.1",
        "REDIS_PORT": "6400",
        "REDIS_USERNAME": "lamp",
        "REDIS_PASSWORD": "s3cret",
        "HOMEHELPER_CONFIG_PATH": str(home.config_file),
        "HOMEHELPER_INSTANCE": "cookie",
        "PYTHONUNBUFFERED": "1",
        "PATH": "/opt/x/venvs/lamp/bin:/usr/bin:/bin",
    }
    assert environ == expected
    for folder in ("config", "database", "uploads", "cache"):
        assert (home.app_data("lamp") / folder).is_dir()
    assert home.app_logs("lamp").is_dir()


def test_nothing_of_the_engine_itself_is_passed_on(home: Home) -> None:
    engine = {
        "PATH": "/usr/bin",
        "HOME": "/home/pi",
        "LANG": "C.UTF-8",
        "TZ": "Europe/Berlin",
        "HOMEHELPER_REDIS__PASSWORD": "secret",
        "HOMEHELPER_HOME": "/x",
        "NOTIFY_SOCKET": "/run/x",
        "LISTEN_FDS": "1",
        "LISTEN_PID": "1",
        "WATCHDOG_USEC": "1",
        "CREDENTIALS_DIRECTORY": "/run/c",
        "RUNTIME_DIRECTORY": "/run/h",
        "JOURNAL_STREAM": "1:2",
        "INVOCATION_ID": "x",
        "PYTHONPATH": "/x",
        "PYTHONHOME": "/x",
        "VIRTUAL_ENV": "/x",
        "REDIS_PASSWORD": "old",
        "TERM": "xterm",
    }
    environ = launch(home, environ=engine).environ
    assert "secret" not in "".join(environ.values())
    kept = {name: value for name, value in environ.items() if name in engine and name != "PATH"}
    assert kept == {"HOME": "/home/pi", "LANG": "C.UTF-8", "TZ": "Europe/Berlin"}


def test_the_engines_own_environment_is_not_on_the_path(home: Home) -> None:
    engine_bin = os.path.dirname(sys.executable)
    path = launch(home, environ={"PATH": f"{engine_bin}:/usr/bin"}, python=Path("/usr/bin/python3")).environ["PATH"]
    assert path == "/usr/bin"


@pytest.mark.parametrize("way", ["--symlinks", "--copies"])
def test_apps_get_the_interpreter_that_the_engines_environment_was_made_from(tmp_path: Path, way: str) -> None:
    for number, maker in enumerate([base_python(), tmp_path / "0" / "bin" / "python"]):
        subprocess.run([maker, "-m", "venv", way, "--without-pip", tmp_path / str(number)], check=True)
        code = "from hhtui.engine.launch.launch import base_python; print(base_python())"
        inside = [tmp_path / str(number) / "bin" / "python", "-c", code]
        environ = {"PATH": os.environ["PATH"], "PYTHONPATH": os.pathsep.join(filter(None, sys.path))}
        found = subprocess.run(inside, env=environ, capture_output=True, text=True, check=True).stdout.strip()
        said = subprocess.run(
            [found, "-c", "import sys; print(sys.prefix, *sys.version_info[:2])"],
            capture_output=True, text=True, check=True,
        ).stdout  # fmt: skip
        assert said.split() == [sys.base_prefix, str(sys.version_info[0]), str(sys.version_info[1])]


def test_the_apps_environment_is_active(home: Home, tmp_path: Path) -> None:
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    (tmp_path / "venv" / "pyvenv.cfg").write_text("")
    environ = launch(home, python=tmp_path / "venv" / "bin" / "python").environ
    assert environ["VIRTUAL_ENV"] == str(tmp_path / "venv")


def test_the_cookie_cannot_be_overridden(home: Home) -> None:
    assert launch(home, environment={"HOMEHELPER_INSTANCE": "x"}).environ["HOMEHELPER_INSTANCE"] == "cookie"


def test_an_env_file_comes_before_the_manifests_own_variables(home: Home) -> None:
    text = 'A=1\nexport B="two words"\n# no\nBARE\nC=${HOME}\nD=$(id)\n'
    environ = launch(home, {".env": text}, env_file=".env", environment={"A": "mine"}).environ
    assert {key: environ.get(key) for key in ("A", "B", "BARE", "C", "D")} == {
        "A": "mine",
        "B": "two words",
        "BARE": None,
        "C": "${HOME}",
        "D": "$(id)",
    }


@pytest.mark.parametrize(
    ("content", "reason"), [(b"\xff", "is not UTF-8"), (b"A=" + b"x" * 70000, "larger than 64 KiB")]
)
def test_a_broken_env_file_is_told(home: Home, content: bytes, reason: str) -> None:
    folder = write_app(home.default_apps_dir, "lamp", {".env": ""}, env_file=".env")
    app = found_at(folder)
    (folder / ".env").write_bytes(content)
    with pytest.raises(InvalidInputError, match=reason):
        build_launch(app, home=home, port=1, redis=None, instance="", python=PYTHON, environ={})
    (folder / ".env").unlink()
    with pytest.raises(InvalidInputError, match="is not there"):
        build_launch(app, home=home, port=1, redis=None, instance="", python=PYTHON, environ={})
    (folder / ".env").symlink_to("/etc/hostname")
    with pytest.raises(InvalidInputError, match="outside the app's folder"):
        build_launch(app, home=home, port=1, redis=None, instance="", python=PYTHON, environ={})


def test_a_nul_character_is_refused(home: Home) -> None:
    app = found_at(write_app(home.default_apps_dir, "lamp", version="1\0"))
    with pytest.raises(InvalidInputError, match="HOMEHELPER_APP_VERSION would hold a NUL character"):
        build_launch(app, home=home, port=1, redis=None, instance="", python=PYTHON, environ={})


def test_an_invalid_app_has_no_launch(home: Home) -> None:
    app = found_at(write_app(home.default_apps_dir, "lamp", type="nonsense"))
    with pytest.raises(ConflictError, match="type: input should be"):
        build_launch(app, home=home, port=1, redis=None, instance="", python=PYTHON, environ={})


def test_a_command_is_looked_for_in_the_folder_then_the_environment_then_on_the_path(
    home: Home, tmp_path: Path
) -> None:
    folder = home.default_apps_dir / "lamp"

    def program(word: str) -> str:
        return launch(home, command=[word, "{port}"], python=tmp_path / "venv" / "bin" / "python").argv[0]

    assert launch(home, command=["sh", "{port}"]).argv[1:] == ["8100"]
    assert program("sh") in ("/usr/bin/sh", "/bin/sh")
    (tmp_path / "venv" / "bin").mkdir(parents=True)
    for place in (tmp_path / "venv" / "bin" / "sh", folder / "sh"):
        place.write_text("#!/bin/sh\n")
        place.chmod(0o755)
        assert program("sh") == str(place)
    assert program("./sh") == str(folder / "sh")


@pytest.mark.parametrize(
    ("word", "reason"),
    [
        (
            "no-such-program-xyz",
            "is neither an executable file in the app's folder, nor in its environment, nor on PATH",
        ),
        ("./nothing", "there is no program ./nothing in the app's folder"),
        ("/no/such", "there is no program /no/such"),
        ("./app.py", "./app.py is not executable: chmod +x ./app.py"),
    ],
)
def test_a_command_that_is_not_there_is_told_when_it_is_to_be_started(home: Home, word: str, reason: str) -> None:
    described = launch(home, command=[word])
    with pytest.raises(InvalidInputError) as error:
        _ = described.argv
    assert error.value.message.startswith("homehelper.json: command: ")
    assert error.value.message.endswith(reason)


def test_folders_that_cannot_be_made_are_told(home: Home) -> None:
    home.root.mkdir(exist_ok=True)
    home.data_dir.write_text("in the way")
    with pytest.raises(HomeHelperError, match="cannot be made"):
        launch(home)


def test_a_described_start_really_starts(home: Home) -> None:
    code = (
        "import os, sys\n"
        "print(sys.argv[1:], os.environ['HOMEHELPER_APP_ID'], os.getcwd(), sys.prefix == sys.base_prefix)\n"
    )
    described = launch(home, {"app.py": code}, python=base_python(), environ=dict(os.environ))
    said = subprocess.run(described.argv, cwd=described.cwd, env=described.environ, stdout=subprocess.PIPE, check=True)
    assert said.stdout.decode() == f"['--port', '8100'] lamp {described.cwd} True\n"
