"""The configuration reference in Markdown, from the JSON Schema.

``python -m netd.config.reference.page`` prints what ``docs/configuration.md`` has.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Final

from netd.config.reference.json_schema import ALIAS_OF, Shape, json_schema, kinds
from netd.config.schema import DEFAULTS
from netd.config.socket_options import SPARSE
from netd.config.toml import literal

_HEAD: Final = """\
# Configuration

<!-- Made by "python -m netd.config.reference.page" from netd/config/schema.py and types.py. -->

netd reads one TOML file and the files that it includes. This is enough:

```toml
[services.time]
handler = "timeserver:TimeServer"
listen = ["tcp:10037"]
```

An unknown key is an error, and so is a value of another kind than the tables below say.

`netdctl check FILE` reports every error, with file and line. `netdctl print-config FILE` prints
every key with its value and where that value is written. `netdctl schema` prints the JSON Schema
that this page is made from. An editor that supports taplo's directive completes, explains and
checks the keys of a file that starts with `#:schema FILE`.
"""

_KINDS_HEAD: Final = """\
## Kinds of values

| kind | how it is written | examples |
| --- | --- | --- |"""

_KEYS_HEAD: Final = "| key | value | default | meaning |\n| --- | --- | --- | --- |"

_JSON_TYPES: Final = {
    "boolean": "true or false",
    "string": "string",
    "object": "table",
    "integer": "whole number",
    "number": "number",
}
_BOUNDS: Final = {"minimum": "from", "maximum": "to"}


def reference(schema: Shape, kinds: Mapping[str, Shape]) -> str:
    """Return the page: all tables and keys of *schema*, and the *kinds* of values, by title."""
    pages = _Pages(schema, kinds)
    return "\n".join([_HEAD, *pages.table("The file", (), schema), *pages.kinds()])


class _Pages:
    """Writes the sections of the page."""

    def __init__(self, schema: Shape, kinds: Mapping[str, Shape]) -> None:
        self._schema = schema
        self._kinds = kinds

    def table(self, title: str, path: tuple[str, ...], shape: Shape) -> Iterator[str]:
        """Yield the section of a table, and those of the tables in it."""
        yield f"## {title}\n\n{shape['description']}\n\n{_KEYS_HEAD}"
        for key, found in shape["properties"].items():
            if ALIAS_OF not in found:
                yield self._row(path, key, found)
        yield ""
        inner = (self._inner((*path, key), found) for key, found in shape["properties"].items())
        for below in filter(None, inner):
            yield from self.table(_title(below[0]), *below)

    def kinds(self) -> Iterator[str]:
        """Yield the section about how values are written."""
        yield _KINDS_HEAD
        for title, kind in sorted(self._kinds.items()):
            examples = ", ".join(f"`{literal(each)}`" for each in kind["examples"])
            yield _cells(f'<a id="{_slug(title)}"></a>{title}', kind["description"], examples)
        yield ""

    def _row(self, path: tuple[str, ...], key: str, found: Shape) -> str:
        below = self._inner((*path, key), found)
        name = f"[`{key}`](#{_slug(_title(below[0]))})" if below is not None else f"`{key}`"
        shape = self._resolved(found)
        default = f"`{literal(shape['default'])}`" if "default" in shape else ""
        return _cells(name, self._kind(shape), default, self._meaning(shape, below is not None))

    def _meaning(self, shape: Shape, has_section: bool) -> str:
        """Return what a key means, without what another section of the page already says."""
        text: str = shape["description"]
        if has_section:
            return text.split("\n\n")[0]
        kind = self._kinds.get(shape.get("title", ""))
        return text.removesuffix(kind["description"]) if kind is not None else text

    def _kind(self, shape: Shape) -> str:
        """Return what kinds of values a key can have, in a few words."""
        if shape.get("title") in self._kinds:
            return f"[{shape['title']}](#{_slug(shape['title'])})"
        if "const" in shape or "enum" in shape:
            return ", ".join(
                f"`{literal(each)}`" for each in shape.get("enum", [shape.get("const")])
            )
        if "anyOf" in shape:
            return " or ".join(self._kind(self._resolved(each)) for each in shape["anyOf"])
        if shape["type"] == "array":
            return f"list of {self._kind(self._resolved(shape['items']))}"
        bounds = [f" {word} {shape[key]}" for key, word in _BOUNDS.items() if key in shape]
        return _JSON_TYPES[shape["type"]] + "".join(bounds)

    def _inner(self, path: tuple[str, ...], found: Shape) -> tuple[tuple[str, ...], Shape] | None:
        """Return the table at a key, or at any name below it, if the page has a section for it."""
        if path == (DEFAULTS,):
            return None  # it has the keys of a service, which have a section already
        for element in found.get("patternProperties", {}).values():
            path, found = (*path, "NAME"), element
        # The section starts with the docstring of the table, not with that of its key.
        shape = self._resolved({key: found[key] for key in found if key != "description"})
        return (path, shape) if "properties" in shape and SPARSE not in shape else None

    def _resolved(self, shape: Shape) -> Shape:
        """Return *shape*, or what it refers to, with the keywords that stand beside ``$ref``."""
        if "$ref" not in shape:
            return shape
        return {**self._schema["$defs"][shape["$ref"].removeprefix("#/$defs/")], **shape}


def _title(path: tuple[str, ...]) -> str:
    return f"`[{'.'.join(path)}]`"


def _slug(title: str) -> str:
    """Return the anchor that GitHub gives a heading."""
    kept = (each for each in title.lower() if each.isalnum() or each in " -_")
    return "".join(kept).replace(" ", "-")


def _cells(*texts: str) -> str:
    """Return a row of a table, without line breaks, and with each | escaped: both end a cell."""
    cells = (" ".join(text.split()).replace("|", r"\|") for text in texts)
    return f"| {' | '.join(cells)} |"


if __name__ == "__main__":
    print(reference(json_schema(), kinds()), end="")
