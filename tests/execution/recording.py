"""What becomes of requests, kept for a test to look at."""

from __future__ import annotations

import socket

from netd.log.buffer import LogBuffer
from netd.log.record import AccessRecord, LogRecord


class Recording(LogBuffer):
    """A journal that keeps its records as they are."""

    def __init__(self) -> None:
        super().__init__(lambda: None)
        self.records: list[AccessRecord | LogRecord] = []

    def _keep(self, record: AccessRecord | LogRecord) -> bool:
        self.records.append(record)
        return True

    @property
    def verdicts(self) -> list[str]:
        """What has become of the requests that have come to their end."""
        return [record.verdict for record in self.records if isinstance(record, AccessRecord)]

    @property
    def texts(self) -> list[str]:
        """What was said, after its level."""
        said = [record for record in self.records if isinstance(record, LogRecord)]
        return [f"{record.level}: {record.text}" for record in said]


def read_all(client: socket.socket) -> bytes:
    """What a client is sent until its end."""
    parts = []
    try:
        while part := client.recv(4096):
            parts.append(part)
    except ConnectionResetError:
        pass  # it was closed with unread bytes
    return b"".join(parts)
