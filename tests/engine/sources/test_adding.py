"""Apps are added: shown first, in place at once when confirmed, and never by halves."""

from __future__ import annotations

import random
import threading
import time
from pathlib import Path
from typing import Any

import pytest

from hhtui.client.link import EngineLink
from hhtui.engine.engine import Engine
from hhtui.engine.sources.adding import put_in_place, settle
from hhtui.errors import ConflictError, HomeHelperError, InvalidInputError, NotFoundError
from hhtui.model.event import utc_now
from hhtui.model.source import AppJob, AppSource
from hhtui.paths import Home
from tests.engine.engine_process import engine_process
from tests.engine.homes import make_app, make_home, until
from tests.engine.sources.repositories import Repository, app_files, home_with_incoming, manifest, tar_of


async def begun(engine: Engine, **order: Any) -> AppJob:
    """The job of such an order, when it asks or has ended."""
    answer = await EngineLink(engine.home.engine_socket).add_app(order)
    job = next(job for job in engine.jobs.list() if job.id == answer["id"])
    await until(lambda: job.preview or job.state != "running", 100)
    return job


async def ended(engine: Engine, **order: Any) -> AppJob:
    job = await begun(engine, **order, yes=True)
    assert job.state in ("done", "failed"), job
    return job


def nothing_is_left(home: Home) -> bool:
    return not any(home.incoming_dir.iterdir()) and not list(home.sources_dir.glob("*"))


async def test_an_app_is_shown_confirmed_put_in_place_and_runs(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "many")
    asks = {
        "autostart": True,
        "environment": {"KEY": "${LAMP_KEY}"},
        "config": {"requires_secrets": ["OTHER"]},
        "requires": [{"app": "radio", "min_version": "1.0"}, {"app": "hello-http"}],
        "setup_commands": {"one": "true"},
        "requirements": ["x-y-z==1"],
    }
    first = repository.commit({f"lamp/{name}": text for name, text in app_files(**asks).items()}, tag="v1")
    repository.commit({f"lamp/{name}": text for name, text in app_files().items()}, tag="v2")
    async with Engine(make_home(tmp_path / "home")) as engine:
        (engine.home.app_data("lamp") / "old").mkdir(parents=True)
        job = await begun(engine, source=repository.url, folder="lamp", ref="v1")
        preview = job.preview
        assert preview is not None, job
        assert (preview["app_id"], preview["name"], preview["autostart"], preview["files"]) == ("lamp", "Lamp", True, 2)
        assert preview["secrets"] == [{"name": "OTHER", "there": False}, {"name": "LAMP_KEY", "there": False}]
        assert [(entry["app"], entry["there"], entry["catalog"]) for entry in preview["requires"]] == [
            ("radio", False, None),
            ("hello-http", False, "examples/hello-http"),
        ]
        assert (preview["setup_commands"], preview["requirements"]) == ({"one": "true"}, ["x-y-z==1"])
        assert preview["has_data"] and preview["starts"] == ["/bin/sh", "run.sh"]
        # Until somebody agrees there is no app, and nothing of it was run.
        assert not list(engine.home.default_apps_dir.iterdir()) and AppSource.read(engine.home, "lamp") is None
        await EngineLink(engine.home.engine_socket).confirm_job(job.id)
        await until(lambda: job.state != "running")
        assert job.state == "done" and "lamp" in engine.fleet.supervisors
        folder = engine.home.default_apps_dir / "lamp"
        assert sorted(path.name for path in folder.iterdir()) == ["homehelper.json", "run.sh"]
        source = AppSource.read(engine.home, "lamp")
        assert source is not None and (source.kind, source.url, source.folder) == ("git", repository.url, "lamp")
        assert (source.ref, source.revision, sorted(source.files)) == ("v1", first, ["homehelper.json", "run.sh"])
        assert not any(engine.home.incoming_dir.iterdir())
        job = await ended(engine, source=repository.url, folder="lamp", ref="v2", app_id="lamp-2")
        assert job.state == "done" and job.app_id == "lamp-2"
        again = await ended(engine, source=repository.url, folder="lamp")
        assert again.slug == "conflict" and "is there already" in str(again.error)


async def test_what_is_cancelled_or_fails_leaves_nothing(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "lamp")
    repository.commit({**app_files(), "homehelper.json": '{"name": "x", "type": "none"}'}, tag="broken")
    repository.commit(app_files())
    async with Engine(make_home(tmp_path / "home")) as engine:
        job = await begun(engine, source=repository.url)
        await engine.jobs.cancel(job.id)
        assert job.state == "cancelled"
        broken = await ended(engine, source=repository.url, ref="broken")
        assert broken.error is not None and broken.error.startswith("it is not valid: homehelper.json: type")
        for source in ("file:///nonexistent/x", f"{repository.url}/nothing", "http://127.0.0.1:9/a.zip"):
            failed = await ended(engine, source=source)
            assert failed.slug == "fetch" and "\n" not in str(failed.error)
        await until(lambda: nothing_is_left(engine.home))
        assert not list(engine.home.default_apps_dir.iterdir())


async def test_an_engine_that_ends_while_somebody_reads_the_preview_leaves_nothing(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "lamp")
    repository.commit(app_files())
    async with Engine(make_home(tmp_path / "home")) as engine:
        job = await begun(engine, source=repository.url)
    assert job.state == "cancelled" and nothing_is_left(engine.home)


@pytest.mark.parametrize(
    ("order", "error"),
    [
        ({"source": "nothing-of-the-kind"}, NotFoundError),
        ({"source": "nowhere/lamp"}, NotFoundError),
        ({"source": "/srv/lamp"}, InvalidInputError),
        ({"source": "ext::sh -c true"}, InvalidInputError),
        ({"source": "https://me:geheim@host/x"}, InvalidInputError),
        ({"source": "lamp", "upload": "0" * 32, "kind": "folder"}, NotFoundError),
        ({"source": "https://host/x", "app_id": "../x"}, InvalidInputError),
        ({"source": "https://host/x", "app_id": "system"}, InvalidInputError),
        ({"source": "https://host/x", "app_id": "taken"}, ConflictError),
        ({"source": "https://host/x.zip", "ref": "v1"}, InvalidInputError),
    ],
)
async def test_what_cannot_be_added_is_said_at_once(tmp_path: Path, order: dict[str, Any], error: type) -> None:
    home = make_home(tmp_path / "home")
    make_app(home, "taken")
    async with Engine(home) as engine:
        with pytest.raises(error) as refused:
            await EngineLink(engine.home.engine_socket).add_app(order)
        assert "geheim" not in str(refused.value) and not engine.jobs.list()


async def test_two_that_would_be_the_same_app_are_one(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "lamp")
    repository.commit(app_files())
    async with Engine(make_home(tmp_path / "home")) as engine:
        first = await begun(engine, source=repository.url)
        second = await begun(engine, source=repository.url)
        assert first.preview and second.state == "failed" and second.slug == "conflict"


async def test_an_upload_is_used_once_and_one_that_breaks_off_is_forgotten(tmp_path: Path) -> None:
    import asyncio

    from hhtui.client.sync import EngineClient

    data = tar_of(tmp_path / "lamp.tar.gz", app_files()).read_bytes()
    async with Engine(make_home(tmp_path / "home")) as engine:
        client = EngineClient(engine.home.engine_socket)
        sent = await asyncio.to_thread(client.upload, iter([data[:50], data[50:]]))
        assert sent["bytes"] == len(data)
        order = {"source": "/home/me/lamp.tar.gz", "kind": "archive", "upload": sent["upload"]}
        job = await ended(engine, **order)
        assert (job.state, job.app_id) == ("done", "lamp"), job.error
        with pytest.raises(NotFoundError, match="send it again"):
            await EngineLink(engine.home.engine_socket).add_app(order)

        def broken() -> Any:
            yield data[:50]
            raise HomeHelperError("the disk is gone")

        with pytest.raises(HomeHelperError, match="the disk is gone"):
            await asyncio.to_thread(client.upload, broken())
        await until(lambda: not any(engine.home.incoming_dir.iterdir()))


def test_a_kill_before_the_rename_takes_it_back_and_after_it_leaves_the_app(tmp_path: Path) -> None:
    home = home_with_incoming(tmp_path / "home")
    home.registry_dir.mkdir()
    source = AppSource(kind="git", url="file:///x", revision="1", added_at=utc_now())
    for app_id in ("early", "late"):
        token = home.incoming_dir / app_id
        (token / app_id).mkdir(parents=True)
        (token / app_id / "homehelper.json").write_text(manifest())
        put_in_place(home, token, token / app_id, home.default_apps_dir / app_id, source)
    # As it was just before the rename.
    (home.default_apps_dir / "early").rename(home.incoming_dir / "early" / "early")
    settle(home)
    assert AppSource.read(home, "early") is None and AppSource.read(home, "late") == source
    assert [path.name for path in home.default_apps_dir.iterdir()] == ["late"]


def test_an_engine_that_is_killed_at_any_moment_has_the_whole_app_or_none(tmp_path: Path) -> None:
    repository = Repository(tmp_path / "lamp")
    repository.commit({**app_files(), **{f"data/{number}": "x" * 1000 for number in range(50)}})
    dice = random.Random(7)
    with engine_process(make_home(tmp_path / "home")) as engine:
        for round_number in range(3):
            app_id = f"lamp-{round_number}"
            engine.client.add_app({"source": repository.url, "app_id": app_id, "yes": True})
            killer = threading.Timer(dice.uniform(0, 1.2), engine.kill)
            killer.start()
            killer.join()
            time.sleep(0.01)
            engine.start()
            folder, source = engine.home.default_apps_dir / app_id, AppSource.read(engine.home, app_id)
            if folder.exists():
                assert source is not None
                present = {str(path.relative_to(folder)) for path in folder.rglob("*") if path.is_file()}
                assert present == set(source.files) and len(present) == 52
            else:
                assert source is None
            deadline = time.monotonic() + 20
            while any(engine.home.incoming_dir.iterdir()):
                assert time.monotonic() < deadline
                time.sleep(0.02)
