"""``netd.ctl.explain`` and ``netdctl explain``: what is said of a client at a service."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
from click.testing import CliRunner

from netd.config.load import load
from netd.ctl.explain import explain
from netd.ctl.main import main

TEXT = """\
[services.a]
listen = ["tcp:10037"]
handler = "echo"
[services.a.access]
allow = ["10.0.0.0/8"]
deny = ["10.1.0.0/16"]
dry_run = true
verify_request = "rules:admits"
[services.a.proxy_protocol]
from = ["10.2.0.1"]
[services.open]
listen = ["unix:socket"]
handler = "echo"
"""


@pytest.fixture
def file(tmp_path: Path) -> str:
    """A configuration with lists."""
    path = tmp_path / "netd.toml"
    path.write_text(TEXT)
    return str(path)


def run(file: str, *arguments: str) -> tuple[int, str]:
    done = CliRunner().invoke(main, ["--config", file, "explain", *arguments])
    return done.exit_code, done.output


class TestText:
    def test_each_verdict(self, file: str) -> None:
        """With the list's file and line, and what else there is to know."""
        besides = (
            "an admitted client is then passed to verify_request: rules:admits\n"
            "dry_run is on: a refusal is logged and counted, but the client is admitted\n"
        )
        for client, said in [
            (
                "10.1.2.3",
                f'refused: by "10.1.0.0/16" in services.a.access.deny ({file}:6)\n',
            ),
            ("10.3.0.1", f'admitted: by "10.0.0.0/8" in services.a.access.allow ({file}:5)\n'),
            ("192.0.2.1", f"refused: no entry of services.a.access.allow matches ({file}:5)\n"),
        ]:
            assert run(file, "a", "--from", client) == (0, f"{client}: {said}{besides}")

    def test_what_does_not_fit(self, file: str) -> None:
        """A proxy, and a client of a socket that is not there."""
        _, said = run(file, "a", "--from", "10.2.0.1")
        assert "it is a proxy: the lists are evaluated for the client that its header names" in said
        _, said = run(file, "a", "--from", "uid:0")
        assert "services.a listens on no Unix socket" in said
        _, said = run(file, "open", "--from", "::1", "--from", "certificate:a.example")
        assert said.splitlines() == [
            "::1 certificate:a.example: admitted: no entry of services.open.access.deny matches,"
            " and there is no allow list",
            "services.open listens on no Internet address",
            "services.open has no TLS, so it sees no certificate",
        ]


def test_json(file: str) -> None:
    status, said = run(file, "a", "--from", "10.1.2.3", "--json")
    values = json.loads(said)
    assert status == 0
    assert not values["admitted"]
    assert (values["key"], values["entry"]) == ("services.a.access.deny", "10.1.0.0/16")
    assert (values["file"], values["line"]) == (file, 6)
    assert len(values["besides"]) == 2


class TestProblems:
    def test_no_such_service(self, file: str) -> None:
        """Not even one that has the word in its name."""
        assert run(file, "b", "--from", "::1") == (
            1,
            f"netdctl: there is no service b in {file}\n",
        )
        with pytest.raises(KeyError):
            explain(load(file), "b", ("::1",))

    def test_no_such_client(self, file: str) -> None:
        status, said = run(file, "a", "--from", "10.0.0.0/8")
        assert status == 2
        assert said == 'netdctl: "10.0.0.0/8" is not an address; a client has one address\n'

    def test_a_broken_configuration(self, file: str) -> None:
        Path(file).write_text(TEXT.replace("dry_run = true", "dry_run = 1"))
        status, said = run(file, "a", "--from", "::1")
        assert status == 78
        assert said.startswith(f"{file}:7: services.a.access.dry_run: ")
