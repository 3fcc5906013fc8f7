"""Importing what a configuration names from ``python_path``, without hiding Python's own modules.

``python_path`` stands before ``sys.path``. A handler's module ``queue.py`` or ``html.py`` there
would be found by every part of the standard library that later imports the real one. So ordinary
imports look into the standard library first, and a module that the configuration names is loaded
from its file, under another name if the standard library has a module of that name.
"""

from __future__ import annotations

import difflib
import importlib
import os
import sys
import traceback
from collections.abc import Sequence
from importlib.abc import MetaPathFinder
from importlib.machinery import ModuleSpec, PathFinder
from importlib.util import module_from_spec, spec_from_file_location
from types import ModuleType
from typing import Any, Final

from netd.model.service import Reference

_STANDARD: Final = sys.stdlib_module_names - {
    # Programs and tests that come with Python. No other module imports them, and users have
    # modules of these names.
    "__hello__", "__phello__", "antigravity", "idlelib", "lib2to3", "test", "this",
    "turtle", "turtledemo",
}  # fmt: skip


_BESIDE: Final = "python_path_"
"""Prefix for a module whose name the standard library has, too."""


class CannotImport(Exception):
    """What a reference names cannot be imported or built. The text says why, for its author."""


class StandardLibraryFirst(MetaPathFinder):
    """Finds modules of the standard library, without looking into ``python_path``."""

    def __init__(self, python_path: Sequence[str]) -> None:
        self._python_path = frozenset(python_path)

    def find_spec(
        self, name: str, path: Sequence[str] | None = None, target: ModuleType | None = None
    ) -> ModuleSpec | None:
        """Find a top-level module of the standard library; leave others to the next finder."""
        if path is not None or name not in _STANDARD:
            return None
        return PathFinder.find_spec(name, [p for p in sys.path if p not in self._python_path])


def put_first(python_path: Sequence[str]) -> None:
    """Search *python_path* before ``sys.path``, but after the standard library. Call this once."""
    sys.path[:0] = python_path
    sys.meta_path.insert(0, StandardLibraryFirst(python_path))


def load(reference: Reference, python_path: Sequence[str]) -> Any:
    """Import what *reference* names. Whatever the module raises becomes CannotImport."""
    module = _load_module(reference.module, python_path)
    try:
        return getattr(module, reference.name)
    except AttributeError:
        near = difflib.get_close_matches(reference.name, dir(module), 1)
        hint = f'; did you mean "{near[0]}"?' if near else ""
        raise CannotImport(
            f'module "{reference.module}" ({_place(module)}) has no "{reference.name}"{hint}'
        ) from None
    except BaseException as error:
        # Raised by the module's own __getattr__ (PEP 562), which may import as well.
        raise CannotImport(_what_raised(reference.module, error, python_path)) from error


def _load_module(name: str, python_path: Sequence[str]) -> ModuleType:
    try:
        top, _, rest = name.partition(".")
        own = top in _STANDARD and PathFinder.find_spec(top, list(python_path))
        if own and own.origin:
            return _load_beside(own, rest)
        return importlib.import_module(name)
    except ModuleNotFoundError as error:
        # Either the named module, or a package above it, or another one that it imports.
        missing = (error.name or "").removeprefix(_BESIDE)
        if missing and f"{name}.".startswith(f"{missing}."):
            where = ", ".join(map(_searched, python_path)) or "no python_path is set"
            raise CannotImport(f'there is no module "{missing}" ({where})') from None
        raise CannotImport(_what_raised(name, error, python_path)) from error
    except BaseException as error:
        # SystemExit and KeyboardInterrupt too: a module that exits cannot be used, either.
        raise CannotImport(_what_raised(name, error, python_path)) from error


def _load_beside(spec: ModuleSpec, rest: str) -> ModuleType:
    """Load a module whose name the standard library has, under another name."""
    name = _BESIDE + spec.name
    if name not in sys.modules:
        assert spec.origin is not None
        beside = spec_from_file_location(
            name, spec.origin, submodule_search_locations=spec.submodule_search_locations
        )
        assert beside is not None
        assert beside.loader is not None
        # Before it is executed, as the import system does: the module may import itself.
        sys.modules[name] = module = module_from_spec(beside)
        try:
            beside.loader.exec_module(module)
        except BaseException:
            del sys.modules[name]
            raise
    return importlib.import_module(f"{name}.{rest}" if rest else name)


def _searched(directory: str) -> str:
    """A directory for the message. Python's finders skip one that they cannot read, silently."""
    if os.access(directory, os.R_OK | os.X_OK):
        return directory
    return f"{directory}, which uid {os.geteuid()} cannot read"


def _what_raised(name: str, error: BaseException, python_path: Sequence[str]) -> str:
    """Describe what the import raised, and the line of user code that raised it."""
    if isinstance(error, SyntaxError):
        what = f"{type(error).__name__}: {error.msg}"
    else:
        what = traceback.format_exception_only(error)[0].splitlines()[0]
    where = _where(error, python_path)
    return f'importing "{name}": {where}: {what}' if where else f'importing "{name}": {what}'


def _where(error: BaseException, python_path: Sequence[str]) -> str | None:
    """The innermost line of the user's own code, or else of any code but the import system."""
    if isinstance(error, SyntaxError) and error.filename and os.path.exists(error.filename):
        return f"{error.filename}:{error.lineno or 1}"
    frames = [
        frame
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith("<frozen importlib")
        and frame.filename not in (importlib.__file__, __file__)
    ]
    theirs = _prefixes(python_path)
    own = [frame for frame in frames if frame.filename.startswith(theirs)]
    if not frames:
        return None
    innermost = (own or frames)[-1]
    return f"{innermost.filename}:{innermost.lineno}"


def _place(module: ModuleType) -> str:
    return _file_of(module) or ", ".join(getattr(module, "__path__", ())) or "built in"


def imported_from(python_path: Sequence[str]) -> list[str]:
    """Return the source files that this process has imported from ``python_path``, sorted."""
    theirs = _prefixes(python_path)
    # A list: another thread may import meanwhile.
    files = {_file_of(module) for module in list(sys.modules.values())}
    return sorted(file for file in files if file.startswith(theirs))


def _file_of(module: object) -> str:
    """The file of a module, or "". User code may put any object into ``sys.modules``."""
    try:
        file = getattr(module, "__file__", None)
    except Exception:
        return ""
    return file if isinstance(file, str) else ""


def _prefixes(python_path: Sequence[str]) -> tuple[str, ...]:
    return tuple(os.path.join(directory, "") for directory in python_path)
