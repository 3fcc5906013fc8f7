"""Datagrams of a service that stands behind a proxy."""

from __future__ import annotations

from netd.accept.first_bytes import PROXY_HEADER
from netd.admission.proxies import Proxies
from netd.execution.interfaces import Source
from netd.execution.request import Refused, Taken, TooLong
from netd.execution.sources.datagram import like
from netd.proxy.datagrams import Proxied, text_of, unwrapped
from netd.proxy.header import InvalidHeader


class ProxiedDatagrams:
    """A source of what *source* takes: those of *proxies* without their headers.

    *source* takes datagrams that are longer by ``proxy_protocol.LONGEST``; the payload may have
    *limit* bytes.
    """

    may_block = False

    def __init__(self, source: Source, proxies: Proxies, limit: int) -> None:
        self.transport = source.transport
        self.fileno = source.fileno
        self._take = source.take
        self._proxies = proxies
        self._limit = limit

    def take(self) -> Taken:
        """Receive one datagram. Raises what every source does, and Refused."""
        taken: Taken = self._take()
        if self._proxies.has(taken.client_address, taken.peer):
            taken = _by_a_proxy(taken)
        if len(taken.request[0]) > self._limit:
            raise TooLong(taken.client, self._limit)
        return taken


def _by_a_proxy(taken: Taken) -> Taken:
    data, _ = taken.request
    try:
        payload, address = unwrapped(data, taken.client_address)
    except InvalidHeader as error:
        raise Refused(taken, PROXY_HEADER, str(error)) from None
    if not isinstance(address, Proxied):  # the proxy speaks for itself
        return taken._replace(request=like(taken.request, payload))
    return Taken(like(taken.request, payload), address, text_of(address), None)
