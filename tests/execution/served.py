"""What tests let the reactor run: protocols, factories, filters, asynchronous handlers."""

from __future__ import annotations

import json
import os
import signal
from collections.abc import Awaitable, Callable
from typing import Any, ClassVar

from twisted.internet import reactor as installed
from twisted.internet.defer import CancelledError, Deferred
from twisted.internet.interfaces import (
    IFileDescriptorReceiver,
    IHalfCloseableProtocol,
    IHandshakeListener,
    IProtocolFactory,
    IPushProducer,
    ISSLTransport,
)
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol, connectionDone
from twisted.internet.task import deferLater
from twisted.python.failure import Failure
from zope.interface import implementer

from netd.handlers import (
    AsyncDatagramRequestHandler,
    AsyncRequestHandler,
    AsyncStreamRequestHandler,
    streams,
)

reactor: Any = installed


def say(*things: object) -> None:
    print(*things, flush=True)


# Protocols of streams.


class Echo(Protocol):
    """Sends back what it receives, with *before* in front of everything."""

    def __init__(self, before: str = "") -> None:
        self.before = before.encode()

    def connectionMade(self) -> None:
        assert self.transport is not None
        self.transport.write(self.before)

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)


class Line(Protocol):
    """Sends back one line and closes."""

    def dataReceived(self, data: bytes) -> None:
        assert self.transport is not None
        self.transport.write(data)
        self.transport.loseConnection()


class Introduce(Protocol):
    """Tells who talks to whom."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(f"{transport.getHost()!r} {transport.getPeer()!r}".encode())
        transport.setTcpNoDelay(True)
        transport.loseConnection()


class FalseError(Exception):
    """An error that is not even true."""

    def __bool__(self) -> bool:
        return False


class Faulty(Protocol):
    """Raises in the method that its first byte names, or in those of *at*."""

    def __init__(self, at: str = "") -> None:
        self.at = at

    def connectionMade(self) -> None:
        if self.at == "connectionMade":
            raise SystemExit("made")

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        if data == b"raise":
            raise ValueError("in dataReceived")
        if data == b"false":
            raise FalseError("in dataReceived")
        if data == b"exit":
            raise SystemExit("in dataReceived")
        if data == b"producer":
            transport.registerProducer(FaultyProducer("resume"), True)
            transport.write(bytes(1 << 20))
        elif data == b"pause":
            transport.registerProducer(FaultyProducer("pause"), True)
            transport.write(bytes(1 << 20))
        elif data == b"pull":
            transport.registerProducer(FaultyProducer("resume"), False)
        elif data == b"stop":
            transport.registerProducer(FaultyProducer("stop"), True)
            transport.loseConnection()
        else:
            transport.write(data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        if self.at == "connectionLost":
            raise KeyError("in connectionLost")
        say("connectionLost", reason.type.__name__ if reason.type else None)


@implementer(IPushProducer)
class FaultyProducer:
    def __init__(self, at: str) -> None:
        self.at = at

    def pauseProducing(self) -> None:
        if self.at == "pause":
            raise LookupError("in pauseProducing")

    def resumeProducing(self) -> None:
        if self.at == "resume":
            raise LookupError("in resumeProducing")

    def stopProducing(self) -> None:
        if self.at == "stop":
            raise LookupError("in stopProducing")


@implementer(IHalfCloseableProtocol)
class HalfClosing(Protocol):
    """Answers when the client has finished, and finishes before it closes."""

    def __init__(self, faulty: str = "") -> None:
        self.faulty = faulty

    def dataReceived(self, data: bytes) -> None:
        pass

    def readConnectionLost(self) -> None:
        say("readConnectionLost")
        if self.faulty == "readConnectionLost":
            raise ValueError("in readConnectionLost")
        transport: Any = self.transport
        transport.write(b"you have finished")
        transport.loseWriteConnection()

    def writeConnectionLost(self) -> None:
        if self.faulty == "writeConnectionLost":
            raise ValueError("in writeConnectionLost")
        say("writeConnectionLost")
        assert self.transport is not None
        self.transport.loseConnection()

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        say("connectionLost")


@implementer(IPushProducer)
class Flood(Protocol):
    """Sends 64 MiB as fast as the client takes them, and no faster."""

    left = 1024
    paused = False

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.registerProducer(self, True)
        self.resumeProducing()

    def pauseProducing(self) -> None:
        self.paused = True

    def resumeProducing(self) -> None:
        transport: Any = self.transport
        self.paused = False
        while self.left and not self.paused:
            self.left -= 1
            transport.write(bytes(1 << 16))
        if not self.left:
            transport.unregisterProducer()
            transport.loseConnection()

    def stopProducing(self) -> None:
        pass


class Abort(Protocol):
    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        transport.write(b"never sent")
        transport.abortConnection()


@implementer(IFileDescriptorReceiver)
class Passing(Protocol):
    """Writes into the descriptor that it is passed, and passes it back."""

    def fileDescriptorReceived(self, descriptor: int) -> None:
        transport: Any = self.transport
        os.write(descriptor, b"passed")
        transport.sendFileDescriptor(descriptor)
        transport.write(b"!")


class FaultyPassing(Passing):
    def fileDescriptorReceived(self, descriptor: int) -> None:
        os.close(descriptor)
        raise ValueError("in fileDescriptorReceived")


class Pulled(Protocol):
    """Is asked for each of ten pieces (IPullProducer)."""

    left = 10

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.registerProducer(self, False)

    def resumeProducing(self) -> None:
        transport: Any = self.transport
        transport.write(bytes(100_000))
        self.left -= 1
        if not self.left:
            transport.unregisterProducer()
            transport.loseConnection()

    def stopProducing(self) -> None:
        pass


class Reset(Protocol):
    """Writes more than a client takes, and tells how the connection ends."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.write(bytes(32 << 20))
        say("written")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        say("lost:", reason.type.__name__ if reason.type else None)


class Paused(Protocol):
    """Reads nothing, and tells how the connection ends."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.pauseProducing()
        say("paused")

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        say("lost:", reason.type.__name__ if reason.type else None)


class StartTls(Protocol):
    """Goes over to TLS when the client asks for it, and echoes."""

    def dataReceived(self, data: bytes) -> None:
        transport: Any = self.transport
        if data == b"STARTTLS\n":
            from twisted.internet.ssl import KeyPair

            transport.write(b"go ahead\n")
            own = KeyPair.generate(size=2048).selfSignedCert(1, CN="localhost")
            transport.startTLS(own.options())
        else:
            transport.write(data)
            transport.loseConnection()


# Factories.


class Counting(Factory[Protocol]):
    """A factory that numbers its connections, and refuses those beyond *most*."""

    noisy = False

    def __init__(self, most: int = 2) -> None:
        self.most = most
        self.built = 0

    def startFactory(self) -> None:
        say("startFactory")

    def stopFactory(self) -> None:
        say("stopFactory")

    def buildProtocol(self, addr: Any) -> Protocol | None:
        self.built += 1
        if self.built > self.most + 1:
            raise ValueError(f"{addr.host} is too much")
        return Echo(str(self.built)) if self.built <= self.most else None


counting = Counting()


@implementer(IProtocolFactory)
class Bare:
    """A factory that is nothing but one."""

    def buildProtocol(self, addr: Any) -> Protocol:
        return Line()

    def doStart(self) -> None:
        say("doStart")

    def doStop(self) -> None:
        raise ValueError("in doStop")


class Junk(Factory[Protocol]):
    """A factory that makes something else."""

    noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        return "no protocol"


# Protocols of datagrams.


class EchoPackets(DatagramProtocol):
    noisy = False

    def __init__(self, before: str = "") -> None:
        self.before = before.encode()

    def startProtocol(self) -> None:
        say("startProtocol")

    def stopProtocol(self) -> None:
        say("stopProtocol")

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        assert self.transport is not None
        if datagram == b"raise":
            raise ValueError("in datagramReceived")
        self.transport.write(self.before + datagram, addr)


class IntroducePackets(DatagramProtocol):
    noisy = False

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        transport: Any = self.transport
        transport.write(f"{transport.getHost()!r} {addr!r}".encode(), addr)


class Various(DatagramProtocol):
    """Does to its transport what the packet says."""

    noisy = False

    def datagramReceived(self, datagram: bytes, addr: Any) -> None:
        transport: Any = self.transport
        if datagram == b"connect":
            transport.connect("127.0.0.1", 9)
        elif datagram == b"join":
            joined = transport.joinGroup("239.255.10.1", "127.0.0.1")
            joined.addCallback(lambda _: transport.write(b"joined", addr))
            joined.addErrback(lambda failure: transport.write(repr(failure).encode(), addr))
        elif datagram == b"name":
            transport.write(b"never", ("localhost", addr[1]))
        elif datagram == b"long":
            transport.write(bytes(100_000), addr)
        elif datagram == b"later":
            reactor.callLater(0, transport.write, b"later", addr)
        elif datagram == b"stop":
            transport.stopListening().addCallback(lambda _: say("stopped listening"))
        else:
            transport.writeSequence([b"<", datagram, b">"], addr)


# Filters.


def polite(request: Any, client_address: Any) -> bool:
    """Refuse with a message."""
    transport = request[1] if isinstance(request, tuple) else request
    say("asked", client_address if client_address else "unix")
    if isinstance(request, tuple):
        return bool(request[0] != b"no")
    transport.write(b"go away")
    return False


def admit(request: Any, client_address: Any) -> bool:
    request.resumeProducing()
    return True


def broken(request: Any, client_address: Any) -> bool:
    raise ValueError("in the filter")


async def slow(request: Any, client_address: Any) -> bool:
    await deferLater(reactor, 0.01)
    return True


async def stuck(request: Any, client_address: Any) -> bool:
    await Deferred()
    return True


async def until_told(request: Any, client_address: Any) -> bool:
    """Admit when the process gets a signal."""
    told: Deferred[None] = Deferred()
    signal.signal(signal.SIGUSR1, lambda *_: reactor.callFromThread(told.callback, None))
    say("asked")
    await told
    return True


def hang_up(request: Any, client_address: Any) -> bool:
    request.loseConnection()
    return True


async def abort(request: Any, client_address: Any) -> bool:
    request.abortConnection()
    await deferLater(reactor, 0.01)
    return True


# Asynchronous handlers of streams.


class AsyncLine(AsyncStreamRequestHandler):
    async def handle(self) -> None:
        await self.wfile.write(await self.rfile.readline())


class AsyncParts(AsyncStreamRequestHandler):
    """Says what is called, in which order."""

    def __init__(self, *arguments: Any, raises: str = "") -> None:
        super().__init__(*arguments)
        self.fails_in = raises

    async def setup(self) -> None:
        await super().setup()
        self._part("setup")

    async def handle(self) -> None:
        self._part("handle")

    async def finish(self) -> None:
        await super().finish()
        self._part("finish")

    def _part(self, name: str) -> None:
        self.wfile.write(f"{name} ".encode())
        if self.fails_in == name:
            raise SystemExit(f"in {name}")


class AsyncLook(AsyncRequestHandler):
    """Tells what it finds on itself."""

    async def handle(self) -> None:
        found = f"{sorted(vars(self))} {self.client_address!r} {type(self.server).__name__}"
        if isinstance(self.request, tuple):
            data, transport = self.request
            transport.write(found.encode() + data, self.client_address)
        else:
            _, wfile = streams(self.request)
            await wfile.write(found.encode())


class AsyncTalk(AsyncStreamRequestHandler):
    """Does what the client's lines say."""

    disable_nagle_algorithm = True

    async def handle(self) -> None:
        async for line in self.rfile:
            words = line.decode().split()
            await getattr(self, words[0])(*words[1:])

    async def finish(self) -> None:
        say("finish")
        await super().finish()

    async def exactly(self, count: str) -> None:
        await self.wfile.writelines([b"<", await self.rfile.readexactly(int(count)), b">"])

    async def until(self, end: str) -> None:
        await self.wfile.write(await self.rfile.readuntil(end.encode()))

    async def rest(self) -> None:
        await self.wfile.write(str(len(await self.rfile.read())).encode())

    async def eof(self) -> None:
        self.wfile.write_eof()
        say("still comes", await self.rfile.read())

    async def foreign(self) -> None:
        import asyncio

        loop = asyncio.new_event_loop()
        try:
            await loop.create_future()
        finally:
            loop.close()

    async def nothing(self) -> None:
        """Wait for something else than the client."""
        await self._until_lost(Deferred)

    async def swallow(self) -> None:
        """Carry on, whatever is raised."""
        await self._until_lost(Deferred)
        await self._until_lost(lambda: self.rfile.read(1))
        await self._until_lost(lambda: self.wfile.write(b"x"))
        say("swallowed")

    async def client(self) -> None:
        """Wait for the client."""
        await self._until_lost(lambda: self.rfile.read(1))
        await deferLater(reactor, 0.01)
        say("cleaned up")
        await self.wfile.write(b"x")

    async def _until_lost(self, wait: Callable[[], Awaitable[Any]]) -> None:
        say("waiting")
        try:
            await wait()
        except (ConnectionError, CancelledError) as error:
            say("raised", type(error).__name__)

    async def nodelay(self) -> None:
        await self.wfile.write(str(self.connection.getTcpNoDelay()).encode())

    async def task(self) -> None:
        """Read in a task of its own."""
        line = await Deferred.fromCoroutine(self.rfile.readline())
        await self.wfile.write(line)

    async def flood(self, blocks: str) -> None:
        """Write more than a client takes, and tell how much memory that costs."""
        self.written = 0
        Deferred.fromCoroutine(self._tell_when_stuck(_resident()))
        for _ in range(int(blocks)):
            self.written += 1
            await self.wfile.write(bytes(1 << 16))

    async def _tell_when_stuck(self, before: int) -> None:
        seen = 0
        while self.wfile.has_room() or self.written > seen:
            seen = self.written
            await deferLater(reactor, 0.02)
        say("grown by", (_resident() - before) >> 20, "MiB")

    async def abort(self) -> None:
        self.request.abortConnection()
        await Deferred()

    async def close(self) -> None:
        """End the connection while running, and then wait for something else."""
        self.wfile.write_eof()
        await deferLater(reactor, 0.01)
        self.request.loseConnection()
        await Deferred()


class AsyncImpatient(AsyncStreamRequestHandler):
    timeout = 0.02

    async def handle(self) -> None:
        if await self.rfile.readline() == b"write\n":
            while True:
                await self.wfile.write(bytes(1 << 16))


class AsyncGenerous(AsyncStreamRequestHandler):
    """Leaves more to be sent than the kernel holds, and is done."""

    def __init__(self, *arguments: Any, timeout: float) -> None:
        super().__init__(*arguments)
        self.timeout = timeout  # type: ignore[misc]

    async def handle(self) -> None:
        await self.rfile.readline()
        for _ in range(32):
            self.wfile.write(bytes(1 << 20))


class AsyncLeaving(AsyncStreamRequestHandler):
    """Leaves a task behind that writes, when it has ended."""

    async def handle(self) -> None:
        Deferred.fromCoroutine(self._write())

    async def _write(self) -> None:
        await deferLater(reactor, 0)
        try:
            self.wfile.write(b"too late")
        except OSError as error:
            say("left:", type(error).__name__)


class AsyncLazy(AsyncStreamRequestHandler):
    """Reads nothing until its client has to wait, then everything."""

    async def handle(self) -> None:
        before = _resident()
        await _stops_reading(self.request)
        say("grown by", (_resident() - before) >> 20, "MiB")
        count = 0
        while data := await self.rfile.read(1 << 16):
            count += len(data)
        await self.wfile.write(str(count).encode())


async def _stops_reading(transport: Any) -> None:
    while transport in reactor.getReaders():
        await deferLater(reactor, 0.002)


def _resident() -> int:
    """Bytes of this process's memory."""
    with open("/proc/self/statm") as statm:
        return int(statm.read().split()[1]) * 4096


# Asynchronous handlers of datagrams.


class AsyncPacket(AsyncDatagramRequestHandler):
    """Answers a packet; one that is empty not at all, and ``wait`` when the next one comes."""

    waiting: ClassVar[list[Deferred[None]]] = []

    async def handle(self) -> None:
        if self.packet == b"raise":
            raise KeyError("in handle")
        if self.packet == b"wait":
            waits: Deferred[None] = Deferred()
            self.waiting.append(waits)
            # Later: it is listed once it waits.
            reactor.callLater(0, say, "waiting")
            await waits
        for waits in self.waiting:
            self.waiting.remove(waits)
            waits.callback(None)
        await self.wfile.write(await self.rfile.readline())
        await self.wfile.writelines([await self.rfile.read()])


class AsyncDelayed(AsyncDatagramRequestHandler):
    """Answers once its service takes no more."""

    async def handle(self) -> None:
        say("delayed")
        await _stops_reading(self.socket)
        self.wfile.write(self.packet)


# TLS.


class TlsFacts(Protocol):
    """Tells what its transport knows."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        certificate = transport.getPeerCertificate()
        facts = {
            "secure": ISSLTransport.providedBy(transport),
            "alpn": transport.negotiatedProtocol,
            "version": transport.getHandle().get_protocol_version_name(),
            "client": None if certificate is None else certificate.get_subject().organizationName,
            "peer": str(transport.getPeer()),
            "host": str(transport.getHost()),
        }
        transport.write(json.dumps(facts, default=bytes.decode).encode())
        transport.loseConnection()


@implementer(IHandshakeListener)
class Listening(Protocol):
    """Says what is called, in which order."""

    def connectionMade(self) -> None:
        say("connectionMade")

    def handshakeCompleted(self) -> None:
        say("handshakeCompleted")

    def dataReceived(self, data: bytes) -> None:
        say("dataReceived", data)

    def connectionLost(self, reason: Failure = connectionDone) -> None:
        say("connectionLost", reason.type.__name__ if reason.type else None)


class Stubborn(Protocol):
    """Reads nothing, and hangs up when it is connected."""

    def connectionMade(self) -> None:
        transport: Any = self.transport
        transport.pauseProducing()
        transport.write(b"go away")
        transport.loseConnection()


class AsyncUpper(AsyncStreamRequestHandler):
    """Answers when the client has finished."""

    async def handle(self) -> None:
        await self.wfile.write((await self.rfile.read()).upper())


class AsyncUpgrade(AsyncStreamRequestHandler):
    """Starts TLS when it is told to, and sends back what it reads."""

    async def handle(self) -> None:
        say("told", await self.rfile.readline())
        try:
            await self.start_tls(b"go ahead\n")
        except (LookupError, ConnectionError) as error:
            say("raised", type(error).__name__, error)
            raise
        say("secure", ISSLTransport.providedBy(self.request), self.request is self.connection)
        async for line in self.rfile:
            await self.wfile.write(line)


def secure(request: Any, client_address: Any) -> bool:
    """Admit by TLS only."""
    return ISSLTransport.providedBy(request) is True


async def slow_refusal(request: Any, client_address: Any) -> bool:
    await deferLater(reactor, 0.05)
    return False
