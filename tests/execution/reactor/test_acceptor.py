"""Connections that the reactor serves: real sockets, a real reactor in a process of its own."""

from __future__ import annotations

import os
import random
import signal
import socket
import ssl
import stat
import sys
from contextlib import suppress
from typing import Any, Final

import pytest

from tests.execution.reactor.hosts import Host, hosting, read_all, reset

STREAMS = ("tcp", "tcp6", "unix")


@pytest.mark.parametrize("transport", STREAMS)
class TestEveryTransport:
    def test_protocol_serves(self, transport: str) -> None:
        """A Protocol class is made for each connection, with its options."""
        with hosting("Echo", transport, options={"before": "> "}) as host:
            assert host.ask(b"hello", transport) == b"> hello"
            assert host.ask(b"again", transport) == b"> again"

    def test_end_is_logged(self, transport: str) -> None:
        """A line for each connection: client, transport, bytes in and out."""
        with hosting("Line", transport) as host, host.connect(transport) as client:
            client.sendall(b"hello\n")
            assert read_all(client) == b"hello\n"
            line = host.heard("served", "in=6 out=6")
            assert f" {transport} served " in line
            assert _client_text(client, transport) in line

    def test_addresses(self, transport: str) -> None:
        """getHost() and getPeer() are Twisted's addresses of the two ends."""
        with hosting("Introduce", transport) as host, host.connect(transport) as client:
            said = read_all(client).decode()
            if transport == "unix":
                assert said == f"UNIXAddress('{host.address('unix')}') UNIXAddress(None)"
                return
            kind = "IPv6Address" if transport == "tcp6" else "IPv4Address"
            there, here = (
                ", ".join(map(repr, ("TCP", *address)))
                for address in (client.getpeername(), client.getsockname())
            )
            more = "" if transport == "tcp" else ", flowInfo=0, scopeID=0"
            assert said.count(kind) == 2
            for host_name, port, *_ in (client.getpeername(), client.getsockname()):
                assert f"host='{host_name}', port={port}{more}" in said
            assert there != here

    def test_everything_queued_is_taken(self, transport: str) -> None:
        """More clients at once than are taken at a wake-up."""
        with hosting("Line", transport) as host:
            clients = [host.connect(transport) for _ in range(100)]
            for number, client in enumerate(clients):
                client.sendall(f"{number}\n".encode())
            for number, client in enumerate(clients):
                assert read_all(client) == f"{number}\n".encode()
                client.close()

    def test_listener_stays_as_it_is(self, transport: str) -> None:
        """Another process can take from it when this one has stopped."""
        with hosting("Line", transport) as host:
            assert host.ask(b"x", transport) == b"x"
            host.everything()
            listener = host.listeners[transport]
            assert not os.get_blocking(listener.fileno())
            with host.connect(transport) as client:
                request, _ = listener.accept()
                request.sendall(b"by another one")
                request.close()
                assert read_all(client) == b"by another one"
            if transport == "unix":
                assert stat.S_IMODE(os.stat(listener.getsockname()).st_mode) == 0o640


def _client_text(client: socket.socket, transport: str) -> str:
    if transport == "unix":
        return f"uid:{os.getuid()},pid:{os.getpid()}"
    host, port, *_ = client.getsockname()
    return f"[{host}]:{port}" if transport == "tcp6" else f"{host}:{port}"


class TestFactories:
    def test_class_is_made_with_options(self) -> None:
        """A factory class is made once, started, and asked for every protocol."""
        with hosting("Counting", "tcp", "unix", options={"most": 3}) as host:
            host.heard("startFactory")
            assert host.ask(b"a") == b"1a"
            assert host.ask(b"b", "unix") == b"2b"
            assert host.ask(b"c") == b"3c"
            lines = host.everything()
            assert lines.count("startFactory") == lines.count("stopFactory") == 1

    def test_none_refuses(self) -> None:
        """buildProtocol() may return None, which is logged; it may raise, which is, too."""
        with hosting("counting") as host:
            assert [host.ask(), host.ask()] == [b"1", b"2"]
            assert host.ask() == b""
            host.heard("refused: no-protocol")
            assert host.ask() == b""
            host.heard("buildProtocol raised")
            host.heard("ValueError: 127.0.0.1 is too much")
            host.heard("tcp failed")
            host.everything()
            counts = host.scoreboard.counts()
            assert (counts.served, counts.refused, counts.failed) == (3, 1, 1)

    def test_any_factory(self) -> None:
        """What implements IProtocolFactory and nothing else; its doStop() may raise."""
        with hosting("Bare") as host:
            host.heard("doStart")
            assert host.ask(b"x") == b"x"
            lines = host.everything()
            assert any("stopFactory raised" in line for line in lines)


class TestProtocolsThatRaise:
    @pytest.mark.parametrize(
        ("said", "error"),
        [
            (b"raise", "ValueError: in dataReceived"),
            (b"exit", "SystemExit: in dataReceived"),
            (b"false", "FalseError: in dataReceived"),
            (b"producer", "LookupError: in resumeProducing"),
            (b"pause", "LookupError: in pauseProducing"),
            (b"pull", "LookupError: in resumeProducing"),
            (b"stop", "LookupError: in stopProducing"),
        ],
    )
    def test_own_connection_ends(self, said: bytes, error: str) -> None:
        """Logged once with client and traceback; nobody else notices."""
        with hosting("Faulty") as host, host.connect() as other, host.connect() as client:
            port = client.getsockname()[1]
            client.sendall(said)
            read_all(client)
            host.heard(f"127.0.0.1:{port} tcp failed")
            host.heard("connectionLost")
            other.sendall(b"still there")
            assert other.recv(100) == b"still there"
            other.close()
            lines = host.everything()
            assert [error in line for line in lines].count(True) == 1
            assert sum(f"[test#error] 127.0.0.1:{port} tcp: " in line for line in lines) == 1
            assert any("served.py" in line for line in lines)
            assert not any("LOGGED" in line for line in lines)

    @pytest.mark.parametrize("at", ["connectionMade", "connectionLost"])
    def test_at_the_ends(self, at: str) -> None:
        with hosting("Faulty", options={"at": at}) as host:
            with suppress(ConnectionResetError):
                host.ask(b"hello")
            host.heard("the protocol raised")
            host.heard("tcp failed")
            assert host.scoreboard.active_connections() == []

    @pytest.mark.parametrize("at", ["readConnectionLost", "writeConnectionLost"])
    def test_half_close(self, at: str) -> None:
        with hosting("HalfClosing", options={"faulty": at}) as host:
            assert host.ask() == (b"" if at == "readConnectionLost" else b"you have finished")
            host.heard(f"ValueError: in {at}")
            host.heard("tcp failed")
            host.heard("connectionLost")

    def test_descriptor(self) -> None:
        """Those that the protocol has not seen are closed."""
        with hosting("FaultyPassing", "unix") as host:
            before = host.open_files()
            with host.connect("unix") as client:
                socket.send_fds(client, [b"x"], [0, 0, 0])
                assert read_all(client) == b""
            host.heard("ValueError: in fileDescriptorReceived")
            assert host.open_files() == before

    def test_descriptors_for_nobody(self) -> None:
        """A protocol that cannot take any does not get them."""
        with hosting("Line", "unix") as host:
            before = host.open_files()
            with host.connect("unix") as client:
                socket.send_fds(client, [b"x"], [0, 0, 0])
                assert read_all(client) == b"x"
            host.heard("unix served")
            assert host.open_files() == before

    def test_no_protocol(self) -> None:
        """A factory that makes something else costs its own connection."""
        with hosting("Junk") as host:
            assert host.ask() == b""
            host.heard("AttributeError: 'str' object has no attribute 'makeConnection'")
            assert host.ask() == b""
            host.everything()
            assert host.scoreboard.counts().failed == 2


class TestTransport:
    def test_half_closing(self) -> None:
        """Each direction ends by itself."""
        with hosting("HalfClosing") as host:
            assert host.ask(b"x") == b"you have finished"
            host.heard("writeConnectionLost")
            host.heard("connectionLost")

    def test_large_answers_arrive_whole(self) -> None:
        """A producer is paused and resumed; what the kernel does not take waits."""
        with hosting("Flood") as host:
            assert len(read_all(host.connect())) == 64 << 20
            host.heard(f"out={64 << 20}")

    def test_pulled(self) -> None:
        """A producer that is asked for each piece, when there is room for it."""
        with hosting("Pulled") as host:
            assert len(read_all(host.connect())) == 1_000_000

    def test_reset_while_writing(self) -> None:
        """The protocol hears that the connection was lost, not ended."""
        with hosting("Reset") as host:
            client = host.connect()
            host.heard("written")
            reset(client)
            host.heard("lost: ConnectionLost")
            host.heard("tcp served")

    def test_client_goes_while_nobody_reads(self) -> None:
        """A protocol that has paused hears of it all the same."""
        with hosting("Paused") as host:
            client = host.connect()
            host.heard("paused")
            reset(client)
            host.heard("lost: ConnectionLost")

    def test_start_tls(self) -> None:
        """A protocol goes over to TLS in the middle of a connection."""
        context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
        context.check_hostname = False
        context.verify_mode = ssl.CERT_NONE
        with hosting("StartTls") as host, host.connect() as plain:
            plain.sendall(b"STARTTLS\n")
            assert plain.recv(100) == b"go ahead\n"
            with context.wrap_socket(plain) as client:
                client.sendall(b"secret")
                assert read_all(client) == b"secret"
            host.heard("tcp served")

    def test_abort(self) -> None:
        """abortConnection() resets, and throws away what is unsent."""
        with hosting("Abort") as host, host.connect() as client:
            client.sendall(b"x")
            with pytest.raises(ConnectionResetError):
                client.recv(10)
            host.heard("tcp served")

    def test_descriptors_pass(self) -> None:
        """On Unix sockets, both ways."""
        with hosting("Passing", "unix") as host, host.connect("unix") as client:
            ours, theirs = os.pipe()
            socket.send_fds(client, [b"x"], [theirs])
            assert os.read(ours, 10) == b"passed"
            data, descriptors, _, _ = socket.recv_fds(client, 10, 1)
            assert data == b"!"
            for descriptor in (ours, theirs, *descriptors):
                os.close(descriptor)


class TestAdmission:
    def test_lists_refuse_before_there_is_a_protocol(self) -> None:
        with hosting("counting", "tcp", "unix", deny=["127.0.0.0/8"]) as host:
            assert host.ask() == b""
            host.heard("tcp refused: deny")
            assert host.ask(b"", "unix") == b"1"
            assert host.scoreboard.counts().refused == 1

    def test_credentials(self) -> None:
        """Of a Unix client, by which rules admit it."""
        with hosting("Line", "unix", allow=[f"uid:{os.getuid()}"]) as host:
            assert host.ask(b"x", "unix") == b"x"
        with hosting("Line", "unix", deny=[f"uid:{os.getuid()}"]) as host:
            assert host.ask(b"", "unix") == b""

    def test_dry_run(self) -> None:
        """A refusal by the lists or the filter is logged and counted, and that is all."""
        with hosting("Line", deny=["127.0.0.1"], dry_run=True) as host:
            assert host.ask(b"x") == b"x"
            host.heard("would be refused: deny")
            host.heard("tcp served")
        with hosting("Line", verify="broken", dry_run=True) as host:
            assert host.ask(b"x") == b"x"
            host.heard("would be refused: verify_request raised")

    @pytest.mark.parametrize("transport", STREAMS)
    def test_filter(self, transport: str) -> None:
        """It gets the transport, which it may write to, and the client's address."""
        with hosting("Line", transport, verify="polite") as host, host.connect(transport) as client:
            assert read_all(client) == b"go away"
            address = client.getsockname() or "unix"
            host.heard(f"asked {address}")
            host.heard(f"{transport} refused: verify_request")

    @pytest.mark.parametrize("verify", ["admit", "slow"])
    def test_filter_admits(self, verify: str) -> None:
        """Nothing that has come in the meantime is lost."""
        with hosting("Line", verify=verify) as host:
            assert host.ask(b"early") == b"early"

    def test_filter_raises(self) -> None:
        with hosting("counting", verify="broken") as host:
            assert host.ask() == b""
            host.heard("tcp refused: verify_request raised")
            host.heard("ValueError: in the filter")

    def test_filter_overruns(self) -> None:
        """It costs its own client only, and no longer than the deadline."""
        with hosting("counting", verify="stuck", verify_timeout=0.02) as host:
            assert host.ask() == b""
            host.heard("tcp refused: verify_timeout")

    @pytest.mark.parametrize("verify", ["hang_up", "abort"])
    def test_filter_closes(self, verify: str) -> None:
        """Whatever it returns then, no protocol is made."""
        with hosting("counting", verify=verify) as host:
            try:
                with host.connect() as client:
                    assert client.recv(10) == b""
            except ConnectionResetError:  # even before connect() has returned
                assert verify == "abort"
            host.heard("tcp refused: ")
            host.everything()
            assert host.scoreboard.counts().refused == 1


class TestNewLists:
    def test_hold_for_those_inside(self) -> None:
        """Their connections end, those of others do not, and nobody new comes in."""
        with hosting("Echo", "tcp", "unix", dry_run=True) as host:
            clients = [host.connect("tcp"), host.connect("unix")]
            for client in clients:
                client.sendall(b"x")
                assert client.recv(1) == b"x"
            host.say("deny 127.0.0.1")
            with suppress(ConnectionResetError):
                assert clients[0].recv(1) == b""
            host.heard("ended by the new lists: deny")
            clients[1].sendall(b"y")
            assert clients[1].recv(1) == b"y"
            with suppress(ConnectionResetError):
                assert host.ask() == b""
            host.heard("tcp refused: deny")
            clients[1].close()
            assert host.everything()[-1] == "STOPPED"

    def test_hold_for_those_in_the_filter(self) -> None:
        """Who is asked meanwhile is asked by them when the filter has admitted him."""
        with hosting("Line", verify="until_told") as host, host.connect() as client:
            host.heard("asked")
            host.say("deny 127.0.0.1")
            host.heard("DENYING")
            os.kill(host.process.pid, signal.SIGUSR1)
            assert client.recv(1) == b""
            host.heard("tcp refused: deny")

    def test_hold_for_datagrams(self) -> None:
        """In the filter, and from then on."""
        with hosting("EchoPackets", "udp", verify="until_told") as host:
            client = host.sender()
            client.send(b"first")
            host.heard("asked")
            host.say("deny 127.0.0.1")
            host.heard("DENYING")
            os.kill(host.process.pid, signal.SIGUSR1)
            host.heard("udp refused: deny", "in=5")
            client.send(b"second")
            host.heard("udp refused: deny", "in=6")
            host.everything()
            assert host.scoreboard.counts().served == 0


class TestScoreboard:
    def test_who_is_inside(self) -> None:
        with hosting("Echo") as host, host.connect() as client:
            client.sendall(b"x")
            assert client.recv(1) == b"x"
            (active_connection,) = host.scoreboard.active_connections()
            assert active_connection.client == f"127.0.0.1:{client.getsockname()[1]}"
            client.close()
            host.heard("served")
            assert host.scoreboard.active_connections() == []

    def test_more_clients_than_slots(self) -> None:
        """Those beyond are served and counted, and not listed."""
        with hosting("Line", slots=4) as host:
            clients = [host.connect() for _ in range(10)]
            for client in clients:
                client.sendall(b"x")
                assert read_all(client) == b"x"
                client.close()
            host.everything()
            assert host.scoreboard.counts().served == 10
            assert host.scoreboard.active_connections() == []

    def test_at_most_so_many_are_listed(self) -> None:
        with hosting("Echo", slots=2) as host:
            clients = [host.connect() for _ in range(6)]
            for client in clients:
                client.sendall(b"x")
                assert client.recv(1) == b"x"
            assert len(host.scoreboard.active_connections()) == 2
            for client in clients:
                client.close()


class TestStop:
    def test_connections_go_on(self) -> None:
        """Nothing more is taken, and who is inside is served to the end."""
        with hosting("Echo") as host, host.connect() as client:
            client.sendall(b"before")
            assert client.recv(100) == b"before"
            host.say("stop")
            host.heard("STOPPING")
            with host.connect() as late:
                late.sendall(b"late")
                client.sendall(b"after")
                assert client.recv(100) == b"after"
                client.close()
                host.heard("STOPPED")
                request, _ = host.listeners["tcp"].accept()
                request.close()

    def test_with_nobody_inside(self) -> None:
        with hosting("Echo") as host:
            assert host.everything()[-1] == "STOPPED"

    def test_with_somebody_in_the_filter(self) -> None:
        with hosting("Line", verify="slow") as host, host.connect() as client:
            client.sendall(b"x")
            assert read_all(client) == b"x"
            assert host.everything()[-1] == "STOPPED"


class TestExhaustion:
    def test_clients_wait(self) -> None:
        """Out of descriptors it rests, says so once, and goes on when there are some."""
        with hosting("Echo", descriptors=5) as host:
            clients = [host.connect() for _ in range(12)]
            host.heard("out of descriptors or memory, connections wait in the backlog")
            served = _some_answered(host, clients)
            for client in served:
                client.close()
            for client in clients:
                if client not in served:
                    client.sendall(b"x")
                    assert client.recv(1) == b"x"
                    client.close()
            host.heard("accepting again")
            lines = host.everything()
            assert sum("out of descriptors" in line for line in lines) <= 2


def _some_answered(host: Host, clients: list[socket.socket]) -> list[socket.socket]:
    """Those who are inside: the first five, in the order of the backlog."""
    for client in clients[:5]:
        client.sendall(b"x")
        assert client.recv(1) == b"x"
    return clients[:5]


def test_no_descriptor_is_left_behind() -> None:
    """Neither of those who were served, nor of those who were refused, or failed."""
    with hosting("counting") as host:
        before = host.open_files()
        for outcome in ["served", "served", "refused", *["failed"] * 10]:
            with host.connect() as client:
                address = client.getsockname()
                client.shutdown(socket.SHUT_WR)
                read_all(client)
            host.heard(f"127.0.0.1:{address[1]} tcp {outcome}")
        assert host.open_files() == before


CANCELS: Final[dict[str, Any]] = {"collects_last": sys.version_info >= (3, 12)}
"""For connections whose end cancels a coroutine.

From Python 3.12 on, the traceback of an error keeps the frames that called the coroutine. Twisted's
frames among them keep the error, so both stay until the collector runs.
"""

ENDS = [
    ("Line", b"x", {}),
    ("Flood", b"", {}),
    ("Abort", b"x", {}),
    ("HalfClosing", b"", {}),
    ("Faulty", b"raise", {}),
    ("Faulty", b"stop", {}),
    ("Faulty", b"", {"options": {"at": "connectionMade"}}),
    ("Faulty", b"", {"options": {"at": "connectionLost"}}),
    ("counting", b"", {"options": {}}),
    ("Line", b"", {"deny": ["127.0.0.1"]}),
    ("Line", b"", {"verify": "polite"}),
    ("Line", b"", {"verify": "broken"}),
    ("Line", b"x", {"verify": "slow"}),
    ("Line", b"", {"verify": "hang_up"}),
    ("Line", b"", {"verify": "stuck", "verify_timeout": 0.01, **CANCELS}),
    ("AsyncLine", b"x\n", {}),
    ("AsyncParts", b"", {"options": {"raises": "handle"}}),
    ("AsyncTalk", b"task\nline\n", {}),
    ("AsyncTalk", b"abort\n", CANCELS),
    ("AsyncTalk", b"close\n", CANCELS),
    ("AsyncImpatient", b"", {}),
    ("AsyncGenerous", b"\n", {"options": {"timeout": 10}}),
]


@pytest.mark.parametrize(("what", "said", "settings"), ENDS)
def test_nothing_stays_in_memory(what: str, said: bytes, settings: dict[str, Any]) -> None:
    """A connection that is over is freed at once: no cycle waits for the collector."""
    with hosting(what, collects=False, **settings) as host:
        for _ in range(3):
            with host.connect() as client, suppress(OSError):
                client.sendall(said)
                client.shutdown(socket.SHUT_WR)
                read_all(client)
        host.everything()
        assert host.alive == 0
        assert host.scoreboard.active_connections() == []


SAID = {
    "AsyncTalk": b"client nothing swallow rest eof abort close foreign bogus 7".split(),
    "Faulty": b"raise exit false producer pause pull stop 7".split(),
    "HalfClosing": [b"7"],
    "Flood": [b"7"],
}


@pytest.mark.parametrize("what", list(SAID))
@pytest.mark.parametrize("seed", [1, 2])
def test_clients_that_do_anything(what: str, seed: int) -> None:
    """In any order: nobody stays inside, no descriptor and no memory is left, and it stops."""
    chance = random.Random(seed)
    said = [*(word + b"\n" for word in SAID[what]), *SAID[what], bytes(100_000)]
    with hosting(what, collects=False, **(CANCELS if what == "AsyncTalk" else {})) as host:
        clients = [Client(host, chance, said) for _ in range(20)]
        for _ in range(1000):
            chance.choice(clients).act()
        for client in clients:
            client.go()
        assert host.everything()[-1] == "STOPPED"
        assert host.alive == 0
        assert host.scoreboard.active_connections() == []


class Client:
    """A client that connects, sends, reads, finishes and goes as it likes, again and again."""

    def __init__(self, host: Host, chance: random.Random, said: list[bytes]) -> None:
        self._host = host
        self._chance = chance
        self._said = said
        self._socket: socket.socket | None = None

    def act(self) -> None:
        """Do something."""
        if self._socket is None:
            self._socket = self._host.connect()
            self._socket.setblocking(False)
            return
        with suppress(OSError):
            match self._chance.randrange(6):
                case 0 | 1 | 2:
                    self._socket.send(self._chance.choice(self._said))
                case 3:
                    self._socket.recv(1 << 20)
                case 4:
                    self._socket.shutdown(socket.SHUT_WR)
                case 5:
                    self.go()

    def go(self) -> None:
        """Leave, so that the server must notice."""
        if self._socket is not None:
            reset(self._socket)
            self._socket = None


def test_pieces_go_out_together() -> None:
    """What is written while the protocol is called is one segment."""
    with hosting("AsyncParts") as host, host.connect() as client:
        assert client.recv(100) == b"setup handle finish "
