"""Addresses that nobody may answer by himself, known to every process of this machine.

Two services that answer every datagram can be set on each other for ever, by one forged packet. So
each claims the address that it answers from, and answers no address that is claimed: not in its
own process, nor in another worker, nor in another daemon.
"""

from __future__ import annotations

import socket
from contextlib import suppress
from functools import cached_property
from hashlib import sha256

Address = int | str | bytes
"""A UDP port, on whatever address of the machine; or the name of a Unix socket."""


class Claims:
    """Claims addresses, for as long as it lives itself, and sees who else has. In any thread.

    An abstract Unix name stands for each. The kernel takes it back when the process has ended, in
    whatever way, so that nothing is left behind and nobody has to be told. Whoever may run
    programs here can take such a name: it keeps a client from being answered, and that is all.
    """

    def __init__(self, among: str) -> None:
        """Only claims of objects with the same *among* are seen."""
        self._among = among
        self._held: dict[Address, socket.socket] = {}

    def claim(self, address: Address) -> None:
        """Claim *address*. If another process holds it, call again: that one may end first.

        Costs a look-up once the claim is held. Raises nothing.
        """
        if address in self._held:
            return
        with suppress(OSError):  # another process has it, or there are no descriptors
            claim = socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            try:
                claim.bind(self._name(address))
            except OSError:
                claim.close()
            else:
                self._held[address] = claim

    def has(self, address: Address) -> bool:
        """Whether anybody has claimed *address*; so it is when nobody can tell. Raises nothing."""
        if address in self._held:
            return True
        try:
            self._asking.connect(self._name(address))
        except ConnectionRefusedError:
            return False
        except OSError:
            # Whoever has it hears somebody else only (EPERM); or no descriptors are left.
            return True
        return True

    def close(self) -> None:
        """Give up all claims of this object, which is of no use afterwards."""
        for held in self._held.values():
            held.close()
        self._asking.close()

    @cached_property
    def _asking(self) -> socket.socket:
        """Connected to one name after the other; nothing is ever sent."""
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)

    def _name(self, address: Address) -> bytes:
        """An abstract name; of one length, since paths may be as long as a name can be."""
        digest = sha256(f"{self._among} {address!r}".encode()).hexdigest()
        return b"\0netd claim " + digest.encode()
