"""A service that the worker's reactor runs: protocols, factories and asynchronous handlers."""

from __future__ import annotations

import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from functools import partial
from socketserver import BaseServer
from typing import Any, Final

from twisted.internet.protocol import DatagramProtocol

from netd.accept.pause import Pause
from netd.accept.pending import Reception
from netd.admission.lists import AccessLists
from netd.execution.interfaces import Source
from netd.execution.reactor.acceptor import Acceptor
from netd.execution.reactor.accounts import Accounts
from netd.execution.reactor.admission import Admission
from netd.execution.reactor.datagrams import Datagrams, ProtocolDatagrams
from netd.execution.reactor.handlers import HandlerDatagrams, build_handlers
from netd.execution.reactor.pending import Desk
from netd.execution.reactor.ports import (
    DatagramTransport,
    ReactorListenerSocket,
    UdpTransport,
    UnixgramTransport,
)
from netd.execution.reactor.runnable import factory_of, is_handler
from netd.execution.reactor.tls import Tls
from netd.execution.reactor.transport import Build
from netd.execution.recycle import Recycle
from netd.ipc.scoreboard import WorkerBlock
from netd.log.buffer import LogBuffer
from netd.model.address import Transport
from netd.model.peer import Credentials
from netd.model.service import HANDSHAKES
from netd.model.tls import HANDSHAKE_TIMEOUT

IsProxy = Callable[[Any, Credentials | None], bool]


@dataclass(frozen=True)
class Listener:
    """One listener of a reactor service. Nothing that it names is closed or re-configured."""

    source: Source
    socket: socket.socket
    """The inherited socket, which *source* takes from."""
    server: BaseServer
    """What asynchronous handlers find as ``self.server``."""
    admission: Admission
    is_tls: bool = False
    """Whether connections begin with a TLS handshake."""
    is_proxy: IsProxy | None = None
    """Whether a peer, by its address and its credentials, has to say for whom it connects."""
    number: int = 0
    """Its index in the service's ``listen``."""


@dataclass(frozen=True)
class Begins:
    """What a service has for connections that do not begin by being served."""

    handshakes: int = HANDSHAKES
    """Connections at once that have not begun."""
    timeout: float = HANDSHAKE_TIMEOUT
    """Seconds that each has."""
    tls: Tls | None = None
    """For TLS listeners, and for handlers that start TLS."""


BEGINS: Final = Begins()


class ReactorService:
    """Serves all listeners of one service in the thread of *reactor*.

    *what* is a Protocol or DatagramProtocol class, an IProtocolFactory or a class of one, or an
    asynchronous handler class; *options* are keyword arguments for it. *datagram_size* is what
    protocols may ask their transport for; the sources hold to it. An asynchronous handler is ended
    after *handler_timeout* seconds. *begins* is for listeners that wait for something first.
    """

    def __init__(
        self,
        name: str,
        what: Any,
        options: Mapping[str, Any],
        listeners: Sequence[Listener],
        block: WorkerBlock,
        reactor: Any,
        log_buffer: LogBuffer,
        datagram_size: int = 8192,
        recycle: Recycle | None = None,
        handler_timeout: float | None = None,
        begins: Begins = BEGINS,
    ) -> None:
        self._handler_timeout = handler_timeout
        self._name = name
        self._what = what
        self._options = options
        self._reactor = reactor
        self._datagram_size = datagram_size
        self._accounts = Accounts(name, block, log_buffer, recycle)
        self._resting = Pause(reactor, partial(log_buffer.say, name))
        self._tls = begins.tls
        self._reception = Reception(begins.handshakes, begins.timeout, reactor)
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
        """Start what the service runs, and begin to take.

        Without *taking*, nothing is taken before ``resume``. Raises whatever ``startFactory``,
        ``startProtocol`` or ``listening`` raises.
        """
        if not accepting:
            self.suspend()
        if is_handler(self._what):
            for server in self._servers:
                self._what.listening(server)
        for acceptor in self._acceptors:
            if self._factory is not None:
                self._factory.doStart()
            acceptor.startReading()
        for datagrams in self._datagrams:
            datagrams.transport.protocol.makeConnection(datagrams.transport)
            datagrams.transport.startReading()

    def recheck(self, lists: AccessLists) -> None:
        """Ask *lists* from now on, and end the connections that they do not admit."""
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
        """Take nothing more until ``resume``; connections go on."""
        for acceptor in self._acceptors:
            acceptor.stop()
        for datagrams in self._datagrams:
            datagrams.stop()

    def resume(self) -> None:
        """Take again."""
        for acceptor in self._acceptors:
            acceptor.resume()
        for datagrams in self._datagrams:
            datagrams.resume()

    def stop(self, stopped: Callable[[], None]) -> None:
        """Take nothing more; *stopped* is called when the last connection has ended.

        To be called once.
        """
        for acceptor in self._acceptors:
            acceptor.stop()
            self._stop_factory()
        for datagrams in self._datagrams:
            datagrams.stop()
        # Not at once: who stops things by a loop over them must not be called from within it.
        inside = partial(self._accounts.when_empty, partial(self._close, stopped))
        self._reactor.callLater(0, self._reception.when_empty, inside)

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
            self._name,
            listener.source,
            self._build(listener),
            listener.admission,
            self._accounts,
            self._resting,
            self._reactor,
            self._desk(listener),
            self._tls,
            listener.number,
        )

    def _desk(self, listener: Listener) -> Desk | None:
        if not listener.is_tls and listener.is_proxy is None:
            return None
        tls = self._tls if listener.is_tls else None
        return Desk(self._reception, listener.is_proxy, tls, self._reactor, self._name)

    def _build(self, listener: Listener) -> Build:
        if is_handler(self._what):
            return build_handlers(self._make(), listener.server, self._handler_timeout)
        if self._factory is None:
            self._factory = factory_of(self._what, self._options)
        factory = self._factory
        return lambda connection: factory.buildProtocol(connection.getPeer())

    def _make(self) -> Any:
        return partial(self._what, **self._options) if self._options else self._what

    def _receiver(self, listener: Listener) -> Datagrams:
        source = listener.source
        datagrams = Datagrams(
            self._name,
            source,
            listener.admission,
            self._accounts,
            self._resting,
            is_proxied=listener.is_proxy is not None,
            number=listener.number,
        )
        if is_handler(self._what):
            protocol = DatagramProtocol()
            protocol.noisy = False
            serve = HandlerDatagrams(
                datagrams, self._make(), listener.server, self._handler_timeout
            ).serve
        else:
            protocol = self._what(**self._options)
            of_inet6 = source.transport is Transport.UDP6
            serve = ProtocolDatagrams(datagrams, protocol, of_inet6=of_inet6).serve
        kind: Callable[..., DatagramTransport] = (
            UnixgramTransport if source.transport.is_unix else UdpTransport
        )
        copy = ReactorListenerSocket.copy_of(listener.socket)
        transport = kind(copy, protocol, datagrams, self._datagram_size, self._reactor)
        datagrams.connect(transport, serve)
        return datagrams
