"""``/system/metrics/history`` and ``/alerts``, through both doors."""

from __future__ import annotations

import asyncio
import json
from datetime import UTC, datetime, timedelta

import pytest

from hhtui.client.sync import EngineClient
from hhtui.errors import InvalidInputError
from hhtui.model.alert import Alert
from hhtui.model.metrics import MetricsPoint
from tests.engine.api.conftest import Served
from tests.engine.homes import until


async def test_the_history_is_answered_since_an_age_or_a_time(served: Served) -> None:
    await until(lambda: served.engine.sampler.latest)
    soon = (datetime.now(UTC) - timedelta(minutes=5)).isoformat()
    for since in (None, "1h", "90s", "7d", soon):
        points = await served.link.metrics_history(since)
        assert points
        newest = MetricsPoint.model_validate(points[-1])
        assert (newest.memory_percent or 0) > 0
        assert (
            abs((datetime.now(UTC) - newest.timestamp).total_seconds()) < 930
        )  # seven days are a point every 15 minutes
    assert len(json.loads((await served.ask("GET /api/v1/system/metrics/history", export=True)).body)) >= 1


@pytest.mark.parametrize("since", ["yesterday", "1y", "-1h", "9" * 400, "2999-01-01T00:00:00Z", "0x1h", "²h"])
async def test_a_since_that_is_none_is_refused_in_one_line(served: Served, since: str) -> None:
    with pytest.raises(InvalidInputError, match="since:"):
        await served.link.metrics_history(since)


@pytest.mark.parametrize("points", [0, -1, 10_001, 1.5])
async def test_points_beyond_the_limits_are_refused(served: Served, points: int) -> None:
    with pytest.raises(InvalidInputError, match="points:"):
        await served.link.metrics_history("1h", points)


async def test_alerts_are_answered_and_none_is_an_empty_list(served: Served) -> None:
    assert await served.link.alerts() == []
    assert json.loads((await served.ask("GET /api/v1/alerts", export=True)).body) == []
    await served.link.patch_config({"alerts": {"memory_percent": 0.001}})
    await served.engine.sampler.timed_pass()
    await until(served.engine.alerts.active)
    (alert,) = [Alert.model_validate(document) for document in await served.link.alerts()]
    assert (alert.key, alert.rule, alert.limit) == ("memory", "memory", 0.001)
    # A rule that is turned off is over like one that no longer holds.
    await served.link.patch_config({"alerts": {"memory_percent": 0, "clear_after_seconds": 0}})
    await until(lambda: not served.engine.alerts.active())


async def test_asking_for_figures_leaves_no_fast_sampling_on(served: Served) -> None:
    client = EngineClient(served.socket)
    loop = asyncio.get_running_loop()
    for ask in (client.metrics, client.metrics_history, client.alerts, client.engine):
        await loop.run_in_executor(None, ask)
    await served.ask("GET /metrics")
    assert served.engine.sampler.watchers == 0
    assert served.engine.sampler.period == 60
