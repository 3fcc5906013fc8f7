"""Another netd in the place of this one: a new process that gets the listeners, and says "ready".

It is started by the command line that started this one, so it is whatever is installed now:
another netd, another Twisted, another Python. Until it has said that it is ready this daemon serves
as before, and goes on if that never comes. How it looks from there is in ``predecessor.py``.
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

from netd.core.reactor import DelayedCall
from netd.daemon.generations.line_reader import LineReader
from netd.listening.binding import Listeners
from netd.listening.handover import LEAVE, VARIABLE, unused_by, variable

DEADLINE: Final = 90.0
"""Seconds that the new daemon has to be ready: its workers have 60 to import."""

OLD: Final = ".old"
"""Added to the name of the pid file while two daemons live: nginx's ``.oldbin``."""


@dataclass(frozen=True)
class CommandLine:
    """How this daemon was started, and from where."""

    arguments: tuple[str, ...]
    directory: str
    twistd: MutableMapping[str, Any]
    """twistd's own options: it looks up there which pid file it removes at its end."""
    variables: Mapping[str, str] = field(default_factory=dict)
    """Of the environment, what this daemon has taken out of its own."""

    @classmethod
    def of_this_process(
        cls, twistd: MutableMapping[str, Any], variables: Mapping[str, str]
    ) -> CommandLine:
        """Take it down, before twistd becomes a daemon and changes its directory."""
        return cls((sys.executable, *sys.orig_argv[1:]), os.getcwd(), twistd, variables)


@dataclass(frozen=True)
class Upgraded:
    """How an upgrade has ended."""

    pid: int | None
    """Of the new daemon, if it is ready. (A daemon that went to the background has another.)"""
    problem: str | None = None
    unused: Listeners = field(default_factory=Listeners)
    """The listeners that it does not serve by."""


class Upgrade:
    """One upgrade. In the reactor's thread."""

    def __init__(
        self, command: CommandLine, listeners: Listeners, suspended: frozenset[str], reactor: Any
    ) -> None:
        self._command = command
        self._listeners = listeners
        self._suspended = suspended
        self._reactor = reactor
        self._pid_file = _PidFile(command.twistd)
        self._ended: Deferred[Upgraded] = Deferred()
        self._deadline: DelayedCall | None = None
        self._process: subprocess.Popen[bytes] | None = None
        self._channel, theirs = socket.socketpair()
        self._theirs = theirs
        self._reader = LineReader(self._channel, reactor, self._said, self._gone)

    def begin(self) -> Deferred[Upgraded]:
        """Start the new daemon. Fires when it is ready, or has failed; never fails itself."""
        self._pid_file.step_aside()
        try:
            with self._theirs:
                self._process = self._started(self._theirs.fileno())
        except OSError as error:
            self._fail(f"the new daemon cannot be started: {error}")
            return self._ended
        self._reader.start()
        self._deadline = self._reactor.callLater(DEADLINE, self._late)
        return self._ended

    def give_up(self, why: str) -> None:
        """End the new daemon, because of *why*, if it is not ready yet."""
        if not self._ended.called:
            self._fail(why)

    def _started(self, channel: int) -> subprocess.Popen[bytes]:
        """Start the process, in which nothing ends it that is not meant to: HUP is ignored."""
        descriptors = [listener.socket.fileno() for listener in self._listeners]
        handed = {VARIABLE: variable(self._listeners, channel, self._suspended)}
        environment = {**os.environ, **self._command.variables, **handed}
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

    def _said(self, line: bytes) -> None:
        """The new daemon is ready, if it has said so."""
        assert self._process is not None
        try:
            numbers = unused_by(line)
        except ValueError as error:
            self._fail(f"the new daemon makes no sense: {error}")
            return
        unused = Listeners(one for one in self._listeners if one.socket.fileno() in numbers)
        self._end(Upgraded(self._process.pid, unused=unused))

    def _gone(self) -> None:
        """Nobody has the channel any more, and nobody has said that he is ready."""
        self._fail("the new daemon ended before it was ready; its log says why")

    def _late(self) -> None:
        self._fail(f"the new daemon is not ready after {DEADLINE:g} s")

    def _fail(self, why: str) -> None:
        # To one that has gone to the background, and is not the process that was started.
        with suppress(OSError):
            self._channel.send(LEAVE + b"\n", socket.MSG_DONTWAIT)
        process = self._process
        if process is not None:
            process.kill()
            # It has been killed, or has gone: this waits for nothing but the kernel.
            process.wait()
        self._pid_file.come_back()
        self._end(Upgraded(None, why))

    def _end(self, how: Upgraded) -> None:
        if self._deadline is not None and self._deadline.active():
            self._deadline.cancel()
        self._reader.stop()
        self._channel.close()
        self._ended.callback(how)


class _PidFile:
    """twistd's pid file, which it refuses to start beside."""

    def __init__(self, twistd: MutableMapping[str, Any]) -> None:
        self._twistd = twistd
        self._path: str | None = twistd.get("pidfile") or None

    def step_aside(self) -> None:
        """Make room for that of the new daemon; ours is removed at our end, not its."""
        if self._path is not None and os.path.exists(self._path):
            os.replace(self._path, self._path + OLD)
            self._twistd["pidfile"] = self._path + OLD

    def come_back(self) -> None:
        """Take the place again."""
        if self._path is not None:
            with suppress(OSError):
                os.replace(self._path + OLD, self._path)
            self._twistd["pidfile"] = self._path
