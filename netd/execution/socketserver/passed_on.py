"""Requests that a server class kept, and passes on to netd's pool from a thread of its own."""

from __future__ import annotations

import os
from collections import deque
from contextlib import suppress
from typing import Final

from netd.execution.request import Request
from netd.model.address import Transport

_FLAGS: Final = os.EFD_SEMAPHORE | os.EFD_NONBLOCK | os.EFD_CLOEXEC


class PassedOnRequests:
    """A source (``netd.execution.interfaces.Source``) that is filled from within the process.

    ``put`` is for any thread. Holds no more than the threads have accepted from the listeners.
    """

    may_block = False

    def __init__(self, transport: Transport) -> None:
        self.transport = transport
        self._event = os.eventfd(0, _FLAGS)
        self._requests: deque[Request] = deque()

    def __len__(self) -> int:
        return len(self._requests)

    def fileno(self) -> int:
        """The descriptor to watch: it counts what is here."""
        return self._event

    def put(self, request: Request) -> None:
        """Pass a request on. The thread that serves it closes it."""
        self._requests.append(request)
        os.eventfd_write(self._event, 1)

    def next_request(self) -> Request:
        """Remove and return the oldest request. Raises BlockingIOError when there is none."""
        os.eventfd_read(self._event)
        return self._requests.popleft()

    def close(self) -> None:
        """Give the descriptor back."""
        with suppress(OSError):
            os.close(self._event)
