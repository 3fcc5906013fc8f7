"""Connections that count their bytes, where the kernel does not."""

from __future__ import annotations

import socket
from typing import Any


class CountedSocket(socket.socket):
    """A connection that counts its bytes, where the kernel does not (Unix sockets)."""

    __slots__ = ("received", "sent")

    def __init__(self, *args: Any, **keywords: Any) -> None:
        super().__init__(*args, **keywords)
        self.received = self.sent = 0

    def _count(self, received: int, flags: int) -> None:
        """What was only peeked at is received again, or never."""
        if not flags & socket.MSG_PEEK:
            self.received += received

    def recv(self, size: int, flags: int = 0, /) -> bytes:
        data = super().recv(size, flags)
        self._count(len(data), flags)
        return data

    def recv_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> int:
        count = super().recv_into(buffer, nbytes, flags)
        self._count(count, flags)
        return count

    def recvfrom(self, size: int, flags: int = 0, /) -> tuple[bytes, Any]:
        data, address = super().recvfrom(size, flags)
        self._count(len(data), flags)
        return data, address

    def recvfrom_into(self, buffer: Any, nbytes: int = 0, flags: int = 0) -> tuple[int, Any]:
        count, address = super().recvfrom_into(buffer, nbytes, flags)
        self._count(count, flags)
        return count, address

    def recvmsg(
        self, size: int, ancillary_size: int = 0, flags: int = 0, /
    ) -> tuple[bytes, list[tuple[int, int, bytes]], int, Any]:
        data, ancillary, returned, address = super().recvmsg(size, ancillary_size, flags)
        self._count(len(data), flags)
        return data, ancillary, returned, address

    def recvmsg_into(
        self, buffers: Any, ancillary_size: int = 0, flags: int = 0, /
    ) -> tuple[int, list[tuple[int, int, bytes]], int, Any]:
        count, ancillary, returned, address = super().recvmsg_into(buffers, ancillary_size, flags)
        self._count(count, flags)
        return count, ancillary, returned, address

    def send(self, *args: Any) -> int:
        count = super().send(*args)
        self.sent += count
        return count

    def sendall(self, data: Any, *args: Any) -> None:
        super().sendall(data, *args)
        self.sent += memoryview(data).nbytes

    def sendmsg(self, *args: Any) -> int:
        count = super().sendmsg(*args)
        self.sent += count
        return count

    def sendfile(self, *args: Any, **keywords: Any) -> int:
        before = self.sent
        count = super().sendfile(*args, **keywords)
        # With a file that has no descriptor it falls back on send(), which has counted already.
        self.sent = before + count
        return count
