"""Other daemons that are reloaded under load, so that their figures stand beside netd's."""

from __future__ import annotations

import os
import shutil
import signal
import socket
import subprocess
from collections.abc import Iterator
from contextlib import closing, contextmanager
from dataclasses import dataclass
from pathlib import Path
from typing import Final

from tests.integration.daemons import PATIENCE, children, until

MODULES: Final = Path("/usr/lib/nginx/modules")
"""Where Debian has those of nginx."""

NGINX: Final = """
daemon off;
load_module {modules}/ngx_stream_module.so;
pid {directory}/pid;
error_log {directory}/log;
worker_processes 2;
events {{ worker_connections 1024; }}
stream {{
    server {{ listen 127.0.0.1:{port}; proxy_pass unix:{backend}; }}
}}
"""

HAPROXY: Final = """
global
    stats socket {directory}/stats expose-fd listeners
defaults
    mode tcp
    timeout connect 5s
    timeout client 1m
    timeout server 1m
listen all
    bind 127.0.0.1:{port}
    server one unix@{backend}
"""


class Missing(Exception):
    """A program that is not there."""


@dataclass
class Peer:
    """A proxy that runs, before a backend on a Unix socket; it is reloaded as its manual says."""

    process: subprocess.Popen[bytes]
    port: int
    reload_signal: signal.Signals

    def reload(self) -> None:
        """Reload it, and wait until there are new workers."""
        before = set(children(self.process.pid))
        self.process.send_signal(self.reload_signal)
        until(lambda: set(children(self.process.pid)) - before, "there are new workers")


@contextmanager
def nginx(directory: Path, backend: Path) -> Iterator[Peer]:
    """Debian's nginx, with the stream module."""
    if not (MODULES / "ngx_stream_module.so").exists():
        raise Missing("nginx with its stream module")
    command = [_found("nginx"), "-p", str(directory), "-c"]
    with _running(NGINX, command, directory, backend, signal.SIGHUP) as peer:
        yield peer


@contextmanager
def haproxy(directory: Path, backend: Path) -> Iterator[Peer]:
    """HAProxy with a master, which hands listeners from worker to worker."""
    command = [_found("haproxy"), "-W", "-db", "-f"]
    with _running(HAPROXY, command, directory, backend, signal.SIGUSR2) as peer:
        yield peer


PEERS: Final = (nginx, haproxy)


def _found(program: str) -> str:
    found = shutil.which(program, path=f"{os.environ['PATH']}:/usr/sbin")
    if found is None:
        raise Missing(program)
    return found


@contextmanager
def _running(
    text: str, command: list[str], directory: Path, backend: Path, reload_signal: signal.Signals
) -> Iterator[Peer]:
    directory.mkdir()
    port = _free_port()
    file = directory / "configuration"
    values = {"directory": directory, "port": port, "backend": backend, "modules": MODULES}
    file.write_text(text.format(**values))
    with subprocess.Popen(
        [*command, str(file)], stdout=subprocess.DEVNULL, stderr=subprocess.DEVNULL
    ) as process:
        try:
            until(lambda: _answers(port), "it answers")
            yield Peer(process, port, reload_signal)
        finally:
            process.terminate()
            process.wait(PATIENCE)


def _free_port() -> int:
    with closing(socket.create_server(("127.0.0.1", 0))) as found:
        port: int = found.getsockname()[1]
        return port


def _answers(port: int) -> bool:
    try:
        socket.create_connection(("127.0.0.1", port), 1).close()
    except OSError:
        return False
    return True
