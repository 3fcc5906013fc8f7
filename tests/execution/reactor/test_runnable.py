"""``netd.execution.reactor.runnable``: what the reactor can run, and for which requests."""

from __future__ import annotations

import socketserver
from typing import Any

import pytest
from twisted.internet.interfaces import IProtocol, IProtocolFactory
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, ServerFactory
from twisted.protocols.basic import LineReceiver
from zope.interface import implementer

from netd.execution.reactor.runnable import NotRunnable, factory_of, is_handler, requests_of
from netd.handlers import (
    AsyncDatagramRequestHandler,
    AsyncRequestHandler,
    AsyncStreamRequestHandler,
)
from netd.handlers.small import Echo


class Own(Protocol):
    """A protocol with options."""

    def __init__(self, greeting: str = "", port: int = 0) -> None:
        self.greeting = greeting
        self.port = port


@implementer(IProtocol)
class BareProtocol:
    """Inherits nothing."""

    def makeConnection(self, transport: Any) -> None: ...
    def connectionMade(self) -> None: ...
    def dataReceived(self, data: bytes) -> None: ...
    def connectionLost(self, reason: Any) -> None: ...


@implementer(IProtocolFactory)
class BareFactory:
    """Inherits nothing either."""

    def __init__(self, most: int = 3) -> None:
        self.most = most

    def buildProtocol(self, addr: Any) -> BareProtocol:
        return BareProtocol()

    def doStart(self) -> None: ...
    def doStop(self) -> None: ...


class OwnFactory(Factory[Protocol]):
    protocol = Own


class Unprintable:
    def __repr__(self) -> str:
        raise ValueError("who knows")


class Table:
    def __repr__(self) -> str:
        return "one\n  two"


FACTORY = OwnFactory()


class TestRequests:
    @pytest.mark.parametrize(
        ("what", "requests"),
        [
            (Protocol, "stream"),
            (Own, "stream"),
            (LineReceiver, "stream"),
            (BareProtocol, "stream"),
            (ServerFactory, "stream"),
            (BareFactory, "stream"),
            (FACTORY, "stream"),
            (BareFactory(), "stream"),
            (DatagramProtocol, "datagram"),
            (AsyncRequestHandler, "any"),
            (Echo, "any"),
            (AsyncStreamRequestHandler, "stream"),
            (AsyncDatagramRequestHandler, "datagram"),
        ],
    )
    def test_runnable(self, what: Any, requests: str) -> None:
        assert requests_of(what) == requests

    @pytest.mark.parametrize(
        ("what", "described"),
        [
            (socketserver.StreamRequestHandler, 'is the class "StreamRequestHandler";'),
            (int, 'is the class "int";'),
            (Own(), "is <tests."),
            (DatagramProtocol(), "DatagramProtocol object"),
            (print, "is <built-in function print>;"),
            ("text" * 100, "is 'texttext"),
            (None, "is None;"),
            (Unprintable(), 'is a "Unprintable";'),
            (Table(), "is one two;"),
        ],
    )
    def test_not_runnable(self, what: Any, described: str) -> None:
        """It says what it is, in a line, and what would do."""
        with pytest.raises(NotRunnable) as caught:
            requests_of(what)
        text = str(caught.value)
        assert described in text
        assert "a Twisted Protocol, DatagramProtocol or protocol factory" in text
        assert "\n" not in text
        assert len(text) < 250


def test_handler() -> None:
    assert is_handler(AsyncStreamRequestHandler)
    assert not any(map(is_handler, (Own, FACTORY, "text", socketserver.BaseRequestHandler)))


class TestFactory:
    def test_of_a_protocol(self) -> None:
        """A quiet one, which makes one for each connection."""
        factory = factory_of(Own, {})
        one, other = factory.buildProtocol("address"), factory.buildProtocol("address")
        assert isinstance(one, Own)
        assert one is not other
        assert one.factory is factory
        assert not factory.noisy

    def test_of_a_protocol_with_options(self) -> None:
        made = factory_of(Own, {"greeting": "hi", "port": 7}).buildProtocol("address")
        assert (made.greeting, made.port) == ("hi", 7)

    def test_of_a_factory_class(self) -> None:
        """It is made, with the options."""
        assert factory_of(BareFactory, {}).most == 3
        assert factory_of(BareFactory, {"most": 9}).most == 9
        with pytest.raises(TypeError, match="unexpected keyword"):
            factory_of(BareFactory, {"least": 9})

    def test_of_a_factory(self) -> None:
        """It stays what it is, and cannot take options any more."""
        assert factory_of(FACTORY, {}) is FACTORY
        with pytest.raises(NotRunnable, match="made already"):
            factory_of(FACTORY, {"most": 9})
