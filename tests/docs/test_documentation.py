"""The documentation is up to date: what is made from the code, what it links to, and the commands that it shows."""

from __future__ import annotations

import importlib.util
import json
import re
import shlex
import shutil
import subprocess
import sys
from pathlib import Path
from types import ModuleType

import click
import jsonschema_rs
import pytest

from hhtui.cli.main import root
from hhtui.cli.session import Session
from hhtui.model.config import Config
from hhtui.model.json_schema import SCHEMAS, manifest_schema
from hhtui.model.manifest import parse_manifest
from hhtui.model.states import EventType, Status

ROOT = Path(__file__).parents[2]
DOCS = ROOT / "docs"
PAGES = [*sorted(DOCS.glob("*.md")), ROOT / "README.md"]


@pytest.fixture(scope="module")
def generator() -> ModuleType:
    found = importlib.util.spec_from_file_location("generate", DOCS / "generate.py")
    assert found is not None and found.loader is not None
    module = importlib.util.module_from_spec(found)
    found.loader.exec_module(module)
    return module


def test_the_pages_made_from_the_code_are_up_to_date() -> None:
    # In a process of its own: a command line that has been used remembers more than a new one.
    made = "import json, runpy, sys; pages = runpy.run_path(sys.argv[1])['pages'](); "
    made += "print(json.dumps({str(path): text for path, text in pages.items()}))"
    done = subprocess.run(
        [sys.executable, "-c", made, str(DOCS / "generate.py")], capture_output=True, text=True, timeout=60, check=True
    )
    pages = json.loads(done.stdout)
    assert pages
    outdated = [path for path, text in pages.items() if Path(path).read_text("utf-8") != text]
    assert outdated == [], "`make docs` renews them"


@pytest.mark.skipif(shutil.which("man") is None, reason="no man on this machine")
def test_the_manual_page_is_shown_without_a_warning() -> None:
    page = str(DOCS / "man" / "hhtui.1")
    done = subprocess.run(["man", "--warnings", "-l", page], capture_output=True, text=True, timeout=30, check=False)
    assert done.stderr == ""
    assert "hhtui service install" in done.stdout


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_lead_somewhere(page: Path) -> None:
    text = page.read_text("utf-8")
    targets = [target for target in re.findall(r"\]\(([^)\s]+)\)", text) if "://" not in target]
    missing = [target for target in targets if not (page.parent / target.partition("#")[0]).exists()]
    assert missing == []


_HHTUI = re.compile(r"(sudo (-u \w+ )?)?(hhtui|\"\$\(command -v hhtui\)\")( |$)")


def typed_in(page: Path) -> list[str]:
    """The lines of blocks that run hhtui; not the ones that show a form of a command."""
    blocks = re.findall(r"^```(?:sh|console)?\n(.*?)^```", page.read_text("utf-8"), re.S | re.M)
    lines = [line.removeprefix("$ ").partition("  #")[0] for block in blocks for line in block.splitlines()]
    lines = [re.split(r" [|>&]", line)[0] for line in lines if _HHTUI.match(line)]
    return [line for line in lines if not re.search(r"[|\[…]|\.\.\.|  ", line.strip())]


def commands_of(page: Path) -> list[str]:
    """What is typed, and what stands in the text as a command of ours."""
    # A code span may be broken over two lines.
    prose = re.sub(r"^```.*?^```", "", page.read_text("utf-8"), flags=re.S | re.M)
    spans = [" ".join(span.split()) for span in re.findall(r"`([^`]+)`", prose)]
    return typed_in(page) + [span for span in spans if _HHTUI.match(span)]


def test_the_pages_show_commands_enough() -> None:
    assert sum(len(commands_of(page)) for page in PAGES) > 100


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_shown_is_one_that_there_is(page: Path) -> None:
    for line in commands_of(page):
        words = shlex.split(re.split(r"[|>&]|&&", line)[0], comments=True)
        words = words[next(index for index, word in enumerate(words) if "hhtui" in word) + 1 :]
        command: click.Command = root
        context = click.Context(root, info_name="hhtui")
        options: set[str] = set()
        while True:
            options |= {name for parameter in command.params for name in [*parameter.opts, *parameter.secondary_opts]}
            if not isinstance(command, click.Group) or not words:
                break
            rest = [word for word in words if not word.startswith("-")]
            child = next(
                (command.get_command(context, word) for word in rest if word in command.list_commands(context)), None
            )
            if child is None:
                assert not rest or command is root, f"{line}: no such command"
                break
            words = words[words.index(child.name or "") + 1 :] if child.name in words else words
            command = child
        used = {word.partition("=")[0] for word in shlex.split(line, comments=True) if word.startswith("--")}
        assert used <= options | {"--help"}, f"{line}: no such option"


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_every_command_line_shown_is_taken_as_it_stands(page: Path) -> None:
    for line in typed_in(page):
        words = shlex.split(line, comments=True)
        words = words[next(index for index, word in enumerate(words) if "hhtui" in word) + 1 :]
        command: click.Command = root
        context = click.Context(root, info_name="hhtui", obj=Session())
        while isinstance(command, click.Group) and words and not words[0].startswith("-"):
            child = command.get_command(context, words[0])
            assert child is not None, line
            command, words = child, words[1:]
        try:
            command.make_context("hhtui", words, parent=context)
        except click.UsageError as error:
            raise AssertionError(f"{line}: {error.format_message()}") from None


def test_the_shown_manifests_are_valid_and_so_are_the_examples() -> None:
    validator = jsonschema_rs.validator_for(SCHEMAS["manifest"]())
    shown = re.findall(r"```json\n(\{.*?\n\})\n```", (DOCS / "writing-an-app.md").read_text("utf-8"), re.S)
    assert len(shown) >= 3
    documents = [json.loads(text) for text in shown]
    documents += [json.loads(path.read_text()) for path in (ROOT / "examples" / "apps").glob("*/homehelper.json")]
    for document in documents:
        _, warnings = parse_manifest({key: value for key, value in document.items() if key != "$schema"})
        assert warnings == []
        validator.validate(document)


def test_the_published_specifications_manifest_fits_the_schema() -> None:
    published = {
        "name": "Weather",
        "type": "service",
        "main_file": "main.py",
        "config": {"has_UI": True, "auto_start": True, "restart_policy": "on-failure"},
        "install": {"requirements": "requirements.txt", "setup_commands": ["make"]},
        "requires": [{"app": "store"}],
        "stop": {"signal": 2},
        "restart": "never",
        "events": {"publishes": ["weather_changed"]},
    }
    parse_manifest(published)
    jsonschema_rs.validator_for(SCHEMAS["manifest"]()).validate(published)


@pytest.mark.parametrize("broken", [{"name": "x"}, {"name": "x", "type": "cron"}, {"name": 1, "type": "service"}])
def test_the_manifests_schema_refuses_what_the_program_refuses(broken: dict[str, object]) -> None:
    assert not jsonschema_rs.validator_for(SCHEMAS["manifest"]()).is_valid(broken)


def test_the_configurations_schema_takes_the_shipped_file_and_refuses_a_wrong_one() -> None:
    validator = jsonschema_rs.validator_for(SCHEMAS["config"]())
    shipped = json.loads((ROOT / "config" / "config.json").read_text())
    validator.validate({"$schema": "config.schema.json", **shipped})
    assert Config.model_validate(shipped)
    assert not validator.is_valid({**shipped, "redis": {"port": 70000}})


def test_every_page_that_the_code_cites_is_there() -> None:
    sources = [file for folder in ("hhtui", "tests", "benchmarks") for file in (ROOT / folder).rglob("*.py")]
    cited = {
        (file.relative_to(ROOT), page)
        for file in sources
        for page in re.findall(r"\bdocs/[\w./-]+\.(?:md|json)\b", file.read_text("utf-8"))
    }
    assert len(cited) > 20
    assert sorted((file, page) for file, page in cited if not (ROOT / page).is_file()) == []


def test_no_module_cites_a_document_that_is_not_here() -> None:
    elsewhere = re.compile(r"\bcontract, sections?\b|the contract's|schema document|(?<!docs/)\bdesign\.md\b")
    for file in (ROOT / "hhtui").rglob("*.py"):
        assert elsewhere.search(file.read_text("utf-8")) is None, file


def test_the_pages_name_every_event_every_status_and_every_field_of_a_manifest() -> None:
    events, life = (DOCS / "events.md").read_text("utf-8"), (DOCS / "app-life.md").read_text("utf-8")
    assert [event for event in EventType if f"`{event}`" not in events] == []
    assert [status for status in Status if not re.search(rf"\b{status}\b", life)] == []
    page = (DOCS / "writing-an-app.md").read_text("utf-8")
    fields = set(manifest_schema()["properties"]) - {"config"}
    assert sorted(name for name in fields if not re.search(rf"[`.\"]{re.escape(name)}\b", page)) == []


_PATH = re.compile(r"`((?:hhtui|tests|docs|benchmarks|examples|styles|\.ci)/[\w./-]+)`")


@pytest.mark.parametrize("page", [*PAGES, ROOT / "CONTRIBUTING.md"], ids=lambda page: page.name)
def test_every_file_of_the_repository_that_a_page_names_is_there(page: Path) -> None:
    named = set(_PATH.findall(page.read_text("utf-8")))
    assert sorted(path for path in named if not (ROOT / path.rstrip("/")).exists()) == []
