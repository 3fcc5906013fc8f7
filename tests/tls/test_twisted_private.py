"""``netd.tls.twisted_private``: the installed Twisted has what netd uses of its private part."""

from __future__ import annotations

from typing import Any

import pytest
from OpenSSL import SSL
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport

from netd.tls.reactor import reactor_context
from netd.tls.twisted_private import (
    FACTORY_ATTRIBUTES,
    OVERRIDDEN_METHODS,
    PROTOCOL_ATTRIBUTES,
    USED_METHODS,
    TLSMemoryBIOFactory,
    TLSMemoryBIOProtocol,
)
from tests.tls.authorities import table


@pytest.fixture
def factory() -> Any:
    inner = Factory.forProtocol(Protocol)
    clock: Any = Clock()
    return TLSMemoryBIOFactory(reactor_context(table()), False, inner, clock)


@pytest.fixture
def connected(factory: Any) -> Any:
    protocol: Any = TLSMemoryBIOProtocol(factory, Protocol())
    protocol.makeConnection(StringTransport())
    return protocol


@pytest.mark.parametrize("name", sorted({*OVERRIDDEN_METHODS, *USED_METHODS}))
def test_methods(name: str) -> None:
    """A method that is gone has another name now: see ``twisted.protocols.tls``."""
    assert callable(getattr(TLSMemoryBIOProtocol, name, None)), f"Twisted has no {name}"


@pytest.mark.parametrize("name", PROTOCOL_ATTRIBUTES)
def test_attributes_of_a_connection(connected: Any, name: str) -> None:
    assert hasattr(connected, name), f"TLSMemoryBIOProtocol of this Twisted has no {name}"


@pytest.mark.parametrize("name", FACTORY_ATTRIBUTES)
def test_attributes_of_the_factory(factory: Any, name: str) -> None:
    assert hasattr(factory, name), f"TLSMemoryBIOFactory of this Twisted has no {name}"


def test_the_connection_is_openssls(connected: Any) -> None:
    assert isinstance(connected._tlsConnection, SSL.Connection)
    assert not connected._handshakeDone


class _Recording(TLSMemoryBIOProtocol):
    """Notes which of the overridden methods Twisted calls."""

    def __init__(self, factory: Any) -> None:
        super().__init__(factory, Protocol())
        self.called: list[str] = []

    def _checkHandshakeStatus(self) -> None:
        self.called.append("_checkHandshakeStatus")
        self._handshakeDone = len(self.called) > 1

    def _flushReceiveBIO(self) -> None:
        self.called.append("_flushReceiveBIO")

    def _flushSendBIO(self) -> None:
        self.called.append("_flushSendBIO")

    def _shutdownTLS(self) -> None:
        self.called.append("_shutdownTLS")


class TestTwistedCallsWhatIsOverridden:
    """An override that Twisted does not call any longer would fail without an error."""

    def test_received_bytes(self, factory: Any) -> None:
        """Connecting and receiving bytes try the handshake; what follows it is read."""
        protocol = _Recording(factory)
        protocol.makeConnection(StringTransport())
        protocol.dataReceived(b"\x16")
        expected = ["_checkHandshakeStatus", "_checkHandshakeStatus", "_flushReceiveBIO"]
        assert protocol.called == expected

    def test_end_of_tls(self, factory: Any) -> None:
        """Before the connection below is closed, what OpenSSL has to send is sent."""
        protocol = _Recording(factory)
        protocol.makeConnection(StringTransport())
        protocol.called.clear()
        protocol._tlsShutdownFinished(None)
        assert protocol.called == ["_flushSendBIO"]
        assert protocol._lostTLSConnection

    def test_unregistered_producer(self, factory: Any) -> None:
        """The last byte of a producer that is to be closed after it is followed by the shutdown."""
        protocol = _Recording(factory)
        protocol.makeConnection(StringTransport())
        protocol.registerProducer(Protocol(), True)
        protocol.disconnecting = True
        protocol.unregisterProducer()
        assert protocol.called[-1] == "_shutdownTLS"
