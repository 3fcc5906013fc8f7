"""An upgrade: a new process gets the listeners, and replaces this daemon when it is ready.

The command line that started this daemon starts the new one, so it runs what is installed now:
another netd, another Twisted, another Python. Until it reports that it is ready, this daemon
serves, and it goes on if that report never comes. ``predecessor.py`` is the new daemon's side.
"""

from __future__ import annotations

import os
import signal
import socket
import subprocess
import sys
from collections.abc import Mapping, MutableMapping
from contextlib import suppress
from dataclasses import dataclass, field
from typing import Any, Final

from twisted.internet.defer import Deferred

from netd.core.reactor import ReadingReactor
from netd.core.timer import Timer
from netd.daemon.generations.line_reader import LineReader
from netd.listening.handover import LEAVE, VARIABLE, unused_by, variable
from netd.listening.listener import Listeners

DEADLINE: Final = 90.0
"""Seconds that the new daemon has to be ready: its workers have 60 for their imports, and its probe
comes before them."""

OLD: Final = ".old"
"""Added to the name of the pid file while two daemons run, as nginx adds ``.oldbin``."""


@dataclass(frozen=True)
class CommandLine:
    """How this daemon was started, and from where."""

    arguments: tuple[str, ...]
    directory: str
    twistd: MutableMapping[str, Any]
    """twistd's options. twistd reads there which pid file it removes at its end."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Variables for the new daemon that this one has removed from its own environment."""

    @classmethod
    def of_this_process(
        cls, twistd: MutableMapping[str, Any], variables: Mapping[str, str]
    ) -> CommandLine:
        """Read them, before twistd changes the directory."""
        return cls((sys.executable, *sys.orig_argv[1:]), os.getcwd(), twistd, variables)


@dataclass(frozen=True)
class Upgraded:
    """How an upgrade has ended."""

    pid: int | None
    """The process that was started, if the new daemon is ready. One that has daemonised itself runs
    under another pid."""
    problem: str | None = None
    unused: Listeners = field(default_factory=Listeners)
    """The listeners that the new daemon does not use."""


class Upgrade:
    """One upgrade, which passes *listeners* on. In the reactor's thread."""

    def __init__(
        self,
        command: CommandLine,
        listeners: Listeners,
        suspended: frozenset[str],
        reactor: ReadingReactor,
    ) -> None:
        self._command = command
        self._listeners = listeners
        self._suspended = suspended
        self._deadline = Timer(reactor)
        self._pid_file = _PidFile(command.twistd)
        self._ended: Deferred[Upgraded] = Deferred()
        self._process: subprocess.Popen[bytes] | None = None
        self._channel, theirs = socket.socketpair()
        self._theirs = theirs
        self._reader = LineReader(self._channel, reactor, self._received, self._channel_closed)

    def begin(self) -> Deferred[Upgraded]:
        """Start the new daemon. Fires when it is ready or has failed; never fails itself."""
        # twistd refuses to start beside the pid file of a process that runs.
        self._pid_file.rename()
        try:
            # Closed here in any case, so that the end of the new daemon ends the channel.
            with self._theirs:
                self._process = self._start(self._theirs.fileno())
        except OSError as error:
            self._fail(f"the new daemon cannot be started: {error}")
            return self._ended
        self._reader.start()
        self._deadline.set(DEADLINE, self._deadline_passed)
        return self._ended

    def give_up(self, why: str) -> None:
        """End the new daemon, because of *why*. Does nothing if the upgrade has ended."""
        if not self._ended.called:
            self._fail(why)

    def _start(self, channel: int) -> subprocess.Popen[bytes]:
        descriptors = [listener.socket.fileno() for listener in self._listeners]
        handover = {VARIABLE: variable(self._listeners, channel, self._suspended)}
        # The handover last, so that no inherited variable replaces it.
        environment = {**os.environ, **self._command.variables, **handover}
        # An ignored signal stays ignored over exec. A reload that is sent to all netd processes
        # would end the new one otherwise, before it has a handler.
        before = signal.signal(signal.SIGHUP, signal.SIG_IGN)
        try:
            return subprocess.Popen(
                self._command.arguments,
                cwd=self._command.directory,
                env=environment,
                stdin=subprocess.DEVNULL,
                pass_fds=[channel, *descriptors],
            )
        finally:
            signal.signal(signal.SIGHUP, before)

    def _received(self, line: bytes) -> None:
        """The new daemon reports that it is ready, and which listeners it does not use."""
        assert self._process is not None
        try:
            numbers = unused_by(line)
        except ValueError as error:
            self._fail(f"the new daemon sent an invalid report: {error}")
            return
        unused = Listeners(one for one in self._listeners if one.socket.fileno() in numbers)
        self._end(Upgraded(self._process.pid, unused=unused))

    def _channel_closed(self) -> None:
        # The process alone says little: one that daemonises itself has ended by then, too.
        self._fail("the new daemon ended before it was ready; its log says why")

    def _deadline_passed(self) -> None:
        self._fail(f"the new daemon is not ready after {DEADLINE:g} s")

    def _fail(self, why: str) -> None:
        # A daemon that has daemonised itself is not the process that is killed below.
        with suppress(OSError):
            self._channel.send(LEAVE + b"\n", socket.MSG_DONTWAIT)
        process = self._process
        if process is not None:
            process.kill()
            # It has ended or is killed, so this waits for the kernel only.
            process.wait()
        self._pid_file.restore()
        self._end(Upgraded(None, why))

    def _end(self, how: Upgraded) -> None:
        self._deadline.clear()
        # In this order: the reactor finds what it watches by the descriptor's number.
        self._reader.stop()
        self._channel.close()
        self._ended.callback(how)


class _PidFile:
    """twistd's pid file, under another name while two daemons run."""

    def __init__(self, twistd: MutableMapping[str, Any]) -> None:
        self._twistd = twistd
        self._path: str | None = twistd.get("pidfile") or None

    def rename(self) -> None:
        """Make room for the new daemon's; twistd removes this one under its new name."""
        if self._path is not None and os.path.exists(self._path):
            # By a rename, so that at every moment a file has the pid of a daemon that serves.
            os.replace(self._path, self._path + OLD)
            self._twistd["pidfile"] = self._path + OLD

    def restore(self) -> None:
        """Give the file its own name again."""
        if self._path is not None:
            with suppress(OSError):
                os.replace(self._path + OLD, self._path)
            self._twistd["pidfile"] = self._path
