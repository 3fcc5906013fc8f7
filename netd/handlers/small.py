"""The small services of 1983: echo, discard, chargen, daytime and time, for streams and datagrams.

RFC 862, 863, 864, 867 and 868. One asynchronous handler serves each of them on any transport.

A datagram from another small service is not answered: a single datagram with a forged source would
make the two answer each other for ever. Such a source is any port below 1024, where small services
usually are, and any port on which one of this machine listens. The latter is refused on every
address, since another machine may run the same configuration.
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
from netd.handlers.reading import Reader
from netd.handlers.reflection_guard import Address, ReflectionGuard
from netd.handlers.streams import streams
from netd.handlers.writing import Writer

CHUNK: Final = 64 << 10
"""Most bytes of one read, and so of one write of echo: Reader's own mark."""

RESERVED: Final = 1024
"""Source ports below this are those of services, not of clients (IPPORT_RESERVED)."""

_PRINTABLE: Final = bytes(range(32, 127))

_LINES: Final = b"".join((_PRINTABLE * 2)[start : start + 72] + b"\r\n" for start in range(95))
"""The pattern that RFC 864 suggests: 72 of the 95 printable characters, starting one further in
each line."""

MOST_CHARACTERS: Final = 512
"""Characters in a datagram of the character generator, at most (RFC 864)."""

AMPLIFICATION: Final = 3
"""Bytes of an answer for each byte of a datagram on the wire: QUIC's factor for addresses that are
not validated (RFC 9000, 8.1). The source of a datagram may be forged."""

HEADERS: Final = 28
"""Bytes of a datagram's headers on the wire (IPv4 and UDP)."""

_UNTIL_1970: Final = 2_208_988_800
"""Seconds from 1900, where the time protocol begins to count (RFC 868), to 1970."""

_guard: Final = ReflectionGuard("small services")
"""Knows where the small services of this machine listen for datagrams. One for the process: a
claim must outlive the handler that made it."""


class SmallService(AsyncRequestHandler):
    """The base of the small services: ``reply`` for a datagram, ``talk`` for a connection.

    *never_answer* are further UDP ports that get no answer, such as those of services elsewhere.
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
        """Claim the listener's address, which other small services must not answer."""
        listener: socket.socket = server.socket  # type: ignore[attr-defined]
        if listener.type == socket.SOCK_DGRAM:
            _guard.claim(_port_or_path(server.server_address))

    async def handle(self) -> None:
        """Answer the datagram, unless its source may be another service; or talk."""
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
        """Return the answer to a datagram, or None for no answer."""
        raise NotImplementedError

    async def talk(self, rfile: Reader, wfile: Writer) -> None:
        """Serve a connection, which netd closes afterwards."""
        raise NotImplementedError

    def _may_answer(self) -> bool:
        # Again with each datagram: the process that held the claim may have ended.
        _guard.claim(_port_or_path(self.server.server_address))
        source = _port_or_path(self.client_address)
        return may_answer(source, self._never_answer, _guard.is_claimed)


class Echo(SmallService):
    """Sends back what it receives (RFC 862).

    A connection is echoed until the client has finished sending; a datagram once.
    """

    def reply(self, data: bytes) -> bytes | None:
        return data

    async def talk(self, rfile: Reader, wfile: Writer) -> None:
        while data := await rfile.read(CHUNK):
            await wfile.write(data)


class Discard(SmallService):
    """Discards what it receives (RFC 863): a connection until its end, a datagram silently."""

    def reply(self, data: bytes) -> bytes | None:
        return None

    async def talk(self, rfile: Reader, wfile: Writer) -> None:
        while await rfile.read(CHUNK):
            pass


class Chargen(SmallService):
    """Sends printable characters (RFC 864).

    A client that connects gets lines until it closes the connection, at its own pace; what it
    sends is discarded. A datagram is answered by up to 512 characters, but by at most three bytes
    on the wire for each of its own.
    """

    def reply(self, data: bytes) -> bytes | None:
        return _LINES[: random.randint(0, MOST_CHARACTERS)]

    async def talk(self, rfile: Reader, wfile: Writer) -> None:
        # RFC 864: what the client sends meanwhile is discarded.
        discarding = Deferred.fromCoroutine(_discard(rfile))
        try:
            while True:
                await wfile.write(_LINES)
        finally:
            discarding.cancel()


class Daytime(SmallService):
    """Sends the local date and time as a line for people (RFC 867), whatever it receives."""

    def reply(self, data: bytes) -> bytes | None:
        return daytime(time.localtime())

    async def talk(self, rfile: Reader, wfile: Writer) -> None:
        await wfile.write(daytime(time.localtime()))


class Time(SmallService):
    """Sends the seconds since 1900 in UTC as four bytes, big-endian (RFC 868).

    The number starts again from 0 in 2036.
    """

    def reply(self, data: bytes) -> bytes | None:
        return seconds_since_1900(time.time())

    async def talk(self, rfile: Reader, wfile: Writer) -> None:
        await wfile.write(seconds_since_1900(time.time()))


async def _discard(rfile: Reader) -> None:
    with suppress(ConnectionError, CancelledError):
        while await rfile.read(CHUNK):
            pass


def most_answered(size: int) -> int:
    """Return the most bytes in the answer to a datagram with *size* bytes of data."""
    return AMPLIFICATION * (size + HEADERS) - HEADERS


def daytime(when: time.struct_time) -> bytes:
    """Return a local time like RFC 867's example: Tuesday, February 22, 1982 17:37:43-PST."""
    return time.strftime("%A, %B %d, %Y %H:%M:%S-%Z\r\n", when).encode("ascii", "replace")


def seconds_since_1900(now: float) -> bytes:
    """Return a Unix time in the format of RFC 868: 32 bits, which overflow in 2036."""
    return ((int(now) + _UNTIL_1970) % 2**32).to_bytes(4)


def may_answer(
    source: Address, never: Collection[int], is_claimed: Callable[[Address], bool]
) -> bool:
    """Whether a datagram from *source* may be answered.

    No, if it has no source (port 0 in RFC 768, "" for a Unix socket), if its port belongs to
    services, or if *never* or *is_claimed* names it.
    """
    if not source or (isinstance(source, int) and source < RESERVED):
        return False
    return source not in never and not is_claimed(source)


def _port_or_path(address: Any) -> Address:
    """What distinguishes sockets of this machine: a port, or a name, empty if there is none."""
    distinct: Address = address[1] if isinstance(address, tuple) else address
    return distinct
