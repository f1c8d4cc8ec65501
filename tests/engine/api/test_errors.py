"""Whatever is sent, the answer is an error in the form of docs/api.md, and the engine goes on."""

from __future__ import annotations

import asyncio
import logging

import pytest

from tests.engine.api.bare_http import connect, parsed, with_body
from tests.engine.api.conftest import Served

BIG = b'{"a": "' + b"x" * (1024 * 1024) + b'"}'
PATCH = "PATCH /api/v1/config"
STOP = "POST /api/v1/engine/stop"


@pytest.mark.parametrize(
    ("request_", "status", "slug"),
    [
        ("GET /nope", 404, "not_found"),
        ("GET /api/v1/apps/", 404, "not_found"),
        ("GET /api/v1/apps/nope", 404, "unknown_app"),
        ("GET /api/v1/apps/%ff%fe", 404, "unknown_app"),
        ("GET /api/v1/apps/..%2f..%2fetc", 404, "not_found"),
        ("POST /api/v1/apps/nope/start", 404, "unknown_app"),
        ("POST /api/v1/apps/web/explode", 404, "not_found"),
        ("POST /api/v1/apps/broken/start", 409, "conflict"),
        ("POST /api/v1/apps/web/start?wait=soon", 422, "invalid"),
        ("POST /api/v1/apps/web/start?wait=-1", 422, "invalid"),
        ("POST /api/v1/apps/web/start?wait=nan", 422, "invalid"),
        ("POST /api/v1/apps/web/start?wait=1e9", 422, "invalid"),
        ("GET /api/v1/apps/web/start", 405, "method_not_allowed"),
        ("DELETE /api/v1/apps/web", 405, "method_not_allowed"),
        ("PUT /api/v1/config", 405, "method_not_allowed"),
        ("GET /api/v1/apps/homehelper/logs/main?page=0", 422, "invalid"),
        ("GET /api/v1/apps/homehelper/logs/main?page=x", 422, "invalid"),
        ("GET /api/v1/apps/homehelper/logs/main?page_size=100000", 422, "invalid"),
        ("GET /api/v1/apps/homehelper/logs/main?since=yesterday", 422, "invalid"),
        ("GET /api/v1/apps/homehelper/logs/main?at=9999-12-31T23:59:59-14:00", 422, "invalid"),
        ("GET /api/v1/apps/homehelper/logs/main?since=0001-01-01T00:00:00%2B14:00", 422, "invalid"),
        ("GET /api/v1/apps/homehelper/logs/main?search=x&context=50&page_size=5000", 422, "invalid"),
        ("GET /api/v1/apps/homehelper/logs/main?search=(&regex=1", 422, "invalid"),
        ("GET /api/v1/apps/homehelper/logs/main?regex=maybe", 422, "invalid"),
        ("GET /api/v1/events?after=yesterday", 422, "invalid"),
        ("GET /api/v1/events\nLast-Event-ID: 1-x", 422, "invalid"),
        ("GET /api/v1/events?watch=maybe", 422, "invalid"),
        ("GET /api/v1/events?channel=**********", 422, "invalid"),
        (with_body(PATCH, b"{"), 400, "bad_request"),
        (with_body(PATCH, b"\xff\xfe"), 400, "bad_request"),
        (with_body(PATCH, b'{"a": NaN}'), 400, "bad_request"),
        (with_body(PATCH, b"[" * 100_000), 400, "bad_request"),
        (with_body(PATCH, b'{"a": ' + b"1" * 10_000 + b"}"), 400, "bad_request"),
        (with_body(PATCH, b"[]"), 422, "invalid"),
        (with_body(PATCH, b'{"redis": {"port": "no"}}'), 422, "invalid"),
        (with_body(PATCH, b'{"redis": 5}'), 422, "invalid"),
        (with_body(PATCH, BIG), 413, "too_large"),
        (with_body(STOP, b'{"keep_apps": "yes"}'), 422, "invalid"),
        (with_body(STOP, b'{"keep_app": true}'), 422, "invalid"),
        (with_body(STOP, b"nonsense"), 400, "bad_request"),
        (b"not http at all\r\n\r\n", 400, "bad_request"),
        (b"GET / HTTP/1.1\r\n\r\n", 400, "bad_request"),
        (b"GET /" + b"x" * 100_000 + b" HTTP/1.1\r\n", 400, "bad_request"),
    ],
    ids=lambda value: repr(value)[:60] if isinstance(value, str | bytes) else None,
)
async def test_a_bad_request_gets_the_documented_error(
    served: Served, request_: str | bytes, status: int, slug: str, caplog: pytest.LogCaptureFixture
) -> None:
    with caplog.at_level(logging.WARNING):
        answer = await served.ask(request_)
    assert answer.status == status, answer.body
    assert answer.headers["content-type"] == "application/json"
    document = answer.json
    assert set(document) == {"error", "message", "details"}
    assert document["error"] == slug
    assert document["message"]
    assert "\n" not in document["message"]
    assert isinstance(document["details"], dict)
    assert not [record for record in caplog.records if record.exc_info]
    assert (await served.link.health())["pid"]


async def test_a_body_of_exactly_the_limit_is_read(served: Served) -> None:
    body = b"{" + b" " * (1024 * 1024 - 2) + b"}"
    assert (await served.ask(with_body(PATCH, body))).status == 200


async def test_a_body_without_a_length_is_limited_too(served: Served) -> None:
    reader, writer = await connect(served.socket)
    writer.write(
        b"PATCH /api/v1/config HTTP/1.1\r\nHost: hh\r\nTransfer-Encoding: chunked\r\nConnection: close\r\n\r\n"
    )
    chunk = b"10000\r\n" + b"x" * 65536 + b"\r\n"
    try:
        for _ in range(20):
            writer.write(chunk)
            await writer.drain()
        writer.write(b"0\r\n\r\n")
    except ConnectionError:
        pass
    assert parsed(await asyncio.wait_for(reader.read(), 60)).status == 413
    writer.close()


async def test_an_unknown_failure_is_told_in_one_line_and_logged(
    served: Served, monkeypatch: pytest.MonkeyPatch, caplog: pytest.LogCaptureFixture
) -> None:
    def broken() -> None:
        raise ZeroDivisionError("a bug\x1b[31m")

    monkeypatch.setattr(served.engine.fleet, "live", broken)
    with caplog.at_level(logging.ERROR):
        answer = await served.ask("GET /api/v1/apps")
    assert (answer.status, answer.json["error"]) == (503, "internal")
    assert "Traceback" not in answer.json["message"]
    assert "\x1b" not in answer.json["message"]
    lines = [record.getMessage() for record in caplog.records if "ZeroDivisionError" in record.getMessage()]
    assert len(lines) == 1
    assert not any(record.exc_info for record in caplog.records)


async def test_a_record_with_what_is_no_json_is_still_answered(served: Served) -> None:
    report = served.engine.fleet.get("web").record.runtime_info.health_report
    report.message = "lone surrogate \ud800"
    report.extra_info = {"nan": float("nan"), "surrogate": "\udfff"}
    answer = await served.ask("GET /api/v1/apps/web")
    assert answer.status == 200
    assert answer.json["runtime_info"]["health_report"]["message"] == "lone surrogate \ud800"


async def test_pipelined_requests_are_answered_in_order(served: Served) -> None:
    reader, writer = await connect(served.socket)
    one = b"GET /api/v1/apps/nope HTTP/1.1\r\nHost: hh\r\n\r\n"
    last = b"GET /health HTTP/1.1\r\nHost: hh\r\nConnection: close\r\n\r\n"
    writer.write(one + one + last)
    data = await asyncio.wait_for(reader.read(), 60)
    writer.close()
    assert [part.split()[0] for part in data.split(b"HTTP/1.1 ")[1:]] == [b"404", b"404", b"200"]
