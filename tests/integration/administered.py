"""A project whose daemon has an admin socket, and what is seen and done by it."""

from __future__ import annotations

import os
import signal
import socket
import textwrap
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from netd.ctl.client import Client, Reply
from tests.integration.daemons import (
    PATIENCE,
    Project,
    RunningDaemon,
    is_alive,
    read_all,
    read_exactly,
    until,
)

WORDS = """
    import os, threading, time
    from socketserver import StreamRequestHandler

    class Words(StreamRequestHandler):
        version = b"one"

        def handle(self):
            for line in self.rfile:
                word = line.strip()
                if word == b"version":
                    self.wfile.write(self.version + b"\\n")
                elif word == b"pid":
                    self.wfile.write(b"%d\\n" % os.getpid())
                elif word == b"sleep":
                    self.wfile.write(b"sleeping\\n")
                    threading.Event().wait()
                else:
                    self.wfile.write(line)
"""
"""A conversation, a line each: ``version``, ``pid``, ``sleep``; everything else is echoed."""

WAY_IN = '\n[admin]\nsocket = "admin.sock"\n'


class Administered:
    """A project with an admin socket, and its one daemon."""

    def __init__(self, project: Project) -> None:
        self.project = project
        self.directory = project.directory
        self.client = Client(str(self.admin_socket))
        self.daemon: RunningDaemon

    @property
    def admin_socket(self) -> Path:
        """Where the admin socket is."""
        return self.directory / "admin.sock"

    def configure(self, text: str) -> None:
        """Write the configuration."""
        self.project.configure(textwrap.dedent(text) + WAY_IN)

    def start(self, text: str, *arguments: str, **keywords: object) -> RunningDaemon:
        """Configure, start, and wait until all is ready."""
        self.configure(text)
        self.daemon = self.project.start(*arguments, **keywords)
        return self.daemon

    def reload(self, text: str | None = None) -> Reply:
        """Configure, if there is a text, and reload."""
        if text is not None:
            self.configure(text)
        return self.client.do("reload")

    def reload_well(self, text: str | None = None) -> dict[str, str]:
        """The same for what must work; returns the fate of each service."""
        reply = self.reload(text)
        assert reply.ok, reply.values
        return self.fates(reply)

    def upgrade_well(self) -> RunningDaemon:
        """Put a new daemon in the place of the one that runs; return that one, which is leaving."""
        before = self.daemon
        reply = self.client.do("upgrade")
        assert reply.ok, reply.values
        self.daemon = self.project.succeeded(reply.values["pid"], before)
        return before

    @staticmethod
    def fates(reply: Reply) -> dict[str, str]:
        """The fate of each service in an answer."""
        return {step["service"]: step["fate"] for step in reply.values["steps"]}

    @contextmanager
    def upgraded(self) -> Iterator[int]:
        """Upgrade, and wait until the daemon before has gone; the new one's pid, until its end."""
        reply = self.client.do("upgrade")
        assert reply.ok, reply.values
        pid = int(reply.values["pid"])
        try:
            self.daemon.process.wait(PATIENCE)  # its output goes on
            yield pid
        finally:
            with suppress(ProcessLookupError):
                os.kill(pid, signal.SIGTERM)
            until(lambda: not is_alive(pid), "the new daemon has gone")

    def status(self) -> dict[str, Any]:
        """What runs."""
        reply = self.client.see("status")
        assert reply.ok, reply.values
        values: dict[str, Any] = reply.values
        return values

    def service(self, name: str) -> dict[str, Any]:
        """What runs of one service."""
        (found,) = (one for one in self.status()["services"] if one["name"] == name)
        values: dict[str, Any] = found
        return values

    def pids(self, name: str) -> list[int]:
        """The pids of a service's workers."""
        return [process["pid"] for process in self.service(name)["processes"]]

    def address(self, name: str, number: int = 0) -> Any:
        """Where a service's listener is now, as ``connect`` takes it."""
        transport, _, where = self.service(name)["listeners"][number].partition(" ")
        if transport.startswith("unix"):
            return "\0" + where[1:] if where.startswith("@") else where
        host, _, port = where.rpartition(":")
        return host.strip("[]"), int(port)

    @contextmanager
    def talk(self, name: str, number: int = 0) -> Iterator[Conversation]:
        """A connection to a service."""
        with Conversation(self.address(name, number)) as conversation:
            yield conversation


class Conversation:
    """A client's connection, a line at a time."""

    def __init__(self, address: Any) -> None:
        family = socket.AF_UNIX if isinstance(address, str) else socket.AF_INET
        self.socket = socket.socket(family, socket.SOCK_STREAM)
        self.socket.settimeout(PATIENCE)
        try:
            self.socket.connect(address)
        except BaseException:
            self.socket.close()
            raise

    def __enter__(self) -> Conversation:
        return self

    def __exit__(self, *_: object) -> None:
        self.socket.close()

    def ask(self, word: bytes) -> bytes:
        """Say a word; return the line that comes back, or what came of it."""
        self.say(word)
        return self.hear()

    def say(self, word: bytes) -> None:
        """Say a word."""
        self.socket.sendall(word + b"\n")

    def hear(self) -> bytes:
        """The next line."""
        line = b""
        while not line.endswith(b"\n") and (byte := read_exactly(self.socket, 1)):
            line += byte
        return line.removesuffix(b"\n")

    def finish(self) -> bytes:
        """Say that there is no more; return what still comes."""
        self.socket.shutdown(socket.SHUT_WR)
        return read_all(self.socket)

    def has_ended(self) -> bool:
        """Wait for the end of the connection, however it comes."""
        try:
            return self.socket.recv(1) == b""
        except ConnectionError:
            return True
