"""``/api/v1/backups`` and ``/api/v1/restore``."""

from __future__ import annotations

from typing import TypeVar

from pydantic import BaseModel, ValidationError
from starlette.requests import Request
from starlette.responses import Response
from starlette.routing import Route

from hhtui.engine.api import requests
from hhtui.engine.api.answers import JSONDocument
from hhtui.engine.bus.bus import current_correlation
from hhtui.engine.facade import EngineFacade
from hhtui.errors import InvalidInputError
from hhtui.model.backup import BackupJob, BackupRequest, RestoreRequest
from hhtui.model.event import new_correlation_id
from hhtui.model.problems import first_problem

_Order = TypeVar("_Order", bound=BaseModel)


class _ProveRequest(BaseModel):
    file: str | None = None


def backup_routes(facade: EngineFacade) -> list[Route]:
    """GET and POST /api/v1/backups, POST /api/v1/backups/prove, POST /api/v1/restore.

    Each POST answers 202 with the job, 200 once it has ended within ``?wait=SECONDS``.
    """

    async def backups(request: Request) -> Response:
        if request.method == "GET":
            return JSONDocument(facade.backups.status())
        order = await _order(request, BackupRequest)
        wait = requests.wait_seconds(request)
        return _answer(await facade.backups.back_up(order, wait=wait, correlation_id=_correlation()))

    async def prove(request: Request) -> Response:
        order = await _order(request, _ProveRequest)
        wait = requests.wait_seconds(request)
        return _answer(await facade.backups.prove(order.file, wait=wait, correlation_id=_correlation()))

    async def restore(request: Request) -> Response:
        order = await _order(request, RestoreRequest)
        wait = requests.wait_seconds(request)
        return _answer(await facade.backups.restore(order, wait=wait, correlation_id=_correlation()))

    return [
        Route("/api/v1/backups", backups, methods=["GET", "POST"]),
        Route("/api/v1/backups/prove", prove, methods=["POST"]),
        Route("/api/v1/restore", restore, methods=["POST"]),
    ]


async def _order(request: Request, model: type[_Order]) -> _Order:
    try:
        return model.model_validate(await requests.json_object(request))
    except ValidationError as error:
        raise InvalidInputError(first_problem(error)) from None


def _answer(job: BackupJob) -> Response:
    return JSONDocument(job, status_code=202 if job.state == "running" else 200)


def _correlation() -> str:
    return current_correlation.get() or new_correlation_id()
