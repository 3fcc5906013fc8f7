"""``netd.config.reference.json_schema``: what an editor is told about a configuration."""

from __future__ import annotations

import json
import tomllib
from collections.abc import Iterator
from pathlib import Path
from typing import Any, Final

import jsonschema
import pytest
from hypothesis import given
from pydantic import TypeAdapter, WithJsonSchema

from netd.config import environment, types
from netd.config.reference.json_schema import as_text, json_schema, kinds
from netd.config.schema import ServiceTable
from tests.config.drawn import main_files
from tests.config.test_generated import unhurried

ROOT: Final = Path(__file__).parents[3]
SCHEMA: Final = json_schema()
VALIDATOR: Final = jsonschema.Draft202012Validator(SCHEMA)

SERVICE: Final = {"listen": ["tcp:10037"], "handler": "m:C"}


def tables() -> Iterator[tuple[str, dict[str, Any]]]:
    """The name and the properties of each table."""
    yield "the file", SCHEMA["properties"]
    for name, table in SCHEMA["$defs"].items():
        yield name, table["properties"]


KEYS: Final = [(table, key, shape) for table, keys in tables() for key, shape in keys.items()]


def problems(**service: Any) -> list[str]:
    """What is wrong with a service that also has what it needs, a path and a keyword each."""
    found = VALIDATOR.iter_errors({"services": {"time": {**SERVICE, **service}}})
    return [f"{'.'.join(map(str, list(each.path)[2:]))} {each.validator}" for each in found]


class TestSchema:
    def test_is_one(self) -> None:
        """Its own schema has nothing against it."""
        jsonschema.Draft202012Validator.check_schema(SCHEMA)

    @pytest.mark.parametrize(("table", "key", "shape"), KEYS, ids=lambda each: str(each)[:40])
    def test_describes_every_key(self, table: str, key: str, shape: dict[str, Any]) -> None:
        """A key without a docstring, or of a kind that only Python understands, is not done."""
        shape = {**SCHEMA["$defs"].get(shape.get("$ref", "").rpartition("/")[2], {}), **shape}
        assert len(shape["description"]) > 10, f"{table}: write a docstring under {key}"
        assert {"type", "anyOf", "enum", "const"} & shape.keys(), f"{table}: give {key} a schema"
        if shape.get("type") == "array":
            assert {"type", "anyOf", "enum", "$ref"} & shape["items"].keys()

    def test_has_defaults_as_people_write_them(self) -> None:
        """A duration has its unit, and what has no value in TOML is no default."""
        service = SCHEMA["$defs"]["ServiceTable"]["properties"]
        assert service["enabled"]["default"] is True
        assert SCHEMA["$defs"]["AccessTable"]["properties"]["verify_timeout"]["default"] == "5s"
        assert "default" not in service["user"]
        assert '"null"' not in as_text()

    def test_knows_as_many_keys_as_netd(self) -> None:
        """Everything that can be written is in it, by itself."""
        assert (
            SCHEMA["$defs"]["ServiceTable"]["properties"].keys() == ServiceTable.model_fields.keys()
        )

    def test_is_shipped_as_it_is(self) -> None:
        """The file that ``conf/netd.toml`` names; ``netdctl schema`` makes it."""
        assert (ROOT / "docs" / "netd.schema.json").read_text() == as_text()
        assert json.loads(as_text()) == SCHEMA


class TestValidation:
    @pytest.mark.parametrize(
        "file", sorted((ROOT / "conf").rglob("*.toml")), ids=lambda file: file.name
    )
    def test_of_what_is_shipped(self, file: Path) -> None:
        """No editor underlines anything in it, and it is found from there."""
        text = file.read_text()
        assert list(VALIDATOR.iter_errors(tomllib.loads(text))) == []
        first, _, _ = text.partition("\n")
        named = first.removeprefix("#:schema ")
        assert (file.parent / named).resolve() == ROOT / "docs" / "netd.schema.json"

    @pytest.mark.parametrize(
        ("service", "expected"),
        [
            ({}, []),
            ({"threads": 0}, ["threads minimum"]),
            ({"threads": "100"}, ["threads type"]),
            ({"hander": "m:C"}, [" additionalProperties"]),
            ({"listen": ["tpc:80"]}, ["listen.0 pattern"]),
            ({"listen": []}, ["listen minItems"]),
            ({"handler": "a:b:c"}, ["handler pattern"]),
            ({"datagram_size": "64KB"}, ["datagram_size anyOf"]),
            ({"user": True}, ["user anyOf"]),
            ({"access": {"alow": []}}, ["access additionalProperties"]),
            ({"access": {"verify_timeout": "5 minutes"}}, ["access.verify_timeout anyOf"]),
            ({"options": {"any": [{"thing": 1}]}}, []),
            ({"rlimits": {"nofile": 5, "RLIMIT_AS": "1GiB", "cpu": [1, "unlimited"]}}, []),
            ({"rlimits": {"as_": 5}}, ["rlimits additionalProperties"]),
        ],
    )
    def test_finds(self, service: dict[str, Any], expected: list[str]) -> None:
        """What netd would refuse, while it is typed."""
        assert problems(**service) == expected

    @unhurried
    @given(main_files)
    def test_has_nothing_against_what_netd_takes(self, table: dict[str, Any]) -> None:
        """Any of the keys, in a service or in the defaults."""
        assert list(VALIDATOR.iter_errors(table)) == []


def test_kinds_are_all_that_there_are() -> None:
    """A kind in a module that nobody asks would have no row in the reference."""
    titles = {shape["title"] for _, _, shape in KEYS if "title" in shape}
    assert titles <= kinds().keys()


@pytest.mark.parametrize("title", sorted(kinds()))
def test_kinds_have_examples_that_netd_takes(title: str) -> None:
    """What the reference shows can be copied."""
    every = (*vars(types).values(), *vars(environment).values())
    kind = next(kind for kind in every if _schema_of(kind) is kinds()[title])
    validator = jsonschema.Draft202012Validator(kinds()[title])
    for example in kinds()[title]["examples"]:
        TypeAdapter(kind).validate_python(example)
        assert list(validator.iter_errors(example)) == []


def _schema_of(kind: Any) -> Any:
    told = getattr(kind, "__metadata__", ())
    return next((each.json_schema for each in told if isinstance(each, WithJsonSchema)), None)
