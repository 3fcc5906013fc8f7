"""``netd.ipc.handoff``: connections by a queue."""

from __future__ import annotations

import os
import socket

import pytest

from netd.ipc.handoff import HandoffMetadata, receive_connection, send_connection

HANDED = HandoffMetadata(("192.0.2.7", 4711), "192.0.2.7:4711", 12.5, is_proxied=True)


def test_a_connection() -> None:
    """It comes out as it was put in."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client, connection = socket.socketpair()
    with ours, theirs, client, connection:
        send_connection(ours, connection, HANDED)
        descriptor, handed = receive_connection(theirs)
        assert handed == HANDED
        assert not os.get_inheritable(descriptor)
        os.write(descriptor, b"hello")
        os.close(descriptor)
        assert client.recv(5) == b"hello"
        with pytest.raises(BlockingIOError):
            receive_connection(theirs)


def test_a_full_queue() -> None:
    """It is not waited for, though its sockets wait: that would stop the daemon."""
    ours, theirs = socket.socketpair(socket.AF_UNIX, socket.SOCK_SEQPACKET)
    client, connection = socket.socketpair()
    with ours, theirs, client, connection:
        for _ in range(100_000):
            try:
                send_connection(ours, connection, HANDED)
            except BlockingIOError:
                break
        else:
            pytest.fail("the queue is never full")
        os.close(receive_connection(theirs)[0])
        send_connection(ours, connection, HANDED)
