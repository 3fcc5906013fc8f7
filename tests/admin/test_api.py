"""``netd.admin.api``: requests over HTTP, and their answers."""

from __future__ import annotations

import json
from collections.abc import Callable
from typing import Any

import pytest
from twisted.internet.defer import Deferred, fail, succeed
from twisted.internet.error import ConnectionDone, ConnectionLost
from twisted.internet.task import Clock
from twisted.internet.testing import StringTransport
from twisted.logger import capturedLogs
from twisted.python.failure import Failure

from netd.admin.api import MOST_CONNECTIONS, UnknownService, site
from netd.config.plan import Action, Plan, Setting, Step
from netd.daemon.generations.reload import Outcome
from tests.daemon.fakes import texts

PLAN = Plan(
    (Step("a", Action.CHANGE, ("threads",)), Step("b", Action.KEEP)),
    (Setting("log.level", "info", "debug"),),
)
STEPS = [
    {"service": "a", "fate": "change", "why": ["threads"]},
    {"service": "b", "fate": "keep", "why": []},
]
SETTINGS = [{"key": "log.level", "old": "info", "new": "debug", "needs_restart": False}]


class FakeCommands:
    """Answers what a test says, and remembers what was asked."""

    def __init__(self, **answers: Any) -> None:
        self._answers = answers
        self.asked: list[tuple[str, tuple[Any, ...]]] = []

    def __getattr__(self, name: str) -> Callable[..., Any]:
        def command(*arguments: Any) -> Any:
            self.asked.append((name, arguments))
            answer = self._answers.get(name)
            if isinstance(answer, Exception):
                raise answer
            return answer

        return command


class Scene:
    """A site, and connections to it."""

    def __init__(self, **answers: Any) -> None:
        self.commands = FakeCommands(**answers)
        self.clock = Clock()
        self.factory = site(self.commands, self.clock)

    def connect(self) -> Any:
        """A connection's protocol; None if the connection was refused."""
        protocol = self.factory.buildProtocol(None)
        if protocol is not None:
            protocol.makeConnection(StringTransport())
        return protocol

    def ask(self, line: str, more: bytes = b"") -> Any:
        """Ask on a new connection, and return that."""
        connection = self.connect()
        connection.dataReceived(f"{line} HTTP/1.1\r\nHost: netd\r\n".encode() + more + b"\r\n")
        return connection


def answer(connection: Any) -> tuple[int, Any]:
    """The code and the values of the answer that has come."""
    head, _, body = connection.transport.value().partition(b"\r\n\r\n")
    if b"chunked" in head:
        body = body.partition(b"\r\n")[2].partition(b"\r\n")[0]
    return int(head.split()[1]), json.loads(body)


@pytest.mark.parametrize(
    ("line", "name", "arguments"),
    [
        ("GET /api/status", "status", ()),
        ("GET /api/connections", "connections", (None,)),
        ("GET /api/connections?service=a", "connections", ("a",)),
    ],
)
def test_looking(line: str, name: str, arguments: tuple[Any, ...]) -> None:
    scene = Scene(**{name: {"x": [1]}})
    assert answer(scene.ask(line)) == (200, {"x": [1]})
    assert scene.commands.asked == [(name, arguments)]


@pytest.mark.parametrize("name", ["suspend", "resume", "drain"])
def test_doing_something_with_a_service(name: str) -> None:
    """The answer comes when it is done."""
    done: Deferred[None] = Deferred()
    scene = Scene(**{name: done})
    connection = scene.ask(f"POST /api/{name}?service=a%20b")
    assert scene.commands.asked == [(name, ("a b",))]
    assert connection.transport.value() == b""
    done.callback(None)
    assert answer(connection) == (200, {})


@pytest.mark.parametrize("name", ["suspend", "resume", "drain"])
def test_of_which_service(name: str) -> None:
    scene = Scene(**{name: UnknownService("x")})
    assert answer(scene.ask(f"POST /api/{name}?service=x")) == (
        404,
        {"problems": ["there is no service x"]},
    )
    code, values = answer(scene.ask(f"POST /api/{name}"))
    assert (code, values) == (400, {"problems": ["name a service: ?service=NAME"]})


@pytest.mark.parametrize(
    ("line", "name"), [("GET /api/plan", "plan"), ("POST /api/reload", "reload")]
)
class TestOutcomes:
    def test_done(self, line: str, name: str) -> None:
        scene = Scene(**{name: succeed(Outcome(True, PLAN))})
        assert answer(scene.ask(line)) == (
            200,
            {"steps": STEPS, "settings": SETTINGS, "problems": []},
        )

    def test_not_done(self, line: str, name: str) -> None:
        scene = Scene(**{name: succeed(Outcome(False, PLAN, ("no", "nor that")))})
        code, values = answer(scene.ask(line))
        assert (code, values) == (
            409,
            {"steps": STEPS, "settings": SETTINGS, "problems": ["no", "nor that"]},
        )

    def test_not_even_planned(self, line: str, name: str) -> None:
        scene = Scene(**{name: succeed(Outcome(False, None, ("f:1: no",)))})
        assert answer(scene.ask(line)) == (
            409,
            {"steps": [], "settings": [], "problems": ["f:1: no"]},
        )


def test_an_error_of_ours() -> None:
    """The client gets the error, and only the log its traceback."""
    scene = Scene(reload=fail(RuntimeError("a bug")))
    with capturedLogs() as logged:
        assert answer(scene.ask("POST /api/reload")) == (500, {"problems": ["a bug"]})
    assert any("a command failed" in text for text in texts(logged))


def test_a_client_that_goes_away() -> None:
    """The command is carried out, and nothing is written."""
    done: Deferred[None] = Deferred()
    scene = Scene(drain=done)
    connection = scene.ask("POST /api/drain?service=a")
    connection.connectionLost(Failure(ConnectionLost()))
    with capturedLogs() as logged:
        done.callback(None)
    assert logged == []
    assert connection.transport.value() == b""


@pytest.mark.parametrize("line", ["POST /api/status", "GET /api/reload", "GET /api/stop"])
def test_looking_changes_nothing(line: str) -> None:
    """And there is nothing to do with what is to look at."""
    scene = Scene()
    code, values = answer(scene.ask(line))
    assert code == 405
    assert " wants " in values["problems"][0]
    assert scene.commands.asked == []


@pytest.mark.parametrize("path", ["/", "/api", "/api/nothing", "/nothing/at/all"])
@pytest.mark.parametrize("method", ["GET", "POST"])
def test_nothing_there(method: str, path: str) -> None:
    """That, too, is said in JSON."""
    code, values = answer(Scene().ask(f"{method} {path}"))
    assert (code, values) == (404, {"problems": [f"there is no {path}"]})


class TestTooMuch:
    def test_a_body_is_read_and_forgotten(self) -> None:
        """However long it is, nothing of it is kept, in memory or in a file."""
        scene = Scene(suspend=succeed(None))
        connection = scene.ask("POST /api/suspend?service=a", b"Content-Length: 10000000\r\n")
        for _ in range(100):
            connection.dataReceived(b"x" * 100_000)
        assert answer(connection) == (200, {})

    def test_a_body_of_unknown_length(self) -> None:
        scene = Scene(suspend=succeed(None))
        connection = scene.ask("POST /api/suspend?service=a", b"Transfer-Encoding: chunked\r\n")
        for _ in range(10):
            connection.dataReceived(b"186a0\r\n" + b"x" * 100_000 + b"\r\n")
        connection.dataReceived(b"0\r\n\r\n")
        assert answer(connection) == (200, {})

    def test_a_head_without_end(self) -> None:
        """Is cut off."""
        scene = Scene()
        connection = scene.connect()
        for _ in range(1000):
            if connection.transport.disconnecting:
                break
            connection.dataReceived(b"X-Header: " + b"x" * 100 + b"\r\n")
        assert connection.transport.disconnecting
        assert scene.commands.asked == []

    @pytest.mark.parametrize(
        "junk", [b"\0" * 100 + b"\r\n\r\n", b"GET\r\n\r\n", b"\xff\xfe\r\n\r\n"]
    )
    def test_what_is_no_http(self, junk: bytes) -> None:
        scene = Scene()
        connection = scene.connect()
        connection.dataReceived(junk + b"\r\n\r\n")
        assert connection.transport.disconnecting
        assert scene.commands.asked == []

    def test_connections(self) -> None:
        """Connections beyond the bound are closed immediately; when one ends, there is room."""
        scene = Scene(status={})
        inside = [scene.connect() for _ in range(MOST_CONNECTIONS)]
        assert None not in inside
        assert scene.connect() is None
        inside[0].connectionLost(Failure(ConnectionDone()))
        assert answer(scene.ask("GET /api/status")) == (200, {})


def test_an_idle_daemon_has_nothing_to_do() -> None:
    """No timer runs without a connection."""
    scene = Scene()
    scene.factory.doStart()
    assert scene.clock.getDelayedCalls() == []
    scene.factory.doStop()
