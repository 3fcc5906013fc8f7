"""What classes, functions and objects are, and what they can be called with."""

from __future__ import annotations

import http.server
import os
import socket
import socketserver
import xmlrpc.server
from collections.abc import Collection
from pathlib import Path
from typing import Any

import pytest
from twisted.internet.protocol import DatagramProtocol, Factory, Protocol

from netd.handlers import (
    AsyncDatagramRequestHandler,
    AsyncRequestHandler,
    AsyncStreamRequestHandler,
)
from netd.ipc.probe import Requests, ServerFacts
from netd.model.service import Plugin, Program
from netd.worker.probe.inspection import (
    Inspection,
    Unusable,
    check_callable,
    inspect_code,
    inspect_installed,
)


class Handler(socketserver.BaseRequestHandler):
    pass


class WithOptions(socketserver.StreamRequestHandler):
    def __init__(self, *arguments: Any, directory: str, listing: bool = True) -> None:
        super().__init__(*arguments)


class WithAny(socketserver.StreamRequestHandler):
    def __init__(self, request: Any, address: Any, server: Any, **more: Any) -> None:
        super().__init__(request, address, server)


class WithFour(socketserver.StreamRequestHandler):
    def __init__(self, request: Any, address: Any, server: Any, more: Any) -> None:
        super().__init__(request, address, server)


def seen(what: Any, options: Collection[str] = (), key: str = "handler", **more: Any) -> Inspection:
    return inspect_code(key, {key: what, **more}, options)


def of_server(server: Any, options: Collection[str] = (), handler: Any = Handler) -> Inspection:
    return seen(server, options, "server", handler=handler)


def facts(server: Any) -> ServerFacts:
    found = of_server(server).server
    assert found is not None
    return found


def fault(*arguments: Any, **keywords: Any) -> tuple[str, str | None]:
    """What is wrong, and the key to blame if it is not the thing's own."""
    with pytest.raises(Unusable) as caught:
        seen(*arguments, **keywords)
    return str(caught.value), caught.value.key


def fault_of_server(*arguments: Any, **keywords: Any) -> tuple[str, str | None]:
    with pytest.raises(Unusable) as caught:
        of_server(*arguments, **keywords)
    return str(caught.value), caught.value.key


class Unshowable:
    def __repr__(self) -> str:
        raise ValueError("nobody sees me")


class TestHandlers:
    @pytest.mark.parametrize(
        ("handler", "requests"),
        [
            (Handler, "any"),
            (socketserver.StreamRequestHandler, "stream"),
            (http.server.SimpleHTTPRequestHandler, "stream"),
            (socketserver.DatagramRequestHandler, "datagram"),
        ],
    )
    def test_blocking(self, handler: type, requests: Requests) -> None:
        """Which requests one takes is known by its base class."""
        assert seen(handler) == Inspection(requests, "blocking")

    @pytest.mark.parametrize(
        ("handler", "requests"),
        [
            (AsyncRequestHandler, "any"),
            (AsyncStreamRequestHandler, "stream"),
            (AsyncDatagramRequestHandler, "datagram"),
        ],
    )
    def test_asynchronous(self, handler: type, requests: Requests) -> None:
        """So is that it belongs to the reactor."""
        assert seen(handler) == Inspection(requests, "reactor")

    @pytest.mark.parametrize(
        ("what", "shown"),
        [
            (5, "5"),
            (None, "None"),
            (Handler.handle, f"{Handler.handle!r:.80}"),
            (socketserver.TCPServer, 'the class "TCPServer"'),
            (Protocol, 'the class "Protocol"'),
            (Unshowable(), 'a "Unshowable"'),
            ("x" * 1000, f"{'x' * 1000!r:.80}"),
        ],
        ids=lambda value: f"{type(value).__name__}",
    )
    def test_none(self, what: object, shown: str) -> None:
        """What is no handler is shown as what it is, and never at length."""
        assert fault(what) == (
            f"is {shown}, not a subclass of socketserver.BaseRequestHandler or "
            "netd.handlers.AsyncRequestHandler",
            None,
        )

    def test_made_already(self) -> None:
        """An object of a handler class is no class."""
        one = object.__new__(Handler)
        assert fault(one)[0].endswith("netd.handlers.AsyncRequestHandler")


class TestOptions:
    @pytest.mark.parametrize(
        ("handler", "options"),
        [
            (WithOptions, ["directory"]),
            (WithOptions, ["listing", "directory"]),
            (WithAny, []),
            (WithAny, ["anything", "request2"]),
            (http.server.SimpleHTTPRequestHandler, ["directory"]),
        ],
    )
    def test_that_fit(self, handler: type, options: list[str]) -> None:
        """They come as keyword arguments after the three that ``socketserver`` gives."""
        assert seen(handler, options).requests == "stream"

    @pytest.mark.parametrize(
        ("handler", "options", "message", "key"),
        [
            (
                Handler,
                ["a", "b"],
                "cannot be called with 3 arguments and options (a, b): got an unexpected keyword "
                "argument 'a'",
                "options",
            ),
            (
                WithOptions,
                [],
                "cannot be called with 3 arguments: missing a required keyword-only argument: "
                "'directory'",
                None,
            ),
            (
                WithOptions,
                ["listing"],
                "cannot be called with 3 arguments and options (listing): missing a required "
                "keyword-only argument: 'directory'",
                "options",
            ),
            (
                WithAny,
                ["server"],
                "cannot be called with 3 arguments and options (server): multiple values for "
                "argument 'server'",
                "options",
            ),
        ],
    )
    def test_that_do_not_fit(
        self, handler: type, options: list[str], message: str, key: str | None
    ) -> None:
        """It is said before any client comes, and of the options where there are some."""
        said, blamed = fault(handler, options)
        # Newer Pythons say "keyword-only", older ones do not.
        assert said.replace("keyword-only ", "") == message.replace("keyword-only ", "")
        assert blamed == key

    def test_a_handler_that_wants_more(self) -> None:
        """No option can stand for an argument that has a place only."""
        assert fault(WithFour)[0].startswith("cannot be called with 3 arguments: missing")
        assert seen(WithFour, ["more"]).requests == "stream"

    def test_of_an_asynchronous_handler(self) -> None:
        """As of any other."""
        said, key = fault(AsyncStreamRequestHandler, ["directory"])
        assert said.startswith("cannot be called with 3 arguments and options (directory)")
        assert key == "options"

    def test_of_what_says_nothing_of_itself(self) -> None:
        """Where the signature cannot be seen, the options are tried when somebody comes."""

        class Odd(Handler):
            __signature__ = 5

        assert seen(Odd, ["a"]).execution == "blocking"


class TestProtocols:
    @pytest.mark.parametrize(
        ("what", "requests"),
        [
            (Protocol, "stream"),
            (Factory, "stream"),
            (Factory.forProtocol(Protocol), "stream"),
            (DatagramProtocol, "datagram"),
        ],
        ids=lambda value: str(getattr(value, "__name__", value))[:20],
    )
    def test_can_be(self, what: Any, requests: Requests) -> None:
        """A class of either kind, a factory's class, or a factory that is made already."""
        assert seen(what, key="protocol") == Inspection(requests, "reactor")

    @pytest.mark.parametrize("what", [Handler, 5, Unshowable(), len])
    def test_none(self, what: object) -> None:
        """What is none is told what would be."""
        said, key = fault(what, key="protocol")
        assert said.startswith("is ")
        assert "a Twisted Protocol" in said
        assert key is None


class Forking(socketserver.ForkingTCPServer):
    max_children = 10


class Threading(socketserver.ThreadingMixIn, socketserver.UDPServer):
    max_packet_size = 64
    allow_reuse_port = True


class Plain(socketserver.TCPServer):
    request_queue_size = 7


class TestServers:
    @pytest.mark.parametrize(
        ("server", "requests", "mixin"),
        [
            (socketserver.TCPServer, "stream", None),
            (socketserver.UDPServer, "datagram", None),
            (socketserver.UnixStreamServer, "stream", None),
            (socketserver.UnixDatagramServer, "datagram", None),
            (socketserver.ThreadingTCPServer, "stream", "thread"),
            (socketserver.ThreadingUDPServer, "datagram", "thread"),
            (socketserver.ThreadingUnixStreamServer, "stream", "thread"),
            (socketserver.ThreadingUnixDatagramServer, "datagram", "thread"),
            (socketserver.ForkingTCPServer, "stream", "process"),
            (socketserver.ForkingUDPServer, "datagram", "process"),
            (socketserver.BaseServer, "any", None),
            (http.server.HTTPServer, "stream", None),
            (http.server.ThreadingHTTPServer, "stream", "thread"),
            (Forking, "stream", "process"),
            (Threading, "datagram", "thread"),
        ],
    )
    def test_classes(self, server: type, requests: Requests, mixin: str | None) -> None:
        """All of the standard library's, and those that are made of them."""
        found = of_server(server)
        assert (found.requests, found.execution) == (requests, "blocking")
        assert found.server is not None
        assert found.server.mixin == mixin
        assert found.notes == ()

    def test_both_mixins(self) -> None:
        """The one that ``process_request`` is found in first."""

        class Both(socketserver.ThreadingMixIn, socketserver.ForkingTCPServer):
            pass

        class Turned(socketserver.ForkingMixIn, socketserver.ThreadingTCPServer):
            pass

        assert (facts(Both).mixin, facts(Turned).mixin) == ("thread", "process")

    def test_attributes(self) -> None:
        """What a class sets for itself, and what it has of the standard library."""
        assert facts(Forking).children == 10
        assert facts(socketserver.ForkingTCPServer).children == 40
        assert facts(socketserver.ThreadingTCPServer).children is None
        assert facts(Threading).datagram_size == 64
        assert facts(socketserver.UDPServer).datagram_size == 8192
        assert facts(socketserver.TCPServer).datagram_size is None
        assert facts(Threading).reuse_port
        assert not facts(socketserver.TCPServer).reuse_port

    def test_the_backlog(self) -> None:
        """Nobody has chosen the standard library's five, nor that of a server built on it there."""

        class Heir(Plain):
            pass

        class Own(http.server.HTTPServer):
            request_queue_size = 128

        assert facts(Plain).backlog == facts(Heir).backlog == 7
        assert facts(Own).backlog == 128
        for server in (
            socketserver.TCPServer,
            socketserver.BaseServer,
            http.server.ThreadingHTTPServer,
            xmlrpc.server.SimpleXMLRPCServer,
        ):
            assert facts(server).backlog is None

    @pytest.mark.parametrize(
        ("value", "expected"),
        [(0, 1), (-5, 1), (10**9, 65535), (True, None), ("5", None), (None, None), (1.5, None)],
    )
    def test_attributes_that_are_no_numbers(self, value: object, expected: int | None) -> None:
        """What the system would not take is brought to what it takes, or means nothing."""
        server = type("Odd", (socketserver.TCPServer,), {"request_queue_size": value})
        assert facts(server).backlog == expected

    def test_a_class_that_runs_by_itself(self) -> None:
        """An override of ``serve_forever`` is nobody's, which its author may want to know."""

        class Loops(socketserver.TCPServer):
            def serve_forever(self, poll_interval: float = 0.5) -> None:
                raise AssertionError

        assert of_server(Loops).notes == (
            f'"{Loops.__qualname__}" overrides serve_forever(), and netd takes requests itself: '
            "the override is not run",
        )

    @pytest.mark.parametrize(
        ("what", "message"),
        [
            (Handler, 'is the class "Handler", not a subclass of socketserver.BaseServer'),
            (int, 'is the class "int", not a subclass of socketserver.BaseServer'),
            (5, "is 5, not a server class, or a function that makes one"),
            (Unshowable(), 'is a "Unshowable", not a server class, or a function that makes one'),
        ],
    )
    def test_none(self, what: object, message: str) -> None:
        """What is none is shown as what it is."""
        assert fault_of_server(what) == (message, None)

    def test_a_handler_beside_it(self) -> None:
        """It may be of any class, since the server calls it; but it must be one."""
        assert of_server(Plain, handler=object).requests == "stream"
        assert fault_of_server(Plain, handler=5) == ("is 5, not a request handler class", "handler")

    def test_without_a_handler(self) -> None:
        """A class that brings its own is called with the address alone; others cannot be."""

        class Own(socketserver.TCPServer):
            def __init__(self, address: Any) -> None:
                super().__init__(address, Handler)

        assert of_server(Own, handler=None).requests == "stream"
        said, key = fault_of_server(Plain, handler=None)
        assert said.startswith("cannot be called with 1 argument: missing a required argument")
        assert key is None
        said, _ = fault_of_server(Own)
        assert said.startswith("cannot be called with 2 arguments: too many")

    def test_options(self) -> None:
        """They are keyword arguments of the constructor, after address and handler."""
        server = xmlrpc.server.SimpleXMLRPCServer
        assert of_server(server, ["allow_none", "logRequests"], handler=None).requests == "stream"
        said, key = fault_of_server(Plain, ["allow_none"])
        assert said.startswith("cannot be called with 2 arguments and options (allow_none)")
        assert key == "options"


class TestFunctions:
    def test_make_a_server(self) -> None:
        """A function is not called, and nothing is known of what it returns."""

        def make(address: Any, handler: Any, *, size: int = 5) -> socketserver.BaseServer:
            raise AssertionError("called")

        assert of_server(make, ["size"]) == Inspection("any", "blocking")
        said, key = fault_of_server(make, ["length"])
        assert said.startswith("cannot be called with 2 arguments and options (length)")
        assert key == "options"

    def test_that_want_the_address_only(self) -> None:
        """Where no handler stands beside it."""
        assert of_server(lambda address: None, handler=None) == Inspection("any", "blocking")
        said, _ = fault_of_server(lambda: None, handler=None)
        assert said.startswith("cannot be called with 1 argument: too many")

    def test_objects_that_can_be_called(self) -> None:
        """They are as good as functions."""

        class Maker:
            def __call__(self, address: Any, handler: Any) -> None:
                raise AssertionError("called")

        assert of_server(Maker()) == Inspection("any", "blocking")


class TestOthers:
    def test_filters(self) -> None:
        """Whatever can be called can be one."""
        check_callable(len)
        check_callable(Handler)
        with pytest.raises(Unusable, match=r"^is 5, not a function$"):
            check_callable(5)

    def test_programs(self, tmp_path: Path) -> None:
        """A program is a file that we may execute."""
        tool = tmp_path / "tool"
        tool.write_text("#!/bin/sh\n")
        with pytest.raises(Unusable, match=f"^uid {os.geteuid()} cannot execute {tool}$"):
            inspect_installed(Program(str(tool), ("tool",)))
        tool.chmod(0o755)
        assert inspect_installed(Program(str(tool), ("tool",))) == Inspection("any", "program")

    def test_plugins(self) -> None:
        """A plugin is one of twistd's, and its arguments are to blame for themselves."""
        assert inspect_installed(Plugin("portforward", ("--port", "tcp:0"))) == Inspection(
            "any", "plugin"
        )
        with pytest.raises(Unusable) as caught:
            inspect_installed(Plugin("no-such-plugin", ()))
        assert caught.value.key is None
        with pytest.raises(Unusable) as caught:
            inspect_installed(Plugin("portforward", ("--no-such-option",)))
        assert caught.value.key == "arguments"

    def test_sockets_have_the_types_that_are_told(self) -> None:
        """What the tests above take for granted of the standard library."""
        assert socketserver.TCPServer.socket_type == socket.SOCK_STREAM
        assert socketserver.UDPServer.socket_type == socket.SOCK_DGRAM
