"""The process that fetches an app's code, and asks for what is newer.

git runs without hooks, prompts, filters or anybody's configuration, and never checks anything out: what a commit holds
is listed first, then unpacked as an archive is (unpack.py).
"""

from __future__ import annotations

import contextlib
import hashlib
import os
import posixpath
import re
import shlex
import shutil
import subprocess
import time
import urllib.error
import urllib.request
from collections.abc import Iterator, Sequence
from http.client import HTTPException
from pathlib import Path
from typing import IO, Any, NamedTuple
from urllib.parse import unquote, urlsplit

from hhtui.engine.exchange import sync_disks
from hhtui.engine.sources.fetch import (
    CONNECT_SECONDS,
    MAX_BYTES,
    FetchError,
    Progress,
    UnknownHostError,
    address_of,
    apps_below,
    kind_of,
    room_for,
    ssh_options,
)
from hhtui.engine.sources.unpack import (
    MAX_ENTRIES,
    DamagedArchiveError,
    author_files,
    digest_of,
    refuse_links_out,
    unpack,
    unpack_tar,
)
from hhtui.errors import InvalidInputError
from hhtui.model.source import BUILT_IN
from hhtui.paths import ARCHIVE_ENDINGS, MANIFEST_NAMES, NOT_OF_AN_APP, Home, examples_folder
from hhtui.text import human_bytes, sanitise

# Of a repository with its history, or of an archive, in bytes.
_MAX_FETCHED = 2 * 1024**3
_FETCH_SECONDS = 1800.0
_SILENT_SECONDS = 60
_LOOK_SECONDS = 0.2
_CHUNK = 256 * 1024
_MAX_LISTING = 64 * 1024**2
# A hundred thousand branches and tags.
_MAX_REFS = 16 * 1024**2
_MAX_SUBMODULES, _MAX_NESTED = 20, 3
# Of an earlier commit that is further back than this nothing is said.
_HISTORY = 200
_LONGEST_LOG = 50
_REF = re.compile(r"(?!-)(?!.*(\.\.|@\{|//))[^\x00-\x20\x7f~^:?*\[\\]{1,200}\Z")
_COMMIT = re.compile(r"[0-9a-f]{7,64}\Z")
_KEPT_VARIABLES = (
    "PATH", "http_proxy", "https_proxy", "no_proxy", "HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "ALL_PROXY", "all_proxy",
    "SSL_CERT_FILE", "SSL_CERT_DIR", "GIT_SSL_CAINFO", "TMPDIR",
)  # fmt: skip


def fetch_now(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The task: Fetched as a document, or ``{unknown_host}``."""
    home, into, url = Home.at(Path(request["root"])), Path(request["into"]), request["url"]
    into.mkdir(mode=0o700)
    tree = into / "tree"
    tree.mkdir(mode=0o755)
    revision = ""
    log: list[str] = []
    if request["upload"] is not None:
        upload = Path(request["upload"])
        unpack(upload, tree, progress)
        upload.unlink()
    elif (kind := kind_of(url)) == "archive":
        revision = _download(url, into / "archive", progress)
        unpack(into / "archive", tree, progress)
        (into / "archive").unlink()
    elif kind == "folder":
        _copy(examples_folder() if url == BUILT_IN else Path(url), tree, progress)
    else:
        try:
            revision, log = _Git(home, into / "git", url, progress).bring(
                request["ref"], request["since"], request["folder"], tree
            )
        except UnknownHostError as error:
            return {"unknown_host": error.details}
        shutil.rmtree(into / "git")
    if request["whole"]:
        return {"folder": str(tree), "revision": revision or "", "log": log, "files": {}, "bytes": 0, "name": ""}
    folder, name = _app_in(tree, request["folder"], url)
    refuse_links_out(folder)
    files = author_files(folder, progress)
    progress("sync", 0, 0)
    sync_disks([into])
    size = sum(os.lstat(folder / path).st_size for path in files)
    return {
        "folder": str(folder),
        "revision": revision or digest_of(files),
        "log": log,
        "files": files,
        "bytes": size,
        "name": name,
    }


def look_now(request: dict[str, Any], progress: Progress) -> dict[str, Any]:
    """The task: ``{revision}``."""
    import tempfile

    with tempfile.TemporaryDirectory() as scratch:
        git = _Git(Home.at(Path(request["root"])), Path(scratch) / "git", request["url"], progress)
        return {"revision": git.resolved(request["ref"])[1]}


def _app_in(tree: Path, folder: str, url: str) -> tuple[Path, str]:
    """The app's folder below ``tree`` and what it is called; FetchError names the apps if it is not one."""
    base = tree
    if not _is_app(base) and not (folder and os.path.isdir(base / checked_folder(folder))):
        entries = list(os.scandir(base))
        # Most archives of a repository hold it in a folder.
        if len(entries) == 1 and entries[0].is_dir(follow_symlinks=False):
            base = Path(entries[0].path)
    if folder:
        path = base / checked_folder(folder)
        if not path.is_dir() or not path.resolve().is_relative_to(tree.resolve()) or not _is_app(path):
            raise FetchError(f"{sanitise(folder, 100)}: it has no such folder with a homehelper.json{_others(base)}")
        return path, path.name
    if not _is_app(base):
        raise FetchError(f"it holds no homehelper.json{_others(base)}")
    return base, _name_of(url, base.name if base != tree else "")


def _is_app(folder: Path) -> bool:
    return any(os.path.lexists(folder / name) for name in MANIFEST_NAMES)


def _others(base: Path) -> str:
    found = apps_below(base)
    if not found:
        return ""
    more = f" and {len(found) - 12} more" if len(found) > 12 else ""
    return f"; it holds the apps {sanitise(', '.join(found[:12]), 400)}{more}: name one behind a #"


def checked_folder(folder: str) -> str:
    """A relative path that leads nowhere else; InvalidInputError."""
    path = posixpath.normpath(folder.strip("/"))
    if "\0" in path or path.startswith("..") or "/../" in path or len(path) > 500:
        raise InvalidInputError(f"{sanitise(folder, 100)}: must be a folder inside the repository")
    return path


_VERSION = re.compile(r"[-_]?v?\d+(\.\d+)*([-_.]?(alpha|beta|rc|dev|post)?\d*)?\Z", re.IGNORECASE)
_NO_NAME = frozenset(
    {"", "main", "master", "archive", "download", "source", "latest", "app", "release", "head", "trunk"}
)


def _name_of(url: str, top: str) -> str:
    """``thermo`` of ``…/thermo.git``, ``…/thermo-1.2.tar.gz`` and, by its top folder, ``…/thermo/archive/v1.2.zip``."""
    last = unquote(urlsplit(url).path if "://" in url else url.rpartition(":")[2]).rstrip("/").rpartition("/")[2]
    ending = next((ending for ending in (*ARCHIVE_ENDINGS, ".git") if last.lower().endswith(ending)), "")
    name = last[: len(last) - len(ending)]
    if ending and ending != ".git":
        name = _VERSION.sub("", name)
    if name.lower() in _NO_NAME and top:
        stem = re.sub(r"-(main|master|HEAD|[0-9a-f]{40})\Z", "", top)
        name = _VERSION.sub("", stem) or stem
    return name or top


# Over http.


class _Redirects(urllib.request.HTTPRedirectHandler):
    max_redirections = 5

    def redirect_request(self, req: Any, fp: Any, code: int, msg: str, headers: Any, newurl: str) -> Any:
        to = urlsplit(newurl)
        there = to.scheme if "@" not in to.netloc else "an address with credentials"
        if there != "https" and not (there == "http" == urlsplit(req.full_url).scheme):
            # Where it leads may hold a key: in its query, or before its host.
            at = urlsplit(req.full_url)
            raise FetchError(
                f"{sanitise(f'{at.scheme}://{at.hostname}{at.path}', 200)}: leads on to what is not followed: "
                f"{sanitise(there, 30)}"
            )
        return super().redirect_request(req, fp, code, msg, headers, newurl)


def _download(url: str, file: Path, progress: Progress) -> str:
    """Fetch ``url`` into ``file``; the SHA-256 of what came."""
    shown = sanitise(url.partition("?")[0], 200)
    most = min(room_for(file.parent), _MAX_FETCHED)
    opener = urllib.request.OpenerDirector()
    for handler in (
        urllib.request.ProxyHandler(), urllib.request.HTTPHandler(), urllib.request.HTTPSHandler(), _Redirects(),
        urllib.request.HTTPDefaultErrorHandler(), urllib.request.HTTPErrorProcessor(), urllib.request.UnknownHandler(),
    ):  # fmt: skip
        opener.add_handler(handler)
    digest, done = hashlib.sha256(), 0
    deadline = time.monotonic() + _FETCH_SECONDS
    try:
        request = urllib.request.Request(url, headers={"User-Agent": "hhtui", "Accept-Encoding": "identity"})
        with opener.open(request, timeout=CONNECT_SECONDS) as response, file.open("xb") as target:
            length = response.headers.get("Content-Length") or ""
            total = int(length) if length.isascii() and length.isdigit() and len(length) < 16 else 0
            while data := response.read(_CHUNK):
                done += len(data)
                if done > most or total > most:
                    raise FetchError(f"{shown}: is larger than {human_bytes(most)}, the most that may be fetched now")
                if time.monotonic() > deadline:
                    raise FetchError(f"{shown}: did not come within {_FETCH_SECONDS / 60:.0f} minutes")
                digest.update(data)
                target.write(data)
                progress("fetch", done, total)
            if total and done < total:
                raise FetchError(f"{shown}: only {human_bytes(done)} of {human_bytes(total)} came; try again")
    except urllib.error.HTTPError as error:
        if 300 <= error.code < 400:
            raise FetchError(f"{shown}: leads on to what is not followed, or too often") from None
        raise FetchError(f"{shown}: the server answers {error.code} {sanitise(str(error.reason), 100)}") from None
    except urllib.error.URLError as error:
        raise FetchError(f"{shown}: {sanitise(str(error.reason), 200)}") from None
    except (HTTPException, TimeoutError, ConnectionError, ValueError) as error:
        raise FetchError(f"{shown}: {sanitise(str(error) or type(error).__name__, 200)}") from None
    return digest.hexdigest()


def _copy(folder: Path, tree: Path, progress: Progress) -> None:
    """A folder of this machine, as an archive of it would be unpacked."""
    import io
    import tarfile
    import tempfile

    if not folder.is_dir():
        raise FetchError(f"{folder}: is no folder that the engine's user can read")
    with tempfile.TemporaryFile(dir=tree.parent) as packed:
        with tarfile.open(fileobj=packed, mode="w") as tar:
            for path in sorted(folder.rglob("*")):
                inside = path.relative_to(folder)
                if not NOT_OF_AN_APP.isdisjoint(inside.parts):
                    continue
                tar.add(path, str(inside), recursive=False)
        packed.seek(0)
        assert isinstance(packed, io.IOBase)
        unpack_tar(packed, tree, progress)


# By git.


class _Entry(NamedTuple):
    """One line of a commit's listing; ``size`` is 0 of what is no file."""

    mode: str
    hash: str
    size: int
    path: str


class _Git:
    """One repository, fetched into the bare ``folder``."""

    def __init__(self, home: Home, folder: Path, url: str, progress: Progress, nested: int = 0) -> None:
        self._home = home
        self._folder = folder
        self._url = url.removeprefix("git+")
        self._shown = sanitise(url, 200)
        self._progress = progress
        self._nested = nested
        program = shutil.which("git")
        if program is None:
            raise FetchError("git is not installed on the engine's machine: sudo apt install git")
        self._program = program
        self._scheme = address_of(self._url).scheme
        self._environment = self._environment_of()
        self._over_ssh = self._scheme == "ssh"
        if self._over_ssh:
            self._meet_host()
        folder.mkdir(mode=0o700)
        # "*": a repository of another user may be read; its own settings and hooks run nothing (git-config(1)).
        (folder / "config").write_text("[safe]\n\tdirectory = *\n" if self._url.startswith("file://") else "")
        self._run(["init", "--quiet", "--bare", "--template=", str(folder / "repository")])

    def bring(self, ref: str | None, since: str | None, folder: str, tree: Path) -> tuple[str, list[str]]:
        """Unpack what ``ref`` leads to (of it ``folder`` alone, in its place) into ``tree``; the commit and the log."""
        name, commit = self.resolved(ref)
        history = _HISTORY if since and since != commit else 1
        if name:
            self._fetch([name], history)
            commit = self._run(["rev-parse", "--verify", "--quiet", "FETCH_HEAD^{commit}"]).decode().strip()
        else:
            commit = self._fetch_commit(commit)
        inside = checked_folder(folder) if folder else ""
        self._extract(commit, inside, tree)
        log = self._log(since, commit) if history > 1 else []
        return commit, log

    def resolved(self, ref: str | None) -> tuple[str, str]:
        """The full name of what ``ref`` is there, and its commit's hash; the name is "" where it is a hash itself."""
        if ref is not None and not _REF.match(ref):
            raise InvalidInputError(f"{sanitise(ref, 60)}: cannot be the name of a tag or a branch")
        self._progress("connect", 0, 0)
        words = ["ls-remote", "--quiet", "--", self._url]
        lines = self._run(words, most=_MAX_REFS).decode("utf-8", "replace").splitlines()
        known = {name: digest for digest, _, name in (line.partition("\t") for line in lines)}
        wanted = ["HEAD"] if ref is None else [f"refs/tags/{ref}", f"refs/heads/{ref}", ref]
        for name in wanted:
            if name in known:
                return name, known.get(f"{name}^{{}}", known[name])
        if ref is not None and _COMMIT.match(ref):
            return "", ref
        names = [name.split("/", 2)[2] for name in known if name.count("/") >= 2 and not name.endswith("^{}")]
        if ref is None or not names:
            raise FetchError(f"{self._shown}: holds no commit yet")
        there = sanitise(", ".join(names[-12:]), 300)
        raise FetchError(f"{self._shown}: has no tag or branch {sanitise(ref, 60)!r}; there are {there}")

    def _fetch(self, names: Sequence[str], depth: int) -> None:
        words = ["fetch", "--quiet", "--no-tags", "--no-recurse-submodules", "--no-write-commit-graph", "--no-auto-gc"]
        try:
            shallow = [f"--depth={depth}"] if depth else []
            self._run([*words, *shallow, "--", self._url, *names], watched=True)
        except FetchError:
            # A server that only hands out files (gitprotocol-http(5), "dumb") knows no depth.
            if not depth or not self._url.startswith("http"):
                raise
            self._run([*words, "--", self._url, *names], watched=True)

    def _fetch_commit(self, digest: str) -> str:
        """A commit by its hash, whole or its first digits: asked for itself where the server allows it."""
        if len(digest) in (40, 64):
            try:
                self._fetch([digest], 1)
                return digest
            except FetchError:
                pass
        self._fetch(["+refs/heads/*:refs/heads/*", "+refs/tags/*:refs/tags/*"], 0)
        try:
            return self._run(["rev-parse", "--verify", "--quiet", f"{digest}^{{commit}}"]).decode().strip()
        except FetchError:
            raise FetchError(f"{self._shown}: has no tag, branch or commit {digest!r}") from None

    def _extract(self, commit: str, inside: str, tree: Path) -> None:
        entries = self._listing(commit, inside)
        if inside and not entries:
            raise FetchError(f"{self._shown}: has no folder {sanitise(inside, 100)!r}")
        words = ["archive", "--format=tar", commit, *(["--", f":(literal){inside}"] if inside else [])]
        with self._output(words) as output:
            unpack_tar(output, tree, self._progress)
        modules = [entry for entry in entries if entry.mode == "160000"]
        if modules:
            self._bring_modules(commit, modules, tree)

    def _listing(self, commit: str, inside: str) -> list[_Entry]:
        """What is in it, before anything of it is written: a few bytes of a repository can be 10,000,000,000 files."""
        self._progress("list", 0, 0)
        words = ["ls-tree", "-r", "-l", "-z", "--full-tree", commit, *(["--", inside] if inside else [])]
        entries: list[_Entry] = []
        total = 0
        with self._output(words) as output:
            for line in _records(output):
                head, _, path = line.partition(b"\t")
                mode, _, digest, size = head.decode("ascii", "replace").split()
                entry = _Entry(mode, digest, int(size) if size.isdigit() else 0, os.fsdecode(path))
                entries.append(entry)
                total += entry.size
                if len(entries) > MAX_ENTRIES:
                    raise FetchError(f"{self._shown}: holds more than {MAX_ENTRIES} files")
                if total > MAX_BYTES:
                    raise FetchError(f"{self._shown}: its files are larger than {human_bytes(MAX_BYTES)}")
        return entries

    def _bring_modules(self, commit: str, modules: list[_Entry], tree: Path) -> None:
        """Submodules, each by a fetch of its own: git's own way runs what the author's .gitmodules says."""
        if len(modules) > _MAX_SUBMODULES or self._nested >= _MAX_NESTED:
            raise FetchError(f"{self._shown}: has more submodules than {_MAX_SUBMODULES}, or deeper than {_MAX_NESTED}")
        try:
            raw = self._run(["config", f"--blob={commit}:.gitmodules", "--list", "-z"])
        except FetchError:
            raise FetchError(f"{self._shown}: has submodules, and no .gitmodules that says where they are") from None
        values = dict(text.partition("\n")[::2] for text in raw.decode("utf-8", "surrogateescape").split("\0") if text)
        for number, entry in enumerate(modules):
            name = next(
                (key[10:-5] for key, value in values.items() if key.endswith(".path") and value == entry.path), ""
            )
            url = self._allowed(values.get(f"submodule.{name}.url", ""), entry.path)
            module = _Git(self._home, self._folder / f"module-{number}", url, self._progress, self._nested + 1)
            digest = module._fetch_commit(entry.hash)
            place = tree / entry.path
            if place.is_symlink() or not place.is_dir():
                raise FetchError(f"{self._shown}: its submodule {sanitise(entry.path, 100)} has no folder")
            module._extract(digest, "", place)

    def _allowed(self, url: str, path: str) -> str:
        """A submodule's address: over https or ssh, of the same host."""
        shown = sanitise(path, 100)
        if url.startswith(("./", "../")):
            base, separator, rest = self._url.partition("://")
            joined = posixpath.normpath(posixpath.join(rest if separator else base, url))
            url = f"{base}://{joined}" if separator else joined
        try:
            kind = kind_of(url)
        except InvalidInputError as error:
            raise FetchError(f"{self._shown}: its submodule {shown} is refused: {error.message}") from None
        ours, theirs = address_of(self._url), address_of(url)
        safe = theirs.scheme in ("https", "ssh") or theirs.scheme == ours.scheme == "http"
        if kind != "git" or not safe or theirs.host != ours.host:
            raise FetchError(
                f"{self._shown}: its submodule {shown} is at {sanitise(url, 120)}: only https and ssh to the same host "
                "are followed"
            )
        return url

    def _log(self, since: str | None, commit: str) -> list[str]:
        if not since or not _COMMIT.match(since):
            return []
        try:
            self._run(["cat-file", "-e", f"{since}^{{commit}}"])
            text = self._run(["log", f"--max-count={_LONGEST_LOG}", "--format=%s", f"{since}..{commit}", "--"])
        except FetchError:
            return []
        return [sanitise(line, 200) for line in text.decode("utf-8", "replace").splitlines()]

    # Running git.

    def _run(self, words: Sequence[str], *, watched: bool = False, most: int = _MAX_LISTING) -> bytes:
        """git's output, of at most so many bytes; FetchError in its own last words. ``watched``: with progress, by what
        has come."""
        process = self._start(words)
        assert process.stdout
        deadline = time.monotonic() + _FETCH_SECONDS
        if watched:
            room = min(room_for(self._folder), _MAX_FETCHED)
            while process.poll() is None:
                time.sleep(_LOOK_SECONDS)
                size = _size_of(self._folder)
                self._progress("fetch", size, 0)
                late = time.monotonic() > deadline
                if size > room or late:
                    process.kill()
                    process.wait()
                    why = (
                        f"did not come within {_FETCH_SECONDS / 60:.0f} minutes"
                        if late
                        else f"is larger than {human_bytes(room)}"
                    )
                    raise FetchError(f"{self._shown}: {why}")
        output = process.stdout.read(most + 1)
        process.stdout.close()
        if len(output) > most:
            process.kill()
            process.wait()
            raise FetchError(f"{self._shown}: git {words[0]} says more than {human_bytes(most)}")
        if process.wait() != 0:
            raise FetchError(self._failure())
        return output

    def _failure(self) -> str:
        with (self._folder / "stderr").open("rb") as file:
            errors = file.read(_CHUNK).decode("utf-8", "replace")
        lines = [line.strip() for line in errors.splitlines() if line.strip()]
        at = next(
            (at for at, line in enumerate(lines) if line.startswith(("fatal: ", "error: ", "remote: "))), len(lines) - 1
        )
        told = lines[at] if lines else ""
        words = sanitise(told.partition(": ")[2] or told or "it ended without a word", 300)
        if not self._over_ssh:
            return f"{self._shown}: git: {words}"
        known = self._known_keys()
        if known and (keys := {tuple(line.split()[1:3]) for line in self._scanned()}) and not keys & known:
            place = shlex.quote(str(self._home.ssh_dir / "known_hosts"))
            return (
                f"{self._shown}: the server has another key than the one that was trusted; if it was set up anew, say "
                f"ssh-keygen -R {shlex.quote(self._host)} -f {place}, and add it again"
            )
        # What ssh and the server say stands before git's own words.
        words = sanitise(lines[at - 1], 300) if at > 0 else words
        return f"{self._shown}: {words.rstrip('.')}; has the server this engine's key? `hhtui add --show-key`"

    @contextlib.contextmanager
    def _output(self, words: Sequence[str]) -> Iterator[IO[bytes]]:
        """What git prints, while it runs; FetchError if it fails. It is killed where its reader gives up."""
        process = self._start(words)
        assert process.stdout
        try:
            yield process.stdout
        except DamagedArchiveError:
            # It has ended early, for a reason of its own.
            process.stdout.close()
            process.wait()
            raise FetchError(self._failure()) from None
        except BaseException:
            process.kill()
            process.wait()
            raise
        if process.wait() != 0:
            raise FetchError(self._failure())

    def _start(self, words: Sequence[str]) -> subprocess.Popen[bytes]:
        settings = {
            "core.hooksPath": "/dev/null",
            "core.fsmonitor": "false",
            "protocol.allow": "never",
            **{f"protocol.{name}.allow": "always" for name in ("https", "http", "ssh", "file")},
            "credential.helper": "",
            "http.lowSpeedLimit": "500",
            "http.lowSpeedTime": str(_SILENT_SECONDS),
            "transfer.bundleURI": "false",
            "fetch.fsckObjects": "false",
            "core.packedGitLimit": "64m",
            "core.packedGitWindowSize": "16m",
            "pack.threads": "1",
            "gc.auto": "0",
            "advice.detachedHead": "false",
        }
        options = [word for name, value in settings.items() for word in ("-c", f"{name}={value}")]
        # Not a pipe: a server may say any amount.
        with (self._folder / "stderr").open("wb") as errors:
            return subprocess.Popen(
                [self._program, *options, *words],
                stdin=subprocess.DEVNULL,
                stdout=subprocess.PIPE,
                stderr=errors,
                env=self._environment,
                cwd=self._folder,
            )

    def _environment_of(self) -> dict[str, str]:
        return {
            **{name: os.environ[name] for name in _KEPT_VARIABLES if name in os.environ},
            "HOME": str(self._folder),
            "LC_ALL": "C",
            "GIT_DIR": str(self._folder / "repository"),
            "GIT_CONFIG_NOSYSTEM": "1",
            "GIT_CONFIG_SYSTEM": os.devnull,
            "GIT_CONFIG_GLOBAL": str(self._folder / "config"),
            "GIT_ATTR_NOSYSTEM": "1",
            "GIT_TERMINAL_PROMPT": "0",
            "GIT_ASKPASS": "/bin/false",
            "SSH_ASKPASS": "/bin/false",
            # And by a redirect to no other: least of all from https to http.
            "GIT_ALLOW_PROTOCOL": "http:https" if self._scheme == "http" else self._scheme,
            "GIT_NO_LAZY_FETCH": "1",
            "GIT_OPTIONAL_LOCKS": "0",
            "GIT_SSH_COMMAND": shlex.join(["ssh", *ssh_options(self._home)]),
            "GIT_SSH_VARIANT": "ssh",
        }

    def _meet_host(self) -> None:
        """UnknownHostError if nobody has said yet that the host is the right one."""
        own_key(self._home)
        if self._known_keys():
            return
        self._progress("meet host", 0, 0)
        lines = self._scanned()
        if not lines:
            raise FetchError(f"{self._shown}: no ssh server answers there")
        prints = subprocess.run(
            ["ssh-keygen", "-l", "-f", "-"], input="\n".join(lines).encode(), capture_output=True, check=False
        )
        fingerprints = [
            sanitise(f"{words[-1].strip('()')} {words[1]}", 120)
            for line in prints.stdout.decode("utf-8", "replace").splitlines()
            if len(words := line.split()) >= 3
        ]
        name = self._host
        raise UnknownHostError(f"ssh does not know {name}", host=name, fingerprints=fingerprints, lines=lines)

    @property
    def _host(self) -> str:
        """The server as known_hosts has it."""
        address = address_of(self._url)
        return address.host if address.port == 22 else f"[{address.host}]:{address.port}"

    def _known_keys(self) -> set[tuple[str, ...]]:
        """Type and key of each key that the server is trusted by: sshd(8), "SSH_KNOWN_HOSTS FILE FORMAT"."""
        known = self._home.ssh_dir / "known_hosts"
        if not known.exists():
            return set()
        found = subprocess.run(
            ["ssh-keygen", "-F", self._host, "-f", str(known)],
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        return {tuple(line.split()[1:3]) for line in _without_comments(found.stdout)}

    def _scanned(self) -> list[str]:
        """The keys that the server shows now, as lines of known_hosts."""
        address = address_of(self._url)
        scanned = subprocess.run(
            ["ssh-keyscan", "-T", str(CONNECT_SECONDS), "-p", str(address.port), "--", address.host],
            stdin=subprocess.DEVNULL, capture_output=True, check=False,
        )  # fmt: skip
        return _without_comments(scanned.stdout)


def _records(stream: Any) -> Iterator[bytes]:
    rest = b""
    while data := stream.read1(_CHUNK):
        *lines, rest = (rest + data).split(b"\0")
        yield from lines
        if len(rest) > _CHUNK:
            raise FetchError("its files have names that are too long")


def _size_of(folder: Path) -> int:
    size = 0
    for parent, _, names in os.walk(folder):
        for name in names:
            try:
                size += os.lstat(os.path.join(parent, name)).st_blocks * 512
            except OSError:
                continue
    return size


# The engine's own key for ssh.


def own_key(home: Home) -> str:
    """The engine's public key, made when it is first asked for; FetchError without OpenSSH."""
    folder = home.ssh_dir
    private = folder / "id_ed25519"
    try:
        folder.mkdir(mode=0o700, parents=True, exist_ok=True)
        if not private.exists():
            comment = f"hhtui@{os.uname().nodename}"
            subprocess.run(
                ["ssh-keygen", "-q", "-t", "ed25519", "-N", "", "-C", comment, "-f", str(private)],
                stdin=subprocess.DEVNULL, capture_output=True, check=True,
            )  # fmt: skip
        return private.with_suffix(".pub").read_text().strip()
    except FileNotFoundError:
        raise FetchError("OpenSSH is not installed on the engine's machine: sudo apt install openssh-client") from None
    except (OSError, subprocess.CalledProcessError) as error:
        raise FetchError(f"{folder}: the engine's own key cannot be made: {sanitise(str(error), 200)}") from None


def key_now(request: dict[str, Any], _progress: Progress) -> dict[str, Any]:
    """The task: ``{public_key}``."""
    return {"public_key": own_key(Home.at(Path(request["root"])))}


def _without_comments(output: bytes) -> list[str]:
    return [line for line in output.decode("ascii", "replace").splitlines() if line and line[0] != "#"]
