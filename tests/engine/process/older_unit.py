"""What a unit that is older than sandboxes gives: RestrictNamespaces=yes as systemd makes it; says what would help."""

import ctypes
import errno
import os
import struct
import sys

from hhtui.engine.launch.sandbox import NoSandboxError, find_bwrap

_NO_NEW_PRIVILEGES, _SECCOMP, _FILTER = 38, 22, 2
_LOAD, _EQUAL, _ANY_BIT, _RETURN = 0x20, 0x15, 0x45, 0x06
_NUMBER, _FIRST, _SECOND = 0, 16, 24
_ALLOW, _REFUSE, _UNKNOWN = 0x7FFF0000, 0x00050000 | errno.EPERM, 0x00050000 | errno.ENOSYS
_CLONE, _UNSHARE, _SETNS = {"x86_64": (56, 272, 308), "aarch64": (220, 97, 268)}.get(
    os.uname().machine, (120, 337, 375)
)
_CLONE3, _NEW_NAMESPACES = 435, 0x7E020000

_PROGRAM = [
    (_LOAD, _NUMBER, 0, 0),
    (_EQUAL, _CLONE3, 8, 0),
    (_EQUAL, _CLONE, 3, 0),
    (_EQUAL, _UNSHARE, 2, 0),
    (_EQUAL, _SETNS, 3, 0),
    (_RETURN, _ALLOW, 0, 0),
    (_LOAD, _FIRST, 0, 0),
    (_ANY_BIT, _NEW_NAMESPACES, 3, 4),
    (_LOAD, _SECOND, 0, 0),
    (_ANY_BIT, _NEW_NAMESPACES, 1, 2),
    (_RETURN, _UNKNOWN, 0, 0),
    (_RETURN, _REFUSE, 0, 0),
    (_RETURN, _ALLOW, 0, 0),
]


def main() -> None:
    code = b"".join(struct.pack("=HBBI", call, yes, no, value) for call, value, yes, no in _PROGRAM)
    filter_of_calls = ctypes.create_string_buffer(struct.pack("HP", len(_PROGRAM), 0))
    kept = ctypes.create_string_buffer(code, len(code))
    struct.pack_into("HP", filter_of_calls, 0, len(_PROGRAM), ctypes.addressof(kept))
    libc = ctypes.CDLL(None)
    libc.prctl(_NO_NEW_PRIVILEGES, 1, 0, 0, 0)
    if libc.prctl(_SECCOMP, _FILTER, filter_of_calls):
        sys.exit("there are no filters of calls here")
    os.environ["SYSTEMD_EXEC_PID"] = str(os.getpid())
    try:
        print(find_bwrap())
    except NoSandboxError as trouble:
        print(trouble.message, trouble.cure)


main()
