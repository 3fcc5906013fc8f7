"""Who may come in: lists and the verify_request hook, for streams and datagrams."""

from __future__ import annotations

import os
import socket
import threading
from collections.abc import Callable
from contextlib import closing

import pytest

from tests.integration.daemons import PATIENCE, Project, RunningDaemon, datagram_client, read_all

HANDLER = """
    import socket, threading
    from socketserver import BaseRequestHandler
    from twisted.internet import defer, task

    class Handler(BaseRequestHandler):
        def handle(self):
            if isinstance(self.request, socket.socket):
                self.request.sendall(b"welcome")
            else:
                data, back = self.request
                back.sendto(b"welcome", self.client_address)

    def first(request):
        if isinstance(request, socket.socket):
            return request.recv(1, socket.MSG_PEEK)
        return request[0][:1]

    def verify(request, client_address):
        asked = first(request)
        if asked == b"r": raise ValueError("filter raised")
        if asked == b"x": raise SystemExit("filter left")
        if asked == b"w": threading.Event().wait(10)
        return asked == b"y"

    async def verify_async(request, client_address):
        from twisted.internet import reactor
        asked = first(request)
        await task.deferLater(reactor, 0.01)
        if asked == b"r": raise ValueError("filter raised")
        if asked == b"w": await defer.Deferred()
        return asked == b"y"
"""


@pytest.fixture
def serve(project: Project) -> Callable[[str], RunningDaemon]:
    """Start a daemon with an access table."""

    def start(access: str) -> RunningDaemon:
        project.handlers(HANDLER)
        project.configure(f"""
[services.s]
handler = "handlers:Handler"
listen = [
    "tcp:0:interface=127.0.0.1", "udp:0:interface=127.0.0.1", "unix:stream", "unixgram:dgram"
]
[services.s.access]
{access}
""")
        return project.start()

    return start


def ask_tcp(daemon: RunningDaemon, source: str = "127.0.0.1", request: bytes = b"") -> bytes:
    """What a client at *source* gets; nothing when it is refused."""
    address = daemon.address("tcp")
    with socket.create_connection(address, PATIENCE, (source, 0)) as client:
        try:
            client.sendall(request)
            return read_all(client)
        except (ConnectionResetError, BrokenPipeError):
            return b""


def ask_unix(project: Project) -> bytes:
    """What a Unix client gets."""
    with socket.socket(socket.AF_UNIX) as client:
        client.settimeout(PATIENCE)
        client.connect(str(project.directory / "stream"))
        return read_all(client)


class TestLists:
    def test_deny_wins_and_allow_is_needed(self, serve: Callable[[str], RunningDaemon]) -> None:
        """A refused client never reaches the handler, and the log says which list did it."""
        daemon = serve('allow = ["127.0.0.0/29"]\ndeny = ["127.0.0.2"]')
        assert ask_tcp(daemon, "127.0.0.1") == b"welcome"
        assert ask_tcp(daemon, "127.0.0.2") == b""
        assert ask_tcp(daemon, "127.0.0.9") == b""
        daemon.log.wait(r"\[s#info\] 127\.0\.0\.2:\d+ tcp refused: deny ")
        daemon.log.wait(r"\[s#info\] 127\.0\.0\.9:\d+ tcp refused: not-allowed ")
        daemon.stop()
        daemon.log.wait("1 served, 2 refused")

    @pytest.mark.long
    def test_datagrams_are_asked_about_too(self, serve: Callable[[str], RunningDaemon]) -> None:
        """A datagram of a refused source is dropped and logged."""
        daemon = serve('deny = ["127.0.0.2"]')
        address = daemon.address("udp")
        with datagram_client(socket.AF_INET, address, bind=("127.0.0.2", 0)) as refused:
            refused.send(b"?")
            daemon.log.wait(r"127\.0\.0\.2:\d+ udp refused: deny")
            with datagram_client(socket.AF_INET, address) as client:
                client.send(b"?")
                assert client.recv(100) == b"welcome"
            refused.setblocking(False)
            with pytest.raises(BlockingIOError):
                refused.recv(100)

    @pytest.mark.sweep
    @pytest.mark.parametrize(
        ("entry", "admitted"),
        [
            ("unix", True),
            (f"uid:{os.getuid()}", True),
            (f"gid:{os.getgid()}", True),
            ("uid:4294967290", False),
            ("127.0.0.1", False),
        ],
    )
    def test_unix_clients_by_their_credentials(
        self, project: Project, serve: Callable[[str], RunningDaemon], entry: str, admitted: bool
    ) -> None:
        """Streams by the peer's credentials, datagrams by those of each packet."""
        daemon = serve(f'allow = ["{entry}"]')
        assert ask_unix(project) == (b"welcome" if admitted else b"")
        path = str(project.directory / "dgram")
        name = f"\0netd-access-{os.getpid()}".encode()
        with datagram_client(socket.AF_UNIX, path, bind=name) as client:
            client.send(b"?")
            if admitted:
                assert client.recv(100) == b"welcome"
            daemon.log.wait(r"unixgram " + ("served" if admitted else "refused: not-allowed"))

    def test_dry_run_admits_and_says_so(self, serve: Callable[[str], RunningDaemon]) -> None:
        """A refusal is logged and counted, and the client is served."""
        daemon = serve("allow = []\ndry_run = true")
        assert ask_tcp(daemon) == b"welcome"
        daemon.log.wait(r"tcp would be refused: not-allowed")
        daemon.stop()
        daemon.log.wait("1 served, 1 refused")

    @pytest.mark.long
    def test_many_networks(self, project: Project, serve: Callable[[str], RunningDaemon]) -> None:
        """A hundred thousand networks are read, handed to the worker and decided by."""
        networks = ",".join(
            f'"10.{a}.{b}.{c}"' for a in range(10) for b in range(100) for c in range(100)
        )
        daemon = serve(f'deny = ["127.0.0.2", {networks}]')
        assert ask_tcp(daemon) == b"welcome"
        assert ask_tcp(daemon, "127.0.0.2") == b""


@pytest.mark.parametrize("function", ["verify", "verify_async"])
class TestVerifyRequest:
    @pytest.mark.sweep
    def test_decides_by_true(self, serve: Callable[[str], RunningDaemon], function: str) -> None:
        """True admits and everything else refuses, for streams and datagrams."""
        daemon = serve(f'verify_request = "handlers:{function}"')
        assert ask_tcp(daemon, request=b"y") == b"welcome"
        assert ask_tcp(daemon, request=b"n") == b""
        with datagram_client(socket.AF_INET, daemon.address("udp")) as client:
            client.send(b"n")
            client.send(b"y")
            assert client.recv(100) == b"welcome"
        daemon.log.wait("tcp refused: verify_request ")
        daemon.log.wait("udp refused: verify_request ")

    @pytest.mark.sweep
    def test_that_raises_refuses(
        self, serve: Callable[[str], RunningDaemon], function: str
    ) -> None:
        """Its own client only, with a traceback; the service goes on."""
        daemon = serve(f'verify_request = "handlers:{function}"')
        assert ask_tcp(daemon, request=b"r") == b""
        daemon.log.wait(f"refused because of handlers:{function}")
        daemon.log.wait("ValueError: filter raised")
        daemon.log.wait("tcp refused: verify_request raised")
        assert ask_tcp(daemon, request=b"y") == b"welcome"

    @pytest.mark.sweep
    def test_that_takes_too_long_refuses(
        self, serve: Callable[[str], RunningDaemon], function: str
    ) -> None:
        """The client is hung up on at the deadline; the others are served meanwhile."""
        daemon = serve(f'verify_request = "handlers:{function}"\nverify_timeout = "300ms"')
        answers: list[bytes] = []
        slow = threading.Thread(target=lambda: answers.append(ask_tcp(daemon, request=b"w")))
        slow.start()
        assert ask_tcp(daemon, request=b"y") == b"welcome"
        slow.join(PATIENCE)
        assert answers == [b""]
        if function == "verify":
            daemon.log.wait("TimeoutError: not back after 0.3 s, and holds its thread")
            daemon.log.wait("in verify")

    @pytest.mark.sweep
    def test_dry_run(self, serve: Callable[[str], RunningDaemon], function: str) -> None:
        """What the filter refuses comes in all the same."""
        daemon = serve(f'verify_request = "handlers:{function}"\ndry_run = true')
        assert ask_tcp(daemon, request=b"n").startswith(b"welcome")
        daemon.log.wait("tcp would be refused: verify_request")


class TestVerifyRequestLeaving:
    def test_sys_exit_refuses(self, serve: Callable[[str], RunningDaemon]) -> None:
        """A filter cannot end the worker by leaving."""
        daemon = serve('verify_request = "handlers:verify"')
        workers = daemon.workers()
        assert ask_tcp(daemon, request=b"x") == b""
        assert ask_tcp(daemon, request=b"y") == b"welcome"
        assert daemon.workers() == workers

    def test_that_is_missing_is_a_problem(self, project: Project) -> None:
        """The key is named, with the line."""
        project.handlers(HANDLER)
        project.configure("""
            [services.s]
            handler = "handlers:Handler"
            listen = ["tcp:0"]
            access.verify_request = "handlers:verfy"
        """)
        done = project.check()
        assert done.returncode == 78
        assert ':6: services.s.access.verify_request: module "handlers"' in done.stderr
        assert 'did you mean "verify"?' in done.stderr


def test_a_client_that_leaves_before_it_is_asked_about(
    serve: Callable[[str], RunningDaemon],
) -> None:
    """Connecting and resetting at once, many times, harms nobody."""
    daemon = serve('allow = ["127.0.0.1"]\nverify_request = "handlers:verify"')
    for _ in range(200):
        with closing(socket.socket()) as client:
            client.setsockopt(socket.SOL_SOCKET, socket.SO_LINGER, b"\1\0\0\0\0\0\0\0")
            client.connect(daemon.address("tcp"))
    assert ask_tcp(daemon, request=b"y") == b"welcome"
