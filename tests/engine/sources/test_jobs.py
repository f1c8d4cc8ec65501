"""Jobs about apps: one an app, several at once, confirmed, cancelled, and gone with the engine."""

from __future__ import annotations

import asyncio
import os
from pathlib import Path
from typing import Any

import pytest

from hhtui.client.link import EngineLink
from hhtui.engine.engine import Engine
from hhtui.engine.sources.jobs import JobReport, remove_tree
from hhtui.errors import ConflictError, InvalidInputError, NotFoundError
from hhtui.model.source import AppSource, refuse_credentials
from tests.engine.homes import make_home, until


async def endless(report: JobReport) -> dict[str, Any]:
    report("fetch", 1, 2, "half \x1b[31mway")
    await asyncio.Event().wait()
    return {}


async def asking(report: JobReport) -> dict[str, Any]:
    report.take("lamp")
    await report.confirmed({"what": "all of it"})
    return {"done": True}


async def test_an_app_has_one_job_at_a_time_and_several_apps_have_theirs(tmp_path: Path) -> None:
    async with Engine(make_home(tmp_path / "home")) as engine:
        first = engine.jobs.begin("add", "lamp", endless)
        second = engine.jobs.begin("update", "radio", endless)
        with pytest.raises(ConflictError, match=r"lamp: another job \(add\) is under way"):
            engine.jobs.begin("remove", "lamp", endless)
        await until(lambda: first.step == second.step == "fetch")
        assert (first.done, first.total, first.message) == (1, 2, "half ␛[31mway")
        assert (await engine.jobs.cancel(first.id)).state == "cancelled"
        # What has been cancelled stands in nobody's way.
        assert engine.jobs.begin("remove", "lamp", endless).state == "running"
    assert second.state == "cancelled"


async def test_jobs_are_listed_confirmed_and_cancelled_through_the_api(tmp_path: Path) -> None:
    async with Engine(make_home(tmp_path / "home")) as engine:
        link = EngineLink(engine.home.engine_socket)
        job = engine.jobs.begin("add", "", asking)
        await until(lambda: job.preview)
        assert [(one["app_id"], one["preview"]) for one in await link.jobs()] == [("lamp", {"what": "all of it"})]
        assert (await link.confirm_job(job.id))["id"] == job.id
        await until(lambda: job.state == "done")
        assert (await link.jobs())[0]["result"] == {"done": True}
        other = engine.jobs.begin("add", "", asking)
        await until(lambda: other.preview)
        assert (await link.cancel_job(other.id))["state"] == "cancelled"
        for refused in (link.confirm_job(job.id), link.cancel_job(job.id)):
            with pytest.raises(ConflictError):
                await refused
        for unknown in (link.confirm_job("no/such"), link.cancel_job("none")):
            with pytest.raises(NotFoundError):
                await unknown


async def test_what_is_carried_through_is_not_cancelled(tmp_path: Path) -> None:
    async def committed(report: JobReport) -> dict[str, Any]:
        report.commit()
        return await endless(report)

    async with Engine(make_home(tmp_path / "home")) as engine:
        job = engine.jobs.begin("add", "lamp", committed)
        await until(lambda: job.final)
        with pytest.raises(ConflictError, match="too late"):
            await engine.jobs.cancel(job.id)


async def test_a_failure_is_one_line_and_the_next_job_may_begin(tmp_path: Path) -> None:
    async def failing(report: JobReport) -> dict[str, Any]:
        raise InvalidInputError("it is\nwrong")

    async def breaking(report: JobReport) -> dict[str, Any]:
        Path("/nonexistent/file").write_text("")
        return {}

    async with Engine(make_home(tmp_path / "home")) as engine:
        job = await engine.jobs.waited(engine.jobs.begin("add", "lamp", failing), 10)
        assert (job.state, job.slug, job.error) == ("failed", "invalid", "it is␊wrong")
        job = await engine.jobs.waited(engine.jobs.begin("add", "lamp", breaking), 10)
        assert job.error == "/nonexistent/file: No such file or directory"


async def test_what_a_killed_engine_left_in_incoming_goes_at_the_next_start(tmp_path: Path) -> None:
    home = make_home(tmp_path / "home")
    outside = tmp_path / "outside"
    outside.mkdir()
    (outside / "kept").write_text("")
    left = home / "incoming" / "abc"
    (left / "locked").mkdir(parents=True)
    (left / "locked" / "file").write_text("x")
    (left / "locked").chmod(0o500)
    (home / "incoming" / "link").symlink_to(outside)
    async with Engine(home):
        await until(lambda: not list((home / "incoming").iterdir()))
    assert (outside / "kept").exists()


async def test_what_a_killed_engine_left_on_other_disks_goes_and_nothing_else(tmp_path: Path, other_disk: Path) -> None:
    home = make_home(tmp_path / "home")
    (home / "apps").symlink_to(other_disk)
    left = other_disk / ".incoming" / "0123456789abcdef"
    others = other_disk / ".incoming" / "not-ours"
    for folder in (left / "fetched", others):
        folder.mkdir(parents=True)
        (folder / "file").write_text("x")
    async with Engine(home) as engine:
        await until(lambda: not left.exists())
        assert (others / "file").exists()
        assert engine.jobs.list() == []


@pytest.mark.parametrize(
    "url",
    [
        "https://me:geheim@host/app.git",
        "https://geheim@host/app.git",
        "ssh://git:geheim@host/app",
        "https://host/app.zip?token=geheim",
        "https://host/app.zip?X-Amz-Signature=geheim",
    ],
)
def test_a_url_with_credentials_is_refused_without_repeating_them(url: str) -> None:
    with pytest.raises(InvalidInputError) as refused:
        refuse_credentials(url)
    assert "geheim" not in refused.value.message


@pytest.mark.parametrize("url", ["ssh://git@host/app", "git@host:me/app.git", "https://host/a.zip?dl=1", "/srv/a"])
def test_a_url_without_credentials_is_taken(url: str) -> None:
    assert refuse_credentials(url) == url


def test_a_source_survives_and_is_its_owners_alone(tmp_path: Path) -> None:
    from hhtui.model.event import utc_now
    from hhtui.paths import Home

    home = Home.at(make_home(tmp_path / "home"))
    home.registry_dir.mkdir()
    assert AppSource.read(home, "lamp") is None
    source = AppSource(kind="git", url="file:///srv/lamp", revision="1" * 40, added_at=utc_now(), files={"a": "0" * 64})
    source.write(home, "lamp")
    assert AppSource.read(home, "lamp") == source
    assert home.app_source("lamp").stat().st_mode & 0o777 == 0o600
    home.app_source("lamp").write_text('{"kind": "git"}')
    with pytest.raises(InvalidInputError, match=r"lamp\.json: url: field required"):
        AppSource.read(home, "lamp")


@pytest.mark.parametrize(("name", "depth"), [("a", 1500), ("a-longer-name", 500)])
def test_a_tree_is_removed_however_deep_it_is(tmp_path: Path, name: str, depth: int) -> None:
    tree = tmp_path / "tree"
    folder = os.open(tmp_path, os.O_RDONLY)
    for part in ("tree", *[name] * depth):
        os.mkdir(part, 0o700, dir_fd=folder)
        inside = os.open(part, os.O_RDONLY, dir_fd=folder)
        os.close(folder)
        folder = inside
    os.symlink("/etc", "link", dir_fd=folder)
    os.fchmod(folder, 0o500)
    os.close(folder)
    remove_tree(tree)
    assert os.listdir(tmp_path) == []
    assert os.path.isdir("/etc")
