"""``netd.daemon.check.check``: a file in, a configuration or every problem of it out."""

from __future__ import annotations

import json
import os
import subprocess
import sys
from pathlib import Path

import pytest

from netd.daemon.check.check import check, check_rights
from netd.model.problem import ConfigurationError
from netd.model.service import Configuration, Owner, Reference, Runs, Service

AS_ROOT = pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")

STREAM = "from socketserver import StreamRequestHandler\nclass H(StreamRequestHandler): pass\n"


class Project:
    """A directory with a configuration and its handlers."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "handlers").mkdir()
        self.module("m", STREAM)

    def module(self, name: str, text: str) -> None:
        (self.directory / "handlers" / f"{name}.py").write_text(text)

    def configure(self, text: str, name: str = "netd.toml") -> str:
        if name == "netd.toml":
            text = f'python_path = ["handlers"]\n{text}'
        (self.directory / name).write_text(text)
        return str(self.directory / name)

    def problems(self, text: str) -> list[str]:
        """All that is wrong with a configuration, as it is printed, without the directory."""
        with pytest.raises(ConfigurationError) as caught:
            check(self.configure(text))
        return [line.replace(f"{self.directory}/", "") for line in str(caught.value).split("\n")]


@pytest.fixture
def project(tmp_path: Path) -> Project:
    return Project(tmp_path)


class TestCheck:
    def test_right(self, project: Project) -> None:
        """What a file says is returned when all of it can be run."""
        file = project.configure('[services.time]\nhandler = "m:H"\nlisten = ["tcp:0"]\n')
        configuration = check(file)
        assert configuration.file == file
        assert [service.name for service in configuration.services] == ["time"]

    def test_without_services(self, project: Project) -> None:
        """A file without services is no reason to start a probe."""
        with pytest.raises(ConfigurationError) as caught:
            check(project.configure(""))
        assert "probe" not in str(caught.value)

    def test_the_files_problems_first(self, project: Project) -> None:
        """Nothing is imported for a configuration that cannot be read."""
        project.module("m", f"open('{project.directory}/imported', 'w')")
        text = '[services.time]\nhandler = "m:H"\nlisten = ["tpc:0"]\n'
        [problem] = project.problems(text)
        assert problem.startswith("netd.toml:4: services.time.listen")
        assert not (project.directory / "imported").exists()

    def test_handler(self, project: Project) -> None:
        """What is wrong with a handler stands at the line that names it."""
        text = '[services.time]\nlisten = ["tcp:0"]\n\nhandler = "m:Handler"\n'
        assert project.problems(text) == [
            'netd.toml:5: services.time.handler: module "m" (handlers/m.py) has no "Handler"'
        ]

    def test_misfit(self, project: Project) -> None:
        """A handler that cannot serve what is listened on stands there, too."""
        text = '[services.time]\nhandler = "m:H"\nlisten = ["tcp:0", "udp:0"]\n'
        assert project.problems(text) == [
            'netd.toml:3: services.time.handler: "m:H" is for streams and cannot serve datagrams,'
            " which udp:0 listens for"
        ]

    @pytest.mark.parametrize(
        "text",
        [
            'access.verify_request = "m:admit"\nhandler = "m:H"\nlisten = ["tcp:0"]\n',
            'access = { verify_request = "m:admit" }\nhandler = "m:H"\nlisten = ["tcp:0"]\n',
        ],
    )
    def test_filter(self, project: Project, text: str) -> None:
        """What is wrong with a filter stands at its own line, however its table is written."""
        assert project.problems("[services.time]\n" + text) == [
            "netd.toml:3: services.time.access.verify_request: "
            'module "m" (handlers/m.py) has no "admit"'
        ]

    def test_quoted_name(self, project: Project) -> None:
        """A service whose name has a dot is found like any other."""
        text = '[services."a.b"]\nlisten = ["tcp:0"]\nhandler = "m:Handler"\n'
        [problem] = project.problems(text)
        assert problem.startswith('netd.toml:4: services."a.b".handler: ')

    def test_from_the_defaults(self, project: Project) -> None:
        """A key that a service has from the defaults is one of the service's."""
        text = '[defaults]\nhandler = "m:Handler"\n[services.time]\nlisten = ["tcp:0"]\n'
        [problem] = project.problems(text)
        assert problem.endswith('module "m" (handlers/m.py) has no "Handler"')
        assert problem.startswith(("netd.toml:3: ", "netd.toml:4: "))

    def test_all_at_once(self, project: Project) -> None:
        """Every service's problem is said, each in its file."""
        project.module("raises", "\n1 / 0\n")
        project.configure(
            '[services.three]\nhandler = "none:H"\nlisten = ["unix:s"]\n', "more.toml"
        )
        text = (
            'include = ["more.toml"]\n'
            '[services.one]\nhandler = "raises:H"\nlisten = ["unix:a"]\n'
            '[services.two]\nhandler = "m:H"\nlisten = ["unix:b"]\n'
        )
        handlers = project.directory / "handlers"
        with pytest.raises(ConfigurationError) as caught:
            check(project.configure(text))
        assert str(caught.value).split("\n") == [
            f'{project.directory}/netd.toml:4: services.one.handler: importing "raises": '
            f"{handlers}/raises.py:2: ZeroDivisionError: division by zero",
            f"{project.directory}/more.toml:2: services.three.handler: "
            f'there is no module "none" ({handlers})',
        ]

    def test_one_line_each(self, project: Project) -> None:
        """Whatever a module raises, its problem is one line."""
        project.module("m", "raise ValueError('one\\ntwo\\r\\x1b[31mthree')\n")
        text = '[services.time]\nhandler = "m:H"\nlisten = ["tcp:0"]\n'
        assert len(project.problems(text)) == 1

    def test_the_probe_dies(self, project: Project) -> None:
        """When nothing can be tried, that is a problem of the file's, and no traceback."""
        project.module("m", "import os\nos.kill(os.getppid(), 9)\n")
        text = '[services.time]\nhandler = "m:H"\nlisten = ["tcp:0"]\n'
        assert project.problems(text) == [
            "netd.toml:1: what the services run cannot be imported: "
            "the probe process ended with signal SIGKILL"
        ]

    @AS_ROOT
    def test_owner(self, project: Project) -> None:
        """Handlers are imported as the user that twistd will run them as."""
        project.module("m", "import os\nraise OSError(os.getgid())\n")
        text = '[services.time]\nhandler = "m:H"\nlisten = ["tcp:0"]\n'
        with pytest.raises(ConfigurationError, match="OSError: 65534"):
            check(project.configure(text), Owner(gid=65534))


RUNS = Runs("handler", Reference("m", "H"))


def configuration(*owners: Owner) -> Configuration:
    """Services with these users, each table three lines after the one before."""
    services = tuple(
        Service(f"s{number}", (), RUNS, f"s{number}", owner=owner)
        for number, owner in enumerate(owners)
    )
    places = {}
    for number in range(len(owners)):
        places[f"services.s{number}"] = ("netd.toml", 1 + 3 * number)
        places[f"services.s{number}.user"] = ("netd.toml", 2 + 3 * number)
    return Configuration("netd.toml", services, locations=places)


AS_NOBODY = """
import json, os
from netd.daemon.check.check import check_rights
from netd.model.problem import ConfigurationError
from netd.model.service import Owner
from tests.daemon.check.test_check import configuration

if os.geteuid() == 0:
    os.setgroups([])
    os.setresgid(65534, 65534, 65534)
    os.setresuid(65534, 65534, 65534)
uid, gid = os.geteuid(), os.getegid()
try:
    check_rights(configuration(%s), Owner())
except ConfigurationError as error:
    print(json.dumps([uid, str(error).splitlines()]))
else:
    print(json.dumps([uid, []]))
"""


def problems_of_nobody(owners: str) -> tuple[int, list[str]]:
    """The uid of a user that is not root, and the problems of services with these users."""
    root = str(Path(__file__).parents[3])
    done = subprocess.run(
        [sys.executable, "-c", AS_NOBODY % owners],
        capture_output=True,
        text=True,
        timeout=30,
        cwd=root,
    )
    assert done.stderr == ""
    uid, problems = json.loads(done.stdout)
    return uid, problems


class TestRights:
    @AS_ROOT
    def test_root(self) -> None:
        """Root, and root's daemon, can become any user."""
        check_rights(configuration(Owner(), Owner(1000, 1000), Owner(gid=5)), Owner())

    def test_nobody_named(self) -> None:
        """A service that names no user needs no rights, whatever twistd's options are."""
        check_rights(configuration(Owner()), Owner(1000, 1000))

    def test_twistd_gives_them_up(self) -> None:
        """With twistd's --uid or --gid every service's user is a problem, at its line."""
        services = configuration(Owner(1000, 1000), Owner(), Owner(gid=5))
        for owner in (Owner(1000, 1000), Owner(gid=1000)):
            with pytest.raises(ConfigurationError) as caught:
                check_rights(services, owner)
            why = "twistd's --uid and --gid give up the right to become another user"
            assert str(caught.value).splitlines() == [
                f"netd.toml:2: services.s0.user: {why}",
                f"netd.toml:7: services.s2.group: {why}",
            ]

    def test_not_root(self) -> None:
        """Without root's rights another user is a problem, which names the uid of netd."""
        uid, problems = problems_of_nobody("Owner(1234, 1234), Owner(uid, gid + 1), Owner(gid=0)")
        why = f"only root can become another user, and netd was started by uid {uid}"
        assert problems == [
            f"netd.toml:2: services.s0.user: {why}",
            f"netd.toml:5: services.s1.user: {why}",
            f"netd.toml:7: services.s2.group: {why}",
        ]

    def test_who_it_is_already(self) -> None:
        """To run as its own user or group, netd needs no rights."""
        _, problems = problems_of_nobody("Owner(), Owner(uid, gid), Owner(gid=gid), Owner(uid)")
        assert problems == []


class TestSocketOptions:
    def test_that_the_system_refuses(self, project: Project) -> None:
        """It is tried on a socket that is bound to nothing."""
        text = (
            '[services.a]\nhandler = "m:H"\nlisten = ["tcp:0", "tcp6:0"]\n'
            '[services.a.socket]\nSO_KEEPALIVE = true\nTCP_CONGESTION = "none-such"\n'
        )
        assert project.problems(text) == [
            "netd.toml:7: services.a.socket.TCP_CONGESTION: this system refuses the value:"
            " No such file or directory"
        ]

    def test_from_the_defaults(self, project: Project) -> None:
        """Where they stand."""
        text = (
            '[defaults.socket]\nTCP_CONGESTION = "none-such"\n'
            '[services.a]\nhandler = "m:H"\nlisten = ["tcp:0"]\n'
        )
        (found,) = project.problems(text)
        assert found.startswith("netd.toml:3: services.a.socket.TCP_CONGESTION: this system")

    def test_that_need_a_right(self, project: Project) -> None:
        """check accepts it; the start of a daemon without the right does not."""
        text = '[services.a]\nhandler = "m:H"\nlisten = ["tcp:0"]\nsocket = {SO_MARK = 1}\n'
        file = project.configure(text)
        script = (
            "import os, sys\n"
            "from netd.daemon.check.check import check, check_rights\n"
            "from netd.model.service import Owner\n"
            "found = check(sys.argv[1])\n"
            "if os.geteuid() == 0: os.setgid(65534); os.setuid(65534)\n"
            "try: check_rights(found, Owner())\n"
            "except Exception as error: print(error)\n"
        )
        done = subprocess.run(
            [sys.executable, "-c", script, file], capture_output=True, text=True, check=True
        )
        assert done.stdout.replace(f"{project.directory}/", "") == (
            "netd.toml:5: services.a.socket.SO_MARK: needs a right: Operation not permitted\n"
        )
