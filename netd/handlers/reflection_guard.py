"""Addresses that must get no unasked answer, known to every process of this machine.

A service that answers every datagram, such as echo (RFC 862), and another one like it answer each
other for ever after one datagram with a forged source. So each claims the address that it answers
from, and answers no claimed address: neither one of its own process, nor of another worker, nor of
another daemon.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import cached_property
from hashlib import sha256

Address = int | str | bytes
"""A UDP port, on any address of the machine; or the name of a Unix socket."""


class ReflectionGuard:
    """Claims addresses as long as it exists, and tells which are claimed. Any thread.

    A claim is a Unix socket with an abstract name (unix(7)). The kernel frees the name when the
    process has ended, in whatever way, so no claim outlives its process and no process has to be
    told. Any user of the machine can take such a name; all it does is keep a client unanswered.
    """

    def __init__(self, among: str) -> None:
        """Objects with the same *among* see each other's claims."""
        self._among = among
        self._held: dict[Address, socket.socket] = {}

    def claim(self, address: Address) -> None:
        """Claim *address*; costs one look-up if it is claimed already. Raises nothing.

        If another process holds the claim, call again with each datagram: that process may end
        before this one.
        """
        if address in self._held:
            return
        with suppress(OSError):  # no descriptor is free
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(self._name(address))
            except OSError:  # another process holds it
                claim.close()
            else:
                self._held[address] = claim

    def is_claimed(self, address: Address) -> bool:
        """Whether a process of this machine has claimed *address*. Raises nothing.

        True also if that cannot be found out: a client without an answer is the smaller harm.
        """
        if address in self._held:
            return True
        try:
            self._probe.connect(self._name(address))
        except ConnectionRefusedError:
            return False
        except OSError:
            # EPERM: the holder is connected to another socket. EMFILE: no descriptor is free.
            return True
        return True

    def close(self) -> None:
        """Give up all claims. The object is of no use afterwards."""
        for held in self._held.values():
            held.close()
        self._probe.close()

    @cached_property
    def _probe(self) -> socket.socket:
        """Connects to one name after the other. Nothing is ever sent."""
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def _name(self, address: Address) -> bytes:
        """The abstract name of a claim. A digest, since a path can be as long as any name."""
        digest = sha256(f"{self._among} {address!r}".encode()).hexdigest()
        return b"\0netd claim " + digest.encode()
