"""``netd.daemon.check.probe``: what the daemon asks a probe, and what it makes of the answers."""

from __future__ import annotations

import os
from pathlib import Path

import pytest

from netd.daemon.check.probe import ask, resolve
from netd.ipc.probe import Facts, ProbeError, ProbeReply, ServerFacts
from netd.listening.description import parse
from netd.model.service import Access, Configuration, Owner, Reference, Runs, Service

STREAM = "from socketserver import StreamRequestHandler\nclass H(StreamRequestHandler): pass\n"


def service(
    name: str = "s",
    handler: str = "m:H",
    listen: tuple[str, ...] = ("tcp:0",),
    verify: str | None = None,
    owner: Owner = Owner(),  # noqa: B008
) -> Service:
    verify_request = Reference(*verify.split(":")) if verify else None
    return Service(
        name,
        tuple(map(parse, listen)),
        Runs("handler", Reference(*handler.split(":"))),
        name,
        access=Access(verify_request=verify_request),
        owner=owner,
    )


def answers(
    directory: Path,
    *services: Service,
    owner: Owner = Owner(),  # noqa: B008
) -> dict[str, ProbeReply]:
    configuration = Configuration("netd.toml", services, (str(directory),))
    return ask(configuration, owner)


class TestAsk:
    def test_answers_by_service(self, tmp_path: Path) -> None:
        """Each service has its answer, by its name."""
        (tmp_path / "m.py").write_text(STREAM)
        (tmp_path / "rules.py").write_text("def admit(*_): ...\n")
        found = answers(
            tmp_path,
            service("b"),
            service("a", handler="n:H"),
            service("c", verify="rules:admit"),
            service("d", verify="rules:admti"),
        )
        files = [str(tmp_path / name) for name in ("m.py", "rules.py")]
        assert found["b"] == Facts("b", "stream", "blocking", (files[0],))
        assert found["a"] == ProbeError("a", "handler", f'there is no module "n" ({tmp_path})')
        assert found["c"] == Facts("c", "stream", "blocking", tuple(files))
        assert isinstance(found["d"], ProbeError)
        assert found["d"].key == "access.verify_request"

    def test_nothing_to_ask(self, tmp_path: Path) -> None:
        """Without services no process is started, so that it cannot fail either."""
        assert answers(tmp_path) == {}

    @pytest.mark.skipif(os.geteuid() != 0, reason="only root can become somebody else")
    def test_owner(self, tmp_path: Path) -> None:
        """A service that names no user is imported as twistd's; another one as its own."""
        (tmp_path / "m.py").write_text("import os\nraise OSError(os.getresgid()[0])\n")
        own = service("own", owner=Owner(gid=1234))
        found = answers(tmp_path, service("none"), own, owner=Owner(gid=65534))
        for name, gid in (("none", 65534), ("own", 1234)):
            one = found[name]
            assert isinstance(one, ProbeError)
            assert one.message.endswith(f"m.py:2: OSError: {gid}")

    def test_probe_dies(self, tmp_path: Path) -> None:
        """A module that kills the probe itself is not taken for an answer."""
        (tmp_path / "m.py").write_text("import os\nos.kill(os.getppid(), 9)\n")
        with pytest.raises(OSError, match=r"^the probe process ended with signal SIGKILL$"):
            answers(tmp_path, service())


def configuration(*services: Service) -> Configuration:
    """Services whose tables stand three lines apart, each with its handler in the second one."""
    places = {}
    for number, one in enumerate(services):
        places[f"services.{one.name}"] = ("netd.toml", 1 + 3 * number)
        places[f"services.{one.name}.handler"] = ("netd.toml", 2 + 3 * number)
    return Configuration("netd.toml", services, locations=places)


class TestSettle:
    def test_faults_in_the_order_of_the_services(self) -> None:
        """What the probe found and what does not fit come together, service by service."""
        services = [service(name, listen=("udp:0",)) for name in ("c", "a", "b", "d")]
        fault = ProbeError("a", "user", "cannot become uid 0")
        _, found = resolve(
            configuration(*services),
            {
                "a": fault,
                "b": Facts("b", "datagram", "blocking", ()),
                "c": Facts("c", "stream", "blocking", ()),
                "d": Facts("d", "stream", "blocking", ()),
            },
        )
        assert [(one.service, one.key) for one in found] == [
            ("c", "handler"),
            ("a", "user"),
            ("d", "handler"),
        ]
        assert found[1] is fault
        assert "cannot serve datagrams" in found[0].message

    def test_services_are_decided(self) -> None:
        """By what the probe has seen of each; the rest of the configuration stays as it was."""
        before = configuration(service("a"), service("b"))
        reactor = Facts("b", "any", "reactor", ())
        after, found = resolve(
            before, {"a": Facts("a", "any", "blocking", (), ServerFacts("process")), "b": reactor}
        )
        assert found == []
        assert [one.concurrency for one in after.services] == ["process", "reactor"]
        assert (after.file, after.locations) == (before.file, before.locations)

    def test_notes_stand_where_the_thing_is_named(self) -> None:
        """A note is kept, with its location."""
        answers = {
            "a": Facts("a", "any", "blocking", ()),
            "b": Facts("b", "any", "blocking", (), notes=("is so", "is so, too")),
        }
        after, _ = resolve(configuration(service("a"), service("b")), answers)
        assert [str(note) for note in after.notes] == [
            "netd.toml:5: services.b.handler: is so",
            "netd.toml:5: services.b.handler: is so, too",
        ]
