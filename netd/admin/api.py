"""The HTTP API of the admin socket: GET shows, POST acts.

Every answer is JSON. A command answers when it has been carried out. 404 is an unknown service or
connection, 409 a command that failed; ``problems`` say why.
"""

from __future__ import annotations

import json
import os
from collections.abc import Callable, Mapping, Sequence
from dataclasses import asdict
from typing import Any, Final, Protocol

from twisted.internet.defer import Deferred
from twisted.internet.interfaces import IAddress
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
from twisted.web.http import Request as HttpRequest
from twisted.web.resource import Resource
from twisted.web.server import NOT_DONE_YET, Request, Site

from netd.config.plan import Plan
from netd.core.reactor import Timing
from netd.daemon.generations.reload import Outcome
from netd.daemon.generations.upgrade import Upgraded
from netd.model.log import LEVELS, Level

log = Logger()

MOST_CONNECTIONS: Final = 64
"""Most concurrent connections. netdctl has one for a moment, or for as long as a drain takes."""


Object = Mapping[str, object]
"""A JSON object."""


class UnknownService(KeyError):
    """There is no service of this name."""


class UnknownConnection(KeyError):
    """There is no connection of this id, or it has ended."""


class NotDone(Exception):
    """A command failed; the text says why."""


class Commands(Protocol):
    """What the API can do. In the reactor's thread."""

    def status(self) -> Object:
        """Describe what runs."""

    def connections(self, service: str | None) -> Sequence[Object]:
        """List connections, oldest first. Raises UnknownService."""

    def plan(self, file: str | None) -> Deferred[Outcome]:
        """Plan a reload of the daemon's file, or of *file* instead. Changes nothing."""

    def reload(self) -> Deferred[Outcome]:
        """Reload; fire when the new generation serves or the reload has failed."""

    def suspend(self, service: str) -> Deferred[None]:
        """Stop accepting for *service*. Raises UnknownService."""

    def resume(self, service: str) -> Deferred[None]:
        """Accept again for *service*. Raises UnknownService."""

    def drain(self, service: str) -> Deferred[None]:
        """Suspend, and fire when *service* has no connection. Raises UnknownService."""

    def disconnect(self, connection: str) -> Deferred[None]:
        """End a connection, and fire when its handler has returned.

        Raises UnknownConnection. Fails with NotDone.
        """

    def log(self, level: Level) -> None:
        """Log from *level* on, until the next reload."""

    def upgrade(self) -> Deferred[Upgraded]:
        """Start a new daemon that replaces this one."""

    def stop(self) -> None:
        """Stop the daemon, gracefully."""


def site(commands: Commands, reactor: Timing) -> _Bounded:
    """Make the API's factory of connections."""
    root, api = _Branch(), _Branch()
    root.putChild(b"api", api)
    api.putChild(b"status", _Get(lambda request: commands.status()))
    api.putChild(b"connections", _Get(lambda request: commands.connections(_service(request))))
    api.putChild(
        b"plan",
        _Get(lambda request: commands.plan(_query(request, b"file")).addCallback(_outcome)),
    )
    api.putChild(b"reload", _Post(lambda request: commands.reload().addCallback(_outcome)))
    for name in ("suspend", "resume", "drain"):
        api.putChild(name.encode(), _Post(_of_a_service(getattr(commands, name))))
    api.putChild(b"disconnect", _Post(lambda request: commands.disconnect(_connection(request))))
    api.putChild(b"log", _Post(lambda request: commands.log(_level(request))))
    api.putChild(b"upgrade", _Post(lambda request: commands.upgrade().addCallback(_upgraded)))
    api.putChild(b"stop", _Post(lambda request: commands.stop()))
    made = _Site(root, reactor=reactor)
    made.noisy = False
    # A traceback is for the log; an answer is JSON.
    made.displayTracebacks = False
    return _Bounded(made)


class _Request(Request):
    """Arguments are in the query. A body is read and dropped, where Twisted would write it to a
    file.
    """

    def gotLength(self, length: int | None) -> None:
        # Twisted chooses by the length between memory and a file, and would obey any client.
        super().gotLength(0)

    def handleContentChunk(self, data: bytes) -> None:
        """Keep nothing."""


class _Site(Site):
    """A site without an access log: netd's own log has what was done."""

    requestFactory = _Request

    def startFactory(self) -> None:
        """Do nothing: Twisted would wake the daemon every second, for the access log's clock."""

    def stopFactory(self) -> None:
        """Do nothing."""

    def log(self, request: HttpRequest) -> None:
        """Log nothing."""


class _Bounded(WrappingFactory):
    """Closes a connection immediately if there are too many."""

    noisy = False

    # Any, because Twisted declares the wrapper only; None, which refuses, is documented, too.
    def buildProtocol(self, addr: IAddress | None) -> Any:
        return super().buildProtocol(addr) if len(self.protocols) < MOST_CONNECTIONS else None


Json = Object | Sequence[Object] | None
"""An answer; None is an empty object."""

Answer = Callable[[Request], "Json | Deferred[Any]"]
"""Answers a request, now or later. A Deferred fires with a ``Json``, which its type cannot say:
Deferred is invariant, and commands fire with narrower types."""


class _Branch(Resource):
    """A path with others below it that answers nothing itself."""

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
            text = f"{_path(request)} wants {self._method.decode()}"
            return _now(request, _Status(NOT_ALLOWED, {"problems": [text]}))
        gone: list[bool] = []
        # A request whose client has gone must not be written to; its command goes on.
        request.notifyFinish().addErrback(lambda _: gone.append(True))
        # So that an exception of the command's fails like a Deferred of it.
        answered: Deferred[Any] = Deferred()
        answered.addCallback(self._answer)
        answered.addErrback(_failed)
        answered.addCallback(lambda answer: None if gone else _write(request, answer))
        answered.callback(request)
        return NOT_DONE_YET


class _Get(_Answering):
    """A resource to read."""

    _method = b"GET"


class _Post(_Answering):
    """A command."""

    _method = b"POST"


class _Status(Exception):
    """An answer with another status than 200."""

    def __init__(self, code: int, answer: Object) -> None:
        self.code = code
        self.answer = answer


def _of_a_service(command: Callable[[str], Deferred[None]]) -> Answer:
    def answer(request: Request) -> Deferred[None]:
        name = _service(request)
        if name is None:
            raise _Status(BAD_REQUEST, {"problems": ["name a service: ?service=NAME"]})
        return command(name)

    return answer


def _service(request: Request) -> str | None:
    return _query(request, b"service")


def _query(request: Request, key: bytes) -> str | None:
    # The first value counts, and bytes that are no UTF-8 stay as they are: FILE may be any path.
    values: list[bytes] = (request.args or {}).get(key, [])
    return os.fsdecode(values[0]) if values else None


def _connection(request: Request) -> str:
    found = _query(request, b"id")
    if found is None:
        raise _Status(BAD_REQUEST, {"problems": ["name a connection: ?id=ID"]})
    return found


def _level(request: Request) -> Level:
    wanted = _query(request, b"level")
    for level in LEVELS:
        if level == wanted:
            return level
    raise _Status(BAD_REQUEST, {"problems": [f"name a level: ?level= one of {', '.join(LEVELS)}"]})


def _outcome(outcome: Outcome) -> Object:
    answer = {
        "steps": _steps(outcome.plan),
        "settings": _settings(outcome.plan),
        "problems": list(outcome.problems),
    }
    if not outcome.done:
        raise _Status(CONFLICT, answer)
    return answer


def _upgraded(result: Upgraded) -> Object:
    if result.pid is None:
        raise _Status(CONFLICT, {"problems": [result.problem]})
    return {"pid": result.pid}


def _steps(plan: Plan | None) -> Sequence[Object]:
    steps = plan.steps if plan is not None else ()
    return [{"service": step.service, "fate": step.action, "why": list(step.why)} for step in steps]


def _settings(plan: Plan | None) -> Sequence[Object]:
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
    # A bug of netd's. The daemon goes on, and the client learns of it.
    log.failure("a command failed", failure)
    return _Status(INTERNAL_SERVER_ERROR, {"problems": [str(error)]})


def _path(request: Request) -> str:
    path: bytes = request.path
    return path.decode(errors="replace")


def _now(request: Request, status: _Status) -> int:
    _write(request, status)
    return NOT_DONE_YET


def _write(request: Request, answer: Json | _Status) -> None:
    code, body = (answer.code, answer.answer) if isinstance(answer, _Status) else (OK, answer)
    request.setResponseCode(code)
    request.setHeader(b"Content-Type", b"application/json")
    request.write(json.dumps(body if body is not None else {}).encode() + b"\n")
    request.finish()
