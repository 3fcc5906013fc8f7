"""``netd.worker.build.plugins``: finding a twistd plugin, reading its arguments, and running it."""

from __future__ import annotations

from collections.abc import Sequence
from typing import Any

import pytest
from twisted.application.service import Service
from twisted.internet.defer import Deferred

from netd.model.service import Plugin
from netd.worker.build.plugins import (
    BadArguments,
    HostedPlugin,
    NoSuchPlugin,
    find_maker,
    parse_arguments,
)

pytestmark = pytest.mark.filterwarnings("ignore::DeprecationWarning:twisted")
"""Of Twisted's own plugin for the web, by Twisted."""


def test_found() -> None:
    assert find_maker("web").tapname == "web"


@pytest.mark.parametrize(
    ("name", "hint"),
    [("wbe", 'did you mean "web"?'), ("xyzzy", "there are "), ("netd", "")],
)
def test_not_found(name: str, hint: str) -> None:
    """netd's own is none that could be hosted."""
    with pytest.raises(NoSuchPlugin) as caught:
        find_maker(name)
    assert str(caught.value).startswith(f'there is no twistd plugin "{name}"; ')
    assert hint in str(caught.value)
    assert '"netd"' not in str(caught.value).partition("; ")[2]


def test_good_arguments() -> None:
    maker, options = parse_arguments(Plugin("web", ("--listen", "tcp:8080", "--path", "/srv")))
    assert maker.tapname == "web"
    assert options["ports"] == ["tcp:8080"]


@pytest.mark.parametrize(
    ("arguments", "why"),
    [
        (("--prot", "1"), "web: option --prot not recognized"),
        (("--help",), "web: an argument makes it print and leave"),
        (("--version",), "web: an argument makes it print and leave"),
        (("stray",), "web: "),
    ],
)
def test_bad_arguments(
    arguments: Sequence[str], why: str, capsys: pytest.CaptureFixture[str]
) -> None:
    """Each is an error with the plugin's own words, and prints nothing."""
    with pytest.raises(BadArguments) as caught:
        parse_arguments(Plugin("web", tuple(arguments)))
    assert str(caught.value).startswith(why)
    assert capsys.readouterr() == ("", "")


class Recorded(Service):
    """A service that says what it was told."""

    def __init__(self, ending: Any = None) -> None:
        self.told: list[str] = []
        self._ending = ending

    def privilegedStartService(self) -> None:
        self.told.append("privileged")
        super().privilegedStartService()

    def startService(self) -> None:
        self.told.append("start")
        super().startService()

    def stopService(self) -> Any:
        self.told.append("stop")
        super().stopService()
        if isinstance(self._ending, Exception):
            raise self._ending
        return self._ending


class Hosted(HostedPlugin):
    """Of a service that a test has made."""

    def __init__(self, service: Recorded) -> None:
        self.said: list[str] = []
        self._name = "recorded"
        self._say = lambda level, text: self.said.append(f"{level}: {text}")
        self._service = service


class TestHosting:
    def test_start_as_twistd_does(self) -> None:
        service = Recorded()
        Hosted(service).start()
        assert service.told == ["privileged", "start"]

    def test_stop_waits_for_its_deferred(self) -> None:
        ending: Deferred[None] = Deferred()
        hosted = Hosted(Recorded(ending))
        stopped: list[bool] = []
        hosted.start()
        hosted.stop(lambda: stopped.append(True))
        assert stopped == []
        ending.callback(None)
        assert stopped == [True]

    def test_a_stop_that_fails_is_a_stop(self) -> None:
        hosted = Hosted(Recorded(ValueError("as told")))
        stopped: list[bool] = []
        hosted.start()
        hosted.stop(lambda: stopped.append(True))
        assert stopped == [True]
        assert hosted.said == ["error: plugin recorded: stopService() raised as told"]

    def test_suspending_is_not_for_it(self) -> None:
        service = Recorded()
        hosted = Hosted(service)
        hosted.start()
        hosted.suspend()
        hosted.resume()
        assert hosted.said == ["warn: plugin recorded cannot be suspended: it listens for itself"]
        assert service.told == ["privileged", "start"]
