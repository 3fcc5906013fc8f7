"""MODEL "Servers": classes of ``socketserver`` as they are, and what their overrides see."""

from __future__ import annotations

import os
import socket
import textwrap
from collections.abc import Iterator
from contextlib import ExitStack, closing, contextmanager
from pathlib import Path

import pytest

from tests.integration.daemons import (
    PATIENCE,
    Project,
    RunningDaemon,
    datagram_client,
    is_alive,
    read_all,
    read_exactly,
    until,
)

TCP = 'listen = ["tcp:0:interface=127.0.0.1"]'
UDP = 'listen = ["udp:0:interface=127.0.0.1"]'

ADDRESS_OF = {
    "TCP": '"tcp:0:interface=127.0.0.1", "tcp:0:interface=127.0.0.1"',
    "UDP": '"udp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1"',
    "UnixStream": '"unix:one", "unix:two"',
    "UnixDatagram": '"unixgram:one", "unixgram:two"',
}

FORKING_UNIX = """
    from socketserver import ForkingMixIn, UnixDatagramServer, UnixStreamServer
    class ForkingUnixStreamServer(ForkingMixIn, UnixStreamServer): pass
    class ForkingUnixDatagramServer(ForkingMixIn, UnixDatagramServer): pass
"""
"""Which the standard library has from Python 3.12 on."""


def serve(project: Project, text: str, service: str, daemon_table: str = "") -> RunningDaemon:
    """Start a daemon for service ``s`` and a module ``handlers``."""
    project.handlers(text)
    project.configure(f"{daemon_table}\n[services.s]\n{service}")
    return project.start()


@contextmanager
def connection(project: Project, daemon: RunningDaemon, kind: str, which: int) -> Iterator[Client]:
    """A client of the first or second listener of a server of *kind*."""
    datagrams = kind in ("UDP", "UnixDatagram")
    family = socket.AF_UNIX if kind.startswith("Unix") else socket.AF_INET
    with socket.socket(family, socket.SOCK_DGRAM if datagrams else socket.SOCK_STREAM) as made:
        made.settimeout(PATIENCE)
        if family == socket.AF_UNIX:
            if datagrams:
                made.bind("")  # a name of the kernel's choice, so that it can be answered
            made.connect(str(project.directory / ("one", "two")[which]))
        else:
            made.connect(nth_address(daemon, kind.lower(), which))
        yield Client(made)


def nth_address(daemon: RunningDaemon, transport: str, which: int) -> tuple[str, int]:
    """Where the listener listens that was bound as number *which*."""
    host, _, port = daemon.log.wait(rf"listens on {transport} (\S+)", which + 1)[1].rpartition(":")
    return host, int(port)


class Client:
    """Says a word, and hears one."""

    def __init__(self, connected: socket.socket) -> None:
        self.socket = connected

    def say(self, word: bytes) -> None:
        """Send it."""
        self.socket.send(word)

    def hear(self) -> bytes:
        """Wait for an answer."""
        return self.socket.recv(1000)

    def hears_nothing(self, seconds: float = 0.1) -> bool:
        """Whether there is no answer for a while."""
        self.socket.settimeout(seconds)
        try:
            return not self.socket.recv(1000)
        except TimeoutError:
            return True
        finally:
            self.socket.settimeout(PATIENCE)


class TestTwelve:
    HANDLER = """
        import os, select, socket, sys, threading
        from socketserver import BaseRequestHandler

        class Handler(BaseRequestHandler):
            def handle(self):
                if isinstance(self.request, socket.socket):
                    word = self.request.recv(100)
                    answer = self.request.sendall
                else:
                    word, back = self.request
                    answer = lambda data: back.sendto(data, self.client_address)
                server = self.server
                if word == b"wait":
                    answer(f"{os.getpid()} {threading.get_ident()}".encode())
                    gate = os.open(GATE, os.O_RDONLY)   # a FIFO: until the test opens it
                    os.close(gate)
                    return
                answer(repr((
                    os.getpid(), threading.get_ident(),
                    server.fileno() == server.socket.fileno() > 2,
                    server.server_address == server.socket.getsockname(),
                    server.address_family == server.socket.family,
                    server.socket_type == server.socket.type,
                    server.RequestHandlerClass is Handler,
                    type(server).__name__,
                )).encode())
    """

    @pytest.mark.sweep
    @pytest.mark.parametrize("kind", ADDRESS_OF)
    @pytest.mark.parametrize("way", ["", "Threading", "Forking"])
    def test_serve(self, project: Project, way: str, kind: str) -> None:
        """As many at a time as the class says, over all listeners, and by what it says."""
        own = kind.startswith("Unix") and way == "Forking"
        name = f"{way}{kind}Server"
        gate = project.directory / "gate"
        os.mkfifo(gate)
        daemon = serve(
            project,
            textwrap.dedent(self.HANDLER).replace("GATE", repr(str(gate)))
            + (textwrap.dedent(FORKING_UNIX) if own else ""),
            f"""
            server = "{"handlers" if own else "socketserver"}:{name}"
            handler = "handlers:Handler"
            listen = [{ADDRESS_OF[kind]}]
            """,
        )
        with ExitStack() as stack:
            first, second, third = (
                stack.enter_context(connection(project, daemon, kind, which)) for which in (0, 1, 0)
            )
            first.say(b"wait")
            busy = first.hear().split()
            second.say(b"facts")
            third.say(b"facts")
            if not way:
                assert second.hears_nothing()
                self._open(project)
            heard = [eval(client.hear()) for client in (second, third)]
            if way:
                self._open(project)
        for pid, thread, *facts in heard:
            assert facts == [True, True, True, True, True, name]
            assert (str(pid).encode() == busy[0]) is (way != "Forking")
            if way == "Threading":
                assert str(thread).encode() != busy[1]
        assert daemon.stop() == 0

    @staticmethod
    def _open(project: Project) -> None:
        os.close(os.open(project.directory / "gate", os.O_WRONLY))


class TestAttributes:
    def test_of_a_class_are_honoured(self, project: Project) -> None:
        """The address family is the listener's; reuse of the port and the queue are as it says."""
        daemon = serve(
            project,
            """
            import socket, struct
            from socketserver import BaseRequestHandler, TCPServer
            class Server(TCPServer):
                address_family = socket.AF_INET6
                allow_reuse_port = True
                request_queue_size = 37
            class Handler(BaseRequestHandler):
                def handle(self):
                    listener = self.server.socket
                    info = listener.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
                    self.request.sendall(repr((
                        self.server.address_family.name,
                        bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT)),
                        bool(listener.getsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR)),
                        struct.unpack_from("I", info, 28)[0],   # tcpi_sacked: of a listener, this
                    )).encode())
            """,
            f'server = "handlers:Server"\nhandler = "handlers:Handler"\n{TCP}',
        )
        assert eval(daemon.ask()) == ("AF_INET", True, True, 37)
        with closing(socket.socket()) as second:
            second.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEPORT, 1)
            second.bind(daemon.address("tcp"))

    @pytest.mark.long
    def test_queue_of_the_standard_library_is_not_taken(self, project: Project) -> None:
        """Five clients in the queue are what socketserver has; netd keeps its own number."""
        daemon = serve(
            project,
            """
            import socket, struct
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    s = self.server.socket
                    info = s.getsockopt(socket.IPPROTO_TCP, socket.TCP_INFO, 32)
                    self.request.sendall(str(struct.unpack_from("I", info, 28)[0]).encode())
            """,
            f'server = "socketserver:TCPServer"\nhandler = "handlers:Handler"\n{TCP}\nbacklog = 99',
        )
        assert daemon.ask() == b"99"
        project.configure(project.file.read_text().partition("\n")[2].replace("backlog = 99", ""))
        daemon.stop()
        queue = int(project.start().ask())
        assert queue == min(1024, int(Path("/proc/sys/net/core/somaxconn").read_text()))

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        ("key", "longest"), [("", 100), ("datagram_size = 300", 300)], ids=["class", "file"]
    )
    @pytest.mark.parametrize("hooked", [False, True], ids=["plain", "get_request"])
    def test_max_packet_size(self, project: Project, key: str, longest: int, hooked: bool) -> None:
        """A longer datagram is dropped whole and said, a file's key wins, whoever receives."""
        daemon = serve(
            project,
            f"""
            from socketserver import BaseRequestHandler, UDPServer
            class Server(UDPServer):
                max_packet_size = 100
                if {hooked}:
                    def get_request(self):
                        return super().get_request()
            class Handler(BaseRequestHandler):
                def handle(self):
                    said = f"{{len(self.request[0])}} {{self.server.max_packet_size}}"
                    self.request[1].sendto(said.encode(), self.client_address)
            """,
            f'server = "handlers:Server"\nhandler = "handlers:Handler"\n{UDP}\n{key}',
        )
        with datagram_client(socket.AF_INET, daemon.address("udp")) as client:
            client.send(bytes(longest + 1))
            client.send(bytes(longest))
            assert client.recv(100) == f"{longest} {longest}".encode()
        daemon.log.wait(rf"dropped: datagram from 127\.0\.0\.1:\d+ is longer than {longest} bytes")

    @pytest.mark.parametrize("extra", ["", "max_requests = 1"], ids=["one", "forks"])
    @pytest.mark.parametrize("number", ["5", "errno.EMFILE"])
    def test_error_of_a_get_request_that_raises_when_it_is_shown(
        self, project: Project, extra: str, number: str
    ) -> None:
        """User code runs once more when its error is shown; what that raises costs one datagram."""
        daemon = serve(
            project,
            f"""
            import errno
            from socketserver import BaseRequestHandler, ForkingUDPServer
            class Odd(OSError):
                def __str__(self):
                    raise SystemExit
            class Server(ForkingUDPServer):
                def get_request(self):
                    request, address = super().get_request()
                    if request[0] == b"odd":
                        raise Odd({number}, "odd")
                    return request, address
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request[1].sendto(b"welcome", self.client_address)
            """,
            f'server = "handlers:Server"\nhandler = "handlers:Handler"\n{UDP}\n{extra}',
        )
        with datagram_client(socket.AF_INET, daemon.address("udp")) as client:
            client.settimeout(5)
            client.send(b"odd")
            client.send(b"even")
            assert client.recv(100) == b"welcome"
        assert len(daemon.workers()) >= 1
        assert not daemon.log.matching("lost")

    @pytest.mark.long
    def test_unix_clients_of_a_get_request_are_known(self, project: Project) -> None:
        """An allow list of users goes on working under a class that takes for itself."""
        daemon = serve(
            project,
            """
            from socketserver import BaseRequestHandler, UnixStreamServer
            class Server(UnixStreamServer):
                def get_request(self):
                    return super().get_request()
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.sendall(b"welcome")
            """,
            f"""
            server = "handlers:Server"
            handler = "handlers:Handler"
            listen = ["unix:one"]
            access = {{ allow = ["uid:{os.getuid()}"] }}
            """,
        )
        with connection(project, daemon, "UnixStream", 0) as client:
            assert client.hear() == b"welcome"


class TestShutdown:
    TEXT = """
        import os, threading
        from socketserver import BaseRequestHandler
        class Handler(BaseRequestHandler):
            def handle(self):
                word = self.request.recv(100)
                if word == b"here":
                    self.server.shutdown()
                elif word == b"thread":
                    asks = threading.Thread(target=self.server.shutdown)
                    asks.start()
                    asks.join()
                elif word == b"wait":
                    self.request.sendall(b"waiting")
                    self.request.recv(100)
                self.request.sendall(b"done " + str(os.getpid()).encode())
    """

    @pytest.mark.sweep
    @pytest.mark.parametrize("word", [b"here", b"thread"])
    @pytest.mark.parametrize(
        "server",
        ["ThreadingTCPServer", "ForkingTCPServer", "ThreadingTCPServer twice", "TCPServer"],
    )
    def test_suspends_all_processes(self, project: Project, server: str, word: bytes) -> None:
        """It returns while handlers go on; who comes now waits in the backlog."""
        name, _, twice = server.partition(" ")
        daemon = serve(
            project,
            self.TEXT,
            f"""
            server = "socketserver:{name}"
            handler = "handlers:Handler"
            {TCP}
            {"processes = 2" if twice else ""}
            """,
            '[daemon]\ngraceful_timeout = "5s"',
        )
        with ExitStack() as stack:
            inside = [
                stack.enter_context(daemon.tcp()) for _ in range(0 if name == "TCPServer" else 3)
            ]
            for client in inside:
                client.sendall(b"wait")
                assert read_exactly(client, 7) == b"waiting"
            with daemon.tcp() as asks:
                asks.sendall(word)
                assert read_all(asks).startswith(b"done ")
            daemon.log.wait("service s is suspended")
            outside = stack.enter_context(daemon.tcp())
            assert Client(outside).hears_nothing(0.2)
            for client in inside:
                client.sendall(b"go on")
                assert read_all(client).startswith(b"done ")
            assert Client(outside).hears_nothing(0.2)
            assert daemon.stop() == 0
        assert len(daemon.log.matching(r"shutdown\(\) was called")) == 1

    @pytest.mark.long
    def test_serve_forever_is_noted(self, project: Project) -> None:
        """check says that an override is not run, as a note: it is no problem."""
        project.handlers("""
            from socketserver import BaseRequestHandler, TCPServer
            class Server(TCPServer):
                def serve_forever(self, poll_interval=0.5):
                    raise RuntimeError("run after all")
        """)
        project.configure(f"""
            [services.s]
            server = "handlers:Server"
            handler = "socketserver:StreamRequestHandler"
            {TCP}
        """)
        for done in (project.check(), project.check_by_twistd()):
            assert (done.returncode, done.stdout) == (0, f"{project.file}: ok (1 services)\n")
            assert done.stderr == (
                f'note: {project.file}:4: services.s.server: "Server" overrides serve_forever(), '
                "and netd takes requests itself: the override is not run\n"
            )
        daemon = project.start()
        assert daemon.ask() == b""
        assert daemon.stop() == 0


HOOKS = """
    import os, socket, sys, threading
    from socketserver import BaseRequestHandler, TCPServer, ThreadingTCPServer, ThreadingMixIn
    from socketserver import UDPServer

    def noted(name):
        def method(self, *arguments):
            self.note(name, arguments)
            return getattr(super(Noting, self), name)(*arguments)
        return method

    class Noting:
        def note(self, name, arguments):
            said = " ".join(self.shown(one) for one in arguments)
            print(f"hook {name} {said}".rstrip())
            if self.raises == name:
                raise ValueError(f"in {name}")
        def shown(self, argument):
            if isinstance(argument, socket.socket):
                closed = argument.fileno() == -1
                return "closed" if closed else "request" if argument is not self.socket else "own"
            if isinstance(argument, tuple) and isinstance(argument[0], bytes):
                return f"{argument[0]!r} {self.shown(argument[1])}"
            return "address" if isinstance(argument, tuple) else repr(argument)
        raises = ""
        for name in (
            "server_bind", "server_activate", "get_request", "verify_request", "process_request",
            "finish_request", "shutdown_request", "close_request", "handle_error", "server_close",
        ):
            locals()[name] = noted(name)
        del name

    class Server(Noting, TCPServer): pass
    class Threaded(Noting, ThreadingTCPServer): pass
    class Behind(ThreadingMixIn, Server): pass
    class Datagrams(Noting, UDPServer): pass

    class Handler(BaseRequestHandler):
        def handle(self):
            if isinstance(self.request, socket.socket):
                word = self.request.recv(100)
                answer = self.request.sendall
            else:
                word, back = self.request
                answer = lambda data: back.sendto(data, self.client_address)
            if word == b"raise":
                raise RuntimeError("as ordered")
            if word.startswith(b"break "):
                type(self.server).raises = word[6:].decode()
            answer(b"served")
"""


def hooks_of(daemon: RunningDaemon) -> list[str]:
    """The calls of overrides so far."""
    return [line.rpartition("hook ")[2] for line in daemon.log.matching(r"\[s#info\] hook ")]


class TestHooks:
    def start(
        self, project: Project, server: str, listen: str = TCP, more: str = ""
    ) -> RunningDaemon:
        return serve(
            project,
            HOOKS,
            f'server = "handlers:{server}"\nhandler = "handlers:Handler"\n{listen}\n{more}',
        )

    @pytest.mark.sweep
    @pytest.mark.parametrize("server", ["Server", "Threaded"])
    def test_are_called_as_socketserver_calls_them(self, project: Project, server: str) -> None:
        """All of them, in its order, with its arguments; server_close at the worker's end."""
        daemon = self.start(project, server)
        assert daemon.ask(b"hello") == b"served"
        assert daemon.ask(b"raise") == b""
        daemon.log.wait("tcp failed")
        assert daemon.stop() == 0
        request = [
            "get_request",
            "verify_request request address",
            "process_request request address",
            "finish_request request address",
        ]
        end = ["shutdown_request request", "close_request request"]
        assert hooks_of(daemon) == [
            "server_bind", "server_activate",
            *request, *end,
            *request, "handle_error request address", *end,
            "server_close",
        ]  # fmt: skip
        daemon.log.wait(r"127.0.0.1:\d+ tcp: the handler raised")
        assert len(daemon.log.matching("RuntimeError: as ordered")) == 1

    def test_behind_a_mixin_are_found(self, project: Project) -> None:
        """ThreadingMixIn hides process_request of a class behind it, and nothing else."""
        daemon = self.start(project, "Behind")
        assert daemon.ask(b"raise") == b""
        daemon.log.wait("tcp failed")
        assert daemon.stop() == 0
        assert hooks_of(daemon) == [
            "server_bind", "server_activate", "get_request", "verify_request request address",
            "finish_request request address", "handle_error request address",
            "shutdown_request request", "close_request request", "server_close",
        ]  # fmt: skip

    def test_of_datagrams(self, project: Project) -> None:
        """The request is the data and the socket."""
        daemon = self.start(project, "Datagrams", UDP)
        with datagram_client(socket.AF_INET, daemon.address("udp")) as client:
            client.send(b"hello")
            assert client.recv(100) == b"served"
        daemon.log.wait("udp served")
        assert daemon.stop() == 0
        request = "b'hello' own"
        assert hooks_of(daemon) == [
            "server_bind", "server_activate", "get_request",
            *(f"{name} {request} address" for name in (
                "verify_request", "process_request", "finish_request")),
            f"shutdown_request {request}", f"close_request {request}", "server_close",
        ]  # fmt: skip

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        "hook",
        ["verify_request", "process_request", "finish_request", "shutdown_request", "close_request",
         "handle_error"],
    )  # fmt: skip
    @pytest.mark.parametrize("server", ["Server", "Threaded"])
    def test_that_raise_cost_their_request_only(
        self, project: Project, server: str, hook: str
    ) -> None:
        """The error is logged, the client sees its end, and the next one is served."""
        daemon = self.start(project, server)
        workers = daemon.workers()
        assert daemon.ask(f"break {hook}".encode()) == b"served"
        expected = (
            b"served" if hook in ("shutdown_request", "close_request", "handle_error") else b""
        )
        for word in (b"hello", b"raise" if hook == "handle_error" else b"hello"):
            assert self.ask(daemon, word) == (b"" if word == b"raise" else expected)
        daemon.log.wait(rf"ValueError: in {hook}")
        assert daemon.workers() == workers
        assert daemon.stop() == 0

    @staticmethod
    def ask(daemon: RunningDaemon, word: bytes) -> bytes:
        """What a client hears, who may be turned away before it has spoken."""
        try:
            return daemon.ask(word)
        except (ConnectionResetError, BrokenPipeError, OSError):
            return b""

    @pytest.mark.sweep
    @pytest.mark.parametrize("server", ["TCPServer", "ThreadingTCPServer"])
    def test_get_request_that_raises(self, project: Project, server: str) -> None:
        """It costs the client that it has taken; and where it takes nobody, there is a rest."""
        daemon = serve(
            project,
            f"""
            import socket
            from socketserver import BaseRequestHandler, {server}
            class Server({server}):
                calls = 0
                def get_request(self):
                    self.calls += 1
                    if self.calls < 40:
                        raise ValueError("before")
                    request, address = super().get_request()
                    if request.recv(1, socket.MSG_PEEK) == b"!":
                        request.recv(100)   # unread, it would become a reset at the end
                        request.close()
                        raise ValueError("after")
                    return request, address
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.recv(100)   # unread, it would become a reset at the end
                    self.request.sendall(b"served")
            """,
            f'server = "handlers:Server"\nhandler = "handlers:Handler"\n{TCP}',
        )
        assert self.ask(daemon, b"hello") == b"served"
        daemon.log.wait("cannot accept, connections wait in the backlog: .* 16 times in a row")
        daemon.log.wait("accepting again")
        assert self.ask(daemon, b"!") == b""
        assert self.ask(daemon, b"hello") == b"served"
        assert daemon.stop() == 0
        assert len(daemon.log.matching("ValueError: before")) == 39

    @pytest.mark.sweep
    @pytest.mark.parametrize("hook", ["server_bind", "server_activate"])
    def test_that_raise_at_the_start_are_said(self, project: Project, hook: str) -> None:
        """A constructor's error is the service's, named with its kind and text."""
        project.handlers(HOOKS + f"    Server.raises = {hook!r}\n")
        project.configure(
            f'[services.s]\nserver = "handlers:Server"\nhandler = "handlers:Handler"\n{TCP}'
        )
        daemon = project.launch()
        daemon.log.wait(rf'service s: "handlers:Server" makes no server: ValueError: in {hook}')
        daemon.stop()

    @pytest.mark.long
    def test_that_raises_in_server_close(self, project: Project) -> None:
        """The worker leaves all the same."""
        daemon = self.start(project, "Server")
        assert daemon.ask(b"break server_close") == b"served"
        assert daemon.stop() == 0
        daemon.log.wait(r"server_close\(\) raised ValueError: in server_close")

    def test_verify_request_that_says_no(self, project: Project) -> None:
        """The connection is closed by shutdown_request, counted and logged as refused."""
        daemon = serve(
            project,
            """
            from socketserver import StreamRequestHandler, TCPServer
            class Server(TCPServer):
                def verify_request(self, request, client_address):
                    print("asked of", client_address[0])
                    return False
                def shutdown_request(self, request):
                    print("shut down")
                    super().shutdown_request(request)
            """,
            f'server = "handlers:Server"\nhandler = "socketserver:StreamRequestHandler"\n{TCP}',
        )
        assert daemon.ask() == b""
        daemon.log.wait(r"\[s#info\] asked of 127.0.0.1")
        daemon.log.wait(r"\[s#info\] shut down")
        daemon.log.wait("tcp refused: verify_request ")
        assert daemon.stop() == 0
        daemon.log.wait("stopped: 0 served, 1 refused, 0 failed")

    def test_process_request_by_means_of_its_own(self, project: Project) -> None:
        """One that keeps requests, and passes them on late from a thread, reaches the pool."""
        daemon = serve(
            project,
            """
            import threading
            from socketserver import BaseRequestHandler, ThreadingTCPServer
            class Server(ThreadingTCPServer):
                kept = []
                def process_request(self, request, client_address):
                    self.kept.append((request, client_address))
                    if len(self.kept) == 2:
                        threading.Thread(target=self.let_go).start()
                def let_go(self):
                    while self.kept:
                        super().process_request(*self.kept.pop())
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.sendall(threading.current_thread().name.encode())
            """,
            f'server = "handlers:Server"\nhandler = "handlers:Handler"\n{TCP}',
        )
        with daemon.tcp() as first:
            assert Client(first).hears_nothing()
            with daemon.tcp() as second:
                assert read_all(first).startswith(b"Pool")
                assert read_all(second).startswith(b"Pool")
        assert daemon.stop() == 0

    def test_process_request_thread(self, project: Project) -> None:
        """Its override runs around the handler, in the thread that serves."""
        daemon = serve(
            project,
            """
            from socketserver import BaseRequestHandler, ThreadingTCPServer
            class Server(ThreadingTCPServer):
                def process_request_thread(self, request, client_address):
                    request.sendall(b"before ")
                    super().process_request_thread(request, client_address)
                    request.sendall(b" after")
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.sendall(b"handled")
            """,
            f'server = "handlers:Server"\nhandler = "handlers:Handler"\n{TCP}',
        )
        assert daemon.ask() == b"before handled after"

    def test_one_thread_at_a_time(self, project: Project) -> None:
        """verify_request, process_request and service_actions never overlap; handlers do."""
        daemon = serve(
            project,
            """
            import threading
            from socketserver import BaseRequestHandler, ThreadingTCPServer
            class Server(ThreadingTCPServer):
                inside = 0
                def alone(self):
                    self.inside += 1
                    if self.inside > 1: print("overlap")
                    threading.Event().wait(0.002)
                    self.inside -= 1
                def verify_request(self, request, client_address):
                    self.alone()
                    return True
                def process_request(self, request, client_address):
                    self.alone()
                    super().process_request(request, client_address)
                def service_actions(self):
                    self.alone()
            together = threading.Barrier(8)
            class Handler(BaseRequestHandler):
                def handle(self):
                    together.wait(30)
                    self.request.sendall(b"together")
            """,
            f'server = "handlers:Server"\nhandler = "handlers:Handler"\n{TCP}',
        )
        with ExitStack() as stack:
            clients = [stack.enter_context(daemon.tcp()) for _ in range(8)]
            assert [read_all(client) for client in clients] == [b"together"] * 8
        assert daemon.stop() == 0
        assert not daemon.log.matching("overlap|error")

    @pytest.mark.sweep
    @pytest.mark.parametrize("server", ["TCPServer", "ForkingTCPServer"])
    def test_between_requests(self, project: Project, server: str) -> None:
        """service_actions and handle_timeout come by themselves, and after a request."""
        daemon = serve(
            project,
            f"""
            from socketserver import BaseRequestHandler, {server}
            class Server({server}):
                timeout = 0.05
                def service_actions(self):
                    super().service_actions()
                    print("actions")
                def handle_timeout(self):
                    super().handle_timeout()
                    print("timed out")
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.sendall(b"served")
            """,
            f'server = "handlers:Server"\nhandler = "handlers:Handler"\n{TCP}',
        )
        daemon.log.wait("timed out", 3)
        daemon.log.wait("actions", 2)
        assert daemon.ask() == b"served"
        assert daemon.stop() == 0

    @pytest.mark.long
    def test_between_requests_that_raise(self, project: Project) -> None:
        """It is logged, and they are called again."""
        daemon = serve(
            project,
            """
            from socketserver import StreamRequestHandler, TCPServer
            class Server(TCPServer):
                timeout = 0.05
                def service_actions(self):
                    raise ValueError("no actions")
                def handle_timeout(self):
                    raise ValueError("no time out")
            """,
            f'server = "handlers:Server"\nhandler = "socketserver:StreamRequestHandler"\n{TCP}',
        )
        daemon.log.wait("ValueError: no actions", 2)
        daemon.log.wait("ValueError: no time out", 2)
        assert daemon.ask() == b""
        assert daemon.stop() == 0

    def test_that_are_not_there_cost_nothing(self, project: Project) -> None:
        """A server without overrides has no more threads than a handler by itself."""
        project.handlers("""
            import threading
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.sendall(str(threading.active_count()).encode())
        """)
        project.configure(f"""
            [services.server]
            server = "socketserver:ThreadingTCPServer"
            handler = "handlers:Handler"
            {TCP}
            [services.handler]
            handler = "handlers:Handler"
            {TCP}
        """)
        daemon = project.start()
        assert daemon.ask(service="server") == daemon.ask(service="handler")


class TestProcesses:
    TEXT = """
        import os
        from socketserver import BaseRequestHandler, ForkingTCPServer
        class Server(ForkingTCPServer):
            max_children = 3
            def __init__(self, *arguments):
                super().__init__(*arguments)
                self.active_children = set()
        state = []
        class Handler(BaseRequestHandler):
            def handle(self):
                while word := self.request.recv(100):
                    if word != b"ask":
                        state.append(word.decode())
                    server = self.server
                    server.collect_children(blocking=True)
                    self.request.sendall(repr((
                        os.getpid(), state, server.active_children, server.max_children
                    )).encode())
    """

    def start(self, project: Project, more: str = "") -> RunningDaemon:
        return serve(
            project,
            self.TEXT,
            f'server = "handlers:Server"\nhandler = "handlers:Handler"\n{TCP}\n{more}',
        )

    @staticmethod
    def tell(client: socket.socket, word: bytes) -> tuple[int, list[str], set[int], int]:
        """Say a word, and return pid, state, busy pids and how many there may be."""
        client.sendall(word)
        answer: tuple[int, list[str], set[int], int] = eval(client.recv(1000))
        return answer

    def test_share_no_memory(self, project: Project) -> None:
        """What one client's handler does, one who is served at the same time does not see."""
        daemon = self.start(project)
        with daemon.tcp() as one, daemon.tcp() as two:
            assert self.tell(one, b"one")[1] == ["one"]
            assert self.tell(two, b"two")[1] == ["two"]
            assert self.tell(one, b"ask")[1] == ["one"]

    def test_are_as_many_as_max_children(self, project: Project) -> None:
        """active_children are those who serve, by pid; one more client waits."""
        daemon = self.start(project)
        with ExitStack() as stack:
            clients = [stack.enter_context(daemon.tcp()) for _ in range(3)]
            pids = {self.tell(client, b"ask")[0] for client in clients}
            assert len(pids) == 3
            assert pids <= set(daemon.workers())
            assert self.tell(clients[0], b"ask")[2:] == (pids, 3)
            waiting = stack.enter_context(daemon.tcp())
            waiting.sendall(b"ask")
            assert Client(waiting).hears_nothing()
            clients[1].close()
            pid, _, busy, _ = eval(waiting.recv(1000))
            assert pid in busy
            assert len(busy) == 3

    def test_next_client_sees_what_the_last_left(self, project: Project) -> None:
        """The processes are a pool: what a handler leaves in memory stays there."""
        daemon = self.start(project, "processes = 1")
        for word, expected in ((b"one", ["one"]), (b"two", ["one", "two"])):
            with daemon.tcp() as client:
                assert self.tell(client, word)[1] == expected

    def test_key_of_the_file_wins(self, project: Project) -> None:
        """processes is max_children, also to who looks at the attribute."""
        daemon = self.start(project, "processes = 2")
        with daemon.tcp() as client:
            assert self.tell(client, b"ask")[3] == 2

    def test_that_serve_one_each_are_fresh(self, project: Project) -> None:
        """With max_requests = 1 the next client sees nothing of the one before either."""
        daemon = self.start(project, "max_requests = 1")
        pids = []
        for word in (b"one", b"two", b"three"):
            with daemon.tcp() as client:
                pid, state, busy, most = self.tell(client, word)
                assert (state, busy, most) == ([word.decode()], {pid}, 3)
                pids.append(pid)
            until(lambda: not is_alive(pids[-1]), "the process ends")
        assert len(set(pids)) == 3
        assert daemon.stop() == 0
