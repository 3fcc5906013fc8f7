"""A destination that gets each record as a datagram: the sockets of journald and syslog."""

from __future__ import annotations

import errno
import fcntl
import os
import socket
import struct
from array import array
from collections.abc import Callable
from typing import Final

from netd.log.entry import Entry, entry_of
from netd.log.file import NotWritten

PATIENCE: Final = 1.0
"""Seconds to wait for room in a full socket. Meanwhile the log's own queue fills."""

_TIMEVAL: Final = struct.Struct("@ll")
"""The value of SO_SNDTIMEO (socket(7)): seconds and microseconds."""

_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
"""Seals that make a file in memory immutable (memfd_create(2)), as journald's protocol asks."""

Encode = Callable[[Entry], list[bytes]]
"""Returns the datagrams of one record."""


class DatagramDestination:
    """Writes lines of ``JsonLines`` to the datagram socket at *path*, encoded by *encode*.

    Each datagram is sent to the path, not over a connection: a syslog that was restarted, and has
    bound the path again, gets the next one. *patience* is in seconds.
    """

    def __init__(self, path: str, encode: Encode, patience: float = PATIENCE) -> None:
        """Check that a process reads from *path*. Raises OSError, with the path."""
        self._path = path
        self._encode = encode
        self._socket = _datagram_socket()
        # The kernel waits: poll(2) reports room for any socket that is not connected.
        whole, fraction = divmod(patience, 1)
        waits = _TIMEVAL.pack(int(whole), int(fraction * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, waits)
        try:
            # By a socket of its own: a connected one would not follow a restart of the reader.
            with _datagram_socket() as trial:
                trial.connect(path)
        except OSError as error:
            self._socket.close()
            raise OSError(error.errno, error.strerror, path) from error

    def write(self, text: str) -> None:
        """See ``Destination``. After a line that cannot be sent, the rest is not tried: every line
        would wait for *patience* again."""
        lines = [line for line in text.split("\n") if line]
        for number, line in enumerate(lines):
            try:
                for datagram in self._encode(entry_of(line)):
                    self._send(datagram)
            except OSError as error:
                full = isinstance(error, BlockingIOError)
                why = "log too slow" if full else error.strerror or str(error)
                raise NotWritten(len(lines) - number, why) from error

    def reopen(self) -> None:
        """See ``Destination``: nothing to do."""

    def close(self) -> None:
        """See ``Destination``."""
        self._socket.close()

    def _send(self, datagram: bytes) -> None:
        try:
            self._socket.sendto(datagram, self._path)
        except OSError as error:
            if error.errno != errno.EMSGSIZE:
                raise
            self._send_by_file(datagram)

    def _send_by_file(self, datagram: bytes) -> None:
        """Send a file in memory instead: journald's protocol for what exceeds a datagram."""
        descriptor = os.memfd_create("netd log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(descriptor, "wb") as file:
            file.write(datagram)
            file.flush()
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            passed = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))
            self._socket.sendmsg([b""], [passed], 0, self._path)


def _datagram_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
