"""Clients that mean no good, many at once, and those who only want to be served meanwhile."""

from __future__ import annotations

import os
import resource
import select
import socket
import ssl
import struct
import threading
import time
from collections import Counter
from collections.abc import Iterable, Iterator
from concurrent.futures import ThreadPoolExecutor
from contextlib import contextmanager, suppress
from functools import lru_cache
from pathlib import Path
from typing import Any, Final

from tests.integration.daemons import PATIENCE, read_all
from tests.tls.authorities import authority

AT_ONCE: Final = 32
"""Attackers that join before those are seen to that have been turned away."""

SHORT: Final = b"hello"
"""What the others say, and want to hear."""


def raise_descriptor_limit(wanted: int) -> bool:
    """Raise the soft limit of this process, which daemons inherit; whether it is enough."""
    soft, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (max(soft, min(hard, 2 * wanted)), hard))
    return hard >= wanted


@lru_cache
def client_context(version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3) -> ssl.SSLContext:
    """Of a client that trusts the tests' authority only, and speaks nothing newer than *version*.

    Whatever name the certificate is for.
    """
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    authority().configure_trust(context)
    context.maximum_version = version
    return context


class Handshake:
    """A client's side of a handshake, with its flights in hand."""

    def __init__(
        self,
        address: Any,
        version: ssl.TLSVersion = ssl.TLSVersion.TLSv1_3,
        name: str = "host.example",
    ) -> None:
        context = client_context(version)
        self._incoming, self._outgoing = ssl.MemoryBIO(), ssl.MemoryBIO()
        self._client = context.wrap_bio(self._incoming, self._outgoing, server_hostname=name)
        self.hello = self._flight()
        self._connection = socket.create_connection(address, PATIENCE)

    def _flight(self) -> bytes:
        with suppress(ssl.SSLWantReadError):
            self._client.do_handshake()
        return self._outgoing.read()

    def say(self, data: bytes) -> None:
        """Send some bytes."""
        self._connection.sendall(data)

    def answer(self) -> bytes:
        """Send the first flight, and return the second when the server's is there."""
        self.say(self.hello)
        while not (flight := self._flight()):
            data = self._connection.recv(65536)
            assert data, "the server has gone"
            self._incoming.write(data)
        return flight

    def reset(self) -> None:
        """Be about to hang up by a reset (socket(7), SO_LINGER)."""
        self._connection.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))

    @property
    def shown(self) -> tuple[str, ...]:
        """The names in the server's certificate."""
        certificate = self._client.getpeercert()
        assert certificate is not None
        names: Any = certificate["subjectAltName"]
        return tuple(name for _, name in names)

    def close(self) -> None:
        """Hang up, without a word."""
        self._connection.close()


def client_hello() -> bytes:
    """The first flight of a client."""
    outgoing = ssl.MemoryBIO()
    client = client_context().wrap_bio(ssl.MemoryBIO(), outgoing, server_hostname="host.example")
    with suppress(ssl.SSLWantReadError):
        client.do_handshake()
    return outgoing.read()


class Crowd:
    """Connections that say what they have to say, and then wait for the server to end them."""

    def __init__(self) -> None:
        self._epoll = select.epoll()
        self._inside: dict[int, tuple[socket.socket, float]] = {}
        self.longest = 0.0
        """Seconds that passed from connecting to the end, at most."""
        self.turned_away = 0

    def __enter__(self) -> Crowd:
        return self

    def __exit__(self, *_: object) -> None:
        for connection, _since in self._inside.values():
            connection.close()
        self._epoll.close()

    def join(self, address: Any, said: bytes, *, is_last: bool = False) -> None:
        """Connect, and say something; where it *is_last*, that this was all."""
        connection = socket.create_connection(address, PATIENCE)
        connection.setblocking(False)
        with suppress(OSError):  # of one that is turned away already
            if said:
                connection.send(said)
            if is_last:
                connection.shutdown(socket.SHUT_WR)
        self._inside[connection.fileno()] = (connection, time.monotonic())
        self._epoll.register(connection, select.EPOLLIN)
        if connection.fileno() % AT_ONCE == 0:
            self._see_ends(0)

    def wait_until_empty(self, patience: float) -> None:
        """Wait until all have been turned away."""
        deadline = time.monotonic() + patience
        while self._inside:
            left = deadline - time.monotonic()
            assert left > 0, f"{len(self._inside)} are still there"
            self._see_ends(left)

    def wait_for_room(self, most: int) -> None:
        """Wait until fewer than *most* are there."""
        deadline = time.monotonic() + PATIENCE
        while len(self._inside) >= most:
            left = deadline - time.monotonic()
            assert left > 0, f"{len(self._inside)} are still there"
            self._see_ends(left)

    def _see_ends(self, timeout: float) -> None:
        for descriptor, _ in self._epoll.poll(timeout):
            connection, since = self._inside[descriptor]
            try:
                has_ended = not connection.recv(65536)
            except ConnectionError:
                has_ended = True
            if has_ended:
                del self._inside[descriptor]
                connection.close()
                self.turned_away += 1
                self.longest = max(self.longest, time.monotonic() - since)


class Others:
    """Those who want to be served: over TLS, one after the other on each of *addresses*."""

    def __init__(self, addresses: dict[str, Any]) -> None:
        self._addresses = addresses
        self._context = client_context()
        self._over = threading.Event()
        self.served: Counter[str] = Counter()
        self.failed: Counter[str] = Counter()
        self.failures: list[str] = []
        self.longest = 0.0
        """Seconds until one was served, at most."""

    @contextmanager
    def at_work(self) -> Iterator[Others]:
        """They ask for as long as the context lasts, and fail half a second apart at most."""
        with ThreadPoolExecutor(len(self._addresses)) as threads:
            for service in self._addresses:
                threads.submit(self._go_on, service)
            try:
                yield self
            finally:
                self._over.set()

    def _go_on(self, service: str) -> None:
        while not self._over.is_set():
            since = time.monotonic()
            try:
                self.ask(service)
            except (OSError, AssertionError) as error:
                self.failed[service] += 1
                self.failures.append(f"{service}: {error!r}")
            else:
                self.served[service] += 1
            self.longest = max(self.longest, time.monotonic() - since)
            self._over.wait(0.01)

    def ask(self, service: str) -> None:
        """Be served once."""
        plain = socket.create_connection(self._addresses[service], PATIENCE)
        with self._context.wrap_socket(plain, server_hostname="host.example") as connection:
            connection.sendall(SHORT)
            answer = read_all(connection)
            assert answer == SHORT, answer


def descriptors(pids: Iterable[int]) -> dict[int, int]:
    """How many descriptors processes have open."""
    return {pid: len(os.listdir(Path("/proc", str(pid), "fd"))) for pid in pids}


def memory(pids: Iterable[int]) -> dict[int, int]:
    """How many bytes of memory processes have (resident; proc(5))."""
    pages = {pid: int(Path("/proc", str(pid), "statm").read_text().split()[1]) for pid in pids}
    return {pid: count * resource.getpagesize() for pid, count in pages.items()}


def tcp_sockets(pid: int) -> int:
    """How many of a process's descriptors are TCP sockets (proc(5))."""
    lines = Path("/proc", str(pid), "net", "tcp").read_text().splitlines()[1:]
    all_of_tcp = {f"socket:[{line.split()[9]}]" for line in lines}
    found = 0
    for entry in os.scandir(f"/proc/{pid}/fd"):
        with suppress(OSError):  # it is closed just now
            found += os.readlink(entry.path) in all_of_tcp
    return found
