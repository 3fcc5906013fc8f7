"""The handlers that netd and the peers from ``socketserver`` serve, the same class for both."""

from __future__ import annotations

import itertools
import random
import socketserver
import time
from typing import ClassVar, Final

MUCH: Final = 1 << 20
"""Bytes of an answer that is about the bytes."""

LONGEST: Final = 4096
"""Bytes read at once; a line of the load tool has six."""


class Answer(socketserver.BaseRequestHandler):
    """A line in, work, the same line out. This one does no work: what is left is the server."""

    def handle(self) -> None:
        """Answer one line."""
        line = self.request.recv(LONGEST)
        self.work()
        self.request.sendall(line)

    def work(self) -> None:
        """What a handler is there for."""


class Wait(Answer):
    """A handler that waits, as for a database or another service."""

    seconds: ClassVar[float]

    def work(self) -> None:
        """Wait without using the processor."""
        time.sleep(self.seconds)


class Wait1(Wait):
    """Waits 1 ms."""

    seconds = 0.001


class Wait2(Wait):
    """Waits 2 ms."""

    seconds = 0.002


class Wait5(Wait):
    """Waits 5 ms."""

    seconds = 0.005


class Wait20(Wait):
    """Waits 20 ms."""

    seconds = 0.020


class Wait100(Wait):
    """Waits 100 ms."""

    seconds = 0.100


class Random10(Answer):
    """Waits 10 ms on average, exponentially distributed: many short waits, some long ones."""

    def work(self) -> None:
        """Wait for a random time."""
        time.sleep(random.expovariate(1 / 0.010))


class OneInTen50(Answer):
    """Answers at once nine times, and waits 50 ms the tenth time."""

    # Not random: every round then has exactly the same mix. next() of it is atomic.
    turns = itertools.count(1)

    def work(self) -> None:
        """Wait if it is the tenth time."""
        if next(self.turns) % 10 == 0:
            time.sleep(0.050)


class Burn2(Answer):
    """Computes for 2 ms of its thread's processor time, however long that takes."""

    def work(self) -> None:
        """Use the processor."""
        end = time.thread_time() + 0.002
        while time.thread_time() < end:
            pass


class AnswerByFile(socketserver.StreamRequestHandler):
    """A line in, the same line out, by the file objects that most handlers use."""

    def handle(self) -> None:
        """Answer one line."""
        self.wfile.write(self.rfile.readline())


class Much(socketserver.StreamRequestHandler):
    """Much out for every line in."""

    piece = bytes(1 << 16)

    def handle(self) -> None:
        """Answer every line."""
        for _ in self.rfile:
            for _ in range(MUCH // len(self.piece)):
                self.wfile.write(self.piece)


class Echo(socketserver.StreamRequestHandler):
    """Line by line, until the client closes: a long-lived connection."""

    def handle(self) -> None:
        """Answer every line."""
        for line in self.rfile:
            self.wfile.write(line)


class Datagram(socketserver.BaseRequestHandler):
    """A datagram in, the same datagram out."""

    def handle(self) -> None:
        """Answer one datagram."""
        data, endpoint = self.request
        endpoint.sendto(data, self.client_address)
