"""What one event costs its publisher while 20 readers are behind.

Run: python -m benchmarks.publishing
Figure: microseconds a publication, the median of 2,000.
"""

from __future__ import annotations

import asyncio
import json
import statistics
import time

from hhtui.engine.events.bus import EventBus
from hhtui.model.states import EventType

EVENTS = 2000
READERS = 20


async def measure() -> float:
    bus = EventBus("pi", 1)
    readers = [bus.subscribe(maxsize=10) for _ in range(READERS)]
    spans = []
    for number in range(EVENTS):
        started = time.perf_counter()
        bus.publish(EventType.ERROR, "system", {"n": number})
        spans.append(time.perf_counter() - started)
    assert all(reader.take() is not None for reader in readers)
    return statistics.median(spans) * 1e6


if __name__ == "__main__":
    print(json.dumps({"microseconds": round(asyncio.run(measure()), 1)}))
