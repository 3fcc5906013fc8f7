"""``netd.worker.privilege``: becoming somebody else, in processes that can afford it."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from typing import Any

import pytest

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

NOBODY = 65534

PROGRAM = f"""
import json, os
from netd.model.service import Owner
from netd.worker.privilege import NotDropped, drop

def become(uid):
    os.setgroups([uid])
    os.setresgid(uid, uid, uid)
    os.setresuid(uid, uid, uid)

def tried(call, *arguments):
    try:
        call(*arguments)
    except (OSError, NotDropped) as error:
        return type(error).__name__ + ": " + (getattr(error, "strerror", None) or str(error))
    return None

def ids():
    return [os.getresuid(), os.getresgid(), sorted(os.getgroups())]

NOBODY = {NOBODY}
"""


def printed(program: str) -> Any:
    """The JSON that a program prints, run in a process of its own."""
    command = [sys.executable, "-P", "-c", PROGRAM + program]
    done = subprocess.run(command, capture_output=True, text=True, timeout=30)
    assert done.stderr == ""
    return json.loads(done.stdout)


@AS_ROOT
class TestDrop:
    def test_all_ids(self) -> None:
        """Real, effective and saved ids are the owner's, and no supplementary group is left."""
        program = "os.setgroups([4, 24, 27]); drop(Owner(NOBODY, 1234)); print(json.dumps(ids()))"
        assert printed(program) == [[NOBODY] * 3, [1234] * 3, []]

    def test_cannot_come_back(self) -> None:
        """Nothing that was root's can be had again, by any call."""
        program = (
            "drop(Owner(NOBODY, NOBODY))\n"
            "print(json.dumps([tried(os.setuid, 0), tried(os.setresuid, -1, 0, -1),"
            " tried(os.setgid, 0), tried(os.setgroups, [0]), ids()]))"
        )
        denied = "PermissionError: Operation not permitted"
        assert printed(program) == [*[denied] * 4, [[NOBODY] * 3, [NOBODY] * 3, []]]

    def test_files_belong_to_him(self) -> None:
        """What only root can read cannot be read afterwards."""
        program = "drop(Owner(NOBODY, NOBODY)); print(json.dumps(tried(open, '/etc/shadow')))"
        assert printed(program) == "PermissionError: Permission denied"

    def test_only_a_group(self) -> None:
        """A group alone leaves the user, and takes all other groups away."""
        program = "os.setgroups([4, 24]); drop(Owner(gid=1234)); print(json.dumps(ids()))"
        assert printed(program) == [[0] * 3, [1234] * 3, []]

    def test_only_a_user(self) -> None:
        """A user alone leaves the group, as far as this function goes."""
        program = "os.setgroups([4]); drop(Owner(uid=NOBODY)); print(json.dumps(ids()))"
        assert printed(program) == [[NOBODY] * 3, [0] * 3, []]

    def test_root_by_name(self) -> None:
        """Who is asked to run as root is root without the groups that its starter had."""
        program = "os.setgroups([4, 24]); drop(Owner(0, 0)); print(json.dumps(ids()))"
        assert printed(program) == [[0] * 3, [0] * 3, []]

    def test_capabilities(self) -> None:
        """A process that keeps its capabilities could come back, and so must not go on."""
        program = (
            "import ctypes\n"
            "NO_SETUID_FIXUP, PR_SET_SECUREBITS = 4, 28\n"
            "kept = ctypes.CDLL(None).prctl(PR_SET_SECUREBITS, NO_SETUID_FIXUP, 0, 0, 0) == 0\n"
            "print(json.dumps([kept, tried(drop, Owner(NOBODY, NOBODY))]))"
        )
        kept, said = printed(program)
        if not kept:
            pytest.skip("this system does not let root keep its capabilities")
        assert said == f"NotDropped: could become root again from uid {NOBODY}"


class TestNothingToDo:
    def test_nobody_named(self) -> None:
        """Without a user or a group the process stays what it is, groups and all."""
        program = "before = ids(); drop(Owner()); print(json.dumps([before, ids()]))"
        before, after = printed(program)
        assert before == after

    def test_who_it_is_already(self) -> None:
        """Without any rights a process can at least stay what it is."""
        program = (
            "os.geteuid() == 0 and become(NOBODY)\nbefore = ids()\nuid, gid = os.geteuid(), "
            "os.getegid()\n"
            "for owner in Owner(uid, gid), Owner(uid), Owner(gid=gid):\n    drop(owner)\n"
            "print(json.dumps([before, ids()]))"
        )
        before, after = printed(program)
        assert before == after


class TestNotDropped:
    @pytest.mark.parametrize(
        ("owner", "whom"),
        [
            ("Owner(0, 0)", "uid 0, gid 0"),
            ("Owner(1234, 1234)", "uid 1234, gid 1234"),
            ("Owner(os.geteuid(), 0)", "uid {uid}, gid 0"),
        ],
    )
    def test_no_right(self, owner: str, whom: str) -> None:
        """Who has no right to become somebody else is told so, with whom and why."""
        program = (
            "os.geteuid() == 0 and become(NOBODY)\n"
            f"print(json.dumps([tried(drop, {owner}), os.geteuid()]))"
        )
        said, uid = printed(program)
        assert said == (
            f"NotDropped: cannot become {whom.format(uid=uid)}: Operation not permitted"
        )
