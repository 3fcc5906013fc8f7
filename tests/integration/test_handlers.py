"""MODEL "Handlers": what works under socketserver works here, on every transport."""

from __future__ import annotations

import os
import socket
import struct
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, closing, contextmanager

import pytest

from tests.integration.daemons import (
    PATIENCE,
    Project,
    RunningDaemon,
    datagram_client,
    read_all,
    read_exactly,
    until,
)

STREAMS = ("tcp", "tcp6", "unix")
DATAGRAMS = ("udp", "udp6", "unixgram")

LISTEN = """
    listen = [
        "tcp:0:interface=127.0.0.1", "tcp6:0:interface=[::1]", "unix:stream",
        {datagrams}
    ]
"""
ALL = LISTEN.format(datagrams='"udp:0:interface=127.0.0.1", "udp6:0:interface=[::1]", '
                              '"unixgram:dgram"')  # fmt: skip
STREAM = LISTEN.format(datagrams="")


def connect(project: Project, daemon: RunningDaemon, transport: str) -> socket.socket:
    """A connection to the stream listener of *transport*."""
    if transport == "unix":
        client = socket.socket(socket.AF_UNIX)
        client.settimeout(PATIENCE)
        client.connect(str(project.directory / "stream"))
        return client
    return socket.create_connection(daemon.address(transport), timeout=PATIENCE)


@contextmanager
def send_to(project: Project, daemon: RunningDaemon, transport: str) -> Iterator[socket.socket]:
    """A datagram socket connected to the listener of *transport*."""
    made: AbstractContextManager[socket.socket]
    if transport == "unixgram":
        name = f"\0netd-test-{os.getpid()}".encode()
        made = datagram_client(socket.AF_UNIX, str(project.directory / "dgram"), bind=name)
    else:
        family = socket.AF_INET6 if transport.endswith("6") else socket.AF_INET
        made = datagram_client(family, daemon.address(transport))
    with made as client:
        yield client


@pytest.fixture(params=["thread", "process"])
def serve(project: Project, request: pytest.FixtureRequest) -> Callable[..., RunningDaemon]:
    """Start a daemon for the handler ``Handler`` of a module's text, on *listen*.

    By threads and by processes: to a handler they are the same.
    """

    def start(text: str, listen: str = STREAM, more: str = "") -> RunningDaemon:
        project.handlers(text)
        project.configure(f"""
[services.s]
handler = "handlers:Handler"
concurrency = "{request.param}"
{listen}
{more}
""")
        return project.start()

    return start


class TestAnyTransport:
    @pytest.mark.sweep
    def test_one_handler_serves_all(
        self, project: Project, serve: Callable[..., RunningDaemon]
    ) -> None:
        """Request, address and server are what socketserver gives, on six transports."""
        daemon = serve(
            """
            import socket, socketserver
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    stream = isinstance(self.request, socket.socket)
                    data, back = (self.request.recv(100), self.request) if stream else self.request
                    server = self.server
                    facts = (
                        data, type(self.client_address).__name__,
                        [base.__name__ for base in type(server).__mro__],
                        server.fileno() == server.socket.fileno(),
                        server.server_address == server.socket.getsockname(),
                        server.RequestHandlerClass is Handler,
                        server.address_family == back.family, server.socket_type == back.type,
                    )
                    reply = repr(facts).encode()
                    if stream:
                        self.request.sendall(reply)
                    else:
                        server.socket.sendto(reply, self.client_address)
            """,
            ALL,
        )
        for transport in STREAMS:
            with connect(project, daemon, transport) as client:
                client.sendall(b"hello")
                facts = eval(read_all(client))
            base = "ThreadingUnixStreamServer" if transport == "unix" else "ThreadingTCPServer"
            assert base in facts[2]
            assert facts[0] == b"hello"
            assert facts[1] == ("str" if transport == "unix" else "tuple")
            assert all(facts[3:])
        for transport in DATAGRAMS:
            with send_to(project, daemon, transport) as client:
                client.send(b"hello")
                facts = eval(client.recv(10000))
            assert "UDPServer" in facts[2]
            assert facts[0] == b"hello"
            assert facts[1] == ("bytes" if transport == "unixgram" else "tuple")
            assert all(facts[3:])

    @pytest.mark.sweep
    def test_options_come_after_what_socketserver_gives(
        self, project: Project, serve: Callable[..., RunningDaemon]
    ) -> None:
        """[services.NAME.options] are keyword arguments of the handler."""
        daemon = serve(
            """
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def __init__(self, request, client_address, server, *, greeting, times=1):
                    self.greeting, self.times = greeting, times
                    super().__init__(request, client_address, server)
                def handle(self):
                    self.request.sendall(self.greeting.encode() * self.times)
            """,
            more='options = { greeting = "hi ", times = 3 }',
        )
        assert daemon.ask() == b"hi hi hi "

    @pytest.mark.sweep
    def test_standard_librarys_own_handlers_serve(
        self, project: Project, serve: Callable[..., RunningDaemon]
    ) -> None:
        """http.server's handler, with the directory it is to serve, unchanged."""
        (project.directory / "page").write_text("the page")
        project.configure(f"""
            [services.web]
            handler = "http.server:SimpleHTTPRequestHandler"
            listen = ["tcp:0:interface=127.0.0.1"]
            options = {{ directory = "{project.directory}" }}
        """)
        daemon = project.start()
        assert daemon.ask(b"GET /page HTTP/1.0\r\n\r\n").endswith(b"\r\n\r\nthe page")
        daemon.log.wait(r'\[web#warn\] 127.0.0.1 - - .*"GET /page HTTP/1.0" 200 -')


class TestStreams:
    @pytest.mark.sweep
    @pytest.mark.parametrize("transport", STREAMS)
    def test_files_have_the_documented_buffers(
        self, project: Project, serve: Callable[..., RunningDaemon], transport: str
    ) -> None:
        """rfile is read by lines, wfile writes at once, or buffered where the class says so."""
        daemon = serve(
            """
            from socketserver import StreamRequestHandler
            class Handler(StreamRequestHandler):
                wbufsize = 8192
                disable_nagle_algorithm = False
                timeout = 30
                def handle(self):
                    for line in self.rfile:
                        self.wfile.write(line.upper())
                    self.wfile.write(repr(self.request.gettimeout()).encode())
            """
        )
        with connect(project, daemon, transport) as client:
            client.sendall(b"one\ntwo\n")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"ONE\nTWO\n30.0"

    @pytest.mark.sweep
    def test_nagle_is_disabled_where_the_class_says_so(
        self, serve: Callable[..., RunningDaemon]
    ) -> None:
        """disable_nagle_algorithm sets TCP_NODELAY on the connection."""
        daemon = serve(
            """
            import socket
            from socketserver import StreamRequestHandler
            class Handler(StreamRequestHandler):
                disable_nagle_algorithm = True
                def handle(self):
                    on = self.request.getsockopt(socket.IPPROTO_TCP, socket.TCP_NODELAY)
                    self.wfile.write(str(bool(on)).encode())
            """,
            'listen = ["tcp:0:interface=127.0.0.1"]',
        )
        assert daemon.ask() == b"True"

    @pytest.mark.sweep
    @pytest.mark.parametrize("transport", STREAMS)
    def test_setup_handle_finish(
        self, project: Project, serve: Callable[..., RunningDaemon], transport: str
    ) -> None:
        """In that order; finish also when handle raises, and not when setup does."""
        daemon = serve(
            """
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def setup(self):
                    self.order = self.request.recv(10)
                    self.request.sendall(b"setup ")
                    if self.order == b"setup": raise RuntimeError
                def handle(self):
                    self.request.sendall(b"handle ")
                    if self.order == b"handle": raise RuntimeError
                def finish(self):
                    self.request.sendall(b"finish")
            """
        )
        for order, expected in (
            (b"go", b"setup handle finish"),
            (b"handle", b"setup handle finish"),
            (b"setup", b"setup "),
        ):
            with connect(project, daemon, transport) as client:
                client.sendall(order)
                assert read_all(client) == expected

    @pytest.mark.sweep
    @pytest.mark.parametrize("transport", STREAMS)
    def test_every_way_to_receive_and_send(
        self, project: Project, serve: Callable[..., RunningDaemon], transport: str
    ) -> None:
        """Every method and flag of the request's socket, in one conversation."""
        daemon = serve(
            """
            import array, errno, socket
            from socket import MSG_DONTWAIT, MSG_PEEK, MSG_WAITALL
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    s, got = self.request, []
                    got.append(s.recv(5, MSG_WAITALL))
                    got.append(s.recv(3, MSG_PEEK))
                    buffer = bytearray(3)
                    s.recv_into(buffer, 3, MSG_WAITALL); got.append(bytes(buffer))
                    s.recvfrom_into(buffer, 3); got.append(bytes(buffer))
                    got.append(s.recvfrom(3)[0])
                    got.append(s.recvmsg(3)[0])
                    s.recvmsg_into([buffer]); got.append(bytes(buffer))
                    try:
                        s.recv(1, MSG_DONTWAIT)
                    except BlockingIOError as error:
                        got.append(errno.errorcode[error.errno])
                    s.settimeout(0.01)
                    try:
                        s.recv(1)
                    except TimeoutError:
                        got.append("timeout")
                    s.settimeout(None)
                    got.append((s.family.name, s.type.name, s.proto in (0, 6), s.getblocking()))
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF, 65536)
                    got.append(s.getsockopt(socket.SOL_SOCKET, socket.SO_SNDBUF) >= 65536)
                    s.send(b"1"); s.sendall(memoryview(b"2")); s.sendmsg([b"3", b"4"])
                    try:
                        s.sendto(b"5", self.client_address or "")
                    except OSError as error:
                        s.send(b"5")
                    with s.makefile("rw") as file:
                        file.write("6"); file.flush()
                    s.sendall(repr(got).encode())
                    s.shutdown(socket.SHUT_WR)
                    got = s.recv(10)
                    s.setblocking(False)
            """
        )
        with connect(project, daemon, transport) as client:
            client.sendall(b"firstabcdefghijklmno")
            answer = read_all(client)
            assert answer.startswith(b"123456")
            family = {"tcp": "AF_INET", "tcp6": "AF_INET6", "unix": "AF_UNIX"}[transport]
            assert eval(answer[6:]) == [
                b"first", b"abc", b"abc", b"def", b"ghi", b"jkl", b"mno", "EAGAIN", "timeout",
                (family, "SOCK_STREAM", True, True), True,
            ]  # fmt: skip

    @pytest.mark.sweep
    @pytest.mark.parametrize("inline", [False, True])
    def test_urgent_data(self, serve: Callable[..., RunningDaemon], inline: bool) -> None:
        """MSG_OOB, and SO_OOBINLINE that puts it in line."""
        daemon = serve(
            f"""
            import select, socket
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    s = self.request
                    s.setsockopt(socket.SOL_SOCKET, socket.SO_OOBINLINE, {inline})
                    s.sendall(b"ready")
                    if {inline}:
                        # A read ends at urgent data, whatever MSG_WAITALL says (tcp(7)).
                        s.sendall(s.recv(2, socket.MSG_WAITALL) + s.recv(1))
                    else:
                        select.select([], [], [s], 30)
                        s.sendall(s.recv(1, socket.MSG_OOB) + s.recv(2, socket.MSG_WAITALL))
            """,
            'listen = ["tcp:0:interface=127.0.0.1"]',
        )
        with daemon.tcp() as client:
            assert read_exactly(client, 5) == b"ready"
            client.sendall(b"ab")
            client.send(b"!", socket.MSG_OOB)
            assert read_all(client) == (b"ab!" if inline else b"!ab")

    @pytest.mark.sweep
    @pytest.mark.parametrize("transport", STREAMS)
    def test_half_close_by_either_side(
        self, project: Project, serve: Callable[..., RunningDaemon], transport: str
    ) -> None:
        """The handler reads on after it has said its last, and answers after the client has."""
        daemon = serve(
            """
            import socket
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    if self.request.recv(1) == b"w":
                        self.request.sendall(b"bye")
                        self.request.shutdown(socket.SHUT_WR)
                        print("then came", self.request.recv(100))
                    else:
                        while self.request.recv(100):
                            pass
                        self.request.sendall(b"after your end")
            """
        )
        with connect(project, daemon, transport) as client:
            client.sendall(b"w")
            assert read_all(client) == b"bye"
            client.sendall(b"more")
        daemon.log.wait(r"\[s#info\] then came b'more'")
        with connect(project, daemon, transport) as client:
            client.sendall(b"r...")
            client.shutdown(socket.SHUT_WR)
            assert read_all(client) == b"after your end"

    @pytest.mark.sweep
    @pytest.mark.parametrize("transport", STREAMS)
    def test_shutdown_of_each_side(
        self, project: Project, serve: Callable[..., RunningDaemon], transport: str
    ) -> None:
        """SHUT_RD ends what the handler reads, SHUT_WR what the client does, SHUT_RDWR both."""
        daemon = serve(
            """
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    how = int(self.request.recv(1))
                    self.request.sendall(b"before ")
                    self.request.shutdown(how)
                    try:
                        self.request.sendall(b"after ")
                    except BrokenPipeError:
                        print("cannot write after", how)
                    if how != 1:
                        assert self.request.recv(100) == b""
                    else:
                        print("read after 1:", self.request.recv(100))
            """
        )
        for how, expected in ((0, b"before after "), (1, b"before "), (2, b"before ")):
            with connect(project, daemon, transport) as client:
                client.sendall(str(how).encode())
                assert read_all(client) == expected
                if how == 1:
                    client.sendall(b"more")
                    daemon.log.wait("read after 1: b'more'")
        assert daemon.stop() == 0
        assert len(daemon.log.matching("cannot write after [12]")) == 2
        daemon.log.wait("stopped: 3 served, 0 refused, 0 failed")

    @pytest.mark.sweep
    @pytest.mark.parametrize("transport", STREAMS)
    def test_files_and_buffers_are_sent(
        self, project: Project, serve: Callable[..., RunningDaemon], transport: str
    ) -> None:
        """sendfile, recvmsg_into several buffers, and reads of a binary makefile."""
        daemon = serve(
            """
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    parts = bytearray(3), bytearray(3)
                    self.request.recvmsg_into(parts)
                    with self.request.makefile("rb") as file:
                        rest = file.read(4)
                    print("got", bytes(parts[0]), bytes(parts[1]), rest)
                    with open(__file__, "rb") as file:
                        self.request.sendfile(file, 0, 15)
            """
        )
        with connect(project, daemon, transport) as client:
            client.sendall(b"abcdefghij")
            assert read_all(client).strip() == b"from socketser"[:14]
        daemon.log.wait("got b'abc' b'def' b'ghij'")

    @pytest.mark.sweep
    @pytest.mark.parametrize("how", ["detach", "dup"])
    def test_a_handler_may_keep_its_socket(
        self, serve: Callable[..., RunningDaemon], how: str
    ) -> None:
        """A socket that was detached lives on; of one that was copied, the sending side is shut."""
        daemon = serve(
            f"""
            import socket, threading
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    if "{how}" == "detach":
                        kept = socket.socket(fileno=self.request.detach())
                    else:
                        kept = self.request.dup()
                    self.request.fileno() == -1 or self.request.sendall(b"copied")
                    threading.Thread(target=later, args=(kept,)).start()
            def later(kept):
                with kept:
                    data = kept.recv(100)
                    print("kept received", data)
                    if "{how}" == "detach":
                        kept.sendall(data.upper())
            """,
            'listen = ["tcp:0:interface=127.0.0.1"]',
        )
        with daemon.tcp() as client:
            daemon.log.wait(r" tcp served ")
            client.sendall(b"are you there?")
            expected = b"ARE YOU THERE?" if how == "detach" else b"copied"
            assert read_all(client) == expected
        daemon.log.wait("kept received b'are you there")

    @pytest.mark.sweep
    def test_a_handler_that_closes_its_socket(self, serve: Callable[..., RunningDaemon]) -> None:
        """Nothing breaks; how many bytes it carried cannot be told any more."""
        daemon = serve(
            """
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.sendall(b"bye")
                    self.request.close()
            """,
            'listen = ["tcp:0:interface=127.0.0.1"]',
        )
        assert daemon.ask() == b"bye"
        daemon.log.wait(r" tcp served \S+ in=- out=-$")

    @pytest.mark.sweep
    def test_errors_reach_the_handler(self, serve: Callable[..., RunningDaemon]) -> None:
        """A client's reset is the handler's ConnectionResetError, with its errno."""
        daemon = serve(
            """
            import errno
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.sendall(b"ready")
                    try:
                        self.request.recv(100)
                    except ConnectionResetError as error:
                        print("reset", errno.errorcode[error.errno])
            """,
            'listen = ["tcp:0:interface=127.0.0.1"]',
        )
        with daemon.tcp() as client:
            assert client.recv(5) == b"ready"
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, struct.pack("ii", 1, 0))
        daemon.log.wait("reset ECONNRESET")

    @pytest.mark.parametrize("serve", ["thread"], indirect=True)
    def test_many_at_once(self, serve: Callable[..., RunningDaemon]) -> None:
        """Handlers that wait get a thread each, up to ``threads``; the rest wait outside."""
        daemon = serve(
            """
            from socketserver import StreamRequestHandler
            class Handler(StreamRequestHandler):
                def handle(self):
                    self.wfile.write(b"hello")
                    self.wfile.write(self.rfile.readline())
            """,
            'listen = ["tcp:0:interface=127.0.0.1"]',
            "threads = 40",
        )
        clients = [daemon.tcp() for _ in range(50)]
        for client in clients[:40]:
            assert read_exactly(client, 5) == b"hello"
        clients[40].settimeout(0.05)
        with pytest.raises(TimeoutError):
            clients[40].recv(5)
        clients[40].settimeout(PATIENCE)
        for client in clients[:10]:
            client.sendall(b"done\n")
            assert read_all(client) == b"done\n"
        for client in clients[40:]:
            assert read_exactly(client, 5) == b"hello"
        for client in clients:
            client.close()
        assert daemon.stop() == 0

    @pytest.mark.sweep
    def test_tls_in_setup(self, project: Project, serve: Callable[..., RunningDaemon]) -> None:
        """A handler may wrap its own socket, and its slow handshake holds up nobody else."""
        key = project.directory / "key.pem"
        make_certificate(str(key))
        daemon = serve(
            f"""
            import ssl
            from socketserver import StreamRequestHandler
            context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
            context.load_cert_chain({str(key)!r})
            class Handler(StreamRequestHandler):
                def setup(self):
                    self.request = context.wrap_socket(self.request, server_side=True)
                    super().setup()
                def handle(self):
                    self.wfile.write(self.rfile.readline().upper())
                def finish(self):
                    super().finish()
                    self.request.close()
            """,
            'listen = ["tcp:0:interface=127.0.0.1"]',
        )
        import ssl

        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with daemon.tcp(), daemon.tcp() as raw, context.wrap_socket(raw) as client:
            client.sendall(b"hello\n")
            assert client.recv(100) == b"HELLO\n"


def make_certificate(path: str) -> None:
    """A key and a certificate for localhost in one file, by openssl."""
    import shutil
    import subprocess

    if shutil.which("openssl") is None:
        pytest.skip("the openssl program is not installed")
    subprocess.run(
        ["openssl", "req", "-x509", "-newkey", "ec", "-pkeyopt", "ec_paramgen_curve:P-256",
         "-nodes", "-subj", "/CN=localhost", "-keyout", path, "-out", path + ".crt"],
        check=True, capture_output=True,
    )  # fmt: skip
    with open(path, "a") as both, open(path + ".crt") as certificate:
        both.write(certificate.read())


class TestDatagrams:
    @pytest.mark.sweep
    @pytest.mark.parametrize("transport", DATAGRAMS)
    def test_files(
        self, project: Project, serve: Callable[..., RunningDaemon], transport: str
    ) -> None:
        """What is written to wfile goes back as one packet; nothing written, nothing sent."""
        daemon = serve(
            """
            from socketserver import DatagramRequestHandler
            class Handler(DatagramRequestHandler):
                def handle(self):
                    for line in self.rfile:
                        if line != b"silence":
                            self.wfile.write(line.upper())
            """,
            ALL.replace(STREAM.strip().partition("[")[2].split("\n")[1].strip(), ""),
        )
        with send_to(project, daemon, transport) as client:
            client.send(b"one\ntwo\n")
            assert client.recv(100) == b"ONE\nTWO\n"
            client.send(b"silence")
            client.send(b"after")
            assert client.recv(100) == b"AFTER"

    @pytest.mark.sweep
    @pytest.mark.parametrize("transport", DATAGRAMS)
    def test_long_ones_are_dropped_never_cut(
        self, project: Project, serve: Callable[..., RunningDaemon], transport: str
    ) -> None:
        """datagram_size is what still fits; one byte more is dropped, counted and logged."""
        daemon = serve(
            """
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    data, socket = self.request
                    socket.sendto(str(len(data)).encode(), self.client_address)
            """,
            ALL,
            'datagram_size = "1KiB"',
        )
        with send_to(project, daemon, transport) as client:
            client.send(bytes(1025))
            client.send(bytes(1024))
            assert client.recv(100) == b"1024"
        daemon.log.wait(r"\[s#warn\] dropped: datagram from \S+ is longer than 1024 bytes")
        daemon.stop()
        daemon.log.wait("1 dropped")

    @pytest.mark.sweep
    def test_a_sender_without_a_name(
        self, project: Project, serve: Callable[..., RunningDaemon]
    ) -> None:
        """A Unix client that cannot be answered reaches the handler, whose address is None."""
        daemon = serve(
            """
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    print("from", self.client_address, self.request[0])
            """,
            'listen = ["unixgram:dgram"]',
        )
        with datagram_client(socket.AF_UNIX, str(project.directory / "dgram")) as client:
            client.send(b"hello")
        daemon.log.wait(r"\[s#info\] from None b'hello'")
        daemon.log.wait(rf"uid:{os.getuid()},pid:{os.getpid()} unixgram served .* in=5 out=-")

    @pytest.mark.sweep
    def test_nothing_a_handler_does_to_the_listener_reaches_others(
        self, serve: Callable[..., RunningDaemon]
    ) -> None:
        """setblocking, settimeout and close of server.socket leave the service as it was."""
        daemon = serve(
            """
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.server.socket.setblocking(True)
                    self.server.socket.settimeout(5)
                    self.request.sendall(b"ok")
                    self.server.server_close()
            """,
            'listen = ["tcp:0:interface=127.0.0.1"]',
        )
        for _ in range(3):
            assert daemon.ask() == b"ok"


class TestPorts:
    @pytest.mark.sweep
    def test_all_addresses_of_a_family(
        self, project: Project, serve: Callable[..., RunningDaemon]
    ) -> None:
        """Without an interface all addresses are bound, of one family, so both fit one port."""
        with closing(socket.create_server(("127.0.0.1", 0))) as free:
            port = free.getsockname()[1]
        daemon = serve(
            """
            from socketserver import BaseRequestHandler
            class Handler(BaseRequestHandler):
                def handle(self):
                    self.request.sendall(self.client_address[0].encode())
            """,
            f'listen = ["tcp:{port}", "tcp6:{port}"]',
        )
        for host in ("127.0.0.1", "::1"):
            with socket.create_connection((host, port), timeout=PATIENCE) as client:
                assert read_all(client) == host.encode()
        until(lambda: len(daemon.log.matching(" served ")) == 2, "both are logged")
