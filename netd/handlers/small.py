"""The small services of 1983: echo, discard, chargen, daytime and time, for streams and datagrams.

Each is served by one asynchronous handler on any transport. A datagram whose source may be
another such service is not answered, or one forged packet would set the two on each other for
ever. That is any source port below 1024, where such services are at home, and, on whatever
machine, any port on which one of these here listens: the same configuration may run there.
"""

from __future__ import annotations

import random
import socket
import time
from collections.abc import Callable, Collection
from contextlib import suppress
from socketserver import BaseServer
from typing import Any, Final

from twisted.internet.defer import CancelledError, Deferred

from netd.handlers.asynchronous import AsyncRequestHandler
from netd.handlers.claims import Claims
from netd.handlers.reading import Reader
from netd.handlers.streams import streams
from netd.handlers.writing import Writer

CHUNK: Final = 64 << 10
"""Bytes read at once."""

RESERVED: Final = 1024
"""Source ports below are those of services, not of clients (IPPORT_RESERVED)."""

_PRINTABLE: Final = bytes(range(32, 127))

_LINES: Final = b"".join((_PRINTABLE * 2)[start : start + 72] + b"\r\n" for start in range(95))
"""The popular pattern of RFC 864: 72 of the 95 printable characters, one further on each line."""

MOST_CHARACTERS: Final = 512
"""Characters in a datagram of the character generator, at most (RFC 864)."""

AMPLIFICATION: Final = 3
"""Bytes of an answer for each byte of a datagram on the wire, as for addresses that nobody has
validated yet in QUIC (RFC 9000, 8.1): the senders of datagrams may be forged."""

HEADERS: Final = 28
"""Bytes of a datagram on the wire beside its data: the headers of IPv4 and UDP."""

_UNTIL_1970: Final = 2_208_988_800
"""Seconds from 1900, where the time protocol begins to count (RFC 868), to 1970."""

_claims: Final = Claims("small services")
"""Where the small services of this machine listen for datagrams."""


class SmallService(AsyncRequestHandler):
    """What the small services have in common: a reply to a datagram, or talk on a connection.

    *never_answer* are further UDP ports not to answer, such as those of services elsewhere.
    """

    def __init__(
        self,
        request: Any,
        client_address: Any,
        server: BaseServer,
        never_answer: Collection[int] = (),
    ) -> None:
        super().__init__(request, client_address, server)
        self._never_answer = never_answer

    @classmethod
    def listening(cls, server: BaseServer) -> None:
        """Tell the small services that there are on this machine of one more."""
        listener: socket.socket = server.socket  # type: ignore[attr-defined]
        if listener.type == socket.SOCK_DGRAM:
            _claims.claim(_port_or_path(server.server_address))

    async def handle(self) -> None:
        """Answer the datagram, unless that may be a trap; or serve the connection."""
        if not isinstance(self.request, tuple):
            await self.talk(*streams(self.request))
            return
        data, transport = self.request
        reply = self.reply(data)
        if reply is not None:  # only that of Chargen can be longer
            reply = reply[: most_answered(len(data))]
        if reply is not None and self._may_answer():
            transport.write(reply, self.client_address)

    def reply(self, data: bytes) -> bytes | None:
        """Return what answers a datagram; None if nothing does."""
        raise NotImplementedError

    async def talk(self, rfile: Reader, wfile: Writer) -> None:
        """Serve a connection; it is closed afterwards."""
        raise NotImplementedError

    def _may_answer(self) -> bool:
        own = _port_or_path(self.server.server_address)
        _claims.claim(own)
        return may_answer(_port_or_path(self.client_address), self._never_answer, _claims.has)


class Echo(SmallService):
    """Sends back what it receives (RFC 862)."""

    def reply(self, data: bytes) -> bytes | None:
        return data

    async def talk(self, rfile: Reader, wfile: Writer) -> None:
        while data := await rfile.read(CHUNK):
            await wfile.write(data)


class Discard(SmallService):
    """Throws away what it receives (RFC 863)."""

    def reply(self, data: bytes) -> bytes | None:
        return None

    async def talk(self, rfile: Reader, wfile: Writer) -> None:
        while await rfile.read(CHUNK):
            pass


class Chargen(SmallService):
    """Sends characters, for as long as the client takes them (RFC 864)."""

    def reply(self, data: bytes) -> bytes | None:
        return _LINES[: random.randint(0, MOST_CHARACTERS)]

    async def talk(self, rfile: Reader, wfile: Writer) -> None:
        thrown_away = Deferred.fromCoroutine(_throw_away(rfile))
        try:
            while True:
                await wfile.write(_LINES)
        finally:
            thrown_away.cancel()


class Daytime(SmallService):
    """Tells date and time for people (RFC 867)."""

    def reply(self, data: bytes) -> bytes | None:
        return daytime(time.localtime())

    async def talk(self, rfile: Reader, wfile: Writer) -> None:
        await wfile.write(daytime(time.localtime()))


class Time(SmallService):
    """Tells the seconds since 1900, in four bytes (RFC 868)."""

    def reply(self, data: bytes) -> bytes | None:
        return seconds_since_1900(time.time())

    async def talk(self, rfile: Reader, wfile: Writer) -> None:
        await wfile.write(seconds_since_1900(time.time()))


async def _throw_away(rfile: Reader) -> None:
    with suppress(ConnectionError, CancelledError):
        while await rfile.read(CHUNK):
            pass


def most_answered(size: int) -> int:
    """Bytes that a datagram with *size* bytes of data may be answered with."""
    return AMPLIFICATION * (size + HEADERS) - HEADERS


def daytime(when: time.struct_time) -> bytes:
    """Write a local time as RFC 867's example does: Tuesday, February 22, 1982 17:37:43-PST."""
    return time.strftime("%A, %B %d, %Y %H:%M:%S-%Z\r\n", when).encode("ascii", "replace")


def seconds_since_1900(now: float) -> bytes:
    """Write a Unix time as RFC 868 has it; from 2036 on it begins anew, in 32 bits."""
    return ((int(now) + _UNTIL_1970) % 2**32).to_bytes(4)


def may_answer(
    source: int | str | bytes, never: Collection[int], is_claimed: Callable[[Any], bool]
) -> bool:
    """Whether a datagram may be answered; *source* is its UDP port, or the path of its socket.

    Not one without a source (RFC 768 has port 0 for that), nor one whose source *never* or
    *is_claimed* names.
    """
    if not source or (isinstance(source, int) and source < RESERVED):
        return False
    return source not in never and not is_claimed(source)


def _port_or_path(address: Any) -> Any:
    """What tells sockets of this machine apart; falsy for a Unix socket that has no name."""
    return address[1] if isinstance(address, tuple) else address
