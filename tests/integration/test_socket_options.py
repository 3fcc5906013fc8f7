"""Every socket option of the table, set by a file and asked of the live socket in a handler."""

from __future__ import annotations

import json
import os
import re
import shutil
import socket
import ssl
import struct
import sys
import tempfile
import textwrap
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any, Final

import pytest

from netd.config.toml import literal
from netd.listening.options.apply import here
from netd.listening.options.table import OPTIONS, Option
from netd.model.address import Transport
from tests.integration.administered import Administered
from tests.integration.daemons import PATIENCE, Project, netdctl, read_all

PROBE: Final = """
    import json, socket
    from socketserver import BaseRequestHandler

    class Probe(BaseRequestHandler):
        '''Tells what getsockopt says of its sockets, or what a few lines of a file are.'''

        def handle(self):
            is_stream = isinstance(self.request, socket.socket)
            text = self.request.recv(65536) if is_stream else self.request[0]
            answer = json.dumps([self.tell(*one) for one in json.loads(text)]).encode()
            if is_stream:
                self.request.sendall(answer)
            else:  # by another socket, since this one may cork what it sends
                with socket.socket(self.server.socket.family, socket.SOCK_DGRAM) as other:
                    other.sendto(answer, self.client_address)

        def tell(self, what, *arguments):
            if what == "file":
                return open(arguments[0]).read()
            if what == "send":
                return self.send(*arguments)
            sock = self.request if what == "connection" else self.server.socket
            try:
                return sock.getsockopt(*arguments).hex()
            except OSError as error:
                return error.errno

        def send(self, size, address):
            try:
                return self.server.socket.sendto(bytes(size), tuple(address))
            except OSError as error:
                return error.strerror
"""

HOP_BY_HOP: Final = "0000010400000000"
"""An extension header of eight bytes with padding only (RFC 8200, 4.2)."""

SEGMENTS: Final = "000204000000000000000000000000000000000000000001"
"""A segment routing header with ::1 as its only, and last, segment (RFC 8754)."""

Check = Callable[["Asked"], None]


@dataclass(frozen=True)
class Case:
    """A value of an option, and what is to be seen of it."""

    value: Any
    seen: int | bytes | Check
    """What getsockopt says, as a number or as the first bytes; or what looks for the effect."""
    only: tuple[Transport, ...] = ()
    """Where it is tried; everywhere it fits, if nothing is said."""
    on_listener: bool = False
    """Whether only the listener tells."""


@dataclass(frozen=True)
class Asked:
    """A listener whose option is looked at."""

    option: Option
    transport: Transport
    ask: Callable[[list[list[Any]]], list[Any]]


def the_group_is_joined(text: str, file: str, asked: Asked) -> None:
    assert text in asked.ask([["file", file]])[0]


def the_group_is_left(text: str, file: str, asked: Asked) -> None:
    assert text not in asked.ask([["file", file]])[0]


def the_buffer_is(option: str, size: int, asked: Asked) -> None:
    row = OPTIONS[option]
    what = "listener" if asked.transport.is_datagram else "connection"
    assert number(asked.ask([[what, row.level, row.number, 4]])[0]) == size


def both_families_are_served(asked: Asked) -> None:
    """How, another test sees."""
    row = OPTIONS["IPV6_V6ONLY"]
    assert number(asked.ask([["listener", row.level, row.number, 4]])[0]) == 0


def an_interface_is_known(asked: Asked) -> None:
    """Sending to an address of a link needs one (EINVAL without)."""
    assert asked.ask([["send", 1, ["fe80::1", 9, 0, 0]]]) != ["Invalid argument"]


UDP, UDP6, TCP = Transport.UDP, Transport.UDP6, Transport.TCP
IGMP, IGMP6, SOURCES = "/proc/net/igmp", "/proc/net/igmp6", "/proc/net/mcfilter"

CASES: Final[dict[str, Case]] = {
    "SO_BINDTODEVICE": Case("lo", b"lo\0"),
    "SO_BINDTOIFINDEX": Case("lo", socket.if_nametoindex("lo")),
    "SO_BUF_LOCK": Case(3, 3),
    "SO_INCOMING_CPU": Case(1, 1, on_listener=True),
    "SO_LINGER": Case("3s", struct.pack("ii", 1, 3)),
    "SO_MARK": Case(7, 7),
    "SO_MAX_PACING_RATE": Case(10**9, struct.pack("L", 10**9)),
    "SO_PEEK_OFF": Case(0, 0),
    "SO_PRIORITY": Case(5, 5),
    "SO_RCVBUF": Case("16KiB", 32768),
    "SO_RCVBUFFORCE": Case("32KiB", partial(the_buffer_is, "SO_RCVBUF", 65536)),
    "SO_RCVLOWAT": Case(3, 3),
    "SO_RCVTIMEO": Case("2.5s", struct.pack("ll", 2, 500_000)),
    "SO_SNDBUF": Case(16384, 32768),
    "SO_SNDBUFFORCE": Case("32KiB", partial(the_buffer_is, "SO_SNDBUF", 65536)),
    "SO_SNDTIMEO": Case("1m", struct.pack("ll", 60, 0)),
    "SO_TIMESTAMPING": Case(8, struct.pack("I", 8)),
    "SO_PASSRIGHTS": Case(False, 0),
    "SO_TXREHASH": Case(False, 0),
    "IP_ADD_MEMBERSHIP": Case(
        ["239.9.9.1", "239.9.9.2@127.0.0.1", "239.9.9.3@lo"],
        partial(the_group_is_joined, "030909EF", IGMP),
    ),
    "IP_ADD_SOURCE_MEMBERSHIP": Case(
        "232.9.9.4/127.0.0.9@127.0.0.1", partial(the_group_is_joined, "0xe8090904", SOURCES)
    ),
    "IP_DROP_MEMBERSHIP": Case(
        "239.9.9.8@lo", partial(the_group_is_left, "080909EF", IGMP), only=(UDP,)
    ),
    "IP_MINTTL": Case(1, 1),
    "IP_MTU_DISCOVER": Case("do", 2),
    "IP_MULTICAST_ALL": Case(False, 0),
    "IP_MULTICAST_IF": Case("127.0.0.1", socket.inet_aton("127.0.0.1")),
    "IP_MULTICAST_LOOP": Case(False, 0),
    "IP_MULTICAST_TTL": Case(9, 9),
    "IP_OPTIONS": Case("hex:01010100", b"\1\1\1\0"),
    "IP_TOS": Case(0x10, 0x10),
    "IP_TTL": Case(9, 9),
    "IP_UNICAST_IF": Case("lo", struct.pack("!I", socket.if_nametoindex("lo"))),
    "IPV6_ADDR_PREFERENCES": Case("temporary", 0x401),  # with the one of RFC 5014 beside it
    "IPV6_AUTOFLOWLABEL": Case(False, 0),
    "IPV6_DSTOPTS": Case(f"hex:{HOP_BY_HOP}", bytes.fromhex(HOP_BY_HOP), only=(UDP6,)),
    "IPV6_HOPOPTS": Case(f"hex:{HOP_BY_HOP}", bytes.fromhex(HOP_BY_HOP), only=(UDP6,)),
    "IPV6_RTHDRDSTOPTS": Case(f"hex:{HOP_BY_HOP}", bytes.fromhex(HOP_BY_HOP), only=(UDP6,)),
    "IPV6_RTHDR": Case(f"hex:{SEGMENTS}", bytes.fromhex(SEGMENTS), only=(UDP6,)),
    "IPV6_JOIN_GROUP": Case(
        ["ff02::9:1@lo", "ff05::9:3@lo"],
        partial(the_group_is_joined, "ff050000000000000000000000090003", IGMP6),
    ),
    "IPV6_ADD_MEMBERSHIP": Case(
        "ff02::9:2@lo", partial(the_group_is_joined, "ff020000000000000000000000090002", IGMP6)
    ),
    "IPV6_LEAVE_GROUP": Case(
        "ff02::9:8@lo", partial(the_group_is_left, "ff020000000000000000000000090008", IGMP6)
    ),
    "IPV6_DROP_MEMBERSHIP": Case(
        "ff02::9:9@lo", partial(the_group_is_left, "ff020000000000000000000000090009", IGMP6)
    ),
    "IPV6_MINHOPCOUNT": Case(1, 1),
    "IPV6_MTU_DISCOVER": Case("probe", 3),
    "IPV6_MULTICAST_ALL": Case(False, 0),
    "IPV6_MULTICAST_HOPS": Case(9, 9),
    "IPV6_MULTICAST_IF": Case("lo", socket.if_nametoindex("lo")),
    "IPV6_MULTICAST_LOOP": Case(False, 0),
    "IPV6_PKTINFO": Case("@lo", an_interface_is_known, only=(UDP6,)),
    "IPV6_TCLASS": Case(0x10, 0x10),
    "IPV6_UNICAST_HOPS": Case(9, 9),
    "IPV6_UNICAST_IF": Case("lo", struct.pack("!I", socket.if_nametoindex("lo"))),
    "IPV6_V6ONLY": Case(False, both_families_are_served),
    "TCP_CONGESTION": Case("reno", b"reno\0"),
    "TCP_DEFER_ACCEPT": Case(3, 3, on_listener=True),
    "TCP_DELACK_MAX_US": Case(20_000, 20_000),
    "TCP_FASTOPEN": Case(16, 16, on_listener=True),
    "TCP_FASTOPEN_KEY": Case(f"hex:{bytes(range(16)).hex()}", bytes(range(16)), on_listener=True),
    "TCP_KEEPCNT": Case(3, 3),
    "TCP_KEEPIDLE": Case(60, 60),
    "TCP_KEEPINTVL": Case(7, 7),
    "TCP_LINGER2": Case(5, 5),
    "TCP_MAXSEG": Case(1000, 1000, on_listener=True),
    "TCP_NOTSENT_LOWAT": Case(4096, 4096),
    "TCP_QUICKACK": Case(False, 0),
    "TCP_RTO_MAX_MS": Case(5000, 5000),
    "TCP_RTO_MIN_US": Case(100_000, 100_000),
    "TCP_SAVE_SYN": Case(1, 1, on_listener=True),
    "TCP_SYNCNT": Case(3, 3),
    "TCP_TX_DELAY": Case(10, 10),
    "TCP_USER_TIMEOUT": Case(5000, 5000),
    "TCP_WINDOW_CLAMP": Case(30_000, 30_000),
    "UDP_SEGMENT": Case(1000, 1000),
    "SO_BUSY_POLL": Case(20, 20),
}
"""Options that are neither on nor off; all others are set to true, which is seen as 1."""

PRIVILEGED: Final = {
    "SO_BUSY_POLL",
    "SO_DEBUG",
    "SO_MARK",
    "SO_PREFER_BUSY_POLL",
    "SO_RCVBUFFORCE",
    "SO_SNDBUFFORCE",
    "IP_TRANSPARENT",
    "IPV6_HOPOPTS",
    "IPV6_DSTOPTS",
    "IPV6_RTHDR",
    "IPV6_RTHDRDSTOPTS",
    "IPV6_TRANSPARENT",
}
"""Options that only root can set."""

HERE: Final = {option.name for option in here()}

INET: Final = "{0}:0:interface={1}"
LISTEN: Final = {
    Transport.TCP: INET.format("tcp", "127.0.0.1"),
    Transport.TCP6: INET.format("tcp6", "[::1]"),
    Transport.UDP: INET.format("udp", "127.0.0.1"),
    Transport.UDP6: INET.format("udp6", "[::1]"),
    Transport.UNIX: "unix:{}.stream",
    Transport.UNIXGRAM: "unixgram:{}.dgram",
}


def case_of(option: Option) -> Case:
    return CASES.get(option.name, Case(True, 1))


def transports_of(option: Option) -> list[Transport]:
    """Where an option is tried."""
    return [
        transport
        for transport in Transport
        if (int(transport.family), int(transport.type)) in option.fit.kinds
        and transport in LISTEN
        and transport in (case_of(option).only or Transport)
    ]


def usable(option: Option) -> bool:
    return option.name in HERE and (os.geteuid() == 0 or option.name not in PRIVILEGED)


def service_of(option: Option) -> str:
    name = option.name
    listen = [LISTEN[transport].format(name) for transport in transports_of(option)]
    if name == "IPV6_V6ONLY":  # which an address of one family implies
        listen = [text.partition(":interface")[0] for text in listen]
    return textwrap.dedent(f"""
        [services.{name}]
        listen = {literal(listen)}
        handler = "handlers:Probe"
        worker = "probe"
        threads = 2
        socket = {{{name} = {literal(case_of(option).value)}}}
    """)


def number(seen: str | int) -> int:
    assert isinstance(seen, str), f"errno {seen}"
    data = bytes.fromhex(seen)
    return int.from_bytes(data[:4], "little", signed=len(data) >= 4)


class Served:
    """The daemon that has a service for each option, and the clients of these."""

    def __init__(self, administered: Administered) -> None:
        administered.project.handlers(PROBE)
        administered.start("".join(service_of(one) for one in OPTIONS.values() if usable(one)))
        self.directory = administered.directory
        listeners = {one["name"]: one["listeners"] for one in administered.status()["services"]}
        self._where = {
            (name, text.split()[0]): text.split()[1]
            for name, texts in listeners.items()
            for text in texts
        }

    def ask(self, service: str, transport: Transport, what: list[list[Any]]) -> list[Any]:
        """Ask the probe of a service's listener."""
        address: Any = self._where[service, transport.value]
        if not transport.is_unix:
            host, _, port = address.rpartition(":")
            address = host.strip("[]"), int(port)
        with socket.socket(transport.family, transport.type) as client:
            client.settimeout(PATIENCE)
            if transport is Transport.UNIXGRAM:
                client.bind(b"")
            if transport.is_datagram:
                client.sendto(json.dumps(what).encode(), address)
                answer = client.recv(65536)
            else:
                client.connect(address)
                client.sendall(json.dumps(what).encode())
                answer = read_all(client)
        told: list[Any] = json.loads(answer)
        return told


@contextmanager
def a_project() -> Iterator[Project]:
    """A project for all tests of this file."""
    directory = Path(tempfile.mkdtemp(prefix="netd-"))
    project = Project(directory)
    try:
        yield project
    finally:
        project.clean_up()
        shutil.rmtree(directory)


@pytest.fixture(scope="module")
def served() -> Iterator[Served]:
    with a_project() as project:
        yield Served(Administered(project))


PARAMETERS: Final = [
    pytest.param(option, transport, id=f"{option.name}-{transport.value}")
    for option in OPTIONS.values()
    for transport in transports_of(option)
]


@pytest.mark.parametrize(("option", "transport"), PARAMETERS)
def test_is_set(served: Served, option: Option, transport: Transport) -> None:
    """On the connection that a handler has, or on its listener."""
    if option.name not in HERE:
        pytest.skip("this kernel does not have it")
    if not usable(option):
        pytest.skip("only root can set it")
    case = case_of(option)
    if callable(case.seen):
        case.seen(Asked(option, transport, partial(served.ask, option.name, transport)))
        return
    of_listener = case.on_listener or transport.is_datagram
    what = "listener" if of_listener else "connection"
    (told,) = served.ask(option.name, transport, [[what, option.level, option.number, 64]])
    if isinstance(case.seen, bytes):
        assert bytes.fromhex(told)[: len(case.seen)] == case.seen
    else:
        assert number(told) == case.seen


# How a service is run.

EXECUTIONS: Final = {
    "thread": 'handler = "handlers:Probe"',
    "process": 'handler = "handlers:Probe"\nconcurrency = "process"\nprocesses = 1',
    "fork": 'handler = "handlers:Probe"\nconcurrency = "process"\nmax_requests = 1',
    "reactor": 'handler = "handlers:AsyncProbe"',
    "protocol": 'protocol = "handlers:ProbeProtocol"',
    "server": 'server = "socketserver:ThreadingTCPServer"\nhandler = "handlers:Probe"',
    "hooked": 'server = "handlers:Hooked"\nhandler = "handlers:Probe"',
    "program": "program = ['{python}', '-I', '{script}']",
    "wait": "program = ['{python}', '-I', '{script}', 'wait']\nwait = true",
}

BY_TLS: Final = [name for name in EXECUTIONS if name not in ("program", "wait")]
"""Those that have their connection itself by TLS, too."""

OTHERS: Final = """
    from socketserver import ThreadingTCPServer
    from twisted.internet.protocol import Protocol
    from netd.handlers import AsyncRequestHandler, streams

    def told(transport):
        # By TLS it is the transport below.
        sock = getattr(transport, "socket", None) or transport.transport.socket
        return json.dumps([sock.getsockopt(1, 12), sock.getsockopt(1, 9)]).encode()

    class AsyncProbe(AsyncRequestHandler):
        async def handle(self):
            _, wfile = streams(self.request)
            await wfile.write(told(self.request))

    class ProbeProtocol(Protocol):
        def connectionMade(self):
            self.transport.write(told(self.transport))
            self.transport.loseConnection()

    class Hooked(ThreadingTCPServer):
        def get_request(self):
            return super().get_request()
"""

SCRIPT: Final = """
    import json, socket, sys
    sock = socket.socket(fileno=0)
    if "wait" in sys.argv:
        sock, _ = sock.accept()
    sock.sendall(json.dumps([sock.getsockopt(1, 12), sock.getsockopt(1, 9)]).encode())
"""


@pytest.fixture(scope="module")
def executions() -> Iterator[Administered]:
    """A daemon with a service for each execution, with one option inherited and one that is not."""
    with a_project() as project:
        script = project.directory / "script.py"
        script.write_text(textwrap.dedent(SCRIPT))
        project.handlers(PROBE + OTHERS)
        administered = Administered(project)
        text = f'[defaults.tls]\nself_signed = "{project.directory}/self-signed.pem"\n'
        for name, runs in EXECUTIONS.items():
            options = "SO_KEEPALIVE = true" + ("" if name == "wait" else ", SO_PRIORITY = 5")
            by_tls = ', "tls:0:interface=127.0.0.1"' if name in BY_TLS else ""
            text += f"""
[services.{name}]
listen = ["tcp:0:interface=127.0.0.1"{by_tls}]
{runs.format(python=sys.executable, script=script)}
socket = {{{options}}}
"""
        administered.start(text)
        yield administered


def told_by(client: socket.socket, name: str) -> list[int]:
    """The priority of a connection to a service, and whether it is kept alive."""
    if "Probe" in EXECUTIONS[name] and name not in ("reactor", "protocol"):
        what = [["connection", 1, 12, 4], ["connection", 1, 9, 4]]
        client.sendall(json.dumps(what).encode())
        return [number(one) for one in json.loads(read_all(client))]
    told: list[int] = json.loads(read_all(client))
    return told


@pytest.mark.parametrize("name", EXECUTIONS)
def test_in_every_execution(executions: Administered, name: str) -> None:
    """What connections inherit, and what they do not."""
    with executions.talk(name) as conversation:
        told = told_by(conversation.socket, name)
    assert told == [0 if name == "wait" else 5, 1]


@pytest.mark.parametrize("name", BY_TLS)
def test_by_tls(executions: Administered, name: str) -> None:
    """The same, whoever has taken the connection and done its handshake."""
    context = ssl.create_default_context()
    context.check_hostname, context.verify_mode = False, ssl.CERT_NONE
    with (
        executions.talk(name, 1) as conversation,
        context.wrap_socket(conversation.socket) as client,
    ):
        assert told_by(client, name) == [5, 1]


class TestReload:
    @pytest.mark.long
    def test_of_what_stays(self, administered: Administered) -> None:
        """Its options are changed; what comes too late is named, and what cannot be is nothing."""

        def configured(options: str, port: int = 0) -> str:
            return f"""
[services.a]
listen = ["tcp6:{port}"]
handler = "handlers:Probe"
socket = {{{options}}}
"""

        def told() -> list[int]:
            what = [["connection", 1, 9, 4], ["listener", 41, 26, 4], ["connection", 6, 4, 4]]
            with socket.create_connection(("::1", port)) as client:
                client.sendall(json.dumps(what).encode())
                return [number(one) for one in json.loads(read_all(client))]

        administered.project.handlers(PROBE)
        administered.start(configured("SO_KEEPALIVE = true"))
        port = administered.address("a")[1]
        idle = told()[2]
        reply = administered.reload(configured("TCP_KEEPIDLE = 77, IPV6_V6ONLY = false"))
        assert reply.ok
        assert reply.values["steps"][0]["why"] == [
            "socket.SO_KEEPALIVE",
            "socket.IPV6_V6ONLY (on new listeners only)",
            "socket.TCP_KEEPIDLE",
        ]
        assert told() == [0, 1, 77]
        refused = administered.reload(configured("IP_TOS = 1"))
        assert not refused.ok
        assert administered.reload(configured("SO_KEEPALIVE = true")).ok
        assert told() == [1, 1, idle]

    @pytest.mark.long
    def test_an_upgrade_knows_them(self, administered: Administered) -> None:
        """So that what is not in the file any more is taken back."""
        service = """
[services.a]
listen = ["tcp:0:interface=127.0.0.1"]
handler = "handlers:Probe"
"""
        administered.project.handlers(PROBE)
        administered.start(service + "socket = {SO_KEEPALIVE = true}\n")
        address = administered.address("a")
        administered.configure(service + "socket = {TCP_NODELAY = true}\n")
        with administered.upgraded(), socket.create_connection(address) as client:
            client.sendall(json.dumps([["connection", 1, 9, 4], ["connection", 6, 1, 4]]).encode())
            assert [number(one) for one in json.loads(read_all(client))] == [0, 1]


class TestBothFamilies:
    def test_by_one_listener(self, administered: Administered) -> None:
        """Rules are about an IPv4 client's own address, and so is the log."""
        administered.project.handlers(PROBE)
        daemon = administered.start("""
            [defaults.socket]
            IPV6_V6ONLY = false
            [services.a]
            listen = ["tcp6:0", "udp6:0"]
            handler = "handlers:Probe"
            access = {allow = ["127.0.0.0/8", "::1"], deny = ["127.0.0.3"]}
        """)
        what = json.dumps([["listener", 41, 26, 4]]).encode()
        for number_, transport in enumerate(("tcp6", "udp6")):
            port = administered.address("a", number_)[1]
            for host, source, is_admitted in [
                ("::1", None, True),
                ("127.0.0.1", "127.0.0.2", True),
                ("127.0.0.1", "127.0.0.3", False),
            ]:
                kind = Transport(transport).type
                family = socket.AF_INET6 if ":" in host else socket.AF_INET
                with socket.socket(family, kind) as client:
                    client.settimeout(PATIENCE)
                    if source is not None:
                        client.bind((source, 0))
                    if kind is socket.SOCK_STREAM:
                        client.connect((host, port))
                        client.send(what)
                    else:  # whose answer comes from another port
                        client.sendto(what, (host, port))
                    own = client.getsockname()[1]
                    verdict = "served" if is_admitted else "refused: deny"
                    shown = source or "[::1]"
                    daemon.log.wait(rf"\[a#info\] {re.escape(shown)}:{own} {transport} {verdict}")
                    if is_admitted:
                        assert json.loads(client.recv(1000)) == ["00000000"]


def test_command() -> None:
    """The table, as far as this kernel has it."""
    done = netdctl("socket-options")
    assert done.returncode == 0
    assert {line.split()[0] for line in done.stdout.splitlines()[1:]} == HERE
    told = json.loads(netdctl("socket-options", "--json").stdout)
    assert {one["name"] for one in told} == HERE
