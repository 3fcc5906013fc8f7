"""How to end a connection that another thread uses: this is the only way in netd."""

from __future__ import annotations

import socket
from contextlib import suppress


def shut_down(connection: socket.socket) -> None:
    """Shut the connection down; the other thread then reads its end, or gets an error.

    The descriptor stays open: closed, its number could become another connection's while the
    thread still uses it. Raises nothing.
    """
    # Not the method of an ssl.SSLSocket, which drops its TLS session first: the other thread would
    # then read ciphertext, and write in the clear.
    with suppress(OSError):
        socket.socket.shutdown(connection, socket.SHUT_RDWR)
