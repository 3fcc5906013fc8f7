"""``netd.worker.importing``: a configuration's modules, found, loaded and complained about.

Importing changes a process for good, so each test has one of its own.
"""

from __future__ import annotations

import json
import subprocess
import sys
from pathlib import Path
from typing import Any

import pytest

HANDLER = "class H:\n    name = __name__\n"

PROGRAM = """
import json, sys
from netd.model.service import Reference
from netd.worker.importing import CannotImport, imported_from, load, put_first

path, reference = json.loads(sys.argv[1]), sys.argv[2]
put_first(path)
try:
    loaded = load(Reference(*reference.split(":")), path)
except CannotImport as error:
    sys.exit(f"CannotImport: {error}")
"""


def python(program: str, *arguments: str) -> subprocess.CompletedProcess[str]:
    """Run a program as a worker is run: without the current directory on its path."""
    command = [sys.executable, "-P", "-W", "ignore", "-c", program, *arguments]
    return subprocess.run(command, capture_output=True, text=True, timeout=30)


def loaded(reference: str, *path: Path, then: str = "print(json.dumps(loaded.name))") -> Any:
    """Load *reference* and return the JSON that *then* prints about it."""
    done = python(PROGRAM + then, json.dumps([str(each) for each in path]), reference)
    assert done.stderr == ""
    return json.loads(done.stdout)


def complaint(reference: str, *path: Path) -> str:
    """What ``load`` says against *reference*."""
    done = python(PROGRAM, json.dumps([str(each) for each in path]), reference)
    assert done.stderr.startswith("CannotImport: "), done.stderr
    return done.stderr.removeprefix("CannotImport: ").removesuffix("\n")


def write(directory: Path, **modules: str) -> Path:
    """Write modules; ``__`` in a name stands for the slash of a package."""
    for name, text in modules.items():
        file = directory.joinpath(*name.split("__")).with_suffix(".py")
        file.parent.mkdir(parents=True, exist_ok=True)
        (file.parent / "__init__.py").touch() if file.parent != directory else None
        file.write_text(text)
    return directory


class TestFound:
    def test_module(self, tmp_path: Path) -> None:
        """A class is found in a module of ``python_path``."""
        assert loaded("timeserver:H", write(tmp_path, timeserver=HANDLER)) == "timeserver"

    def test_module_in_a_package(self, tmp_path: Path) -> None:
        """A dotted name leads into packages, however deep."""
        write(tmp_path, mine__deep__time=HANDLER)
        (tmp_path / "mine" / "__init__.py").touch()
        assert loaded("mine.deep.time:H", tmp_path) == "mine.deep.time"

    def test_directory_without_init(self, tmp_path: Path) -> None:
        """A directory without ``__init__.py`` is a package as well."""
        (tmp_path / "mine").mkdir()
        (tmp_path / "mine" / "time.py").write_text(HANDLER)
        assert loaded("mine.time:H", tmp_path) == "mine.time"

    def test_first_directory_wins(self, tmp_path: Path) -> None:
        """Directories are searched in their order."""
        for name in ("a", "b"):
            (tmp_path / name).mkdir()
            write(tmp_path / name, m=f"class H:\n    name = {name!r}\n")
        assert loaded("m:H", tmp_path / "b", tmp_path / "a") == "b"

    def test_installed(self, tmp_path: Path) -> None:
        """What is installed is found without any ``python_path``."""
        then = "print(json.dumps(loaded.__module__))"
        assert loaded("http.server:SimpleHTTPRequestHandler", then=then) == "http.server"

    def test_imports_from_beside(self, tmp_path: Path) -> None:
        """Modules of ``python_path`` import each other, at the top or later."""
        write(tmp_path, common=HANDLER, m="from common import H")
        assert loaded("m:H", tmp_path) == "common"

    def test_by_a_function_of_the_module(self, tmp_path: Path) -> None:
        """A name that a module makes when it is asked for (PEP 562) is found."""
        write(tmp_path, m="def __getattr__(name):\n    return type(name, (), {'name': name})")
        assert loaded("m:H", tmp_path) == "H"


class TestStandardLibraryFirst:
    @pytest.mark.parametrize("name", ["queue", "logging", "json", "html", "socketserver", "time"])
    def test_the_users_own_is_loaded(self, tmp_path: Path, name: str) -> None:
        """A handler may stand in a module that is called like one of Python's."""
        write(tmp_path, **{name: HANDLER})
        assert loaded(f"{name}:H", tmp_path) == f"python_path_{name}"

    @pytest.mark.parametrize(
        "name", ["queue", "html", "logging", "json", "string", "code", "sched"]
    )
    def test_everybody_else_gets_pythons(self, tmp_path: Path, name: str) -> None:
        """Whoever imports that name, the library itself too, gets the library's module."""
        write(tmp_path, **{name: HANDLER, "other": f"import {name}\nH = {name}"})
        then = f"import {name}; print(json.dumps([loaded.__file__, {name}.__file__]))"
        for file in loaded("other:H", tmp_path, then=then):
            assert not file.startswith(str(tmp_path))

    def test_beside_the_users_own(self, tmp_path: Path) -> None:
        """Having loaded the user's ``queue`` and ``html``, the library still works."""
        write(tmp_path, queue="import queue\nclass H:\n    name = queue.Queue.__module__", html="")
        then = "import http.server, concurrent.futures; print(json.dumps(loaded.name))"
        assert loaded("queue:H", tmp_path, then=then) == "queue"

    def test_loaded_once(self, tmp_path: Path) -> None:
        """A handler and a filter of the same module share it."""
        write(tmp_path, queue="class H: pass\nclass G: pass\nH.other = G")
        then = "print(json.dumps(load(Reference('queue', 'G'), path) is loaded.other))"
        assert loaded("queue:H", tmp_path, then=then) is True

    def test_package(self, tmp_path: Path) -> None:
        """A package with such a name works, if its modules import each other relatively."""
        text = "from . import sister\nfrom .sister import name as n\nclass H:\n    name = n"
        write(tmp_path, html__brother=text, html__sister="name = __name__")
        assert loaded("html.brother:H", tmp_path) == "python_path_html.sister"
        (tmp_path / "html" / "__init__.py").write_text("from .brother import H")
        assert loaded("html:H", tmp_path) == "python_path_html.sister"

    @pytest.mark.parametrize("name", ["test", "this"])
    def test_names_that_no_module_of_python_imports(self, tmp_path: Path, name: str) -> None:
        """``test.py`` is an ordinary module, for everybody."""
        write(tmp_path, **{name: HANDLER, "other": f"from {name} import H"})
        assert loaded("other:H", tmp_path) == name

    def test_pythons_own_by_reference(self, tmp_path: Path) -> None:
        """Where ``python_path`` has no such module, the library's is meant."""
        then = "print(json.dumps(loaded.__module__))"
        reference = "http.server:BaseHTTPRequestHandler"
        assert loaded(reference, tmp_path, then=then) == "http.server"

    def test_missing_in_such_a_package(self, tmp_path: Path) -> None:
        """A module that is missing there is named as the configuration names it."""
        write(tmp_path, html__brother=HANDLER)
        assert (
            complaint("html.uncle:H", tmp_path) == f'there is no module "html.uncle" ({tmp_path})'
        )

    def test_fails_the_second_time_too(self, tmp_path: Path) -> None:
        """A module of such a name that raised is not taken for one that was loaded."""
        write(tmp_path, queue="1 / 0")
        then = "sys.exit('loaded')"
        program = PROGRAM.replace("sys.exit(f", "print(f").replace("try:", "for _ in 1, 2:\n  try:")
        program = program.replace("\n    loaded", "\n    loaded").replace("\nexcept", "\n  except")
        done = python(program + then, json.dumps([str(tmp_path)]), "queue:H")
        assert done.stdout.count("ZeroDivisionError") == 2


class TestComplaints:
    """Each is one line, and names the user's own file and line wherever there is one."""

    def test_no_module(self, tmp_path: Path) -> None:
        """A missing module is named with the directories that were searched."""
        there = f"{tmp_path}, {tmp_path / 'more'}"
        (tmp_path / "more").mkdir()
        assert complaint("tmie:H", tmp_path, tmp_path / "more") == (
            f'there is no module "tmie" ({there})'
        )

    def test_no_module_and_no_path(self) -> None:
        """Without any ``python_path`` that may be the reason."""
        assert complaint("tmie:H") == 'there is no module "tmie" (no python_path is set)'

    def test_no_package(self, tmp_path: Path) -> None:
        """The part of a dotted name that is missing is the one that is named."""
        assert complaint("mine.time:H", tmp_path) == f'there is no module "mine" ({tmp_path})'
        write(tmp_path, mine__other="")
        assert complaint("mine.time:H", tmp_path) == f'there is no module "mine.time" ({tmp_path})'

    def test_directory_that_cannot_be_read(self, tmp_path: Path) -> None:
        """A directory that the service's user cannot read looks empty, so that is said."""
        there = tmp_path / "absent"
        expected = f'there is no module "m" ({there}, which uid '
        assert complaint("m:H", there).startswith(expected)
        assert complaint("m:H", there).endswith(" cannot read)")

    def test_imports_what_is_missing(self, tmp_path: Path) -> None:
        """A module that is there and imports one that is not raises, at its line."""
        write(tmp_path, m="import os\nimport requests_of_mine\n")
        assert complaint("m:H", tmp_path) == (
            f'importing "m": {tmp_path}/m.py:2: '
            "ModuleNotFoundError: No module named 'requests_of_mine'"
        )

    def test_raises(self, tmp_path: Path) -> None:
        """What a module raises is said with its line."""
        write(tmp_path, m="\n\nraise RuntimeError('no database')\n")
        assert complaint("m:H", tmp_path) == (
            f'importing "m": {tmp_path}/m.py:3: RuntimeError: no database'
        )

    def test_raises_in_a_function(self, tmp_path: Path) -> None:
        """The innermost line counts, in whatever file of the user's it stands."""
        write(tmp_path, m="import n\nn.f()\n", n="def f():\n\n    return {}['key']\n")
        assert complaint("m:H", tmp_path) == f"importing \"m\": {tmp_path}/n.py:3: KeyError: 'key'"

    def test_raises_in_the_library(self, tmp_path: Path) -> None:
        """Where the library raises, the user's line that called it is named."""
        write(tmp_path, m="import json\nx = json.loads('{')\n")
        assert complaint("m:H", tmp_path).startswith(
            f'importing "m": {tmp_path}/m.py:2: json.decoder.JSONDecodeError: '
        )

    def test_raises_in_what_is_installed(self, tmp_path: Path) -> None:
        """Without a line of the user's, that of the installed module is named."""
        assert complaint("antigravity.mine:H").startswith('there is no module "antigravity.mine"')
        there = write(tmp_path, installed="\n1 / 0\n")
        program = f"import sys; sys.path.append({str(there)!r})\n" + PROGRAM
        done = python(program, json.dumps(["/nowhere"]), "installed:H")
        assert done.stderr == (
            f'CannotImport: importing "installed": {there}/installed.py:2: '
            "ZeroDivisionError: division by zero\n"
        )

    def test_path_that_says_importlib(self, tmp_path: Path) -> None:
        """A line of the user's is named whatever his directories are called."""
        there = tmp_path / "my-importlib-tricks"
        there.mkdir()
        write(there, m="\n1 / 0\n")
        assert complaint("m:H", there) == (
            f'importing "m": {there}/m.py:2: ZeroDivisionError: division by zero'
        )

    def test_message_of_several_lines(self, tmp_path: Path) -> None:
        """Of a long message the beginning is shown, which has the exception's name."""
        write(tmp_path, m="e = ValueError('one\\ntwo')\ne.add_note('a note')\nraise e")
        assert complaint("m:H", tmp_path) == f'importing "m": {tmp_path}/m.py:3: ValueError: one'

    def test_exception_that_cannot_be_shown(self, tmp_path: Path) -> None:
        """An exception whose text raises is still one with a name and a line."""
        write(tmp_path, m="class E(Exception):\n    def __str__(self): 1 / 0\nraise E")
        assert complaint("m:H", tmp_path).startswith(f'importing "m": {tmp_path}/m.py:3: m.E')

    def test_syntax(self, tmp_path: Path) -> None:
        """A syntax error is where Python finds it, also in a module imported by the named one."""
        write(tmp_path, m="\nimport n\n", n="x = 1\ny = (\n\nz = = 2\n")
        assert complaint("n:H", tmp_path).startswith(
            f'importing "n": {tmp_path}/n.py:2: SyntaxError: '
        )
        assert complaint("m:H", tmp_path).startswith(
            f'importing "m": {tmp_path}/n.py:2: SyntaxError: '
        )

    def test_syntax_of_a_string(self, tmp_path: Path) -> None:
        """A syntax error in something evaluated has no file: the line that evaluates is named."""
        write(tmp_path, m="\nx = eval('1 +')\n")
        assert complaint("m:H", tmp_path).startswith(
            f'importing "m": {tmp_path}/m.py:2: SyntaxError: invalid syntax'
        )

    def test_file_that_is_no_python(self, tmp_path: Path) -> None:
        """Bytes that are no source at all are a complaint like any other."""
        for number, junk in enumerate((b"\0\0", b"\xff\xfe", b"# coding: nonsense\n")):
            (tmp_path / f"m{number}.py").write_bytes(junk)
            assert complaint(f"m{number}:H", tmp_path).startswith(f'importing "m{number}": ')

    @pytest.mark.parametrize(
        ("text", "what"),
        [("sys.exit(3)", "SystemExit: 3"), ("raise KeyboardInterrupt", "KeyboardInterrupt")],
    )
    def test_leaves(self, tmp_path: Path, text: str, what: str) -> None:
        """A module that leaves is one that cannot be used."""
        write(tmp_path, m=f"import sys\n{text}\n")
        assert complaint("m:H", tmp_path) == f'importing "m": {tmp_path}/m.py:2: {what}'

    def test_no_such_name(self, tmp_path: Path) -> None:
        """A name that a module has not is said with the module's file, and the nearest name."""
        write(tmp_path, timeserver="class TimeServer: pass")
        assert complaint("timeserver:TimeSrever", tmp_path) == (
            f'module "timeserver" ({tmp_path}/timeserver.py) has no "TimeSrever"; '
            'did you mean "TimeServer"?'
        )
        assert complaint("timeserver:Xyz", tmp_path).endswith('has no "Xyz"')

    def test_no_such_name_in_a_directory(self, tmp_path: Path) -> None:
        """A package without a file is shown by its directory."""
        (tmp_path / "mine").mkdir()
        assert complaint("mine:H", tmp_path) == f'module "mine" ({tmp_path}/mine) has no "H"'

    def test_no_such_name_in_python(self) -> None:
        """A module without any file is Python's own."""
        assert complaint("sys:Xyz") == 'module "sys" (built in) has no "Xyz"'

    def test_function_of_the_module_raises(self, tmp_path: Path) -> None:
        """A module that makes its names, and raises doing so, costs a complaint as well."""
        write(tmp_path, m="def __getattr__(name):\n    import not_there\n")
        assert complaint("m:H", tmp_path) == (
            f"importing \"m\": {tmp_path}/m.py:2: ModuleNotFoundError: No module named 'not_there'"
        )


class TestImportedFrom:
    def test_files(self, tmp_path: Path) -> None:
        """All that was imported from ``python_path`` is listed, and nothing else."""
        write(
            tmp_path,
            m="import html, json, mine.a, python_path_free\nclass H: pass",
            mine__a="from . import b",
            mine__b="",
            mine__unused="",
            python_path_free="",
            queue="",
        )
        then = "print(json.dumps(imported_from(path)))"
        assert loaded("m:H", tmp_path, then=then) == [
            f"{tmp_path}/{name}.py"
            for name in ("m", "mine/__init__", "mine/a", "mine/b", "python_path_free")
        ]

    def test_beside_the_library(self, tmp_path: Path) -> None:
        """A module that is called like one of Python's is listed under its own file."""
        write(tmp_path, queue="class H: pass")
        then = "print(json.dumps(imported_from(path)))"
        assert loaded("queue:H", tmp_path, then=then) == [f"{tmp_path}/queue.py"]

    def test_neighbours(self, tmp_path: Path) -> None:
        """A directory whose name only begins like one of ``python_path`` is another one."""
        for name in ("lib", "library"):
            (tmp_path / name).mkdir()
            write(tmp_path / name, **{f"of_{name}": HANDLER})
        then = (
            f"sys.path.append({str(tmp_path / 'library')!r}); import of_library; "
            "print(json.dumps(imported_from(path)))"
        )
        expected = [f"{tmp_path}/lib/of_lib.py"]
        assert loaded("of_lib:H", tmp_path / "lib", then=then) == expected

    def test_without_a_path(self) -> None:
        """Without ``python_path`` nothing is the user's."""
        then = "print(json.dumps(imported_from(path)))"
        assert loaded("http.server:HTTPServer", then=then) == []

    def test_odd_modules(self, tmp_path: Path) -> None:
        """What people put into ``sys.modules`` may be anything, and does no harm."""
        text = (
            "import sys, pathlib, types\n"
            "class Raises:\n    def __getattr__(self, name): raise RuntimeError(name)\n"
            "sys.modules['raises'] = Raises()\n"
            "sys.modules['none'] = None\n"
            "sys.modules['path'] = types.ModuleType('path')\n"
            "sys.modules['path'].__file__ = pathlib.Path('x')\n"
            "class H: pass\n"
        )
        write(tmp_path, m=text)
        then = "print(json.dumps(imported_from(path)))"
        assert loaded("m:H", tmp_path, then=then) == [f"{tmp_path}/m.py"]
