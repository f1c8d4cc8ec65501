"""Whatever is typed after ``hhtui``: an exit code of docs/command-line.md, one line of why, and nothing has moved."""

from __future__ import annotations

import os
from collections.abc import Callable
from pathlib import Path
from typing import Any

import click
import pytest
from hypothesis import given
from hypothesis import strategies as st

from hhtui.cli.main import COMMANDS, root, run
from hhtui.text import sanitise
from tests.cli.conftest import running  # noqa: F401
from tests.engine.engine_process import EngineProcess
from tests.fuzz.hostile import examples

# Would open an interface, wait for ever, write to this machine's systemd, or end the engine that all the others ask.
NEVER = {"service install", "service uninstall", "engine stop", "engine start", "engine reload", "restore", "stop"}
ENDLESS = {
    "-f",
    "--follow",
    "--watch",
    "-w",
    "--demo",
    "--engine-only",
    "--in-process",
    "--read-only",
    "--all",
    "--wait",
}
ENDLESS |= {"--home", "--web", "--host", "--yes", "-y", "--report"}
WORDS = st.one_of(
    st.text(max_size=10).filter(lambda text: "\0" not in text and "/" not in text),
    st.sampled_from(
        [
            *(
                "web",
                "broken",
                "nobody",
                "..",
                "~",
                "-",
                "--",
                "",
                " ",
                "1",
                "-1",
                "0",
                "9" * 20,
                "1e400",
                "nan",
                "10m",
            ),
            *("-5s", "2026-01-01", "2026-13-45T99:00", "(", "[a-", "(a+)+$", "redis.port", "logging.level", "logging"),
            *("logging.level=DEBUG", "x.y.z", "{", "[]", "null", '"', "\udcff", "\x1b[31m", "\n", "é" * 500, "-x"),
            *("--no-such", "homehelper:*", "service", "error", "bash", "compose", "config"),
        ]
    ),
)


def parsers(group: click.Group, path: tuple[str, ...] = ()) -> list[tuple[tuple[str, ...], click.Command]]:
    context = click.Context(group)
    found: list[tuple[tuple[str, ...], click.Command]] = []
    for name in group.list_commands(context):
        command = group.get_command(context, name)
        assert command is not None
        here = (*path, name)
        if isinstance(command, click.Group):
            found += parsers(command, here)
        elif " ".join(here) not in NEVER:
            found.append((here, command))
    return found


EVERY = parsers(root)


@st.composite
def command_lines(draw: Callable[..., Any]) -> list[str]:
    path, command = draw(st.sampled_from(EVERY))
    words = list(path)
    for parameter in command.params:
        names = [name for name in parameter.opts if name.startswith("-")]
        if parameter.param_type_name == "option" and not ENDLESS & set(names) and draw(st.integers(0, 3)) == 0:
            words.append(draw(st.sampled_from(names)))
            if not getattr(parameter, "is_flag", False):
                words.append(draw(WORDS))
    words += draw(st.lists(WORDS, max_size=3))
    if draw(st.integers(0, 5)) == 0:
        words.insert(draw(st.integers(0, len(words))), draw(WORDS))
    return [word for word in words if word not in ENDLESS]


@pytest.mark.timeout(300)
def test_whatever_is_typed_ends_with_a_line_and_moves_nothing(
    running: EngineProcess,  # noqa: F811
    tmp_path: Path,
    capfd: pytest.CaptureFixture[str],
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    for name in [name for name in os.environ if name.startswith("HOMEHELPER_")]:
        monkeypatch.delenv(name)
    monkeypatch.setenv("HOMEHELPER_HOME", str(running.root))
    monkeypatch.setenv("HOME", str(tmp_path))
    for editor in ("EDITOR", "VISUAL"):
        monkeypatch.setenv(editor, "/bin/false")
    folder = tmp_path / "here"
    folder.mkdir()
    monkeypatch.chdir(folder)
    tried: set[str] = set()

    @given(words=command_lines())
    @examples(150)
    def look(words: list[str]) -> None:
        if any(word in NEVER for word in (" ".join(words[:2]), words[0] if words else "")):
            return
        code = run(words)
        captured = capfd.readouterr()
        tried.add(words[0])
        assert code in (0, 1, 2, 3, 4, 5), (words, code)
        reported = captured.err.splitlines()
        assert "Traceback" not in captured.err and "a bug in hhtui" not in captured.err, (words, captured.err)
        if code > 1:
            complaints = [line for line in reported if line.startswith("hhtui: ")]
            # One line; of several apps, one each.
            assert complaints and (code == 5 or reported == complaints[:1]), (words, captured.err)
        if code == 1:
            assert reported or captured.out, words
        for line in reported:
            assert line == sanitise(line), (words, line)

    look()
    assert len(tried) > len(COMMANDS) / 2
    assert running.client.health()["pid"] == running.process.pid  # type: ignore[union-attr]
    assert running.client.app("web")["status"] in ("running", "starting", "stopped", "installing", "discovered")
