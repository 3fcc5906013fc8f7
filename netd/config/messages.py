"""Messages for what pydantic finds wrong, in the words of the file instead of Python's."""

from __future__ import annotations

import difflib
from collections.abc import Callable, Iterable, Mapping
from typing import Final, get_args, get_origin

from pydantic import BaseModel
from pydantic_core import ErrorDetails

from netd.config.docstrings import docstrings, first_sentence, keys
from netd.config.text import shown

_WORDS: Final[dict[str, Callable[[Mapping[str, object]], str]]] = {
    "int_type": lambda _: "must be a whole number",
    "string_type": lambda _: "must be a string",
    "bool_type": lambda _: "must be true or false",
    "list_type": lambda _: "must be a list",
    "dict_type": lambda _: "must be a table",
    "model_type": lambda _: "must be a table",
    "literal_error": lambda context: f"must be {context['expected']}".replace("'", '"'),
    "greater_than_equal": lambda context: f"must be {context['ge']} or more",
    "less_than_equal": lambda context: f"must be {context['le']} or less",
    "too_short": lambda _: "must not be empty",
    "value_error": lambda context: str(context["error"]),
}


def message(error: ErrorDetails, model: type[BaseModel]) -> str:
    """Return what is wrong with a key of *model*'s table, and what would be right."""
    kind, value = error["type"], error["input"]
    if kind == "missing":
        return f"is required: {_described(model, error['loc'])}"
    if kind == "extra_forbidden":
        return unknown_key(str(error["loc"][-1]), _keys_around(model, error["loc"]))
    words = _WORDS.get(kind)
    text = words(error.get("ctx", {})) if words is not None else error["msg"].lower()
    if kind == "list_type" and isinstance(value, str):
        return f"{text}: [{shown(value)}], not {shown(value)}"
    # A text with "must be" says only what would be right, so the value is appended here.
    return f"{text}, not {shown(value)}" if text.startswith("must be ") else text


def unknown_key(key: str, known: Iterable[str]) -> str:
    """Return that *key* is unknown, and which known key is most like it."""
    known = sorted(known)
    # 0.6 finds a typo or two; below that, suggestions mislead more than the full list.
    near = difflib.get_close_matches(key.lower(), known, 1, cutoff=0.6)
    if near:
        return f'unknown key; did you mean "{near[0]}"?'
    return f"unknown key; known here are {', '.join(known)}"


def _described(model: type[BaseModel], path: tuple[int | str, ...]) -> str:
    table = _table_around(model, path)
    text = docstrings(table).get(str(path[-1])) if table is not None else None
    return first_sentence(text) if text is not None else "it has no default"


def _keys_around(model: type[BaseModel], path: tuple[int | str, ...]) -> Iterable[str]:
    table = _table_around(model, path)
    return [keys(name, field)[0] for name, field in table.model_fields.items()] if table else ()


def _table_around(model: type[BaseModel], path: tuple[int | str, ...]) -> type[BaseModel] | None:
    """Return the table that has the last key of *path*, which starts at *model*'s table."""
    keys_on_the_way = iter(path[:-1])
    for key in keys_on_the_way:
        field = model.model_fields.get(str(key))
        inner = field.annotation if field is not None else None
        if get_origin(inner) is dict:  # a table of tables, each under a name
            inner = get_args(inner)[1]
            next(keys_on_the_way, None)
        if not isinstance(inner, type) or not issubclass(inner, BaseModel):
            return None
        model = inner
    return model
