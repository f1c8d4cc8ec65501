"""``GET /metrics`` is what a Prometheus server reads."""

from __future__ import annotations

import shutil
import subprocess

import pytest
from prometheus_client.parser import text_string_to_metric_families

from tests.engine.api.conftest import Served
from tests.engine.homes import until


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


async def test_it_counts_what_the_engine_does(served: Served) -> None:
    await served.link.command("web", "start", wait=20)
    served.engine.bus.inject("homehelper:events:other", b"{}")
    served.engine.about.lag.ms = 2.5
    await until(lambda: served.engine.capture.stats.bytes.get("web"))
    text = (await served.ask("GET /metrics")).body.decode()
    values = {
        (sample.name, *sample.labels.values()): sample.value
        for family in text_string_to_metric_families(text)
        for sample in family.samples
    }
    assert values["hhtui_events_total", "app_started"] == 1
    assert values["hhtui_events_total", "app_discovered"] == 3
    assert values["hhtui_foreign_messages_total",] == 1
    assert values["hhtui_app_log_bytes_total", "web"] == len("hello web\nto stderr\n")
    assert values["hhtui_engine_loop_lag_seconds",] == 0.0025
    assert ("hhtui_redis_events_waiting",) in values


@pytest.mark.skipif(shutil.which("promtool") is None, reason="promtool (Debian's prometheus) is not installed")
async def test_promtool_finds_nothing_to_complain_of(served: Served) -> None:
    await served.link.patch_config({"alerts": {"memory_percent": 0.001}})
    await served.engine.sampler.timed_pass()
    await served.link.command("web", "start", wait=20)
    served.engine.about.lag.ms = 2.5
    assert served.engine.alerts.active()
    text = (await served.ask("GET /metrics")).body
    done = subprocess.run(["promtool", "check", "metrics"], input=text, capture_output=True, check=False)
    assert (done.returncode, done.stdout, done.stderr) == (0, b"", b"")
