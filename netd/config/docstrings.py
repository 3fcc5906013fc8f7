"""What is said about keys, and members of enumerations: the docstring under each attribute."""

from __future__ import annotations

import ast
import inspect
from collections.abc import Iterator, Mapping
from enum import Enum
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


def of_members(enum: type[Enum]) -> Mapping[str, str]:
    """The docstring of each member of *enum* that has one, by its name."""
    return dict(_under_attributes(enum))


def _own(model: type[BaseModel]) -> Mapping[str, str]:
    fields = model.model_fields
    return {keys(name, fields[name])[0]: text for name, text in _under_attributes(model)}


def _under_attributes(where: type) -> Iterator[tuple[str, str]]:
    """The names in the body of a class, each with the docstring under it if there is one."""
    (body,) = ast.parse(inspect.getsource(where)).body
    assert isinstance(body, ast.ClassDef)
    for key, text in pairwise(body.body):
        match key, text:
            case (
                ast.AnnAssign(target=ast.Name(id=name)) | ast.Assign(targets=[ast.Name(id=name)]),
                ast.Expr(value=ast.Constant(value=str(docstring))),
            ):
                yield name, unwrapped(docstring)
