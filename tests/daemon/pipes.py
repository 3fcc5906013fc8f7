"""A pipe whose reader reads when a test tells it to."""

from __future__ import annotations

import fcntl
import os
import threading


class Pipe:
    """A destination with a reader, who reads when he is told to."""

    def __init__(self) -> None:
        self.read_end, self.write_end = os.pipe()
        fcntl.fcntl(self.write_end, fcntl.F_SETPIPE_SZ, 4096)
        self._read: list[bytes] = []
        self._reader = threading.Thread(target=self._read_all, daemon=True)

    def _read_all(self) -> None:
        while data := os.read(self.read_end, 1 << 16):
            self._read.append(data)

    def read_from_now_on(self) -> None:
        self._reader.start()

    def text(self) -> str:
        """All that was written; the writer has finished."""
        os.close(self.write_end)
        self._reader.join()
        os.close(self.read_end)
        return b"".join(self._read).decode()
