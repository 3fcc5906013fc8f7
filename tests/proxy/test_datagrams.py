"""``netd.proxy.datagrams``: datagrams of others, and the way back."""

from __future__ import annotations

import socket
from contextlib import closing
from typing import Any

import pytest

from netd.listening.handler_view import ListenerSocket, NoHeader, TooLarge, accepting
from netd.proxy.datagrams import proxied, receiver, text_of, unwrapped
from netd.proxy.header import InvalidHeader
from tests.proxy.proxied import LOCAL, binary, line

FOUR = ("192.0.2.7", 4711), ("198.51.100.1", 443)
PROXY = ("127.0.0.1", 9)


@pytest.mark.parametrize("address", [FOUR[0], ("::1", 1, 0, 0), "/run/client", b"\0client", ""])
def test_an_address_with_a_way_back(address: Any) -> None:
    """It is what it would be without, but for where an answer goes."""
    found = proxied(address, PROXY)
    assert found == address
    assert isinstance(found, type(address))
    assert repr(found) == repr(address)
    assert hash(found) == hash(address)
    assert receiver(found) == PROXY
    assert receiver(address) == address


def test_payload_and_client() -> None:
    payload, address = unwrapped(line(*FOUR) + b"query", PROXY)
    assert (payload, address, receiver(address)) == (b"query", FOUR[0], PROXY)
    assert unwrapped(binary(command=LOCAL) + b"query", PROXY) == (b"query", PROXY)
    with pytest.raises(InvalidHeader):
        unwrapped(b"query", PROXY)


@pytest.mark.parametrize(
    ("address", "text"),
    [
        (FOUR[0], "192.0.2.7:4711"),
        (("::ffff:192.0.2.7", 1, 0, 0), "192.0.2.7:1"),
        (("::1", 1, 0, 0), "[::1]:1"),
        ("/run/x", "unix"),
        (b"", "unix"),
    ],
)
def test_for_people(address: Any, text: str) -> None:
    assert text_of(address) == text


def test_the_socket_that_a_server_receives_by() -> None:
    """In taking it takes the headers off, and what it is given for the client goes to the proxy."""
    with (
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as listener,
        closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as proxy,
    ):
        listener.bind(("127.0.0.1", 0))
        proxy.settimeout(5)
        proxy.connect(listener.getsockname())
        with closing(ListenerSocket.copy_of(listener)) as ours:
            ours.is_proxy = lambda sender: sender == proxy.getsockname()
            for said in (line(*FOUR) + b"query", b"query", line(*FOUR) + bytes(11)):
                proxy.send(said)
            with accepting():
                payload, client = ours.recvfrom(10)
                assert (payload, client) == (b"query", FOUR[0])
                with pytest.raises(NoHeader, match="does not begin"):
                    ours.recvfrom(10)
                with pytest.raises(TooLarge):
                    ours.recvfrom(10)
            ours.sendto(b"answer", client)
            assert proxy.recv(100) == b"answer"
            ours.sendto(b"answer", 0, client)
            assert proxy.recv(100) == b"answer"
            proxy.send(line(*FOUR) + b"query")  # outside of taking nothing is done to it
            assert ours.recvfrom(100)[0] == line(*FOUR) + b"query"
