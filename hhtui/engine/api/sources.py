"""``/api/v1/jobs``, and what begins one: apps come, change and go."""

from __future__ import annotations

import asyncio
from collections.abc import AsyncIterator, Callable

from starlette.requests import Request
from starlette.responses import Response, StreamingResponse

from hhtui.engine.api import requests
from hhtui.engine.api.answers import Handler, JSONDocument, job_answer
from hhtui.engine.sources.adding import Adding
from hhtui.engine.sources.catalogs import Catalogs
from hhtui.engine.sources.fetch import public_key
from hhtui.engine.sources.jobs import AppJobs
from hhtui.engine.sources.moving import Moving
from hhtui.engine.sources.newer import NewerVersions
from hhtui.engine.sources.removal import Removals
from hhtui.engine.sources.updating import Updating
from hhtui.errors import InvalidInputError
from hhtui.model import operations
from hhtui.model.move import ArriveRequest, LeaveRequest, MovePart, PackRequest, StepRequest
from hhtui.model.operations import Operation
from hhtui.model.removal import RemoveRequest
from hhtui.model.source import AddRequest, AppJob, CatalogRequest
from hhtui.model.update import LookRequest, RollbackRequest, UpdateRequest

_LONGEST_SEARCH = 200


def source_handlers(
    jobs: AppJobs,
    adding: Adding,
    catalogs: Catalogs,
    removals: Removals,
    updating: Updating,
    newer: NewerVersions,
    moving: Moving,
) -> dict[Operation, Handler]:
    """What begins a job answers 202 with it, 200 once it has ended within ``?wait=SECONDS``."""

    async def begun(request: Request, begin: Callable[[str], AppJob]) -> Response:
        # All that can be wrong with the request is known before anything begins.
        wait = requests.wait_seconds(request)
        return job_answer(await jobs.waited(begin(requests.correlation_id()), wait))

    async def listed(_request: Request) -> Response:
        return JSONDocument([*jobs.list()])

    async def confirm(request: Request) -> Response:
        return JSONDocument(jobs.confirm(requests.name(request)))

    async def cancel(request: Request) -> Response:
        return JSONDocument(await jobs.cancel(requests.name(request)))

    async def upload(request: Request) -> Response:
        return JSONDocument(await adding.receive(requests.body_chunks(request)))

    async def add(request: Request) -> Response:
        order = await requests.order(request, AddRequest)
        return await begun(request, lambda action: adding.begin(order, correlation_id=action))

    async def ssh_key(_request: Request) -> Response:
        return JSONDocument({"public_key": await public_key(adding.home)})

    async def known(_request: Request) -> Response:
        return JSONDocument([*await asyncio.get_running_loop().run_in_executor(None, catalogs.known)])

    async def search(request: Request) -> Response:
        words = request.query_params.get("search", "")
        if len(words) > _LONGEST_SEARCH:
            raise InvalidInputError(f"search: at most {_LONGEST_SEARCH} characters")
        return JSONDocument([*await asyncio.get_running_loop().run_in_executor(None, catalogs.search, words)])

    async def add_catalog(request: Request) -> Response:
        order = await requests.order(request, CatalogRequest)
        return await begun(request, lambda action: catalogs.begin_add(order, correlation_id=action))

    async def update_catalog(request: Request) -> Response:
        name = requests.name(request)
        return await begun(request, lambda action: catalogs.begin_update(name, correlation_id=action))

    async def remove_catalog(request: Request) -> Response:
        return JSONDocument(catalogs.remove(requests.name(request)))

    async def removal(request: Request) -> Response:
        return JSONDocument(await removals.plan(requests.app_id(request)))

    async def remove(request: Request) -> Response:
        order = await requests.order(request, RemoveRequest)
        return await begun(request, lambda action: removals.remove(requests.app_id(request), order, action))

    async def trash(_request: Request) -> Response:
        return JSONDocument([*removals.list()])

    async def bring_back(request: Request) -> Response:
        return await begun(request, lambda action: removals.undo(requests.name(request), action))

    async def update(request: Request) -> Response:
        order = await requests.order(request, UpdateRequest)

        def begin(action: str) -> AppJob:
            origin = adding.spec_of(order.origin) if order.origin is not None else None
            job = updating.update(requests.app_id(request), order, action, origin)
            if order.origin is not None:
                adding.hand_over(order.origin)
            return job

        return await begun(request, begin)

    async def rollback(request: Request) -> Response:
        order = await requests.order(request, RollbackRequest)
        return await begun(request, lambda action: updating.rollback(requests.app_id(request), order, action))

    async def revisions(request: Request) -> Response:
        return JSONDocument([*updating.revisions(requests.app_id(request))])

    async def updates(_request: Request) -> Response:
        return JSONDocument([*newer.known()])

    async def look_for_updates(request: Request) -> Response:
        order = await requests.order(request, LookRequest)
        return JSONDocument([*await newer.look(order.apps)])

    async def move_plan(request: Request) -> Response:
        return JSONDocument(await moving.plan(requests.app_id(request)))

    async def leave(request: Request) -> Response:
        order = await requests.order(request, LeaveRequest)
        return JSONDocument(await moving.leave(requests.app_id(request), order, requests.correlation_id()))

    async def arrive(request: Request) -> Response:
        order = await requests.order(request, ArriveRequest)
        return JSONDocument(await moving.arrive(order, requests.correlation_id()))

    async def move(request: Request) -> Response:
        return JSONDocument(moving.state(requests.name(request)))

    async def hold(request: Request) -> Response:
        return JSONDocument(await moving.hold(requests.name(request), requests.body_chunks(request)))

    async def pack(request: Request) -> Response:
        order = await requests.order(request, PackRequest)
        stream = moving.pack(requests.name(request), order)
        # A refusal is an answer of its own: the first part is there before the answer begins.
        first = await anext(stream)

        async def whole() -> AsyncIterator[bytes]:
            yield first
            async for chunk in stream:
                yield chunk

        return StreamingResponse(whole(), media_type="application/octet-stream")

    async def unpack(request: Request) -> Response:
        parts: dict[str | None, MovePart] = {"code": "code", "data": "data", "rest": "rest"}
        part = parts.get(request.query_params.get("part"))
        if part is None:
            raise InvalidInputError("part: must be code, data or rest")
        return JSONDocument(await moving.unpack(requests.name(request), part, requests.body_chunks(request)))

    async def step(request: Request) -> Response:
        order, wait = await requests.order(request, StepRequest), requests.wait_seconds(request)
        action = requests.correlation_id()
        state = await moving.step(requests.name(request), order.step, order.ran, wait, action)
        return JSONDocument(state, status_code=202 if state.doing else 200)

    return {
        operations.MOVE_PLAN: move_plan,
        operations.LEAVE: leave,
        operations.ARRIVE: arrive,
        operations.MOVE: move,
        operations.HOLD_MOVE: hold,
        operations.PACK_MOVE: pack,
        operations.UNPACK_MOVE: unpack,
        operations.STEP_MOVE: step,
        operations.UPDATES: updates,
        operations.LOOK_FOR_UPDATES: look_for_updates,
        operations.UPDATE: update,
        operations.ROLLBACK: rollback,
        operations.REVISIONS: revisions,
        operations.JOBS: listed,
        operations.CONFIRM_JOB: confirm,
        operations.CANCEL_JOB: cancel,
        operations.REMOVAL: removal,
        operations.REMOVE_APP: remove,
        operations.TRASH: trash,
        operations.BRING_BACK: bring_back,
        operations.UPLOAD: upload,
        operations.ADD_APP: add,
        operations.SSH_KEY: ssh_key,
        operations.CATALOGS: known,
        operations.CATALOG_APPS: search,
        operations.ADD_CATALOG: add_catalog,
        operations.UPDATE_CATALOG: update_catalog,
        operations.REMOVE_CATALOG: remove_catalog,
    }
