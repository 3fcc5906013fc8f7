"""``netd.log.capture``: what a worker prints and logs, for which service, at which level.

Capturing changes a process for good, so each test has one of its own.
"""

from __future__ import annotations

import json
import os
import subprocess
import sys
import tempfile

import pytest

from netd.execution.threads.service_thread import ServiceThread
from netd.log.capture import LONGEST_LINE, Speaker

BEFORE = """
import logging, os, sys, threading
from netd.log.buffer import LogBuffer
from netd.model.log import WorkerLog
from netd.execution.threads.service_thread import ServiceThread
from netd.log.capture import Speaker, capture

log_buffer = LogBuffer(wake=lambda: None, log=WorkerLog("json", sys.argv[2]))
capture(log_buffer, Speaker("worker"))

def in_thread(service, call, *arguments):
    thread = ServiceThread(target=call, args=arguments, service=service)
    thread.start()
    thread.join()
"""

AFTER = """
with open(int(sys.argv[1]), "w") as result:
    result.write(log_buffer.take(1 << 30))
"""

LogRecord = tuple[str, str, str]
"""Service, level and text."""


def run(
    program: str, level: str = "info"
) -> tuple[list[LogRecord], subprocess.CompletedProcess[bytes]]:
    """What a program logs by the buffer, and what it writes to its own descriptors."""
    command = [sys.executable, "-P", "-c", BEFORE + program + AFTER]
    # The records have a file of their own: what comes by descriptors 1 and 2 is under test.
    with tempfile.TemporaryFile("w+") as result:
        number = result.fileno()
        done = subprocess.run(
            [*command, str(number), level],
            capture_output=True,
            timeout=30,
            pass_fds=[number],
            env={**os.environ, "PYTHONUNBUFFERED": ""},  # as a daemon has it
        )
        assert done.returncode == 0, done.stderr.decode()
        result.seek(0)
        records = map(json.loads, result.read().splitlines())
        return [(each["service"], each["level"], each["message"]) for each in records], done


def said(program: str, level: str = "info") -> list[LogRecord]:
    """What a program logs by the buffer; it must write nothing to its own descriptors."""
    records, done = run(program, level)
    assert (done.stdout, done.stderr) == (b"", b"")
    return records


class TestPrints:
    def test_levels(self) -> None:
        """Standard output is information, standard error a warning, a line a record."""
        assert said("print('one\\ntwo'); print('three', file=sys.stderr)") == [
            ("worker", "info", "one"),
            ("worker", "info", "two"),
            ("worker", "warn", "three"),
        ]

    def test_line_by_line(self) -> None:
        """What is written in bits is one record when the line is complete."""
        program = (
            "for bit in 'a', '', 'b\\nc', 'd', '\\n', '\\n', 'e':\n    sys.stdout.write(bit)\n"
            "print('', end='', flush=True)\n"
        )
        assert [text for _, _, text in said(program)] == ["ab", "cd", ""]

    def test_threads_apart(self) -> None:
        """Lines that several threads print at once do not run into each other."""
        program = (
            "bar = threading.Barrier(4)\n"
            "def work(service):\n"
            "    for number in range(20):\n"
            "        for bit in service, ' ', str(number), '\\n':\n"
            "            sys.stdout.write(bit)\n"
            "            bar.wait()\n"
            "threads = [ServiceThread(target=work, args=(n,), service=n) for n in 'abcd']\n"
            "for thread in threads: thread.start()\n"
            "for thread in threads: thread.join()\n"
        )
        records = said(program)
        for service in "abcd":
            own = [text for speaker, _, text in records if speaker == service]
            assert own == [f"{service} {number}" for number in range(20)]

    def test_very_long_lines(self) -> None:
        """A line without an end is logged in pieces, and all of it."""
        program = (
            f"sys.stdout.write('x' * {3 * LONGEST_LINE} + 'y\\n')\n"
            f"for _ in range({LONGEST_LINE}): sys.stdout.write('ab')\n"
            "sys.stdout.write('\\n')\n"
        )
        texts = [text for _, _, text in said(program)]
        assert [len(text) for text in texts] == [*[LONGEST_LINE] * 3, 1, *[LONGEST_LINE] * 2]
        assert "".join(texts) == "x" * 3 * LONGEST_LINE + "y" + "ab" * LONGEST_LINE

    def test_like_a_text_stream(self) -> None:
        """What programs do with a standard stream beside writing works, or does nothing."""
        program = (
            "for stream in sys.stdout, sys.stderr:\n"
            "    stream.reconfigure(encoding='utf-8', line_buffering=True)\n"
            "    stream.flush()\n"
            "    stream.writelines(['one\\n', 'two\\n'])\n"
            "    print([stream.isatty(), stream.writable(), stream.readable(), stream.encoding,"
            " stream.closed, stream.write('four')], file=stream)\n"
            "print(sys.stdout.fileno(), sys.stderr.fileno())\n"
        )
        shown = "four[False, True, False, 'utf-8', False, 4]"
        assert [text for _, _, text in said(program)] == ["one", "two", shown] * 2 + ["1 2"]

    @pytest.mark.parametrize("what", ["b'bytes'", "5", "None"])
    def test_no_text(self, what: str) -> None:
        """What is no text is refused, as by any text stream."""
        program = f"try:\n    sys.stdout.write({what})\nexcept TypeError:\n    print('refused')\n"
        assert [text for _, _, text in said(program)] == ["refused"]

    def test_binary(self) -> None:
        """Bytes go by the process's own descriptor, once they are flushed."""
        program = (
            "sys.stdout.buffer.write(b'one \\xff\\n')\nsys.stdout.flush()\n"
            "sys.stderr.buffer.write(b'two\\n')\nsys.stderr.flush()\n"
            "os.write(1, b'three\\n')\nos.system('echo four')\n"
            "sys.stdout.buffer.write(b'five\\n')\n"
        )
        records, done = run(program)
        assert records == []
        assert done.stdout == b"one \xff\nthree\nfour\nfive\n"
        assert done.stderr == b"two\n"

    def test_traceback_of_a_thread(self) -> None:
        """What kills a thread of a handler's own is logged like all that is printed."""
        program = "thread = threading.Thread(target=lambda: 1 / 0); thread.start(); thread.join()"
        records = said(program)
        assert {(service, level) for service, level, _ in records} == {("worker", "warn")}
        assert records[-1][2] == "ZeroDivisionError: division by zero"


class TestLogging:
    @pytest.mark.parametrize(
        ("number", "level"),
        [
            ("logging.INFO", "info"),
            ("25", "info"),
            ("logging.WARNING", "warn"),
            ("logging.ERROR", "error"),
            ("logging.CRITICAL", "critical"),
            ("60", "critical"),
        ],
    )
    def test_levels(self, number: str, level: str) -> None:
        """Every level of ``logging`` is the next lower one of Twisted's."""
        program = f"logging.getLogger('my.module').log({number}, 'text %s', 5)"
        assert said(program) == [("worker", level, "my.module: text 5")]

    def test_debug(self) -> None:
        """What is only for debugging is logged when the configuration asks for it."""
        program = (
            "log = logging.getLogger('m')\n"
            "log.debug('one')\nlog.log(3, 'two')\n"
            "log.setLevel(logging.DEBUG)\nlog.debug('three')\n"
        )
        assert said(program) == []
        assert said(program, "debug") == [
            ("worker", "debug", f"m: {text}") for text in ("one", "two", "three")
        ]

    def test_exception(self) -> None:
        """A traceback is part of its record."""
        program = "try:\n    1 / 0\nexcept Exception:\n    logging.exception('failed')\n"
        [(service, level, text)] = said(program)
        assert (service, level) == ("worker", "error")
        assert text.startswith("root: failed\nTraceback (most recent call last):\n")
        assert text.endswith("\nZeroDivisionError: division by zero")

    def test_wrong_arguments(self) -> None:
        """A call of ``logging`` that is wrong says so, and raises nothing."""
        records = said("logging.error('%d', 'x')\nprint('goes on')")
        assert records[0] == ("worker", "warn", "--- Logging error ---")
        assert records[-1] == ("worker", "info", "goes on")

    def test_set_up_again(self) -> None:
        """A handler that configures ``logging`` as every program does changes nothing."""
        program = "logging.basicConfig(level=logging.ERROR)\nlogging.info('text')"
        assert said(program) == [("worker", "info", "root: text")]

    def test_own_stream(self) -> None:
        """A handler of ``logging`` on standard error is logged once more, as a print."""
        program = (
            "log = logging.getLogger('m')\nlog.propagate = False\n"
            "log.addHandler(logging.StreamHandler())\nlog.error('text')\n"
        )
        assert said(program) == [("worker", "warn", "text")]


class TestEvents:
    def test_levels(self) -> None:
        """An event of twisted.logger keeps its level and text."""
        program = (
            "from twisted.logger import Logger\nlog = Logger()\n"
            "for level in 'debug', 'info', 'warn', 'error', 'critical':\n"
            "    getattr(log, level)('text {number}', number=5)\n"
        )
        assert said(program, "debug") == [
            ("worker", level, "text 5") for level in ("debug", "info", "warn", "error", "critical")
        ]

    def test_failure(self) -> None:
        """A failure's traceback is part of its record."""
        program = (
            "from twisted.logger import Logger\ntry:\n    1 / 0\nexcept Exception:\n"
            "    Logger().failure('it failed')\n"
        )
        [(service, level, text)] = said(program)
        assert (service, level) == ("worker", "critical")
        assert text.startswith("it failed\nTraceback (most recent call last):\n")

    def test_legacy(self) -> None:
        """What says its words to ``twisted.python.log`` is heard, too."""
        assert said("from twisted.python import log\nlog.msg('text')") == [
            ("worker", "info", "text")
        ]


class TestLevel:
    @pytest.mark.parametrize("least", ["debug", "info", "warn", "error", "critical"])
    def test_of_the_configuration(self, least: str) -> None:
        """However it is said, what is below the level is not logged."""
        program = (
            "from twisted.logger import Logger\nlog = Logger()\n"
            "for level in 'debug', 'info', 'warn', 'error', 'critical':\n"
            "    getattr(log, level)('event')\n"
            "for number in 10, 20, 30, 40, 50:\n"
            "    logging.log(number, 'record')\n"
            "print('printed')\nprint('printed', file=sys.stderr)\n"
        )
        levels = ["debug", "info", "warn", "error", "critical"]
        everything = [
            *(("worker", level, "event") for level in levels),
            *(("worker", level, "root: record") for level in levels),
            ("worker", "info", "printed"),
            ("worker", "warn", "printed"),
        ]
        wanted = levels[levels.index(least) :]
        assert said(program, least) == [record for record in everything if record[1] in wanted]

    def test_of_another_configuration(self) -> None:
        """A level that is set later holds for all ways to say something."""
        program = (
            "from twisted.logger import Logger\nlog = Logger()\n"
            "from netd.log.capture import set_level\n"
            "for level in 'debug', 'error', 'info':\n"
            "    log_buffer.change(WorkerLog('json', level))\n"
            "    set_level(level)\n"
            "    log.debug('event')\n    logging.debug('record')\n    print('printed')\n"
        )
        assert [text for _, _, text in said(program)] == [
            *("event", "root: record", "printed"),
            "printed",
        ]

    def test_nothing_is_formatted_in_vain(self) -> None:
        """What nobody will read costs no text: neither of an event nor of a record."""
        program = (
            "from twisted.logger import Logger\n"
            "class Shown:\n    def __format__(self, _):\n"
            "        print('formatted', file=sys.stderr)\n        return 'shown'\n"
            "    __str__ = lambda self: format(self)\n"
            "for say in Logger().info, Logger().warn: say('event {what}', what=Shown())\n"
            "for say in logging.info, logging.warning: say('record %s', Shown())\n"
        )
        assert [text for _, _, text in said(program, "warn")] == [
            *("formatted", "event shown"),
            *("formatted", "root: record shown"),
        ]


class TestSpeaker:
    def test_thread_of_a_service(self) -> None:
        """Prints, ``logging`` and events of a pool's thread are its service's."""
        program = (
            "from twisted.logger import Logger\n"
            "def work():\n    print('one')\n    logging.warning('two')\n"
            "    Logger().error('three')\n"
            "in_thread('time', work)\nin_thread('date', work)\nwork()\n"
        )
        assert said(program) == [
            (service, *rest)
            for service in ("time", "date", "worker")
            for rest in (("info", "one"), ("warn", "root: two"), ("error", "three"))
        ]

    def test_names(self) -> None:
        """A thread of the pool speaks for its service, any other one for the worker."""
        speaker = Speaker("worker")
        names: list[str] = []
        thread = ServiceThread(target=lambda: names.append(speaker()), service="time", name="t")
        thread.start()
        thread.join()
        assert [*names, speaker()] == ["time", "worker"]
        assert (thread.name, thread.daemon) == ("t", True)
