"""``netd.model.address``: transports, and what addresses are on them."""

from __future__ import annotations

import dataclasses
import os
import socket
import uuid
from pathlib import Path
from typing import Any

import pytest

from netd.listening.description import parse
from netd.model.address import Address, InetAddress, Transport, UnixAddress, client_text


class TestTransport:
    """What the sockets of a transport are."""

    @pytest.mark.parametrize(
        ("transport", "family", "kind"),
        [
            (Transport.TCP, socket.AF_INET, socket.SOCK_STREAM),
            (Transport.TCP6, socket.AF_INET6, socket.SOCK_STREAM),
            (Transport.UDP, socket.AF_INET, socket.SOCK_DGRAM),
            (Transport.UDP6, socket.AF_INET6, socket.SOCK_DGRAM),
            (Transport.UNIX, socket.AF_UNIX, socket.SOCK_STREAM),
            (Transport.UNIXGRAM, socket.AF_UNIX, socket.SOCK_DGRAM),
            (Transport.SYSTEMD, socket.AF_UNSPEC, socket.SOCK_STREAM),
        ],
    )
    def test_sockets(
        self, transport: Transport, family: socket.AddressFamily, kind: socket.SocketKind
    ) -> None:
        """Each has a family and a type, and the two questions about it agree with them."""
        assert transport.family is family
        assert transport.type is kind
        assert transport.is_datagram == (kind is socket.SOCK_DGRAM)
        assert transport.is_unix == (family is socket.AF_UNIX)

    def test_words(self) -> None:
        """The value is the word that opens a description."""
        assert {transport.value for transport in Transport} == {
            "tcp",
            "tcp6",
            "tls",
            "tls6",
            "udp",
            "udp6",
            "unix",
            "unixgram",
            "systemd",
        }


class TestInetAddress:
    """Ports."""

    @pytest.mark.parametrize(
        ("address", "host", "text"),
        [
            (InetAddress(Transport.TCP, 13), "0.0.0.0", "tcp:13"),
            (InetAddress(Transport.UDP6, 0), "::", "udp6:0"),
            (
                InetAddress(Transport.TCP, 13, "127.0.0.1"),
                "127.0.0.1",
                "tcp:13:interface=127.0.0.1",
            ),
            (InetAddress(Transport.TCP6, 13, "::1"), "::1", "tcp6:13:interface=[::1]"),
        ],
    )
    def test_host_and_text(self, address: InetAddress, host: str, text: str) -> None:
        """No interface means all addresses of the family; a colon in one stands in brackets."""
        assert address.host == host
        assert str(address) == text

    @pytest.mark.parametrize("transport", [Transport.TCP, Transport.UDP])
    def test_can_be_bound(self, transport: Transport) -> None:
        """The host is one that a socket of the transport takes."""
        address = InetAddress(transport, 0)
        with socket.socket(transport.family, transport.type) as sock:
            sock.bind((address.host, address.port))
            assert sock.getsockname()[1] > 0


class TestUnixAddress:
    """Paths and abstract names."""

    def test_a_path(self, tmp_path: Path) -> None:
        """A path is bound as it stands."""
        address = UnixAddress(Transport.UNIX, str(tmp_path / "socket"))
        assert not address.is_abstract
        assert str(address) == f"unix:{tmp_path}/socket"
        with socket.socket(socket.AF_UNIX) as sock:
            sock.bind(address.bind_name)
            assert os.path.exists(address.path)
            assert sock.getsockname() == address.path

    def test_an_abstract_name(self) -> None:
        """An at sign stands for the zero byte that opens a name outside the file system."""
        name = f"@netd/ä/{uuid.uuid4()}"
        address = UnixAddress(Transport.UNIXGRAM, name)
        assert address.is_abstract
        assert address.bind_name == b"\0" + name[1:].encode()
        assert str(address) == f"unixgram:{name}"
        with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
            sock.bind(address.bind_name)
            assert sock.getsockname() == address.bind_name
            assert not os.path.exists(name)


ALL: list[Address] = [
    InetAddress(Transport.TCP, 13),
    InetAddress(Transport.TCP6, 13, "::1"),
    InetAddress(Transport.UDP, 0, "127.0.0.1"),
    UnixAddress(Transport.UNIX, "/run/netd/time"),
    UnixAddress(Transport.UNIXGRAM, "@netd"),
]


class TestValues:
    """Addresses are values, which a reload compares."""

    @pytest.mark.parametrize("address", ALL, ids=str)
    def test_text_is_a_description(self, address: Address) -> None:
        """What the log shows of an address can be put into the configuration."""
        assert parse(str(address)) == address

    def test_equal_and_hashable(self) -> None:
        """Two that say the same are the same listener."""
        assert {*ALL, *(dataclasses.replace(address) for address in ALL)} == set(ALL)
        assert len(set(ALL)) == len(ALL)

    def test_every_part_matters(self) -> None:
        """A changed mode or owner is another address."""
        address = UnixAddress(Transport.UNIX, "/run/netd/time")
        assert address != dataclasses.replace(address, mode=0o600)
        assert address != dataclasses.replace(address, user=0)
        assert address != dataclasses.replace(address, group=0)


@pytest.mark.parametrize("transport", [Transport.TCP, Transport.UDP6])
def test_an_address_that_is_none(transport: Transport) -> None:
    """A user's server class may pass any object on as the client's address."""
    made_up: Any = "somebody"
    assert client_text(transport)(made_up) == "somebody"
