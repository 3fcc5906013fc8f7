"""Each key of the schema changes something: a key that nothing reads would be silently ignored.

Each key is set here, by itself, and must change what ``load`` makes of the file and what ``plan``
says of a reload. A key that is added to the schema is tested here without an edit, unless its value
or what must stand beside it cannot be seen in the schema.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import replace
from datetime import UTC, datetime
from pathlib import Path
from typing import Any, Final

import pytest

from netd.config import toml
from netd.config.load import load
from netd.config.plan import Action, Plan, plan
from netd.config.reference.json_schema import ALIAS_OF, json_schema
from netd.config.resolve import settled
from netd.config.schema import DEFAULTS, INCLUDE, SERVICES
from netd.config.socket_options import SPARSE
from netd.ipc.probe import Facts
from netd.model.service import Configuration
from netd.tls import self_signed

SCHEMA: Final = json_schema()

BLOCKING: Final = Facts("a", "any", "blocking", sources=())

Shape = Mapping[str, Any]
Key = tuple[str, ...]


def is_empty(found: Plan) -> bool:
    """Whether every service is kept."""
    return all(step.action is Action.KEEP for step in found.steps)


def resolved(shape: Shape) -> Shape:
    reference = shape.get("$ref", "").removeprefix("#/$defs/")
    return {**SCHEMA["$defs"][reference], **shape} if reference else shape


def keys(shape: Shape, path: Key = ()) -> Iterator[tuple[Key, Shape]]:
    """Every key that is no table with keys of its own, and no other name of another."""
    for name, found in shape["properties"].items():
        below = resolved(found)
        if ALIAS_OF in found or (path, name) in [((), INCLUDE), ((), SERVICES), ((), DEFAULTS)]:
            continue
        if "properties" in below and SPARSE not in below:
            yield from keys(below, (*path, name))
        else:
            yield (*path, name), below


SERVICE_KEYS: Final = dict(keys(SCHEMA["$defs"]["ServiceTable"]))
OTHER_KEYS: Final = dict(keys(SCHEMA))

STREAM: Final = {"listen": ["tcp:1"]}
CODE: Final = {**STREAM, "handler": "m:C"}
TLS: Final = {**CODE, "tls": {"self_signed": "own.pem"}}
MUTUAL: Final = {
    **CODE,
    "tls": {"self_signed": "own.pem", "client_certificate": "optional", "client_ca": "ca.pem"},
}

BESIDE: Final[dict[Key, dict[str, Any]]] = {
    ("server",): STREAM,
    ("protocol",): STREAM,
    ("program",): STREAM,
    ("plugin",): {},
    ("wait",): {**STREAM, "program": ["/bin/cat"]},
    ("arguments",): {"plugin": "web"},
    ("tls", "self_signed"): CODE,
    ("tls", "certificate"): CODE,
    ("tls", "private_key"): {**CODE, "tls": {"certificate": "a.pem"}},
    ("tls", "client_certificate"): MUTUAL,
    ("tls", "client_ca"): MUTUAL,
}
"""What stands beside a key of a service that means nothing beside any handler."""

VALUES: Final[dict[Key, Any]] = {
    ("concurrency",): "process",
    ("handler",): "m:Other",
    ("program",): ["/bin/cat"],
    ("plugin",): "web",
    ("working_directory",): "there",
    ("python_path",): ["there"],
    ("tls", "certificate"): "a.pem",
    ("tls", "private_key"): "b.pem",
    ("tls", "client_certificate"): "required",
    ("tls", "client_ca"): "a.pem",
    ("tls", "minimum_version"): "TLSv1.3",
    ("tls", "ciphers"): "ECDHE+AESGCM",
    ("tls", "sni"): {"host.example": {"certificate": "a.pem"}},
    ("socket",): {"SO_KEEPALIVE": True},
    ("log", "file"): "netd.log",
}
"""Values of keys that do not take any that their schema allows."""


def value(shape: Shape) -> Any:
    """A value of this shape that is not the default."""
    shape, usual = resolved(shape), shape.get("default")
    for each in (*shape.get("examples", ()), *shape.get("enum", ())):
        if each != usual:
            return each
    match shape["type"]:
        case "boolean":
            return not usual
        case "integer" | "number":
            return shape.get("minimum", 0) + 1
        case "array":
            return [value(shape["items"])]
        case "object":
            return {"a": "b"}
    raise AssertionError(f"say in VALUES what {shape} can be")


def nested(key: Key, inner: Any) -> dict[str, Any]:
    for name in reversed(key):
        inner = {name: inner}
    assert isinstance(inner, dict)
    return inner


def merged(below: Mapping[str, Any], above: Mapping[str, Any]) -> dict[str, Any]:
    both = {**below, **above}
    for name in below.keys() & above.keys():
        if isinstance(below[name], dict) and isinstance(above[name], dict):
            both[name] = merged(below[name], above[name])
    return both


@pytest.fixture
def directory(tmp_path: Path) -> Path:
    (tmp_path / "there").mkdir()
    now = datetime.now(UTC)
    pem = self_signed.made(now)
    for name in ("own.pem", "a.pem", "b.pem"):
        (tmp_path / name).write_bytes(pem)
    (tmp_path / "ca.pem").write_bytes(self_signed.made(now))
    return tmp_path


def loaded(directory: Path, table: Mapping[str, Any]) -> Configuration:
    """The configuration of a file, its services settled as for a blocking handler."""
    own = {name: inner for name, inner in table.items() if not isinstance(inner, dict)}
    lines = [line for name, inner in own.items() for line in toml.pair(name, inner)]
    for name in table.keys() - own:
        lines += toml.table((name,), table[name])
    (directory / "netd.toml").write_text("\n".join([*lines, ""]))
    found = load(str(directory / "netd.toml"))
    services = [
        settled(service, BLOCKING) if service.runs.key == "handler" else service
        for service in found.services
    ]
    return replace(found, services=tuple(services))


@pytest.mark.parametrize("key", SERVICE_KEYS, ids=".".join)
def test_a_key_of_a_service_reaches_it(directory: Path, key: Key) -> None:
    """A reload says that the service has changed."""
    beside = BESIDE.get(key, TLS if key[0] == "tls" else CODE)
    chosen = VALUES[key] if key in VALUES else value(SERVICE_KEYS[key])
    without = beside if beside.keys() & {"handler", "program", "plugin"} else CODE
    before = loaded(directory, {SERVICES: {"a": without}})
    after = loaded(directory, {SERVICES: {"a": merged(beside, nested(key, chosen))}})
    assert not is_empty(plan(before, after))


@pytest.mark.parametrize("key", OTHER_KEYS, ids=".".join)
def test_another_key_reaches_the_daemon(directory: Path, key: Key) -> None:
    """A reload says that the setting has changed, or the services have."""
    chosen = VALUES[key] if key in VALUES else value(OTHER_KEYS[key])
    before = loaded(directory, {SERVICES: {"a": CODE}})
    after = loaded(directory, {**nested(key, chosen), SERVICES: {"a": CODE}})
    found = plan(before, after)
    assert found.settings or not is_empty(found)
