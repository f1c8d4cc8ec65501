"""A home for the suite: no test reaches the folders of the person who runs it, and the end of a run says so."""

from __future__ import annotations

import gc
import os
import pwd
import shutil
import signal
import sys
import tempfile
from collections import Counter
from collections.abc import Iterator
from pathlib import Path

import pytest
from hypothesis import HealthCheck, settings

# How long an example takes says how busy the machine is.
settings.register_profile("suite", deadline=None, suppress_health_check=[HealthCheck.too_slow])
settings.load_profile("suite")

ROOT = Path(__file__).resolve().parents[1]
# What installers download, kept between runs. In the checkout: it goes with `make clean`.
CACHE = ROOT / ".cache"
# The person's own settings of where packages come from; tests read them.
_SETTINGS = (".config/pip", ".config/uv", ".pip", ".gitconfig")
# Who could leave something in a home: the product, and what its tests start.
_SUSPECTS = (
    "homehelper",
    "hhtui",
    "uv",
    "pip",
    "streamlit",
    "textual",
    "hypothesis",
    "gnupg",
    "ssh",
    "redis",
    "valkey",
)
_MARK = "HHTUI_TESTS_PERSON"
# What is set for the suite itself, not for the product.
_FOR_TESTS = ("HHTUI_CLEAN_DEBIAN", "HHTUI_SEQUENCES", "HHTUI_KILLS")


def _made_home() -> Path:
    """A home with nothing but the way to the packages; the environment names it, for every process that follows."""
    person = Path(os.environ.get("HOME") or pwd.getpwuid(os.geteuid()).pw_dir)
    home = Path(tempfile.mkdtemp(prefix="hhtui-tests-"))
    CACHE.mkdir(exist_ok=True)
    (home / ".cache").symlink_to(CACHE)
    (home / ".config").mkdir()
    for name in _SETTINGS:
        if (person / name).exists():
            (home / name).symlink_to(person / name)
    for name in list(os.environ):
        if name.startswith(("HOMEHELPER_", "HHTUI_", "XDG_", "RUNTIME_DIRECTORY")) and name not in _FOR_TESTS:
            del os.environ[name]
    # Hundreds of engines and commands are started, and a worker a core or more: none has to compile everything anew.
    os.environ.pop("PYTHONDONTWRITEBYTECODE", None)
    sys.dont_write_bytecode = False
    os.environ.update({"HOME": str(home), _MARK: str(person)})
    return home


# When this is loaded, not in a hook: other conftests and test modules look around when they are imported.
# Workers of pytest-xdist inherit it.
_HOME = None if _MARK in os.environ else _made_home()
# A shell that runs this in the background has the first ignored, nohup the second, and every child would inherit that.
signal.signal(signal.SIGINT, signal.default_int_handler)
signal.signal(signal.SIGHUP, signal.SIG_DFL)
PERSON = Path(os.environ[_MARK])


def _of_the_person() -> set[Path]:
    folders = [PERSON, *(PERSON / name for name in (".cache", ".config", ".local", ".local/share", ".local/state"))]
    entries = {path for folder in folders if folder.is_dir() for path in folder.iterdir()}
    return {path for path in entries if any(word in path.name.lower() for word in _SUSPECTS)}


_BEFORE = _of_the_person() if _HOME else set()


def pytest_collection_modifyitems(items: list[pytest.Item]) -> None:
    """Begin with what may take longest: at the end one worker would be busy with it alone."""

    def limit(item: pytest.Item) -> float:
        mark = item.get_closest_marker("timeout")
        return mark.args[0] if mark else 0

    items.sort(key=limit, reverse=True)


def pytest_collection_finish() -> None:
    """Have the garbage collector leave alone what was loaded: it stays, and looking through it costs a tenth."""
    gc.collect()
    gc.freeze()


def pytest_sessionfinish(session: pytest.Session) -> None:
    """Fail the run that left something in the person's home."""
    if _HOME and _of_the_person() - _BEFORE:
        session.exitstatus = pytest.ExitCode.TESTS_FAILED


def pytest_terminal_summary(terminalreporter: pytest.TerminalReporter) -> None:
    """Say what appeared in the person's home, and what was skipped and why."""
    for path in sorted(_of_the_person() - _BEFORE):
        terminalreporter.write_line(f"left in the person's home: {path}", red=True)
    skipped = Counter(reason.removeprefix("Skipped: ") for reason in _reasons(terminalreporter))
    if skipped:
        terminalreporter.write_sep("=", f"{skipped.total()} skipped, and why")
    for reason, count in skipped.most_common():
        terminalreporter.write_line(f"{count:4}  {reason}")


def _reasons(terminalreporter: pytest.TerminalReporter) -> Iterator[str]:
    for report in terminalreporter.stats.get("skipped", []):
        yield report.longrepr[2] if isinstance(report.longrepr, tuple) else str(report.longrepr)


def pytest_unconfigure() -> None:
    """Remove the suite's home."""
    if _HOME:
        shutil.rmtree(_HOME, ignore_errors=True)
