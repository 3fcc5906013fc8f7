"""A reactor and processes that do nothing by themselves; a test makes things happen."""

from __future__ import annotations

import os
import select
import socket
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, field
from functools import partial
from typing import Any

from twisted.internet.interfaces import IPushProducer, IReadDescriptor, IWriteDescriptor
from twisted.internet.protocol import Factory, Protocol
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import LogEvent, formatEvent

from netd.ipc.worker import (
    LENGTH,
    Order,
    Report,
    decode_order,
    decode_report,
    encode_order,
    encode_report,
)


def framed(message: bytes) -> bytes:
    """A message of the channel, with its length before it."""
    return len(message).to_bytes(LENGTH) + message


def _messages(data: bytes) -> list[bytes]:
    """The messages in what was written to a channel, complete ones only."""
    found = []
    while data:
        length = int.from_bytes(data[:LENGTH])
        found.append(data[LENGTH : LENGTH + length])
        assert len(found[-1]) == length
        data = data[LENGTH + length :]
    return found


def texts(events: Sequence[LogEvent]) -> list[str]:
    """Log events as text, with their level: ``error: worker time …``."""
    return [f"{event['log_level'].name}: {formatEvent(event)}" for event in events]


class MemoryTransport(StringTransport):
    """A transport in memory, with a buffer as bounded as a real one's.

    It pauses a streaming producer whenever more than *room* bytes are waiting, which
    ``twisted.internet.abstract.FileDescriptor`` does and StringTransport does not.
    """

    def __init__(self, room: int = 1 << 16) -> None:
        super().__init__()
        self._room = room

    def write(self, data: bytes) -> None:
        """Keep *data*, as a real transport does until the other end reads."""
        super().write(data)
        if self.streaming and len(self.value()) > self._room:
            self._registered().pauseProducing()

    def read_all(self) -> bytes:
        """Be the other end: read everything, which makes room."""
        data: bytes = self.value()
        self.clear()
        if self.streaming:
            self._registered().resumeProducing()
        return data

    def orders(self) -> list[Order]:
        """Read as a worker does."""
        return [decode_order(message) for message in _messages(self.read_all())]

    def reports(self) -> list[Report]:
        """Read as the daemon does."""
        return [decode_report(message) for message in _messages(self.read_all())]

    def _registered(self) -> IPushProducer:
        assert self.producer is not None
        producer: IPushProducer = self.producer
        return producer


@dataclass
class Adopted:
    """A connection that was handed to the reactor."""

    socket: socket.socket
    """A copy, as the real reactor makes one."""
    protocol: Any
    transport: MemoryTransport

    def says(self, *reports: Report) -> None:
        """Be the other end: report."""
        self.writes(b"".join(framed(encode_report(report)) for report in reports))

    def orders(self, *orders: Order) -> None:
        """Be the other end: order."""
        self.writes(b"".join(framed(encode_order(order)) for order in orders))

    def writes(self, data: bytes) -> None:
        """Be the other end: write bytes, whatever they are, as far as they are read."""
        if self.transport.producerState == "producing":
            self.protocol.dataReceived(data)


class FakeReactor(Clock):
    """A clock that adopts connections, and puts each on a transport in memory."""

    def __init__(self) -> None:
        super().__init__()
        self.adopted: list[Adopted] = []
        self.readers: list[IReadDescriptor] = []
        self.writers: list[IWriteDescriptor] = []
        self.when_running: list[Callable[[], object]] = []
        self.is_stopped = False

    def callWhenRunning(self, call: Callable[..., object], *args: object) -> None:
        """See IReactorCore; a test makes the calls."""
        self.when_running.append(partial(call, *args))

    def stop(self) -> None:
        """See IReactorCore; a test does the rest."""
        self.is_stopped = True

    def adoptStreamConnection(
        self, descriptor: int, family: socket.AddressFamily, factory: Factory
    ) -> None:
        """See IReactorSocket: *descriptor* is copied; the caller closes it."""
        copy = socket.socket(family, socket.SOCK_STREAM, fileno=os.dup(descriptor))
        protocol = factory.buildProtocol(None)
        assert isinstance(protocol, Protocol)
        transport = MemoryTransport()
        protocol.makeConnection(transport)
        self.adopted.append(Adopted(copy, protocol, transport))

    def callFromThread(self, call: Callable[..., Any], *args: Any) -> None:
        """See IReactorFromThreads; the call is made when the clock advances."""
        self.callLater(0, call, *args)

    def addReader(self, reader: IReadDescriptor) -> None:
        if reader not in self.readers:
            self.readers.append(reader)

    def removeReader(self, reader: IReadDescriptor) -> None:
        if reader in self.readers:
            self.readers.remove(reader)

    def addWriter(self, writer: IWriteDescriptor) -> None:
        if writer not in self.writers:
            self.writers.append(writer)

    def removeWriter(self, writer: IWriteDescriptor) -> None:
        if writer in self.writers:
            self.writers.remove(writer)

    def read(self) -> int:
        """Call ``doRead`` of the readers that are readable; return their number."""
        ready = [one for one in self.readers if select.select([one.fileno()], [], [], 0)[0]]
        for reader in ready:
            reader.doRead()
        return len(ready)

    def close(self) -> None:
        """Close the copies."""
        for adopted in self.adopted:
            adopted.socket.close()


@dataclass
class FakeProcess:
    """A process, for the worker that started it."""

    pid: int
    name: str
    descriptors: dict[int, int]
    channel: socket.socket
    """A copy of the worker's end."""
    wrote: Callable[[str], None]
    ended: Callable[[str], None]
    killed: int = 0

    def kill(self) -> None:
        self.killed += 1


@dataclass
class FakeSpawner:
    """Starts nothing, and records what was to be started."""

    processes: list[FakeProcess] = field(default_factory=list)
    failures: list[OSError] = field(default_factory=list)
    """Raised by the next calls, one each."""

    def spawn(
        self,
        name: str,
        descriptors: Mapping[int, int],
        wrote: Callable[[str], None],
        ended: Callable[[str], None],
    ) -> FakeProcess:
        if self.failures:
            raise self.failures.pop(0)
        channel = socket.socket(fileno=os.dup(descriptors[3]))
        pid = 101 + len(self.processes)
        process = FakeProcess(pid, name, dict(descriptors), channel, wrote, ended)
        self.processes.append(process)
        return process

    def close(self) -> None:
        """Close the copies."""
        for process in self.processes:
            process.channel.close()
