"""Servers that others have built on ``socketserver``, unmodified, and habits found in the wild."""

from __future__ import annotations

import logging
import logging.handlers
import os
import socket
import ssl
from contextlib import ExitStack, closing, suppress
from urllib.request import urlopen
from xmlrpc.client import ServerProxy

import pytest

from tests.integration.daemons import PATIENCE, Project, RunningDaemon, datagram_client, read_all
from tests.integration.test_handlers import make_certificate
from tests.integration.test_servers import TCP, UDP, serve


def fetch(daemon: RunningDaemon, path: str) -> bytes:
    """What a web server answers to a browser."""
    with urlopen("http://{}:{}{}".format(*daemon.address("tcp"), path), timeout=PATIENCE) as page:
        body: bytes = page.read()
        return body


class TestHttpServer:
    @pytest.mark.sweep
    @pytest.mark.parametrize(
        "server", ["http.server:HTTPServer", "http.server:ThreadingHTTPServer"]
    )
    def test_serves_files(self, project: Project, server: str) -> None:
        """The class of the standard library with its handler, whose option a subclass sets."""
        (project.directory / "page").write_text("the page")
        daemon = serve(
            project,
            f"""
            from functools import partial
            from http.server import SimpleHTTPRequestHandler
            Files = partial(SimpleHTTPRequestHandler, directory={str(project.directory)!r})
            """,
            f'server = "{server}"\nhandler = "handlers:Files"\n{TCP}',
        )
        assert fetch(daemon, "/page") == b"the page"
        assert b"netd.toml" in fetch(daemon, "/")

    def test_names_itself(self, project: Project) -> None:
        """server_bind has set server_name and server_port, to those of the listener."""
        daemon = serve(
            project,
            """
            from http.server import BaseHTTPRequestHandler
            class Names(BaseHTTPRequestHandler):
                protocol_version = "HTTP/1.1"
                def do_GET(self):
                    body = f"{self.server.server_name} {self.server.server_port}".encode()
                    self.send_response(200)
                    self.send_header("Content-Length", str(len(body)))
                    self.end_headers()
                    self.wfile.write(body)
            """,
            f'server = "http.server:ThreadingHTTPServer"\nhandler = "handlers:Names"\n{TCP}',
        )
        name, port = fetch(daemon, "/").decode().split()
        assert int(port) == daemon.address("tcp")[1]
        assert name


class TestMadeByFunctions:
    def test_xml_rpc(self, project: Project) -> None:
        """A function makes a server and registers what it offers."""
        daemon = serve(
            project,
            """
            from xmlrpc.server import SimpleXMLRPCServer
            def make(address):
                server = SimpleXMLRPCServer(address, logRequests=False)
                server.register_function(lambda x, y: x + y, "add")
                server.register_introspection_functions()
                return server
            """,
            f'server = "handlers:make"\n{TCP}',
        )
        with ServerProxy("http://{}:{}".format(*daemon.address("tcp"))) as proxy:
            assert proxy.add(2, 3) == 5
            methods = proxy.system.listMethods()
            assert isinstance(methods, list)
            assert "add" in methods

    @pytest.mark.long
    def test_wsgi(self, project: Project) -> None:
        """wsgiref's make_server, and the environment has the listener's port."""
        daemon = serve(
            project,
            """
            from wsgiref.simple_server import make_server
            def application(environ, start_response):
                start_response("200 OK", [("Content-Type", "text/plain")])
                return [environ["PATH_INFO"].encode() + b" " + environ["SERVER_PORT"].encode()]
            def make(address, greeting="none"):
                assert greeting == "hello"
                return make_server(*address, application)
            """,
            f'server = "handlers:make"\n{TCP}\noptions = {{ greeting = "hello" }}',
        )
        assert fetch(daemon, "/path") == b"/path %d" % daemon.address("tcp")[1]

    @pytest.mark.sweep
    @pytest.mark.parametrize("listen", ["unix:one", "unixgram:one", "udp:0:interface=127.0.0.1"])
    def test_of_other_transports(self, project: Project, listen: str) -> None:
        """The address that it is given suits its listener, and nothing of it is left behind."""
        kind = {"unix": "UnixStreamServer", "unixgram": "UnixDatagramServer", "udp": "UDPServer"}
        transport = listen.partition(":")[0]
        daemon = serve(
            project,
            f"""
            import os, socketserver
            made = []
            def make(address, handler):
                server = socketserver.{kind[transport]}(address, handler)
                made.append(address)
                return server
            class Handler(socketserver.BaseRequestHandler):
                def handle(self):
                    gone = not (isinstance(made[0], str) and os.path.exists(made[0]))
                    said = repr((gone, self.server.server_address)).encode()
                    if {transport == "unix"}:
                        self.request.sendall(said)
                    else:
                        self.request[1].sendto(said, self.client_address)
            """,
            f'server = "handlers:make"\nhandler = "handlers:Handler"\nlisten = ["{listen}"]',
        )
        path = str(project.directory / "one")
        if transport == "unix":
            with closing(socket.socket(socket.AF_UNIX)) as client:
                client.settimeout(PATIENCE)
                client.connect(path)
                assert eval(read_all(client)) == (True, path)
        elif transport == "unixgram":
            name = f"\0netd-test-{os.getpid()}".encode()
            with datagram_client(socket.AF_UNIX, path, bind=name) as client:
                client.send(b"?")
                assert eval(client.recv(1000)) == (True, path)
        else:
            with datagram_client(socket.AF_INET, daemon.address("udp")) as client:
                client.send(b"?")
                assert eval(client.recv(1000)) == (True, daemon.address("udp"))

    @pytest.mark.long
    def test_what_is_no_server_is_said(self, project: Project) -> None:
        """With what came back instead."""
        project.handlers("def make(address):\n    return 7\n")
        project.configure(f'[services.s]\nserver = "handlers:make"\n{TCP}')
        daemon = project.launch()
        daemon.log.wait(r'"handlers:make" makes no server: .*returned 7, which is no socketserver')
        assert daemon.stop() == 0


class TestLogging:
    @pytest.mark.long
    def test_socket_receiver(self, project: Project) -> None:
        """Records of a program's SocketHandler arrive, over one connection, in order."""
        daemon = serve(
            project,
            """
            import logging, pickle, struct
            from socketserver import StreamRequestHandler, ThreadingTCPServer
            class Records(StreamRequestHandler):
                def handle(self):
                    while len(head := self.rfile.read(4)) == 4:
                        record = pickle.loads(self.rfile.read(struct.unpack(">L", head)[0]))
                        self.server.log(logging.makeLogRecord(record))
            class Receiver(ThreadingTCPServer):
                allow_reuse_address = True
                def __init__(self, address, handler=Records):
                    super().__init__(address, handler)
                    self.abort = 0
                    self.timeout = 1
                    self.logname = None
                def log(self, record):
                    print("received", record.name, record.levelname, record.getMessage())
            """,
            f'server = "handlers:Receiver"\n{TCP}',
        )
        handler = logging.handlers.SocketHandler(*daemon.address("tcp"))
        logger = logging.Logger("a.program")
        logger.addHandler(handler)
        logger.warning("first of %d", 2)
        logger.error("second")
        handler.close()
        daemon.log.wait("received a.program WARNING first of 2")
        daemon.log.wait("received a.program ERROR second")
        daemon.log.wait("tcp served")


class TestConstructors:
    @pytest.mark.long
    def test_that_binds_for_itself(self, project: Project) -> None:
        """It finds its bind and listen done, with sockets of its own thrown away."""
        daemon = serve(
            project,
            """
            import socket
            from socketserver import BaseRequestHandler, TCPServer
            class Server(TCPServer):
                def __init__(self, address, handler):
                    super().__init__(("127.0.0.1", 1), handler, bind_and_activate=False)
                    self.socket = socket.socket()
                    self.socket.bind(address)
                    self.socket.listen(5)
                    self.socket.settimeout(1)
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.sendall(repr(self.server.server_address).encode())
            """,
            f'server = "handlers:Server"\nhandler = "handlers:Handler"\n{TCP}',
        )
        assert eval(daemon.ask()) == daemon.address("tcp")

    @pytest.mark.long
    def test_without_bind_and_activate(self, project: Project) -> None:
        """An older one, that takes an address and a word of its own."""
        daemon = serve(
            project,
            """
            from socketserver import BaseRequestHandler, ThreadingTCPServer
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.sendall(self.server.word.encode())
            class Server(ThreadingTCPServer):
                def __init__(self, address, word):
                    self.word = word
                    ThreadingTCPServer.__init__(self, address, Handler)
            """,
            f'server = "handlers:Server"\n{TCP}\noptions = {{ word = "hello" }}',
        )
        assert daemon.ask() == b"hello"

    @pytest.mark.long
    def test_that_unlinks_its_path(self, project: Project) -> None:
        """The habit of Unix servers, before bind and at the end, takes no path from netd."""
        daemon = serve(
            project,
            """
            import os
            from socketserver import BaseRequestHandler, ThreadingUnixStreamServer
            class Server(ThreadingUnixStreamServer):
                def server_bind(self):
                    if os.path.exists(self.server_address) and not self.is_taken():
                        os.unlink(self.server_address)
                    super().server_bind()
                def is_taken(self):
                    # Some look whether somebody answers, before they unlink.
                    return True
                def server_close(self):
                    super().server_close()
                    if os.path.exists(self.server_address):
                        os.unlink(self.server_address)
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.sendall(b"hello")
            """,
            'server = "handlers:Server"\nhandler = "handlers:Handler"\nlisten = ["unix:one"]',
        )
        for _ in range(2):
            with closing(socket.socket(socket.AF_UNIX)) as client:
                client.settimeout(PATIENCE)
                client.connect(str(project.directory / "one"))
                assert read_all(client) == b"hello"
        assert daemon.stop() == 0
        assert not (project.directory / "one").exists()
        assert not daemon.log.matching("error")


TLS = """
    import ssl
    from socketserver import ForkingMixIn, StreamRequestHandler, TCPServer, ThreadingMixIn
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(KEY)

    class Accepted(TCPServer):
        def get_request(self):
            request, address = super().get_request()
            return context.wrap_socket(request, server_side=True), address

    class Listening(TCPServer):
        def __init__(self, address, handler):
            super().__init__(address, handler)
            self.socket = context.wrap_socket(self.socket, server_side=True)

    class Unbound(TCPServer):
        def __init__(self, address, handler):
            super().__init__(address, handler, bind_and_activate=False)
            self.socket = context.wrap_socket(self.socket, server_side=True)
            self.server_bind()
            self.server_activate()

    class ThreadingAccepted(ThreadingMixIn, Accepted): pass
    class ThreadingListening(ThreadingMixIn, Listening): pass
    class ThreadingUnbound(ThreadingMixIn, Unbound): pass
    class ForkingAccepted(ForkingMixIn, Accepted): pass
    class ForkingListening(ForkingMixIn, Listening): pass

    def make(address, handler):
        server = TCPServer(address, handler)
        server.socket = context.wrap_socket(server.socket, server_side=True)
        return server

    class Handler(StreamRequestHandler):
        def handle(self):
            self.wfile.write(self.request.version().encode() + b" " + self.rfile.readline())
"""


class TestTls:
    @pytest.mark.sweep
    @pytest.mark.parametrize(
        "server",
        ["ThreadingAccepted", "ThreadingListening", "ThreadingUnbound", "ForkingAccepted",
         "ForkingListening", "make"],
    )  # fmt: skip
    def test_by_the_server(self, project: Project, server: str) -> None:
        """Its handshake is the server's own, and silent clients hold up nobody else."""
        key = project.directory / "key.pem"
        make_certificate(str(key))
        daemon = serve(
            project,
            TLS.replace("KEY", repr(str(key))),
            f"""
            server = "handlers:{server}"
            handler = "handlers:Handler"
            {TCP}
            {"threads = 10" if server == "make" else ""}
            """,
            '[daemon]\ngraceful_timeout = "2s"',
        )
        with ExitStack() as stack:
            for _ in range(3):
                stack.enter_context(daemon.tcp())
            for _ in range(3):
                assert self.talk(daemon).startswith(b"TLSv1.3 hello")
        with daemon.tcp() as plain:
            plain.sendall(b"hello, this is no TLS at all\n")
            with suppress(ConnectionResetError):
                assert b"hello" not in read_all(plain)
        daemon.log.wait(r"a client was lost in get_request\(\): .*SSL")
        assert daemon.stop() == 0

    @staticmethod
    def talk(daemon: RunningDaemon) -> bytes:
        """Say hello by TLS, and return the answer."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with context.wrap_socket(daemon.tcp()) as client:
            client.sendall(b"hello\n")
            return client.recv(100)


class TestDatagrams:
    def test_answers_by_the_requests_socket(self, project: Project) -> None:
        """The way of most UDP handlers: data and socket from the request."""
        daemon = serve(
            project,
            """
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    data, back = self.request
                    back.sendto(data.strip().upper(), self.client_address)
            """,
            f'server = "socketserver:ThreadingUDPServer"\nhandler = "handlers:Handler"\n{UDP}',
        )
        with datagram_client(socket.AF_INET, daemon.address("udp")) as client:
            client.send(b" hello ")
            assert client.recv(100) == b"HELLO"

    def test_dispatching_server(self, project: Project) -> None:
        """The shape of OSC and DNS packages: a mix-in of their own, and work in the server."""
        daemon = serve(
            project,
            """
            import socketserver
            class Handler(socketserver.BaseRequestHandler):
                def handle(self):
                    for answer in self.server.dispatcher[self.request[0]]:
                        self.request[1].sendto(answer, self.client_address)
            class OSCServer(socketserver.UDPServer):
                def __init__(self, server_address, bind_and_activate=True):
                    super().__init__(server_address, Handler, bind_and_activate)
                    self.dispatcher = {b"/ping": [b"/pong"]}
                def verify_request(self, request, client_address):
                    return request[0].startswith(b"/")
            class ThreadingOSCServer(socketserver.ThreadingMixIn, OSCServer):
                daemon_threads = True
            """,
            f'server = "handlers:ThreadingOSCServer"\n{UDP}',
        )
        with datagram_client(socket.AF_INET, daemon.address("udp")) as client:
            client.send(b"no address")
            client.send(b"/ping")
            assert client.recv(100) == b"/pong"
        daemon.log.wait("udp refused: verify_request")
