"""The end of a listener: nobody new gets in, and nobody who is in its queue is turned away."""

from __future__ import annotations

import ctypes
import socket
import struct
from contextlib import suppress
from typing import Final

_SO_ATTACH_FILTER: Final = 26
"""Of <asm-generic/socket.h> (socket(7)), which Python's socket does not name."""

_DROP_ALL: Final = struct.pack("HBBI", 0x06, 0, 0, 0)
"""One instruction of a classic packet filter: BPF_RET | BPF_K, of 0 bytes (linux/filter.h)."""


def admit_nobody(listener: socket.socket) -> None:
    """Drop whatever arrives for an Internet *listener* from now on; for all processes that have it.

    A connection that is under way tries again, until the socket is closed; those that are complete
    wait in the queue as before. A Unix socket has no such thing: unlink its path.
    """
    if listener.family not in (socket.AF_INET, socket.AF_INET6):
        return
    instructions = ctypes.create_string_buffer(_DROP_ALL)
    program = struct.pack("HP", 1, ctypes.addressof(instructions))
    with suppress(OSError):  # closed already
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)
