"""Apps that move between two homes: both engines are processes, led by the client without ssh between them."""

from __future__ import annotations

import hashlib
import io
import json
import os
import sqlite3
import tarfile
from collections.abc import Callable, Iterator
from pathlib import Path
from typing import Any

import pytest

from hhtui.client.moving import Homes, Move, keep, preview_lines
from hhtui.client.sync import EngineClient
from hhtui.client.wire import EngineGoneError
from hhtui.engine.sources.moved_files import pack, unpack
from hhtui.errors import ConflictError, HomeHelperError, UnknownAppError
from tests.engine.engine_process import EngineProcess, end_home, eventually
from tests.engine.homes import free_ports, make_app, make_home

SECRET = "s3cr3t-w0rth-hiding"
Begin = Callable[..., Move]


@pytest.fixture(scope="module")
def attic(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """The home that apps move from."""
    yield from _engine(tmp_path_factory.mktemp("attic") / "attic")


@pytest.fixture(scope="module")
def kitchen(tmp_path_factory: pytest.TempPathFactory) -> Iterator[EngineProcess]:
    """The home that apps move to."""
    yield from _engine(tmp_path_factory.mktemp("kitchen") / "kitchen")


def _engine(root: Path) -> Iterator[EngineProcess]:
    engine = EngineProcess(make_home(root, updates={"trial_seconds": 0.5}))
    try:
        yield engine.start()
    finally:
        end_home(engine)


@pytest.fixture
def begin(attic: EngineProcess, kitchen: EngineProcess) -> Begin:
    """A move from the attic to the kitchen; ``at`` hears of each step."""

    def made(app_id: str, at: Callable[[Move, str], None] = lambda *_: None) -> Move:
        homes = Homes(attic.client, "attic", kitchen.client, "kitchen", "kitchen")
        move = Move(homes, app_id, lambda words, _done, _total: at(move, words))
        return move

    return made


def started(engine: EngineProcess, app_id: str, script: str = "exec sleep 1000", **manifest: Any) -> None:
    make_app(engine.root, app_id, script, **manifest)
    eventually(lambda: app_id in ids(engine))
    engine.client.command(app_id, "start", wait=20)
    engine.wait_status(app_id, "running")


def ids(engine: EngineProcess) -> list[str]:
    return [app["app_id"] for app in engine.client.apps()]


def moved(move: Move) -> dict[str, Any]:
    move.preview()
    return move.run()


def left_of(engine: EngineProcess, app_id: str) -> list[str]:
    """What of an app lies in a home, but for logs and the trash."""
    found = [path for path in engine.root.rglob(f"*{app_id}*") if "logs" not in path.parts and "run" not in path.parts]
    return [str(path) for path in found if "trash" not in path.parts]


def test_secrets_that_are_asked_for_go_along_and_into_nothing_but_secrets_env(
    begin: Begin, attic: EngineProcess, kitchen: EngineProcess
) -> None:
    attic.client.change_secrets({"LAMP_KEY": SECRET, "SHARED": "the attic's", "UNASKED": "stays"})
    kitchen.client.change_secrets({"SHARED": "the kitchen's"})
    script = 'test "$LAMP_KEY" && test "$LAMP_TONE" && exec sleep 1000'
    settings = {"TONE": {"type": "string", "secret": True}, "COLOUR": {"type": "string", "default": "red"}}
    asked = {"config": {"requires_secrets": ["LAMP_KEY", "SHARED"]}, "settings": settings}
    make_app(attic.root, "asking", script.replace("LAMP_TONE", "TONE"), **asked)
    eventually(lambda: "asking" in ids(attic))
    attic.client.change_app_settings("asking", {"settings": {"TONE": f"{SECRET}-2", "COLOUR": "blue"}})
    attic.client.command("asking", "start", wait=20)
    attic.wait_status("asking", "running")
    move = begin("asking")
    preview = move.preview()
    assert (preview["secrets"], preview["secrets_kept"]) == (["LAMP_KEY"], ["SHARED"])
    assert any("LAMP_KEY, TONE" in line for line in preview_lines(preview))
    result = move.run()
    assert result["status"] == "running"
    stored = (kitchen.root / "config" / "secrets.env").read_text()
    assert f"LAMP_KEY='{SECRET}'" in stored and f"ASKING__TONE='{SECRET}-2'" in stored
    assert "the kitchen's" in stored.replace("\\'", "'") and "UNASKED" not in stored
    assert (kitchen.root / "config" / "secrets.env").stat().st_mode & 0o777 == 0o600
    rows = {row["key"]: row for row in kitchen.client.app_settings("asking")["rows"]}
    assert rows["settings.COLOUR"]["owner"] == "blue"
    told = json.dumps([preview, result, *(engine.client.jobs() for engine in (attic, kitchen))])
    assert SECRET not in told
    for engine in (attic, kitchen):
        holding = [
            path.name for path in engine.root.rglob("*") if path.is_file() and SECRET.encode() in path.read_bytes()
        ]
        assert holding == ["secrets.env"]


def test_what_speaks_against_a_move_is_said_in_one_line_and_nothing_is_done(
    begin: Begin, attic: EngineProcess, kitchen: EngineProcess
) -> None:
    port = free_ports(1)
    started(attic, "base")
    make_app(attic.root, "needing", depends_on=["base"])
    make_app(attic.root, "twin")
    make_app(attic.root, "porty")
    make_app(attic.root, "datas")
    make_app(attic.root, "broken").joinpath("homehelper.json").write_text("{")
    make_app(kitchen.root, "twin")
    make_app(kitchen.root, "holder")
    eventually(lambda: {"needing", "twin", "porty", "datas", "broken"} <= set(ids(attic)))
    eventually(lambda: {"twin", "holder"} <= set(ids(kitchen)))
    attic.client.change_app_settings("porty", {"port": port})
    kitchen.client.change_app_settings("holder", {"port": port})
    old = kitchen.root / "data" / "datas"
    old.mkdir(parents=True)
    (old / "old").touch()
    for app_id, words in (
        ("base", "is required here by needing"),
        ("needing", "kitchen: needing requires base, which is not there"),
        ("twin", "kitchen: there is an app twin there already"),
        ("porty", f"kitchen: port: {port} is the one of holder"),
        ("datas", "kitchen: there are data of an earlier datas"),
        ("broken", "is invalid"),
    ):
        with pytest.raises(ConflictError, match=words) as refused:
            begin(app_id).preview()
        assert "\n" not in refused.value.message
    with pytest.raises(UnknownAppError):
        begin("nobody").preview()
    itself = Homes(attic.client, "attic", attic.client, "attic", "attic")
    make_app(attic.root, "alone")
    eventually(lambda: "alone" in ids(attic))
    with pytest.raises(ConflictError, match="that is the same home"):
        Move(itself, "alone", lambda *_: None).preview()
    assert attic.client.app("base")["status"] == "running"
    assert not [job for engine in (attic, kitchen) for job in engine.client.jobs() if job["state"] == "running"]


@pytest.mark.parametrize("step", ["copying its data", "watching"])
def test_a_move_that_is_cancelled_leaves_nothing_there_and_the_app_goes_on(
    step: str, begin: Begin, attic: EngineProcess, kitchen: EngineProcess
) -> None:
    app_id = f"undone-{step.split()[-1]}"
    started(attic, app_id)

    def cancel(move: Move, words: str) -> None:
        if words.startswith(step):
            move.cancel()

    with pytest.raises(HomeHelperError, match="is not moved, and goes on at attic: it was cancelled"):
        moved(begin(app_id, cancel))
    attic.wait_status(app_id, "running")
    eventually(lambda: left_of(kitchen, app_id) == [])
    assert app_id not in ids(kitchen)
    assert not list((attic.root / "registry" / "moves").glob("*"))


def test_an_app_that_is_not_well_there_goes_on_here_with_the_reason(
    begin: Begin, attic: EngineProcess, kitchen: EngineProcess
) -> None:
    script = 'case "$HOMEHELPER_DATA_DIR" in *kitchen*) echo "no kitchens for me" >&2; exit 3;; esac; exec sleep 1000'
    started(attic, "choosy", script, restart={"policy": "never"})
    with pytest.raises(HomeHelperError, match=r"goes on at attic: choosy is not well there: .*no kitchens for me"):
        moved(begin("choosy"))
    attic.wait_status("choosy", "running")
    eventually(lambda: left_of(kitchen, "choosy") == [])


def test_what_changes_while_it_is_copied_arrives_too_and_a_database_whole(
    begin: Begin, attic: EngineProcess, kitchen: EngineProcess
) -> None:
    started(attic, "writer")
    data = attic.root / "data" / "writer"
    database = sqlite3.connect(data / "notes.db")
    database.execute("pragma journal_mode=wal")
    database.execute("create table note (text)")
    (data / "goes").write_text("x")
    (data / "grows").write_text("x")
    (data / "link").symlink_to("grows")
    os.mkfifo(data / "pipe")
    name = os.fsdecode(b"not-utf8-\xff")
    (data / name).write_text("x")
    with (data / "sparse").open("wb") as file:
        file.truncate(50_000_000)

    def change(_move: Move, words: str) -> None:
        if words.startswith("stopping") and not (data / "new").exists():
            (data / "goes").unlink()
            (data / "grows").write_text("more than before")
            (data / "new").mkdir()
            (data / "new" / "file").write_text("new")
            database.execute("insert into note values ('last')")
            database.commit()

    moved(begin("writer", change))
    there = kitchen.root / "data" / "writer"
    assert not (there / "goes").exists()
    assert (there / "link").read_text() == "more than before"
    assert (there / "new" / "file").read_text() == "new"
    assert (there / name).read_text() == "x"
    assert (there / "pipe").is_fifo()
    assert (there / "sparse").stat().st_size == 50_000_000 and (there / "sparse").stat().st_blocks < 1000
    database.close()
    assert sqlite3.connect(there / "notes.db").execute("select text from note").fetchall() == [("last",)]


def test_an_app_that_was_stopped_stays_so_and_what_comes_back_from_the_trash_says_where_it_went(
    begin: Begin, attic: EngineProcess, kitchen: EngineProcess
) -> None:
    started(attic, "quiet", autostart=True)
    attic.client.command("quiet", "stop", wait=20)
    result = moved(begin("quiet"))
    assert kitchen.client.app("quiet")["status"] == "stopped"
    assert result["down_seconds"] == 0
    kitchen.terminate()
    kitchen.start()
    eventually(lambda: "quiet" in ids(kitchen))
    assert kitchen.client.app("quiet")["status"] == "stopped", "what its user stopped, no boot starts"
    attic.client.bring_back("quiet")
    eventually(lambda: "quiet" in ids(attic))
    job = eventually(lambda: next((job for job in attic.client.jobs()[-1:] if job["state"] == "done"), None))
    assert job["result"]["moved_to"] == "kitchen"
    assert attic.client.app("quiet")["status"] == "stopped"


class Unanswered(EngineClient):
    """Hands over, and is killed before it says so."""

    def __init__(self, engine: EngineProcess) -> None:
        super().__init__(engine.client.socket_path)
        self._engine = engine

    def step_move(self, token: str, step: str, *, ran: bool = False, wait: float | None = None) -> dict[str, Any]:
        state = super().step_move(token, step, ran=ran, wait=20 if step == "hand" else wait)
        if step == "hand":
            self._engine.kill()
            raise EngineGoneError("the engine ended before it answered")
        return state


def test_an_app_that_may_have_been_handed_over_is_touched_by_nobody_until_that_is_known(
    begin: Begin, attic: EngineProcess, kitchen: EngineProcess
) -> None:
    started(attic, "doubtful")
    move = Move(Homes(Unanswered(attic), "attic", kitchen.client, "kitchen", "kitchen"), "doubtful", lambda *_: None)
    with pytest.raises(HomeHelperError, match=r"about to be handed over to kitchen, and .*the same command again"):
        moved(move)
    attic.start()
    kitchen.wait_status("doubtful", "stopped")
    for engine in (attic, kitchen):
        record = eventually(
            lambda engine=engine: next(app for app in engine.client.apps() if app["name"] == "doubtful")
        )
        assert (record["status"], "`hhtui move doubtful" in record["runtime_info"]["reason"]) == ("stopped", True)
        with pytest.raises(ConflictError, match="hhtui move doubtful"):
            engine.client.command("doubtful", "start")
        with pytest.raises(ConflictError, match="hhtui move doubtful"):
            engine.client.remove_app("doubtful", {})
    again = begin("doubtful")
    assert again.preview()["goes_on"]
    assert again.run()["status"] == "running"
    assert "doubtful" not in ids(attic)


def test_an_app_that_was_handed_over_and_never_confirmed_can_be_taken_back(
    begin: Begin, attic: EngineProcess, kitchen: EngineProcess
) -> None:
    started(attic, "undecided")

    class Gone(BaseException):
        pass

    def leave(_move: Move, words: str) -> None:
        if words.startswith("finishing"):
            raise Gone

    with pytest.raises(Gone):
        moved(begin("undecided", leave))
    # The engine sees a moment later that nobody leads the move any more.
    eventually(lambda: not [job for job in attic.client.jobs() if job["state"] == "running"])
    assert keep(attic.client, "undecided")["kept"]
    attic.wait_status("undecided", "running")
    assert kitchen.client.app("undecided")["status"] == "stopped"
    with pytest.raises(ConflictError, match="no move of it waits"):
        keep(attic.client, "undecided")


# The stream of files.


def stream_of(*members: tuple[tarfile.TarInfo, bytes], end: dict[str, Any]) -> io.BytesIO:
    out = io.BytesIO()
    with tarfile.open(fileobj=out, mode="w|") as tar:
        last = tarfile.TarInfo("end.json")
        for info, data in (*members, (last, json.dumps(end).encode())):
            info.size = len(data)
            tar.addfile(info, io.BytesIO(data))
    out.seek(0)
    return out


def entry(name: str, kind: bytes = tarfile.REGTYPE, target: str = "") -> tarfile.TarInfo:
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, target
    return info


@pytest.mark.parametrize(
    "members",
    [
        [(entry("data/../out"), b"x")],
        [(entry("data//etc/out"), b"x")],
        [(entry("out"), b"x")],
        [(entry("data/link", tarfile.SYMTYPE, "../.."), b""), (entry("data/link/out"), b"x")],
        [(entry("data/hard", tarfile.LNKTYPE, "/etc/passwd"), b"")],
        [(entry("data/device", tarfile.CHRTYPE), b"")],
    ],
)
def test_no_stream_writes_outside_its_folder(members: list[tuple[tarfile.TarInfo, bytes]], tmp_path: Path) -> None:
    request = {
        "roots": {"data": str(tmp_path / "in" / "root")},
        "notes": str(tmp_path / "n"),
        "extra": str(tmp_path / "e"),
    }
    with pytest.raises(HomeHelperError) as refused:
        unpack(request, stream_of(*members, end={"files": {}, "folders": []}))
    assert "\n" not in refused.value.message
    assert [path for path in tmp_path.rglob("*") if path.name == "out"] == []


def test_a_file_with_another_digest_and_a_stream_that_ends_too_early_are_refused(tmp_path: Path) -> None:
    request = {"roots": {"data": str(tmp_path / "root")}, "notes": str(tmp_path / "n"), "extra": str(tmp_path / "e")}
    wrong = {"files": {"data/a": hashlib.sha256(b"other").hexdigest()}, "folders": []}
    with pytest.raises(ConflictError, match="another SHA-256"):
        unpack(request, stream_of((entry("data/a"), b"data"), end=wrong))
    origin = tmp_path / "origin"
    origin.mkdir()
    (origin / "a").write_bytes(os.urandom(100_000))
    out = io.BytesIO()
    pack({"roots": {"data": str(origin)}, "notes": str(tmp_path / "p")}, out)
    with pytest.raises((HomeHelperError, tarfile.TarError)):
        unpack(request, io.BytesIO(out.getvalue()[:60_000]))
