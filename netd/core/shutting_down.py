"""The one way to end a connection that another thread uses."""

from __future__ import annotations

import socket
from contextlib import suppress


def shut_down(connection: socket.socket) -> None:
    """End a connection that another thread uses: what it does next gets the end, or an error.

    Not by the method of an ``ssl.SSLSocket``, which drops its TLS session first: the other thread
    would then read ciphertext, and write in the clear. Raises nothing.
    """
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
