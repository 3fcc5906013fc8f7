"""The clients of TLS scenarios, as many at once as asked for, in one thread over epoll.

``python -m bench.tls_load MODE PORT CLIENTS SECONDS`` says and means what ``load.c`` does, which
knows no TLS. It is slower than that, and slower than the servers: so it is their processor time
that is to be compared, and their rate is that of this tool.

``tls``: connect, a whole handshake, send a line, read to the end, close; again. ``tls-bulk``:
connect once; send a line, read MUCH; again.
"""

from __future__ import annotations

import json
import resource
import selectors
import socket
import ssl
import sys
import time
from collections.abc import Callable, Generator, Iterator
from functools import partial
from typing import Any, Final

from bench.handlers import MUCH
from bench.programs import DRAIN

HOST: Final = "127.0.0.1"
LINE: Final = b"hello\n"

READ, WRITE = selectors.EVENT_READ, selectors.EVENT_WRITE

Waits = Generator[tuple[socket.socket, int], None, None]
"""A client: it yields the socket that it waits for, and for what."""


class Tally:
    """What is counted, until *deadline* (monotonic)."""

    def __init__(self, seconds: float) -> None:
        self.seconds = seconds
        self.deadline = time.monotonic() + seconds
        self.failed = 0
        self._in_time = 0
        self._latencies: list[float] = []

    def go_on(self) -> bool:
        """Whether something new is to be begun."""
        return time.monotonic() < self.deadline

    def succeed(self, started: float) -> None:
        """An operation has come to its end."""
        now = time.monotonic()
        self._latencies.append(now - started)
        self._in_time += now <= self.deadline

    def as_json(self) -> str:
        """One line, with the words of load.c."""
        used = resource.getrusage(resource.RUSAGE_SELF)
        latencies = sorted(self._latencies) or [0.0]
        return json.dumps(
            {
                "done": len(self._latencies),
                "failed": self.failed,
                "seconds": self.seconds,
                "rate": self._in_time / self.seconds,
                "p50": latencies[len(latencies) // 2],
                "p99": latencies[len(latencies) * 99 // 100],
                "cpu": used.ru_utime + used.ru_stime,
            }
        )


def handshakes(context: ssl.SSLContext, port: int, tally: Tally) -> Waits:
    """A new connection for each line."""
    while tally.go_on():
        started = time.monotonic()
        try:
            answer = yield from _one_line(context, port)
        except OSError:
            answer = b""
        if answer == LINE:
            tally.succeed(started)
        else:
            tally.failed += 1


def _one_line(context: ssl.SSLContext, port: int) -> Generator[Any, None, bytes]:
    connection = yield from _connected(context, port)
    with connection:
        yield from _done(connection, lambda: connection.send(LINE))
        answer = b""
        while part := (yield from _done(connection, lambda: connection.recv(4096))):
            answer += part
        return answer


def bulk(context: ssl.SSLContext, port: int, tally: Tally) -> Waits:
    """One connection, and much of it."""
    buffer = bytearray(1 << 16)
    try:
        connection = yield from _connected(context, port)
        with connection:
            while tally.go_on():
                started = time.monotonic()
                yield from _done(connection, lambda: connection.send(LINE))
                left = MUCH
                while left:
                    receive = partial(connection.recv_into, buffer, min(left, len(buffer)))
                    got = yield from _done(connection, receive)
                    if not got:
                        raise ConnectionResetError
                    left -= got
                tally.succeed(started)
    except OSError:
        tally.failed += 1


def _connected(context: ssl.SSLContext, port: int) -> Generator[Any, None, ssl.SSLSocket]:
    plain = socket.socket()
    plain.setblocking(False)
    plain.connect_ex((HOST, port))
    yield plain, WRITE
    connection = context.wrap_socket(plain, do_handshake_on_connect=False)
    yield from _done(connection, connection.do_handshake)
    return connection


def _done(connection: ssl.SSLSocket, step: Callable[[], Any]) -> Generator[Any, None, Any]:
    while True:
        try:
            return step()
        except ssl.SSLWantReadError:
            yield connection, READ
        except ssl.SSLWantWriteError:
            yield connection, WRITE


MODES: Final = {"tls": handshakes, "tls-bulk": bulk}


def run(clients: Iterator[Waits], until: float) -> int:
    """Run all clients to their ends, or *until* then; how many were left."""
    with selectors.DefaultSelector() as selector:
        left = sum(_go_on(selector, client) for client in clients)
        while left and time.monotonic() < until:
            for key, _ in selector.select(0.05):
                selector.unregister(key.fileobj)
                left -= not _go_on(selector, key.data)
        return left


def _go_on(selector: selectors.BaseSelector, client: Waits) -> bool:
    """Whether the client waits for something more."""
    waited = next(client, None)
    if waited is not None:
        selector.register(*waited, client)
    return waited is not None


def main(mode: str, port: str, clients: str, seconds: str) -> None:
    """Run, and print what was found."""
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    tally = Tally(float(seconds))
    made = (MODES[mode](context, int(port), tally) for _ in range(int(clients)))
    tally.failed += run(made, tally.deadline + DRAIN)
    print(tally.as_json())


if __name__ == "__main__":
    main(*sys.argv[1:])
