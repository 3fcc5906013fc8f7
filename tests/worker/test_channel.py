"""``netd.worker.channel`` and ``netd.worker.log_stream``: before the reactor runs and after."""

from __future__ import annotations

import json
import socket
import threading
from collections.abc import Iterator

import pytest

from netd.ipc.worker import (
    LONGEST_ORDER,
    Drain,
    InvalidMessage,
    LogLines,
    Order,
    Ready,
    Report,
    ServiceStart,
    StartFailed,
    StartWorker,
    Stop,
    encode_order,
)
from netd.model.address import InetAddress, Transport
from netd.model.log import AS_USUAL, WorkerLog
from netd.model.service import Access, Reference, Runs, Service
from netd.worker.channel import DaemonChannel, receive_start
from netd.worker.log_stream import BATCH, LOG_DELAY, LogStream
from tests.daemon.fakes import Adopted, FakeReactor, MemoryTransport, framed


def start(*, deny: int = 0) -> StartWorker:
    """A first order; with very many rules, one that is longer than a socket's buffer."""
    access = Access(deny=tuple(f"10.{n >> 16 & 255}.{n >> 8 & 255}.{n & 255}" for n in range(deny)))
    addresses = (InetAddress(Transport.TCP, 10037),)
    runs = Runs("handler", Reference("m", "H"))
    service = Service("time", addresses, runs, "time", access=access)
    return StartWorker("time", (ServiceStart(service, (5,), 4),), ("/srv/handlers",), 30.0)


Ends = tuple[socket.socket, socket.socket]


@pytest.fixture
def ends() -> Iterator[Ends]:
    daemon, worker = socket.socketpair()
    with daemon, worker:
        yield daemon, worker


class TestReceiveStart:
    def test_start(self, ends: Ends) -> None:
        """The first order is read, and nothing of the next one."""
        daemon, worker = ends
        daemon.sendall(framed(encode_order(start())) + framed(encode_order(Drain())))
        assert receive_start(worker) == start()
        assert worker.recv(1000) == framed(encode_order(Drain()))

    def test_byte_by_byte(self, ends: Ends) -> None:
        """The order may arrive in any pieces."""
        daemon, worker = ends
        message = framed(encode_order(start()))
        sender = threading.Thread(target=lambda: [daemon.send(bytes([byte])) for byte in message])
        sender.start()
        assert receive_start(worker) == start()
        sender.join()

    def test_very_long(self, ends: Ends) -> None:
        """A hundred thousand rules are read, though no socket buffer holds them."""
        daemon, worker = ends
        message = framed(encode_order(start(deny=100_000)))
        sender = threading.Thread(target=daemon.sendall, args=(message,))
        sender.start()
        assert receive_start(worker) == start(deny=100_000)
        sender.join()

    @pytest.mark.parametrize("length", [0, 3, 4, 50])
    def test_the_daemon_has_gone(self, ends: Ends, length: int) -> None:
        """A daemon that ends before or within the order raises EOFError."""
        daemon, worker = ends
        daemon.sendall(framed(encode_order(start()))[:length])
        daemon.close()
        with pytest.raises(EOFError, match="the daemon has gone"):
            receive_start(worker)

    @pytest.mark.parametrize("order", [Drain(), Stop()])
    def test_another_order_first(self, ends: Ends, order: Order) -> None:
        """Any other first order is refused."""
        daemon, worker = ends
        daemon.sendall(framed(encode_order(order)))
        with pytest.raises(InvalidMessage, match=type(order).__name__):
            receive_start(worker)


class Scene:
    """A channel on a transport in memory, and a log that goes up it."""

    def __init__(self, log: WorkerLog = AS_USUAL) -> None:
        self.reactor = FakeReactor()
        self.obeyed: list[Order] = []
        self.lost: list[str] = []
        self.channel = DaemonChannel(self.obeyed.append, lambda: self.lost.append("lost"))
        self.transport = MemoryTransport()
        self.channel.makeConnection(self.transport)
        self.daemon = Adopted(socket.socket(), self.channel, self.transport)
        self.daemon.socket.close()
        self.stream = LogStream(self.reactor, log)

    def log(self, *texts: str) -> None:
        for text in texts:
            self.stream.log_buffer.say("time", "info", text)

    def logged(self) -> list[str]:
        """What has arrived of the log, and makes room for more."""
        reports = self.transport.reports()
        text = "".join(report.text for report in reports if isinstance(report, LogLines))
        return [line.partition("] ")[2] for line in text.splitlines()]


@pytest.fixture
def scene() -> Scene:
    return Scene()


class TestDaemonChannel:
    def test_orders(self, scene: Scene) -> None:
        """Orders are passed on as they arrive, several together or one in pieces."""
        scene.daemon.orders(Drain(), Stop())
        for byte in framed(encode_order(Drain())):
            scene.daemon.writes(bytes([byte]))
        assert scene.obeyed == [Drain(), Stop(), Drain()]

    def test_reports(self, scene: Scene) -> None:
        """Reports arrive as they were made, in their order."""
        reports: list[Report] = [Ready(), StartFailed("time", "no \u2028 \udcff"), LogLines("x\n")]
        for report in reports:
            scene.channel.report(report)
        assert scene.transport.reports() == reports

    def test_lost(self, scene: Scene) -> None:
        """The end of the channel is passed on once."""
        scene.channel.connectionLost()
        assert scene.lost == ["lost"]

    def test_too_long(self, scene: Scene) -> None:
        """An order that no daemon sends ends the channel, and with it the worker."""
        scene.daemon.writes((LONGEST_ORDER + 1).to_bytes(4))
        assert scene.transport.disconnecting


class TestLogStream:
    def test_a_batch(self, scene: Scene) -> None:
        """Records within a tenth of a second are sent in one message."""
        scene.stream.connect(scene.channel)
        scene.log("one")
        scene.reactor.advance(LOG_DELAY / 2)
        scene.log("two")
        assert scene.transport.reports() == []
        scene.reactor.advance(LOG_DELAY / 2)
        [lines] = scene.transport.reports()
        assert isinstance(lines, LogLines)
        assert lines.text.count("\n") == 2

    def test_as_the_daemon_asks(self) -> None:
        """Lines have the form and the least level of the first order."""
        scene = Scene(WorkerLog("json", "warn"))
        scene.stream.connect(scene.channel)
        scene.log("one")
        scene.stream.log_buffer.say("time", "error", "two")
        scene.reactor.pump([0, LOG_DELAY])
        [lines] = scene.transport.reports()
        assert isinstance(lines, LogLines)
        assert [json.loads(line)["message"] for line in lines.text.splitlines()] == ["two"]

    def test_again_and_again(self, scene: Scene) -> None:
        """The next batch is sent without a further call, however long the log was silent."""
        scene.stream.connect(scene.channel)
        for number in range(5):
            scene.log(str(number))
            scene.reactor.pump([0, LOG_DELAY])
            assert scene.logged() == [str(number)]
            scene.reactor.advance(60 * number)
        assert scene.reactor.getDelayedCalls() == []

    def test_before_it_is_connected(self, scene: Scene) -> None:
        """Records of the imports are sent once the channel is connected."""
        scene.log("early")
        scene.reactor.pump([0, LOG_DELAY, LOG_DELAY])
        scene.stream.connect(scene.channel)
        scene.reactor.advance(LOG_DELAY)
        assert scene.logged() == ["early"]

    def test_batches_are_bounded(self, scene: Scene) -> None:
        """A message is about as long as a batch, however many records wait."""
        scene.log(*["x" * 30_000] * 100)
        scene.stream.connect(scene.channel)
        scene.stream.disconnect()
        reports = scene.transport.reports()
        lengths = [len(report.text) for report in reports if isinstance(report, LogLines)]
        assert len(lengths) >= 100 * 30_000 / (BATCH + 32_000)
        assert max(lengths) <= BATCH + 32_000

    def test_a_daemon_that_does_not_read(self, scene: Scene) -> None:
        """A full channel gets nothing more; records wait in the log buffer."""
        scene.stream.connect(scene.channel)
        scene.log(*["x" * 30_000] * 100)
        scene.reactor.pump([0, LOG_DELAY, LOG_DELAY])
        assert len(scene.transport.value()) <= BATCH + 64_000
        scene.log("last")
        logged: list[str] = []
        while "last" not in logged:
            before = len(logged)
            logged += scene.logged()
            assert len(logged) > before
            scene.reactor.pump([0, LOG_DELAY])
        assert logged == ["x" * 30_000] * 100 + ["last"]

    def test_flood(self, scene: Scene) -> None:
        """The log says how many records the buffer dropped, at the place of the gap."""
        scene.stream.connect(scene.channel)
        scene.log(*["x"] * 25_000)
        scene.reactor.pump([0, LOG_DELAY])
        logged: list[str] = []
        while more := scene.logged():
            logged += more
            scene.reactor.pump([0, LOG_DELAY])
        assert "5000 log records dropped: log too slow" in logged
        assert logged.count("x") == 20_000

    def test_disconnect(self, scene: Scene) -> None:
        """disconnect() sends the rest, however full the channel is."""
        scene.stream.connect(scene.channel)
        scene.log(*["x" * 30_000] * 50)
        scene.reactor.pump([0, LOG_DELAY])
        scene.log("last")
        scene.stream.disconnect()
        assert scene.transport.producer is None
        assert scene.logged() == ["x" * 30_000] * 50 + ["last"]

    def test_after_that(self, scene: Scene) -> None:
        """Later records, and a second disconnect(), do nothing."""
        scene.stream.connect(scene.channel)
        scene.stream.disconnect()
        scene.log("late")
        scene.reactor.pump([0, LOG_DELAY])
        scene.stream.disconnect()
        assert scene.transport.reports() == []

    def test_the_daemon_has_gone(self, scene: Scene) -> None:
        """Without a daemon nothing is written."""
        scene.stream.connect(scene.channel)
        scene.stream.stopProducing()
        scene.log("x")
        scene.reactor.pump([0, LOG_DELAY])
        scene.stream.disconnect()
        assert scene.transport.value() == b""

    def test_from_any_thread(self, scene: Scene) -> None:
        """A thread that logs wakes the reactor, which sends."""
        scene.stream.connect(scene.channel)
        scene.reactor.advance(LOG_DELAY)
        thread = threading.Thread(target=scene.log, args=("x",))
        thread.start()
        thread.join()
        [call] = scene.reactor.getDelayedCalls()
        assert call.getTime() == scene.reactor.seconds()
        scene.reactor.pump([0, LOG_DELAY])
        assert scene.logged() == ["x"]
