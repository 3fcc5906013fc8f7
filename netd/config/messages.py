"""What pydantic found wrong, in words for the person who wrote the file."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable
from typing import Any, Final

from pydantic import BaseModel
from pydantic_core import ErrorDetails

_WORDS: Final[dict[str, Callable[[dict[str, Any]], str]]] = {
    "int_type": lambda _: "must be a whole number",
    "float_type": lambda _: "must be a number",
    "string_type": lambda _: "must be a string",
    "bool_type": lambda _: "must be true or false",
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a table",
    "model_type": lambda _: "must be a table",
    "model_attributes_type": lambda _: "must be a table",
    "literal_error": lambda context: f"must be {context['expected']}",
    "greater_than_equal": lambda context: f"must be {context['ge']} or more",
    "less_than_equal": lambda context: f"must be {context['le']} or less",
    "too_short": lambda _: "must not be empty",
    "string_too_short": lambda _: "must not be empty",
}


def message(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Say what is wrong with a key of *model*'s table, and what would be right."""
    kind, context = error["type"], error.get("ctx", {})
    if kind == "missing":
        return f"is required: {_described(model, error['loc'])}"
    if kind == "extra_forbidden":
        return unknown_key(str(error["loc"][-1]), _keys_around(model, error["loc"]))
    if kind == "value_error":
        return str(context["error"])
    words = _WORDS.get(kind)
    text = words(context) if words is not None else error["msg"].lower()
    return f"{text}, not {_shown(error['input'])}"


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Say that *key* means nothing, and which one may have been meant."""
    known = sorted(known)
    near = difflib.get_close_matches(key, known, 1, cutoff=0.6)
    if near:
        return f'unknown key; did you mean "{near[0]}"?'
    return f"unknown key; known here are {', '.join(known)}"


def _shown(value: Any) -> str:
    if isinstance(value, bool):
        return str(value).lower()
    if isinstance(value, dict):
        return "a table"
    if isinstance(value, list):
        return "a list"
    return f'"{value}"' if isinstance(value, str) else str(value)


def _described(model: type[BaseModel], path: tuple[int | str, ...]) -> str:
    field = model.model_fields.get(str(path[-1]))
    return (field.description if field is not None else None) or "it has no default"


def _keys_around(model: type[BaseModel], path: tuple[int | str, ...]) -> Iterable[str]:
    """The keys of the table that *path* lies in, itself somewhere below *model*'s."""
    for key in path[:-1]:
        field = model.model_fields.get(str(key))
        inner = field.annotation if field is not None else None
        if not isinstance(inner, type) or not issubclass(inner, BaseModel):
            return ()
        model = inner
    return model.model_fields
