"""The addresses of a connection, as Twisted names them: its client and where that connected to."""

from __future__ import annotations

from socket import NI_NUMERICHOST, NI_NUMERICSERV, getnameinfo
from typing import Any

from twisted.internet import tcp
from twisted.internet.address import IPv4Address, IPv6Address, UNIXAddress

from netd.execution.request import Request
from netd.proxy.header import Header


class AddressedServer(tcp.Server):
    """Twisted's transport, whose addresses are those that a proxy has named, if one did."""

    request: Request
    _header: Header | None

    def _name(self) -> None:
        """Set what Twisted's getPeer() looks at."""
        if self._header is not None:  # which says all of it
            self.hostname = self.request.client
            return
        if len(self.client) == 4:
            self._addressType = IPv6Address
            self.client = with_scope(self.client)
        self.hostname = self.client[0]

    def getPeer(self) -> Any:
        """The client; the real one, where a proxy has named it."""
        if self._header is not None:
            return _twisted_address(self._header.source)
        return super().getPeer()  # type: ignore[no-untyped-call]

    def getHost(self) -> Any:
        """Where the client has connected to, also where that was a proxy."""
        if self._header is not None:
            return _twisted_address(self._header.destination)
        return super().getHost()  # type: ignore[no-untyped-call]

    def __repr__(self) -> str:
        return f"<{type(self).__name__} #{self.sessionno} of {self.request.client}>"


def _twisted_address(address: Any) -> Any:
    """An address that a proxy has named, as Twisted has it."""
    if not isinstance(address, tuple):
        return UNIXAddress(address)
    return (IPv4Address if len(address) == 2 else IPv6Address)("TCP", *address)


def with_scope(client: tuple[Any, ...]) -> tuple[Any, ...]:
    """An IPv6 address as Twisted has it: with the link's name where it is one of a link."""
    if not client[3]:
        return client
    try:
        host, _ = getnameinfo(client, NI_NUMERICHOST | NI_NUMERICSERV)
    except OSError:  # the link has gone in the meantime
        host = f"{client[0]}%{client[3]}"
    return (host, *client[1:])
