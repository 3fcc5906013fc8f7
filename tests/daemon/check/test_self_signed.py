"""``netd.daemon.check.self_signed``: certificates that a configuration wants of netd itself."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netd.config.load import load
from netd.daemon.check.self_signed import with_certificates
from netd.model.problem import ConfigurationError
from netd.model.service import Configuration

SERVICE = '[services.{0}]\nlisten = ["tls:0"]\nhandler = "m:C"\ntls.self_signed = "{1}"\n'


def configuration(directory: Path, **services: str) -> Configuration:
    """Services by name, each with the path of its file."""
    text = "".join(SERVICE.format(name, path) for name, path in services.items())
    (directory / "netd.toml").write_text(text)
    return load(str(directory / "netd.toml"))


def contents(found: Configuration) -> list[bytes]:
    return [each.tls.identity.certificate.content for each in found.services if each.tls]


class TestMaking:
    """At a start and at a reload."""

    def test_what_is_missing(self, tmp_path: Path) -> None:
        """Each file is made once, and is what the next reading finds."""
        names = {"a": "run/one.pem", "b": "run/one.pem", "c": "two.pem"}
        found = with_certificates(configuration(tmp_path, **names))
        a, b, c = contents(found)
        assert a == b == (tmp_path / "run" / "one.pem").read_bytes() != c
        assert found == configuration(tmp_path, **names)

    def test_nothing_is_missing(self, tmp_path: Path) -> None:
        """What is there stays."""
        found = with_certificates(configuration(tmp_path, a="own.pem"))
        assert with_certificates(found) is found

    def test_no_right(self, tmp_path: Path) -> None:
        """What cannot be made is said, where the file stands in the configuration."""
        (tmp_path / "file").touch()
        with pytest.raises(ConfigurationError) as caught:
            with_certificates(configuration(tmp_path, a="file/own.pem"))
        assert str(caught.value) == (
            f"{tmp_path}/netd.toml:4: services.a.tls.self_signed: cannot make"
            f" {tmp_path}/file/own.pem: File exists"
        )
        assert os.path.isfile(tmp_path / "file")
