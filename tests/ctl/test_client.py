"""``netd.ctl.client``: what netdctl asks, and what it makes of the answer."""

from __future__ import annotations

import socket
import threading
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path

import pytest

from netd.ctl.client import Client, NoDaemon, Reply


class Daemon:
    """Whoever answers at the admin socket, once for each of *answers*."""

    def __init__(self, path: Path) -> None:
        self.asked: list[bytes] = []
        self.answers: list[bytes] = []
        self._listener = socket.socket(socket.AF_UNIX)
        self._listener.bind(str(path))
        self._listener.listen()
        self._thread = threading.Thread(target=self._run)
        self._thread.start()

    def _run(self) -> None:
        while True:
            connection, _ = self._listener.accept()
            with closing(connection):
                asked = connection.recv(65536)
                if not asked:
                    return
                self.asked.append(asked.partition(b"\r\n")[0])
                connection.sendall(self.answers.pop(0))

    def close(self) -> None:
        with closing(socket.socket(socket.AF_UNIX)) as last:
            last.connect(self._listener.getsockname())
        self._thread.join()
        self._listener.close()


def http(status: str, body: bytes) -> bytes:
    return b"HTTP/1.1 %s\r\nContent-Length: %d\r\n\r\n%s" % (status.encode(), len(body), body)


@pytest.fixture
def path(tmp_path: Path) -> Path:
    return tmp_path / "s"


@pytest.fixture
def daemon(path: Path) -> Iterator[Daemon]:
    daemon = Daemon(path)
    yield daemon
    daemon.close()


def test_asks(daemon: Daemon, path: Path) -> None:
    """GET to look, POST to do, whatever is in a name."""
    daemon.answers = [http("200 OK", b"[1]"), http("200 OK", b"{}")]
    client = Client(str(path))
    assert client.see("connections", service="a b&c") == Reply(True, [1])
    assert client.do("stop") == Reply(True, {})
    assert daemon.asked == [
        b"GET /api/connections?service=a+b%26c HTTP/1.1",
        b"POST /api/stop HTTP/1.1",
    ]


def test_what_was_not_done(daemon: Daemon, path: Path) -> None:
    """Comes with its reasons."""
    daemon.answers = [http("409 Conflict", b'{"problems": ["no"]}')]
    reply = Client(str(path)).do("reload")
    assert not reply.ok
    assert reply.problems == ["no"]
    assert Reply(True, [1]).problems == Reply(True, {}).problems == []


@pytest.mark.parametrize(
    "answer", [b"", b"hello\r\n\r\n", http("200 OK", b"no JSON"), b"HTTP/1.1 200 OK\r\n\r\n{"]
)
def test_nonsense(daemon: Daemon, path: Path, answer: bytes) -> None:
    """Whoever says such things is no netd."""
    daemon.answers = [answer]
    with pytest.raises(NoDaemon, match=f"^no netd answers at {path}: ."):
        Client(str(path)).see("status")


def test_nobody(path: Path) -> None:
    with pytest.raises(NoDaemon, match=f"^no netd answers at {path}: No such file or directory$"):
        Client(str(path)).see("status")
    with closing(socket.socket(socket.AF_UNIX)) as listener:
        listener.bind(str(path))
        with pytest.raises(NoDaemon, match="Connection refused"):
            Client(str(path)).see("status")


def test_a_long_path(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    """Longer than the address of a Unix socket can be (unix(7)), but not from here."""
    directory = tmp_path / ("d" * 120)
    directory.mkdir()
    monkeypatch.chdir(directory)
    daemon = Daemon(Path("s"))
    try:
        daemon.answers = [http("200 OK", b"{}")]
        assert Client(str(directory / "s")).see("status").ok
    finally:
        daemon.close()
