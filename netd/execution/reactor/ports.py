"""Twisted's transports for datagrams, around a copy of a listener that processes share.

All processes of the service share the kernel's socket. It is blocking, because O_NONBLOCK belongs
to the open file. So these transports do not change its state, and pass MSG_DONTWAIT to each call
that might block.
"""

from __future__ import annotations

import errno
import socket
from contextlib import suppress
from typing import Any, Final, Protocol

from twisted.internet import udp, unix
from twisted.internet.abstract import FileDescriptor
from twisted.internet.protocol import DatagramProtocol
from twisted.python.failure import Failure

from netd.listening.handler_view import ListenerSocket
from netd.listening.replies import Sender, answer
from netd.proxy.datagrams import Proxied, receiver

_DONTWAIT: Final = int(socket.MSG_DONTWAIT)
"""As a plain number, because joining flags takes as long as sending."""

_JOINS: Final = (
    (socket.IPPROTO_IP, socket.IP_ADD_MEMBERSHIP),
    (socket.IPPROTO_IPV6, socket.IPV6_JOIN_GROUP),
)


class ReactorListenerSocket(ListenerSocket):
    """A datagram listener as protocols and asynchronous handlers see it: it never blocks."""

    def sendto(self, data: Any, *where: Any) -> int:
        """Send a datagram. Raises BlockingIOError where there is no room for it."""
        *flags, address = where
        return self.send_at_once(data, sum(flags), receiver(address))

    def send_at_once(self, data: Any, flags: int, address: Any) -> int:
        """Send to *address*, of any kind. Raises OSError."""
        if isinstance(address, Sender):
            return answer(super(ListenerSocket, self), data, flags | _DONTWAIT, address)
        return socket.socket.sendto(self, data, flags | _DONTWAIT, address)

    def setsockopt(self, level: int, name: int, *value: Any) -> None:
        """Set an option; a group that the socket has joined for another process stays joined."""
        try:
            super().setsockopt(level, name, *value)
        except OSError as error:
            if error.errno != errno.EADDRINUSE or (level, name) not in _JOINS:
                raise


class Receiver(Protocol):
    """Receives when a transport can be read."""

    service: str

    def receive(self) -> None:
        """Receive what there is; raises nothing."""

    def may_receive(self) -> bool:
        """Whether to watch the socket."""

    def dropped_by_reactor(self, error: BaseException) -> None:
        """The reactor has dropped the socket."""

    def say(self, level: str, text: str) -> None:
        """Log a line."""

    def say_raised(self, client: str, what: str, error: BaseException) -> None:
        """Log what the user's code has raised."""


class DatagramTransport(udp.Port):
    """What Twisted's two datagram transports have in common here."""

    answered: Any = None
    """The address of the datagram that the protocol received last."""

    _receiver: Receiver

    def adopt(self, receiver: Receiver, copy: ReactorListenerSocket) -> None:
        """Take over *copy*, and send by it until ``connectionLost``."""
        self._receiver = receiver
        self.socket = copy
        self.fileno = copy.fileno  # type: ignore[method-assign]
        self.connected = 1

    def doRead(self) -> None:
        self._receiver.receive()

    def startReading(self) -> None:
        if self.connected and self._receiver.may_receive():
            self.reactor.addReader(self)

    def connect(self, host: str, port: int) -> None:
        """Raise: the socket would receive from that peer only, in all processes."""
        raise RuntimeError("a listener that processes share cannot be connected")

    def stopListening(self) -> Any:
        """Receive and send nothing more in this process; the other processes go on."""
        if self.connected:
            self._receiver.say("warn", f"stopListening(): {self._where()} hears nobody any more")
        return super().stopListening()  # type: ignore[no-untyped-call]

    def connectionLost(self, reason: Failure | None = None) -> None:
        """Close the copy and stop the protocol; with a *reason*, which the reactor gives, pause."""
        if reason is not None:
            self._receiver.dropped_by_reactor(reason.value or OSError("shut down"))
            return
        if not self.connected:
            return
        FileDescriptor.connectionLost(self, reason)
        try:
            self.protocol.doStop()
        except BaseException as error:
            self._receiver.say_raised("-", "stopProtocol", error)
        self.socket.close()
        if hasattr(self, "d"):
            self.d.callback(None)
            del self.d

    def logPrefix(self) -> str:
        return self._receiver.service

    def _where(self) -> object:
        return self.getHost()  # type: ignore[no-untyped-call]


class UdpTransport(DatagramTransport, udp.MulticastPort):
    """Twisted's UDP transport."""

    def __init__(
        self,
        copy: ReactorListenerSocket,
        protocol: DatagramProtocol,
        receiver: Receiver,
        limit: int,
        reactor: Any,
    ) -> None:
        host, port, *_ = copy.getsockname()
        udp.MulticastPort.__init__(self, port, protocol, host, limit, reactor)
        self._realPortNumber = port
        self.adopt(receiver, copy)
        self._send = super(ListenerSocket, copy).sendto
        self._answer = copy.send_at_once

    def write(self, datagram: bytes, addr: Any = None) -> None:
        """Send; what there is no room for is lost, as it may be anywhere on its way.

        Twisted checks that the address is not a name, which would have to be resolved. The
        address of the packet being answered needs no check. A packet from port 0 wants no answer
        (RFC 768).
        """
        if isinstance(addr, Proxied):
            with suppress(OSError):
                self._answer(datagram, 0, addr.proxy)
            return
        if isinstance(addr, Sender):
            with suppress(OSError):
                self._answer(datagram, 0, addr)
            return
        if addr is not None and addr is self.answered:
            try:
                self._send(datagram, _DONTWAIT, addr)
                return
            except OSError:  # which Twisted knows what to do with
                if not addr[1]:
                    return
        with suppress(BlockingIOError):
            super().write(datagram, addr)


class UnixgramTransport(DatagramTransport, unix.DatagramPort):
    """Twisted's transport for datagrams on a Unix socket."""

    def __init__(
        self,
        copy: ReactorListenerSocket,
        protocol: DatagramProtocol,
        receiver: Receiver,
        limit: int,
        reactor: Any,
    ) -> None:
        path = copy.getsockname()
        unix.DatagramPort.__init__(self, path, protocol, limit, reactor=reactor)
        self.adopt(receiver, copy)

    def write(self, datagram: bytes, address: Any) -> None:  # type: ignore[override]
        """Send; nothing to a client without an address, which many are."""
        address = receiver(address)
        if address:
            super().write(datagram, address)  # type: ignore[no-untyped-call]
