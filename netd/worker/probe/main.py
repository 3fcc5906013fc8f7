"""The probe: imports what services run, each in a process of its own, and reports what it is.

It reads ``ProbeRequests`` from standard input, and writes one line for each service to standard
output. A module that raises, hangs, exits or crashes costs its own service a reply, nothing else.
"""

from __future__ import annotations

import os
import selectors
import signal
import sys
import time
from collections.abc import Callable, Sequence
from dataclasses import dataclass
from typing import Any, Final

from netd.core.exit_status import ending
from netd.core.prctl import end_with_parent
from netd.ipc.probe import (
    LONGEST_REPLY,
    Facts,
    ProbeError,
    ProbeReply,
    ProbeRequest,
    ProbeRequests,
    decode_reply,
    decode_requests,
    encode_reply,
)
from netd.model.service import Owner, Reference, Runs
from netd.worker import importing
from netd.worker.environment import NotEntered, enter
from netd.worker.probe.inspection import (
    Inspection,
    Unusable,
    check_callable,
    inspect_code,
    inspect_installed,
)

CONCURRENCY: Final = os.cpu_count() or 1
"""Most imports at the same time: they keep a processor busy, and rarely wait."""

_STEP_DONE: Final = b"\n"
"""Written by a child after each import but the last, so that the probe knows where one hangs. The
reply, which follows, is a line as well."""

_FILTER: Final = "access.verify_request"


def main() -> None:
    """Reply to the requests on standard input."""
    end_with_parent()
    requests = decode_requests(sys.stdin.read())
    for reply in probe_all(requests):
        print(encode_reply(reply), flush=True)


@dataclass
class _Child:
    """A child process that imports for one request. It runs user code, so it may write anything."""

    request: ProbeRequest
    pid: int
    deadline: float
    """Seconds of CLOCK_MONOTONIC."""
    output: bytes = b""

    def is_finished(self) -> bool:
        """Whether it has replied, or written too much.

        Not whether its pipe has ended: a process that the module has started may hold it open.
        """
        return b"\n" in self.output.lstrip(_STEP_DONE) or len(self.output) > LONGEST_REPLY

    def reply(self) -> ProbeReply:
        """Read its reply. Raises ValueError."""
        line, _, _ = self.output.lstrip(_STEP_DONE).partition(b"\n")
        return decode_reply(line.decode())

    def importing(self) -> tuple[str, str]:
        """Return the key and the module of the import that it was at."""
        runs = self.request.runs
        if not isinstance(runs, Runs):
            return runs.key, str(runs)
        done = len(self.output) - len(self.output.lstrip(_STEP_DONE))
        steps = _steps(self.request, runs)
        key, reference = steps[min(done, len(steps) - 1)]
        return key, reference.module


def probe_all(requests: ProbeRequests) -> list[ProbeReply]:
    """Probe every service in a child process of its own. The replies are in the requests' order."""
    replies: dict[str, ProbeReply] = {}
    waiting = list(reversed(requests.services))
    with selectors.DefaultSelector() as selector:
        while waiting or selector.get_map():
            while waiting and len(selector.get_map()) < CONCURRENCY:
                _start_child(waiting.pop(), requests, selector)
            for descriptor, child in _wait(selector):
                selector.unregister(descriptor)
                os.close(descriptor)
                replies[child.request.service] = _conclude(child, requests.timeout)
    return [replies[request.service] for request in requests.services]


def _start_child(
    request: ProbeRequest, requests: ProbeRequests, selector: selectors.BaseSelector
) -> None:
    ours, theirs = os.pipe()
    pid = os.fork()
    if pid == 0:
        os.close(ours)
        _reply_and_exit(request, requests, theirs)
    os.close(theirs)
    child = _Child(request, pid, time.monotonic() + requests.timeout)
    selector.register(ours, selectors.EVENT_READ, child)


def _wait(selector: selectors.BaseSelector) -> list[tuple[int, _Child]]:
    """Wait for the children. Return those that have replied or ended, or that are late."""
    children = {key.fd: key.data for key in selector.get_map().values()}
    nearest = min(child.deadline for child in children.values())
    ended = []
    for key, _ in selector.select(max(0.0, nearest - time.monotonic())):
        data = os.read(key.fd, 65536)
        key.data.output += data
        if not data or key.data.is_finished():
            ended.append((key.fd, key.data))
    now = time.monotonic()
    late = [(fd, child) for fd, child in children.items() if child.deadline <= now]
    return ended + [item for item in late if item not in ended]


def _conclude(child: _Child, timeout: float) -> ProbeReply:
    """End the child. Return its reply, or one that says how it ended."""
    is_late = time.monotonic() >= child.deadline
    # It may be ending by itself, and then this changes nothing; if not, waitpid would hang.
    os.kill(child.pid, signal.SIGKILL)
    _, status = os.waitpid(child.pid, 0)
    try:
        return child.reply()
    except ValueError:
        key, module = child.importing()
        if is_late:
            how = f"took longer than {timeout:g} s"
        elif len(child.output) > LONGEST_REPLY:
            how = f"wrote more than {LONGEST_REPLY} bytes to the probe"
        else:
            how = f"ended the process with {ending(os.waitstatus_to_exitcode(status))}"
        return ProbeError(child.request.service, key, f'importing "{module}" {how}')


# In the child.


def _reply_and_exit(request: ProbeRequest, requests: ProbeRequests, descriptor: int) -> None:
    """Import, write the reply, and end this process, whatever is raised."""
    try:
        end_with_parent()
        # Prints of the module would otherwise mix with the replies on standard output.
        nothing = os.open(os.devnull, os.O_RDWR)
        for standard in range(3):
            os.dup2(nothing, standard)
        reply = reply_to(request, requests, lambda: os.write(descriptor, _STEP_DONE))
        with open(descriptor, "w") as pipe:
            pipe.write(encode_reply(reply) + "\n")
    finally:
        # Not sys.exit(): functions that the module has registered with atexit must not run.
        os._exit(0)


def reply_to(
    request: ProbeRequest, requests: ProbeRequests, step_done: Callable[[], object]
) -> ProbeReply:
    """Enter the environment of the service's workers, import what it runs, and inspect that.

    Calls *step_done* after each import but the last.
    """
    service = request.service
    try:
        enter(request.owner, request.environment)
    except NotEntered as error:
        return ProbeError(service, error.key, str(error))
    if request.owner != Owner():
        # Again: a change of the user clears it (PR_SET_PDEATHSIG, prctl(2)).
        end_with_parent()
    importing.put_first(requests.python_path)
    try:
        if isinstance(request.runs, Runs):
            found = _import_code(request, request.runs, requests.python_path, step_done)
        else:
            found = inspect_installed(request.runs)
            _import_filter(request, requests.python_path)
    except Unusable as error:
        return ProbeError(service, error.key or request.runs.key, str(error))
    sources = tuple(importing.imported_from(requests.python_path))
    has_threads = len(os.listdir("/proc/self/task")) > 1
    return Facts(
        service,
        found.requests,
        found.execution,
        sources,
        found.server,
        has_threads,
        found.notes,
    )


def _import_code(
    request: ProbeRequest, runs: Runs, python_path: Sequence[str], step_done: Callable[[], object]
) -> Inspection:
    """Import everything that a service names, and inspect it. Raises Unusable."""
    loaded: dict[str, Any] = {}
    for key, reference in _steps(request, runs):
        if loaded:
            step_done()
        try:
            loaded[key] = importing.load(reference, python_path)
            if key == _FILTER:
                check_callable(loaded[key])
        except (importing.CannotImport, Unusable) as error:
            raise Unusable(str(error), key) from error
    return inspect_code(runs.key, loaded, request.options)


def _import_filter(request: ProbeRequest, python_path: Sequence[str]) -> None:
    if request.verify_request is None:
        return
    try:
        check_callable(importing.load(request.verify_request, python_path))
    except (importing.CannotImport, Unusable) as error:
        raise Unusable(str(error), _FILTER) from error


def _steps(request: ProbeRequest, runs: Runs) -> list[tuple[str, Reference]]:
    """Return what is imported, in order, by the key that names it."""
    steps: list[tuple[str, Reference]] = [(runs.key, runs.reference)]
    if runs.handler is not None:
        steps.append(("handler", runs.handler))
    if request.verify_request is not None:
        steps.append((_FILTER, request.verify_request))
    return steps


if __name__ == "__main__":
    main()
