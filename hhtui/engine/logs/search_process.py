"""Regular expressions are searched for in a process of their own.

An unlucky one takes exponential time inside one call of ``re``, which holds the interpreter's lock and cannot be
interrupted by a thread: it would freeze the whole engine. A process can be killed.
"""

from __future__ import annotations

import json
import re
import subprocess
import sys
import warnings
from collections.abc import Sequence
from pathlib import Path

from hhtui.engine.logs.expression import expression
from hhtui.engine.logs.scan import Span, find
from hhtui.engine.logs.stream import LogStream, Part
from hhtui.errors import InvalidInputError

DEADLINE_SECONDS = 5.0
_MEMORY_LIMIT = 512 * 1024 * 1024
_ROOT = Path(__file__).parents[3]
_PROGRAM = "import sys; sys.path.insert(0, sys.argv[1]); from hhtui.engine.logs.search_process import main; main()"


def find_expression(
    stream: LogStream, spans: Sequence[Span], pattern: str, page: Span, from_end: bool
) -> tuple[int, list[int]]:
    """(number of matching lines, positions of those of the page); InvalidInputError for a bad or too slow expression.

    ``page`` is (lines to skip, lines to return), counted from the newest match if ``from_end``.
    """
    request = {
        "parts": [(part.fd, part.size) for part in stream.parts],
        "spans": list(spans),
        "pattern": pattern,
        "page": page,
        "from_end": from_end,
    }
    process = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", _PROGRAM, str(_ROOT)],
        stdin=subprocess.PIPE,
        stdout=subprocess.PIPE,
        stderr=subprocess.DEVNULL,
        pass_fds=[part.fd for part in stream.parts],
    )
    try:
        output, _ = process.communicate(json.dumps(request).encode(), timeout=DEADLINE_SECONDS)
    except subprocess.TimeoutExpired:
        raise InvalidInputError(
            f"the search for {pattern!r} took longer than {DEADLINE_SECONDS:g} s: "
            "simplify the expression, or narrow it with since and until"
        ) from None
    finally:
        if process.poll() is None:
            process.kill()
        process.communicate()
    try:
        answer = json.loads(output)
    except ValueError:
        raise InvalidInputError(
            f"the search for {pattern!r} ended without an answer: it may need too much memory"
        ) from None
    if "error" in answer:
        raise InvalidInputError(f"the search expression {pattern!r} is not valid: {answer['error']}")
    return answer["total"], answer["positions"]


def chosen(page: Span, from_end: bool, total: int) -> Span:
    """Which of ``total`` lines a page of (skip, count) holds, as first and behind-last."""
    skip, count = page
    if from_end:
        behind = max(total - skip, 0)
        return max(behind - count, 0), behind
    return min(skip, total), min(skip + count, total)


def main() -> None:
    """The process: the request as JSON on stdin, the answer as JSON on stdout."""
    import resource

    resource.setrlimit(resource.RLIMIT_AS, (_MEMORY_LIMIT, _MEMORY_LIMIT))
    # Should the engine die meanwhile.
    seconds = int(DEADLINE_SECONDS) + 1
    resource.setrlimit(resource.RLIMIT_CPU, (seconds, seconds))
    warnings.simplefilter("ignore")
    request = json.load(sys.stdin)
    stream = LogStream([Part(fd, size) for fd, size in request["parts"]])
    try:
        matcher = expression(request["pattern"])
    except (re.error, ValueError, OverflowError, RecursionError) as error:
        answer: dict[str, object] = {"error": str(error) or type(error).__name__}
    else:
        spans = [(first, last) for first, last in request["spans"]]
        skip, count = request["page"]
        total, positions = find(stream, spans, matcher, lambda total: chosen((skip, count), request["from_end"], total))
        answer = {"total": total, "positions": positions}
    json.dump(answer, sys.stdout)
