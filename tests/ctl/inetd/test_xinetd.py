"""``netd.ctl.inetd.xinetd``: which lines count, for which service, and in what order."""

from __future__ import annotations

import pytest

from netd.ctl.inetd.xinetd import DEEPEST, Entry, Reader
from tests.ctl.inetd.machines import FakeMachine


def read(*files: str | bytes, machine: FakeMachine | None = None) -> Reader:
    """Read texts one after another, as the files ``1``, ``2`` and so on."""
    reader = Reader(machine or FakeMachine())
    for number, file in enumerate(files, start=1):
        reader.read(str(number), file if isinstance(file, bytes) else file.encode())
    return reader


def service(*lines: str, name: str = "s") -> str:
    return "\n".join([f"service {name}", "{", *lines, "}", ""])


def defaults(*lines: str) -> str:
    return "\n".join(["defaults", "{", *lines, "}", ""])


def said(entry: Entry) -> dict[str, tuple[str, ...]]:
    return {name: values.words for name, values in entry.attributes.items()}


def only(*files: str) -> dict[str, tuple[str, ...]]:
    """What the one service of files without a problem says."""
    reader = read(*files)
    assert reader.problems() == []
    (entry,) = reader.entries()
    return said(entry)


def problems(reader: Reader) -> list[str]:
    return [str(problem) for problem in reader.problems()]


class TestAssignments:
    def test_values_are_parted_by_blanks(self) -> None:
        """Around the operator there may be any number of them, before it at least one."""
        text = service("\tserver_args =a  b\tc", "  port=  ".replace("=", " =") + "7")
        assert only(text) == {"server_args": ("a", "b", "c"), "port": ("7",)}

    def test_a_list_can_be_added_to_and_taken_from(self) -> None:
        """Addresses are taken out by what they stand for, not by how they are written."""
        text = service(
            "only_from = 10.0.0.0 128.138.{12,13}",
            "only_from += 1.2.3.4 10.0.0.0/8",
            "only_from -= 128.138.12.0 1.2.3.4/32 9.9.9.9",
        )
        assert only(text) == {"only_from": ("10.0.0.0/8", "128.138.13.0/24")}

    def test_an_empty_list_is_not_no_list(self) -> None:
        """An only_from without a value lets nobody in."""
        assert only(service("only_from =")) == {"only_from": ()}
        assert only(service("only_from -= 1.2.3.4")) == {"only_from": ()}

    def test_interface_is_bind(self) -> None:
        """Two names for one attribute."""
        assert only(service("interface = 127.0.0.1")) == {"bind": ("127.0.0.1",)}

    @pytest.mark.parametrize(
        ("line", "wrong"),
        [
            (
                "only_form = 10.0.0.0",
                "only_form is no attribute of xinetd: did you mean only_from?",
            ),
            ("colour = red", "colour is no attribute of xinetd, and xinetd ignores it"),
            ("wait", "wait: an attribute is NAME = VALUES, with a blank before the =, += or -="),
            ("wait= no", "wait=: an attribute is NAME = VALUES"),
            ("wait no", "wait: an attribute is NAME = VALUES"),
            ("include /etc/x", "include: an attribute is NAME = VALUES"),
            ("wait =", "wait takes 1 values, not 0"),
            ("wait = no yes", "wait takes 1 values, not 2"),
            ("cps = 50", "cps takes 2 values, not 1"),
            ("server_args =", "server_args takes 1 or more values, not 0"),
            ("wait = maybe", "maybe is not known here: write any of yes, no"),
            ("port += 7", "port takes no +=: write port = …"),
            ("env -= A=1", "env takes no -=: write env = with all variables"),
            ("env = A", "A is no variable: write NAME=VALUE"),
            ("env = =1", "=1 is no variable: write NAME=VALUE"),
            ("flags = IPV4", "IPV4 is not known here: write any of REUSE"),
            ("type = SPECIAL", "SPECIAL is not known here: write any of RPC"),
            ("socket_type = tcp", "tcp is not known here: write any of stream"),
            ("log_on_success = TIME", "TIME is not known here: write any of PID"),
            ("log_on_failure = PID", "PID is not known here: write any of HOST"),
            ("no_access = 10.0.0", "10.0.0 is no IPv4 address"),
            ("disabled = s", "disabled stands in defaults only: write disable = yes or no"),
        ],
    )
    def test_a_line_with_a_problem_breaks_its_service(self, line: str, wrong: str) -> None:
        """It may have kept somebody out, so that the service is not what it should be."""
        reader = read(service("port = 7", line))
        (problem,) = reader.problems()
        assert str(problem).startswith(f"1:4: {wrong}")
        (entry,) = reader.entries()
        assert entry.problems == (problem,)

    def test_what_is_there_already_cannot_be_given_again(self) -> None:
        """The first counts, as in xinetd."""
        reader = read(service("bind = 127.0.0.1", "interface = 0.0.0.0", "nice = 1", "nice = 2"))
        assert problems(reader) == [
            "1:4: interface is there already, and can be given once",
            "1:6: nice is there already, and can be given once",
        ]
        (entry,) = reader.entries()
        assert said(entry) == {"bind": ("127.0.0.1",), "nice": ("1",)}

    def test_a_line_that_is_not_utf8_breaks_its_service(self) -> None:
        """A comment that is not does no harm."""
        reader = read(b"# \xe4\nservice s\n{\n# \xe4\nno_access = \xe4\n}\n")
        assert problems(reader) == [
            "1:5: this line is not text: save the file as UTF-8, without NUL characters"
        ]
        (entry,) = reader.entries()
        assert entry.problems


class TestDefaults:
    def test_count_for_a_service_that_says_nothing_else(self) -> None:
        """Its own attribute replaces that of the defaults, wherever they stand."""
        text = service("instances = 9", name="a") + service(name="b")
        text += defaults("instances = 5", "bind = 127.0.0.1")
        entries = read(text).entries()
        assert said(entries[0]) == {"instances": ("9",), "bind": ("127.0.0.1",)}
        assert said(entries[1]) == {"instances": ("5",), "bind": ("127.0.0.1",)}

    def test_a_list_is_what_services_after_them_start_with(self) -> None:
        """They add to it, take from it or replace it; in the defaults, = adds too."""
        text = service(name="before")
        text += defaults("only_from = 10.0.0.0", "only_from = 11.0.0.0")
        text += service(name="as it is") + service("only_from += 12.0.0.0", name="more")
        text += service("only_from -= 10.0.0.0") + service("only_from = 13.0.0.0")
        lists = [said(entry).get("only_from") for entry in read(text).entries()]
        assert lists == [
            None,
            ("10.0.0.0/8", "11.0.0.0/8"),
            ("10.0.0.0/8", "11.0.0.0/8", "12.0.0.0/8"),
            ("11.0.0.0/8",),
            ("13.0.0.0/8",),
        ]

    def test_are_the_same_for_every_file(self) -> None:
        """Files are read as one configuration."""
        reader = read(defaults("nice = 1".replace("nice", "instances")), service())
        (entry,) = reader.entries()
        assert said(entry) == {"instances": ("1",)}
        assert entry.attributes["instances"].is_default

    def test_a_problem_in_them_breaks_every_service(self) -> None:
        """What they should have said, no service has."""
        reader = read(service() + defaults("only_form = 10.0.0.0", "access_times = 8:00-9:00"))
        assert [str(problem)[:22] for problem in reader.problems()] == [
            "1:6: only_form is no a",
            "1:7: access_times cann",
        ]
        (entry,) = reader.entries()
        assert entry.problems == tuple(reader.problems())

    def test_a_file_has_one_of_them(self) -> None:
        """Xinetd does not read another, and neither is it read here."""
        reader = read(defaults("instances = 1") + defaults("per_source = 1") + service())
        (problem,) = problems(reader)
        assert problem.startswith("1:5: a file has one defaults entry, and this is another")
        (entry,) = reader.entries()
        assert said(entry) == {"instances": ("1",)}


class TestOff:
    @pytest.mark.parametrize("line", ["disable = yes", "flags = DISABLE IPv4"])
    def test_a_service_can_be_off(self, line: str) -> None:
        """All of it is read nevertheless."""
        (entry,) = read(service(line, "nice = 3")).entries()
        assert entry.is_off
        assert said(entry)["nice"] == ("3",)

    def test_defaults_can_have_services_off_by_their_id(self) -> None:
        """A service that is off itself stays so."""
        services = (
            service(name="a") + service("id = b", name="x") + service("disable = yes", name="c")
        )
        for lists, off in [
            ("disabled = b", ["b", "c"]),
            ("enabled = b c", ["a", "c"]),
            ("enabled = a b\ndisabled = b", ["b", "c"]),
            ("enabled =", ["a", "b", "c"]),
            ("disabled = x", ["c"]),
        ]:
            entries = read(services + defaults(lists)).entries()
            assert [entry.identity for entry in entries if entry.is_off] == off


class TestEntries:
    def test_braces_stand_on_lines_of_their_own(self) -> None:
        """With blanks around them, and comments and blank lines between."""
        text = "service s \n # c\n\n \t{ \n\n# c\n nice = 1\n } \n"
        assert only(text) == {"nice": ("1",)}

    @pytest.mark.parametrize(
        ("text", "wrong"),
        [
            ("service s {\nnice = 1\n}\n", '1:1: s: the next line must have a "{"'),
            ("service s\n", '1:1: s: the next line must have a "{"'),
            ("service\n{\n}\n", "1:1: service needs a name after it"),
            ("include\n{\n}\n", "1:1: include needs a name after it"),
            ("Service s\n{\n}\n", "1:1: Service is no start of an entry"),
            (b"service \xe4\n{\n}\n", "1:1: this line is not text"),
            (b"\xe4\n{\n}\n", "1:1: this line is not text"),
        ],
    )
    def test_what_is_no_entry_is_passed_over_to_the_next_brace(
        self, text: str | bytes, wrong: str
    ) -> None:
        """As xinetd does; the next entry is read again."""
        data = text.encode() if isinstance(text, str) else text
        reader = read(data + service(name="next").encode())
        (problem,) = problems(reader)
        assert problem.startswith(wrong)
        swallowed = text == "service s\n"
        assert [entry.name for entry in reader.entries()] == ([] if swallowed else ["next"])

    def test_one_that_does_not_end_is_broken(self) -> None:
        """The rest of it may be missing."""
        reader = read("service s\n{\nnice = 1\n")
        assert problems(reader) == ['1:1: s has no "}" at its end']
        (entry,) = reader.entries()
        assert len(entry.problems) == 1


class TestIncludes:
    def test_a_directory_is_read_in_the_order_of_bytes(self) -> None:
        """Without names that have a dot or end in a tilde, which are listed, and directories."""
        names = ["b", "B", "a.rpmsave", "c~", "é", "d/e"]
        machine = FakeMachine({f"/x/{name}": service(name=name) for name in names})
        reader = read("includedir /x/", machine=machine)
        assert [entry.name for entry in reader.entries()] == ["B", "b", "é"]
        assert reader.skipped == ["/x/a.rpmsave", "/x/c~"]
        assert reader.problems() == []

    def test_a_file_is_included_under_any_name(self) -> None:
        """And its defaults count."""
        machine = FakeMachine({"/a.conf": defaults("instances = 3") + service()})
        (entry,) = read("include /a.conf", machine=machine).entries()
        assert said(entry) == {"instances": ("3",)}
        assert str(entry.place) == "/a.conf:5"

    def test_no_file_is_read_twice(self) -> None:
        """Two that include each other, or one that is named and included."""
        machine = FakeMachine({"2": "include 1\n" + service(name="b")})
        reader = read("include 2\n" + service(name="a"), machine.files["2"], machine=machine)
        assert [entry.name for entry in reader.entries()] == ["b", "a"]
        assert reader.problems() == []

    def test_what_is_not_there_is_a_problem_and_nothing_more(self) -> None:
        """Files of another machine name paths of that."""
        reader = read("include /a\nincludedir /etc/xinetd.d\n" + service())
        assert problems(reader) == [
            "1:1: cannot read /a: No such file or directory; if it has moved, import it by its"
            " path",
            "1:2: cannot read /etc/xinetd.d: there is no such directory; if it has moved, import"
            " it by its path",
        ]
        assert len(reader.entries()) == 1

    def test_a_chain_of_files_has_an_end(self) -> None:
        """A stack has, too."""
        machine = FakeMachine({str(n): f"include {n + 1}\n" for n in range(2, 100)})
        reader = read("include 2", machine=machine)
        assert problems(reader) == [f"{DEEPEST + 1}:1: files include each other 20 deep"]
