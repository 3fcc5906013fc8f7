"""``netd.proxy.header``: every way in which a header may come, and may be wrong."""

from __future__ import annotations

import contextlib
import ipaddress
import random
import struct
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.proxy.header import (
    CRC32C,
    LONGEST,
    Header,
    HeaderReader,
    InvalidHeader,
    crc32c,
    parse_datagram,
)
from tests.proxy.proxied import LOCAL, SIGNATURE, binary, crc32c_by_bits, line, summed, tlv

FOUR = ("192.0.2.7", 4711), ("198.51.100.1", 443)
SIX = ("2001:db8::7", 4711, 0, 0), ("2001:db8::1", 443, 0, 0)
UNIX = "/run/client", b"\0service"

V4 = binary(*FOUR)
"""A header to spoil."""

ports = st.integers(0, 65535)
fours = st.tuples(st.ip_addresses(v=4).map(str), ports)
sixes = st.tuples(st.ip_addresses(v=6).map(lambda ip: ip.compressed), ports, st.just(0), st.just(0))
paths = st.text(st.characters(codec="ascii", exclude_characters="\0"), max_size=108)
abstract = st.binary(min_size=1, max_size=107).filter(lambda name: not name.endswith(b"\0"))
names = paths | abstract.map(lambda name: b"\0" + name)
pairs = st.tuples(fours, fours) | st.tuples(sixes, sixes) | st.tuples(names, names)
tlvs = st.lists(st.tuples(st.integers(0, 255).filter(lambda kind: kind != CRC32C), st.binary()))


def read(data: bytes) -> tuple[Header | None, int]:
    """Read one header that comes in one piece; the second is how long it is."""
    reader = HeaderReader()
    length = reader.feed(data)
    return reader.header, len(data) if length is None else length


def same(found: Any, sent: Any) -> bool:
    """Whether it is the same address, in whatever spelling."""
    if not isinstance(sent, tuple):
        return bool(found == sent)
    return ipaddress.ip_address(found[0]) == ipaddress.ip_address(sent[0]) and found[1:] == sent[1:]


class TestRoundTrip:
    @given(pair=pairs, values=tlvs, with_sum=st.booleans())
    def test_what_is_written_is_read(
        self, *, pair: tuple[Any, Any], values: list[tuple[int, bytes]], with_sum: bool
    ) -> None:
        data = binary(*pair, values)
        data = summed(data) if with_sum else data
        header, length = read(data + b"\r\nafter it")
        assert header is not None
        assert length == len(data)
        assert same(header.source, pair[0])
        assert same(header.destination, pair[1])
        assert not header.is_local

    @given(st.tuples(fours, fours) | st.tuples(sixes, sixes))
    def test_the_same_for_a_line(self, pair: tuple[Any, Any]) -> None:
        data = line(*pair)
        header, length = read(data + b"\r\nafter it")
        assert header is not None
        assert length == len(data)
        assert same(header.source, pair[0])
        assert same(header.destination, pair[1])

    @given(
        st.sampled_from([line(*FOUR), line(*SIX), V4, summed(binary(*SIX, [(0x01, b"h2")]))]),
        st.data(),
    )
    def test_in_whatever_pieces_it_comes(self, header: bytes, data: st.DataObject) -> None:
        stream = header + b"payload"
        reader = HeaderReader()
        position = 0
        while reader.header is None:
            size = data.draw(st.integers(1, len(stream) - position))
            length = reader.feed(stream[position : position + size])
            assert length is None or 0 < length <= size
            position += size if length is None else length
        assert position == len(header)
        assert reader.header == read(header)[0]

    @pytest.mark.parametrize("header", [line(*FOUR), b"PROXY UNKNOWN\r\n", V4, binary(*UNIX)])
    def test_byte_by_byte(self, header: bytes) -> None:
        reader = HeaderReader()
        lengths = [reader.feed(header[n : n + 1]) for n in range(len(header))]
        assert lengths == [None] * (len(header) - 1) + [1]
        assert reader.header == read(header)[0]


class TestLines:
    @pytest.mark.parametrize(
        "data",
        [
            b"PROXY UNKNOWN\r\n",
            b"PROXY UNKNOWN ffff::ffff ffff::ffff 65535 65535\r\n",
            b"PROXY UNKNOWN whatever \r this \n is\r\n",
        ],
    )
    def test_unknown_says_nothing(self, data: bytes) -> None:
        assert read(data) == (Header(), len(data))

    def test_the_longest(self) -> None:
        data = b"PROXY UNKNOWN " + b"x" * 91 + b"\r\n"
        assert len(data) == 107
        assert read(data) == (Header(), 107)
        with pytest.raises(InvalidHeader, match="no CRLF within 107 bytes"):
            read(b"PROXY UNKNOWN " + b"x" * 92 + b"\r\n")

    def test_a_line_that_may_still_end_is_waited_for(self) -> None:
        assert read(b"PROXY UNKNOWN " + b"x" * 91 + b"\r")[0] is None

    @pytest.mark.parametrize(
        "data",
        [
            b"PROXY  TCP4 192.0.2.7 192.0.2.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2 \r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 01 2\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 +1 2\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1 65536\r\n",
            b"PROXY TCP4 192.0.2.07 192.0.2.1 1 2\r\n",
            b"PROXY TCP4 192.0.2 192.0.2.1 1 2\r\n",
            b"PROXY TCP4 ::1 ::1 1 2\r\n",
            b"PROXY TCP6 192.0.2.7 192.0.2.1 1 2\r\n",
            b"PROXY TCP6 fe80::1%eth0 ::1 1 2\r\n",
            b"PROXY TCP6 :::1 ::1 1 2\r\n",
            b"PROXY UDP4 192.0.2.7 192.0.2.1 1 2\r\n",
            b"PROXY tcp4 192.0.2.7 192.0.2.1 1 2\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1\n2\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 1 2\n\r\n",
            b"PROXY TCP4 192.0.2.7 192.0.2.1 \xb2 2\r\n",
            b"PROXY UNKNOWNS\r\n",
            b"PROXY \r\n",
        ],
    )
    def test_what_is_not_as_it_has_to_be(self, data: bytes) -> None:
        with pytest.raises(InvalidHeader, match="version 1"):
            read(data)

    @pytest.mark.parametrize(
        "data", [b"GET / HTTP/1.1\r\n", b"PROXI", b"\r\n\r\n\0\r\nQUIT\r", b"\x16"]
    )
    def test_what_is_no_header_is_known_at_once(self, data: bytes) -> None:
        with pytest.raises(InvalidHeader, match="does not begin"):
            read(data)


class TestBinary:
    def test_a_proxys_own_connection(self) -> None:
        """Its block is skipped, whatever it is, and so is a family that there is not."""
        data = SIGNATURE + struct.pack("!BBH", LOCAL, 0xFF, 20) + bytes(20)
        assert read(data + b"payload") == (Header(is_local=True), 36)
        assert read(binary(command=LOCAL)) == (Header(is_local=True), 16)

    def test_an_unspecified_family_or_transport(self) -> None:
        assert read(binary(tlvs=[(0x01, b"h2")])) == (Header(), 21)
        header, _ = read(binary(*FOUR, [(0x01, b"h2")], transport=0))
        assert header == Header()

    def test_a_client_of_datagrams_by_a_stream(self) -> None:
        assert read(binary(*FOUR, transport=2))[0] == Header(*FOUR)

    def test_a_unix_client_without_a_name(self) -> None:
        assert read(binary("", "/run/service"))[0] == Header("", "/run/service")

    @pytest.mark.parametrize(
        ("at", "byte", "why"),
        [(12, 0x11, "command"), (12, 0x22, "command"), (12, 0x2F, "command"), (13, 0x41, "family"),
         (13, 0x13, "family"), (13, 0xF1, "family")],
    )  # fmt: skip
    def test_bytes_that_mean_nothing(self, at: int, byte: int, why: str) -> None:
        spoilt = bytearray(V4)
        spoilt[at] = byte
        with pytest.raises(InvalidHeader, match=why):
            read(bytes(spoilt))

    def test_a_command_is_known_before_the_rest_is_there(self) -> None:
        with pytest.raises(InvalidHeader, match="command"):
            read(SIGNATURE + b"\x33")

    def test_the_longest(self) -> None:
        room = LONGEST - len(V4) - 3
        header, length = read(binary(*FOUR, [(0xE0, bytes(room))]))
        assert header is not None
        assert length == LONGEST
        with pytest.raises(InvalidHeader, match="4097 bytes are announced"):
            read(binary(*FOUR, [(0xE0, bytes(room + 1))])[:16])

    def test_too_short_for_its_addresses(self) -> None:
        with pytest.raises(InvalidHeader, match="too short"):
            read(SIGNATURE + struct.pack("!BBH", 0x21, 0x21, 35) + bytes(35))

    @pytest.mark.parametrize("rest", [b"\x04", b"\x04\x00", b"\x04\x00\x01", b"\x04\xff\xff1"])
    def test_a_tlv_that_does_not_fit(self, rest: bytes) -> None:
        data = SIGNATURE + struct.pack("!BBH", 0x21, 0x11, 12 + len(rest)) + bytes(12) + rest
        with pytest.raises(InvalidHeader, match="TLV"):
            read(data)


class TestChecksum:
    @given(st.binary())
    def test_is_the_one_that_is_defined(self, data: bytes) -> None:
        assert crc32c(data) == crc32c_by_bits(data)

    def test_the_value_that_everybody_has(self) -> None:
        assert crc32c(b"123456789") == 0xE3069283

    def test_a_bit_that_is_wrong_is_noticed(self) -> None:
        """Except in the byte that says that there is a checksum."""
        data = summed(binary(*FOUR, [(0x02, b"host.example")]))
        assert read(data)[0] is not None
        for position in set(range(16, len(data))) - {len(data) - 7}:
            spoilt = bytearray(data)
            spoilt[position] ^= 1
            with pytest.raises(InvalidHeader):
                read(bytes(spoilt))

    def test_of_a_wrong_length(self) -> None:
        with pytest.raises(InvalidHeader, match="checksum"):
            read(binary(*FOUR, [(CRC32C, b"123")]))


class TestDatagrams:
    def test_header_and_payload_are_in_one(self) -> None:
        assert parse_datagram(binary(*SIX, transport=2) + b"query") == (Header(*SIX), b"query")
        assert parse_datagram(line(*FOUR)) == (Header(*FOUR), b"")

    @pytest.mark.parametrize("data", [b"", V4[:-1], b"PROXY UNKNOWN\r", b"query"])
    def test_without_a_whole_header(self, data: bytes) -> None:
        with pytest.raises(InvalidHeader):
            parse_datagram(data)


def test_a_hundred_thousand_spoilt_headers() -> None:
    """Whatever comes is a header, an incomplete one, or said to be none: nothing else is raised."""
    draw = random.Random(4711)
    seeds = [
        line(*FOUR),
        line(*SIX),
        V4,
        summed(binary(*SIX, [(0x20, struct.pack("!BI", 7, 0) + tlv(0x21, b"TLSv1.3"))])),
        binary(*UNIX),
    ]
    for number in range(100_000):
        header = _spoilt(draw, bytearray(seeds[number % len(seeds)]))
        reader = HeaderReader()
        with contextlib.suppress(InvalidHeader):
            reader.feed(header)


def _spoilt(draw: random.Random, header: bytearray) -> bytes:
    for _ in range(draw.choice((1, 1, 2, 3))):
        position = draw.randrange(len(header) + 1)
        match draw.randrange(4):
            case 0:
                header[position:position] = draw.randbytes(draw.choice((1, 2, 100)))
            case 1:
                del header[position : position + draw.choice((1, 2, 100))]
            case 2 if position < len(header):
                header[position] = draw.randrange(256)
            case _ if position < len(header):
                header[position] ^= 1 << draw.randrange(8)
    return bytes(header)
