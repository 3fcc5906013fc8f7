"""A TLS connection for a program, which knows of no TLS: what goes to and fro is carried here.

The program has one end of a plain socket pair. Each direction ends by itself: when the client has
ended its stream, so has the program's input, and the program may still answer.
"""

from __future__ import annotations

import select
import socket
import ssl
from contextlib import suppress
from typing import Final

from netd.core.shutting_down import shut_down
from netd.execution.blocking_tls import TlsSocket, end_stream

SIZE: Final = 64 << 10
"""Bytes that are under way in each direction, at most: four records (RFC 8446, 5.1)."""


class Relay:
    """Carries what comes between *client* and *program*, whenever it is told to. In one thread.

    Owns *program*, which ``close`` closes; *client* stays the caller's. Neither waits.
    """

    def __init__(self, client: TlsSocket, program: socket.socket) -> None:
        client.setblocking(False)
        program.setblocking(False)
        self._client = client
        self._program = program
        self._to_program = b""
        self._to_client = b""
        self._client_ended = False
        """Nothing more comes from the client, and the program has been told so."""
        self._program_ended = False
        self._wants = {client.fileno(): 0, program.fileno(): 0}
        """The events that are waited for, by descriptor."""

    @property
    def is_over(self) -> bool:
        """Whether nothing more can come from the program, and all of it has been sent."""
        return self._program_ended and not self._to_client

    def carry(self, poll: select.poll) -> None:
        """Carry what there is, and have *poll* wait for more. Raises nothing."""
        self._wants = dict.fromkeys(self._wants, 0)
        while self._carry_in() or self._carry_out():
            pass
        for descriptor, events in self._wants.items():
            # Without events it would be told of hang-ups, again and again.
            if events:
                poll.register(descriptor, events)
            else:
                with suppress(KeyError):
                    poll.unregister(descriptor)

    def hang_up(self) -> None:
        """End the client's connection: what could not be sent yet never will be."""
        shut_down(self._client)

    def close(self) -> None:
        """Give the program's connection up."""
        self._program.close()

    def _carry_in(self) -> bool:
        """Carry some bytes to the program; whether there may be more."""
        if self._client_ended:
            return False
        if not self._to_program:
            try:
                self._to_program = self._client.read(SIZE)
            except ssl.SSLWantReadError:
                return self._wait(self._client, select.POLLIN)
            except ssl.SSLWantWriteError:
                return self._wait(self._client, select.POLLOUT)
            except (OSError, ValueError):
                self._to_program = b""
            if not self._to_program:
                return self._end_input()
        try:
            sent = self._program.send(self._to_program)
        except BlockingIOError:
            return self._wait(self._program, select.POLLOUT)
        except OSError:  # it reads no more
            return self._end_input()
        self._to_program = self._to_program[sent:]
        return True

    def _end_input(self) -> bool:
        self._client_ended = True
        self._to_program = b""
        with suppress(OSError):
            self._program.shutdown(socket.SHUT_WR)
        return False

    def _carry_out(self) -> bool:
        """Carry some bytes to the client; whether there may be more."""
        if not self._to_client and not self._program_ended:
            try:
                self._to_client = self._program.recv(SIZE)
            except BlockingIOError:
                return self._wait(self._program, select.POLLIN)
            except OSError:
                self._to_client = b""
            if not self._to_client:
                return self._end_output()
        if not self._to_client:
            return False
        try:
            sent = self._client.write(self._to_client)
        except ssl.SSLWantWriteError:
            return self._wait(self._client, select.POLLOUT)
        except ssl.SSLWantReadError:
            return self._wait(self._client, select.POLLIN)
        except (OSError, ValueError):  # it has gone
            self._to_client = b""
            self._end_input()
            return self._end_output()
        self._to_client = self._to_client[sent:]
        return True

    def _end_output(self) -> bool:
        self._program_ended = True
        if self._client_ended:
            # So that a program that waits for its client to take more does not wait for ever.
            with suppress(OSError):
                self._program.shutdown(socket.SHUT_RDWR)
        end_stream(self._client)
        return False

    def _wait(self, connection: socket.socket, events: int) -> bool:
        self._wants[connection.fileno()] |= events
        return False
