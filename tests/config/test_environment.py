"""``netd.config.environment``, and what a service has from it."""

from __future__ import annotations

import resource
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.config.environment import (
    LARGEST_LIMIT,
    LARGEST_MASK,
    Limits,
    limits,
    octal_text,
    umask,
    variables,
)
from netd.config.load import load
from netd.config.schema import LimitsTable
from netd.model import units
from netd.model.environment import INHERITED, UNLIMITED, ExecutionEnvironment, Limit
from netd.model.problem import ConfigurationError


def refusal(read: Callable[[Any], object], value: object) -> str:
    """What a reader says of a value that it does not take."""
    with pytest.raises(ValueError, match=r".") as caught:
        read(value)
    return str(caught.value)


class TestUmask:
    @given(st.integers(0, LARGEST_MASK))
    def test_octal(self, mask: int) -> None:
        """As a shell has it, as netd writes it, with more zeros, and as TOML has it."""
        for written in (octal_text(mask), f"{mask:o}", f"{mask:04o}", f"0o{mask:o}"):
            assert umask(written) == mask

    @pytest.mark.parametrize(
        "value",
        ["", "8", "028", "-1", "1000", "0x7", " 7", "u=rwx", "\u0967", -1, 778, True, 1.0, None,
         8, 28, 1000, pytest.param(10**5000, id="enormous")],
    )  # fmt: skip
    def test_nothing_else(self, value: object) -> None:
        """What is no mask is refused, and it is said how one is written."""
        assert refusal(umask, value) == 'must be octal, like "027" or 0o027'

    @pytest.mark.parametrize(
        ("number", "meant"), [(0, "000"), (7, "007"), (22, "022"), (512, "512"), (777, "777")]
    )
    def test_a_decimal_number_is_refused_with_the_mask_that_was_meant(
        self, number: int, meant: str
    ) -> None:
        """TOML reads 22 as decimal, and that would be the mask 026."""
        assert refusal(umask, number) == f'must be octal: write "{meant}" or 0o{meant}'


class TestVariables:
    def test_as_they_are(self) -> None:
        """Names and values are whatever execve(2) takes."""
        assert variables({"TZ": "UTC", "a b": "", "é": "=\n"}) == {
            "TZ": "UTC",
            "a b": "",
            "é": "=\n",
        }

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ("TZ=UTC", "must be a table"),
            ({"": "x"}, '"" is no name of a variable: write one without = and NUL'),
            ({"A=B": "x"}, '"A=B" is no name of a variable: write one without = and NUL'),
            ({"A\0": "x"}, '"A\\u0000" is no name of a variable: write one without = and NUL'),
            ({"PORT": 80}, "has PORT = 80: write a string, in quotes"),
            ({"TZ": "U\0TC"}, "has a NUL character in TZ, which a variable cannot have"),
        ],
    )  # fmt: skip
    def test_nothing_else(self, value: object, said: str) -> None:
        """What cannot be one is refused, by its name."""
        assert refusal(variables, value) == said


read_size = partial(limits, units.size)


class TestLimits:
    @pytest.mark.parametrize(
        ("value", "soft", "hard"),
        [
            (0, 0, 0),
            ("1KiB", 1024, 1024),
            ("unlimited", UNLIMITED, UNLIMITED),
            ([1, "1KiB"], 1, 1024),
            ([7, 7], 7, 7),
            ([7, "unlimited"], 7, UNLIMITED),
            (["unlimited", "unlimited"], UNLIMITED, UNLIMITED),
            (LARGEST_LIMIT, LARGEST_LIMIT, LARGEST_LIMIT),
        ],
    )
    def test_one_or_two(self, value: object, soft: int, hard: int) -> None:
        """A limit alone is the soft and the hard one."""
        assert read_size(value) == Limits(soft, hard)

    @pytest.mark.parametrize(
        ("value", "said"),
        [
            ([2, 1], "has a soft limit above the hard one: write [soft, hard]"),
            (["unlimited", 1], "has a soft limit above the hard one: write [soft, hard]"),
            ([], "has 0 limits: write one for both, or [soft, hard]"),
            ([1, 2, 3], "has 3 limits: write one for both, or [soft, hard]"),
            (
                "infinity",
                'must be a number of bytes from 0, or a text like "64KiB" or "10MiB", '
                'or "unlimited", or [soft, hard]',
            ),
        ],
    )  # fmt: skip
    def test_nothing_else(self, value: object, said: str) -> None:
        """What is no limit is refused, and it is said what one is."""
        assert refusal(read_size, value) == said

    @pytest.mark.parametrize("count", [LARGEST_LIMIT + 1, 2**64, 10**100])
    def test_in_range(self, count: int) -> None:
        """What setrlimit(2) cannot take is refused here, and not in the process."""
        said = 'must be 9223372036854775807 at most, or "unlimited"'
        assert refusal(partial(limits, lambda _: count), 0) == said


class Files:
    def __init__(self, directory: Path) -> None:
        self.directory = directory

    def load(self, *lines: str, name: str = "one", before: str = "") -> list[ExecutionEnvironment]:
        """What services have, of which one has these lines."""
        service = f'[services.{name}]\nlisten = ["unix:@{name}"]\nhandler = "m:C"\n'
        text = before + service + "".join(f"{line}\n" for line in lines)
        (self.directory / "netd.toml").write_text(text)
        services = load(str(self.directory / "netd.toml")).services
        return [service.environment for service in services]

    def problem(self, *lines: str, before: str = "") -> str:
        """The only thing that is wrong, without the directory."""
        with pytest.raises(ConfigurationError) as caught:
            self.load(*lines, before=before)
        return str(caught.value).replace(f"{self.directory}/", "")


@pytest.fixture
def files(tmp_path: Path) -> Files:
    return Files(tmp_path)


class TestService:
    def test_says_nothing(self, files: Files) -> None:
        """Then it has what the daemon has."""
        assert files.load() == [INHERITED]

    def test_says_everything(self, files: Files) -> None:
        """Every key arrives as the worker needs it."""
        (files.directory / "data").mkdir()
        assert files.load(
            'umask = "027"',
            "nice = -20",
            'working_directory = "data"',
            'environment = {TZ = "UTC", A = "b"}',
            'rlimits = {nofile = 4096, as = "1GiB", cpu = "1h", rttime = ["250ms", "1s"]}',
        ) == [
            ExecutionEnvironment(
                0o27,
                -20,
                str(files.directory / "data"),
                (("A", "b"), ("TZ", "UTC")),
                (
                    Limit("as", 1 << 30, 1 << 30),
                    Limit("cpu", 3600, 3600),
                    Limit("nofile", 4096, 4096),
                    Limit("rttime", 250_000, 1_000_000),
                ),
            )
        ]

    def test_from_the_defaults(self, files: Files) -> None:
        """Tables merge, and a directory is relative to the file that it stands in."""
        (files.directory / "data").mkdir()
        before = (
            '[defaults]\nworking_directory = "data"\nenvironment = {A = "a", B = "a"}\n'
            "rlimits = {core = 0, cpu = 1}\n"
        )
        [found] = files.load('environment = {B = "b"}', "rlimits.cpu = 2", before=before)
        assert found.working_directory == str(files.directory / "data")
        assert found.variables == (("A", "a"), ("B", "b"))
        assert found.limits == (Limit("core", 0, 0), Limit("cpu", 2, 2))

    @pytest.mark.parametrize("line", ["umask = 0o22", "'umask' = 0o2_2", 'umask = "22"'])
    def test_umask_as_it_is_written(self, files: Files, line: str) -> None:
        """tomllib reads 0o22 and 18 as the same number, so the text decides."""
        [found] = files.load(line)
        assert found.umask == 0o22

    @pytest.mark.parametrize(
        "before",
        [
            "[defaults]\numask = 0o22\n",
            "[defaults]\numask = 22\n",
            "defaults = {umask = 0o22}\n",
            "defaults.umask = 22\n",
        ],
    )
    def test_umask_of_the_defaults(self, files: Files, before: str) -> None:
        """They go by the same rule, and a problem with them is said where they stand."""
        if "0o" in before:
            [found] = files.load(before=before)
            assert found.umask == 0o22
        else:
            line = before.count("\n")
            assert files.problem(before=before) == (
                f'netd.toml:{line}: defaults.umask: must be octal: write "022" or 0o022, not 22'
            )

    def test_umask_of_an_included_file(self, files: Files) -> None:
        """Where a number is written in octal is asked of the file that it stands in."""
        included = files.directory / "more.toml"
        before = 'include = ["more.toml"]\n[defaults]\numask = 0o77\n'
        table = '[services.two]\nlisten = ["unix:@two"]\nhandler = "m:C"\n'
        included.write_text(f"{table}umask = 0o22\n")
        assert [found.umask for found in files.load(before=before)] == [0o77, 0o22]
        included.write_text(f"{table}umask = 22\n")
        assert files.problem(before=before) == (
            'more.toml:4: services.two.umask: must be octal: write "022" or 0o022, not 22'
        )

    def test_other_octal_numbers_are_numbers(self, files: Files) -> None:
        """Only a key that is octal needs to know; a handler gets what TOML says."""
        (files.directory / "netd.toml").write_text(
            '[services.one]\nlisten = ["unix:@one"]\nhandler = "m:C"\nbacklog = 0o20\n'
            "options = {umask = 0o22}\n"
        )
        [service] = load(str(files.directory / "netd.toml")).services
        assert (service.own.backlog, service.options) == (16, {"umask": 18})

    @pytest.mark.parametrize(
        ("line", "problem"),
        [
            ("nice = 20", "nice: must be 19 or less, not 20"),
            ("nice = -21", "nice: must be -20 or more, not -21"),
            ("umask = 22", 'umask: must be octal: write "022" or 0o022, not 22'),
            ("umask = 18", 'umask: must be octal, like "027" or 0o027, not 18'),
            ("umask = 0x12", 'umask: must be octal, like "027" or 0o027, not 18'),
            ("umask = 0o1777", 'umask: must be octal, like "027" or 0o027, not "1777"'),
            ('umask = "u=rwx"', 'umask: must be octal, like "027" or 0o027, not "u=rwx"'),
            ("environment = {A = 1}", "environment: has A = 1: write a string, in quotes"),
            ("rlimits = {nofiles = 1}", 'rlimits.nofiles: unknown key; did you mean "nofile"?'),
            ("rlimits = {ass = 1}", 'rlimits.ass: unknown key; did you mean "as"?'),
            (
                "rlimits.nproc = '1KiB'",
                'rlimits.nproc: must be a whole number from 0, or "unlimited", or [soft, hard], '
                'not "1KiB"',
            ),
            (
                'rlimits.cpu = "1500ms"',
                'rlimits.cpu: must be a duration of whole seconds, or "unlimited", or '
                '[soft, hard], not "1500ms"',
            ),
            ("rlimits = 5", "rlimits: must be a table, not 5"),
        ],
    )
    def test_problem(self, files: Files, line: str, problem: str) -> None:
        """What is wrong is said in one line, at its key, with what would be right."""
        assert files.problem(line) == f"netd.toml:4: services.one.{problem}"

    @pytest.mark.parametrize("name", ["as", "RLIMIT_AS", "nofile", "RLIMIT_NOFILE"])
    def test_limit_by_either_name(self, files: Files, name: str) -> None:
        """As ``[socket]`` has its options, by the constant; or shorter."""
        [found] = files.load(f"rlimits.{name} = [1, 2]")
        assert found.limits == (Limit(name.removeprefix("RLIMIT_").lower(), 1, 2),)

    def test_limit_by_both_names(self, files: Files) -> None:
        """One limit cannot be set twice."""
        found = files.problem("rlimits = {core = 0, RLIMIT_CORE = 1}")
        assert found.startswith("netd.toml:4: services.one.rlimits.RLIMIT_CORE: unknown key; ")

    def test_directory_that_is_not_there(self, files: Files) -> None:
        """A directory must exist when the file is read."""
        assert files.problem('working_directory = "data"') == (
            "netd.toml:4: services.one.working_directory: there is no directory data: "
            "make it, or name another"
        )

    @pytest.mark.parametrize(
        ("line", "key"),
        [
            ("umask = 0o0", "umask"),
            ("nice = 1", "nice"),
            ('working_directory = "."', "working_directory"),
            ('environment.A = ""', "environment"),
            ("rlimits.core = 0", "rlimits"),
        ],
    )
    def test_of_a_shared_worker(self, files: Files, line: str, key: str) -> None:
        """Services that share a process cannot have it in two environments."""
        before = (
            '[services.first]\nlisten = ["unix:@first"]\nhandler = "m:C"\nworker = "both"\n'
            "[services.first.access]\n"
        )
        assert files.problem(line, 'worker = "both"', before=before) == (
            f"netd.toml:10: services.one.worker: shares worker both with services.first, which has "
            f"another {key}: give both the same, or each a worker"
        )


def test_every_limit() -> None:
    """There is a key for each limit that this system has, and for no other one."""
    keys = {name.rstrip("_") for name in LimitsTable.model_fields}
    names = {name for name in vars(resource) if name.startswith("RLIMIT_")}
    # An older name of the same limit.
    assert resource.RLIMIT_OFILE == resource.RLIMIT_NOFILE
    assert keys == {name.removeprefix("RLIMIT_").lower() for name in names} - {"ofile"}
