"""``netd.worker.environment``: entering it, in processes that can afford it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

NOBODY = 65534

PROGRAM = f"""
import json, os, resource, time
from netd.model.environment import ExecutionEnvironment, Limit
from netd.model.service import Owner
from netd.worker.environment import NotEntered, enter

NOBODY = {NOBODY}

def tried(owner, **environment):
    try:
        enter(owner, ExecutionEnvironment(**environment))
    except NotEntered as error:
        return [error.key, str(error)]

def become_nobody():
    if os.geteuid() == 0:
        os.setgroups([])
        os.setresgid(NOBODY, NOBODY, NOBODY)
        os.setresuid(NOBODY, NOBODY, NOBODY)

def say(*values):
    print(json.dumps(values))
"""


def printed(program: str, **keywords: Any) -> Any:
    """The JSON that a program prints, run in a process of its own."""
    command = [sys.executable, "-P", "-c", PROGRAM + program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30, **keywords)
    assert done.stderr == ""
    return json.loads(done.stdout)


class TestEnter:
    def test_nothing(self) -> None:
        """Where nothing is said nothing changes."""
        program = (
            "def all():\n"
            "    limits = [resource.getrlimit(n) for n in range(16)]\n"
            "    ids = [os.getresuid(), os.getresgid(), os.getgroups()]\n"
            "    return [limits, ids, os.getpriority(os.PRIO_PROCESS, 0), os.getcwd(),"
            " dict(os.environ), os.umask(0o22)]\n"
            "os.umask(0o22)\nbefore = all()\n"
            "say(before, tried(Owner()), all())\n"
        )
        before, problem, after = printed(program)
        assert problem is None
        assert before == after

    def test_everything(self, tmp_path: Path) -> None:
        """Each part of it is so afterwards, and of the environment nothing else has gone."""
        program = (
            f"problem = tried(Owner(), umask=0o27, nice=19, working_directory={str(tmp_path)!r},\n"
            "    variables=(('A', 'b'), ('HOME', '')), limits=(Limit('core', 0, 0),"
            " Limit('nofile', 50, 60)))\n"
            "say(problem, os.umask(0), os.getpriority(os.PRIO_PROCESS, 0), os.getcwd(),\n"
            "    os.environ['A'], os.environ['HOME'], 'PATH' in os.environ,\n"
            "    resource.getrlimit(resource.RLIMIT_CORE),"
            " resource.getrlimit(resource.RLIMIT_NOFILE))\n"
        )
        assert printed(program) == [
            *[None, 0o27, 19, str(tmp_path), "b", "", True, [0, 0], [50, 60]],
        ]

    def test_programs_have_it_too(self) -> None:
        """What is started later inherits it."""
        program = (
            "import subprocess\n"
            "limits = (Limit('nofile', 50, 60),)\n"
            "tried(Owner(), umask=0o27, variables=(('A', 'b'),), limits=limits)\n"
            "say(subprocess.check_output(['sh', '-c', 'umask; echo $A; ulimit -n'], text=True))\n"
        )
        assert printed(program) == ["0027\nb\n50\n"]

    def test_time_zone(self) -> None:
        """The C library has looked at TZ before, and looks again."""
        program = (
            "time.localtime()\n"
            "tried(Owner(), variables=(('TZ', 'XYZ-7'),))\n"
            "say(time.tzname[0], time.localtime(0).tm_hour)\n"
        )
        assert printed(program, env={**os.environ, "TZ": "UTC"}) == ["XYZ", 7]

    @AS_ROOT
    def test_rights_are_used_before_they_are_given_up(self) -> None:
        """Root favours a process, and it has that when it is somebody else's."""
        program = (
            "problem = tried(Owner(NOBODY, NOBODY), nice=-5)\n"
            "say(problem, os.getresuid(), os.getpriority(os.PRIO_PROCESS, 0))\n"
        )
        assert printed(program) == [None, [NOBODY] * 3, -5]

    @AS_ROOT
    def test_directory_is_entered_as_the_owner(self, tmp_path: Path) -> None:
        """What only root could enter is not entered, though it is root who starts."""
        closed = tmp_path / "closed"
        closed.mkdir(mode=0o700)
        program = f"say(tried(Owner(NOBODY, NOBODY), working_directory={str(closed)!r}))\n"
        message = f"uid {NOBODY} cannot enter {closed}: Permission denied"
        assert printed(program) == [["working_directory", message]]


class TestNotEntered:
    def test_directory(self) -> None:
        """A directory that has gone since the file was read is named."""
        program = "say(tried(Owner(), working_directory='/gone'))\n"
        message = f"uid {os.geteuid()} cannot enter /gone: No such file or directory"
        assert printed(program) == [["working_directory", message]]

    def test_nice(self) -> None:
        """Nobody may favour a process."""
        program = (
            "become_nobody()\nos.setpriority(os.PRIO_PROCESS, 0, 19)\n"
            "say(tried(Owner(), nice=-1))\n"
        )
        assert printed(program) == [["nice", "cannot be set to -1, from 19: Permission denied"]]

    def test_hard_limit(self) -> None:
        """Nobody may raise a hard limit."""
        program = (
            "become_nobody()\nresource.setrlimit(resource.RLIMIT_CORE, (10, 20))\n"
            "say(tried(Owner(), limits=(Limit('core', -1, -1),)))\n"
        )
        message = "cannot be set to unlimited, from [10, 20]: not allowed to raise maximum limit"
        assert printed(program) == [["rlimits.core", message]]

    @AS_ROOT
    def test_user(self) -> None:
        """Who has no right to become somebody else is told by that key."""
        program = "become_nobody()\nsay(tried(Owner(0, 0)), tried(Owner(gid=0)))\n"
        assert [key for key, _ in printed(program)] == ["user", "group"]
