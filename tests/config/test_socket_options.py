"""``[services.NAME.socket]``: what is read, and what is said of the rest, at its own line."""

from __future__ import annotations

import socket
import struct
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest

from netd.config.load import load
from netd.model.problem import ConfigurationError
from netd.model.service import Service
from netd.model.socket_options import of_connections, of_sockets

Write = Callable[..., str]


@pytest.fixture
def write(tmp_path: Path) -> Write:
    def written(options: str, listen: str = '"tcp:80", "udp:80"', more: str = "") -> str:
        file = tmp_path / "netd.toml"
        head = f'[services.a]\nlisten = [{listen}]\nhandler = "m:C"\n[services.a.socket]\n'
        file.write_text(f"{head}{options}\n{more}")
        return str(file)

    return written


def service(file: str) -> Service:
    (found,) = load(file).services
    return found


def problems(file: str) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        load(file)
    return [
        f"{problem.line}: {problem.key.removeprefix('services.')}: {problem.message}"
        for problem in caught.value.problems
    ]


def set_on(file: str, number: int = 0) -> dict[str, tuple[Any, ...]]:
    """What is set on a listener, and on its connections."""
    found = service(file)
    transport = found.listen[number].transport
    both = (*of_sockets(found.socket, transport), *of_connections(found.socket, transport))
    return {one.name: one.values for one in both}


class TestReading:
    def test_each_goes_where_it_fits(self, write: Write) -> None:
        """On a service with streams and datagrams."""
        file = write('TCP_NODELAY = true\nSO_BROADCAST = true\nSO_RCVTIMEO = "2.5s"')
        timeout = (struct.pack("ll", 2, 500_000),)
        assert set_on(file, 0) == {"TCP_NODELAY": (1,), "SO_RCVTIMEO": timeout}
        assert set_on(file, 1) == {"SO_BROADCAST": (1,), "SO_RCVTIMEO": timeout}

    def test_an_option_of_ipv4_for_both_families(self, write: Write) -> None:
        """Only where the listener serves both."""
        listen = '"tcp:80", "tcp6:81"'
        assert "IP_TOS" not in set_on(write("IP_TOS = 16", listen), 1)
        assert "IP_TOS" in set_on(write("IP_TOS = 16\nIPV6_V6ONLY = false", listen), 1)

    def test_what_goes_before_bind_comes_first(self, write: Write) -> None:
        """And groups are joined before they are left."""
        file = write(
            'IP_DROP_MEMBERSHIP = "239.1.1.1"\nIP_ADD_MEMBERSHIP = "239.1.1.1"\nIP_FREEBIND = true'
        )
        names = [one.name for one in service(file).socket]
        assert names == ["IP_FREEBIND", "IP_ADD_MEMBERSHIP", "IP_DROP_MEMBERSHIP"]

    def test_defaults(self, write: Write) -> None:
        """Merge, key by key; what fits nobody is for others."""
        defaults = "[defaults.socket]\nSO_KEEPALIVE = true\nTCP_KEEPIDLE = 7\nSO_PASSCRED = true"
        assert set_on(write("TCP_KEEPIDLE = 9", more=defaults)) == {
            "SO_KEEPALIVE": (1,),
            "TCP_KEEPIDLE": (9,),
        }

    def test_a_unix_connection_inherits_nothing(self, write: Write) -> None:
        found = service(write('SO_RCVTIMEO = "1s"', '"unix:a", "unixgram:b"'))
        stream, datagram = (address.transport for address in found.listen)
        assert len(of_connections(found.socket, stream)) == 1
        assert len(of_connections(found.socket, datagram)) == 0

    def test_two_services_on_one_port_for_an_interface_each(self, write: Write) -> None:
        """As systemd has it, too (BindToDevice=)."""
        other = '[services.b]\nlisten = ["tcp:80"]\nhandler = "m:C"\nsocket = {SO_BINDTODEVICE = '
        file = write('SO_BINDTODEVICE = "lo"', more=f'{other}"lo"}}')
        assert problems(file) == ["7: b.listen: tcp:80 is listened on by services.a already: take"
                                  " another"]  # fmt: skip
        with_another = next((name for _, name in socket.if_nameindex() if name != "lo"), None)
        if with_another is not None:
            file = write('SO_BINDTODEVICE = "lo"', more=f'{other}"{with_another}"}}')
            assert len(load(file).services) == 2


FAULTS: list[tuple[str, str]] = [
    ("SO_KEEPALIV = true", 'unknown socket option; did you mean "SO_KEEPALIVE"?'),
    ("so_keepalive = true", 'unknown socket option; did you mean "SO_KEEPALIVE"?'),
    ("COLOUR = 1", 'unknown socket option; "netdctl socket-options" lists the known ones'),
    ("SO_USELOOPBACK = true",
     "is not on this system: it is for the routing sockets of other systems; leave it out"),
    ("SO_EXCLUSIVEADDRUSE = true",
     "is not on this system: it is Windows'; without SO_REUSEPORT a port is not shared here"),
    ("IP_RECVDSTADDR = true", "is not on this system: use IP_PKTINFO"),
    ("IPV6_USE_MIN_MTU = true",
     "is not on this system: the kernel finds the packet size of a path; leave it out"),
    ("SO_TYPE = 1", "is read only: a handler reads it, by type of its socket"),
    ("SO_ERROR = 1", "is read only: a handler reads it, by getsockopt()"),
    ("SO_ACCEPTCONN = 1", "is read only: a handler reads it, by getsockopt()"),
    ("TCP_INFO = 1", "is read only: a handler reads it, by getsockopt()"),
    ("SO_SNDLOWAT = 2", "is always 1 on Linux, and cannot be changed (socket(7)): leave it out, or"
     " use TCP_NOTSENT_LOWAT"),
    ("IP_MAX_MEMBERSHIPS = 20", "is a limit of the system and not an option (another option"
     " has its number): leave it out"),
    ("IP_HDRINCL = true", "is for raw sockets, which netd does not have: leave it out"),
    ("IPV6_CHECKSUM = 2", "is for raw sockets, which netd does not have: leave it out"),
    ("IPV6_HOPLIMIT = 2", "belongs to a single datagram on Linux (sendmsg), and not to a socket:"
     " use IPV6_UNICAST_HOPS"),
    ('IPV6_NEXTHOP = "::1"', "belongs to a single datagram on Linux (sendmsg), and not to a socket:"
     " use the routing table"),
    ("SO_KEEPALIVE = 1", "must be true or false, not 1"),
    ("TCP_KEEPIDLE = true", "must be a whole number from 1 to 32767, not true"),
    ("TCP_KEEPIDLE = 0", "must be a whole number from 1 to 32767, not 0"),
    ('TCP_KEEPIDLE = "60"', 'must be a whole number from 1 to 32767, not "60"'),
    ('SO_RCVTIMEO = "soon"', "must be a number of seconds from 0, or a text like"
     ' "250ms", "30s", "5m" or "2h", not "soon"'),
    ("SO_LINGER = 1.5", "must be whole seconds: the system counts nothing finer here, not 1.5"),
    ("SO_LINGER = true", 'must be a duration, like "5s", or false, not true'),
    ("SO_RCVBUF = 0", "must be from 1 to 1073741823 bytes, not 0"),
    ('SO_BINDTODEVICE = ""', 'must be a string that is not empty, not ""'),
    ('TCP_CONGESTION = "much-too-long-a-name"',
     'must be a name of at most 15 ASCII characters, not "much-too-long-a-name"'),
    ('IP_OPTIONS = "0101"',
     'must be "hex:" and two digits a byte, like "hex:01000000", not "0101"'),
    ('IP_ADD_MEMBERSHIP = ["239.1.2.3", 4]',
     'needs a group, like "239.1.2.3" or "239.1.2.3@eth0", or a list of at least one'),
    ("IP_ADD_MEMBERSHIP = []",
     'needs a group, like "239.1.2.3" or "239.1.2.3@eth0", or a list of at least one'),
    ('IP_MTU_DISCOVER = "never"',
     'must be one of "dont", "want", "do", "probe", "interface", "omit", not "never"'),
    ("SO_PASSCRED = true",
     "fits none of the service's listeners (tcp, udp): it is for unix, unixgram; leave it out"),
    ("IPV6_TCLASS = 1",
     "fits none of the service's listeners (tcp, udp): it is for tcp6, udp6; leave it out"),
]  # fmt: skip


class TestFaults:
    @pytest.mark.parametrize(("line", "message"), FAULTS, ids=[line for line, _ in FAULTS])
    def test_at_its_line(self, write: Write, line: str, message: str) -> None:
        """What is wrong, and what would be right."""
        key = line.partition(" ")[0]
        assert problems(write(f"SO_DEBUG = false\n{line}")) == [f"6: a.socket.{key}: {message}"]

    @pytest.mark.parametrize("value", ["nowhere", "239.1.2.3@nowhere"])
    def test_no_such_interface(self, write: Write, value: str) -> None:
        """The ones that there are are named."""
        option = "IP_ADD_MEMBERSHIP" if "@" in value else "SO_BINDTODEVICE"
        (found,) = problems(write(f'{option} = "{value}"'))
        assert found.startswith(
            f'5: a.socket.{option}: there is no interface "nowhere" here; there are lo'
        )

    @pytest.mark.parametrize(
        ("line", "network"),
        [
            ('IP_ADD_MEMBERSHIP = "10.0.0.1"', "224.0.0.0/4"),
            ('IPV6_JOIN_GROUP = "::1"', "ff00::/8"),
            ('IPV6_JOIN_GROUP = "239.1.2.3"', "ff00::/8"),
        ],
    )
    def test_no_group(self, write: Write, line: str, network: str) -> None:
        (found,) = problems(write(line, '"udp:80", "udp6:80"'))
        expected = f"is not a group: write an address of {network}, and after an @ the interface"
        assert expected in found

    def test_all_at_once(self, write: Write) -> None:
        """Each at its own line."""
        found = problems(write("SO_TYPE = 1\nSO_DEBUG = true\nTCP_NODELAY = 1"))
        assert [text.split(": ")[:2] for text in found] == [
            ["5", "a.socket.SO_TYPE"],
            ["7", "a.socket.TCP_NODELAY"],
        ]

    def test_in_the_defaults(self, write: Write) -> None:
        """Said once, where it stands."""
        defaults = "[defaults.socket]\nTCP_NODELAY = 1"
        file = write("SO_DEBUG = true", more=defaults)
        assert problems(file) == ["7: defaults.socket.TCP_NODELAY: must be true or false, not 1"]

    def test_no_table(self, tmp_path: Path) -> None:
        file = tmp_path / "netd.toml"
        file.write_text('[services.a]\nlisten = ["tcp:80"]\nhandler = "m:C"\nsocket = 1\n')
        assert problems(str(file)) == ["4: a.socket: must be a table, not 1"]

    def test_both_families_on_one_address(self, write: Write) -> None:
        """Linux sets the option by itself there."""
        assert problems(write("IPV6_V6ONLY = false", '"tcp6:80:interface=[::1]"')) == [
            "5: a.socket.IPV6_V6ONLY: has no effect on one address, which has one family: leave"
            " out the interface"
        ]

    def test_both_families_beside_one(self, write: Write) -> None:
        """They want the same port."""
        file = write("IPV6_V6ONLY = false", '"tcp6:80", "tcp:80"')
        assert problems(file) == [
            "2: a.listen: tcp:80 is listened on by services.a already: take another"
        ]
        assert service(write("IPV6_V6ONLY = true", '"tcp6:80", "tcp:80"'))

    def test_of_a_program_that_takes_for_itself(self, tmp_path: Path) -> None:
        """Netd sees none of its connections."""
        file = tmp_path / "netd.toml"
        file.write_text(
            '[services.a]\nlisten = ["tcp:80"]\nprogram = ["/bin/cat"]\nwait = true\n'
            "socket = {SO_PRIORITY = 1, SO_KEEPALIVE = true}\n"
        )
        assert problems(str(file)) == [
            "5: a.socket.SO_PRIORITY: is set on each connection, but the program accepts its"
            " connections itself: leave it out"
        ]
