"""``GET /metrics`` is what a Prometheus server reads."""

from __future__ import annotations

from prometheus_client.parser import text_string_to_metric_families

from tests.api.conftest import Served


async def test_the_exposition_is_parsed_and_tells_each_apps_state(served: Served) -> None:
    await served.link.command("web", "start", wait=20)
    answer = await served.ask("GET /metrics")
    assert answer.headers["content-type"].startswith("text/plain; version=0.0.4")
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    assert all(name.startswith("hhtui_") for name in families)
    up = {sample.labels["app_id"]: sample.value for sample in families["hhtui_app_up"].samples}
    assert up == {"broken": 0.0, "secretive": 0.0, "web": 1.0}
    status = [
        (sample.labels["app_id"], sample.labels["status"])
        for sample in families["hhtui_app_status"].samples
        if sample.value == 1
    ]
    assert sorted(status) == [("broken", "invalid"), ("secretive", "discovered"), ("web", "running")]
    assert families["hhtui_app_restarts"].type == "counter"
    assert families["hhtui_hardware_memory_total_bytes"].samples[0].value > 2**20


async def test_a_name_full_of_quotes_and_newlines_is_escaped(served: Served) -> None:
    record = served.engine.fleet.get("web").record
    record.name = 'a"b\\c\nd\ud800'
    answer = await served.ask("GET /metrics")
    assert answer.status == 200
    families = {family.name: family for family in text_string_to_metric_families(answer.body.decode())}
    names = [sample.labels["name"] for sample in families["hhtui_app_info"].samples if sample.labels["app_id"] == "web"]
    assert names[0].startswith('a"b\\c\nd')
