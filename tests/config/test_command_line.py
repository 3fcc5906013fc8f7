"""``netd.config.command_line``: one service from a command line."""

from __future__ import annotations

from collections.abc import Sequence

import pytest

from netd.config.command_line import configuration
from netd.model.address import InetAddress, Transport, UnixAddress
from netd.model.problem import ConfigurationError
from netd.model.service import Reference, Runs


def problems(handler: str | None, listen: Sequence[str]) -> list[str]:
    with pytest.raises(ConfigurationError) as caught:
        configuration(handler, listen, "/srv")
    return str(caught.value).splitlines()


class TestConfiguration:
    def test_has_one_service(self) -> None:
        """With modules and paths from where the command was typed."""
        found = configuration("timeserver:TimeServer", ["tcp:10037", "unix:time"], "/srv")
        (service,) = found.services
        assert service.name == "TimeServer"
        assert service.runs == Runs("handler", Reference("timeserver", "TimeServer"))
        assert service.listen == (
            InetAddress(Transport.TCP, 10037),
            UnixAddress(Transport.UNIX, "/srv/time"),
        )
        assert found.python_path == ("/srv",)

    def test_knows_the_option_of_every_key(self) -> None:
        """Where a problem is that only an import shows."""
        places = configuration("m:C", ["tcp:0"], "/srv").locations
        assert places["services.C.handler"] == ("--handler", 0)
        assert places["services.C.listen"] == ("--listen", 0)
        assert places["services.C"] == places[""] == ("--handler", 0)
        places = configuration("m:listen", ["tcp:0"], "/srv").locations
        assert places["services.listen.handler"] == ("--handler", 0)

    @pytest.mark.parametrize("handler", ["m:_C", "m:É"])
    def test_of_a_class_that_cannot_name_a_service(self, handler: str) -> None:
        """The service has a name all the same."""
        (service,) = configuration(handler, ["tcp:0"], "/srv").services
        assert service.name == "handler"


class TestProblems:
    @pytest.mark.parametrize(
        ("handler", "listen", "expected"),
        [
            (
                "m:C",
                [],
                ['--listen: services.C.listen: is required: where it listens, like ["tcp:10037"]'],
            ),
            (
                None,
                ["tcp:0"],
                ['--handler: is required beside --listen: the class to serve, "module:Class"'],
            ),
            (
                "m:C:D",
                ["tcp:x", "tcp:0"],
                [
                    '--handler: services.D.handler: must be "module:Class", not "m:C:D"',
                    '--listen: services.D.listen: port "x" is not a number from 0 to 65535',
                ],
            ),
            (
                "m:C",
                ["tcp:1", "tcp:1"],
                [
                    "--listen: services.C.listen: tcp:1 is listened on by services.C already:"
                    " take another"
                ],
            ),
        ],
    )
    def test_stand_at_their_option(
        self, handler: str | None, listen: Sequence[str], expected: list[str]
    ) -> None:
        """All of them, as of a file, with the option where a file has its name and line."""
        assert problems(handler, listen) == expected
