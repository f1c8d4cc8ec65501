"""Apps in folders that their owner cloned with git himself: what git says of them, and their ``.git`` brought along.

It happens in a process of its own; see hhtui/engine/process/jobs.py.
"""

from __future__ import annotations

import os
import shlex
import shutil
import subprocess
import tempfile
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import partial
from pathlib import Path
from typing import Any

from pydantic import ValidationError

from hhtui.engine.process.jobs import Progress, ask_task
from hhtui.engine.sources.fetch import MODULE, FetchError, ssh_options
from hhtui.engine.sources.revisions import digest_of_file
from hhtui.errors import ConflictError
from hhtui.model.event import utc_now
from hhtui.model.problems import first_problem
from hhtui.model.source import AppSource
from hhtui.paths import Home
from hhtui.text import sanitise

_SECONDS = 1800.0
_KEPT_VARIABLES = frozenset(
    ("http_proxy", "https_proxy", "no_proxy", "HTTPS_PROXY", "NO_PROXY", "all_proxy", "SSL_CERT_FILE", "GIT_SSL_CAINFO")
)
# What the worktrees of a repository share and is no configuration.
_OF_ALL_WORKTREES = ("objects", "refs", "packed-refs", "shallow", "logs")


async def source_of_clone(home: Home, folder: Path) -> AppSource | None:
    """Where a git clone came from, and its author's files; None if the folder is none with a remote. FetchError."""
    if not (folder / ".git").is_dir():
        return None
    request = {"task": "look_at_clone", "root": str(home.root), "folder": str(folder)}
    answer = await ask_task(MODULE, request, lambda *_: None)
    return AppSource.model_validate(answer["source"]) if answer["source"] is not None else None


async def bring_git(home: Home, origin: Path, target: Path, source: AppSource | None, *, discard: bool) -> None:
    """Put a copy of the ``.git`` of ``origin`` into ``target``; with ``source`` at what that says, fetched.

    ConflictError if that would lose commits, unless ``discard``; FetchError.
    """
    request: dict[str, Any] = {"root": str(home.root), "origin": str(origin), "target": str(target)}
    request |= {"url": source.url, "ref": source.ref, "revision": source.revision} if source is not None else {}
    await ask_task(MODULE, {"task": "bring_git", "discard": discard, **request}, lambda *_: None)


def look_at_clone(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """The process's side: ``{source}``; a changed file has an empty digest there."""
    home, folder = Home.at(Path(request["root"])), Path(request["folder"])
    _refuse_links(folder)
    with _apart(home, folder) as git:
        branch = git("symbolic-ref", "--quiet", "--short", "HEAD", fails=True)
        remote = git(*_own(folder), f"branch.{branch}.remote", fails=True) if branch else ""
        url = git(*_own(folder), f"remote.{remote or 'origin'}.url", fails=True)
        if not url:
            return {"source": None}
        status = git("status", "--porcelain=v1", "-z", "--no-renames", "--untracked-files=no")
        names = git("ls-files", "-z").split("\0")
        revision = git("rev-parse", "--verify", "HEAD")
    changed = {entry[3:] for entry in status.split("\0") if entry}
    files = {}
    for name in names:
        if any("\ud800" <= character <= "\udfff" for character in name):
            raise ConflictError(f"{folder}: its file {sanitise(name, 200)} has a name that is no UTF-8: rename it")
        if name:
            files[name] = "" if name in changed else digest_of_file(folder / name) or ""
    if url.startswith("/"):
        url = f"file://{url}"
    try:
        source = AppSource(
            kind="git",
            url=url,
            ref=branch or None,
            revision=revision,
            added_at=utc_now(),
            files=files,
        )
    except ValidationError as error:
        raise ConflictError(f"{folder}: its remote cannot be used: {first_problem(error)}") from None
    return {"source": source.model_dump(mode="json")}


def bring_git_now(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """The process's side."""
    home, origin, target = Home.at(Path(request["root"])), Path(request["origin"]), Path(request["target"])
    shutil.copytree(origin / ".git", target / ".git", symlinks=True, dirs_exist_ok=True)
    _refuse_links(target)
    revision = request.get("revision")
    if revision is None:
        return {}
    with _apart(home, target) as git:
        before = git("rev-parse", "--verify", "HEAD")
        git("fetch", "--quiet", "--no-tags", "--no-recurse-submodules", request["url"], request["ref"] or "HEAD")
        if not request["discard"]:
            own = git("rev-list", "--count", f"{revision}..{before}")
            if own != "0":
                raise ConflictError(
                    f"{origin}: {own} commits of it are not in the new version; push them, or give them up with "
                    "--discard-changes"
                )
        # The files are there already: what is to come is the index, and where the branch is.
        git("reset", "--quiet", "--mixed", revision)
    return {}


def _refuse_links(folder: Path) -> None:
    """Git makes none there, and would write through them."""
    for parent, folders, names in os.walk(folder / ".git"):
        for name in (*folders, *names):
            if os.path.islink(f"{parent}/{name}"):
                raise ConflictError(f"{folder}: {sanitise(name, 100)} in its .git is a link, which git makes none of")


def _own(folder: Path) -> tuple[str, ...]:
    """How git is asked for a value of the clone's own configuration."""
    return ("config", "--no-includes", "--file", str(folder / ".git" / "config"))


@contextmanager
def _apart(home: Home, folder: Path) -> Iterator[Callable[..., str]]:
    """Git in the clone, run without hooks, prompts or anybody's configuration.

    The clone's own neither: an app that may write its folder names programs in it (filters, helpers for passwords), and
    an update would run them. So all but HEAD and the index is looked for in a folder that has none but the kind of its
    hashes (gitrepository-layout(5), "commondir"; git-config(1), extensions.objectFormat).
    """
    with tempfile.TemporaryDirectory(prefix="hhtui-git-") as scratch:
        common = Path(scratch)
        git = partial(_git, home, folder, common)
        for place in ((folder / ".git" / name).absolute() for name in _OF_ALL_WORKTREES):
            if place.exists():
                (common / place.name).symlink_to(place)
        (common / "config").write_text("[core]\n\trepositoryformatversion = 0\n")
        if git(*_own(folder), "extensions.objectFormat", fails=True) == "sha256":
            kind = "[core]\n\trepositoryformatversion = 1\n[extensions]\n\tobjectFormat = sha256\n"
            (common / "config").write_text(kind)
        yield git


def _git(home: Home, folder: Path, common: Path, *words: str, fails: bool = False) -> str:
    """What git says; FetchError where it fails, but "" with ``fails``."""
    environ = {
        **{name: value for name, value in os.environ.items() if name in _KEPT_VARIABLES},
        "PATH": os.environ.get("PATH", os.defpath),
        "HOME": "/nonexistent",
        "LC_ALL": "C.UTF-8",
        "GIT_COMMON_DIR": str(common),
        "GIT_ATTR_NOSYSTEM": "1",
        "GIT_CONFIG_NOSYSTEM": "1",
        "GIT_CONFIG_GLOBAL": os.devnull,
        "GIT_TERMINAL_PROMPT": "0",
        "GIT_OPTIONAL_LOCKS": "0",
        "GIT_SSH_COMMAND": shlex.join(["ssh", *ssh_options(home)]),
    }
    options = ("core.hooksPath=/dev/null", "core.fsmonitor=false", "safe.directory=*", "gc.auto=0",
               "protocol.ext.allow=never")  # fmt: skip
    argv = ["git", "--git-dir", str(folder / ".git"), "--work-tree", str(folder)]
    for option in options:
        argv += ["-c", option]
    try:
        done = subprocess.run(
            [*argv, *words],
            cwd=folder,
            env=environ,
            stdin=subprocess.DEVNULL,
            capture_output=True,
            timeout=_SECONDS,
            check=False,
        )
    except FileNotFoundError:
        raise FetchError("git is not installed: `sudo apt install git`") from None
    except subprocess.TimeoutExpired:
        raise FetchError(f"{folder}: git {words[0]} took too long") from None
    if done.returncode and not fails:
        said = done.stderr.decode("utf-8", "replace").strip().splitlines()
        raise FetchError(sanitise(f"{folder}: git {words[0]}: {said[-1] if said else done.returncode}", 500))
    return done.stdout.decode("utf-8", "surrogateescape").rstrip("\n") if not done.returncode else ""
