"""Whatever is in a configuration: loaded, or refused in one line; an engine starts with it and runs on through it."""

from __future__ import annotations

import json
import time
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from hhtui.engine.config_watch import flat
from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.config import Config
from hhtui.model.config_file import change_config, load_config, replace_config, shown
from hhtui.paths import Home
from tests.engine.engine_process import EngineProcess, end_home
from tests.engine.homes import make_app, make_home
from tests.fuzz.hostile import SCALARS, VALUES, examples, mutated, written

DEFAULTS: dict[str, Any] = json.loads(Config().model_dump_json())
DOCUMENTS = st.one_of(mutated(DEFAULTS), mutated(DEFAULTS), VALUES)
# What may change while an engine runs here without reaching outside its home.
HARMLESS = {
    key: DEFAULTS[key]
    for key in ("schema_version", "logging", "health_check_interval_seconds", "metrics_interval_seconds")
}


def home_in(factory: pytest.TempPathFactory, data: bytes | None) -> Home:
    root = factory.getbasetemp() / "configured"
    home = Home.at(root, environ={})
    home.config_dir.mkdir(parents=True, exist_ok=True)
    for path in home.config_dir.iterdir():
        path.unlink()
    if data is not None:
        home.config_file.write_bytes(data)
    return home


@given(data=written(DOCUMENTS))
@examples(250)
def test_a_file_is_loaded_or_refused_in_one_line(tmp_path_factory: pytest.TempPathFactory, data: bytes) -> None:
    home = home_in(tmp_path_factory, data)
    try:
        loaded = load_config(home, {})
        shown(loaded.config)
        flat(loaded.config)
    except InvalidInputError as error:
        assert "\n" not in error.message and str(home.config_file) in error.message
        # The engine's start takes anything.
        started = load_config(home, {}, repair=True)
        assert started.problems and "\n" not in started.problems[0]
        assert any(".broken-" in path.name for path in home.config_dir.iterdir())


@given(patch=st.one_of(mutated(DEFAULTS), st.dictionaries(st.sampled_from([*DEFAULTS, "x"]), VALUES, max_size=3)))
@examples(150)
def test_a_patch_is_applied_or_changes_nothing(tmp_path_factory: pytest.TempPathFactory, patch: dict[str, Any]) -> None:
    home = home_in(tmp_path_factory, b'{"logging": {"level": "DEBUG"}}')
    try:
        change_config(home, patch, {})
    except InvalidInputError as error:
        assert "\n" not in error.message
        assert home.config_file.read_bytes() == b'{"logging": {"level": "DEBUG"}}'
    load_config(home, {})


@given(text=written(DOCUMENTS).map(lambda data: data.decode("utf-8", "replace")))
@examples(80)
def test_an_edit_is_written_or_changes_nothing(tmp_path_factory: pytest.TempPathFactory, text: str) -> None:
    home = home_in(tmp_path_factory, b"{}")
    try:
        replace_config(home, text, {})
    except InvalidInputError as error:
        assert "\n" not in error.message
        assert home.config_file.read_bytes() == b"{}"
    load_config(home, {})


@given(
    variables=st.dictionaries(
        st.sampled_from([f"HOMEHELPER_{key.upper()}__{name.upper()}" for key, part in DEFAULTS.items()
                         if isinstance(part, dict) for name in part] + ["HOMEHELPER_X", "HOMEHELPER_REDIS"]),
        st.text(max_size=20), max_size=4,
    )
)  # fmt: skip
@examples(100)
def test_variables_never_keep_an_engine_from_starting(
    tmp_path_factory: pytest.TempPathFactory, variables: dict[str, str]
) -> None:
    home = home_in(tmp_path_factory, None)
    for reported in load_config(home, variables, repair=True).problems:
        assert "\n" not in reported
    lines = "".join(f"{name}={value}\n" for name, value in variables.items())
    home.dotenv.write_bytes(lines.encode("utf-8", "surrogatepass"))
    load_config(home, {}, repair=True)


@pytest.mark.timeout(180)
def test_a_running_engine_is_not_moved_by_any_of_them(tmp_path: Path) -> None:
    root = make_home(tmp_path / "home")
    own = json.loads((root / "config" / "config.json").read_text())
    make_app(root, "steady")
    files: list[bytes] = []
    patches: list[Any] = []

    @given(data=written(mutated({**own, **HARMLESS}, SCALARS)), patch=mutated(HARMLESS, SCALARS))
    @examples(25)
    def collect(data: bytes, patch: Any) -> None:
        files.append(data)
        patches.append(patch)

    collect()
    engine = EngineProcess(root)
    try:
        engine.start()
        pid = int(engine.client.command("steady", "start", wait=20)["runtime_info"]["process_id"])
        for data in files:
            # Ports, folders and addresses are this home's own, whatever chance made of them.
            try:
                document = json.loads(data)
                document = {**document, **{key: own[key] for key in ("redis", "process_manager", "system")}}
                data = json.dumps(document).encode("utf-8", "surrogatepass")
            except (ValueError, TypeError):
                pass
            (root / "config" / "config.json").write_bytes(data)
            time.sleep(0.02)
            assert engine.client.health()["pid"] == engine.process.pid  # type: ignore[union-attr]
        for patch in patches:
            try:
                engine.client.patch_config(patch)
            except HomeHelperError as error:
                assert "\n" not in error.message
        (root / "config" / "config.json").write_text(json.dumps({**own, "logging": {"level": "DEBUG"}}))
        deadline = time.monotonic() + 20
        while engine.client.config()["values"]["logging"]["level"] != "DEBUG":
            assert time.monotonic() < deadline, engine.client.config()
            time.sleep(0.05)
        steady = engine.client.app("steady")
        assert (steady["status"], int(steady["runtime_info"]["process_id"])) == ("running", pid)
        assert "Traceback" not in engine.errors() + engine.home.engine_log.read_text()
    finally:
        end_home(engine)
