"""Descriptors of processes (pidfd_open(2)): a signal by one reaches that process or none."""

from __future__ import annotations

import os
import signal
from contextlib import suppress


def pidfd_of_child(pid: int) -> int:
    """Open a pidfd of a child that has just been started; the caller closes it.

    Raises OSError, and then the child has been killed and reaped.
    """
    try:
        return os.pidfd_open(pid)
    except OSError:
        os.kill(pid, signal.SIGKILL)
        os.waitpid(pid, 0)
        raise


def send_signal(pidfd: int, number: signal.Signals) -> None:
    """Send a signal to a process (pidfd_send_signal(2)), if it has not ended."""
    with suppress(ProcessLookupError):
        signal.pidfd_send_signal(pidfd, number)
