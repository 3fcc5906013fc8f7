"""The servers that take part: how each is started, seen to answer, and ended."""

from __future__ import annotations

import getpass
import importlib.util
import json
import random
import shutil
import socket
import ssl
import subprocess
import sys
import time
from collections.abc import Iterator, Sequence
from contextlib import closing, contextmanager, suppress
from dataclasses import dataclass
from datetime import UTC, datetime
from pathlib import Path
from typing import Final

from bench import processes
from bench.programs import compile_program
from bench.scenarios import FLOOR, PROGRAM, TCPSERVER, XINETD, Mode, Scenario
from netd.tls.self_signed import made

NETD: Final = "netd"
HOST: Final = "127.0.0.1"
ROOT: Final = Path(__file__).parents[1]
BIN: Final = Path(sys.executable).parent
"""Where twistd and netdctl are: beside the Python that runs the bench."""

PORTS: Final = range(20_000, 32_000)
"""Below what the system gives to clients, so that no client takes a server's port."""

READY_WITHIN: Final = 20.0
"""Seconds that a server has from its start to its first answer."""

OPTIONAL: Final = ("uvloop", "gevent")
"""Peers that take part when their package is installed."""

PROGRAMS: Final = (TCPSERVER, XINETD)
"""Peers that take part when they are in PATH: Debian's packages ucspi-tcp and xinetd."""


CERTIFICATE: Final = "certificate.pem"
"""A P-256 key and its certificate, for netd and its peers."""


class CannotStart(Exception):
    """A server did not come up; the text has its last words."""


@dataclass(frozen=True)
class Place:
    """Where a server is run."""

    directory: Path
    """For its configuration and its output."""
    programs: Path
    """Where the C programs are."""
    processor: int | None
    """The processor that it and its children may use; None for any."""


def prepare(programs: Path) -> None:
    """Compile what is written in C, and make a certificate. Raises CannotCompile."""
    for name in ("load", "floor"):
        compile_program(name, programs)
    (programs / CERTIFICATE).write_bytes(made(datetime.now(UTC)))


def is_there(server: str) -> bool:
    """Whether a server can take part on this machine."""
    if server in PROGRAMS:
        return shutil.which(server) is not None
    return server not in OPTIONAL or importlib.util.find_spec(server) is not None


def free_ports(count: int) -> list[int]:
    """Ports that nobody listens on, for TCP and UDP."""
    found: list[int] = []
    for port in random.sample(PORTS, len(PORTS)):
        if len(found) == count:
            return found
        with (
            closing(socket.socket(socket.AF_INET, socket.SOCK_STREAM)) as stream,
            closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as datagrams,
            suppress(OSError),
        ):
            # What the last server's clients left in TIME_WAIT is no hindrance.
            stream.setsockopt(socket.SOL_SOCKET, socket.SO_REUSEADDR, 1)
            stream.bind((HOST, port))
            datagrams.bind((HOST, port))
            found.append(port)
    raise CannotStart(f"no {count} free ports in {PORTS}")


def service(name: str, listen: str, runs: str, key: str = "handler", more: str = "") -> str:
    """The configuration of one service of netd: defaults, with an ``allow`` list."""
    what = json.dumps(list(PROGRAM) if key == "program" else runs)
    return (
        f'[services.{name}]\n{key} = {what}\nlisten = ["{listen}:interface={HOST}"]\n{more}'
        f'[services.{name}.access]\nallow = ["127.0.0.0/8"]\n'
    )


def write_configuration(directory: Path, services: Sequence[str]) -> Path:
    """Write netd's file with these services."""
    file = directory / "netd.toml"
    file.write_text(f'python_path = ["{ROOT}"]\n' + "".join(services))
    return file


def netd_command(file: Path) -> list[str]:
    """netd in the foreground, with its log, and so the connections', in a file beside *file*."""
    log = str(file.with_name("netd.log"))
    twistd = [str(BIN / "twistd"), "-n", "--pidfile=", "--logfile", log]
    return [*twistd, NETD, "--config", str(file)]


def _netd(scenario: Scenario, port: int, place: Place) -> list[str]:
    transport = "tls" if scenario.mode.is_tls else "udp" if scenario.mode is Mode.UDP else "tcp"
    listen = f"{transport}:{port}"
    more = "".join(f"{line}\n" for line in scenario.keys)
    if scenario.mode.is_tls:
        more += f'tls.certificate = "{place.programs / CERTIFICATE}"\n'
    services = [service("bench", listen, scenario.runs, scenario.key, more)]
    return netd_command(write_configuration(place.directory, services))


def _command(server: str, scenario: Scenario, port: int, place: Place) -> list[str]:
    if server == NETD:
        return _netd(scenario, port, place)
    if server == FLOOR:
        mode = Mode.ECHO if scenario.mode is Mode.SILENT else scenario.mode
        return [str(place.programs / FLOOR), mode, str(port)]
    if server == TCPSERVER:
        return _tcpserver(port)
    if server == XINETD:
        return _xinetd(port, place)
    peer = f"{server}-udp" if server == "twisted" and scenario.mode is Mode.UDP else server
    command = [sys.executable, "-m", "bench.peers", peer, scenario.runs, str(port)]
    if scenario.mode.is_tls:
        command.append(str(place.programs / CERTIFICATE))
    return command


def _tcpserver(port: int) -> list[str]:
    """ucspi-tcp's server: no look-ups, as many at once as there are clients, netd's backlog."""
    return ["tcpserver", "-HRDl0", "-c", "256", "-b", "1024", HOST, str(port), *PROGRAM]


def _xinetd(port: int, place: Place) -> list[str]:
    """xinetd in the foreground, with a log of connections, as netd has."""
    path, *arguments = PROGRAM
    file = place.directory / "xinetd.conf"
    file.write_text(
        f"defaults\n{{\n log_type = FILE {place.directory}/xinetd.log\n"
        " log_on_success = HOST PID EXIT DURATION\n cps = 0 0\n instances = UNLIMITED\n"
        " per_source = UNLIMITED\n}\n"
        f"service bench\n{{\n type = UNLISTED\n socket_type = stream\n protocol = tcp\n"
        f" port = {port}\n bind = {HOST}\n wait = no\n user = {getpass.getuser()}\n"
        f" server = {path}\n server_args = {' '.join(arguments)}\n only_from = 127.0.0.0/8\n}}\n"
    )
    pid_file = place.directory / "xinetd.pid"
    return ["xinetd", "-dontfork", "-f", str(file), "-pidfile", str(pid_file)]


@dataclass(frozen=True)
class Running:
    """A server that has answered."""

    process: subprocess.Popen[bytes]
    port: int

    @property
    def pid(self) -> int:
        """The root of its process tree."""
        return self.process.pid


@contextmanager
def running(server: str, scenario: Scenario, place: Place) -> Iterator[Running]:
    """Start a server, wait until it answers, and end it. Raises CannotStart."""
    (port,) = free_ports(1)
    with launched(_command(server, scenario, port, place), place) as process:
        wait_until_it_answers(process, scenario.mode, port, place.directory)
        yield Running(process, port)


@contextmanager
def launched(command: Sequence[str], place: Place) -> Iterator[subprocess.Popen[bytes]]:
    """Start a program with its output in a file, and end it and its tree."""
    with open(place.directory / "output", "wb") as output, processes.on_processor(place.processor):
        process = subprocess.Popen(
            command,
            stdin=subprocess.DEVNULL,
            stdout=output,
            stderr=output,
            cwd=ROOT,
            # Ctrl-C is for the bench, which then ends it by its pid.
            start_new_session=True,
        )
    try:
        yield process
    finally:
        processes.end(process)


def wait_until_it_answers(
    process: subprocess.Popen[bytes],
    mode: Mode,
    port: int,
    directory: Path,
    patience: float = READY_WITHIN,
) -> None:
    """Ask until there is an answer: netd listens before its workers are there.

    Raises CannotStart when the process ends first, or after *patience* seconds.
    """
    answers = _answers_datagram if mode is Mode.UDP else _answers_line
    if mode.is_tls:
        answers = _answers_tls
    deadline = time.monotonic() + patience
    while not answers(port, deadline):
        if process.poll() is not None:
            raise CannotStart(_last_words(directory))
        if time.monotonic() > deadline:
            raise CannotStart(f"no answer within {patience:g} s: {_last_words(directory)}")
        time.sleep(0.005)


def _answers_line(port: int, deadline: float) -> bool:
    patience = max(0.1, deadline - time.monotonic())
    try:
        with socket.create_connection((HOST, port), timeout=patience) as client:
            client.sendall(b"hello\n")
            return client.recv(6) != b""
    except OSError:
        return False


def _answers_tls(port: int, deadline: float) -> bool:
    patience = max(0.1, deadline - time.monotonic())
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_CLIENT)
    context.check_hostname = False
    context.verify_mode = ssl.CERT_NONE
    try:
        with (
            socket.create_connection((HOST, port), timeout=patience) as plain,
            context.wrap_socket(plain) as client,
        ):
            client.sendall(b"hello\n")
            return client.recv(6) != b""
    except OSError:
        return False


def _answers_datagram(port: int, _: float) -> bool:
    with closing(socket.socket(socket.AF_INET, socket.SOCK_DGRAM)) as client, suppress(OSError):
        client.connect((HOST, port))
        client.settimeout(0.2)
        client.send(b"hello\n")
        return client.recv(6) != b""
    return False


def _last_words(directory: Path) -> str:
    lines = (directory / "output").read_text(errors="replace").strip().splitlines()
    return lines[-1] if lines else "it said nothing"
