"""``netd.config.admin``: where the admin socket is, whatever else a file says."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netd.config.admin import OF_ROOT, admin_socket, find_socket, usual_socket

NEXT = '[services.a]\nhandler = "echo"\n'
BROKEN = "[services.a]\nhandler = \n"


@pytest.fixture
def file(tmp_path: Path) -> Path:
    return tmp_path / "netd.toml"


@pytest.fixture
def usual(file: Path) -> str:
    """Where the socket is if nobody says anything."""
    return OF_ROOT if os.geteuid() == 0 else str(file.parent / "run" / "admin.sock")


class TestNamed:
    def test_relative_to_its_file(self, monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
        """Which may itself be relative, to where netdctl runs."""
        monkeypatch.chdir(tmp_path)
        assert admin_socket("conf/netd.toml", "run/s") == str(tmp_path / "conf" / "run" / "s")
        assert admin_socket("/etc/netd.toml", "/run/s") == "/run/s"
        assert admin_socket("/etc/netd.toml", None) is None


class TestUsual:
    def test_of_this_user(self, file: Path, usual: str) -> None:
        assert usual_socket(str(file)) == usual

    def test_of_somebody_else(self, file: Path, monkeypatch: pytest.MonkeyPatch) -> None:
        """Beside the file; root's is the system's."""
        monkeypatch.setattr(os, "geteuid", lambda: 1000)
        assert usual_socket(str(file)) == str(file.parent / "run" / "admin.sock")
        monkeypatch.setattr(os, "geteuid", lambda: 0)
        assert usual_socket(str(file)) == OF_ROOT


class TestFound:
    @pytest.mark.parametrize("rest", [NEXT, BROKEN], ids=["whole", "broken"])
    @pytest.mark.parametrize(
        "text",
        [
            '[admin]\nsocket = "s"\n',
            'threads = 7\n\n  [ admin ]  # the way in\n# a comment\nsocket = "s"\n\n',
            'admin.socket = "s"\n',
            'admin = {socket = "s"}\n',
            '# a comment\n\nthreads = 7\n  admin . socket = "s"\n',
        ],
    )
    def test_beside_anything(self, file: Path, text: str, rest: str) -> None:
        """The rest may be as broken as it likes."""
        file.write_text(text + rest)
        assert find_socket(str(file)) == str(file.parent / "s")

    def test_after_what_is_broken(self, file: Path) -> None:
        file.write_text(BROKEN + '[admin]\nsocket = "s"')
        assert find_socket(str(file)) == str(file.parent / "s")

    @pytest.mark.parametrize(
        "text",
        [
            "",
            BROKEN,
            "[admin]\n",
            "[admin]\nsocket = 7\n",
            "admin = 7\n",
            '[services.a]\nadmin.socket = "s"\nhandler =\n',
            '# admin.socket = "s"\n' + BROKEN,
            '[administrator]\nsocket = "s"\n' + BROKEN,
        ],
    )
    def test_nothing_said(self, file: Path, text: str, usual: str) -> None:
        """Or nothing that could be meant: ``check`` says what is wrong with it."""
        file.write_text(text)
        assert find_socket(str(file)) == usual

    def test_bytes_that_are_no_text(self, file: Path) -> None:
        file.write_bytes(b'[admin]\nsocket = "s"\n[services.a]\nhandler = "\xff"\n')
        assert find_socket(str(file)) == str(file.parent / "s")

    def test_broken_itself(self, file: Path) -> None:
        file.write_text("[admin]\nsocket = \n")
        with pytest.raises(ValueError, match="line 2"):
            find_socket(str(file))

    def test_no_file(self, file: Path) -> None:
        with pytest.raises(FileNotFoundError):
            find_socket(str(file))
