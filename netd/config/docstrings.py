"""The docstrings under the fields of tables and the members of enumerations."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from enum import Enum
from itertools import pairwise

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo


def docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """Return the docstring of each key of *model* that has one, one line for each paragraph.

    They are read from the source on demand. Pydantic's ``use_attribute_docstrings`` would read them
    for every table at every start, which takes 2 ms each.
    """
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found.update(_own(base))
    return found


def keys(name: str, field: FieldInfo) -> list[str]:
    """Return the names that a file can use for a field of a table, the usual one first."""
    alias = field.validation_alias
    return [str(each) for each in alias.choices] if isinstance(alias, AliasChoices) else [name]


def first_sentence(text: str) -> str:
    """Return the first sentence of a docstring, for use after a colon."""
    sentence = text.split("\n\n")[0].split(". ")[0].removesuffix(".").replace("`", "")
    return sentence[:1].lower() + sentence[1:]


def unwrapped(text: str) -> str:
    """Return a docstring with one line for each paragraph."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


def of_members(enum: type[Enum]) -> Mapping[str, str]:
    """Return the docstring of each member of *enum* that has one, by its name."""
    return dict(_under_attributes(enum))


def _own(model: type[BaseModel]) -> Mapping[str, str]:
    fields = model.model_fields
    return {keys(name, fields[name])[0]: text for name, text in _under_attributes(model)}


def _under_attributes(where: type) -> Iterator[tuple[str, str]]:
    """Yield the names in the body of a class that have a docstring under them, with it."""
    (body,) = ast.parse(inspect.getsource(where)).body
    assert isinstance(body, ast.ClassDef)
    for key, text in pairwise(body.body):
        match key, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(docstring))),
            ):
                yield name, unwrapped(docstring)
