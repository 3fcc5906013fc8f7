"""A worker in small for tests: one reactor service in a process of its own.

The test's end, ``hosting``, makes the listeners and keeps them, as the daemon does. The process's
end, ``obey``, inherits them, serves, and says what happens line by line: the journal, whatever
is printed, ``READY`` and ``STOPPED``.
"""

from __future__ import annotations

import base64
import gc
import importlib
import json
import os
import pickle
import resource
import socket
import struct
import sys
import tempfile
from collections.abc import Iterator, Mapping, Sequence
from contextlib import ExitStack, contextmanager, suppress
from socketserver import BaseServer
from typing import Any, Final

from twisted.internet.protocol import Protocol

from netd.admission.filter import ReactorFilter
from netd.admission.gate import Gate
from netd.admission.lists import AccessLists
from netd.admission.proxies import Proxies
from netd.execution.interfaces import Source
from netd.execution.reactor.admission import Admission
from netd.execution.reactor.service import (
    Counting,
    Listener,
    PendingBounds,
    ReactorService,
    Runnable,
)
from netd.execution.reactor.task import Task
from netd.execution.reactor.tls import Tls
from netd.execution.reactor.transport import _NOBODY, StreamTransport
from netd.execution.sources.datagram import InetDatagram, UnixDatagram
from netd.execution.sources.stream import InetStream, UnixStream
from netd.execution.tracebacks import user_traceback
from netd.handlers import AsyncRequestHandler
from netd.ipc.layout import Geometry
from netd.ipc.scoreboard import Scoreboard
from netd.listening.handler_view import ListenerSocket
from netd.log.buffer import LogBuffer
from netd.model.address import Transport
from netd.model.service import Access
from netd.tls.peer import ClientCertificate
from netd.tls.reactor import reactor_context
from tests.execution.reactor.zygote import Forked, Zygote

PATIENCE: Final = 10.0
"""Seconds that a test waits for what must happen before it fails; nothing here takes one."""


class Host:
    """A running service, as a test sees it."""

    def __init__(
        self,
        process: Forked,
        output: socket.socket,
        listeners: dict[str, socket.socket],
        scoreboard: Scoreboard,
        stack: ExitStack,
    ) -> None:
        self.process = process
        self.listeners = listeners
        self.scoreboard = scoreboard
        self.lines: list[str] = []
        """Everything that has been heard."""
        self._output = output
        self._stack = stack
        self._rest = b""

    def address(self, transport: str = "tcp") -> Any:
        return self.listeners[transport].getsockname()

    def connect(self, transport: str = "tcp") -> socket.socket:
        """Be a client of a stream; it is closed in the end."""
        client = self._client(transport)
        client.connect(self.address(transport))
        return client

    def ask(self, data: bytes = b"", transport: str = "tcp") -> bytes:
        """Be a client from beginning to end; returns what came back."""
        with self.connect(transport) as client:
            with suppress(OSError):  # it may be refused already
                client.sendall(data)
                client.shutdown(socket.SHUT_WR)
            return read_all(client)

    def sender(self, transport: str = "udp", path: str | None = None) -> socket.socket:
        """Be a client for datagrams, at *path* if the transport is a Unix one."""
        client = self._client(transport)
        if path is not None:
            client.bind(path)
        client.connect(self.address(transport))
        return client

    def _client(self, transport: str) -> socket.socket:
        listener = self.listeners[transport]
        client = self._stack.enter_context(socket.socket(listener.family, listener.type))
        client.settimeout(PATIENCE)
        return client

    def heard(self, *parts: str) -> str:
        """Return the first line that has all *parts*, when it is there."""
        seen = 0
        while True:
            for line in self.lines[seen:]:
                if all(part in line for part in parts):
                    return line
            seen = len(self.lines)
            assert self._listen(), f"{parts} is not in {self.lines}"

    def everything(self) -> list[str]:
        """End the process in good order and return all that it has said."""
        self.say("stop")
        while self._listen():
            pass
        assert self.process.wait(PATIENCE) == 0, self.lines
        return self.lines

    def open_files(self) -> int:
        """How many descriptors the process has."""
        return len(os.listdir(f"/proc/{self.process.pid}/fd"))

    @property
    def alive(self) -> int:
        """How many connections were in memory in the end, though they were over."""
        return int(self.heard("ALIVE ").split()[1])

    def say(self, order: str) -> None:
        """Give an order: ``stop``, or ``deny ENTRY`` for lists that are only that."""
        self.process.stdin.write(f"{order}\n".encode())
        self.process.stdin.flush()

    def _listen(self) -> bool:
        try:
            data = self._output.recv(65536)
        except TimeoutError:
            raise AssertionError(f"nothing comes after {self.lines}") from None
        *lines, self._rest = (self._rest + data).split(b"\n")
        self.lines += [line.decode() for line in lines]
        return bool(data)


def read_all(client: socket.socket) -> bytes:
    parts = []
    while part := client.recv(65536):
        parts.append(part)
    return b"".join(parts)


def reset(client: socket.socket) -> None:
    """Go without a good-bye (SO_LINGER, socket(7))."""
    client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
    client.close()


@contextmanager
def hosting(
    what: str,
    *transports: str,
    slots: int = 20,
    sockets: Mapping[str, socket.socket] | None = None,
    **settings: Any,
) -> Iterator[Host]:
    """Run *what* on *transports*: a class of ``tests.execution.served``, or ``module:Class``.

    *sockets* are listeners that another host has already. *settings* are ``options``, ``allow``,
    ``deny``, ``verify`` (a function), ``verify_timeout``, ``dry_run``, ``datagram_size``,
    ``descriptors`` (so many may be open beyond those that are), ``collects`` (whether the process
    collects cyclic garbage), ``collects_last`` (whether it does so before it counts what is left),
    ``path`` (directories of modules), ``tls`` (a Tls, for TLS transports and Unix streams),
    ``proxies``, ``handshakes``, ``patience`` (seconds until it has begun).
    """
    if "tls" in settings:
        settings["tls"] = base64.b64encode(pickle.dumps(settings["tls"])).decode()
    with ExitStack() as stack:
        directory = stack.enter_context(tempfile.TemporaryDirectory())
        listeners = dict(sockets or {})
        for name in transports or ("tcp",):
            if name not in listeners:
                listeners[name] = stack.enter_context(_listener(Transport(name), directory))
        page = Scoreboard.make("test", Geometry(1, 1, slots))
        stack.callback(os.close, page)
        ours, theirs = socket.socketpair()
        stack.enter_context(ours)
        orders = {
            "what": what,
            "listeners": list(listeners),
            "slots": slots,
            "settings": settings,
        }
        descriptors = [page, *(one.fileno() for one in listeners.values())]
        with theirs:
            process = Zygote.current().fork(json.dumps(orders), theirs.fileno(), descriptors)
        stack.callback(_end, process)
        ours.settimeout(PATIENCE)
        host = Host(process, ours, listeners, Scoreboard(page, Geometry(1, 1, slots)), stack)
        host.heard("READY")
        yield host


def _end(process: Forked) -> None:
    process.kill()
    process.wait(PATIENCE)
    process.close()


def _listener(transport: Transport, directory: str) -> socket.socket:
    listener = socket.socket(transport.family, transport.type)
    if transport.is_unix:
        listener.bind(f"{directory}/{transport.value}")
        os.chmod(f"{directory}/{transport.value}", 0o640)
        if transport.is_datagram:
            listener.setsockopt(socket.SOL_SOCKET, socket.SO_PASSCRED, 1)
    else:
        listener.bind(("::1" if transport.family == socket.AF_INET6 else "127.0.0.1", 0))
    if not transport.is_datagram:
        listener.listen(1024)
        os.set_blocking(listener.fileno(), False)
    return listener


# The process.


class _Server(BaseServer):
    """What handlers find as ``self.server``."""

    def __init__(self, listener: socket.socket) -> None:
        super().__init__(listener.getsockname(), None)  # type: ignore[arg-type]
        self.socket = listener


def obey(order: str, descriptors: Sequence[int]) -> None:
    """Serve what *order* says on the descriptors of a page and its listeners, until told to stop.

    To be called in a process that is forked for it.
    """
    orders = json.loads(order)
    settings = orders["settings"]
    sys.path[:0] = settings.get("path", ())
    from twisted.internet import reactor as installed
    from twisted.python import log

    reactor: Any = installed
    log.addObserver(_print_event)

    def tell() -> None:
        while text := log_buffer.take(1 << 16):
            print(text, end="", flush=True)

    log_buffer = LogBuffer(lambda: reactor.callLater(0, tell))
    service = _service(orders, descriptors, reactor, log_buffer)
    if not settings.get("collects", True):
        gc.disable()
    if "descriptors" in settings:
        reactor.callWhenRunning(_limit, settings["descriptors"])

    def stopped() -> None:
        tell()
        if settings.get("collects_last", False):
            gc.collect()
        _count()
        print("STOPPED", flush=True)
        reactor.stop()

    def stop() -> None:
        # Later: it may be the last connection that calls, which is still in memory then.
        service.stop(lambda: reactor.callLater(0, stopped))
        print("STOPPING", flush=True)

    def deny(entry: str) -> None:
        service.recheck(AccessLists.of(Access(deny=(entry,))))
        print(f"DENYING {entry}", flush=True)

    def listen() -> None:
        for line in sys.stdin:
            order, *words = line.split()
            if order == "stop":
                # The thread has to come to its end, or the reactor waits for it.
                reactor.callFromThread(stop)
                break
            reactor.callFromThread(deny, *words)

    def start() -> None:
        service.start()
        reactor.callInThread(listen)
        print("READY", flush=True)

    reactor.callWhenRunning(start)
    reactor.run()


def _count() -> None:
    """Print how many transports, protocols, handlers and tasks are in memory."""
    kinds = (StreamTransport, Protocol, AsyncRequestHandler, Task)
    found = [one for one in gc.get_objects() if isinstance(one, kinds) and one is not _NOBODY]
    print("ALIVE", len(found), *{type(one).__name__ for one in found}, flush=True)


def _print_event(event: Any) -> None:
    text = log_text(event)
    if text:
        print(f"LOGGED {text}", flush=True)


def log_text(event: Any) -> str | None:
    from twisted.python.log import textFromEventDict

    return textFromEventDict(event) if event.get("isError") else None


def _limit(spare: int) -> None:
    """Allow *spare* more descriptors than are open now."""
    used = [os.open(os.devnull, os.O_RDONLY) for _ in range(spare + 1)]
    for descriptor in used:
        os.close(descriptor)
    _, hard = resource.getrlimit(resource.RLIMIT_NOFILE)
    resource.setrlimit(resource.RLIMIT_NOFILE, (used[-1], hard))


def _load(name: str) -> Any:
    module, _, attribute = name.rpartition(":")
    return getattr(importlib.import_module(module or "tests.execution.served"), attribute)


def _service(
    orders: dict[str, Any], descriptors: Sequence[int], reactor: Any, log_buffer: LogBuffer
) -> ReactorService:
    settings, count = orders["settings"], orders["slots"]
    page, *listeners = descriptors
    board = Scoreboard(page, Geometry(1, 1, count))
    return ReactorService(
        "test",
        Runnable(
            _load(orders["what"]),
            settings.get("options", {}),
            settings.get("datagram_size", 8192),
        ),
        [
            _made(Transport(name), descriptor, settings, reactor, log_buffer)
            for name, descriptor in zip(orders["listeners"], listeners, strict=True)
        ],
        Counting(board.block(0), log_buffer),
        reactor,
        PendingBounds(
            settings.get("handshakes", 100),
            settings.get("patience", PATIENCE),
            _tls(settings, reactor),
        ),
    )


def _tls(settings: dict[str, Any], reactor: Any) -> Tls | None:
    if "tls" not in settings:
        return None
    table = pickle.loads(base64.b64decode(settings["tls"]))
    return Tls(
        reactor_context(table),
        suppresses_ragged_eofs=table.suppress_ragged_eofs,
        certificate_of=ClientCertificate if table.client_certificate != "none" else None,
        timeout=table.handshake_timeout,
        reactor=reactor,
    )


def _made(
    transport: Transport,
    descriptor: int,
    settings: dict[str, Any],
    reactor: Any,
    log_buffer: LogBuffer,
) -> Listener:
    listener = socket.socket(transport.family, transport.type, fileno=descriptor)
    allow = settings.get("allow")
    access = Access(None if allow is None else tuple(allow), tuple(settings.get("deny", ())))
    lists = AccessLists.of(access)
    proxies = settings.get("proxies", ())
    gate = Gate(lists, None, of_unix=transport.is_unix, is_proxied=bool(proxies))

    def report(client: str, error: BaseException) -> None:
        log_buffer.say("test", "error", f"{client}: the filter raised\n{user_traceback(error)}")

    asked = None
    if "verify" in settings:
        timeout = settings.get("verify_timeout", PATIENCE)
        asked = ReactorFilter(_load(settings["verify"]), timeout, reactor, report)
    return Listener(
        _source(transport, listener, settings.get("datagram_size", 8192)),
        listener,
        _Server(ListenerSocket.copy_of(listener)),
        Admission(None if gate.is_open else gate, asked, settings.get("dry_run", False)),
        transport.is_tls or (transport is Transport.UNIX and "tls" in settings),
        Proxies(proxies, of_unix=transport.is_unix).has if proxies else None,
    )


def _source(transport: Transport, listener: socket.socket, limit: int) -> Source:
    if transport is Transport.UNIX:
        return UnixStream(listener, with_groups=True)
    if transport is Transport.UNIXGRAM:
        return UnixDatagram(listener, listener, limit)
    if transport.is_datagram:
        return InetDatagram(listener, transport, listener, limit)
    return InetStream(listener, transport)
