"""``netd.log.datagram``: records to a socket that may be full, or gone, or new."""

from __future__ import annotations

import fcntl
import os
import re
import socket
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, closing, suppress
from pathlib import Path

import pytest

from netd.log.datagram import DatagramDestination
from netd.log.entry import Entry
from netd.log.file import NotWritten
from netd.log.format import JsonLines
from netd.log.writer import DaemonLog

PATIENT = 30.0
"""Seconds; so long that no test waits for it to end."""


def lines(*texts: str) -> str:
    """Lines that say *texts*."""
    return "".join(JsonLines().said(0.0, "s", "info", text) for text in texts)


def plain(entry: Entry) -> list[bytes]:
    """A record as a datagram, a word each."""
    return [word.encode() for word in entry.message.split(" ")]


class Receiver:
    """The reader of the log: a bound socket that a test reads from."""

    def __init__(self, path: Path) -> None:
        self.path = str(path)
        self.socket = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
        self.socket.bind(self.path)
        self.socket.settimeout(PATIENT)

    def read(self, count: int) -> list[str]:
        return [self.socket.recv(1 << 20).decode() for _ in range(count)]

    def read_what_there_is(self) -> list[str]:
        self.socket.setblocking(False)
        found = []
        with suppress(BlockingIOError):
            while True:
                found += self.read(1)
        self.socket.settimeout(PATIENT)
        return found

    def go(self) -> None:
        self.socket.close()
        os.unlink(self.path)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "log"


@pytest.fixture
def receiver(path: Path) -> Iterator[Receiver]:
    receiver = Receiver(path)
    yield receiver
    receiver.socket.close()


Open = Callable[..., DatagramDestination]


@pytest.fixture
def opened(path: Path) -> Iterator[Open]:
    """Opens the log at the path, and closes it in the end."""
    with ExitStack() as stack:

        def open_log(patience: float = PATIENT) -> DatagramDestination:
            destination = DatagramDestination(str(path), plain, patience)
            return stack.enter_context(closing(destination))

        yield open_log


class TestOpening:
    def test_nobody(self, path: Path) -> None:
        """A missing socket is an error on opening, with the path."""
        with pytest.raises(FileNotFoundError) as caught:
            DatagramDestination(str(path), plain)
        assert caught.value.filename == str(path)

    def test_nobody_listens(self, path: Path, receiver: Receiver) -> None:
        """A socket file without a process behind it is an error."""
        receiver.socket.close()
        with pytest.raises(ConnectionRefusedError):
            DatagramDestination(str(path), plain)

    def test_another_kind(self, path: Path) -> None:
        """A stream socket takes no datagrams."""
        with socket.socket(socket.AF_UNIX) as stream:
            stream.bind(str(path))
            stream.listen()
            with pytest.raises(OSError, match="wrong type"):
                DatagramDestination(str(path), plain)

    def test_says_nothing(self, receiver: Receiver, opened: Open) -> None:
        """The check for a reader sends nothing."""
        opened()
        assert receiver.read_what_there_is() == []

    def test_not_inherited(self, receiver: Receiver, opened: Open) -> None:
        """No worker gets the daemon's socket."""
        lowest_free = os.dup(0)
        os.close(lowest_free)
        opened()
        assert not os.get_inheritable(lowest_free)


class TestWriting:
    def test_records(self, receiver: Receiver, opened: Open) -> None:
        """Each line is its datagrams, in order."""
        destination = opened()
        destination.write(lines("one", "two three"))
        destination.reopen()
        destination.write(lines("four"))
        assert receiver.read(4) == ["one", "two", "three", "four"]

    def test_restarted(self, path: Path, receiver: Receiver, opened: Open) -> None:
        """A log that was started again at the same path gets the next record."""
        destination = opened()
        destination.write(lines("one"))
        receiver.go()
        new = Receiver(path)
        destination.write(lines("two"))
        assert new.read(1) == ["two"]
        new.socket.close()

    def test_stopped(self, path: Path, receiver: Receiver, opened: Open) -> None:
        """While no process reads, all lines are reported missing; later ones are sent."""
        destination = opened()
        receiver.go()
        with pytest.raises(NotWritten) as caught:
            destination.write(lines("one", "two"))
        assert (caught.value.lines, caught.value.why) == (2, "No such file or directory")
        new = Receiver(path)
        destination.write(lines("three"))
        assert new.read(1) == ["three"]
        new.socket.close()

    def test_full(self, receiver: Receiver, opened: Open) -> None:
        """A reader that does not read is waited for once, and not again for every line."""
        destination = opened(0.05)
        texts = [str(number) for number in range(5000)]
        started = time.monotonic()
        with pytest.raises(NotWritten) as caught:
            destination.write(lines(*texts))
        assert 0.05 <= time.monotonic() - started < 10
        assert caught.value.why == "log too slow"
        sent = receiver.read_what_there_is()
        assert sent == texts[: len(texts) - caught.value.lines]
        destination.write(lines("again"))
        assert receiver.read(1) == ["again"]

    def test_waits_for_a_slow_reader(self, receiver: Receiver, opened: Open) -> None:
        """A slow reader gets everything."""
        log = DaemonLog(opened(), "json")
        log.start()
        texts = [str(number) for number in range(2000)]
        log.write(lines(*texts))
        assert receiver.read(2000) == texts
        log.close()

    def test_too_long_for_a_datagram(self, receiver: Receiver, opened: Open) -> None:
        """A sealed file is sent instead."""
        destination = opened()
        text = "x" * (1 << 20)
        destination.write(lines(text, "next"))
        data, descriptors, _, _ = socket.recv_fds(receiver.socket, 100, 10)
        assert data == b""
        (descriptor,) = descriptors
        seals = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
        assert fcntl.fcntl(descriptor, fcntl.F_GET_SEALS) == seals
        assert os.pread(descriptor, 2 << 20, 0).decode() == text
        os.close(descriptor)
        assert receiver.read(1) == ["next"]


class TestMissing:
    def test_notice_once_a_reader_is_back(self, path: Path, receiver: Receiver) -> None:
        """The next reader gets one notice of how many records are missing, and why."""
        destination = DatagramDestination(str(path), lambda entry: [entry.message.encode()])
        log = DaemonLog(destination, "json")
        receiver.go()
        log.write(lines("one"))
        log.write(lines("two"))
        new = Receiver(path)
        log.start()
        log.write(lines("three"))
        log.close()
        notice, *following = new.read_what_there_is()
        assert re.fullmatch("2 log lines dropped: No such file or directory", notice)
        assert following == ["three"]
        new.socket.close()
