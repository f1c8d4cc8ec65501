"""A disk that fills up while apps are added and updated: one line, nothing half done, and the old version serves.

The disk is a small one in memory, in a mount namespace of its own: unshare(1), as root.
"""

from __future__ import annotations

import os
import shlex
import subprocess
import sys
from pathlib import Path

import pytest

from hhtui.engine.engine import Engine
from hhtui.engine.sources.fetch import RESERVE
from hhtui.model.source import AddRequest
from hhtui.model.update import UpdateRequest
from tests.engine.homes import command, make_home, until
from tests.engine.sources.repositories import Repository
from tests.engine.sources.versions import release

_INSIDE = "HHTUI_SMALL_DISK"
# To be made full there is to be little of it beyond what is kept free of what is fetched.
_SIZE = RESERVE + 48 * 1024 * 1024


# Takes all the room of a disk but so many bytes.
_FILL = """
import os, sys
status = os.statvfs(sys.argv[1])
with open(sys.argv[1] + "/fill", "ab") as file:
    os.posix_fallocate(file.fileno(), 0, status.f_bavail * status.f_frsize - int(sys.argv[2]))
"""


@pytest.mark.skipif(os.geteuid() != 0, reason="only root mounts")
def test_a_full_disk_leaves_everything_as_it_was(tmp_path: Path) -> None:
    disk = tmp_path / "disk"
    disk.mkdir()
    test = f"{__file__}::on_the_small_disk"
    words = f'mount -t tmpfs -o size={_SIZE} tmpfs "$1" && exec "$2" -m pytest -q -o python_functions=on_the_* "$3"'
    command_line = ["unshare", "-m", "sh", "-c", words, "sh", str(disk), sys.executable, test]
    environ = {**os.environ, _INSIDE: str(disk)}
    done = subprocess.run(command_line, capture_output=True, text=True, env=environ, check=False)
    if "unshare" in done.stderr or "mount:" in done.stderr:
        pytest.skip(done.stderr.strip())
    assert done.returncode == 0 and "1 passed" in done.stdout, done.stdout[-3000:]


async def on_the_small_disk(tmp_path: Path) -> None:
    disk = Path(os.environ[_INSIDE])
    repository = Repository(tmp_path / "repository")
    release(repository, "1.0")
    home = make_home(disk / "home", updates={"trial_seconds": 0.2})
    async with Engine(home) as engine:
        # Shown, and then the disk is full.
        order = AddRequest(source=repository.url, app_id="lamp")
        job = engine.adding.begin(order, correlation_id="test")
        await until(lambda: job.preview is not None)
        subprocess.run([sys.executable, "-c", _FILL, disk, "0"], check=True)
        engine.jobs.confirm(job.id)
        await engine.jobs.waited(job, 60)
        assert job.state == "failed" and job.error is not None and "make room" in job.error
        assert not list(engine.home.incoming_dir.iterdir()) and not list(engine.home.default_apps_dir.iterdir())
        (disk / "fill").unlink()
        job = engine.adding.begin(order.model_copy(update={"yes": True}), correlation_id="test")
        await engine.jobs.waited(job, 60)
        assert job.state == "done", job.error
        await command(engine, "lamp", "start")
        data = engine.home.app_data("lamp")
        before = (data / "written-by").read_text()
        for leave in (0, 100 * 1024):  # where the build ends, where its data are copied or the journal is written
            setup = f'python3 -c {shlex.quote(_FILL)} "$HOMEHELPER_DATA_DIR" {leave}'
            release(repository, f"2.{leave}", setup_commands={"fill": setup})
            job = engine.updating.update("lamp", UpdateRequest(yes=True), "test")
            await engine.jobs.waited(job, 120)
            assert job.state == "failed" and job.error is not None and "No space left on device" in job.error
            assert "\n" not in job.error and engine.app("lamp").version == "1.0"
            (data / "fill").unlink()
            assert (data / "written-by").read_text() == before
            left = [engine.home.incoming_dir, engine.home.revisions_dir, engine.home.updates_dir]
            assert [path for folder in left if folder.is_dir() for path in folder.iterdir()] == []
        await command(engine, "lamp", "restart")
        assert engine.app("lamp").version == "1.0"
