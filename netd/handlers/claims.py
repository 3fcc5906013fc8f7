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
from typing import Final

_PREFIX: Final = b"\0netd claims "
"""What the names begin with; the zero byte makes them abstract ones (unix(7))."""

Address = int | str | bytes
"""A UDP port, on whatever address of the machine; or the name of a Unix socket."""


class Claims:
    """Claims addresses, for as long as the process lives, and sees who else has. Any thread.

    An abstract Unix name stands for each. The kernel takes it back when the process has ended, in
    whatever way, so that nothing is left behind and nobody has to be told. Whoever may run
    programs here can take such a name: it keeps a client from being answered, and that is all.
    """

    def __init__(self) -> None:
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
                claim.bind(_name(address))
            except OSError:
                claim.close()
            else:
                self._held[address] = claim

    def has(self, address: Address) -> bool:
        """Whether anybody has claimed *address*; so it is when nobody can tell. Raises nothing."""
        if address in self._held:
            return True
        try:
            self._asking.connect(_name(address))
        except ConnectionRefusedError:
            return False
        except OSError:
            # Some socket has the name, but hears nobody from here; or no descriptors are left.
            return True
        return True

    def release(self) -> None:
        """Give up all claims of this object, which is of no use afterwards."""
        for held in self._held.values():
            held.close()
        self._asking.close()

    @cached_property
    def _asking(self) -> socket.socket:
        """Connected to one name after the other; nothing is ever sent."""
        return socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)


def _name(address: Address) -> bytes:
    """An abstract name; of one length, since paths may be as long as a name can be."""
    return _PREFIX + sha256(repr(address).encode()).hexdigest().encode()
