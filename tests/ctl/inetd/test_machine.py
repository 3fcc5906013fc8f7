"""``netd.ctl.inetd.machine``: what this machine says."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from netd.ctl.inetd.machine import ThisMachine


class TestFiles:
    def test_reads_bytes(self, tmp_path: Path) -> None:
        """What they mean is decided elsewhere."""
        (tmp_path / "conf").write_bytes(b"\xff\n")
        assert ThisMachine().read(str(tmp_path / "conf")) == b"\xff\n"

    def test_says_which_file_cannot_be_read(self, tmp_path: Path) -> None:
        """One of several, in a directory."""
        with pytest.raises(FileNotFoundError) as caught:
            ThisMachine().read(str(tmp_path / "conf"))
        assert caught.value.filename == str(tmp_path / "conf")

    def test_lists_in_the_order_of_bytes(self, tmp_path: Path) -> None:
        """Whatever the locale."""
        for name in ("b", "B", "é", "a"):
            (tmp_path / name).touch()
        assert ThisMachine().listing(str(tmp_path)) == ["B", "a", "b", "é"]

    def test_has_no_list_of_what_is_no_directory(self, tmp_path: Path) -> None:
        """A file, or nothing at all."""
        (tmp_path / "file").touch()
        assert ThisMachine().listing(str(tmp_path / "file")) is None
        assert ThisMachine().listing(str(tmp_path / "none")) is None

    def test_a_link_is_what_it_leads_to(self, tmp_path: Path) -> None:
        """So that no file is read twice."""
        (tmp_path / "link").symlink_to("file")
        identity = ThisMachine().identity
        assert identity(str(tmp_path / "link")) == identity(str(tmp_path / "file"))


class TestNames:
    def test_a_port_that_is_not_known_is_none(self) -> None:
        """Nor is one by a name that cannot be any."""
        assert ThisMachine().port("no-such-service", "tcp") is None
        assert ThisMachine().port("a\0b", "tcp") is None
        assert ThisMachine().port("\udcff", "tcp") is None

    def test_a_network_that_is_not_known_is_none(self) -> None:
        """With or without a networks(5)."""
        assert ThisMachine().network("no-such-network") is None

    def test_wrapper_rules_are_files(self) -> None:
        """Of the two that hosts_access(5) has."""
        assert set(ThisMachine().wrapper_rules()) <= {"/etc/hosts.allow", "/etc/hosts.deny"}


class TestNetd:
    def test_has_the_keys_of_its_schema(self) -> None:
        """A key that is added there is known here."""
        for key in ("listen", "access.allow", "rlimits.RLIMIT_AS", "socket.TCP_NODELAY"):
            assert ThisMachine().has_key(key)
        assert not ThisMachine().has_key("no_such_key")
        assert not ThisMachine().has_key("access.no_such_key")

    def test_refuses_what_check_refuses(self) -> None:
        """Each service by its name, whatever is in that."""
        good: dict[str, Any] = {"listen": ["tcp:1"], "handler": "echo"}
        tables = {"a": good, "a.b": {**good, "listen": ["tcp:2"], "nice": 99, "wait": True},
                  "a-b": {**good, "listen": ["tcp:x"], "enabled": False}}  # fmt: skip
        assert ThisMachine().refusals({"a": good}) == {}
        assert ThisMachine().refusals({}) == {}
        assert ThisMachine().refusals(tables) == {
            "a.b": [
                "nice: must be 19 or less, not 99",
                "wait: has no effect without program: leave it out",
            ],
            "a-b": ['listen: port "x" is not a number from 0 to 65535'],
        }
