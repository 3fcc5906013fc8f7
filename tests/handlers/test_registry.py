"""``netd.handlers.registry``: handlers by name, netd's own and those of installed plugins."""

from __future__ import annotations

import os
import subprocess
import sys
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from twisted.logger import ILogObserver, LogEvent, eventAsText, globalLogPublisher
from zope.interface import implementer
from zope.interface.verify import verifyObject

from netd.handlers import registry
from netd.handlers.asynchronous import AsyncRequestHandler
from netd.handlers.registry import INamedHandler, NamedHandler, UnknownName, find
from netd.model.service import Reference
from tests.execution.reactor.hosts import PATIENCE, hosting

OWN = ["echo", "discard", "chargen", "daytime", "time"]


@pytest.fixture
def logged() -> Iterator[list[str]]:
    """What is logged meanwhile, as text."""
    texts: list[str] = []

    @implementer(ILogObserver)
    def observe(event: LogEvent) -> None:
        texts.append(eventAsText(event, includeTimestamp=False, includeSystem=False))

    globalLogPublisher.addObserver(observe)
    yield texts
    globalLogPublisher.removeObserver(observe)


def finger(name: Any = "finger", reference: Any = "fingerd:Finger") -> NamedHandler:
    return NamedHandler(name, reference, "tells who is logged in")


def nobody() -> list[Any]:
    raise AssertionError("no plugin needs to be asked")


class TestOwn:
    @pytest.mark.parametrize("name", OWN)
    def test_found(self, name: str) -> None:
        """Without looking at plugins; and there is a handler where it says."""
        reference = find(name, nobody)
        assert reference == Reference("netd.handlers.small", name.capitalize())
        module = __import__(reference.module, fromlist=[reference.name])
        assert issubclass(getattr(module, reference.name), AsyncRequestHandler)

    def test_are_named_handlers(self) -> None:
        for handler in registry.OWN:
            assert verifyObject(INamedHandler, handler)
            assert "RFC" in handler.description


class TestOthers:
    def test_found(self) -> None:
        assert find("finger", lambda: [finger()]) == Reference("fingerd", "Finger")

    def test_all(self) -> None:
        """netd's own come first, then the others by name."""
        found = registry.merged(registry.OWN, [finger("zebra"), finger("ant")])
        assert list(found) == [*OWN, "ant", "zebra"]

    @pytest.mark.parametrize(
        ("name", "text"),
        [
            ("fingr", "no handler is registered as 'fingr'; did you mean 'finger'?"),
            ("tme", "no handler is registered as 'tme'; did you mean 'time' or 'daytime'?"),
            ("nothing-like-it", "no handler is registered as 'nothing-like-it'"),
            ("", "no handler is registered as ''"),
        ],
    )
    def test_unknown(self, name: str, text: str) -> None:
        with pytest.raises(UnknownName) as caught:
            find(name, lambda: [finger()])
        assert str(caught.value) == text

    def test_reference_is_no_name(self) -> None:
        """What has a colon is not looked for among plugins."""
        with pytest.raises(UnknownName):
            find("module:Class", nobody)

    def test_same_name(self, logged: list[str]) -> None:
        """netd's own cannot be taken over; of two others one is used, always the same."""
        others = [finger(reference="b:B"), finger(reference="a:A"), finger("echo", "evil:Echo")]
        for plugins in (others, others[::-1]):
            found = registry.merged(registry.OWN, plugins)
            assert found["echo"].reference == "netd.handlers.small:Echo"
            assert found["finger"].reference == "a:A"
        assert "two handlers are called echo: netd.handlers.small:Echo is used" in logged[0]
        assert "two handlers are called finger: a:A is used, b:B is not" in logged[1]

    def test_the_same_twice(self, logged: list[str]) -> None:
        """Found on two ways: no reason for a word."""
        registry.merged((), [finger(), finger()])
        assert logged == []

    @pytest.mark.parametrize(
        ("broken", "why"),
        [
            (finger(name="a:b"), "its name must be a word without a colon"),
            (finger(name=""), "its name must be a word without a colon"),
            (finger(name=None), "its name must be a word without a colon"),
            (finger(reference="nowhere"), "reference 'nowhere' is not \"module:Class\""),
            (finger(reference="module:a b"), "reference 'module:a b' is not"),
            (finger(reference=None), "AttributeError"),
            (object(), "AttributeError"),
        ],
    )
    def test_broken(self, broken: Any, why: str, logged: list[str]) -> None:
        """A broken handler is ignored, with a line that shows it; the others are found."""
        assert list(registry.merged((), [broken, finger()])) == ["finger"]
        (line,) = logged
        assert why in line
        assert repr(broken) in line


PLUGIN = """
from netd.handlers.registry import NamedHandler

one = NamedHandler("finger", "fingerd:Finger", "tells who is logged in")
other = NamedHandler("who", "fingerd:Finger", "the same")
something_else = 7
"""

HANDLER = """
from netd.handlers import AsyncStreamRequestHandler

class Finger(AsyncStreamRequestHandler):
    async def handle(self):
        await self.wfile.write(b"nobody asks for " + await self.rfile.readline())
"""


@pytest.fixture
def package(tmp_path: Path) -> Path:
    """An installed package with a plugin, in a directory of ``sys.path`` with broken ones."""
    plugins = tmp_path / "twisted" / "plugins"
    plugins.mkdir(parents=True)
    (tmp_path / "fingerd.py").write_text(HANDLER)
    (plugins / "fingerd_plugin.py").write_text(PLUGIN)
    (plugins / "leaving.py").write_text("raise SystemExit(3)\n")
    (plugins / "raising.py").write_text("import no_such_module\n")
    (plugins / "wrong.py").write_text("this is no Python\n")
    return tmp_path


def run(package: Path, code: str) -> str:
    """Run *code* in a Python that has *package*; return what it printed."""
    done = subprocess.run(
        [sys.executable, "-c", code],
        capture_output=True,
        text=True,
        timeout=PATIENCE,
        env=os.environ | {"PYTHONPATH": os.pathsep.join([os.getcwd(), str(package)])},
    )
    assert done.returncode == 0, done.stderr
    return done.stdout.strip()


class TestInstalledPackage:
    @pytest.mark.parametrize("writable", [True, False])
    def test_found(self, package: Path, writable: bool) -> None:
        """Past broken plugins, with Twisted's cache and where that cannot be written."""
        if not writable:
            (package / "twisted" / "plugins" / "dropin.cache").mkdir()
        code = (
            "from netd.handlers.registry import *; print(find('finger'), *merged(OWN, installed()))"
        )
        for _ in range(2):
            assert run(package, code) == " ".join(["fingerd:Finger", *OWN, "finger", "who"])

    def test_handler_is_not_imported(self, package: Path) -> None:
        """To know the name takes the plugin's module only."""
        code = """import sys; from netd.handlers.registry import find; find("finger")
print("fingerd" in sys.modules, "netd.handlers.small" in sys.modules)"""
        assert run(package, code) == "False False"

    def test_serves(self, package: Path) -> None:
        with hosting(run(package, FIND), path=[str(package)]) as host:
            assert host.ask(b"this\n") == b"nobody asks for this\n"


FIND = "from netd.handlers.registry import find; print(find('finger'))"
