"""``netd.worker.probe.main``, as the daemon asks it: in processes of its own."""

from __future__ import annotations

import os
import subprocess
import time
from pathlib import Path

import pytest

from netd.daemon.forkserver.spawn import command
from netd.ipc.probe import (
    LONGEST_REPLY,
    Facts,
    ProbeError,
    ProbeReply,
    ProbeRequest,
    ProbeRequests,
    Requests,
    decode_reply,
    encode_requests,
)
from netd.model.service import Owner, Reference, Runs

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")


def can_be_run_by(uid: int) -> bool:
    """Whether somebody else can execute the interpreter, and read what it needs."""
    try:
        return subprocess.run(command("probe"), input=b"", stderr=-3, user=uid).returncode == 1
    except OSError:
        return False


FROM_ROOT = pytest.mark.skipif(
    os.geteuid() != 0 or not can_be_run_by(65534),
    reason="needs root, and a netd that uid 65534 can run",
)

STREAM = "from socketserver import StreamRequestHandler\nclass H(StreamRequestHandler): pass\n"


def question(
    name: str = "s",
    handler: str = "m:H",
    verify: str | None = None,
    owner: Owner = Owner(),  # noqa: B008
) -> ProbeRequest:
    verify_request = Reference(*verify.split(":")) if verify else None
    runs = Runs("handler", Reference(*handler.split(":")))
    return ProbeRequest(name, runs, (), verify_request, owner)


def facts(name: str, requests: Requests, *sources: str) -> Facts:
    """What is seen of a blocking handler."""
    return Facts(name, requests, "blocking", sources)


def asked(
    directory: Path, *questions: ProbeRequest, timeout: float = 30, uid: int | None = None
) -> list[ProbeReply]:
    """The replies of a probe, started as *uid*, about handlers in *directory*."""
    done = subprocess.run(
        command("probe"),
        input=encode_requests(ProbeRequests((str(directory),), timeout, questions)),
        capture_output=True,
        text=True,
        timeout=60,
        user=uid,
    )
    assert (done.returncode, done.stderr) == (0, "")
    return [decode_reply(line) for line in done.stdout.splitlines()]


def answer(directory: Path, module: str, timeout: float = 30) -> ProbeReply:
    """The reply about the class ``H`` of a module with that text."""
    (directory / "m.py").write_text(module)
    [answer] = asked(directory, question(), timeout=timeout)
    return answer


def fault(directory: Path, module: str, timeout: float = 30) -> str:
    """The error about the handler ``H`` of a module with that text."""
    found = answer(directory, module, timeout)
    assert isinstance(found, ProbeError)
    assert (found.service, found.key) == ("s", "handler")
    return found.message


class TestFacts:
    @pytest.mark.parametrize(
        ("base", "requests"),
        [
            ("BaseRequestHandler", "any"),
            ("StreamRequestHandler", "stream"),
            ("DatagramRequestHandler", "datagram"),
        ],
    )
    def test_requests(self, tmp_path: Path, base: str, requests: Requests) -> None:
        """The requests a handler takes are known by its base class, at any remove."""
        text = f"import socketserver\nclass B(socketserver.{base}): pass\nclass H(B): pass\n"
        assert answer(tmp_path, text) == facts("s", requests, f"{tmp_path}/m.py")

    def test_sources(self, tmp_path: Path) -> None:
        """The reply names the files that handler and filter imported, and no others."""
        for name, text in {
            "m": "import common, json\n" + STREAM,
            "rules": "import lists\ndef admit(request, client): ...\n",
            "common": "",
            "lists": "",
            "unused": "",
        }.items():
            (tmp_path / f"{name}.py").write_text(text)
        alone, with_filter = asked(tmp_path, question("a"), question("b", verify="rules:admit"))
        files = {name: f"{tmp_path}/{name}.py" for name in ("common", "lists", "m", "rules")}
        assert alone == facts("a", "stream", files["common"], files["m"])
        assert with_filter == facts("b", "stream", *files.values())

    def test_thousands_of_sources(self, tmp_path: Path) -> None:
        """A reply that is longer than a pipe's buffer is complete."""
        text = (
            f"import sys, types\n{STREAM}"
            "for number in range(5000):\n"
            "    module = sys.modules[f'm{number}'] = types.ModuleType(f'm{number}')\n"
            "    module.__file__ = f'{__file__}.{number:090}.py'\n"
        )
        found = answer(tmp_path, text)
        assert isinstance(found, Facts)
        assert len(found.sources) == 5001
        assert sum(map(len, found.sources)) > 8 * 65536

    def test_prints_a_lot(self, tmp_path: Path) -> None:
        """What a module prints while it is imported goes nowhere, and fills nothing up."""
        text = (
            "import os, sys\n"
            "for stream in sys.stdout, sys.stderr:\n"
            "    print('x' * 1_000_000, file=stream, flush=True)\n"
            "os.write(1, b'[]\\n' * 100_000)\nos.system('echo from a program; echo >&2 error')\n"
        )
        assert isinstance(answer(tmp_path, text + STREAM), Facts)

    def test_reads_its_standard_input(self, tmp_path: Path) -> None:
        """A module that asks somebody something gets no answer, and takes none of others'."""
        text = "import sys\nassert sys.stdin.read() == ''\n"
        assert isinstance(answer(tmp_path, text + STREAM), Facts)

    def test_starts_threads(self, tmp_path: Path) -> None:
        """A thread that an import leaves behind does not hold up the answer."""
        text = "import threading\nthreading.Thread(target=threading.Event().wait).start()\n"
        started = time.monotonic()
        assert isinstance(answer(tmp_path, text + STREAM), Facts)
        assert time.monotonic() - started < 15

    def test_starts_a_process(self, tmp_path: Path) -> None:
        """Nor does a process, although it holds all that its parent had."""
        text = (
            "import os, signal\n"
            "ours, theirs = os.pipe()\n"
            "if os.fork() == 0:\n"
            "    os.setpgid(0, 0)\n"
            "    os.close(theirs)\n"
            "    os.read(ours, 1)\n"  # until its parent has gone
            "    signal.alarm(10)\n"
            "    signal.pause()\n"
        )
        started = time.monotonic()
        assert isinstance(answer(tmp_path, text + STREAM), Facts)
        assert time.monotonic() - started < 8

    def test_answers_twice(self, tmp_path: Path) -> None:
        """A module that forks and goes on in both is one answer."""
        assert isinstance(answer(tmp_path, "import os\nos.fork()\n" + STREAM), Facts)

    def test_leaves_something_for_the_end(self, tmp_path: Path) -> None:
        """What is registered for the end of the process is not waited for."""
        text = "import atexit, threading\natexit.register(threading.Event().wait)\n"
        assert isinstance(answer(tmp_path, text + STREAM), Facts)

    def test_each_in_a_process_of_its_own(self, tmp_path: Path) -> None:
        """What one module does to its interpreter is not seen by another one."""
        (tmp_path / "bad.py").write_text(
            "import json, os, socketserver\n"
            "json.dumps = os.write = socketserver.ThreadingMixIn = 0\n"
        )
        (tmp_path / "m.py").write_text("from socketserver import ThreadingMixIn\n" + STREAM)
        answers = asked(tmp_path, question("bad", "bad:H"), question("good"))
        assert isinstance(answers[1], Facts)


class TestFaults:
    @pytest.mark.parametrize(
        ("module", "message"),
        [
            ("H = 5", "is 5"),
            ("class H: pass", 'is the class "H"'),
            ("from socketserver import TCPServer as H", 'is the class "TCPServer"'),
            ("class Raises:\n    def __repr__(self): 1 / 0\nH = Raises()", 'is a "Raises"'),
        ],
    )
    def test_no_handler(self, tmp_path: Path, module: str, message: str) -> None:
        """Something that is no handler class is shown as what it is."""
        assert fault(tmp_path, module) == (
            f"{message}, not a subclass of socketserver.BaseRequestHandler or "
            "netd.handlers.AsyncRequestHandler"
        )

    @pytest.mark.parametrize(
        ("module", "message"),
        [
            (None, 'there is no module "m" ({directory})'),
            ("1 / 0", 'importing "m": {directory}/m.py:1: ZeroDivisionError: division by zero'),
            ("import os\nclass Handler: ...", 'module "m" ({directory}/m.py) has no "H"'),
            ("import sys\nsys.exit()", 'importing "m": {directory}/m.py:2: SystemExit'),
            ("import os\nos._exit(0)", 'importing "m" ended the process with status 0'),
            ("import os\nos._exit(3)", 'importing "m" ended the process with status 3'),
            (
                "import ctypes\nctypes.string_at(0)",
                'importing "m" ended the process with signal SIGSEGV',
            ),
            (
                "import os\nos.kill(os.getpid(), 40)",
                'importing "m" ended the process with signal 40',
            ),
            ("def f(): f()\nf()", 'importing "m": {directory}/m.py:1: RecursionError: maximum'),
        ],
    )
    def test_import(self, tmp_path: Path, module: str | None, message: str) -> None:
        """The reply says what an import raised, and where."""
        if module is not None:
            (tmp_path / "m.py").write_text(module)
        [found] = asked(tmp_path, question())
        assert isinstance(found, ProbeError)
        assert found.message.startswith(message.format(directory=tmp_path))

    def test_hangs(self, tmp_path: Path) -> None:
        """An import that hangs is ended at its deadline."""
        started = time.monotonic()
        assert fault(tmp_path, "import threading\nthreading.Event().wait()", timeout=0.25) == (
            'importing "m" took longer than 0.25 s'
        )
        assert time.monotonic() - started < 10

    def test_hangs_and_ignores_signals(self, tmp_path: Path) -> None:
        """A module that ignores every signal is ended, too."""
        text = (
            "import signal, threading\n"
            "for number in range(1, 32):\n"
            "    if number not in (signal.SIGKILL, signal.SIGSTOP):\n"
            "        signal.signal(number, signal.SIG_IGN)\n"
            "while True:\n    pass\n"
        )
        assert fault(tmp_path, text, timeout=0.25) == 'importing "m" took longer than 0.25 s'

    def test_closes_all_descriptors(self, tmp_path: Path) -> None:
        """A module that closes the probe's descriptors, and goes on, gets a reply."""
        text = "import os, threading\nos.closerange(3, 256)\nthreading.Event().wait()\n"
        assert fault(tmp_path, text).startswith('importing "m" ended the process with')

    def test_answers_in_its_child_only(self, tmp_path: Path) -> None:
        """A reply from a child of the module counts, even if the module's process hangs."""
        text = "import os, threading\nif os.fork(): threading.Event().wait()\n"
        started = time.monotonic()
        assert isinstance(answer(tmp_path, text + STREAM), Facts)
        assert time.monotonic() - started < 15

    def test_writes_without_end(self, tmp_path: Path) -> None:
        """A module that finds the probe's pipe and fills it costs the probe bounded memory."""
        text = (
            "import os, stat\n"
            "pipes = [n for n in range(3, 64) if os.path.exists(f'/proc/self/fd/{n}')\n"
            "         and stat.S_ISFIFO(os.fstat(n).st_mode)]\n"
            "while True:\n"
            "    os.write(pipes[-1], b'x' * 65536)\n"
        )
        assert fault(tmp_path, text) == (
            f'importing "m" wrote more than {LONGEST_REPLY} bytes to the probe'
        )

    def test_hangs_beside_others(self, tmp_path: Path) -> None:
        """A module that hangs costs the others nothing, and the order stays."""
        (tmp_path / "slow.py").write_text("import threading\nthreading.Event().wait()")
        (tmp_path / "m.py").write_text(STREAM)
        names = ["a", "slow", "b", "c", "d"]
        questions = [question(name, "slow:H" if name == "slow" else "m:H") for name in names]
        answers = asked(tmp_path, *questions, timeout=2)
        assert [one.service for one in answers] == names
        assert [isinstance(one, ProbeError) for one in answers] == [n == "slow" for n in names]


class TestFilters:
    @pytest.mark.parametrize(
        ("verify", "message"),
        [
            ("rules:admit", 'there is no module "rules" ({directory})'),
            ("m:admit", 'module "m" ({directory}/m.py) has no "admit"'),
            ("m:number", "is 5, not a function"),
        ],
    )
    def test_fault(self, tmp_path: Path, verify: str, message: str) -> None:
        """An error of a filter names the filter's key."""
        (tmp_path / "m.py").write_text(STREAM + "number = 5\n")
        expected = ProbeError("s", "access.verify_request", message.format(directory=tmp_path))
        assert asked(tmp_path, question(verify=verify)) == [expected]

    @pytest.mark.parametrize("verify", ["m:function", "m:lambda_", "m:Class", "m:instance"])
    def test_callable(self, tmp_path: Path, verify: str) -> None:
        """Anything callable can be a filter."""
        text = (
            "def function(request, client): ...\nlambda_ = lambda *_: True\n"
            "class Class:\n    def __call__(self, *_): ...\ninstance = Class()\n"
        )
        (tmp_path / "m.py").write_text(STREAM + text)
        [found] = asked(tmp_path, question(verify=verify))
        assert isinstance(found, Facts)

    def test_hangs(self, tmp_path: Path) -> None:
        """A filter's module that hangs is named, not the handler's."""
        (tmp_path / "m.py").write_text(STREAM)
        (tmp_path / "rules.py").write_text("import threading\nthreading.Event().wait()\n")
        [found] = asked(tmp_path, question(verify="rules:admit"), timeout=0.5)
        message = 'importing "rules" took longer than 0.5 s'
        assert found == ProbeError("s", "access.verify_request", message)

    def test_crashes(self, tmp_path: Path) -> None:
        """A filter's module that crashes is named, too."""
        (tmp_path / "m.py").write_text(STREAM)
        (tmp_path / "rules.py").write_text("import os\nos._exit(3)\n")
        [found] = asked(tmp_path, question(verify="rules:admit"))
        message = 'importing "rules" ended the process with status 3'
        assert found == ProbeError("s", "access.verify_request", message)


class TestMany:
    def test_a_hundred(self, tmp_path: Path) -> None:
        """A hundred services are answered in the order asked, each for itself, in little time."""
        for number in range(100):
            text = STREAM if number % 10 else f"raise ValueError('m{number}.py')\n"
            (tmp_path / f"m{number}.py").write_text(text)
        started = time.monotonic()
        answers = asked(tmp_path, *(question(f"s{n}", f"m{n}:H") for n in range(100)))
        assert time.monotonic() - started < 10
        assert [one.service for one in answers] == [f"s{n}" for n in range(100)]
        for number, one in enumerate(answers):
            shown = one.sources[0] if isinstance(one, Facts) else one.message
            assert shown.endswith(("/", " ")[isinstance(one, ProbeError)] + f"m{number}.py")

    def test_leaves_no_process_behind(self, tmp_path: Path) -> None:
        """Children are reaped, and those that hang are ended, before the probe leaves."""
        (tmp_path / "m.py").write_text(
            f"import os, threading\nopen(f'{tmp_path}/{{os.getpid()}}.pid', 'w')\n"
            "threading.Event().wait()\n"
        )
        asked(tmp_path, *(question(f"s{n}") for n in range(4)), timeout=0.5)
        pids = [int(file.stem) for file in tmp_path.glob("*.pid")]
        assert len(pids) == 4
        assert not any(Path(f"/proc/{pid}").exists() for pid in pids)

    def test_none(self, tmp_path: Path) -> None:
        """No question has no answer."""
        assert asked(tmp_path) == []


class TestOwner:
    @AS_ROOT
    def test_imports_as_the_services_user(self, tmp_path: Path) -> None:
        """A module is imported by whom it will run as, so that rights it lacks are found now."""
        (tmp_path / "m.py").write_text(STREAM)
        [found] = asked(tmp_path, question(owner=Owner(65534, 65534)))
        assert isinstance(found, ProbeError)
        assert found.key == "handler"
        assert found.message == (
            f'there is no module "m" ({tmp_path}, which uid 65534 cannot read)'
        )

    @AS_ROOT
    def test_each_as_its_own(self, tmp_path: Path) -> None:
        """One service's user is not the next one's."""
        (tmp_path / "m.py").write_text("import os\nraise OSError(os.getresuid())")
        owners = [Owner(), Owner(gid=65534), Owner()]
        questions = [question(str(n), owner=owner) for n, owner in enumerate(owners)]
        for one in asked(tmp_path, *questions):
            assert isinstance(one, ProbeError)
            assert one.message.endswith("OSError: (0, 0, 0)")

    @FROM_ROOT
    def test_cannot_become_him(self, tmp_path: Path) -> None:
        """Who cannot become a service's user says so, under its key."""
        [found] = asked(tmp_path, question(owner=Owner(0, 0)), uid=65534)
        message = "cannot become uid 0, gid 0: Operation not permitted"
        assert found == ProbeError("s", "user", message)
