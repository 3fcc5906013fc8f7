"""The probe: imports what services run, each in a process of its own, and says what it is.

Reads Questions from stdin and writes a line for each service to stdout. A module that raises,
hangs, exits or crashes costs an answer and nothing else.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from netd.core.exit_status import ending
from netd.core.prctl import end_with_parent
from netd.ipc.probe import (
    Facts,
    ProbeError,
    ProbeReply,
    ProbeRequest,
    ProbeRequests,
    decode_reply,
    decode_requests,
    encode_reply,
)
from netd.model.service import Owner, Reference, Runs
from netd.worker import importing
from netd.worker.environment import NotEntered, enter
from netd.worker.probe.inspection import Seen, Unusable, check_callable, checked, inspected

AT_ONCE: Final = os.cpu_count() or 1
"""Imports under way at the same time: they are work for the processor, not for the network."""

_STEP_DONE: Final = b"\n"
"""What a child says after each import but the last; the answer is a line as well."""

_FILTER: Final = "access.verify_request"


def main() -> None:
    """Answer the questions on stdin."""
    end_with_parent()
    questions = decode_requests(sys.stdin.read())
    for answer in ask_all(questions):
        print(encode_reply(answer), flush=True)


@dataclass
class _Asked:
    """A child process that is importing."""

    question: ProbeRequest
    pid: int
    deadline: float
    said: bytes = b""

    def has_answered(self) -> bool:
        """Whether its answer is complete; a process that it started may hold the pipe open."""
        return b"\n" in self.said.lstrip(_STEP_DONE)

    def answer(self) -> ProbeReply:
        """Read its answer. Raises ValueError."""
        line, _, _ = self.said.lstrip(_STEP_DONE).partition(b"\n")
        return decode_reply(line.decode())

    def importing(self) -> tuple[str, str]:
        """The key and the module that it was at."""
        runs = self.question.runs
        if not isinstance(runs, Runs):
            return runs.key, str(runs)
        done = len(self.said) - len(self.said.lstrip(_STEP_DONE))
        steps = _steps(self.question, runs)
        key, reference = steps[min(done, len(steps) - 1)]
        return key, reference.module


def ask_all(questions: ProbeRequests) -> list[ProbeReply]:
    """Ask about every service, in its own child process; answers come in the order asked."""
    answers: dict[str, ProbeReply] = {}
    waiting = list(reversed(questions.services))
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            while waiting and len(selector.get_map()) < AT_ONCE:
                _ask(waiting.pop(), questions, selector)
            for descriptor, asked in _heard(selector):
                selector.unregister(descriptor)
                os.close(descriptor)
                answers[asked.question.service] = _conclude(asked, questions.timeout)
    return [answers[question.service] for question in questions.services]


def _ask(
    question: ProbeRequest, questions: ProbeRequests, selector: selectors.BaseSelector
) -> None:
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        _answer_and_leave(question, questions, theirs)
    os.close(theirs)
    asked = _Asked(question, pid, time.monotonic() + questions.timeout)
    selector.register(ours, selectors.EVENT_READ, asked)


def _heard(selector: selectors.BaseSelector) -> list[tuple[int, _Asked]]:
    """Wait for the children; return those that have answered or ended, or whose time is over."""
    asked_by = {key.fd: key.data for key in selector.get_map().values()}
    nearest = min(asked.deadline for asked in asked_by.values())
    ended = []
    for key, _ in selector.select(max(0.0, nearest - time.monotonic())):
        data = os.read(key.fd, 65536)
        key.data.said += data
        if not data or key.data.has_answered():
            ended.append((key.fd, key.data))
    now = time.monotonic()
    late = [(fd, asked) for fd, asked in asked_by.items() if asked.deadline <= now]
    return ended + [item for item in late if item not in ended]


def _conclude(asked: _Asked, timeout: float) -> ProbeReply:
    """End the child and turn what it said, or how it had ended, into an answer."""
    late = time.monotonic() >= asked.deadline
    # Where it is ending by itself this changes nothing, and where it is not nobody waits for it.
    os.kill(asked.pid, signal.SIGKILL)
    _, status = os.waitpid(asked.pid, 0)
    try:
        return asked.answer()
    except ValueError:
        key, module = asked.importing()
        how_ended = ending(os.waitstatus_to_exitcode(status))
        how = f"took longer than {timeout:g} s" if late else f"ended the process with {how_ended}"
        return ProbeError(asked.question.service, key, f'importing "{module}" {how}')


# In the child.


def _answer_and_leave(question: ProbeRequest, questions: ProbeRequests, descriptor: int) -> None:
    """Import, write the answer, and end this process whatever happens."""
    try:
        end_with_parent()
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        answer = answer_to(question, questions, lambda: os.write(descriptor, _STEP_DONE))
        with open(descriptor, "w") as pipe:
            pipe.write(encode_reply(answer) + "\n")
    finally:
        os._exit(0)


def answer_to(
    question: ProbeRequest, questions: ProbeRequests, step_done: Callable[[], object]
) -> ProbeReply:
    """Become what the service's workers will be, import what it runs, and say what that is.

    Calls *step_done* after each import but the last.
    """
    service = question.service
    try:
        enter(question.owner, question.environment)
    except NotEntered as error:
        return ProbeError(service, error.key, str(error))
    if question.owner != Owner():
        end_with_parent()  # which another user forgets (PR_SET_PDEATHSIG, prctl(2))
    importing.put_first(questions.python_path)
    try:
        if isinstance(question.runs, Runs):
            seen = _imported(question, question.runs, questions.python_path, step_done)
        else:
            seen = checked(question.runs)
            _import_filter(question, questions.python_path)
    except Unusable as error:
        return ProbeError(service, error.key or question.runs.key, str(error))
    sources = tuple(importing.imported_from(questions.python_path))
    threads = len(os.listdir("/proc/self/task")) > 1
    return Facts(service, seen.requests, seen.execution, sources, seen.server, threads, seen.notes)


def _imported(
    question: ProbeRequest, runs: Runs, python_path: Sequence[str], step_done: Callable[[], object]
) -> Seen:
    """Import all that a service names, and say what it is. Raises Unusable."""
    loaded: dict[str, Any] = {}
    for key, reference in _steps(question, runs):
        if loaded:
            step_done()
        try:
            loaded[key] = importing.load(reference, python_path)
            if key == _FILTER:
                check_callable(loaded[key])
        except (importing.CannotImport, Unusable) as error:
            raise Unusable(str(error), key) from error
    return inspected(runs.key, loaded, question.options)


def _import_filter(question: ProbeRequest, python_path: Sequence[str]) -> None:
    if question.verify_request is None:
        return
    try:
        check_callable(importing.load(question.verify_request, python_path))
    except (importing.CannotImport, Unusable) as error:
        raise Unusable(str(error), _FILTER) from error


def _steps(question: ProbeRequest, runs: Runs) -> list[tuple[str, Reference]]:
    """What is imported, by the key that names it, in order."""
    steps: list[tuple[str, Reference]] = [(runs.key, runs.reference)]
    if runs.handler is not None:
        steps.append(("handler", runs.handler))
    if question.verify_request is not None:
        steps.append((_FILTER, question.verify_request))
    return steps


if __name__ == "__main__":
    main()
