"""``netdctl import``, as it is typed."""

from __future__ import annotations

import tomllib
from pathlib import Path

from click.testing import CliRunner

from netd.ctl.main import main
from netd.model.problem import ExitStatus

GOOD = "127.0.0.1:8007 stream tcp nowait root /bin/cat cat\n"


class TestImport:
    def test_prints_a_configuration(self, tmp_path: Path) -> None:
        """Of all files together."""
        (tmp_path / "inetd.conf").write_text(GOOD)
        (tmp_path / "xinetd.d").mkdir()
        (tmp_path / "xinetd.d" / "echo").write_text(
            "service echo\n{\ntype = INTERNAL UNLISTED\nport = 7\nsocket_type = stream\n"
            "wait = no\nflags = IPv4 NOLIBWRAP\n}\n"
        )
        names = [str(tmp_path / name) for name in ("inetd.conf", "xinetd.d")]
        done = CliRunner().invoke(main, ["import", *names])
        assert (done.exit_code, done.stderr) == (ExitStatus.OK, "")
        assert tomllib.loads(done.stdout)["services"] == {
            "echo": {"listen": ["tcp:7"], "handler": "echo"},
            "8007": {
                "listen": ["tcp:8007:interface=127.0.0.1"],
                "program": ["/bin/cat"],
                "user": "root",
            },
        }

    def test_prints_what_check_takes(self, tmp_path: Path) -> None:
        """As docs/coming-from-inetd.md has the two commands, one after the other."""
        (tmp_path / "xinetd.conf").write_text(
            "service mine\n{\ntype = UNLISTED\nport = 20992\nsocket_type = stream\nwait = no\n"
            "user = root\nserver = /bin/cat\ninstances = 10\nper_source = 2\ncps = 50 10\n"
            "access_times = 08:00-18:00\n}\n"
            "service other\n{\ntype = UNLISTED\nport = 20993\nsocket_type = stream\nwait = no\n"
            "user = none-such\nserver = /bin/none-such\n}\n"
        )
        done = CliRunner().invoke(main, ["import", str(tmp_path / "xinetd.conf")])
        assert (done.exit_code, done.stderr) == (ExitStatus.OK, "")
        (tmp_path / "netd.toml").write_text(done.stdout)
        checked = CliRunner().invoke(main, ["check", str(tmp_path / "netd.toml")])
        assert (checked.exit_code, checked.stderr) == (ExitStatus.OK, "")
        service = tomllib.loads(done.stdout)["services"]["mine"]
        assert service.get("enabled", True) is ("hours" in service.get("access", {}))

    def test_reports_lines_and_prints_the_rest(self, tmp_path: Path) -> None:
        """With the status of a configuration that is wrong."""
        file = tmp_path / "inetd.conf"
        file.write_text(f"telnet stream\n{GOOD}")
        done = CliRunner().invoke(main, ["import", str(file)])
        assert done.exit_code == ExitStatus.CONFIG
        assert done.stderr.startswith(f"{file}:1: telnet: an entry has 6 fields or more")
        assert done.stderr.count("\n") == 1
        assert list(tomllib.loads(done.stdout)["services"]) == ["8007"]

    def test_prints_nothing_when_a_file_is_not_there(self, tmp_path: Path) -> None:
        """Half a configuration would look like all of it."""
        (tmp_path / "inetd.conf").write_text(GOOD)
        names = [str(tmp_path / name) for name in ("inetd.conf", "xinetd.conf")]
        done = CliRunner().invoke(main, ["import", *names])
        assert done.exit_code == ExitStatus.CONFIG
        assert done.stdout == ""
        assert done.stderr == f"{names[1]}:1: cannot read: No such file or directory\n"

    def test_needs_a_file(self) -> None:
        """Which one to take is not guessed."""
        done = CliRunner().invoke(main, ["import"])
        assert done.exit_code == ExitStatus.USAGE
        assert "Missing argument 'FILE...'" in done.stderr
