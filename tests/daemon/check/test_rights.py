"""``netd.daemon.check.rights``: what a daemon cannot give to a service."""

from __future__ import annotations

import os
import resource

import pytest

from netd.daemon.check.rights import Rights, lacking
from netd.model.environment import INHERITED, UNLIMITED, ExecutionEnvironment, Limit
from netd.model.service import Owner

FEW = Rights("only root can do so", 0, {"nofile": 4096, "core": UNLIMITED})
ALL = Rights(None, 0, {"nofile": 4096, "core": UNLIMITED})

ABOVE = "is above 4096, netd's own hard limit: only root can do so"


class TestLacking:
    @pytest.mark.parametrize(
        "environment",
        [
            INHERITED,
            ExecutionEnvironment(umask=0, working_directory="/", variables=(("A", "b"),)),
            ExecutionEnvironment(nice=0),
            ExecutionEnvironment(nice=19),
            ExecutionEnvironment(limits=(Limit("nofile", 1, 4096),)),
            ExecutionEnvironment(limits=(Limit("core", UNLIMITED, UNLIMITED),)),
        ],
    )
    def test_nothing(self, environment: ExecutionEnvironment) -> None:
        """Lower priority and lower limits need no right."""
        assert list(lacking(environment, FEW)) == []

    @pytest.mark.parametrize(
        ("environment", "key", "why"),
        [
            (
                ExecutionEnvironment(nice=-1),
                "nice",
                "is below 0, which netd itself has: only root can do so",
            ),
            (ExecutionEnvironment(limits=(Limit("nofile", 1, 4097),)), "rlimits.nofile", ABOVE),
            (
                ExecutionEnvironment(limits=(Limit("nofile", 1, UNLIMITED),)),
                "rlimits.nofile",
                ABOVE,
            ),
        ],
    )
    def test_something(self, environment: ExecutionEnvironment, key: str, why: str) -> None:
        """What favours a process needs one, and the key says which."""
        assert list(lacking(environment, FEW)) == [(key, why)]
        assert list(lacking(environment, ALL)) == []

    def test_all_of_it(self) -> None:
        """All keys that need more rights are reported together."""
        environment = ExecutionEnvironment(nice=-1, limits=(Limit("nofile", 1, 5000),))
        assert [key for key, _ in lacking(environment, FEW)] == ["nice", "rlimits.nofile"]


class TestRights:
    def test_hard_limits(self) -> None:
        """They are this process's own, each by the name of its key."""
        hard = Rights.of_daemon(Owner()).hard
        assert hard["nofile"] == resource.getrlimit(resource.RLIMIT_NOFILE)[1]
        assert hard["as"] == resource.getrlimit(resource.RLIMIT_AS)[1]

    def test_nice(self) -> None:
        """Without a right to more a process can be as favoured as this one."""
        assert Rights.of_daemon(Owner()).least_nice <= os.getpriority(os.PRIO_PROCESS, 0)

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root has something to give up")
    def test_given_up(self) -> None:
        """twistd's --uid gives root's rights up, unless it says root; --gid does not."""
        why = "twistd's --uid gives up the right to do so"
        assert Rights.of_daemon(Owner(65534, 65534)).lack == why
        for kept in (Owner(), Owner(0, 0), Owner(gid=65534)):
            assert Rights.of_daemon(kept).lack is None
