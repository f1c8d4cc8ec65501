"""Every route answers as docs/api.md says."""

from __future__ import annotations

import asyncio
import json
import os
import time

import pytest

from hhtui import __version__
from hhtui.client.link import EngineLink
from hhtui.errors import ConflictError, NotFoundError, UnknownAppError
from hhtui.model.app import AppRecord
from hhtui.model.engine import ConfigView, EngineInfo
from hhtui.model.log import LogPage
from hhtui.model.metrics import SystemMetrics
from hhtui.model.redis import RedisStatus
from tests.engine.api.bare_http import with_body
from tests.engine.api.conftest import Served
from tests.engine.homes import until


async def test_health_tells_version_pid_and_uptime(served: Served) -> None:
    health = await served.link.health()
    assert health["health"] in ("good", "warning")
    assert health["version"] == __version__
    assert health["pid"] == os.getpid()
    assert health["message"] == "3 apps"
    before = time.monotonic()
    await asyncio.sleep(0.3)
    grown = (await served.link.health())["uptime_seconds"] - health["uptime_seconds"]
    assert 0.3 <= grown <= time.monotonic() - before + 0.1


async def test_the_apps_are_the_registrys_entries_sorted_and_valid(served: Served) -> None:
    records = [AppRecord.model_validate(document) for document in await served.link.apps()]
    assert [record.app_id for record in records] == ["broken", "secretive", "web"]
    one = AppRecord.model_validate(await served.link.app("web"))
    assert one == next(record for record in records if record.app_id == "web")
    assert records[0].status == "invalid"
    assert "homehelper.json" in (records[0].runtime_info.error or "")


async def test_the_socket_gives_what_the_export_hides(served: Served) -> None:
    record = await served.link.app("secretive")
    assert record["manifest"]["environment"] == {"TOKEN": "geheim-variable"}


async def test_a_start_without_wait_is_accepted_at_once(served: Served) -> None:
    answer = await served.ask("POST /api/v1/apps/web/start")
    assert answer.status == 202
    assert answer.json["status"] in ("starting", "running")
    await until(lambda: served.engine.app("web").status == "running")


async def test_a_start_with_wait_answers_when_settled(served: Served) -> None:
    answer = await served.ask("POST /api/v1/apps/web/start?wait=20")
    assert (answer.status, answer.json["status"]) == (200, "running")
    pid = answer.json["runtime_info"]["process_id"]
    restarted = await served.link.command("web", "restart", wait=20)
    assert restarted["status"] == "running"
    assert restarted["runtime_info"]["process_id"] != pid
    assert (await served.link.command("web", "stop", wait=20))["status"] == "stopped"


@pytest.mark.parametrize("path", ["apps/web/remove", "apps/web/update", "apps/web/rollback", "apps", "catalogs",
                                  "apps/web/start"])  # fmt: skip
async def test_a_request_that_is_refused_for_its_wait_begins_nothing(served: Served, path: str) -> None:
    body = {"apps": b'{"source": "file:///nowhere"}', "catalogs": b'{"url": "file:///nowhere"}'}.get(path, b"{}")
    answer = await served.ask(with_body(f"POST /api/v1/{path}?wait=soon", body))
    assert answer.status == 422 and "wait" in answer.json["message"]
    assert await served.link.jobs() == []
    assert served.engine.app("web").status == "discovered"


async def test_a_wait_that_is_too_short_answers_with_the_record_as_it_is(served: Served) -> None:
    record = await served.link.command("web", "start", wait=0)
    assert record["status"] == "starting"


async def test_what_cannot_be_done_is_a_conflict_with_the_reason(served: Served) -> None:
    with pytest.raises(ConflictError, match=r"broken cannot start: homehelper\.json"):
        await served.link.command("broken", "start")


async def test_enable_disable_and_reset_change_the_record(served: Served) -> None:
    assert (await served.link.command("web", "enable"))["enabled"] is True
    assert (await served.link.command("web", "disable"))["enabled"] is False
    assert (await served.link.command("web", "reset"))["runtime_info"]["restarts"] == 0


async def test_logs_are_listed_paged_and_searched(served: Served) -> None:
    await served.link.command("web", "start", wait=20)
    link = served.link

    async def lines(name: str, **query: object) -> list[str]:
        page = LogPage.model_validate(await link.log_page("web", name, **query))
        return [line.text for line in page.lines]

    for _ in range(200):
        if await lines("app"):
            break
    assert await lines("app") == ["hello web"]
    assert await lines("error") == ["to stderr"]
    assert await lines("app", search="h.llo", regex=True) == ["hello web"]
    assert await lines("app", search="h.llo") == []
    names = {file["name"]: file for file in await link.logs("web")}
    assert names["app"]["size_bytes"] == len("hello web\n")
    assert {"app", "error"} <= set(names)


async def test_a_log_that_is_not_there_is_not_found(served: Served) -> None:
    with pytest.raises(NotFoundError):
        await served.link.log_page("web", "nope")
    with pytest.raises(UnknownAppError):
        await served.link.log_page("nope", "app")


@pytest.mark.parametrize("name", ["..", "%2e%2e", "..%2fconfig%2fconfig.json", "app.log.1", "%00", "a%0ab"])
async def test_no_log_name_reaches_another_file(served: Served, name: str) -> None:
    answer = await served.ask(f"GET /api/v1/apps/web/logs/{name}")
    assert answer.status == 404
    assert b"schema_version" not in answer.body


async def test_metrics_redis_engine_and_config_are_the_models(served: Served) -> None:
    link = served.link
    SystemMetrics.model_validate(await link.metrics())
    RedisStatus.model_validate(await link.redis())
    info = EngineInfo.model_validate(await link.engine())
    assert (info.apps, info.home) == (3, str(served.engine.home.root))
    view = ConfigView.model_validate(await link.config())
    assert view.values["system"]["main_port"] == served.export_port


async def test_a_patch_changes_the_configuration_and_its_file(served: Served) -> None:
    view = await served.link.patch_config({"health_check_interval_seconds": 33})
    assert view["values"]["health_check_interval_seconds"] == 33
    assert json.loads(served.engine.home.config_file.read_text())["health_check_interval_seconds"] == 33
    assert served.engine.config.health_check_interval_seconds == 33


async def test_secrets_of_the_configuration_are_never_answered(served: Served) -> None:
    await served.link.patch_config({"redis": {"password": "geheim-passwort"}})
    for path in ("config", "apps", "engine", "system/redis"):
        assert b"geheim-passwort" not in (await served.ask(f"GET /api/v1/{path}")).body


async def test_the_engine_ends_when_asked_and_keeps_the_apps_if_asked(served: Served) -> None:
    assert not served.engine.stopped.is_set()
    answer = await served.ask(with_body("POST /api/v1/engine/stop", b'{"keep_apps": true}'))
    assert answer.status == 202
    await until(served.engine.stopped.is_set)
    assert served.engine.keep_apps is True
    served.engine.keep_apps = False


async def test_a_reload_is_accepted(served: Served) -> None:
    assert (await served.ask("POST /api/v1/engine/reload")).status == 202
    await until(served.engine.stopped.is_set)
    assert served.engine.control.reload_wanted


async def test_one_actions_events_carry_the_callers_correlation_id(served: Served) -> None:
    answer = await served.ask("POST /api/v1/apps/web/start?wait=20\nX-Correlation-ID: my-own.id:1")
    assert answer.headers["x-correlation-id"] == "my-own.id:1"
    found = [
        message.event.event_type
        for message in served.engine.bus.recent("homehelper:apps:web")
        if message.event and message.event.metadata.correlation_id == "my-own.id:1"
    ]
    assert "app_starting" in found
    assert "app_started" in found


async def test_a_correlation_id_that_could_do_harm_is_replaced(served: Served) -> None:
    answer = await served.ask("GET /health\nX-Correlation-ID: <script>")
    assert answer.status == 200
    assert len(answer.headers["x-correlation-id"]) == 36


async def test_concurrent_questions_are_all_answered(served: Served) -> None:
    import asyncio

    link = EngineLink(served.socket)
    answers = await asyncio.gather(*(link.app("web") for _ in range(100)))
    assert {answer["app_id"] for answer in answers} == {"web"}
