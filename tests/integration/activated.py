"""A daemon that a service manager starts: with sockets, and somebody who listens to it."""

from __future__ import annotations

import json
import socket
import sys
from collections.abc import Iterator, Sequence
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, Final

from tests.integration.daemons import PATIENCE, Project, RunningDaemon

LAUNCH: Final = """
import fcntl, json, os, sys
descriptors, names, *command = json.loads(sys.argv[1])
high = [fcntl.fcntl(one, fcntl.F_DUPFD, 200) for one in descriptors]
for number, one in enumerate(high):
    os.dup2(one, 3 + number)
    os.close(one)
os.environ.update(LISTEN_PID=str(os.getpid()), LISTEN_FDS=str(len(high)))
if names is not None:
    os.environ["LISTEN_FDNAMES"] = ":".join(names)
os.execv(command[0], command)
"""
"""Becomes the daemon as the service manager does, in the same process."""


def activate(
    project: Project,
    sockets: Sequence[socket.socket],
    names: Sequence[str] | None,
    *arguments: str,
    **keywords: Any,
) -> RunningDaemon:
    """Start a daemon with *sockets*, which stay the caller's, too."""
    descriptors = [one.fileno() for one in sockets]
    told = json.dumps([descriptors, names, *project.command(*arguments)])
    command = [sys.executable, "-c", LAUNCH, told]
    return project.run(command, project.directory, pass_fds=descriptors, **keywords)


class Heard:
    """What a daemon tells the service manager, a message each."""

    def __init__(self, sock: socket.socket) -> None:
        self._socket = sock

    def next(self) -> dict[str, str]:
        """The next message that is not about the watchdog."""
        while True:
            found = self.any()
            if "WATCHDOG" not in found:
                return found

    def forget(self) -> None:
        """Read what there is already."""
        self._socket.setblocking(False)
        with suppress(BlockingIOError):
            while True:
                self._socket.recv(4096)

    def any(self, patience: float = PATIENCE) -> dict[str, str]:
        """The next message. Raises TimeoutError."""
        self._socket.settimeout(patience)
        lines = self._socket.recv(4096).decode().split("\n")
        return dict(line.split("=", 1) for line in lines)


@contextmanager
def notified(path: Path | str) -> Iterator[Heard]:
    """A service manager's socket; a name that starts with an @ is an abstract one."""
    name = str(path)
    with socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM) as sock:
        sock.bind("\0" + name[1:] if name.startswith("@") else name)
        yield Heard(sock)
