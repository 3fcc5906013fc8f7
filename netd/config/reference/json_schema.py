"""The JSON Schema of a configuration file: for editors, and for code that lists or prints keys.

It accepts every file that ``load`` accepts, and more: an editor sees one file, so it cannot know
that a required key is missing in all of them, ``[defaults]`` included.
"""

from __future__ import annotations

import json
from collections.abc import Mapping
from typing import Annotated, Any, Final, get_origin

from pydantic import BaseModel, WithJsonSchema
from pydantic.json_schema import GenerateJsonSchema, JsonSchemaValue, NoDefault
from pydantic_core import SchemaSerializer
from pydantic_core.core_schema import (
    ModelField,
    ModelSchema,
    NullableSchema,
    WithDefaultSchema,
)

from netd.config import environment, types
from netd.config.docstrings import docstrings, keys, unwrapped
from netd.config.schema import SERVICES, MainFile

TITLE: Final = "netd configuration"

ALIAS_OF: Final = "x-alias-of"
"""The keyword of the JSON Schema for a key that is another name of the one beside it."""

Shape = Mapping[str, Any]
"""A JSON Schema, or a part of one, as the code that walks through it sees it."""


def json_schema() -> JsonSchemaValue:
    """Return the JSON Schema of the main file. It also accepts the files that it includes."""
    schema = MainFile.model_json_schema(schema_generator=_Generator)
    # People write the services last, but the model inherits that field, so it comes first.
    schema["properties"][SERVICES] = schema["properties"].pop(SERVICES)
    return {"$schema": _Generator.schema_dialect, "title": TITLE, **schema}


def kinds() -> dict[str, JsonSchemaValue]:
    """Return the JSON Schema of each kind of value, by its title."""
    described = (
        told.json_schema
        for kind in (*vars(types).values(), *vars(environment).values())
        if get_origin(kind) is Annotated
        for told in kind.__metadata__
        if isinstance(told, WithJsonSchema) and told.json_schema is not None
    )
    return {each["title"]: each for each in described}


def as_text() -> str:
    """Return the JSON Schema as the text of a file."""
    return json.dumps(json_schema(), indent=2, ensure_ascii=False) + "\n"


class _Generator(GenerateJsonSchema):
    """Describes what TOML can have: no null, and defaults as people write them (``"30s"``)."""

    def default_schema(self, schema: WithDefaultSchema) -> JsonSchemaValue:
        found = self.generate_inner(schema["schema"])
        default = self.get_default_value(schema)
        # The keys of a table have their own defaults, and None means that a key is not set.
        if default is not NoDefault and default is not None and not isinstance(default, BaseModel):
            found["default"] = SchemaSerializer(schema["schema"]).to_python(default)
        return found

    def nullable_schema(self, schema: NullableSchema) -> JsonSchemaValue:
        return self.generate_inner(schema["schema"])

    def field_is_required(self, field: ModelField, total: bool) -> bool:  # type: ignore[override]
        return False

    def field_title_should_be_set(self, schema: object) -> bool:
        return False

    def model_schema(self, schema: ModelSchema) -> JsonSchemaValue:
        found = super().model_schema(schema)
        del found["title"]
        found["description"] = unwrapped(schema["cls"].__doc__ or "")
        for key, text in docstrings(schema["cls"]).items():
            shape = found["properties"][key]
            # First what the key means, then how its value is written.
            written = shape.get("description")
            shape["description"] = f"{text}\n\n{written}" if written is not None else text
        for name, field in schema["cls"].model_fields.items():
            key, *others = keys(name, field)
            for other in others:
                found["properties"][other] = {**found["properties"][key], ALIAS_OF: key}
        return found
