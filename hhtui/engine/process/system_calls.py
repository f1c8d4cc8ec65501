"""The kernel's calls that no app needs that is kept apart: a filter in seccomp's form (seccomp(2), linux/filter.h).

Mounting and namespaces are out of reach already: there is no capability, and no user namespace to get one in. The
filter says so before the kernel has to: systemd's unit, which lets bubblewrap make these calls, no longer does.
"""

from __future__ import annotations

import errno
import struct

# The same on every architecture. io_uring does what other calls do, past filters like this one: 425 to 427. Mounting
# by open_tree, move_mount, fsopen, fsconfig, fsmount and fspick, 428 to 433; mount_setattr, 442.
_EVERYWHERE = (*range(425, 434), 442)
# By architecture (linux/audit.h), since one kernel runs programs of two: add_key, request_key and keyctl, the keys of
# the session that the engine was started in; mount, umount2 (i386: and umount), pivot_root; unshare and setns.
_BY_ARCHITECTURE = {
    0xC000003E: (248, 249, 250, 165, 166, 155, 272, 308),  # x86-64
    0x40000003: (286, 287, 288, 21, 52, 22, 217, 310, 346),  # i386
    0xC00000B7: (217, 218, 219, 40, 39, 41, 97, 268),  # 64-bit Arm
    0x40000028: (309, 310, 311, 21, 52, 218, 337, 375),  # 32-bit Arm
}

_LOAD, _EQUAL, _RETURN = 0x20, 0x15, 0x06
_NUMBER, _ARCHITECTURE = 0, 4
_ALLOW, _REFUSE = 0x7FFF0000, 0x00050000 | errno.ENOSYS


def refused_calls() -> bytes:
    """The filter's program: as on a kernel that was built without these calls."""
    # Operation, value, how many instructions to skip if it holds, and if not.
    program = [(_LOAD, _ARCHITECTURE, 0, 0)]
    for architecture, own in _BY_ARCHITECTURE.items():
        numbers = (*_EVERYWHERE, *own)
        program += [(_EQUAL, architecture, 0, len(numbers) + 3), (_LOAD, _NUMBER, 0, 0)]
        program += [(_EQUAL, number, len(numbers) - place, 0) for place, number in enumerate(numbers)]
        program += [(_RETURN, _ALLOW, 0, 0), (_RETURN, _REFUSE, 0, 0)]
    program.append((_RETURN, _ALLOW, 0, 0))
    return b"".join(struct.pack("=HBBI", code, yes, no, value) for code, value, yes, no in program)
