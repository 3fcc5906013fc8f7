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
from dataclasses import dataclass
from socketserver import BaseRequestHandler, DatagramRequestHandler, StreamRequestHandler
from typing import Any, Final

from netd.values.probe import (
    Answer,
    Facts,
    Fault,
    Question,
    Questions,
    Requests,
    decode_answer,
    decode_questions,
    encode_answer,
)
from netd.worker import importing, privilege

AT_ONCE: Final = os.cpu_count() or 1
"""Imports under way at the same time: they are work for the processor, not for the network."""


def main() -> None:
    """Answer the questions on stdin."""
    questions = decode_questions(sys.stdin.read())
    for answer in ask_all(questions):
        print(encode_answer(answer), flush=True)


@dataclass
class _Asked:
    """A child process that is importing."""

    question: Question
    pid: int
    deadline: float
    said: bytes = b""


def ask_all(questions: Questions) -> list[Answer]:
    """Ask about every service, in its own child process; answers come in the order asked."""
    answers: dict[str, Answer] = {}
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


def _ask(question: Question, questions: Questions, selector: selectors.BaseSelector) -> None:
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        _answer_and_leave(question, questions, theirs)
    os.close(theirs)
    asked = _Asked(question, pid, time.monotonic() + questions.timeout)
    selector.register(ours, selectors.EVENT_READ, asked)


def _heard(selector: selectors.BaseSelector) -> list[tuple[int, _Asked]]:
    """Wait for the children; return those that have come to an end, or whose time is over."""
    asked_by = {key.fd: key.data for key in selector.get_map().values()}
    nearest = min(asked.deadline for asked in asked_by.values())
    ended = []
    for key, _ in selector.select(max(0.0, nearest - time.monotonic())):
        data = os.read(key.fd, 65536)
        key.data.said += data
        if not data:
            ended.append((key.fd, key.data))
    now = time.monotonic()
    late = [(fd, asked) for fd, asked in asked_by.items() if asked.deadline <= now]
    return ended + [item for item in late if item not in ended]


def _conclude(asked: _Asked, timeout: float) -> Answer:
    """Reap the child and turn what it said, or how it ended, into an answer."""
    service = asked.question.service
    late = time.monotonic() >= asked.deadline
    if late:
        os.kill(asked.pid, signal.SIGKILL)
    _, status = os.waitpid(asked.pid, 0)
    module = asked.question.handler.module
    if late and not asked.said:
        return Fault(service, "handler", f'importing "{module}" took longer than {timeout:g} s')
    try:
        return decode_answer(asked.said.decode())
    except ValueError:
        how = _ending(os.waitstatus_to_exitcode(status))
        return Fault(service, "handler", f'importing "{module}" ended the process with {how}')


def _ending(code: int) -> str:
    return f"signal {signal.Signals(-code).name}" if code < 0 else f"status {code}"


# In the child.


def _answer_and_leave(question: Question, questions: Questions, descriptor: int) -> None:
    """Import, write the answer, and end this process whatever happens."""
    try:
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        answer = answer_to(question, questions)
        os.write(descriptor, encode_answer(answer).encode())
    finally:
        os._exit(0)


def answer_to(question: Question, questions: Questions) -> Answer:
    """Become the service's user, import what it runs, and say what that is."""
    service = question.service
    try:
        privilege.drop(question.owner)
    except privilege.NotDropped as error:
        return Fault(service, "user", str(error))
    importing.put_first(questions.python_path)
    key = "handler"
    try:
        requests = requests_of(importing.load(question.handler, questions.python_path))
        if question.verify_request is not None:
            key = "access.verify_request"
            _check_callable(importing.load(question.verify_request, questions.python_path))
    except importing.CannotImport as error:
        return Fault(service, key, str(error))
    return Facts(service, requests, tuple(importing.imported_from(questions.python_path)))


def requests_of(handler: Any) -> Requests:
    """Say which requests a handler class takes. Raises CannotImport when it is none."""
    if not isinstance(handler, type) or not issubclass(handler, BaseRequestHandler):
        raise importing.CannotImport(
            f"is {_described(handler)}, not a subclass of socketserver.BaseRequestHandler"
        )
    if issubclass(handler, StreamRequestHandler):
        return "stream"
    return "datagram" if issubclass(handler, DatagramRequestHandler) else "any"


def _check_callable(function: Any) -> None:
    if not callable(function):
        raise importing.CannotImport(f"is {_described(function)}, not a function")


def _described(value: Any) -> str:
    return f'the class "{value.__qualname__}"' if isinstance(value, type) else f"{value!r:.80}"


if __name__ == "__main__":
    main()
