"""Taking from a listener: what the errors of accept(2) mean, and how a client is called."""

from __future__ import annotations

import errno
from typing import Final

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The system has no more descriptors or memory: try again later, never at once."""

NEXT: Final = frozenset(
    {
        errno.EAGAIN,
        errno.EINTR,
        # The client gave up before it was taken, or the network told a lie about it: accept(2),
        # "Error handling", wants these treated like "nothing there".
        errno.ECONNABORTED,
        errno.ECONNREFUSED,
        errno.ECONNRESET,
        errno.EHOSTDOWN,
        errno.EHOSTUNREACH,
        errno.ENETDOWN,
        errno.ENETUNREACH,
        errno.ENONET,
        errno.ENOPROTOOPT,
        errno.EOPNOTSUPP,
        errno.EPERM,
        errno.EPROTO,
    }
)
"""Errors of one client's own: take the next."""


PAUSE: Final = 0.1
"""Seconds without taking when the system has no descriptors left (as OpenSSH and Ranch do)."""
