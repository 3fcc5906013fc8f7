"""Datagrams of a service behind a proxy."""

from __future__ import annotations

from netd.accept.refusal import PROXY_HEADER, Refusal
from netd.admission.proxies import Proxies
from netd.execution.interfaces import Source
from netd.execution.request import Refused, Request, TooLong
from netd.execution.sources.datagram import like
from netd.proxy.datagrams import Proxied, text_of, unwrapped
from netd.proxy.header import InvalidHeader


class ProxiedDatagrams:
    """A source that removes the headers from the datagrams of *proxies*.

    *source* accepts datagrams that are longer by ``proxy.header.LONGEST``; the payload may have
    *limit* bytes.
    """

    may_block = False

    def __init__(self, source: Source, proxies: Proxies, limit: int) -> None:
        self.transport = source.transport
        self.fileno = source.fileno
        self._next_request = source.next_request
        self._proxies = proxies
        self._limit = limit

    def next_request(self) -> Request:
        """Receive one datagram. Raises what every source does, and Refused."""
        request: Request = self._next_request()
        if self._proxies.has(request.client_address, request.peer):
            request = _by_a_proxy(request)
        if len(request.raw[0]) > self._limit:
            raise TooLong(request.client, self._limit)
        return request


def _by_a_proxy(request: Request) -> Request:
    data, _ = request.raw
    try:
        payload, address = unwrapped(data, request.client_address)
    except InvalidHeader as error:
        raise Refused(request, Refusal(PROXY_HEADER, str(error))) from None
    if not isinstance(address, Proxied):  # ``LOCAL``: the proxy's own datagram
        return request._replace(raw=like(request.raw, payload))
    return Request(like(request.raw, payload), address, text_of(address), None)
