"""Updates of an app from a real git repository: the good one stays, every other leaves all as it was."""

from __future__ import annotations

import asyncio
import shutil
import sqlite3
import urllib.request
from collections.abc import AsyncIterator
from functools import partial
from pathlib import Path

import pytest
import pytest_asyncio

from hhtui.engine.engine import Engine
from hhtui.engine.sources.fetch import RESERVE
from hhtui.model.app import Status
from hhtui.model.removal import RemoveRequest
from hhtui.model.source import AppJob, AppSource
from hhtui.model.update import RollbackRequest, UpdateRequest
from tests.engine.homes import command, make_app, make_home, until
from tests.engine.sources.repositories import Repository
from tests.engine.sources.versions import bring, release

pytestmark = pytest.mark.skipif(shutil.which("git") is None, reason="no git on this machine")


@pytest.fixture
def repository(tmp_path: Path) -> Repository:
    made = Repository(tmp_path / "repository")
    release(made, "1.0")
    return made


@pytest_asyncio.fixture
async def engine(tmp_path: Path, repository: Repository) -> AsyncIterator[Engine]:
    home = make_home(tmp_path / "home", updates={"trial_seconds": 0.5}, health_check_interval_seconds=1)
    async with Engine(home) as running:
        await bring(running.home, repository)
        await until(lambda: running.fleet.supervisors.get("lamp"))
        yield running


async def ended(engine: Engine, job: AppJob, timeout: float = 240) -> AppJob:
    await engine.jobs.waited(job, timeout)
    assert job.state != "running", job
    return job


async def update(engine: Engine, to: str | None = None, *, discard_changes: bool = False) -> AppJob:
    order = UpdateRequest(to=to, discard_changes=discard_changes, yes=True)
    return await ended(engine, engine.updating.update("lamp", order, "test"))


async def rollback(engine: Engine, to: str | None = None, *, with_data: bool = False) -> AppJob:
    order = RollbackRequest(to=to, with_data=with_data, yes=True)
    return await ended(engine, engine.updating.rollback("lamp", order, "test"))


async def serves(engine: Engine) -> str:
    url = f"http://127.0.0.1:{engine.app('lamp').runtime_info.assigned_port}/"

    def ask() -> str:
        with urllib.request.urlopen(url, timeout=5) as answer:
            text: str = answer.read().decode()
            return text

    return await asyncio.to_thread(ask)


def starts(engine: Engine) -> list[str]:
    """What the app's database says of who has started."""
    database = sqlite3.connect(engine.home.app_data("lamp") / "starts.db")
    try:
        return [version for (version,) in database.execute("SELECT version FROM starts")]
    finally:
        database.close()


def reached(job: AppJob, step: str) -> bool:
    return job.step == step or job.state != "running"


def clean(engine: Engine) -> None:
    """Nothing of an update is left."""
    assert not list(engine.home.updates_dir.glob("*")) if engine.home.updates_dir.exists() else True
    assert not list(engine.home.incoming_dir.iterdir())
    assert sorted(path.name for path in engine.home.venvs_dir.glob(".*next*")) == []
    assert sorted(path.name for path in engine.home.venvs_dir.glob(".*previous*")) == []


async def test_a_good_update_serves_the_new_version_and_keeps_the_old_one(
    engine: Engine, repository: Repository
) -> None:
    await command(engine, "lamp", "start")
    old = AppSource.read(engine.home, "lamp")
    revision = release(repository, "2.0", files={"lib/new.py": "pass\n"})
    job = await update(engine)
    assert (job.state, job.error) == ("done", None)
    assert await serves(engine) == "2.0"
    source = AppSource.read(engine.home, "lamp")
    assert source is not None and source.revision == revision and "lib/new.py" in source.files
    assert old is not None
    kept = engine.updating.revisions("lamp")
    assert [(one.revision, one.version) for one in kept] == [(old.revision, "1.0")]
    assert job.result is not None and job.result["log"] == ["Release 2.0"]
    assert starts(engine) == ["1.0", "2.0"]
    clean(engine)
    again = await update(engine)
    assert again.result is not None and again.result["updated"] is False


@pytest.mark.parametrize(
    ("fault", "status", "manifest", "words"),
    [
        ("raise SystemExit('no lamp here')", 200, {}, "no lamp here"),
        ("import time; time.sleep(0.3); os.kill(os.getpid(), 9)", 200, {}, "SIGKILL"),
        ("", 500, {}, "unhealthy"),
        ("import time; time.sleep(1000)", 200, {"start": {"timeout_seconds": 1}}, "did not answer"),
    ],
    ids=["crashes", "is-killed", "is-unhealthy", "never-answers"],
)
async def test_an_update_that_does_not_get_well_goes_back_with_its_data(
    engine: Engine, repository: Repository, fault: str, status: int, manifest: dict[str, object], words: str
) -> None:
    await command(engine, "lamp", "start")
    before = AppSource.read(engine.home, "lamp")
    release(repository, "2.0", fault=fault, status=status, **manifest)
    job = await update(engine)
    assert job.state == "failed" and job.slug == "update_failed" and job.error is not None
    assert words in job.error
    await until(lambda: engine.app("lamp").status is Status.RUNNING)
    assert await serves(engine) == "1.0"
    assert AppSource.read(engine.home, "lamp") == before
    assert set(starts(engine)) == {"1.0"}
    assert (engine.home.app_data("lamp") / "written-by").read_text() == "1.0"
    assert engine.updating.revisions("lamp") == []
    clean(engine)


@pytest.mark.parametrize(
    ("files", "manifest", "words"),
    [
        ({"requirements.txt": "./no-such-package\n"}, {}, "no-such-package"),
        ({}, {"setup_commands": {"make": "echo 'no rule to make it' >&2; exit 2"}}, "no rule to make it"),
        ({}, {"type": "lighthouse"}, "type"),
    ],
    ids=["no-package", "setup-fails", "broken-manifest"],
)
async def test_an_update_that_cannot_be_built_never_touches_what_runs(
    engine: Engine, repository: Repository, files: dict[str, str], manifest: dict[str, object], words: str
) -> None:
    await command(engine, "lamp", "start")
    pid = engine.app("lamp").runtime_info.process_id
    release(repository, "2.0", files=files, **manifest)
    job = await update(engine)
    assert job.state == "failed" and job.error is not None and words in job.error
    assert engine.app("lamp").runtime_info.process_id == pid
    assert await serves(engine) == "1.0"
    clean(engine)


async def test_an_app_that_does_not_run_is_updated_and_stays_so(engine: Engine, repository: Repository) -> None:
    release(repository, "2.0", fault="raise SystemExit('never tried')")
    job = await update(engine)
    assert job.state == "done"
    assert engine.app("lamp").status in (Status.STOPPED, Status.DISCOVERED)
    assert engine.app("lamp").version == "2.0"


async def test_changed_files_stop_an_update_and_the_owners_are_carried_over(
    engine: Engine, repository: Repository
) -> None:
    folder = engine.home.default_apps_dir / "lamp"
    with (folder / "app.py").open("a") as file:
        file.write("# mine\n")
    (folder / "notes").mkdir()
    (folder / "notes" / "mine.txt").write_text("mine")
    release(repository, "2.0")
    job = await update(engine)
    assert job.slug == "changed_files" and job.error is not None and "app.py" in job.error
    assert "# mine" in (folder / "app.py").read_text()
    job = await update(engine, discard_changes=True)
    assert job.state == "done" and job.result is not None and job.result["carried_over"] == 1
    assert "# mine" not in (folder / "app.py").read_text()
    assert (folder / "notes" / "mine.txt").read_text() == "mine"


async def test_a_rollback_leaves_the_data_and_can_put_it_back(engine: Engine, repository: Repository) -> None:
    await command(engine, "lamp", "start")
    release(repository, "2.0")
    assert (await update(engine)).state == "done"
    job = await rollback(engine)
    assert (job.state, job.error) == ("done", None)
    assert await serves(engine) == "1.0"
    assert starts(engine) == ["1.0", "2.0", "1.0"]
    job = await rollback(engine, with_data=True, to="1.0")
    assert (job.state, job.error) == ("done", None)
    assert await serves(engine) == "1.0"
    assert starts(engine) == ["1.0", "1.0"], "as it was when 1.0 was replaced, and one start more"
    clean(engine)


async def test_a_broken_off_trial_goes_back(engine: Engine, repository: Repository) -> None:
    await command(engine, "lamp", "start")
    release(repository, "2.0", fault="import time; time.sleep(1000)")
    job = engine.updating.update("lamp", UpdateRequest(yes=True), "test")
    await until(lambda: job.step == "verify")
    await engine.jobs.cancel(job.id)
    await ended(engine, job)
    assert job.state == "cancelled"
    await until(lambda: engine.app("lamp").status is Status.RUNNING)
    assert await serves(engine) == "1.0"
    clean(engine)


async def test_an_update_that_is_cancelled_leaves_what_ran_running(engine: Engine, repository: Repository) -> None:
    """Also while the old version, which takes its time, is being stopped."""
    slow = "import signal, time; signal.signal(signal.SIGTERM, lambda *_: (time.sleep(1), os._exit(0)))"
    release(repository, "1.1", fault=slow)
    assert (await update(engine)).state == "done"
    await command(engine, "lamp", "start")
    release(repository, "2.0")
    for step in ("connect", "stop"):
        job = engine.updating.update("lamp", UpdateRequest(yes=True), "test")
        await until(partial(reached, job, step))
        await engine.jobs.cancel(job.id)
        await ended(engine, job)
        assert (job.state, step) == ("cancelled", step)
        await until(lambda: engine.app("lamp").status is Status.RUNNING)
        assert await serves(engine) == "1.1"
    clean(engine)
    assert (await update(engine)).state == "done"
    assert await serves(engine) == "2.0"


async def test_what_is_shown_of_an_update_repeats_no_secret(engine: Engine, repository: Repository) -> None:
    engine.home.secrets_env.write_text("TOKEN=in-secrets-env\n")
    variables = {"API_KEY": "geheim", "TONE": "warm", "AUTH": "${TOKEN}"}
    release(repository, "2.0", environment=variables, description="takes in-secrets-env as its token")
    job = engine.updating.update("lamp", UpdateRequest(), "test")
    await until(lambda: job.preview is not None or job.state != "running")
    shown = job.model_dump_json()
    assert "geheim" not in shown and "in-secrets-env" not in shown
    assert 'environment.TONE: nothing -> \\"warm\\"' in shown and "${TOKEN}" in shown
    engine.jobs.confirm(job.id)
    assert (await ended(engine, job)).state == "done", job.error
    assert "in-secrets-env" not in job.model_dump_json()


async def test_a_clone_that_its_owner_made_is_updated_with_its_git(
    engine: Engine, repository: Repository, tmp_path: Path
) -> None:
    folder = engine.home.default_apps_dir / "lamp"
    shutil.rmtree(folder)
    engine.home.app_source("lamp").unlink()
    repository.git("clone", "--quiet", repository.url, str(folder))
    (folder / "mine.txt").write_text("mine")
    revision = release(repository, "2.0")
    job = await update(engine)
    assert (job.state, job.error) == ("done", None)
    clone = ["-C", str(folder)]
    assert repository.git(*clone, "rev-parse", "HEAD") == revision
    assert repository.git(*clone, "status", "--porcelain") == "?? mine.txt"
    (folder / "app.py").write_text("raise SystemExit\n")
    repository.git(*clone, "commit", "--all", "--quiet", "--message", "own work")
    release(repository, "3.0")
    job = await update(engine)
    assert job.state == "failed" and job.error is not None and "1 commits of it" in job.error
    assert repository.git(*clone, "log", "-1", "--format=%s") == "own work"


async def test_what_is_new_is_found_and_marked_until_it_is_there(engine: Engine, repository: Repository) -> None:
    assert [one.revision for one in await engine.newer.look()] == [None]
    release(repository, "1.9")
    revision = release(repository, "2.0")
    (found,) = await engine.newer.look(["lamp"])
    assert (found.revision, found.log) == (revision, ["Release 2.0", "Release 1.9"])
    mark = engine.app("lamp").runtime_info.update_available
    assert mark is not None and "2 changes" in mark
    shutil.move(repository.folder, repository.folder.with_name("away"))
    (found,) = await engine.newer.look()
    assert found.error is not None
    assert engine.app("lamp").runtime_info.update_available == mark, "what is known stays"
    shutil.move(repository.folder.with_name("away"), repository.folder)
    assert (await update(engine)).state == "done"
    await until(lambda: engine.app("lamp").runtime_info.update_available is None)


async def test_an_app_whose_code_was_changed_under_it_says_so(engine: Engine) -> None:
    await command(engine, "lamp", "start")
    assert not engine.app("lamp").runtime_info.code_changed
    with (engine.home.default_apps_dir / "lamp" / "app.py").open("a") as file:
        file.write("# new\n")
    await until(lambda: engine.app("lamp").runtime_info.code_changed, 60)
    await command(engine, "lamp", "restart")
    await until(lambda: not engine.app("lamp").runtime_info.code_changed)


async def test_code_that_is_changed_right_after_the_start_is_noticed_too(engine: Engine) -> None:
    folder = make_app(engine.home.root, "quick", command=["sh", "run.sh"])
    (folder / "run.sh").write_text("exec sleep 1000\n")
    await until(lambda: engine.fleet.supervisors.get("quick"))
    await command(engine, "quick", "start")
    with (folder / "run.sh").open("a") as file:
        file.write("# new\n")
    await until(lambda: engine.app("quick").runtime_info.code_changed, 30)


async def test_an_update_that_was_under_way_at_the_engines_end_goes_on_at_its_start(
    tmp_path: Path, repository: Repository
) -> None:
    home = make_home(tmp_path / "home", updates={"trial_seconds": 60})
    async with Engine(home) as engine:
        await bring(engine.home, repository)
        await until(lambda: engine.fleet.supervisors.get("lamp"))
        await command(engine, "lamp", "start", wait=60)
        release(repository, "2.0")
        job = engine.updating.update("lamp", UpdateRequest(yes=True), "test")
        await until(lambda: job.step == "verify" or job.state != "running", 240)
    assert job.state == "cancelled"
    make_home(tmp_path / "home", updates={"trial_seconds": 0.2})
    async with Engine(home) as engine:
        await until(lambda: [job.state for job in engine.jobs.list()] == ["done"], 60)
        assert not engine.home.update_journal("lamp").exists()
        assert await serves(engine) == "2.0"
        assert len(engine.updating.revisions("lamp")) == 1
        clean(engine)


async def test_an_authors_folder_may_become_a_file_and_a_file_a_folder(engine: Engine, repository: Repository) -> None:
    release(repository, "2.0", files={"static/page": "x", "pages": "x"})
    assert (await update(engine)).state == "done"
    shutil.rmtree(repository.folder / "static")
    (repository.folder / "pages").unlink()
    release(repository, "3.0", files={"static": "x", "pages/one": "x"})
    done = await update(engine)
    assert done.state == "done", done.error
    folder = engine.home.default_apps_dir / "lamp"
    assert (folder / "static").is_file() and (folder / "pages" / "one").is_file()
    (folder / "pages" / "mine").write_text("x")
    back = await rollback(engine)
    assert back.state == "failed" and "pages/mine: the new version has a file where its folder is" in str(back.error)
    assert (folder / "pages" / "mine").read_text() == "x"


async def test_apps_on_another_disk_are_updated_and_removed_with_all_that_lies_there(
    tmp_path: Path, repository: Repository, other_disk: Path
) -> None:
    if shutil.disk_usage(other_disk).free < 2 * RESERVE:
        pytest.skip("the second file system is too small")
    home = make_home(tmp_path / "home", updates={"trial_seconds": 0.2})
    (home / "apps").symlink_to(other_disk)
    async with Engine(home) as engine:
        await bring(engine.home, repository)
        await until(lambda: engine.fleet.supervisors.get("lamp"))
        release(repository, "2.0")
        job = await update(engine)
        assert job.state == "done", job.error
        await command(engine, "lamp", "start", wait=60)
        assert await serves(engine) == "2.0"
        job = await rollback(engine)
        assert job.state == "done", job.error
        assert await serves(engine) == "1.0"
        job = await ended(engine, engine.removals.remove("lamp", RemoveRequest(purge=True), "test"))
        assert job.state == "done", job.error
        assert not [path for path in other_disk.rglob("*") if not path.name.startswith(".")]
