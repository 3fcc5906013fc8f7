"""A service that the worker's reactor runs: protocols, factories and asynchronous handlers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from socketserver import BaseServer
from typing import Any, Final

from twisted.internet.protocol import DatagramProtocol

from netd.accept.pause import Pause
from netd.accept.pending import PendingConnections
from netd.admission.lists import AccessLists
from netd.admission.proxies import IsProxy
from netd.execution.interfaces import Source
from netd.execution.reactor.acceptor import Acceptor
from netd.execution.reactor.accounts import Accounts
from netd.execution.reactor.admission import Admission
from netd.execution.reactor.datagrams import Datagrams, ProtocolDatagrams
from netd.execution.reactor.handlers import HandlerDatagrams, build_handlers
from netd.execution.reactor.ports import (
    DatagramTransport,
    ReactorListenerSocket,
    UdpTransport,
    UnixgramTransport,
)
from netd.execution.reactor.runnable import factory_of, is_handler
from netd.execution.reactor.shared import ServiceParts
from netd.execution.reactor.tls import Tls
from netd.execution.reactor.transport import Build
from netd.execution.recycle import Recycle
from netd.ipc.scoreboard import WorkerBlock
from netd.log.buffer import LogBuffer
from netd.model.address import Transport
from netd.model.service import HANDSHAKES
from netd.model.tls import HANDSHAKE_TIMEOUT


@dataclass(frozen=True)
class Listener:
    """One listener of a reactor service. Nothing that it names is closed or re-configured."""

    source: Source
    socket: socket.socket
    """The inherited socket, from which *source* accepts or receives."""
    server: BaseServer
    """What asynchronous handlers find as ``self.server``."""
    admission: Admission
    is_tls: bool = False
    """Whether connections begin with a TLS handshake."""
    is_proxy: IsProxy | None = None
    """Whether a peer must send a PROXY header; None if no peer must."""
    number: int = 0
    """Its index in the service's ``listen``."""


@dataclass(frozen=True)
class PendingBounds:
    """The bounds on connections that are not served yet, and the TLS that they begin with."""

    handshakes: int = HANDSHAKES
    """Pending connections at a time."""
    timeout: float = HANDSHAKE_TIMEOUT
    """Seconds that each may stay pending."""
    tls: Tls | None = None
    """For TLS listeners, and for handlers that start TLS."""


DEFAULTS: Final = PendingBounds()


@dataclass(frozen=True)
class Runnable:
    """What a reactor service runs, and how."""

    what: Any
    """A Protocol or DatagramProtocol class, an IProtocolFactory or a class of one, or an
    asynchronous handler class: the user's code."""
    options: Mapping[str, Any] = field(default_factory=dict)
    """Keyword arguments for *what*."""
    datagram_size: int = 8192
    """Bytes that protocols may ask their transport for. The sources enforce it."""
    handler_timeout: float | None = None
    """Seconds after which an asynchronous handler is ended."""


@dataclass(frozen=True)
class Counting:
    """Where a service's requests are counted and logged."""

    block: WorkerBlock
    """The worker's of the scoreboard. The reactor writes its only lane."""
    log_buffer: LogBuffer
    recycle: Recycle | None = None


class ReactorService:
    """Serves all listeners of one service in the thread of *reactor*.

    *bounds* are for listeners whose connections begin with a header or TLS.
    """

    def __init__(
        self,
        name: str,
        runs: Runnable,
        listeners: Sequence[Listener],
        counting: Counting,
        reactor: Any,
        bounds: PendingBounds = DEFAULTS,
    ) -> None:
        self._what = runs.what
        self._runs = runs
        self._reactor = reactor
        self._accounts = accounts = Accounts(
            name, counting.block, counting.log_buffer, counting.recycle
        )
        pending = PendingConnections(bounds.handshakes, bounds.timeout, reactor)
        pause = Pause(accounts.say, reactor.callLater)
        self._parts = ServiceParts(name, accounts, pause, pending, bounds.tls, reactor)
        self._factory: Any = None
        self._servers = [listener.server for listener in listeners]
        self._acceptors: list[Acceptor] = []
        self._datagrams: list[Datagrams] = []
        for listener in listeners:
            if listener.source.transport.is_datagram:
                self._datagrams.append(self._receiver(listener))
            else:
                self._acceptors.append(self._acceptor(listener))

    def start(self, accepting: bool = True) -> None:
        """Start what the service runs, and accept, or without *accepting* wait for ``resume``.

        Raises whatever ``startFactory``, ``startProtocol`` or ``listening`` raises.
        """
        if is_handler(self._what):
            for server in self._servers:
                self._what.listening(server)
        for acceptor in self._acceptors:
            if self._factory is not None:
                self._factory.doStart()
            if accepting:
                acceptor.start()
        for datagrams in self._datagrams:
            # First, for startProtocol() may itself start to read.
            if not accepting:
                datagrams.stop()
            datagrams.transport.protocol.makeConnection(datagrams.transport)
            if accepting:
                datagrams.start()

    def recheck(self, lists: AccessLists) -> None:
        """Replace the lists by *lists*, and end the connections that they do not admit."""
        for acceptor in self._acceptors:
            acceptor.recheck(lists)
        for datagrams in self._datagrams:
            datagrams.recheck(lists)

    def disconnect(self, connection: int) -> None:
        """End the connection with this ID, if it is active here."""
        for acceptor in self._acceptors:
            acceptor.disconnect(connection)

    def kill(self) -> None:
        """Nothing of it is outside this process."""

    def suspend(self) -> None:
        """Stop accepting until ``resume``; connections go on."""
        for acceptor in self._acceptors:
            acceptor.stop()
        for datagrams in self._datagrams:
            datagrams.stop()

    def resume(self) -> None:
        """Accept again."""
        for acceptor in self._acceptors:
            acceptor.start()
        for datagrams in self._datagrams:
            datagrams.start()

    def stop(self, stopped: Callable[[], None]) -> None:
        """Stop accepting; *stopped* is called when the last connection has ended. Call it once."""
        for acceptor in self._acceptors:
            acceptor.stop()
            self._stop_factory()
        for datagrams in self._datagrams:
            datagrams.stop()
        # Later: the caller stops its services in a loop, and must not be called from within it.
        # Pending connections first: they may still become connected clients.
        inside = partial(self._accounts.when_empty, partial(self._close, stopped))
        self._reactor.callLater(0, self._parts.pending.when_empty, inside)

    def _stop_factory(self) -> None:
        if self._factory is None:
            return
        try:
            self._factory.doStop()
        except BaseException as error:
            self._accounts.say_raised("stream", "-", "stopFactory", error)

    def _close(self, stopped: Callable[[], None]) -> None:
        for acceptor in self._acceptors:
            acceptor.close()
        for datagrams in self._datagrams:
            datagrams.transport.connectionLost()
        stopped()

    def _acceptor(self, listener: Listener) -> Acceptor:
        return Acceptor(
            self._parts,
            listener.source,
            self._build(listener),
            listener.admission,
            listener.is_proxy,
            is_tls=listener.is_tls,
            number=listener.number,
        )

    def _build(self, listener: Listener) -> Build:
        if is_handler(self._what):
            return build_handlers(self._make(), listener.server, self._runs.handler_timeout)
        if self._factory is None:
            self._factory = factory_of(self._what, self._runs.options)
        factory = self._factory
        return lambda connection: factory.buildProtocol(connection.getPeer())

    def _make(self) -> Any:
        return partial(self._what, **self._runs.options) if self._runs.options else self._what

    def _receiver(self, listener: Listener) -> Datagrams:
        source = listener.source
        datagrams = Datagrams(
            self._parts.name,
            source,
            listener.admission,
            self._accounts,
            self._parts.pause,
            is_proxied=listener.is_proxy is not None,
            number=listener.number,
        )
        if is_handler(self._what):
            protocol = DatagramProtocol()
            protocol.noisy = False
            serve = HandlerDatagrams(
                datagrams, self._make(), listener.server, self._runs.handler_timeout
            ).serve
        else:
            protocol = self._what(**self._runs.options)
            of_inet6 = source.transport is Transport.UDP6
            serve = ProtocolDatagrams(datagrams, protocol, of_inet6=of_inet6).serve
        kind: Callable[..., DatagramTransport] = (
            UnixgramTransport if source.transport.is_unix else UdpTransport
        )
        copy = ReactorListenerSocket.copy_of(listener.socket)
        transport = kind(copy, protocol, datagrams, self._runs.datagram_size, self._reactor)
        datagrams.connect(transport, serve)
        return datagrams
