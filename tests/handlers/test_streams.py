"""``netd.handlers.streams``: a connection as two files."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.interfaces import IHalfCloseableProtocol
from zope.interface.verify import verifyObject

from netd.handlers import streams
from tests.handlers.connected import Connected


def test_the_same_every_time() -> None:
    one = Connected()
    assert streams(one.transport) == (one.protocol.rfile, one.protocol.wfile)
    assert streams(one.transport)[0] is streams(one.transport)[0]


def test_of_tls() -> None:
    """There the transport is a protocol itself, and knows the one above."""

    class Layer:
        def __init__(self, above: Any) -> None:
            self.wrappedProtocol = above

    one = Connected()
    assert streams(Layer(one.protocol)) == (one.rfile, one.wfile)


def test_of_a_datagram() -> None:
    with pytest.raises(TypeError, match="datagram"):
        streams((b"data", None))


def test_each_direction_ends_by_itself() -> None:
    assert verifyObject(IHalfCloseableProtocol, Connected().protocol)
