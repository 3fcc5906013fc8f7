"""What the schema says about its keys: the docstring under each attribute of a table."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Mapping
from itertools import pairwise

from pydantic import AliasChoices, BaseModel
from pydantic.fields import FieldInfo


def docstrings(model: type[BaseModel]) -> Mapping[str, str]:
    """The docstring of each key of *model* that has one, on one line a paragraph.

    Read from the source when somebody asks: pydantic would do it (``use_attribute_docstrings``)
    for every table at every start, which costs 2 ms each.
    """
    found: dict[str, str] = {}
    for base in reversed(model.__mro__):
        if issubclass(base, BaseModel) and base is not BaseModel:
            found.update(_own(base))
    return found


def keys(name: str, field: FieldInfo) -> list[str]:
    """The keys that a file can have for a field of a table, the usual one first."""
    alias = field.validation_alias
    return [str(each) for each in alias.choices] if isinstance(alias, AliasChoices) else [name]


def first_sentence(text: str) -> str:
    """The first sentence of a docstring, to go on from a colon."""
    sentence = text.split("\n\n")[0].split(". ")[0].removesuffix(".").replace("`", "")
    return sentence[:1].lower() + sentence[1:]


def unwrapped(text: str) -> str:
    """A docstring with one line a paragraph."""
    paragraphs = inspect.cleandoc(text).split("\n\n")
    return "\n\n".join(" ".join(paragraph.split("\n")) for paragraph in paragraphs)


def _own(model: type[BaseModel]) -> Mapping[str, str]:
    (table,) = ast.parse(inspect.getsource(model)).body
    assert isinstance(table, ast.ClassDef)
    found = {}
    for key, text in pairwise(table.body):
        match key, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)),
                ast.Expr(value=ast.Constant(value=str(docstring))),
            ):
                found[keys(name, model.model_fields[name])[0]] = unwrapped(docstring)
    return found
