"""``netd.listening.ancillary``: messages of the system's as plain values."""

from __future__ import annotations

import os
import socket
import struct
from array import array

import pytest

from netd.listening.ancillary import KNOWN, close_descriptors, values
from netd.listening.options.table import OPTIONS

LO = socket.if_nametoindex("lo")


@pytest.mark.parametrize(
    ("message", "found"),
    [
        ((0, 2, struct.pack("i", 64)), {"IP_RECVTTL": 64}),
        ((0, 1, b"\x10"), {"IP_RECVTOS": 16}),
        ((41, 52, struct.pack("i", 64)), {"IPV6_RECVHOPLIMIT": 64}),
        ((41, 67, struct.pack("i", 16)), {"IPV6_RECVTCLASS": 16}),
        ((1, 29, struct.pack("ll", 5, 250_000)), {"SO_TIMESTAMP": 5.25}),
        ((1, 35, struct.pack("ll", 5, 7)), {"SO_TIMESTAMPNS": 5_000_000_007}),
        ((1, 37, struct.pack("6l", 5, 7, 0, 0, 0, 1)), {"SO_TIMESTAMPING": [5_000_000_007, 0, 1]}),
        ((1, 40, struct.pack("I", 3)), {"SO_RXQ_OVFL": 3}),
        ((1, 2, struct.pack("3i", 1, 2, 3)), {"SO_PASSCRED": {"pid": 1, "uid": 2, "gid": 3}}),
        ((1, 3, b"kernel\0"), {"SO_PASSSEC": "kernel"}),
        ((0, 6, b"\1\1\1\0"), {"IP_RECVOPTS": b"\1\1\1\0"}),
        ((0, 20, b"\2\0\0\x35\x7f\0\0\1" + bytes(8)), {"IP_RECVORIGDSTADDR": ("127.0.0.1", 53)}),
        (
            (41, 74, b"\x0a\0\0\x35" + bytes(19) + b"\1" + bytes(4)),
            {"IPV6_RECVORIGDSTADDR": ("::1", 53)},
        ),
        ((41, 11, b"\0\1\2\3"), {"IPV6_FLOWINFO": 0x10203}),
        (
            (0, 8, struct.pack("i", LO) + b"\x7f\0\0\1\xef\1\2\3"),
            {
                "IP_PKTINFO": {
                    "address": "239.1.2.3",
                    "local": "127.0.0.1",
                    "index": LO,
                    "interface": "lo",
                }
            },
        ),
        (
            (41, 50, bytes(15) + b"\1" + struct.pack("I", 2**30)),
            {"IPV6_RECVPKTINFO": {"address": "::1", "index": 2**30, "interface": None}},
        ),
        ((77, 77, b"?"), {}),
        ((1, 29, b"cut"), {}),
        ((0, 1, b""), {}),
    ],
)
def test_values(message: tuple[int, int, bytes], found: dict[str, object]) -> None:
    """By the names of the options; what is cut, or what nobody knows, is left out."""
    assert values([message]) == found


def test_are_of_options() -> None:
    """Which a configuration can set."""
    assert {name for name, _ in KNOWN.values()} <= OPTIONS.keys()


def test_descriptors_are_closed() -> None:
    ours, theirs = os.pipe()
    close_descriptors([(socket.SOL_SOCKET, socket.SCM_RIGHTS, array("i", [ours]).tobytes())])
    with pytest.raises(OSError, match="Bad file descriptor"):
        os.fstat(ours)
    os.close(theirs)
