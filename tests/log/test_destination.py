"""``netd.log.destination``: the command line wins, and says where; else ``[log]`` does."""

from __future__ import annotations

import os
import socket
from collections.abc import Iterator
from contextlib import closing
from pathlib import Path
from typing import Any

import pytest

from netd.log.destination import LogLocation
from netd.log.entry import Entry
from netd.model.log import Form, Format, Log

TEXT = "2026 [s#info] text\n"


def encode(entry: Entry) -> list[bytes]:
    return [entry.message.encode()]


class Scene:
    """A directory in which twistd was started, and the logs of a machine."""

    def __init__(self, directory: Path) -> None:
        self.directory = directory
        (directory / "terminal").touch()
        self.terminal = os.open(directory / "terminal", os.O_WRONLY)
        self.sockets = {
            name: socket.socket(socket.AF_UNIX, socket.SOCK_DGRAM)
            for name in ("journald", "syslog")
        }
        for name, listener in self.sockets.items():
            listener.bind(str(directory / name))
            listener.setblocking(False)

    def place(self, **twistd: Any) -> LogLocation:
        sockets = {name: (str(self.directory / name), encode) for name in self.sockets}
        return LogLocation(twistd, str(self.directory), self.terminal, sockets)

    def written(self, place: LogLocation, configured: Log) -> list[str]:
        """Where a line comes to that is logged."""
        with closing(place.open(configured)) as destination:
            destination.write(TEXT)
        return sorted([*self._files(), *self._received()])

    def _files(self) -> Iterator[str]:
        for file in self.directory.iterdir():
            if file.is_file() and file.read_text() == TEXT:
                yield file.name

    def _received(self) -> Iterator[str]:
        for name, listener in self.sockets.items():
            try:
                listener.recv(1000)
            except BlockingIOError:
                continue
            yield name

    def close(self) -> None:
        os.close(self.terminal)
        for listener in self.sockets.values():
            listener.close()


@pytest.fixture
def scene(tmp_path: Path) -> Iterator[Scene]:
    scene = Scene(tmp_path)
    yield scene
    scene.close()


class TestOpen:
    @pytest.mark.parametrize("option", ["nodaemon", "debug"])
    def test_in_the_foreground(self, scene: Scene, option: str) -> None:
        """Where nobody says anything, on the terminal, which stays open."""
        place = scene.place(**{option: True})
        for _ in range(2):
            assert scene.written(place, Log()) == ["terminal"]
            os.truncate(scene.directory / "terminal", 0)
            os.lseek(scene.terminal, 0, os.SEEK_SET)

    def test_of_a_daemon(self, scene: Scene) -> None:
        """Where nobody says anything, in twistd's file, in the directory it was started in."""
        assert scene.written(scene.place(), Log()) == ["twistd.log"]

    def test_without_a_terminal(self, scene: Scene) -> None:
        """A process whose standard streams are closed has nowhere to log."""
        place = LogLocation({"nodaemon": True}, str(scene.directory), None)
        assert scene.written(place, Log()) == []

    @pytest.mark.parametrize("nodaemon", [True, False])
    def test_file(self, scene: Scene, nodaemon: bool) -> None:
        """In the file of the configuration, in the foreground too."""
        configured = Log(file=str(scene.directory / "netd.log"))
        assert scene.written(scene.place(nodaemon=nodaemon), configured) == ["netd.log"]

    @pytest.mark.parametrize("log", ["journald", "syslog"])
    @pytest.mark.parametrize("nodaemon", [True, False])
    def test_sockets(self, scene: Scene, log: Format, nodaemon: bool) -> None:
        """To the log of the machine that the format names."""
        assert scene.written(scene.place(nodaemon=nodaemon), Log(log)) == [log]

    @pytest.mark.parametrize("configured", [Log(), Log("journald"), Log(file="/none/netd.log")])
    @pytest.mark.parametrize(("named", "where"), [("own.log", "own.log"), ("-", "terminal")])
    def test_command_line(self, scene: Scene, configured: Log, named: str, where: str) -> None:
        """It wins over everything; a dash is the terminal."""
        place = scene.place(nodaemon=True, logfile=named)
        assert scene.written(place, configured) == [where]

    def test_empty_name(self, scene: Scene) -> None:
        """On the command line it is none."""
        assert scene.written(scene.place(nodaemon=True, logfile=""), Log()) == ["terminal"]

    def test_fails(self, scene: Scene) -> None:
        """With the place in the error."""
        scene.sockets["syslog"].close()
        for configured, where in ((Log("syslog"), "syslog"), (Log(file="/none/x"), "/none/x")):
            with pytest.raises(OSError, match=r"refused|No such file") as caught:
                scene.place().open(configured)
            assert str(caught.value.filename).endswith(where)


class TestOther:
    def test_the_same(self, scene: Scene) -> None:
        """Level and connections do not say where."""
        old, new = Log(file="/none/x"), Log(file="/none/x", level="warn", connections=False)
        assert scene.place().other(old, new) is None

    def test_another(self, scene: Scene) -> None:
        """What names another place is opened."""
        destination = scene.place().other(Log(), Log("journald"))
        assert destination is not None
        destination.write(TEXT)
        assert scene.sockets["journald"].recv(1000)
        destination.close()

    @pytest.mark.parametrize("option", ["syslog", "logger"])
    def test_twistds_own(self, scene: Scene, option: str) -> None:
        """twistd's own log is not opened here."""
        assert scene.place(**{option: "x"}).other(Log(), Log(file="/none/x")) is None


class TestForm:
    @pytest.mark.parametrize(
        ("format_", "form"),
        [("text", "text"), ("json", "json"), ("journald", "json"), ("syslog", "json")],
    )
    def test_of_the_configuration(self, scene: Scene, format_: Format, form: Form) -> None:
        """What takes a line apart gets JSON."""
        assert scene.place().form(Log(format_)) == form

    @pytest.mark.parametrize(
        ("format_", "form"),
        [("text", "text"), ("json", "json"), ("journald", "text"), ("syslog", "text")],
    )
    def test_of_a_named_file(self, scene: Scene, format_: Format, form: Form) -> None:
        """A file has text, unless it was to be JSON."""
        assert scene.place(logfile="own.log").form(Log(format_)) == form

    @pytest.mark.parametrize("option", ["syslog", "logger"])
    def test_of_twistds_own(self, scene: Scene, option: str) -> None:
        """It takes the lines apart."""
        assert scene.place(**{option: "x"}).form(Log()) == "json"


class TestOverruled:
    @pytest.mark.parametrize("twistd", [{"logfile": "x"}, {"syslog": True}, {"logger": "m.f"}])
    def test_by_twistd(self, scene: Scene, twistd: dict[str, Any]) -> None:
        """Whoever wrote a place into the file is to hear that it is not used."""
        place = scene.place(**twistd)
        assert place.overruled(Log(file="/f")) == "/f"
        assert place.overruled(Log("journald")) == "journald"
        assert place.overruled(Log("json")) is None

    def test_by_nobody(self, scene: Scene) -> None:
        """Without such an option the configuration counts."""
        assert scene.place(nodaemon=True).overruled(Log("syslog")) is None

    def test_impossible(self, scene: Scene) -> None:
        """A daemon has no terminal, and twistd was told that it logs there."""
        assert scene.place(logfile="-").is_impossible
        assert not scene.place(logfile="-", nodaemon=True).is_impossible
        assert not scene.place(logfile="own.log").is_impossible
