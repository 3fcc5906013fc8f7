"""Work that blocks, in a thread of its own, while the reactor goes on."""

from __future__ import annotations

import threading
from collections.abc import Callable
from typing import Any, TypeVar

from twisted.internet.defer import Deferred
from twisted.python.failure import Failure

_Result = TypeVar("_Result")


def aside(reactor: Any, work: Callable[[], _Result]) -> Deferred[_Result]:
    """Do *work* in a thread; fires in the reactor's thread with what it returned or raised.

    Not in the reactor's pool, whose threads hold up the end of the process: this one does not.
    Raises RuntimeError when the system has no thread to give.
    """
    done: Deferred[_Result] = Deferred()

    def run() -> None:
        try:
            result: Any = work()
        except BaseException:
            reactor.callFromThread(done.errback, Failure())
        else:
            reactor.callFromThread(done.callback, result)

    threading.Thread(target=run, name="netd check", daemon=True).start()
    return done
