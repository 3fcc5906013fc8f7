"""``netd.model.problem``: problems as lines, and their order."""

from __future__ import annotations

import dataclasses
import os

import pytest

from netd.model.problem import ConfigurationError, ExitStatus, Problem

PROBLEM = Problem("conf/netd.toml", 7, "services.time.listen", "must be a list, not 5")


class TestProblem:
    def test_is_a_line_that_an_editor_can_jump_to(self) -> None:
        """File, line, key, and what is wrong: the form that the contract fixes."""
        assert str(PROBLEM) == "conf/netd.toml:7: services.time.listen: must be a list, not 5"

    def test_of_a_whole_file_has_no_key(self) -> None:
        """A file that cannot be read leaves no empty key behind."""
        assert str(Problem("a.toml", 1, "", "cannot read")) == "a.toml:1: cannot read"

    def test_of_an_option_has_no_line(self) -> None:
        """What stands on a command line has the option's name where a file has its own."""
        assert str(Problem("--listen", 0, "k", "wrong")) == "--listen: k: wrong"

    def test_is_one_line(self) -> None:
        """Who counts lines counts problems, whatever a message quotes."""
        assert str(Problem("a.toml", 1, "k", "one\ntwo")) == "a.toml:1: k: one two"

    def test_sorts_by_file_then_line_as_a_number(self) -> None:
        """Problems come in the order in which somebody would go through the files."""
        places = [("b", 1, "a"), ("a", 10, "b"), ("a", 10, "a"), ("a", 2, "z")]
        problems = sorted(Problem(*place, "m") for place in places)
        assert [(each.file, each.line, each.key) for each in problems] == places[::-1]

    def test_is_a_value(self) -> None:
        """Equal ones are one in a set, and none can be changed."""
        assert len({PROBLEM, dataclasses.replace(PROBLEM)}) == 1
        with pytest.raises(dataclasses.FrozenInstanceError):
            PROBLEM.line = 8  # type: ignore[misc]


class TestConfigurationError:
    def test_says_every_problem_in_a_line_of_its_own(self) -> None:
        """What is printed is all there is to know."""
        other = Problem("conf/netd.toml", 9, "daemon", "must be a table, not 5")
        assert str(ConfigurationError([PROBLEM, other])).splitlines() == [str(PROBLEM), str(other)]

    def test_keeps_the_order_it_is_given(self) -> None:
        """An included file comes after the one that includes it, whatever their names."""
        problems = (Problem("z", 1, "", "m"), Problem("a", 1, "", "m"))
        assert ConfigurationError(list(problems)).problems == problems


class TestExitStatus:
    def test_of_a_configuration_is_that_of_sysexits(self) -> None:
        """systemd and people know 78."""
        assert int(ExitStatus.CONFIG) == os.EX_CONFIG
        assert [int(status) for status in ExitStatus] == [0, 1, 2, 78]
