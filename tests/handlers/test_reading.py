"""``netd.handlers.reading``: what a client sends, awaited."""

from __future__ import annotations

from asyncio import IncompleteReadError, LimitOverrunError
from collections.abc import Awaitable, Callable
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st
from twisted.python.failure import Failure

from netd.handlers.reading import HIGH_WATER, LOW_WATER
from tests.handlers.connected import Connected, Transport, begun, failure_of, packet, result


class TestReading:
    def test_line(self) -> None:
        reader = packet(b"one\ntwo")
        assert [result(reader.readline()) for _ in range(3)] == [b"one\n", b"two", b""]

    def test_line_is_limited(self) -> None:
        """What is longer comes in pieces, as of a file."""
        reader = packet(b"x" * 70_000 + b"\n")
        assert len(result(reader.readline())) == 65_536
        assert result(reader.readline(4000)) == b"x" * 4000
        assert len(result(reader.readline(-1))) == 465

    def test_what_is_discarded(self) -> None:
        """A client that had to wait may go on, by another transport if it comes to that."""
        one, other = Connected(), Transport()
        one.protocol.dataReceived(bytes(HIGH_WATER + 1))
        assert one.transport.producerState == "paused"
        one.rfile.discard()
        assert one.transport.producerState == "producing"
        one.rfile.switch(other)
        one.protocol.dataReceived(b"x" * (HIGH_WATER + 1))
        assert (one.transport.producerState, other.producerState) == ("producing", "paused")
        assert result(one.rfile.read(3)) == b"xxx"

    def test_line_at_the_limit(self) -> None:
        reader = packet(b"abc\ndef")
        assert result(reader.readline(4)) == b"abc\n"
        assert result(reader.readline(0)) == b""
        assert result(reader.readline(3)) == b"def"

    def test_lines_one_after_another(self) -> None:
        async def lines() -> list[bytes]:
            return [line async for line in packet(b"a\n\nb")]

        assert result(lines()) == [b"a\n", b"\n", b"b"]

    def test_read(self) -> None:
        """At most so many bytes; all without a number."""
        reader = packet(b"abcdef")
        assert [result(reader.read(n)) for n in (2, 0, 100, 1)] == [b"ab", b"", b"cdef", b""]
        assert result(packet(b"abc").read()) == b"abc"

    def test_exactly(self) -> None:
        reader = packet(b"abcde")
        assert result(reader.readexactly(3)) == b"abc"
        with pytest.raises(IncompleteReadError) as caught:
            result(reader.readexactly(3))
        assert (caught.value.partial, caught.value.expected) == (b"de", 3)
        with pytest.raises(ValueError, match="not negative"):
            result(reader.readexactly(-1))

    def test_until(self) -> None:
        reader = packet(b"a: b\r\n\r\nrest")
        assert result(reader.readuntil(b"\r\n\r\n")) == b"a: b\r\n\r\n"
        with pytest.raises(IncompleteReadError) as caught:
            result(reader.readuntil(b"\r\n"))
        assert caught.value.partial == b"rest"
        with pytest.raises(ValueError, match="separator"):
            result(reader.readuntil(b""))

    @pytest.mark.parametrize("data", [b"12345", b"1234\n"])
    def test_until_is_limited(self, data: bytes) -> None:
        """What is too long stays, for somebody else to read."""
        reader = packet(data)
        with pytest.raises(LimitOverrunError):
            result(reader.readuntil(b"\n", 4))
        assert result(reader.read()) == data

    @given(st.lists(st.binary(max_size=20)), st.binary(min_size=1, max_size=3))
    def test_pieces_do_not_matter(self, pieces: list[bytes], separator: bytes) -> None:
        """A separator is found wherever the network has cut what was sent."""
        one = Connected()
        whole = b"".join(pieces)
        got = begun(one.rfile.readuntil(separator))
        for piece in pieces:
            one.protocol.dataReceived(piece)
        one.protocol.readConnectionLost()
        if separator in whole:
            end = whole.index(separator) + len(separator)
            assert got.result == whole[:end]
            assert result(one.rfile.read()) == whole[end:]
        else:
            assert isinstance(got.result, Failure)
            got.addErrback(lambda failure: failure.trap(IncompleteReadError))

    def test_at_eof(self) -> None:
        reader = packet(b"x")
        assert not reader.at_eof()
        result(reader.read(1))
        assert reader.at_eof()


class TestWaiting:
    def test_for_data(self) -> None:
        one = Connected()
        line = begun(one.rfile.readline())
        one.protocol.dataReceived(b"hal")
        assert not line.called
        one.protocol.dataReceived(b"lo\nand more")
        assert line.result == b"hallo\n"
        assert result(one.rfile.read(100)) == b"and more"

    @pytest.mark.parametrize(
        ("call", "end"),
        [
            (lambda reader: reader.read(), b"so far"),
            (lambda reader: reader.readline(), b"so far"),
        ],
    )
    def test_for_the_end(self, call: Callable[[Any], Any], end: bytes) -> None:
        """What came until then is all there is."""
        one = Connected()
        got = begun(call(one.rfile))
        one.protocol.dataReceived(b"so far")
        assert not got.called
        one.protocol.readConnectionLost()
        assert got.result == end
        assert one.rfile.at_eof()

    @pytest.mark.parametrize(
        "call", [lambda reader: reader.readexactly(9), lambda reader: reader.readuntil(b";")]
    )
    def test_for_what_does_not_come(self, call: Callable[[Any], Any]) -> None:
        one = Connected()
        got = begun(call(one.rfile))
        one.protocol.dataReceived(b"so far")
        one.protocol.readConnectionLost()
        error = failure_of(got)
        got.addErrback(lambda _: None)
        assert isinstance(error, IncompleteReadError)
        assert error.partial == b"so far"

    def test_separator_out_of_reach(self) -> None:
        """The limit holds for what comes later, too."""
        one = Connected()
        got = begun(one.rfile.readuntil(b";", 10))
        one.protocol.dataReceived(bytes(10))
        assert not got.called
        one.protocol.dataReceived(bytes(1))
        assert isinstance(failure_of(got), LimitOverrunError)
        got.addErrback(lambda _: None)
        assert len(one.rfile._buffer) == 11

    def test_one_reader_at_a_time(self) -> None:
        one = Connected()
        begun(one.rfile.read(1))
        with pytest.raises(RuntimeError, match="another task"):
            result(one.rfile.readline())

    def test_cancelled(self) -> None:
        """Who was cancelled is not woken up, and somebody else can read."""
        one = Connected()
        first = begun(one.rfile.read(1))
        first.addErrback(lambda _: "cancelled")
        first.cancel()
        assert first.result == "cancelled"
        second = begun(one.rfile.read(1))
        one.protocol.dataReceived(b"x")
        assert second.result == b"x"

    def test_timeout(self) -> None:
        """Of each wait, not of them all together."""
        one = Connected()
        one.rfile.timeout = 2.0
        line = begun(one.rfile.readline())
        one.clock.advance(1.5)
        one.protocol.dataReceived(b"x")
        one.clock.advance(1.5)
        assert not line.called
        one.clock.advance(0.5)
        with pytest.raises(TimeoutError):
            raise failure_of(line)
        line.addErrback(lambda _: None)
        assert result(one.rfile.read(1)) == b"x"
        assert one.clock.getDelayedCalls() == []

    def test_in_time(self) -> None:
        one = Connected()
        one.rfile.timeout = 2.0
        line = begun(one.rfile.readline())
        one.protocol.dataReceived(b"x\n")
        assert line.result == b"x\n"
        assert one.clock.getDelayedCalls() == []

    def test_lost(self) -> None:
        """Whoever waits, now or later, gets a ConnectionError; nothing more can be read."""
        one = Connected()
        line = begun(one.rfile.readline())
        one.protocol.dataReceived(b"half of a li")
        one.lose()
        with pytest.raises(ConnectionError, match="lost"):
            raise failure_of(line)
        line.addErrback(lambda _: None)
        calls: list[Callable[[], Awaitable[Any]]] = [
            one.rfile.read,
            one.rfile.readline,
            lambda: one.rfile.read(1),
            lambda: one.rfile.readexactly(1),
            one.rfile.readuntil,
            one.wfile.drain,
            lambda: one.wfile.write(b"x"),
            lambda: one.wfile.writelines([b"x"]),
        ]
        for call in calls:
            with pytest.raises(ConnectionResetError):
                result(call())
        with pytest.raises(ConnectionResetError):
            one.wfile.write_eof()


class TestReadingPressure:
    def test_client_has_to_wait(self) -> None:
        """Above the high-water mark, until its bytes are read."""
        one = Connected()
        one.protocol.dataReceived(bytes(HIGH_WATER))
        assert not one.paused
        one.protocol.dataReceived(b"x")
        assert one.paused
        result(one.rfile.readexactly(HIGH_WATER + 1 - LOW_WATER))
        assert one.paused
        result(one.rfile.read(1))
        assert not one.paused

    def test_client_that_has_gone(self) -> None:
        """What it has sent and nobody read goes with it, and nothing wakes its transport."""
        one = Connected()
        one.protocol.dataReceived(bytes(HIGH_WATER + 1))
        one.lose()
        with pytest.raises(ConnectionResetError):
            result(one.rfile.read(1))
        assert one.paused

    def test_end_of_a_packet(self) -> None:
        """A packet has no transport that could wait, however long it is."""
        assert len(result(packet(bytes(3 * HIGH_WATER)).read())) == 3 * HIGH_WATER

    def test_whoever_wants_more_gets_it(self) -> None:
        one = Connected()
        one.protocol.dataReceived(bytes(HIGH_WATER + 1))
        assert one.paused
        much = begun(one.rfile.readexactly(3 * HIGH_WATER))
        assert not one.paused
        one.protocol.dataReceived(bytes(HIGH_WATER))
        assert not one.paused
        one.protocol.dataReceived(bytes(HIGH_WATER))
        assert len(much.result) == 3 * HIGH_WATER
