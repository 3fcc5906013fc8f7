"""``netd.accept.errors``: what an attempt to accept came to."""

from __future__ import annotations

import errno

import pytest

from netd.accept.errors import CLIENT_ERRORS, EXHAUSTED, After, Rejected, after_accept, after_begin


def test_the_queue_is_empty() -> None:
    assert after_accept(BlockingIOError(errno.EAGAIN, "nothing there")) is After.NOTHING


@pytest.mark.parametrize("number", sorted(CLIENT_ERRORS))
def test_an_error_of_one_client(number: int) -> None:
    assert after_accept(OSError(number, "a client's")) is After.NEXT


def test_a_request_that_is_not_served() -> None:
    assert after_accept(Rejected()) is After.NEXT


@pytest.mark.parametrize(
    "error",
    [
        *(OSError(number, "none left") for number in sorted(EXHAUSTED)),
        OSError(errno.EINVAL, "shut down"),
        OSError("an override's, without a number"),
        MemoryError(),
        RuntimeError("a bug"),
        SystemExit(),
    ],
    ids=repr,
)
def test_all_else_pauses(error: BaseException) -> None:
    assert after_accept(error) is After.PAUSE


@pytest.mark.parametrize(
    ("error", "after"),
    [
        (OSError(errno.EMFILE, "no descriptor for a pidfd"), After.PAUSE),
        (OSError(errno.EAGAIN, "fork: RLIMIT_NPROC"), After.PAUSE),
        (OSError(errno.ENOSPC, "epoll: max_user_watches"), After.PAUSE),
        (MemoryError(), After.PAUSE),
        (OSError(errno.ENOTCONN, "a client that has gone"), After.NEXT),
        (RuntimeError("a bug"), After.NEXT),
    ],
    ids=repr,
)
def test_after_a_connection_was_accepted(error: BaseException, after: After) -> None:
    """Only what the next connection meets, too, pauses."""
    assert after_begin(error) is after
