"""``netd.handlers.writing``: what a client is sent, at the client's pace."""

from __future__ import annotations

import pytest

from netd.handlers.writing import PacketWriter
from tests.handlers.connected import Connected, begun, failure_of, result


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

    def test_what_is_written(self) -> None:
        one = Connected()
        one.wfile.write(b"a")
        one.wfile.write(bytearray(b"b"))
        one.wfile.writelines([b"c", memoryview(b"d")])
        assert one.transport.value() == b"abcd"
        with pytest.raises(TypeError):
            one.wfile.write("text")  # type: ignore[arg-type]

    def test_packet(self) -> None:
        writer = PacketWriter()
        result(writer.write(b"a"))
        result(writer.writelines([b"b", b"c"]))
        result(writer.drain())
        assert writer.getvalue() == b"abc"
