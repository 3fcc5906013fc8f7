"""The end of a listener: no new client gets in, and no connection in its queue is lost.

A closed listener resets the connections in its queue. So netd first attaches a packet filter that
drops new ones, which clients repeat until another listener or nothing answers; then it empties the
queue, and closes. (Shutting the socket down, or a backlog of 0, would reset the queue as well.)
"""

from __future__ import annotations

import ctypes
import select
import socket
import struct
from collections.abc import Iterable, Sequence
from contextlib import suppress
from typing import Final

_SO_ATTACH_FILTER: Final = 26
"""From <asm-generic/socket.h>; Python's socket has no name for it (socket(7))."""

_Instruction = tuple[int, int, int, int]
"""One of a classic packet filter: code, jump if true, jump if false, operand (linux/filter.h)."""

_DROP: Final[_Instruction] = (0x06, 0, 0, 0)
"""BPF_RET | BPF_K: accept 0 bytes of the packet."""

_DROP_NEW: Final[Sequence[_Instruction]] = (
    (0x30, 0, 0, 13),  # BPF_LD | BPF_B | BPF_ABS: the flags of TCP's header (RFC 9293, 3.1)
    (0x54, 0, 0, 0x12),  # BPF_ALU | BPF_AND: SYN and ACK
    (0x15, 0, 1, 0x02),  # BPF_JMP | BPF_JEQ: SYN without ACK opens a connection
    _DROP,
    (0x06, 0, 0, 0xFFFFFFFF),  # BPF_RET: the whole packet
)


def admit_nobody(listener: socket.socket) -> None:
    """Drop new connections and datagrams of *listener*, in all processes that have it.

    TCP handshakes that have begun are completed, and datagrams in the queue stay. A Unix stream
    socket has no filter: unlink its path instead.
    """
    # A SYN filter only suits TCP; a datagram has no flags to look at.
    is_stream = listener.type == socket.SOCK_STREAM
    if is_stream and listener.family == socket.AF_UNIX:
        return
    instructions = _DROP_NEW if is_stream else (_DROP,)
    code = b"".join(struct.pack("HBBI", *instruction) for instruction in instructions)
    # The kernel copies it during the call; until then the buffer must be referenced.
    kept = ctypes.create_string_buffer(code)
    program = struct.pack("HP", len(instructions), ctypes.addressof(kept))
    with suppress(OSError):  # EBADF: closed already
        listener.setsockopt(socket.SOL_SOCKET, _SO_ATTACH_FILTER, program)


def has_queued_connections(listeners: Iterable[socket.socket]) -> bool:
    """Whether a connection or a datagram is in the queue of one of them."""
    # poll(2) tells it without accepting, which the pools that drain do.
    queues = select.poll()
    for listener in listeners:
        queues.register(listener, select.POLLIN)
    return any(events & select.POLLIN for _, events in queues.poll(0))
