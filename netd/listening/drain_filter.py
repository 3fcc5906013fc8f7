"""The end of a listener: nobody new gets in, and nobody who is in its queue is turned away."""

from __future__ import annotations

import ctypes
import select
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

_SO_ATTACH_FILTER: Final = 26
"""Of <asm-generic/socket.h> (socket(7)), which Python's socket does not name."""

_Instruction = tuple[int, int, int, int]
"""Of a classic packet filter: code, jump if true, jump if false, operand (linux/filter.h)."""

_DROP: Final[_Instruction] = (0x06, 0, 0, 0)
"""BPF_RET | BPF_K of 0 bytes."""

_DROP_NEW: Final[Sequence[_Instruction]] = (
    (0x30, 0, 0, 13),  # BPF_LD | BPF_B | BPF_ABS: the flags of TCP's header (RFC 9293, 3.1)
    (0x54, 0, 0, 0x12),  # BPF_ALU | BPF_AND: SYN and ACK
    (0x15, 0, 1, 0x02),  # BPF_JMP | BPF_JEQ: SYN alone, which asks for a connection
    _DROP,
    (0x06, 0, 0, 0xFFFFFFFF),  # BPF_RET: all of it
)


def admit_nobody(listener: socket.socket) -> None:
    """Let nobody new in at *listener* from now on; for all processes that have it.

    New TCP connections try again, until the socket is closed; handshakes that are under way are
    completed. Of datagrams, what is in the queue stays. A Unix stream socket has no such thing:
    unlink its path.
    """
    is_stream = listener.type == socket.SOCK_STREAM
    if is_stream and listener.family == socket.AF_UNIX:
        return
    instructions = _DROP_NEW if is_stream else (_DROP,)
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    kept = ctypes.create_string_buffer(code)
    program = struct.pack("HP", len(instructions), ctypes.addressof(kept))
    with suppress(OSError):  # closed already
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def has_queued_connections(listeners: Iterable[socket.socket]) -> bool:
    """Whether somebody is in the queue of a listener, or a datagram."""
    queues = select.poll()
    for listener in listeners:
        queues.register(listener, select.POLLIN)
    return any(events & select.POLLIN for _, events in queues.poll(0))
