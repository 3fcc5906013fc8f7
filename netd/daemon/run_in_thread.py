"""Blocking work in a thread, while the reactor goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

from netd.core.reactor import Threading

_Result = TypeVar("_Result")


def run_in_thread(reactor: Threading, work: Callable[[], _Result]) -> Deferred[_Result]:
    """Run *work* in a thread; fires in the reactor's thread with its result or its exception.

    Not in the reactor's pool: its threads hold up the end of the process, and this one does not.
    Raises RuntimeError if the system has no thread left.
    """
    done: Deferred[_Result] = Deferred()

    def run() -> None:
        try:
            result = work()
        # Whatever it is, a Deferred that never fires would block all later reloads.
        except BaseException:
            reactor.callFromThread(done.errback, Failure())
        else:
            reactor.callFromThread(done.callback, result)

    threading.Thread(target=run, name="netd check", daemon=True).start()
    return done
