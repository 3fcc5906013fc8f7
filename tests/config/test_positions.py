"""The line of every key: by example, on hard documents, and on generated ones."""

from __future__ import annotations

import json
import string
import time
import tomllib
from collections.abc import Iterator, Mapping
from contextlib import suppress
from dataclasses import dataclass, field
from random import Random
from typing import Any

import pytest
from hypothesis import example, given, settings
from hypothesis import strategies as st

from netd.config.positions import Path, line_of, scan


def index_of(text: str) -> Mapping[Path, int]:
    """The line of everything in *text*, by its path."""
    return scan(text).lines


def paths(value: object, around: Path = ()) -> Iterator[Path]:
    """The path of everything inside *value*, a result of tomllib."""
    members: Any = ()
    if isinstance(value, dict):
        members = value.items()
    elif isinstance(value, list):
        members = enumerate(value)
    for name, member in members:
        yield (*around, name)
        yield from paths(member, (*around, name))


class TestTables:
    """``[table]`` headers."""

    def test_header(self) -> None:
        """A header gives its line to the table, and to the tables that it implies."""
        assert index_of("\n[services.time]\nport = 1\n") == {
            ("services",): 2,
            ("services", "time"): 2,
            ("services", "time", "port"): 3,
        }

    def test_first_mention(self) -> None:
        """A table that has no header stands at the first header that mentions it."""
        assert index_of("[a.b]\n[a.c]\n") == {("a",): 1, ("a", "b"): 1, ("a", "c"): 2}

    def test_explicit_header_wins(self) -> None:
        """A table stands at its own header, although a table inside it came first."""
        assert index_of("[a.b]\n\n[a]\nc = 1\n[a.d]\n") == {
            ("a",): 3,
            ("a", "b"): 1,
            ("a", "c"): 4,
            ("a", "d"): 5,
        }

    def test_blanks_in_header(self) -> None:
        """Blanks around the parts of a header, and a comment after it, are no part of it."""
        assert index_of(' [ a . "b" ] # ]\n') == {("a",): 1, ("a", "b"): 1}

    def test_nothing(self) -> None:
        """A document without keys has no positions."""
        assert index_of("") == index_of("\r\n # only = this") == {}


class TestKeys:
    """``key = value``."""

    def test_dotted(self) -> None:
        """A dotted key places its tables too, relative to the current table, but once."""
        assert index_of("[t]\na.b = 1\na . c = 2\n") == {
            ("t",): 1,
            ("t", "a"): 2,
            ("t", "a", "b"): 2,
            ("t", "a", "c"): 3,
        }

    def test_quoted(self) -> None:
        """Quoted keys are known by what they say: escapes are read, in literal ones kept."""
        text = '"a.b" = 1\n"\\u00e9\\"\\t" = 2\n\'\\t]=#\' = 3\n"" = 4\n\'"\'."\'" = 5\n'
        assert index_of(text) == {
            ("a.b",): 1,
            ('é"\t',): 2,
            ("\\t]=#",): 3,
            ("",): 4,
            ('"',): 5,
            ('"', "'"): 5,
        }

    @pytest.mark.parametrize(
        "value",
        [
            '"] # = \\" \\\\"',
            "'] # = \\'",
            '"""\n[x]\ny = 1 # \\""" ""\n\\\n  """',
            '""""\nquoted\n"""""',
            "'''\n[x]\n''y = 1\\'''''",
            '""""""',
            "''''''",
            "1979-05-27 07:32:00.5-07:00",
            "-1_000.5e+3",
        ],
    )
    @pytest.mark.parametrize("end", ["\n", "\r\n"])
    def test_value_is_passed_over(self, value: str, end: str) -> None:
        """Nothing in a value passes for a key or an end, and its lines count."""
        text = f"a = {value}# b = 1\n\nz = 1".replace("\n", end)
        assert set(tomllib.loads(text)) == {"a", "z"}
        assert index_of(text) == {("a",): 1, ("z",): 3 + value.count("\n")}


class TestOctal:
    """``0o22``."""

    @pytest.mark.parametrize(
        ("text", "octal"),
        [
            ("a = 0o22 # 0o1\n", {("a",)}),
            ("a = 22\nb = 0x22\nc = 0b1\nd = 0\ne = '0o22'\nf = \"0o22\"\n", set()),
            ("[a.b]\n'c d'.e=0o7_7", {("a", "b", "c d", "e")}),
            ("a = {b = 0o1, c = [0, 0o1]}", {("a", "b"), ("a", "c", 1)}),
            ("[[a]]\nb = 1\n[[a]]\nb = 0o1\n", {("a", 1, "b")}),
            ("0o1 = 1", set()),
        ],
    )
    def test_is_known_by_the_text(self, text: str, octal: set[Path]) -> None:
        """To tomllib, all of these are integers or texts, and no more."""
        assert tomllib.loads(text)
        assert scan(text).octal == octal


class TestArrays:
    """``[1, 2]`` and ``{a = 1}``."""

    def test_elements(self) -> None:
        """Each element stands where it starts, whatever is between them."""
        text = 'a = [1, "]",\n  # 9, ]\n\n  """\n""",\n [\n2] ,\n]\nb = [ ]\n'
        assert index_of(text) == {
            ("a",): 1,
            ("a", 0): 1,
            ("a", 1): 1,
            ("a", 2): 4,
            ("a", 3): 6,
            ("a", 3, 0): 7,
            ("b",): 9,
        }

    def test_inline_table(self) -> None:
        """The keys of an inline table have lines of their own: values in it can span lines."""
        assert index_of("a = { b.c = [\n 1\n], b.d = {}, 'e' = [{ f = 1 }] }\ng = 1\n") == {
            ("a",): 1,
            ("a", "b"): 1,
            ("a", "b", "c"): 1,
            ("a", "b", "c", 0): 2,
            ("a", "b", "d"): 3,
            ("a", "e"): 3,
            ("a", "e", 0): 3,
            ("a", "e", 0, "f"): 3,
            ("g",): 4,
        }

    def test_linear(self) -> None:
        """A long array takes a fraction of the bound; quadratic work would take minutes."""
        text = "a = [\n" + '  "a string # ]",\n' * 100_000 + "]\n"
        before = time.process_time()
        index = index_of(text)
        assert time.process_time() - before < 2
        assert index["a", 99_999] == 100_001

    def test_depth(self) -> None:
        """Nesting is no matter of the stack: deeper than tomllib itself can go."""
        assert len(index_of("a = " + "[" * 2000 + "]" * 2000)) == 2000


class TestArraysOfTables:
    """``[[array]]`` headers."""

    def test_elements(self) -> None:
        """The array stands at its first header, each element at its own."""
        assert index_of("[[x]]\na = 1\n[[x]]\na = 2\n") == {
            ("x",): 1,
            ("x", 0): 1,
            ("x", 0, "a"): 2,
            ("x", 1): 3,
            ("x", 1, "a"): 4,
        }

    def test_below_last_element(self) -> None:
        """Headers below an array of tables, arrays too, lie in its last element."""
        assert index_of("[[x]]\n[x.y]\n[[x.z]]\n[[x]]\n[[x.z]]\n[[x.z]]\n[x.z.w]\n") == {
            ("x",): 1,
            ("x", 0): 1,
            ("x", 0, "y"): 2,
            ("x", 0, "z"): 3,
            ("x", 0, "z", 0): 3,
            ("x", 1): 4,
            ("x", 1, "z"): 5,
            ("x", 1, "z", 0): 5,
            ("x", 1, "z", 1): 6,
            ("x", 1, "z", 1, "w"): 7,
        }


class TestLineOf:
    """The lookup."""

    def test_nearest(self) -> None:
        """What is not there is at the nearest table around it, or on the first line."""
        index = index_of("\n[a]\nb = [\n1]\n")
        assert line_of(index, ("a", "b", 0)) == 4
        assert line_of(index, ("a", "b", 7, "c")) == 3
        assert line_of(index, ("a", "x")) == 2
        assert line_of(index, ("x", "b")) == 1
        assert line_of(index, ()) == 1


# Generated documents: strategies draw what a document says, and an Emitter spells it.


@dataclass
class Dotted:
    """A table that is written by dotted keys."""

    pairs: dict[str, Any]


@dataclass
class Section:
    """A table with a header: its pairs, and the headers below it (a list: an array of tables)."""

    pairs: dict[str, Any]
    below: dict[str, Section | list[Section]] = field(default_factory=dict)
    late: bool = False
    """Its header comes after those below it."""


BARE = string.ascii_letters + string.digits + "-_"
STRINGS = ['"]"', "'#'", '"\\"="', '""', '"""\n# \\""""', "'''\n[x]\n\n''''", '"""\\\n  \n"""""']
OTHERS = ["1", "-0.5e3", "true", "inf", "0xff", "07:32:00", "1979-05-27 07:32:00Z"]

names = st.text("ab0-", min_size=1, max_size=2) | st.text("a.#]=[ '\"\\\t\néλ😀", max_size=3)


def tables(inner: st.SearchStrategy[Any], max_size: int) -> st.SearchStrategy[dict[str, Any]]:
    """Pairs of names and values, of which some are tables written by dotted keys."""
    dotted = st.dictionaries(names, inner, min_size=1, max_size=2).map(Dotted)
    deeper = st.dictionaries(names, dotted, min_size=1, max_size=2).map(Dotted)
    return st.dictionaries(names, inner | dotted | deeper, max_size=max_size)


def sections(inner: st.SearchStrategy[Section]) -> st.SearchStrategy[Section]:
    """Tables that have others, or arrays of others, below their headers."""
    below = st.dictionaries(names, inner | st.lists(inner, min_size=1, max_size=3), max_size=3)
    return st.builds(Section, tables(values, 2), below, st.booleans())


values = st.recursive(
    st.sampled_from(STRINGS + OTHERS),
    lambda inner: st.lists(inner, max_size=3) | tables(inner, max_size=3),
    max_leaves=6,
)
documents = sections(st.recursive(st.builds(Section, tables(values, 3)), sections, max_leaves=5))


class Emitter:
    """Writes a document, and notes where it puts each key."""

    def __init__(self, random: Random) -> None:
        self.random = random
        self.end = random.choice(["\n", "\r\n"])
        self.text = ""
        self.where: dict[Path, int] = {}

    def write(self, text: str) -> None:
        self.text += text.replace("\n", self.end)

    def note(self, path: Path, *, again: bool = False) -> None:
        line = self.text.count("\n") + 1
        self.where[path] = line if again else self.where.get(path, line)

    def blank(self) -> str:
        return self.random.choice(["", "", " ", "\t "])

    def gap(self) -> str:
        """What may stand where lines may end."""
        return self.random.choice(["", "", " ", "\n", "\n\n \n", " # a = [ '''\n", "#\n\t"])

    def finish_line(self) -> None:
        self.write(self.blank() + self.random.choice(["", "", '# """, ]']) + "\n")
        self.write(self.random.choice(["", "", "\n", " \t\n", "# [a]\n\n"]))

    def name(self, name: str) -> str:
        spellings = [json.dumps(name, ensure_ascii=False)]
        spellings.append('"' + "".join(f"\\U{ord(character):08x}" for character in name) + '"')
        if not set(name) & set("'\n"):
            spellings.append(f"'{name}'")
        if name and set(name) <= set(BARE):
            spellings += [name] * 3
        return self.random.choice(spellings)

    def key(self, around: Path, key: tuple[str, ...]) -> None:
        for length in range(1, len(key) + 1):
            self.note((*around, *key[:length]))
        dot = self.blank() + "." + self.blank()
        self.write(self.blank() + dot.join(map(self.name, key)) + self.blank())

    def pairs(self, table: dict[str, Any]) -> list[tuple[tuple[str, ...], Any]]:
        """The pairs of *table* in any order, those behind dotted keys among them."""
        flat: list[tuple[tuple[str, ...], Any]] = []
        for name, value in table.items():
            if isinstance(value, Dotted):
                flat += [((name, *key), inner) for key, inner in self.pairs(value.pairs)]
            else:
                flat.append(((name,), value))
        self.random.shuffle(flat)
        return flat

    def pair(self, around: Path, key: tuple[str, ...], value: Any) -> None:
        self.key(around, key)
        self.write("=" + self.blank())
        self.value((*around, *key), value)

    def value(self, path: Path, value: Any) -> None:
        if isinstance(value, list):
            self.array(path, value)
        elif isinstance(value, dict):
            self.inline_table(path, value)
        else:
            self.write(value)

    def array(self, path: Path, array: list[Any]) -> None:
        self.write("[" + self.gap())
        for number, element in enumerate(array):
            self.write(("," if number else "") + self.gap())
            self.note((*path, number))
            self.value((*path, number), element)
            self.write(self.gap())
        self.write((self.random.choice(["", ","]) if array else "") + self.gap() + "]")

    def inline_table(self, path: Path, table: dict[str, Any]) -> None:
        self.write("{" + self.blank())
        for number, (key, value) in enumerate(self.pairs(table)):
            self.write("," if number else "")
            self.pair(path, key, value)
            self.write(self.blank())
        self.write("}")

    def document(self, root: Section) -> None:
        self.body((), root)
        self.below((), root)

    def body(self, path: Path, section: Section) -> None:
        for key, value in self.pairs(section.pairs):
            self.pair(path, key, value)
            self.finish_line()

    def below(self, path: Path, section: Section) -> None:
        for name, inner in section.below.items():
            if name in section.pairs:
                continue
            for number, element in enumerate(inner if isinstance(inner, list) else ()):
                self.header((*path, name, number), element)
                self.below((*path, name, number), element)
            if isinstance(inner, Section):
                self.section((*path, name), inner)

    def section(self, path: Path, section: Section) -> None:
        """A table with a header, unless headers below it do and it has nothing to say itself."""
        if section.late:
            before = len(self.text)
            self.below(path, section)
            if section.pairs or len(self.text) == before:
                self.header(path, section)
        else:
            self.header(path, section)
            self.below(path, section)

    def header(self, path: Path, section: Section) -> None:
        for length in range(1, len(path)):
            self.note(path[:length])
        self.note(path, again=True)
        left, right = ("[[", "]]") if isinstance(path[-1], int) else ("[", "]")
        dot = self.blank() + "." + self.blank()
        key = dot.join(self.name(part) for part in path if isinstance(part, str))
        self.write(self.blank() + left + self.blank() + key + self.blank() + right)
        self.finish_line()
        self.body(path, section)


# Lines and pieces that make documents: many wrong ones, but wrong in the right places.
HEADERS = ["[a]", "[b]", "[a.b]", "[a.b.c]", "[b.a]", "[[a]]", "[[a.b]]", "[[b]]", "[b.'c.d'.e]"]
PAIRS = ["c = 1", "d.e = 2", "d.f.g = [{a = 1},[\n2]]", "b.c = {}", "c.a = [[]]", "a = ['#]',]"]
PIECES = [
    *"[]{},.=#'\" \\\n",
    "\r\n",
    "[[",
    "]]",
    '"""',
    "'''",
    "a",
    "b",
    "a = ",
    *STRINGS,
    *OTHERS,
]

lines = st.lists(st.sampled_from(HEADERS + PAIRS), max_size=8).map("\n".join)
pieces = st.lists(st.sampled_from(PIECES + HEADERS + PAIRS), max_size=8).map("".join)


class TestAgainstTomllib:
    """The second reading of a document finds what tomllib found."""

    @pytest.mark.parametrize(
        "text",
        [
            "[[a.b]]\n[a]\nc = 1\n[[a.b]]\n[a.b.c]\n[a.d]\n",
            "a = [{b = [{c = 1}, {}]}, [[], [[]]], '',]\n",
            "[a]\n'b'.\"c\".d = 1\nb.c.e.f = 2\n[a.g]\nb.c = 3\n",
            "1.2 = 3.4\ntrue = false\ninf = -inf\n1979-05-27 = 1979-05-27\n",
            'a = """\r\n\\\r\n   \r\n x"""\r\n[b]\r\n"c" = [\r\n1 ,# ]\r\n2]',
            "'[a]' = '''a'''''\n[\"[[b]]\"] # [c]\n\"]\" = ['#', \"\\\"]\"]#x",
            "[[x]]\ny.z = [{w = 1}]\n[x.v.u]\n[x.v]\n[[x]]\n[x.v]\n[x.y.z]\n",
        ],
    )
    def test_hard_documents(self, text: str) -> None:
        """Documents in which one thing looks like another."""
        assert set(index_of(text)) == set(paths(tomllib.loads(text)))

    @settings(deadline=None)  # a busy machine is no failure
    @given(document=documents, random=st.randoms(use_true_random=False))
    def test_generated_documents(self, document: Section, random: Random) -> None:
        """The index is where the emitter put each key, and has the paths of tomllib's result."""
        emitter = Emitter(random)
        emitter.document(document)
        index = index_of(emitter.text)
        assert index == emitter.where
        assert set(index) == set(paths(tomllib.loads(emitter.text)))

    @settings(deadline=None)
    @given(text=lines | pieces)
    @example(text="a = [")
    @example(text="a = {")
    @example(text="[")
    def test_any_text(self, text: str) -> None:
        """What tomllib accepts has its paths; what it refuses is read to an end as well."""
        try:
            accepted = tomllib.loads(text)
        except ValueError:
            with suppress(ValueError):
                index_of(text)
        else:
            assert set(index_of(text)) == set(paths(accepted))
