"""What a Redis server says of itself, asked when somebody looks: https://redis.io/docs/latest/commands/info/."""

from __future__ import annotations

from typing import Any

from hhtui.engine.bus.address import ServerAddress
from hhtui.engine.bus.bridge import STREAM
from hhtui.engine.bus.link import Link, LinkError, Refusal
from hhtui.model.redis_status import RedisDetails

_QUESTIONS = (("INFO", "memory"), ("INFO", "clients"), ("INFO", "server"), ("DBSIZE",), ("XLEN", STREAM))


async def ask_details(address: ServerAddress, timeout: float) -> RedisDetails:
    """The server's figures over a connection of its own; what it refuses stays None, ``error`` is why all of it is."""
    try:
        link = await Link.open(address, timeout=timeout)
    except LinkError as error:
        return RedisDetails(error=error.message)
    try:
        answers = await link.execute(_QUESTIONS)
    except LinkError as error:
        return RedisDetails(error=error.message)
    finally:
        await link.close()
    info: dict[str, str] = {}
    for answer in answers[:3]:
        info |= _parsed(answer)
    return RedisDetails(
        memory_mb=_megabytes(info.get("used_memory")),
        memory_peak_mb=_megabytes(info.get("used_memory_peak")),
        memory_limit_mb=_megabytes(info.get("maxmemory")) or None,
        clients=_whole(info.get("connected_clients")),
        uptime_seconds=_whole(info.get("uptime_in_seconds")),
        keys=_whole(answers[3]),
        stream_events=_whole(answers[4]),
    )


def _parsed(answer: Any) -> dict[str, str]:
    if isinstance(answer, Refusal) or not isinstance(answer, bytes | str):
        return {}
    text = answer.decode("utf-8", "replace") if isinstance(answer, bytes) else answer
    return dict(line.split(":", 1) for line in text.splitlines() if ":" in line and not line.startswith("#"))


def _whole(value: Any) -> int | None:
    if isinstance(value, Refusal):
        return None
    try:
        return int(value)
    except (TypeError, ValueError):
        return None


def _megabytes(value: Any) -> float | None:
    number = _whole(value)
    return None if number is None else round(number / 2**20, 2)
