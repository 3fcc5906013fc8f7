"""``netd.handlers.writing``: what a client is sent, at the client's pace."""

from __future__ import annotations

from typing import Any

import pytest
from twisted.internet.defer import CancelledError

from netd.handlers.writing import PacketWriter
from tests.handlers.connected import Connected, Transport, begun, failure_of, result


class TestWriting:
    def test_what_is_written(self) -> None:
        one = Connected()
        one.wfile.write(b"a")
        one.wfile.write(bytearray(b"b"))
        one.wfile.writelines([b"c", memoryview(b"d")])
        assert one.transport.value() == b"abcd"

    @pytest.mark.parametrize("data", ["text", 7, None, [1, 2]])
    def test_what_is_not(self, data: Any) -> None:
        """A number is not that many zeros."""
        one = Connected()
        with pytest.raises(TypeError):
            one.wfile.write(data)
        with pytest.raises(TypeError):
            one.wfile.writelines([b"x", data])
        assert one.transport.value() == b""

    def test_half_close(self) -> None:
        """Once, and nothing can be written after it; reading goes on."""
        one = Connected()
        one.wfile.write(b"all")
        assert not one.transport.finished
        one.wfile.write_eof()
        assert one.transport.finished
        one.wfile.write_eof()
        with pytest.raises(BrokenPipeError):
            one.wfile.write(b"x")
        with pytest.raises(BrokenPipeError):
            one.wfile.writelines([b"x"])
        result(one.wfile.drain())
        assert one.transport.value() == b"all"
        one.protocol.dataReceived(b"more")
        assert result(one.rfile.read(100)) == b"more"

    def test_another_transport(self) -> None:
        """What comes next goes by it; and who waited for room in the first one waits no more."""
        one, other = Connected(), Transport()
        one.wfile.write(bytes(40_000))
        assert one.transport.producer is one.wfile
        one.transport.producer.pauseProducing()
        waiting = begun(one.wfile.drain())
        one.wfile.switch(other)
        assert waiting.called
        assert (one.transport.producer, other.producer) == (None, one.wfile)
        one.wfile.write(b"x")
        assert other.value() == b"x"

    def test_left_alone(self) -> None:
        """When the handler has ended, its tasks write no more, and wait no more."""
        one = Connected()
        one.wfile.write(bytes(40_000))
        one.wfile.pauseProducing()
        waiting = begun(one.wfile.drain())
        one.wfile.release()
        assert waiting.called
        assert one.transport.producer is None
        with pytest.raises(BrokenPipeError):
            one.wfile.write(b"x")

    def test_packet(self) -> None:
        writer = PacketWriter()
        result(writer.write(b"a"))
        result(writer.writelines([b"b", b"c"]))
        result(writer.drain())
        assert writer.getvalue() == b"abc"


class TestWritingPressure:
    def test_write_waits(self) -> None:
        """While the transport says that it is full, which it is asked in time."""
        one = Connected()
        result(one.wfile.write(b"a little"))
        assert one.transport.producer is None
        written = one.wfile.write(bytes(40_000))
        assert one.transport.producer is one.wfile
        one.wfile.pauseProducing()

        async def wait() -> None:
            await written

        waiting = begun(wait())
        assert not waiting.called
        one.wfile.resumeProducing()
        assert waiting.called

    def test_timeout(self) -> None:
        one = Connected()
        one.wfile.timeout = 2.0
        one.wfile.pauseProducing()
        waiting = begun(one.wfile.drain())
        one.clock.advance(2.0)
        with pytest.raises(TimeoutError):
            raise failure_of(waiting)
        waiting.addErrback(lambda _: None)

    def test_lost_while_waiting(self) -> None:
        one = Connected()
        one.wfile.pauseProducing()
        waiting = begun(one.wfile.drain())
        one.wfile.stopProducing()
        one.lose()
        with pytest.raises(ConnectionResetError):
            raise failure_of(waiting)
        waiting.addErrback(lambda _: None)

    def test_cancelled_while_waiting(self) -> None:
        """Another one that waits is woken up all the same."""
        one = Connected()
        one.wfile.pauseProducing()
        first, second = begun(one.wfile.drain()), begun(one.wfile.drain())
        first.addErrback(lambda failure: failure.trap(CancelledError))
        first.cancel()
        one.wfile.resumeProducing()
        assert second.called

    def test_full_again(self) -> None:
        """Who wakes up and finds it full waits on."""
        one = Connected()
        one.wfile.pauseProducing()
        first = begun(one.wfile.drain())
        first.addCallback(lambda _: one.wfile.pauseProducing())
        second = begun(one.wfile.drain())
        one.wfile.resumeProducing()
        assert first.called
        assert not second.called
        one.wfile.resumeProducing()
        assert second.called
