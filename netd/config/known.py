"""Which keys a table can have, according to the schema."""

from __future__ import annotations

from collections.abc import Sequence
from typing import get_args, get_origin

from pydantic import BaseModel

from netd.config.docstrings import keys


def has_key(table: type[BaseModel], path: Sequence[str]) -> bool:
    """Whether a file can have the key at *path* in *table*, by any of its names.

    A table without known keys, such as ``options``, can have any key.
    """
    name, *below = path
    fields = (field for each, field in table.model_fields.items() if name in keys(each, field))
    field = next(fields, None)
    if field is None or not below:
        return field is not None
    if get_origin(field.annotation) is dict:
        return True
    return any(
        isinstance(kind, type) and issubclass(kind, BaseModel) and has_key(kind, below)
        for kind in (field.annotation, *get_args(field.annotation))
    )
