"""``netd.ctl.init``: what ``netdctl init`` makes."""

from __future__ import annotations

import configparser
import re
import shlex
import shutil
import subprocess
from pathlib import Path
from typing import Final

import pytest

from netd.config.load import load
from netd.ctl.init import CannotStart, Installation, contents, start

PLACE: Final = Installation("/srv/hello", "/opt/netd/bin/twistd", "alice")


def unit(place: Installation) -> configparser.SectionProxy:
    """What the unit says of the service."""
    parser = configparser.RawConfigParser(strict=False)
    parser.optionxform = str  # type: ignore[assignment, method-assign]
    parser.read_string(contents(place)["netd.service"])
    return parser["Service"]


class TestUnit:
    def test_runs_this_directory_with_this_python(self) -> None:
        """Everything is absolute: a service manager starts in / and has no PATH of ours."""
        service = unit(PLACE)
        assert service["ExecStart"] == (
            "/opt/netd/bin/twistd --nodaemon --pidfile= netd --config /srv/hello/netd.toml"
        )
        assert service["WorkingDirectory"] == service["ReadWritePaths"] == "/srv/hello"
        assert service["User"] == "alice"

    def test_is_hardened_but_for_what_breaks_netd(self) -> None:
        """MemoryDenyWriteExecute ends pyOpenSSL's callbacks, and with them TLS."""
        service = unit(PLACE)
        assert service["NoNewPrivileges"] == service["PrivateTmp"] == "yes"
        assert service["ProtectSystem"] == "strict"
        assert "MemoryDenyWriteExecute" not in service

    def test_does_not_hide_what_it_runs(self) -> None:
        """A private /tmp would take the directory, or the Python, out of sight."""
        assert unit(Installation("/tmp/x", PLACE.twistd, "alice"))["PrivateTmp"] == "no"
        assert (
            unit(Installation("/srv/x", "/var/tmp/venv/bin/twistd", "alice"))["PrivateTmp"] == "no"
        )

    def test_has_any_path(self) -> None:
        """What systemd reads as a blank between words, a specifier or a variable means itself."""
        service = unit(Installation("/srv/a b%i$x", "/opt/a b/twistd", "alice"))
        assert shlex.split(service["ExecStart"]) == [
            "/opt/a b/twistd", "--nodaemon", "--pidfile=", "netd", "--config",
            "/srv/a b%%i$$x/netd.toml",
        ]  # fmt: skip
        assert service["WorkingDirectory"] == "/srv/a b%%i$x"
        assert service["ReadWritePaths"] == '"/srv/a b%%i$x"'

    @pytest.mark.parametrize("directory", ['/srv/"', "/srv/'", "/srv/\\", "/srv/a\nb"])
    def test_refuses_a_path_that_it_cannot_have(self, directory: str) -> None:
        """Better than a unit that means something else."""
        with pytest.raises(CannotStart, match="has a character that a systemd unit cannot have"):
            contents(Installation(directory, PLACE.twistd, "alice"))

    @pytest.mark.skipif(shutil.which("systemd-analyze") is None, reason="no systemd-analyze")
    def test_is_one_that_systemd_takes(self, tmp_path: Path) -> None:
        """Without a word about any of its keys."""
        start(str(tmp_path / "a b"))
        command = ["systemd-analyze", "verify", str(tmp_path / "a b" / "netd.service")]
        done = subprocess.run(command, capture_output=True, text=True, timeout=60)
        assert (done.returncode, done.stderr) == (0, "")


class TestConfiguration:
    def test_has_one_service_on_the_loopback(self, tmp_path: Path) -> None:
        """Which needs no privilege, and that nobody else reaches."""
        start(str(tmp_path))
        (service,) = load(str(tmp_path / "netd.toml")).services
        assert [str(address) for address in service.listen] == ["tcp:10040:interface=127.0.0.1"]

    def test_has_comments_that_are_keys(self, tmp_path: Path) -> None:
        """Whoever takes a # away has a configuration, with all of them, too."""
        start(str(tmp_path))
        file = tmp_path / "netd.toml"
        file.write_text(re.sub(r"(?m)^( *)#(?=\S)", r"\1", file.read_text()))
        configuration = load(str(file))
        assert len(configuration.services[0].listen) == 3
        assert configuration.services[0].options == {"greeting": "Good evening"}
        assert len(file.read_text()) < len(contents(PLACE)["netd.toml"])


class TestStart:
    def test_makes_the_directory(self, tmp_path: Path) -> None:
        """And everything that was missing around it; it says what it made."""
        said = start(str(tmp_path / "a" / "b"))
        made = {path for path in (tmp_path / "a" / "b").rglob("*") if path.is_file()}
        assert {Path(line.removeprefix("made ")) for line in said.splitlines()[:3]} == made

    @pytest.mark.parametrize("name", ["netd.toml", "handlers/hello.py", "netd.service"])
    def test_overwrites_nothing(self, tmp_path: Path, name: str) -> None:
        """Not even a link that leads nowhere; and then nothing else is made, either."""
        (tmp_path / name).parent.mkdir(exist_ok=True)
        (tmp_path / name).symlink_to("nowhere")
        with pytest.raises(CannotStart, match=f"{tmp_path}/{name} exists, and is not overwritten"):
            start(str(tmp_path))
        assert [path for path in tmp_path.rglob("*") if not path.is_dir()] == [tmp_path / name]

    def test_says_what_is_in_the_way(self, tmp_path: Path) -> None:
        """Without a traceback."""
        (tmp_path / "file").touch()
        with pytest.raises(CannotStart, match=r"file: (File exists|Not a directory)$"):
            start(str(tmp_path / "file"))
