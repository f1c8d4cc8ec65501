"""``/api/v1/apps``."""

from __future__ import annotations

from starlette.requests import Request
from starlette.responses import Response

from hhtui.engine.api import requests
from hhtui.engine.api.answers import Caller, Handler, JSONDocument
from hhtui.engine.app.fleet import Fleet
from hhtui.engine.hardware.app_sizes import AppSizesCounter
from hhtui.engine.hardware.processes import MachineProcesses
from hhtui.model import operations
from hhtui.model.app import AppRecord, Verb
from hhtui.model.operations import Access, Operation
from hhtui.model.outgoing import outgoing_record


def app_handlers(
    fleet: Fleet, counter: AppSizesCounter, machine: MachineProcesses, caller: Caller
) -> dict[Operation, Handler]:
    """The apps, what is asked of them, and what they take."""

    def shown(record: AppRecord) -> AppRecord:
        return record if caller.access is Access.SOCKET else outgoing_record(record)

    async def apps(_request: Request) -> Response:
        return JSONDocument([shown(record) for record in fleet.live()])

    async def app(request: Request) -> Response:
        return JSONDocument(shown(fleet.live_app(requests.app_id(request))))

    def commander(verb: Verb) -> Handler:
        async def handle(request: Request) -> Response:
            wait = requests.wait_seconds(request)
            correlation_id = requests.correlation_id()
            record = await fleet.command(
                requests.app_id(request), verb, wait=wait, correlation_id=correlation_id, by=caller.app_id
            )
            return JSONDocument(shown(record), status_code=202 if wait is None else 200)

        return handle

    async def processes(request: Request) -> Response:
        root = fleet.get(requests.app_id(request)).record.runtime_info.process_id
        return JSONDocument([] if root is None else await machine.tree(root, fleet.roots()))

    async def steps(request: Request) -> Response:
        return JSONDocument(fleet.get(requests.app_id(request)).steps())

    async def sizes(request: Request) -> Response:
        app_id, wait = requests.app_id(request), requests.wait_seconds(request) or 0
        return JSONDocument(await counter.sizes(app_id, fleet.folders(app_id), wait))

    return {
        operations.APPS: apps,
        operations.APP: app,
        **{operation: commander(Verb(verb)) for verb, operation in operations.COMMANDS.items()},
        operations.APP_PROCESSES: processes,
        operations.APP_STEPS: steps,
        operations.APP_SIZES: sizes,
    }
