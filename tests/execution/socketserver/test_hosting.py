"""Server classes and functions on listeners that are there already."""

from __future__ import annotations

import gc
import http.server
import os
import socket
import socketserver
import ssl
import weakref
import xmlrpc.server
from collections.abc import Iterator
from contextlib import ExitStack
from pathlib import Path
from typing import Any

import pytest

from netd.execution.socketserver.hosting import Overrides, adopted, host_of, hosted, is_override
from netd.listening.handler_view import ListenerSocket
from netd.model.address import Transport
from tests.descriptors import count_descriptors
from tests.execution.hosts import FakeHost, NoHost

STREAMS = [Transport.TCP, Transport.UNIX]
DATAGRAMS = [Transport.UDP, Transport.UNIXGRAM]


class Handler(socketserver.BaseRequestHandler):
    pass


class Listeners:
    """Listeners as the daemon binds them, and what handlers see of each."""

    def __init__(self, directory: Path) -> None:
        self._directory = directory
        self._stack = ExitStack()
        self.host = FakeHost()

    def bound(self, transport: Transport = Transport.TCP) -> socket.socket:
        made = socket.socket(transport.family, transport.type)
        self._stack.enter_context(made)
        made.bind(str(self._directory / transport.value) if transport.is_unix else ("127.0.0.1", 0))
        if not transport.is_datagram:
            made.listen()
            made.setblocking(False)
        return made

    def shown(self, listener: socket.socket) -> ListenerSocket:
        return self._stack.enter_context(ListenerSocket.copy_of(listener))

    def hosted(
        self,
        kind: type,
        transport: Transport = Transport.TCP,
        handler: Any = Handler,
        **options: Any,
    ) -> Any:
        shown = self.shown(self.bound(transport))
        return hosted(kind, shown, self.host, handler, options)

    def adopted(
        self,
        function: Any,
        transport: Transport = Transport.TCP,
        handler: Any = Handler,
        **options: Any,
    ) -> Any:
        shown = self.shown(self.bound(transport))
        return adopted(function, shown, self.host, handler, options)

    def close(self) -> None:
        self._stack.close()


@pytest.fixture
def listeners(tmp_path: Path) -> Iterator[Listeners]:
    made = Listeners(tmp_path)
    yield made
    made.close()


def is_same(one: Any, other: Any) -> bool:
    """Whether two sockets are the same for the kernel."""
    return os.path.sameopenfile(one.fileno(), other.fileno())


def can_connect(listener: socket.socket) -> bool:
    with socket.socket(listener.family) as client:
        return client.connect_ex(listener.getsockname()) == 0


class TestObject:
    """What there is, is what the class's users know."""

    @pytest.mark.parametrize(
        ("kind", "transport"),
        [
            (socketserver.TCPServer, Transport.TCP),
            (socketserver.ThreadingTCPServer, Transport.TCP),
            (socketserver.ForkingTCPServer, Transport.TCP),
            (socketserver.UDPServer, Transport.UDP),
            (socketserver.ThreadingUDPServer, Transport.UDP),
            (socketserver.ForkingUDPServer, Transport.UDP),
            (socketserver.UnixStreamServer, Transport.UNIX),
            (socketserver.ThreadingUnixStreamServer, Transport.UNIX),
            (socketserver.UnixDatagramServer, Transport.UNIXGRAM),
            (socketserver.ThreadingUnixDatagramServer, Transport.UNIXGRAM),
            (http.server.HTTPServer, Transport.TCP),
            (http.server.ThreadingHTTPServer, Transport.TCP),
        ],
    )
    def test_of_every_class(self, listeners: Listeners, kind: Any, transport: Transport) -> None:
        """An object of the class itself, on the listener, which its constructor did not bind."""
        listener = listeners.bound(transport)
        server: Any = hosted(kind, listeners.shown(listener), NoHost(), Handler, {})
        assert isinstance(server, kind)
        assert (type(server).__name__, type(server).__module__) == (
            kind.__name__, kind.__module__,
        )  # fmt: skip
        assert server.server_address == listener.getsockname()
        assert server.RequestHandlerClass is Handler
        assert server.fileno() == server.socket.fileno()
        assert is_same(server, listener)
        assert (server.address_family, server.socket_type) == (transport.family, transport.type)
        assert os.get_blocking(listener.fileno()) == transport.is_datagram

    def test_of_a_family_that_the_class_does_not_have(self, listeners: Listeners) -> None:
        """A class for TCP serves a Unix socket where it is told to listen there."""
        server = listeners.hosted(socketserver.TCPServer, Transport.UNIX)
        assert server.address_family == socket.AF_UNIX
        assert server.server_address == server.socket.getsockname()

    def test_what_server_bind_sets(self, listeners: Listeners) -> None:
        """``HTTPServer`` knows its name and port."""
        server = listeners.hosted(http.server.HTTPServer)
        assert server.server_port == server.socket.getsockname()[1]
        assert server.server_name

    def test_options(self, listeners: Listeners) -> None:
        """They are keyword arguments of its constructor."""
        server = listeners.hosted(xmlrpc.server.SimpleXMLRPCServer, handler=None, allow_none=True)
        assert server.allow_none
        assert server.RequestHandlerClass is xmlrpc.server.SimpleXMLRPCRequestHandler

    def test_attributes_of_the_file(self, listeners: Listeners) -> None:
        """What the service's file has a say in, its object has as an attribute."""
        shown = listeners.shown(listeners.bound(Transport.UDP))
        attributes = {"max_packet_size": 64}
        server: Any = hosted(socketserver.UDPServer, shown, NoHost(), Handler, {}, attributes)
        assert server.max_packet_size == 64
        assert socketserver.UDPServer.max_packet_size == 8192

    def test_each_has_its_own_listener_and_host(self, listeners: Listeners) -> None:
        """Objects of one class have nothing in common that is netd's."""
        first, second = (listeners.bound() for _ in range(2))
        hosts = FakeHost(), FakeHost()
        servers: list[Any] = [
            hosted(socketserver.TCPServer, listeners.shown(listener), host, Handler, {})
            for listener, host in zip((first, second), hosts, strict=True)
        ]
        for server, listener, host in zip(servers, (first, second), hosts, strict=True):
            assert is_same(server, listener)
            assert host_of(server) is host
        assert not hasattr(socketserver.TCPServer, "netd_host")

    def test_class_of_a_metaclass(self, listeners: Listeners) -> None:
        """What makes a class of its own kind goes on doing so."""

        class Meta(type):
            def __new__(mcs, *arguments: Any) -> Any:
                made = super().__new__(mcs, *arguments)
                made.is_marked = True
                return made

        class Server(socketserver.TCPServer, metaclass=Meta):
            pass

        server = listeners.hosted(Server)
        assert server.is_marked
        assert isinstance(type(server), Meta)

    def test_is_let_go(self, listeners: Listeners) -> None:
        """An object that nobody holds, and its class, are collected with all they have."""
        server = weakref.ref(listeners.hosted(socketserver.TCPServer))
        gc.collect()
        assert server() is None


class TestConstructor:
    """Whatever a constructor does with sockets, the object has netd's listener."""

    def test_that_does_not_bind(self, listeners: Listeners) -> None:
        """``bind_and_activate=False`` leaves nothing undone."""
        server = listeners.hosted(socketserver.TCPServer, bind_and_activate=False)
        assert server.server_address == server.socket.getsockname()
        assert can_connect(server.socket)

    def test_that_binds_to_another_address(self, listeners: Listeners) -> None:
        """It is bound already, and the address is the one where clients come."""

        class Elsewhere(socketserver.TCPServer):
            def __init__(self, address: Any, handler: Any) -> None:
                super().__init__(("127.0.0.2", 1), handler)

        server = listeners.hosted(Elsewhere)
        assert server.server_address == server.socket.getsockname()

    def test_with_a_socket_of_its_own(self, listeners: Listeners) -> None:
        """It is closed, and its port is free again."""
        ports = []

        class Own(socketserver.TCPServer):
            def __init__(self, address: Any, handler: Any) -> None:
                super().__init__(address, handler, bind_and_activate=False)
                own = socket.create_server(("127.0.0.1", 0))
                ports.append(own.getsockname())
                self.socket = own

        before = count_descriptors()
        server = listeners.hosted(Own)
        assert server.server_address == server.socket.getsockname() != ports[0]
        socket.create_server(ports[0]).close()
        # The listener, and what handlers see of it.
        assert count_descriptors() == before + 2

    def test_that_closes_before_it_begins(self, listeners: Listeners) -> None:
        """Whatever it says to its socket, the listener stays as it is."""

        class Busy(socketserver.TCPServer):
            allow_reuse_address = True

            def server_bind(self) -> None:
                self.socket.setblocking(True)
                self.socket.settimeout(5)
                super().server_bind()

            def server_activate(self) -> None:
                self.socket.listen(1)
                super().server_activate()

        server = listeners.hosted(Busy)
        assert not os.get_blocking(server.fileno())

    @pytest.mark.parametrize("error", [ValueError("no"), OSError("no"), SystemExit("no")])
    def test_that_raises(self, listeners: Listeners, error: BaseException) -> None:
        """That is for whoever wants the object; the listener is still the daemon's."""

        class Broken(socketserver.TCPServer):
            def __init__(self, address: Any, handler: Any) -> None:
                super().__init__(address, handler)
                raise error

        listener = listeners.bound()
        with pytest.raises(type(error), match="no"):
            hosted(Broken, listeners.shown(listener), NoHost(), Handler, {})
        assert can_connect(listener)

    def test_that_raises_while_it_binds(self, listeners: Listeners) -> None:
        """TCPServer closes its socket then; nothing is left open but the listener."""

        class Broken(socketserver.TCPServer):
            def server_bind(self) -> None:
                raise OSError("in server_bind")

        listener = listeners.bound()
        before = count_descriptors()
        with pytest.raises(OSError, match="in server_bind"):
            hosted(Broken, ListenerSocket.copy_of(listener), NoHost(), Handler, {})
        gc.collect()
        assert count_descriptors() == before
        assert can_connect(listener)

    def test_server_bind_and_server_activate(self, listeners: Listeners) -> None:
        """Overrides are called, in that order, and reach the standard library."""
        called = []

        class Noting(socketserver.TCPServer):
            def server_bind(self) -> None:
                called.append("bind")
                super().server_bind()

            def server_activate(self) -> None:
                called.append("activate")
                super().server_activate()

        listeners.hosted(Noting)
        assert called == ["bind", "activate"]

    @pytest.mark.parametrize("when", ["after", "before"])
    def test_that_wraps_it(self, listeners: Listeners, when: str) -> None:
        """TLS on the listener is kept: it is still the same for the kernel, and never blocks."""

        class Tls(socketserver.TCPServer):
            def __init__(self, address: Any, handler: Any) -> None:
                super().__init__(address, handler)
                if when == "after":
                    self._wrap()

            def server_activate(self) -> None:
                super().server_activate()
                if when == "before":
                    self._wrap()

            def _wrap(self) -> None:
                context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
                self.socket = context.wrap_socket(self.socket, server_side=True)

        listener = listeners.bound()
        shown = ListenerSocket.copy_of(listener)
        server: Any = hosted(Tls, shown, NoHost(), Handler, {})
        with server.socket:
            assert isinstance(server.socket, ssl.SSLSocket)
            assert is_same(server, listener)
            for flag in (True, False):
                server.socket.setblocking(flag)
                server.socket.settimeout(1.0)
                assert not os.get_blocking(listener.fileno())


class Everything(socketserver.ThreadingTCPServer):
    """A server that overrides what it can, and calls what is behind it."""

    def process_request(self, request: Any, client_address: Any) -> None:
        super().process_request(request, client_address)

    def handle_error(self, request: Any, client_address: Any) -> None:
        super().handle_error(request, client_address)

    def shutdown(self) -> None:
        super().shutdown()

    def server_close(self) -> None:
        super().server_close()


class EverythingForking(socketserver.ForkingMixIn, socketserver.TCPServer):
    def process_request(self, request: Any, client_address: Any) -> None:
        super().process_request(request, client_address)

    def service_actions(self) -> None:
        super().service_actions()

    def handle_timeout(self) -> None:
        super().handle_timeout()


class TestInheritance:
    """``super()`` of an override reaches netd, where the standard library would act."""

    @pytest.mark.parametrize(
        "kind",
        [
            socketserver.TCPServer,
            socketserver.ThreadingTCPServer,
            socketserver.ForkingTCPServer,
            Everything,
            EverythingForking,
        ],
    )
    def test_process_request(self, listeners: Listeners, kind: type) -> None:
        """No thread is started, and nothing forked."""
        server = listeners.hosted(kind)
        server.process_request("request", "address")
        assert listeners.host.calls == [("process", server, "request", "address")]

    @pytest.mark.parametrize("kind", [socketserver.TCPServer, Everything])
    def test_handle_error(self, listeners: Listeners, kind: type) -> None:
        """Nothing is printed."""
        listeners.hosted(kind).handle_error("request", "address")
        assert listeners.host.calls == [("report", "request", "address")]

    @pytest.mark.parametrize("kind", [socketserver.TCPServer, Everything])
    def test_shutdown(self, listeners: Listeners, kind: type) -> None:
        """Nobody is waited for who never runs."""
        listeners.hosted(kind).shutdown()
        assert listeners.host.calls == [("suspend",)]

    @pytest.mark.parametrize("kind", [socketserver.TCPServer, Everything, EverythingForking])
    def test_server_close(self, listeners: Listeners, kind: type) -> None:
        """The object's socket is closed, and the listener stays."""
        listener = listeners.bound()
        server: Any = hosted(kind, listeners.shown(listener), listeners.host, Handler, {})
        server.server_close()
        assert server.fileno() == -1
        assert can_connect(listener)

    def test_of_forking(self, listeners: Listeners) -> None:
        """The mix-in's reaping has nothing to do, and its children are the busy workers."""
        server = listeners.hosted(EverythingForking)
        server.service_actions()
        server.handle_timeout()
        server.collect_children(blocking=True)
        assert server.active_children == {5, 7}
        server.active_children = None
        assert server.active_children == {5, 7}

    def test_of_threading(self, listeners: Listeners) -> None:
        """What the mix-in would run in a thread finishes the request, and closes nothing."""
        finished = []

        class Server(socketserver.ThreadingTCPServer):
            def finish_request(self, request: Any, client_address: Any) -> None:
                finished.append((request, client_address))

        listeners.hosted(Server).process_request_thread("request", "address")
        assert finished == [("request", "address")]

    def test_the_order(self, listeners: Listeners) -> None:
        """A user's mix-in comes before netd, wherever it stands, and netd before the library."""

        class Before:
            def shutdown(self) -> None:
                calls.append("before")
                super().shutdown()  # type: ignore[misc]

        class Server(Before, socketserver.TCPServer):
            def shutdown(self) -> None:
                calls.append("server")
                super().shutdown()

        calls: list[str] = []
        listeners.hosted(Server).shutdown()
        assert calls == ["server", "before"]
        assert listeners.host.calls == [("suspend",)]

    def test_of_what_stands_behind_a_mixin(self, listeners: Listeners) -> None:
        """Only what the mix-in defines hides what is behind it."""

        class Behind(socketserver.TCPServer):
            def shutdown(self) -> None:
                calls.append("shutdown")
                super().shutdown()

            def process_request(self, request: Any, client_address: Any) -> None:
                calls.append("process_request")

        class Server(socketserver.ThreadingMixIn, Behind):
            pass

        calls: list[str] = []
        server = listeners.hosted(Server)
        server.shutdown()
        server.process_request("request", "address")
        assert calls == ["shutdown"]
        assert [call[0] for call in listeners.host.calls] == ["suspend", "process"]

    def test_the_class_itself_is_untouched(self, listeners: Listeners) -> None:
        """Who makes an object without netd gets what he knows."""
        line = Everything.__mro__
        listeners.hosted(Everything)
        assert Everything.__mro__ == line
        with Everything(("127.0.0.1", 0), Handler) as own:
            assert can_connect(own.socket)


class TestHooks:
    """Only what is not the standard library's is called."""

    @pytest.mark.parametrize(
        "kind",
        [
            socketserver.TCPServer,
            socketserver.ThreadingTCPServer,
            socketserver.ForkingTCPServer,
            socketserver.ThreadingUDPServer,
            http.server.ThreadingHTTPServer,
        ],
    )
    def test_none(self, listeners: Listeners, kind: Any) -> None:
        """A class of the library's overrides nothing, before it is made an object and after."""
        assert not any(vars(Overrides.of(kind)).values())
        transport = Transport.UDP if issubclass(kind, socketserver.UDPServer) else Transport.TCP
        assert not any(vars(Overrides.of(listeners.hosted(kind, transport))).values())

    @pytest.mark.parametrize("name", sorted(Overrides.__dataclass_fields__))
    def test_each(self, listeners: Listeners, name: str) -> None:
        """In the class, in one of its bases, or put on the object."""

        def override(*arguments: Any) -> None:
            pass

        class Mixin:
            pass

        setattr(Mixin, name, override)
        for kind in (
            type("Own", (socketserver.ThreadingTCPServer,), {name: override}),
            type("Mixed", (Mixin, socketserver.ThreadingTCPServer), {}),
        ):
            found = vars(Overrides.of(listeners.hosted(kind)))
            assert [hook for hook in found if found[hook]] == [name]
        server = listeners.hosted(socketserver.TCPServer)
        setattr(server, name, override)
        assert getattr(Overrides.of(server), name)

    def test_behind_a_mixin(self) -> None:
        """What the mix-in hides is no override; its server_close calls the one behind it."""

        class Behind(socketserver.TCPServer):
            def process_request(self, request: Any, client_address: Any) -> None:
                pass

            def server_close(self) -> None:
                pass

        class Server(socketserver.ThreadingMixIn, Behind):
            pass

        assert not is_override(Server, "process_request")
        assert is_override(Server, "server_close")

    def test_what_nobody_has(self) -> None:
        """A method that only some servers have is no override of the others."""
        assert not is_override(socketserver.TCPServer, "process_request_thread")
        assert not is_override(socketserver.TCPServer, "no_such_method")


def make_server(address: Any, handler: Any, **options: Any) -> socketserver.BaseServer:
    """A function as users write it: it binds where it is told."""
    return socketserver.TCPServer(address, handler, **options)


class TestFunction:
    """A function that returns a server, whose socket is changed for netd's listener."""

    @pytest.mark.parametrize(
        ("kind", "transport"),
        [
            (socketserver.TCPServer, Transport.TCP),
            (socketserver.UDPServer, Transport.UDP),
            (socketserver.UnixStreamServer, Transport.UNIX),
            (socketserver.UnixDatagramServer, Transport.UNIXGRAM),
        ],
    )
    @pytest.mark.parametrize("binds", [True, False])
    def test_of_every_kind(
        self, listeners: Listeners, kind: Any, transport: Transport, binds: bool
    ) -> None:
        """Bound or not, it is on the listener afterwards, and nothing else is left."""
        listener = listeners.bound(transport)
        shown = listeners.shown(listener)
        before = count_descriptors()
        addresses = []

        def make(address: Any, handler: Any) -> Any:
            addresses.append(address)
            return kind(address, handler, bind_and_activate=binds)

        server: Any = adopted(make, shown, NoHost(), Handler, {})
        assert isinstance(server, kind)
        assert is_same(server, listener)
        assert server.server_address == listener.getsockname() != addresses[0]
        assert server.RequestHandlerClass is Handler
        assert count_descriptors() == before
        if transport.is_unix:
            assert not os.path.exists(os.path.dirname(addresses[0]))

    def test_reaches_netd(self, listeners: Listeners) -> None:
        """As of a class."""
        server = listeners.adopted(make_server)
        server.process_request("request", "address")
        server.shutdown()
        assert listeners.host.calls == [("process", server, "request", "address"), ("suspend",)]

    def test_options(self, listeners: Listeners) -> None:
        """They are the function's."""
        assert listeners.adopted(make_server, bind_and_activate=False)
        with pytest.raises(TypeError, match="unexpected keyword"):
            listeners.adopted(make_server, size=5)

    def test_without_a_handler(self, listeners: Listeners) -> None:
        """It is called with the address alone."""
        server = listeners.adopted(lambda address: make_server(address, Handler), handler=None)
        assert server.RequestHandlerClass is Handler

    def test_server_bind(self, listeners: Listeners) -> None:
        """It is called again, on the listener, so that what it sets is true."""
        server = listeners.adopted(http.server.HTTPServer)
        assert server.server_port == server.socket.getsockname()[1]

    def test_that_wraps(self, listeners: Listeners) -> None:
        """TLS on the socket that the function has made is TLS on the listener."""

        def make(address: Any, handler: Any) -> Any:
            server = socketserver.TCPServer(address, handler)
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            server.socket = context.wrap_socket(
                server.socket, server_side=True, do_handshake_on_connect=False
            )
            contexts.append(context)
            return server

        contexts: list[ssl.SSLContext] = []
        listener = listeners.bound()
        shown = ListenerSocket.copy_of(listener)
        server: Any = adopted(make, shown, NoHost(), Handler, {})
        with server.socket:
            assert server.socket.context is contexts[0]
            assert not server.socket.do_handshake_on_connect
            assert is_same(server, listener)
            assert not os.get_blocking(listener.fileno())

    @pytest.mark.parametrize("result", [None, 5, Handler, "x" * 1000])
    def test_that_returns_something_else(self, listeners: Listeners, result: object) -> None:
        """It is shown, shortened."""
        with pytest.raises(TypeError, match=r"which is no socketserver\.BaseServer") as caught:
            listeners.adopted(lambda address, handler: result)
        assert len(str(caught.value)) < 200

    @pytest.mark.parametrize(
        ("kind", "transport", "wanted"),
        [
            (socketserver.UDPServer, Transport.TCP, "streams"),
            (socketserver.TCPServer, Transport.UDP, "datagrams"),
        ],
    )
    def test_that_returns_another_kind(
        self, listeners: Listeners, kind: Any, transport: Transport, wanted: str
    ) -> None:
        """A server for packets never closes a connection, so it gets none."""
        made = []

        def make(address: Any, handler: Any) -> Any:
            made.append(kind(address, handler, bind_and_activate=False))
            return made[0]

        expected = f"returned a {kind.__name__}, which cannot serve {wanted}"
        with pytest.raises(TypeError, match=expected):
            listeners.adopted(make, transport)
        made[0].server_close()

    def test_that_returns_the_same_again(self, listeners: Listeners) -> None:
        """One object cannot be on two listeners."""
        one = socketserver.TCPServer(("127.0.0.1", 0), Handler)
        server = listeners.adopted(lambda address, handler: one)
        with pytest.raises(TypeError, match="returned the same server twice"):
            listeners.adopted(lambda address, handler: one)
        assert server.server_address == server.socket.getsockname()

    def test_that_raises(self, listeners: Listeners) -> None:
        """That is for whoever wants the server; its directory has gone."""
        addresses = []

        def make(address: Any, handler: Any) -> Any:
            addresses.append(address)
            raise ValueError("no")

        with pytest.raises(ValueError, match="no"):
            listeners.adopted(make, Transport.UNIX)
        assert not os.path.exists(os.path.dirname(addresses[0]))
