"""A log that takes each record as a datagram: the journal's and syslog's own sockets."""

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
"""Seconds that a socket which is full has to take a datagram; meanwhile the log's queue fills."""

_TIMEVAL: Final = struct.Struct("@ll")
"""Of SO_SNDTIMEO (socket(7)): seconds and microseconds."""

_SEALS: Final = fcntl.F_SEAL_SHRINK | fcntl.F_SEAL_GROW | fcntl.F_SEAL_WRITE | fcntl.F_SEAL_SEAL
"""With which nobody can change a file in memory any more (memfd_create(2))."""

Encode = Callable[[Entry], list[bytes]]
"""Says which datagrams a record is."""


class DatagramDestination:
    """The datagram socket at *path*, which gets what *encode* makes of each record.

    Each is sent to the path and not by a connection, so whoever binds it again gets the next. The
    lines that are written are those of ``JsonLines``.
    """

    def __init__(self, path: str, encode: Encode, patience: float = PATIENCE) -> None:
        """See whether somebody listens at *path*. Raises OSError, with the path."""
        self._path = path
        self._encode = encode
        self._socket = _datagram_socket()
        # The kernel does the waiting: to poll(2), a socket that is not connected always has room.
        whole, fraction = divmod(patience, 1)
        waits = _TIMEVAL.pack(int(whole), int(fraction * 1e6))
        self._socket.setsockopt(socket.SOL_SOCKET, socket.SO_SNDTIMEO, waits)
        try:
            with _datagram_socket() as asking:
                asking.connect(path)
        except OSError as error:
            self._socket.close()
            raise OSError(error.errno, error.strerror, path) from error

    def write(self, text: str) -> None:
        """See ``Destination``. After one line that cannot be sent, the rest is not tried."""
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
        """Pass a file in memory instead, as the journal has it for what is too long to send."""
        descriptor = os.memfd_create("netd log", os.MFD_CLOEXEC | os.MFD_ALLOW_SEALING)
        with open(descriptor, "wb") as file:
            file.write(datagram)
            file.flush()
            fcntl.fcntl(descriptor, fcntl.F_ADD_SEALS, _SEALS)
            passed = (socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [descriptor]))
            self._socket.sendmsg([b""], [passed], 0, self._path)


def _datagram_socket() -> socket.socket:
    return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
