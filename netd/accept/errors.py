"""What an attempt to accept or to receive came to. Pure.

``socketserver`` gives up on every error of accept(2) alike, and so spins when descriptors run out.
Here each error says what a listener does next.
"""

from __future__ import annotations

import errno
from enum import Enum
from typing import Final

EXHAUSTED: Final = frozenset({errno.EMFILE, errno.ENFILE, errno.ENOBUFS, errno.ENOMEM})
"""The system has no more descriptors or memory."""

CLIENT_ERRORS: Final = frozenset(
    {
        errno.EINTR,
        # The client gave up before it was accepted, or the network reports an error of the new
        # connection: accept(2), "Error handling", asks to treat these like EAGAIN and to retry.
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
"""The error belongs to one client. The listener is sound, and the next client may be fine."""

_NO_RESOURCES: Final = EXHAUSTED | {
    errno.EAGAIN,  # fork(2): RLIMIT_NPROC
    errno.ENOSPC,  # epoll_ctl(2): max_user_watches
}
"""The same after accept(2), when a connection is to be watched or a process to be made for it.
EAGAIN then says that a limit is reached, while accept(2) says by it that its queue is empty."""


class After(Enum):
    """What a listener does next."""

    NOTHING = "nothing"
    """The queue is empty: wait for the next event."""
    NEXT = "next"
    """Try the next one in the queue immediately."""
    PAUSE = "pause"
    """Leave the listener alone for a while: another attempt would fail in the same way."""


class Rejected(Exception):
    """A request has been received and is not to be served, be it malformed or too long."""


def after_accept(error: BaseException) -> After:
    """Say what a listener does next when accepting or receiving has raised *error*."""
    if isinstance(error, Rejected):
        return After.NEXT
    if isinstance(error, OSError):
        if error.errno == errno.EAGAIN:
            return After.NOTHING
        if error.errno in CLIENT_ERRORS:
            return After.NEXT
    # An error of an override, MemoryError or a bug: never a reason to give a listener up.
    return After.PAUSE


def after_begin(error: BaseException) -> After:
    """Say what a listener does next when *error* was raised after a connection was accepted.

    A bug costs that connection. Only a lack of resources, which meets the next one too, pauses.
    """
    is_short = isinstance(error, OSError) and error.errno in _NO_RESOURCES
    return After.PAUSE if is_short or isinstance(error, MemoryError) else After.NEXT
