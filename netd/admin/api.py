"""The HTTP API of the admin socket: what there is to see by GET, what can be done by POST.

Every answer is JSON. A command answers when it has been carried out; 404 is an unknown service,
409 something that could not be done, and ``problems`` say why.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable
from dataclasses import asdict
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.logger import Logger
from twisted.protocols.policies import WrappingFactory
from twisted.python.failure import Failure
from twisted.web.http import (
    BAD_REQUEST,
    CONFLICT,
    INTERNAL_SERVER_ERROR,
    NOT_ALLOWED,
    NOT_FOUND,
    OK,
)
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from netd.config.plan import Plan
from netd.daemon.generations.reload import Outcome
from netd.daemon.generations.upgrade import Upgraded
from netd.model.log import LEVELS, Level

log = Logger()

MOST_CONNECTIONS: Final = 64
"""Connections at once: netdctl has one for a moment, and who waits for a drain one for as long."""


class UnknownService(KeyError):
    """There is no service of this name."""


class UnknownConnection(KeyError):
    """There is no connection of this name, or no more."""


class NotDone(Exception):
    """Something could not be done; the text says why."""


class Commands(Protocol):
    """What the daemon can be asked. In the reactor's thread."""

    def status(self) -> dict[str, Any]:
        """What runs."""

    def connections(self, service: str | None) -> list[dict[str, Any]]:
        """Who is connected. Raises UnknownService."""

    def plan(self, file: str | None) -> Deferred[Outcome]:
        """What a reload would do; of *file*, if it is not the daemon's own."""

    def reload(self) -> Deferred[Outcome]:
        """Reload."""

    def suspend(self, service: str) -> Deferred[None]:
        """Take nothing more for *service*. Raises UnknownService."""

    def resume(self, service: str) -> Deferred[None]:
        """Take again. Raises UnknownService."""

    def drain(self, service: str) -> Deferred[None]:
        """Suspend, and fire when nobody is inside. Raises UnknownService."""

    def disconnect(self, connection: str) -> Deferred[None]:
        """End a connection. Raises UnknownConnection; fails with NotDone."""

    def log(self, level: Level) -> None:
        """Log from *level* on."""

    def upgrade(self) -> Deferred[Upgraded]:
        """Start another daemon in the place of this one, and leave."""

    def stop(self) -> None:
        """Stop the daemon, gracefully."""


def site(commands: Commands, reactor: Any) -> _Bounded:
    """Make the API's factory of connections."""
    root, api = _Branch(), _Branch()
    root.putChild(b"api", api)
    api.putChild(b"status", _Seen(lambda request: commands.status()))
    api.putChild(b"connections", _Seen(lambda request: commands.connections(_service(request))))
    api.putChild(
        b"plan",
        _Seen(lambda request: commands.plan(_query(request, b"file")).addCallback(_outcome)),
    )
    api.putChild(b"reload", _Done(lambda request: commands.reload().addCallback(_outcome)))
    for name in ("suspend", "resume", "drain"):
        api.putChild(name.encode(), _Done(_of_a_service(getattr(commands, name))))
    api.putChild(b"disconnect", _Done(lambda request: commands.disconnect(_connection(request))))
    api.putChild(b"log", _Done(lambda request: commands.log(_level(request))))
    api.putChild(b"upgrade", _Done(lambda request: commands.upgrade().addCallback(_upgraded)))
    api.putChild(b"stop", _Done(lambda request: commands.stop()))
    made = _Site(root, reactor=reactor)
    made.noisy = False
    made.displayTracebacks = False
    return _Bounded(made)


class _Request(Request):
    """A command's few words are in its query. A body is read and forgotten, however long it is;
    Twisted would put it into a file.
    """

    def gotLength(self, length: int | None) -> None:
        super().gotLength(0)

    def handleContentChunk(self, data: bytes) -> None:
        """Keep nothing."""


class _Site(Site):
    """Without a log of requests: netd's own log says what was done."""

    requestFactory = _Request

    def startFactory(self) -> None:
        """Do nothing: Twisted would look at the clock every second, for the log."""

    def stopFactory(self) -> None:
        """Do nothing."""

    def log(self, request: Any) -> None:
        """Log nothing."""


class _Bounded(WrappingFactory):
    """Closes connections at once that are too many."""

    noisy = False

    def buildProtocol(self, addr: Any) -> Any:
        return super().buildProtocol(addr) if len(self.protocols) < MOST_CONNECTIONS else None


Answer = Callable[[Request], Any]
"""Returns what JSON can say, or a Deferred of it; None is an empty object."""


class _Branch(Resource):
    """A path with others below it, and nothing of its own."""

    def getChild(self, path: bytes, request: Request) -> Resource:
        return _Branch()

    def render(self, request: Request) -> int:
        return _now(request, _Status(NOT_FOUND, {"problems": [f"there is no {_path(request)}"]}))


class _Answering(Resource):
    isLeaf = True
    _method: bytes

    def __init__(self, answer: Answer) -> None:
        super().__init__()
        self._answer = answer

    def render(self, request: Request) -> int:
        if request.method != self._method:
            request.setHeader(b"Allow", self._method)
            text = f"{_path(request)} is asked by {self._method.decode()}"
            return _now(request, _Status(NOT_ALLOWED, {"problems": [text]}))
        gone: list[bool] = []
        request.notifyFinish().addErrback(lambda _: gone.append(True))
        answered: Deferred[Any] = Deferred()
        answered.addCallback(self._answer)
        answered.addErrback(_failed)
        answered.addCallback(lambda answer: None if gone else _write(request, answer))
        answered.callback(request)
        return NOT_DONE_YET


class _Seen(_Answering):
    """Something to look at."""

    _method = b"GET"


class _Done(_Answering):
    """Something to do."""

    _method = b"POST"


class _Status(Exception):
    """An answer that is no success."""

    def __init__(self, code: int, answer: dict[str, Any]) -> None:
        self.code = code
        self.answer = answer


def _of_a_service(command: Callable[[str], Deferred[None]]) -> Answer:
    def answer(request: Request) -> Deferred[None]:
        name = _service(request)
        if name is None:
            raise _Status(BAD_REQUEST, {"problems": ["say which: ?service=NAME"]})
        return command(name)

    return answer


def _service(request: Request) -> str | None:
    return _query(request, b"service")


def _query(request: Request, key: bytes) -> str | None:
    values: list[bytes] = (request.args or {}).get(key, [])
    return os.fsdecode(values[0]) if values else None


def _connection(request: Request) -> str:
    found = _query(request, b"id")
    if found is None:
        raise _Status(BAD_REQUEST, {"problems": ["say which: ?id=ID"]})
    return found


def _level(request: Request) -> Level:
    said = _query(request, b"level")
    for level in LEVELS:
        if level == said:
            return level
    raise _Status(BAD_REQUEST, {"problems": [f"say which: ?level= one of {', '.join(LEVELS)}"]})


def _outcome(outcome: Outcome) -> dict[str, Any]:
    answer = {
        "steps": _steps(outcome.plan),
        "settings": _settings(outcome.plan),
        "problems": list(outcome.problems),
    }
    if not outcome.done:
        raise _Status(CONFLICT, answer)
    return answer


def _upgraded(how: Upgraded) -> dict[str, Any]:
    if how.pid is None:
        raise _Status(CONFLICT, {"problems": [how.problem]})
    return {"pid": how.pid}


def _steps(plan: Plan | None) -> list[dict[str, Any]]:
    steps = plan.steps if plan is not None else ()
    return [{"service": step.service, "fate": step.action, "why": list(step.why)} for step in steps]


def _settings(plan: Plan | None) -> list[dict[str, Any]]:
    return [asdict(setting) for setting in plan.settings] if plan is not None else []


def _failed(failure: Failure) -> _Status:
    error = failure.value
    if isinstance(error, _Status):
        return error
    if isinstance(error, UnknownService):
        return _Status(NOT_FOUND, {"problems": [f"there is no service {error.args[0]}"]})
    if isinstance(error, UnknownConnection):
        return _Status(NOT_FOUND, {"problems": [f"there is no connection {error.args[0]}"]})
    if isinstance(error, NotDone):
        return _Status(CONFLICT, {"problems": [str(error)]})
    log.failure("a command failed", failure)
    return _Status(INTERNAL_SERVER_ERROR, {"problems": [str(error)]})


def _path(request: Request) -> str:
    path: bytes = request.path
    return path.decode(errors="replace")


def _now(request: Request, status: _Status) -> int:
    _write(request, status)
    return NOT_DONE_YET


def _write(request: Request, answer: Any) -> None:
    code, body = (answer.code, answer.answer) if isinstance(answer, _Status) else (OK, answer)
    request.setResponseCode(code)
    request.setHeader(b"Content-Type", b"application/json")
    request.write(json.dumps(body if body is not None else {}).encode() + b"\n")
    request.finish()
