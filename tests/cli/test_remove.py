"""``hhtui remove``, with an engine and without one."""

from __future__ import annotations

from pathlib import Path

from tests.cli.conftest import run_hhtui, run_on_terminal
from tests.engine.engine_process import EngineProcess
from tests.engine.homes import make_app


def test_an_app_is_removed_listed_brought_back_and_deleted(own: EngineProcess) -> None:
    make_app(own.root, "lamp", version="1.2.0")
    own.start()
    own.client.command("lamp", "start", wait=20)
    (own.root / "data" / "lamp" / "state").write_text("x" * 100_000)
    refused = run_hhtui(own.root, "remove", "lamp")
    assert refused.code == 2 and "removing takes the app away: say --yes" in refused.err
    done = run_hhtui(own.root, "remove", "lamp", "--yes")
    assert done.code == 0, done.err
    assert "lamp: removed, " in done.err and "`hhtui remove --undo lamp` brings it back" in done.err
    listed = run_hhtui(own.root, "remove", "--list")
    assert "lamp-1" in listed.out and "KiB" in listed.out
    (entry,) = run_hhtui(own.root, "remove", "--list", "--json").json
    assert entry["version"] == "1.2.0" and entry["size_bytes"] >= 100_000 and entry["record"] == {}
    back = run_hhtui(own.root, "remove", "--undo", "lamp")
    assert back.code == 0 and "lamp: is back, running" in back.err, back.err
    purged = run_hhtui(own.root, "remove", "lamp", "--purge", "--yes")
    assert purged.code == 0 and f"{own.root}/data/lamp" in purged.err, purged.err
    gone = run_hhtui(own.root, "remove", "--undo", "lamp")
    assert gone.code == 1 and "'lamp' is not in the trash; there is: nothing" in gone.err
    assert run_hhtui(own.root, "remove", "lamp", "--yes").code == 5
    assert run_hhtui(own.root, "remove", "--list").err == "the trash is empty\n"


def test_without_an_engine_it_is_done_all_the_same(own: EngineProcess) -> None:
    make_app(own.root, "broker")
    make_app(own.root, "lamp", depends_on=["broker"])
    own.start()
    own.client.command("lamp", "disable", wait=20)
    own.terminate()
    refused = run_hhtui(own.root, "remove", "broker", "--yes")
    assert refused.code == 1 and refused.err == "hhtui: broker is required by lamp: remove that first\n"
    done = run_hhtui(own.root, "remove", "lamp", "--keep-data", "--yes", "--json").json
    assert (done["app_id"], done["kept_data"], done["purged"]) == ("lamp", True, False)
    assert run_hhtui(own.root, "remove", "broker", "--yes", "--purge").code == 0
    assert run_hhtui(own.root, "remove", "nothing", "--yes").code == 5
    own.start()
    assert own.client.apps() == []
    own.terminate()
    assert "lamp: is back" in run_hhtui(own.root, "remove", "--undo", "lamp").err
    own.start()
    (lamp,) = own.client.apps()
    assert (lamp["app_id"], lamp["enabled"]) == ("lamp", False)


def test_an_app_that_outlives_its_engine_is_not_taken_from_under_its_feet(own: EngineProcess) -> None:
    make_app(own.root, "lamp")
    own.start()
    own.client.command("lamp", "start", wait=20)
    own.kill()
    refused = run_hhtui(own.root, "remove", "lamp", "--yes")
    assert refused.code == 1 and "lamp still runs, without its engine" in refused.err
    assert (own.root / "apps" / "lamp").is_dir()


def test_the_question_shows_what_will_go_and_how_large_it_is(own: EngineProcess) -> None:
    make_app(own.root, "lamp", name="Evil \u001b[31mname")
    (own.root / "data" / "lamp").mkdir(parents=True)
    (own.root / "data" / "lamp" / "state").write_bytes(b"x" * 3_000_000)
    own.start()
    shown = run_on_terminal(own.root, "remove", "lamp", typed="n\n")
    assert "will go to the trash, for 30 days" in shown.out and "2.9 MiB" in shown.out, shown.out
    assert "\u001b[31m" not in shown.out
    assert (own.root / "apps" / "lamp").is_dir()


def test_options_that_contradict_each_other_are_refused(tmp_path: Path) -> None:
    for words in (
        ("--undo",),
        ("lamp", "--undo", "--purge"),
        ("lamp", "--list"),
        (),
        ("lamp", "--purge", "--keep-data"),
    ):
        assert run_hhtui(tmp_path, "remove", *words).code == 2


def test_an_app_whose_update_was_broken_off_is_not_removed_until_an_engine_has_settled_that(own: EngineProcess) -> None:
    folder = make_app(own.root, "lamp")
    (own.root / "registry" / "updates").mkdir(parents=True)
    (own.root / "registry" / "updates" / "lamp.json").write_text("{}")
    refused = run_hhtui(own.root, "remove", "lamp", "--yes")
    assert refused.code == 1 and "lamp: an update is to be settled first: `hhtui engine start` does" in refused.err
    assert folder.is_dir()
