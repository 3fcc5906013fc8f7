"""The environment of a service's processes, as its handlers see it under a real daemon."""

from __future__ import annotations

import json
import os
import pwd
import resource
from pathlib import Path
from typing import Any

import pytest

from tests.integration.daemons import Project, RunningDaemon
from tests.integration.test_workers import nobody_can_run_python

FACTS = """
    import json, os, resource, time
    from socketserver import BaseRequestHandler

    AT_IMPORT = [os.environ.get("GREETING"), os.getcwd()]

    class Facts(BaseRequestHandler):
        def handle(self):
            mask = os.umask(0)
            os.umask(mask)
            facts = {
                "nice": os.nice(0),
                "umask": mask,
                "directory": os.getcwd(),
                "environment": dict(os.environ),
                "at import": AT_IMPORT,
                "hour": time.localtime(0).tm_hour,
                "nofile": resource.getrlimit(resource.RLIMIT_NOFILE),
                "core": resource.getrlimit(resource.RLIMIT_CORE),
                "groups": os.getgroups(),
                "uid": os.getresuid(),
            }
            self.request.sendall(json.dumps(facts).encode())

    class Greedy(BaseRequestHandler):
        def handle(self):
            try:
                bytearray(1 << 30)
            except MemoryError:
                self.request.sendall(b"no memory")
"""

PLAIN = """
    [services.plain]
    listen = ["tcp:0:interface=127.0.0.1"]
    handler = "facts:Facts"
"""

OTHER = """
    [services.other]
    listen = ["tcp:0:interface=127.0.0.1"]
    handler = "facts:Facts"
    umask = "027"
    nice = 19
    working_directory = "data"
    environment = {GREETING = "hello", TZ = "XYZ-7"}
    rlimits = {nofile = [200, 300], core = 0}
"""


def facts(daemon: RunningDaemon, service: str) -> dict[str, Any]:
    found: dict[str, Any] = json.loads(daemon.ask(service=service))
    return found


@pytest.fixture
def configured(project: Project) -> Project:
    (project.directory / "data").mkdir()
    project.handlers(FACTS, "facts")
    return project


class TestEnvironment:
    def test_is_the_services_own(self, configured: Project) -> None:
        """A service has what its keys say, and the one beside it what the daemon has."""
        configured.configure(PLAIN + OTHER)
        daemon = configured.start(env={**os.environ, "TZ": "UTC"})
        data = str(configured.directory / "data")
        other = facts(daemon, "other")
        assert (other["nice"], other["umask"], other["directory"]) == (19, 0o27, data)
        assert other["at import"] == ["hello", data]
        assert other["hour"] == 7
        assert other["environment"]["PATH"] == os.environ["PATH"]
        assert (other["nofile"], other["core"]) == ([200, 300], [0, 0])
        plain = facts(daemon, "plain")
        status = Path(f"/proc/{daemon.pid}/status").read_text()
        assert plain["umask"] == int(status.partition("Umask:")[2].split()[0], 8)
        assert plain["nice"] == os.getpriority(os.PRIO_PROCESS, daemon.pid)
        assert plain["directory"] == os.readlink(f"/proc/{daemon.pid}/cwd")
        assert plain["hour"] == 0
        assert "GREETING" not in plain["environment"]
        assert tuple(plain["nofile"]) == resource.prlimit(daemon.pid, resource.RLIMIT_NOFILE)

    @pytest.mark.long
    def test_of_the_next_worker_is_the_same(self, configured: Project) -> None:
        """A worker that replaces another one enters it, too."""
        configured.handlers(
            FACTS + "\n    class Ends(BaseRequestHandler):\n"
            "        def handle(self):\n            os._exit(1)\n",
            "facts",
        )
        ends = OTHER.replace("other", "ends").replace("Facts", "Ends")
        shared = '[services.other]\n    worker = "ends"'
        configured.configure(ends + OTHER.replace("[services.other]", shared))
        daemon = configured.start()
        before = facts(daemon, "other")
        daemon.ask(service="ends")
        daemon.log.wait("worker ends .* ended with status 1")
        assert facts(daemon, "other") == before

    @pytest.mark.long
    def test_memory_has_its_bound(self, configured: Project) -> None:
        """A handler that wants more than its limit gets MemoryError, and its worker lives."""
        configured.configure(PLAIN.replace("Facts", "Greedy") + '    rlimits = {as = "900MiB"}\n')
        daemon = configured.start()
        assert daemon.ask() == b"no memory"
        assert daemon.ask() == b"no memory"
        assert daemon.stop() == 0
        assert not daemon.log.matching("ended with")

    @pytest.mark.long
    @pytest.mark.skipif(os.getuid() != 0, reason="only root can become another user")
    def test_together_with_a_user(self, configured: Project) -> None:
        """What needs root's rights is had all the same, and no group of root's is left."""
        if not nobody_can_run_python():
            pytest.skip("the user nobody cannot read this Python, or netd, here")
        configured.configure(OTHER.replace("nice = 19", 'nice = -5\n    user = "nobody"'))
        daemon = configured.start()
        found = facts(daemon, "other")
        assert found["uid"] == [pwd.getpwnam("nobody").pw_uid] * 3
        assert found["groups"] == []
        assert found["nice"] == -5


class TestCheck:
    @pytest.mark.long
    def test_imports_in_it(self, configured: Project) -> None:
        """A module that needs its variables and its directory is not refused for want of them."""
        (configured.directory / "data" / "needed").touch()
        configured.handlers("import os\nos.stat('needed')\nos.environ['GREETING']\n" + TIME, "m")
        configured.configure(OTHER.replace("facts:Facts", "m:Time"))
        assert configured.check().returncode == 0

    def test_imports_within_its_limits(self, configured: Project) -> None:
        """A module that needs more than the service may have is refused by check."""
        configured.handlers("x = bytearray(1 << 30)\n" + TIME, "m")
        configured.configure(
            PLAIN.replace("facts:Facts", "m:Time") + '    rlimits = {as = "900MiB"}\n'
        )
        done = configured.check()
        assert done.returncode == 78
        assert "m.py:1: MemoryError" in done.stderr

    @pytest.mark.long
    def test_directory_of_somebody_else(self, configured: Project) -> None:
        """A directory that the service's user cannot enter is a problem of its key."""
        if os.getuid() != 0 or not nobody_can_run_python():
            pytest.skip("only root can become another user, who must be able to read netd")
        (configured.directory / "data").chmod(0o700)
        configured.configure(OTHER + '    user = "nobody"\n')
        done = configured.check()
        assert done.returncode == 78
        data = configured.directory / "data"
        assert f"services.other.working_directory: uid 65534 cannot enter {data}" in done.stderr

    @pytest.mark.long
    @pytest.mark.skipif(os.getuid() != 0, reason="only root has rights to give up")
    def test_rights_that_twistd_gives_up(self, configured: Project) -> None:
        """With --uid, what needs root's rights is a problem, said before anything is bound."""
        if not nobody_can_run_python():
            pytest.skip("the user nobody cannot read this Python, or netd, here")
        configured.configure(OTHER.replace("nice = 19", "nice = -5"))
        nice = os.getpriority(os.PRIO_PROCESS, 0)
        daemon = configured.launch("--uid", "nobody", "--gid", "nogroup")
        assert daemon.wait() == 78
        assert daemon.log.text == (
            f"{configured.file}:7: services.other.nice: is below {nice}, which netd itself has: "
            "twistd's --uid gives up the right to do so"
        )


TIME = """
from socketserver import BaseRequestHandler
class Time(BaseRequestHandler):
    pass
"""
