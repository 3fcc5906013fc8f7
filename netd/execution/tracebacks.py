"""Tracebacks and stacks that begin with the user's code, and the end of a process it has forked."""

from __future__ import annotations

import os
import sys
import traceback
from contextlib import suppress
from types import TracebackType
from typing import Any, Final, NoReturn


def end_fork(raised: BaseException | None) -> NoReturn:
    """End a process that a handler has forked and that comes back from it.

    Under ``ThreadingTCPServer`` the thread that forked is the only one that such a process has,
    and it ends with it. Here it would go on taking clients, unknown to the daemon. It touches
    nothing that it shares with the worker: neither the connection nor the scoreboard.
    """
    if raised is not None and not isinstance(raised, SystemExit):
        with suppress(OSError):
            os.write(2, f"in a forked process: {user_traceback(raised)}\n".encode(errors="replace"))
    os._exit(0 if raised is None else 1)


def user_traceback(error: BaseException) -> str:
    """Format *error* with its traceback, from the first line that is not netd's own."""
    # Not by its attribute, which a class of errors can override.
    frames: TracebackType | None = _TRACEBACK.__get__(error)
    while frames is not None and frames.tb_frame.f_code.co_filename.startswith(_OURS):
        frames = frames.tb_next
    try:
        return "".join(traceback.format_exception(type(error), error, frames)).rstrip()
    except BaseException:  # the error is a user's, and need not be one that can be shown
        where = "".join(traceback.format_tb(frames))
        return f"{where}{type(error).__name__}, which cannot be shown"


def current_traceback() -> str:
    """Format the exception that is being handled; empty if none is."""
    error = sys.exception()
    return "" if error is None else user_traceback(error)


def user_stack(thread: int) -> str:
    """Format where a thread is, by its ident, from the first line that netd has called."""
    frames = traceback.extract_stack(sys._current_frames().get(thread))
    ours = [number for number, frame in enumerate(frames) if frame.filename.startswith(_OURS)]
    theirs = frames[ours[-1] + 1 :] if ours else frames
    return "".join(traceback.format_list((theirs or frames)[-DEEPEST:])).rstrip()


DEEPEST: Final = 30
"""Frames shown of a handler that does not come back, the innermost ones."""


_TRACEBACK: Final[Any] = vars(BaseException)["__traceback__"]


_OURS: Final = os.path.dirname(os.path.dirname(__file__)) + os.sep
