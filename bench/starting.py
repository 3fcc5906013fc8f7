"""How long netd takes to start and to check its file, and whether it rests when it is idle."""

from __future__ import annotations

import socket
import subprocess
import time
from collections.abc import Callable
from contextlib import ExitStack
from typing import Final

from bench import processes
from bench.scenarios import Mode
from bench.servers import (
    BIN,
    HOST,
    CannotStart,
    Place,
    free_ports,
    launched,
    netd_command,
    service,
    wait_until_it_answers,
    write_configuration,
)

HANDLER: Final = "bench.handlers:Answer"

MANY: Final = 100
"""Services of the large configuration."""

MANY_WITHIN: Final = 90.0
"""Seconds that a hundred services have to answer, before it is given up."""

START_ONE: Final = "start-1"
START_MANY: Final = f"start-{MANY}"
START_MANY_TOGETHER: Final = f"start-{MANY}-together"
CHECK: Final = "check"
IDLE_WAKE_UPS: Final = "idle wake-ups"


def start(count: int, together: bool, place: Place) -> float:
    """Seconds from the exec of twistd to the answers of all *count* services to a client each.

    *together* puts all services into one worker. Raises CannotStart.
    """
    ports = free_ports(count)
    more = 'worker = "all"\n' if together else ""
    services = [service(f"s{port}", f"tcp:{port}", HANDLER, more=more) for port in ports]
    file = write_configuration(place.directory, services)
    began = time.monotonic()
    with launched(netd_command(file), place) as process:
        # It is there when the first one answers: before that, there is nobody to connect to.
        wait_until_it_answers(process, Mode.LINE, ports[0], place.directory, MANY_WITHIN)
        _wait_for_all(ports, began + MANY_WITHIN)
        return time.monotonic() - began


def _wait_for_all(ports: list[int], deadline: float) -> None:
    """Ask all services at once, and wait in the kernel for their answers, disturbing nobody."""
    with ExitStack() as clients:
        asked = [
            clients.enter_context(socket.create_connection((HOST, port), timeout=5))
            for port in ports
        ]
        for client in asked:
            client.sendall(b"hello\n")
        for client in asked:
            client.settimeout(max(0.1, deadline - time.monotonic()))
            try:
                answered = client.recv(6) != b""
            except OSError:
                answered = False
            if not answered:
                raise CannotStart(f"a service did not answer within {MANY_WITHIN:g} s")


def check(place: Place) -> float:
    """Seconds of ``netdctl check`` on a file with one service. Raises CannotStart."""
    file = write_configuration(place.directory, [service("one", "tcp:10037", HANDLER)])
    began = time.monotonic()
    done = subprocess.run(
        [str(BIN / "netdctl"), "check", str(file)],
        capture_output=True,
        text=True,
        timeout=30,
    )
    elapsed = time.monotonic() - began
    if done.returncode != 0:
        raise CannotStart(done.stderr.strip())
    return elapsed


def idle_wake_ups(place: Place, settling: float, seconds: float) -> float:
    """How often any thread of an idle netd, of daemon or worker, wakes up in *seconds* seconds.

    Before that a client is served, and *settling* seconds pass: netd retires threads after ten.
    """
    (port,) = free_ports(1)
    file = write_configuration(place.directory, [service("idle", f"tcp:{port}", HANDLER)])
    with launched(netd_command(file), place) as process:
        wait_until_it_answers(process, Mode.LINE, port, place.directory)
        time.sleep(settling)
        before = processes.switches_of_tree(process.pid)
        time.sleep(seconds)
        return processes.wake_ups(before, processes.switches_of_tree(process.pid))


MEASUREMENTS: Final[dict[str, Callable[[Place], float]]] = {
    CHECK: check,
    START_ONE: lambda place: start(1, False, place),
    START_MANY: lambda place: start(MANY, False, place),
    START_MANY_TOGETHER: lambda place: start(MANY, True, place),
}
"""What ``start`` measures, in each round."""
