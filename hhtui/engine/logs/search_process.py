"""The process in which Python's ``re`` searches; one starts for a search, so it imports little.

An unlucky expression takes exponential time inside one call of ``re``, which holds the interpreter's lock and cannot be
interrupted by a thread: it would freeze the whole engine. A process can be killed.
"""

from __future__ import annotations

import marshal
import re
import resource
import sys
import warnings

from hhtui.engine.logs.expression import expression
from hhtui.engine.logs.scan import chosen, find
from hhtui.engine.logs.stream import LogStream, Part

_MEMORY_LIMIT = 512 * 1024 * 1024


def main() -> None:
    """A request as a marshalled dict on stdin; the answer, with ``total`` and ``positions`` or ``error``, on stdout."""
    request = marshal.load(sys.stdin.buffer)
    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
    # Should the engine die meanwhile.
    resource.setrlimit(resource.RLIMIT_CPU, (request["seconds"], request["seconds"]))
    warnings.simplefilter("ignore")
    stream = LogStream([Part(fd, size) for fd, size in request["parts"]])
    try:
        matcher = expression(request["pattern"])
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        answer: dict[str, object] = {"error": str(error) or type(error).__name__}
    else:
        page, from_end = request["page"], request["from_end"]
        total, positions = find(stream, request["spans"], matcher, lambda total: chosen(page, from_end, total))
        answer = {"total": total, "positions": positions}
    marshal.dump(answer, sys.stdout.buffer)
