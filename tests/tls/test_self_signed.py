"""``netd.tls.self_signed``: a certificate that netd makes for itself."""

from __future__ import annotations

import datetime
import os
import ssl
import stat
from pathlib import Path

import pytest
from cryptography.hazmat.primitives import serialization

from netd.model.tls import Identity, Pem, Tls
from netd.tls.pem import certificates, private_key
from netd.tls.self_signed import LIFETIME, NotOurs, made, needs_making, write
from tests.tls.authorities import identity
from tests.tls.sides import BOTH, Blocking, shaken
from tests.tls.test_pem import encrypted

NOW = datetime.datetime.now(datetime.UTC).replace(microsecond=0)
OWN = made(NOW)


class TestMade:
    """What is in it."""

    def test_thirty_days(self) -> None:
        """The time it is good for."""
        (certificate,) = certificates(OWN)
        assert certificate.not_valid_after_utc == NOW + LIFETIME == NOW + datetime.timedelta(30)
        assert certificate.not_valid_before_utc < NOW

    @pytest.mark.parametrize("served", BOTH)
    @pytest.mark.parametrize("name", ["localhost", "127.0.0.1", "::1"])
    def test_is_for_the_loopback(self, served: object, name: str) -> None:
        """A client that has been told to trust it finds nothing wrong with it."""
        file = Pem("/own.pem", OWN)
        assert callable(served)
        context = ssl.create_default_context(cadata=OWN.decode())
        shaken(served(Tls(Identity(file, file)))(), Blocking(context, server_hostname=name))

    def test_each_is_another(self) -> None:
        """Nothing is shared by two of them, the key least of all."""
        assert private_key(made(NOW)).public_key() != private_key(made(NOW)).public_key()


class TestNeedsMaking:
    """When it is made."""

    @pytest.mark.parametrize("content", [b"", b"\n"])
    def test_nothing_there(self, content: bytes) -> None:
        """An empty file is none."""
        assert needs_making(content, NOW)

    def test_good(self) -> None:
        """One that is good stays, up to its end."""
        assert not needs_making(OWN, NOW)
        assert not needs_making(OWN, NOW + LIFETIME - datetime.timedelta(seconds=1))
        assert needs_making(OWN, NOW + LIFETIME)

    @pytest.mark.parametrize("key", [b"", made(NOW), encrypted(serialization.PrivateFormat.PKCS8)])
    def test_key(self, key: bytes) -> None:
        """One whose key is not to be had is of no use."""
        certificate = OWN[: OWN.index(b"-----BEGIN PRIVATE")]
        assert needs_making(certificate + key, NOW)

    @pytest.mark.parametrize(
        "content",
        [b"text", private_key(OWN).private_bytes(
            serialization.Encoding.PEM,
            serialization.PrivateFormat.PKCS8,
            serialization.NoEncryption(),
        ), identity("host.example").certificate.content],
    )  # fmt: skip
    @pytest.mark.parametrize("later", [datetime.timedelta(0), datetime.timedelta(36500)])
    def test_anything_else(self, content: bytes, later: datetime.timedelta) -> None:
        """What nobody could bring back is not overwritten, expired or not."""
        with pytest.raises(NotOurs):
            needs_making(content, NOW + later)


class TestWrite:
    """How it gets into its place."""

    def test_mode_and_directory(self, tmp_path: Path) -> None:
        """Only its owner reads it; directories are made."""
        file = tmp_path / "run" / "deep" / "own.pem"
        write(str(file), OWN)
        assert file.read_bytes() == OWN
        assert stat.S_IMODE(file.stat().st_mode) == 0o600

    def test_over_another(self, tmp_path: Path) -> None:
        """Whoever has it open reads what he opened; and nothing else is left behind."""
        file = tmp_path / "own.pem"
        file.write_bytes(b"before")
        file.chmod(0o644)
        with open(file, "rb") as opened:
            write(str(file), OWN)
            assert opened.read() == b"before"
        assert stat.S_IMODE(file.stat().st_mode) == 0o600
        assert os.listdir(tmp_path) == ["own.pem"]

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root gives files away")
    def test_owner(self, tmp_path: Path) -> None:
        """It belongs to whom the daemon will be."""
        write(str(tmp_path / "own.pem"), OWN, 12345, 54321)
        status = os.stat(tmp_path / "own.pem")
        assert (status.st_uid, status.st_gid) == (12345, 54321)

    def test_in_vain(self, tmp_path: Path) -> None:
        """Where it cannot be made, nothing is left."""
        (tmp_path / "own.pem").mkdir()
        with pytest.raises(OSError, match=r"."):
            write(str(tmp_path / "own.pem"), OWN)
        assert os.listdir(tmp_path) == ["own.pem"]
