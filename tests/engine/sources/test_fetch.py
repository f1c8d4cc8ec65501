"""What is fetched by git and http: the right files, and nothing that a hostile author would have run or written."""

from __future__ import annotations

import asyncio
import http.server
import os
import subprocess
import threading
from pathlib import Path
from typing import Any

import pytest

from hhtui.engine.sources.fetch import Fetched, FetchSpec, fetch, kind_of, latest_revision
from hhtui.errors import HomeHelperError, InvalidInputError
from hhtui.model.source import BUILT_IN
from tests.engine.sources.repositories import (
    Repository,
    app_files,
    bare_clone,
    home_with_incoming,
    manifest,
    served_over_http,
    tar_of,
    zip_of,
)


class Fetcher:
    """Fetches into folders of one home, one after the other."""

    def __init__(self, root: Path) -> None:
        self.home = home_with_incoming(root / "home")
        self.steps: list[str] = []
        self._number = 0

    async def __call__(self, url: str, **more: Any) -> Fetched:
        self._number += 1
        into = self.home.incoming_dir / str(self._number)
        return await fetch(FetchSpec(self.home, url, **more), into, lambda step, *_: self.steps.append(step))


@pytest.fixture
def bring(tmp_path: Path) -> Fetcher:
    return Fetcher(tmp_path)


def inside(folder: Path) -> list[str]:
    return sorted(str(path.relative_to(folder)) for path in folder.rglob("*"))


async def test_a_repository_comes_without_its_history_at_the_revision_asked_for(tmp_path: Path, bring: Fetcher) -> None:
    repository = Repository(tmp_path / "lamp")
    first = repository.commit(app_files(), tag="v1")
    (repository.folder / "alias").symlink_to("run.sh")
    (repository.folder / "run.sh").chmod(0o755)
    second = repository.commit({"new.txt": "new"}, "brings \x1b[31mnew")
    newest = await bring(repository.url)
    assert (newest.revision, newest.name) == (second, "lamp")
    assert inside(newest.folder) == ["alias", "homehelper.json", "new.txt", "run.sh"]
    assert os.readlink(newest.folder / "alias") == "run.sh"
    assert (newest.folder / "run.sh").stat().st_mode & 0o777 == 0o755
    assert sorted(newest.files) == inside(newest.folder)
    for ref in ("v1", first, first[:8]):
        assert (await bring(repository.url, ref=ref)).revision == first
    update = await bring(repository.url, ref="main", since=first)
    assert (update.revision, update.log) == (second, ["brings ␛[31mnew"])
    spec = FetchSpec(bring.home, repository.url, ref="v1")
    assert await latest_revision(spec, lambda *_: None) == first
    with pytest.raises(HomeHelperError, match=r"has no tag or branch 'v9'; there are main, v1$"):
        await bring(repository.url, ref="v9")


@pytest.mark.parametrize("smart", [True, False])
async def test_a_repository_comes_over_http_from_git_and_from_a_server_of_mere_files(
    tmp_path: Path, bring: Fetcher, smart: bool
) -> None:
    repository = Repository(tmp_path / "work")
    repository.commit({f"apps/lamp/{name}": text for name, text in app_files().items()})
    commit = repository.commit({"apps/radio/homehelper.json": manifest(name="Radio"), "README": "many"})
    bare_clone(repository, tmp_path / "served" / "many.git")
    with served_over_http(tmp_path / "served", smart=smart) as address:
        lamp = await bring(f"{address}/many.git", folder="apps/lamp")
        assert (lamp.revision, lamp.name, inside(lamp.folder)) == (commit, "lamp", ["homehelper.json", "run.sh"])
        with pytest.raises(HomeHelperError, match=r"it holds the apps apps/lamp, apps/radio: name one behind a #"):
            await bring(f"{address}/many.git")
        with pytest.raises(HomeHelperError, match="git: "):
            await bring(f"{address}/other.git")


@pytest.mark.parametrize(
    ("name", "called"),
    [
        ("lamp-1.2.tar.gz", "lamp"),
        ("lamp.tgz", "lamp"),
        ("lamp.zip", "lamp"),
        ("v1.2.zip", "deep-lamp"),
        ("a.tar.xz", "a"),
    ],
)
async def test_an_archive_comes_over_http_and_says_what_it_is_called(
    tmp_path: Path, bring: Fetcher, name: str, called: str
) -> None:
    files = {f"deep-lamp-1.2/{path}": text for path, text in app_files().items()}
    (tmp_path / "served").mkdir()
    if name.endswith(".zip"):
        zip_of(tmp_path / "served" / name, files)
    else:
        tar_of(tmp_path / "served" / name, files, "w:xz" if name.endswith("xz") else "w:gz")
    with served_over_http(tmp_path / "served", smart=False) as address:
        lamp = await bring(f"{address}/{name}")
        assert (lamp.name, inside(lamp.folder), len(lamp.revision)) == (called, ["homehelper.json", "run.sh"], 64)
        with pytest.raises(HomeHelperError, match="the server answers 404"):
            await bring(f"{address}/none-{name}")


async def test_the_examples_and_a_folder_of_this_machine_are_sources_too(tmp_path: Path, bring: Fetcher) -> None:
    assert (await bring(BUILT_IN, folder="crasher")).name == "crasher"
    everything = await bring(BUILT_IN, whole=True)
    assert {"crasher", "dashboard"} <= {path.name for path in everything.folder.iterdir()}
    with pytest.raises(HomeHelperError, match="must be a folder inside"):
        await bring(BUILT_IN, folder="../apps/crasher")


@pytest.mark.parametrize(
    "url",
    ["ext::sh -c touch", "fd::17", "git://host/x", "--upload-pack=touch", "ssh://-oProxyCommand=touch/x", "ftp://h/a.zip",
     "file://other/x", "lamp", "../lamp", "https:///x", "-oProxyCommand=x:y"],
)  # fmt: skip
def test_what_is_no_address_of_an_app_is_refused(url: str) -> None:
    with pytest.raises(InvalidInputError):
        kind_of(url)


async def test_hooks_and_settings_of_a_hostile_repository_run_nothing(tmp_path: Path, bring: Fetcher) -> None:
    ran = tmp_path / "ran"
    repository = Repository(tmp_path / "lamp")
    attributes = {".gitattributes": "* filter=evil diff=evil\n", ".gitconfig": "[core]\n\tfsmonitor = touch x\n"}
    repository.commit({**app_files(), **attributes})
    for name in ("post-checkout", "post-merge", "pre-upload-pack", "reference-transaction", "post-index-change"):
        hook = repository.folder / ".git" / "hooks" / name
        hook.parent.mkdir(exist_ok=True)
        hook.write_text(f"#!/bin/sh\ntouch {ran}\n")
        hook.chmod(0o755)
    for key in ("filter.evil.smudge", "core.fsmonitor", "uploadpack.packObjectsHook", "core.sshCommand", "core.pager"):
        repository.git("config", key, f"touch {ran}")
    lamp = await bring(repository.url)
    assert sorted(lamp.files) == [".gitattributes", ".gitconfig", "homehelper.json", "run.sh"]
    assert not ran.exists()


@pytest.mark.parametrize("target", ["/etc/passwd", "../../outside", ".git/../../x", "a/../../b"])
async def test_a_link_in_a_repository_that_leads_out_is_refused(tmp_path: Path, bring: Fetcher, target: str) -> None:
    repository = Repository(tmp_path / "lamp")
    repository.commit(app_files())
    (repository.folder / "link").symlink_to(target)
    repository.commit({})
    with pytest.raises(HomeHelperError, match="link: is a link that leads out of the app"):
        await bring(repository.url)


@pytest.mark.parametrize("name", ["..", ".git"])
async def test_a_tree_that_git_itself_does_not_unpack_is_refused_in_its_words(
    tmp_path: Path, bring: Fetcher, name: str
) -> None:
    repository = Repository(tmp_path / "lamp")
    repository.commit(app_files())
    lines = repository.git("ls-tree", "HEAD") + f"\n040000 tree {repository.git('rev-parse', 'HEAD:')}\t{name}\n"
    tree = subprocess.run(
        ["git", "mktree"], cwd=repository.folder, input=lines, capture_output=True, text=True, check=True
    ).stdout.strip()
    repository.git("update-ref", "refs/heads/main", repository.git("commit-tree", "-m", "x", tree))
    with pytest.raises(HomeHelperError, match=f"git: .*{name}"):
        await bring(repository.url)
    assert sorted(os.listdir(tmp_path)) == ["home", "lamp"]


async def test_a_link_out_of_one_app_of_many_is_refused_though_it_stays_in_the_repository(
    tmp_path: Path, bring: Fetcher
) -> None:
    repository = Repository(tmp_path / "many")
    repository.commit({f"lamp/{name}": text for name, text in app_files().items()} | {"shared/x": "x"})
    (repository.folder / "lamp" / "link").symlink_to("../shared/x")
    repository.commit({})
    with pytest.raises(HomeHelperError, match="link: is a link that leads out of the app"):
        await bring(repository.url, folder="lamp")


@pytest.mark.parametrize("url", ["file:///{other}", "{other}", "../other", "ssh://elsewhere/x", "https://elsewhere/x"])
async def test_submodules_are_followed_to_the_same_host_alone(tmp_path: Path, bring: Fetcher, url: str) -> None:
    other = Repository(tmp_path / "other")
    other.commit({"secret": "geheim"})
    repository = Repository(tmp_path / "lamp")
    repository.commit(app_files())
    repository.git("submodule", "--quiet", "add", str(other.folder), "part")
    repository.git("config", "--file", ".gitmodules", "submodule.part.url", url.format(other=other.folder))
    repository.commit({})
    with pytest.raises(HomeHelperError, match="its submodule part"):
        await bring(repository.url)


async def test_a_submodule_on_the_same_server_comes_along(tmp_path: Path, bring: Fetcher) -> None:
    other = Repository(tmp_path / "other")
    other.commit({"library.sh": "true"})
    repository = Repository(tmp_path / "lamp")
    repository.commit(app_files())
    repository.git("submodule", "--quiet", "add", str(other.folder), "deep/part")
    repository.git("config", "--file", ".gitmodules", "submodule.deep/part.url", "../other.git")
    repository.git("config", "--file", ".gitmodules", "submodule.deep/part.update", "!touch /nonexistent/x")
    repository.commit({})
    other.commit({"library.sh": "newer"})
    for name in ("lamp", "other"):
        bare_clone(repository if name == "lamp" else other, tmp_path / "served" / f"{name}.git")
    with served_over_http(tmp_path / "served", smart=True) as address:
        lamp = await bring(f"{address}/lamp.git")
    assert (lamp.folder / "deep" / "part" / "library.sh").read_text() == "true"


async def test_a_few_bytes_that_are_ten_thousand_million_files_are_refused(tmp_path: Path, bring: Fetcher) -> None:
    repository = Repository(tmp_path / "bomb")
    repository.commit(app_files())
    blob = repository.git("hash-object", "-w", "run.sh")
    kind, digest = "100644 blob", blob
    for _ in range(10):
        tree = "".join(f"{kind} {digest}\t{number}\n" for number in range(10))
        made = subprocess.run(
            ["git", "mktree"], cwd=repository.folder, input=tree, capture_output=True, text=True, check=True
        )
        kind, digest = "040000 tree", made.stdout.strip()
    repository.git("update-ref", "refs/heads/main", repository.git("commit-tree", "-m", "bomb", digest))
    with pytest.raises(HomeHelperError, match="holds more than 50000 files"):
        await bring(repository.url)


async def test_cancelled_it_leaves_no_process_behind(tmp_path: Path, bring: Fetcher) -> None:
    # A server that takes the connection and says nothing.
    asked = asyncio.Event()

    async def silent(_reader: asyncio.StreamReader, writer: asyncio.StreamWriter) -> None:
        asked.set()
        await asyncio.Event().wait()

    server = await asyncio.start_server(silent, "127.0.0.1", 0)
    port = server.sockets[0].getsockname()[1]
    task = asyncio.get_running_loop().create_task(bring(f"http://127.0.0.1:{port}/x.git"))
    await asyncio.wait_for(asked.wait(), 60)
    task.cancel()
    await asyncio.wait({task})
    assert task.cancelled()

    def living() -> bool:
        lines = [path.read_bytes() for path in Path("/proc").glob("[0-9]*/cmdline") if os.access(path, os.R_OK)]
        return any(str(port).encode() in line and b"git" in line for line in lines)

    for _ in range(200):
        if not living():
            break
        await asyncio.sleep(0.05)
    assert not living()
    server.close()


async def test_a_redirect_leads_to_no_other_protocol_and_no_key_is_repeated(tmp_path: Path, bring: Fetcher) -> None:
    leads = ["file:///etc/passwd", "ftp://host/x.zip", "http://me:geheim@localhost/x.zip", "gopher://h/?token=geheim"]

    class Leading(http.server.BaseHTTPRequestHandler):
        def do_GET(self) -> None:
            self.send_response(302)
            self.send_header("Location", leads[int(self.path[1])])
            self.end_headers()

        def log_message(self, *_: object) -> None:
            pass

    with http.server.ThreadingHTTPServer(("127.0.0.1", 0), Leading) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            for number in range(len(leads)):
                with pytest.raises(HomeHelperError, match="leads on to what is not followed") as caught:
                    await bring(f"http://127.0.0.1:{server.server_port}/{number}.zip")
                assert "geheim" not in caught.value.message and "\n" not in caught.value.message
        finally:
            server.shutdown()


async def test_tags_that_look_like_options_or_places_are_names_alone(tmp_path: Path, bring: Fetcher) -> None:
    repository = Repository(tmp_path / "repository")
    commit = repository.commit(app_files())
    names = ["--upload-pack=touch pwned", "-x", "--exec=touch${IFS}pwned", "HEAD", "FETCH_HEAD"]
    with (repository.folder / ".git" / "packed-refs").open("w") as file:
        file.write("# pack-refs with: peeled fully-peeled sorted\n")
        for name in sorted(names):
            file.write(f"{commit} refs/tags/{name.replace(' ', '-')}\n")
    fetched = await bring(repository.url)
    assert fetched.revision == commit
    for name in names[:3]:
        with pytest.raises(HomeHelperError, match="cannot be the name of a tag"):
            await bring(repository.url, ref=name.replace(" ", "-"))
    assert not list(tmp_path.rglob("pwned"))
