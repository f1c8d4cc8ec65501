"""The kernel's calls that no app needs that is kept apart: a filter in seccomp's form (seccomp(2), linux/filter.h).

Mounting and namespaces are out of reach already: there is no capability, and no user namespace to get one in.
"""

from __future__ import annotations

import errno
import struct

# io_uring does what other calls do, past filters like this one; its numbers are the same everywhere.
_IO_URING = (425, 427)
# add_key, request_key and keyctl: the keys of the session that the engine was started in. By linux/audit.h: x86-64,
# i386, 64-bit and 32-bit Arm, since one kernel runs both.
_KEYS = {0xC000003E: (248, 250), 0x40000003: (286, 288), 0xC00000B7: (217, 219), 0x40000028: (309, 311)}

_LOAD, _EQUAL, _AT_LEAST, _ABOVE, _RETURN = 0x20, 0x15, 0x35, 0x25, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.ENOSYS


def refused_calls() -> bytes:
    """The filter's program: as on a kernel that was built without these calls."""
    checks = len(_KEYS) * 4
    # Operation, value, how many instructions to skip if it holds, and if not.
    program = [
        (_LOAD, _NUMBER, 0, 0),
        (_AT_LEAST, _IO_URING[0], 0, 1),
        (_ABOVE, _IO_URING[1], 0, checks + 2),
        (_LOAD, _ARCHITECTURE, 0, 0),
    ]
    for done, (architecture, (first, last)) in enumerate(_KEYS.items(), 1):
        rest = (len(_KEYS) - done) * 4
        program += [
            (_EQUAL, architecture, 0, 3),
            (_LOAD, _NUMBER, 0, 0),
            (_AT_LEAST, first, 0, rest + 1),
            (_ABOVE, last, rest, rest + 1),
        ]
    program += [(_RETURN, _ALLOW, 0, 0), (_RETURN, _REFUSE, 0, 0)]
    return b"".join(struct.pack("=HBBI", code, yes, no, value) for code, value, yes, no in program)
