"""A real ``twistd netd`` as a subprocess, and the sockets to talk to it with."""

from __future__ import annotations

import errno
import os
import re
import signal
import socket
import subprocess
import sys
import textwrap
import threading
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from pathlib import Path
from typing import Any

BIN = Path(sys.executable).parent
"""Where twistd and netdctl of the environment under test are."""

PATIENCE = 30.0
"""Seconds to wait for what must happen; generous, since only a failure waits so long."""


def until(condition: object, what: str, patience: float = PATIENCE) -> None:
    """Wait until *condition*, a callable, returns something true."""
    assert callable(condition)
    deadline = time.monotonic() + patience
    pause = threading.Event()
    while not condition():
        assert time.monotonic() < deadline, f"not within {patience} s: {what}"
        pause.wait(0.005)


class Output:
    """The lines of a stream, read by a thread, so that a test can wait for one."""

    def __init__(self, stream: object) -> None:
        self.lines: list[str] = []
        self._changed = threading.Condition()
        self._ended = False
        self._thread = threading.Thread(target=self._read, args=(stream,), daemon=True)
        self._thread.start()

    def _read(self, stream: Iterator[str]) -> None:
        for line in stream:
            with self._changed:
                self.lines.append(line.rstrip("\n"))
                self._changed.notify_all()
        with self._changed:
            self._ended = True
            self._changed.notify_all()

    def wait(self, pattern: str, count: int = 1, patience: float = PATIENCE) -> re.Match[str]:
        """Return the match of the *count*-th line that *pattern* is found in."""
        compiled = re.compile(pattern)

        def matches() -> list[re.Match[str]]:
            return [match for match in map(compiled.search, self.lines) if match]

        with self._changed:
            self._changed.wait_for(lambda: len(matches()) >= count or self._ended, patience)
            found = matches()
        assert len(found) >= count, f"no line with {pattern!r} in:\n" + self.text
        return found[count - 1]

    def wait_for_end(self) -> None:
        """Wait until everything has been read."""
        self._thread.join(PATIENCE)

    @property
    def text(self) -> str:
        """All lines so far."""
        return "\n".join(self.lines)

    def matching(self, pattern: str) -> list[str]:
        """The lines so far that *pattern* is found in."""
        return [line for line in self.lines if re.search(pattern, line)]


class RunningDaemon:
    """A daemon in the foreground; its log is its output."""

    def __init__(self, process: subprocess.Popen[str]) -> None:
        self.process = process
        self.pid = process.pid
        assert process.stdout is not None
        self.log = Output(process.stdout)
        self.is_succeeded = False
        """Whether another daemon logs where this one does, and may go on with that."""

    def wait_until_ready(self) -> RunningDaemon:
        """Wait until every worker takes clients."""
        self.log.wait(r"ready: \d+ service")
        return self

    def address(self, transport: str, service: str = r"\S+") -> tuple[str, int]:
        """Host and port of the first listener of *transport*."""
        found = self.log.wait(rf"{service} listens on {transport} (\S+)").group(1)
        host, _, port = found.rpartition(":")
        return host.strip("[]"), int(port)

    def tcp(self, service: str = r"\S+") -> socket.socket:
        """A connection to the first TCP listener, which the caller closes."""
        return socket.create_connection(self.address("tcp", service), timeout=PATIENCE)

    def ask(self, request: bytes = b"", service: str = r"\S+") -> bytes:
        """Send *request* by TCP, say that there is no more, and return the whole answer."""
        with self.tcp(service) as connection:
            connection.sendall(request)
            connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def workers(self) -> list[int]:
        """The pids of the worker processes, those that have outlived their fork server included."""
        own = children(self.pid)
        servers = list(filter(is_fork_server, own))
        forked = [worker for server in servers for worker in children(server)]
        return [pid for pid in own if pid not in servers] + forked

    def fork_server(self) -> int:
        """The pid of the fork server."""
        (server,) = filter(is_fork_server, children(self.pid))
        return server

    def signal(self, number: int) -> None:
        """Send the daemon, and nobody else, a signal."""
        os.kill(self.pid, number)

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait until the daemon has gone; return its exit status."""
        status = self.process.wait(patience)
        if not self.is_succeeded:
            self.log.wait_for_end()
        return status

    def stop(self) -> int:
        """Stop it gracefully; return its exit status."""
        self.signal(signal.SIGTERM)
        return self.wait()


class Successor(RunningDaemon):
    """A daemon that another one has started in its place, which logs where that does."""

    def __init__(self, pid: int, before: RunningDaemon) -> None:
        self.process = before.process
        self.pid = pid
        self.log = before.log
        self.is_succeeded = False

    def wait(self, patience: float = PATIENCE) -> int:
        """Wait until it has gone. It is nobody's child here, so its log is its exit status."""
        until(lambda: not is_alive(self.pid), "the daemon has gone", patience)
        return 0 if self.log.matching(r"\[netd\S*#info\] stopped: \d+ served") else 1

    def kill(self) -> None:
        """End it and its workers, if it is still there."""
        left = [*self.workers(), *children(self.pid)]
        if is_alive(self.pid):
            os.kill(self.pid, signal.SIGKILL)
        for pid in left:
            end(pid)


class Project:
    """A directory with a configuration and handlers, and the daemons that run it."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        self.file = directory / "netd.toml"
        self._running: list[RunningDaemon] = []
        self._successors: list[Successor] = []
        (directory / "handlers").mkdir()

    def handlers(self, text: str, module: str = "handlers") -> None:
        """Write a module into the ``python_path``."""
        (self.directory / "handlers" / f"{module}.py").write_text(textwrap.dedent(text))

    def configure(self, text: str) -> None:
        """Write the configuration, which has ``python_path`` already."""
        self.file.write_text('python_path = ["handlers"]\n' + textwrap.dedent(text))

    def command(self, *arguments: str) -> list[str]:
        """The command line of a daemon in the foreground."""
        twistd = [str(BIN / "twistd"), "-n", "--pidfile=", *arguments]
        return [*twistd, "netd", "--config", str(self.file)]

    def launch(self, *arguments: str, under: Sequence[str] = (), **keywords: Any) -> RunningDaemon:
        """Start a daemon without waiting for it; it is killed at the end if it is still there.

        *under* is a command that becomes the one after it.
        """
        return self.run([*under, *self.command(*arguments)], self.directory, **keywords)

    def run(self, command: list[str], directory: Path, **keywords: Any) -> RunningDaemon:
        """Start a daemon by another *command*, as ``launch`` does, in a *directory*."""
        process = subprocess.Popen(
            command,
            stdout=subprocess.PIPE,
            stderr=subprocess.STDOUT,
            text=True,
            errors="replace",
            start_new_session=True,
            cwd=directory,
            **keywords,
        )
        running = RunningDaemon(process)
        self._running.append(running)
        return running

    def succeeded(self, pid: int, before: RunningDaemon) -> Successor:
        """*before* has started the daemon *pid*; it is killed at the end, too."""
        before.is_succeeded = True
        self._successors.append(Successor(pid, before))
        return self._successors[-1]

    def ask(self, request: bytes, path: str = "socket") -> bytes:
        """Ask a service on a Unix socket of the project, once that is bound."""
        with connected(str(self.directory / path)) as connection:
            # A client that is refused may find its connection closed already.
            with suppress(BrokenPipeError, ConnectionResetError):
                connection.sendall(request)
                connection.shutdown(socket.SHUT_WR)
            return read_all(connection)

    def start(self, *arguments: str, **keywords: Any) -> RunningDaemon:
        """Start a daemon and wait until it is ready."""
        return self.launch(*arguments, **keywords).wait_until_ready()

    def check(self) -> subprocess.CompletedProcess[str]:
        """Run ``netdctl check`` on the configuration."""
        return netdctl("check", str(self.file))

    def check_by_twistd(self) -> subprocess.CompletedProcess[str]:
        """Run ``twistd netd --check`` on the configuration."""
        command = [*self.command(), "--check"]
        return subprocess.run(
            command, capture_output=True, text=True, cwd=self.directory, timeout=60
        )

    def clean_up(self) -> None:
        """End what a test left running, and its processes, which leave by themselves."""
        for successor in self._successors:
            successor.kill()
        for running in self._running:
            left = [*running.workers(), *children(running.pid)]
            if running.process.poll() is None:
                running.process.kill()
            running.process.wait()
            running.log.wait_for_end()
            if running.process.stdout is not None:
                running.process.stdout.close()
            for pid in left:
                end(pid)


def netdctl(*arguments: str, cwd: Path | None = None) -> subprocess.CompletedProcess[str]:
    """Run ``netdctl`` to its end."""
    return subprocess.run(
        [str(BIN / "netdctl"), *arguments], capture_output=True, text=True, cwd=cwd, timeout=60
    )


def connected(path: str) -> socket.socket:
    """A connection to a Unix socket, as soon as somebody listens there; the caller closes it."""
    connection = socket.socket(socket.AF_UNIX)
    connection.settimeout(PATIENCE)
    # The path is there a moment before its socket listens.
    waiting = (errno.ENOENT, errno.ECONNREFUSED)
    until(lambda: connection.connect_ex(path) not in waiting, f"listening at {path}")
    return connection


def read_all(connection: socket.socket) -> bytes:
    """Everything that comes until the other side closes."""
    return b"".join(iter(lambda: connection.recv(65536), b""))


def read_exactly(connection: socket.socket, count: int) -> bytes:
    """*count* bytes, or fewer when the other side closes. (MSG_WAITALL knows no time-out.)"""
    data = b""
    while len(data) < count and (more := connection.recv(count - len(data))):
        data += more
    return data


@contextmanager
def datagram_client(family: int, address: Any, bind: Any = None) -> Iterator[socket.socket]:
    """A datagram socket connected to *address*, bound to *bind* if that is given."""
    with closing(socket.socket(family, socket.SOCK_DGRAM)) as client:
        client.settimeout(PATIENCE)
        if bind is not None:
            client.bind(bind)
        client.connect(address)
        yield client


def children(pid: int) -> list[int]:
    """The pids of the children of a process."""
    try:
        text = Path(f"/proc/{pid}/task/{pid}/children").read_text()
    except (FileNotFoundError, ProcessLookupError):  # it ends just now, or has
        return []
    return [int(child) for child in text.split()]


def is_alive(pid: int) -> bool:
    """Whether a process runs; one that has ended and is not reaped does not."""
    try:
        return Path(f"/proc/{pid}/stat").read_text().rpartition(")")[2].split()[0] not in "ZX"
    except (FileNotFoundError, ProcessLookupError):  # it ends just now, or has
        return False


def command_line(pid: int) -> str:
    """What ``ps`` shows as the command line of a process; nothing for one that has ended."""
    try:
        text = Path(f"/proc/{pid}/cmdline").read_text(errors="replace")
    except (FileNotFoundError, ProcessLookupError):  # it ends just now, or has
        return ""
    return text.replace("\0", " ").strip()


def is_fork_server(pid: int) -> bool:
    """Whether a process forks workers, or is about to begin with that."""
    return command_line(pid).endswith(("netd: fork server", " forkserver"))


def end(pid: int) -> None:
    """Kill a process of ours that did not leave with its daemon."""
    if command_line(pid).startswith("netd: "):
        with suppress(ProcessLookupError):
            os.kill(pid, signal.SIGKILL)
