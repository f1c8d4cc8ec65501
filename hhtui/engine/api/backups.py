"""``/api/v1/backups`` and ``/api/v1/restore``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from hhtui.engine.api import requests
from hhtui.engine.api.answers import Handler, JSONDocument, job_answer
from hhtui.engine.backup.service import BackupService
from hhtui.model import operations
from hhtui.model.backup import BackupRequest, RestoreRequest
from hhtui.model.base import Model
from hhtui.model.operations import Operation


class _ProveRequest(Model):
    file: str | None = None


def backup_handlers(service: BackupService) -> dict[Operation, Handler]:
    """Each POST answers 202 with the job, 200 once it has ended within ``?wait=SECONDS``."""

    async def backups(_request: Request) -> Response:
        return JSONDocument(service.status())

    async def back_up(request: Request) -> Response:
        order = await requests.order(request, BackupRequest)
        wait = requests.wait_seconds(request)
        return job_answer(await service.back_up(order, wait=wait, correlation_id=requests.correlation_id()))

    async def prove(request: Request) -> Response:
        order = await requests.order(request, _ProveRequest)
        wait = requests.wait_seconds(request)
        return job_answer(await service.prove(order.file, wait=wait, correlation_id=requests.correlation_id()))

    async def restore(request: Request) -> Response:
        order = await requests.order(request, RestoreRequest)
        wait = requests.wait_seconds(request)
        return job_answer(await service.restore(order, wait=wait, correlation_id=requests.correlation_id()))

    return {
        operations.BACKUPS: backups,
        operations.BACK_UP: back_up,
        operations.PROVE_BACKUP: prove,
        operations.RESTORE: restore,
    }
