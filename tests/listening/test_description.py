"""``netd.listening.description``: text to address, and what is said about text that is none."""

from __future__ import annotations

import contextlib
import grp
import os
import pwd
import re

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.listening.description import absolute, parse, resolved
from netd.model.address import InetAddress, PassedAddress, Transport, UnixAddress

PORTS = st.integers(0, 65535)
IPV4 = st.one_of(st.just(""), st.ip_addresses(v=4).map(str))
IPV6 = st.one_of(st.just(""), st.ip_addresses(v=6).map(str))
INET_ADDRESSES = st.one_of(
    st.builds(InetAddress, st.sampled_from([Transport.TCP, Transport.UDP]), PORTS, IPV4),
    st.builds(InetAddress, st.sampled_from([Transport.TCP6, Transport.UDP6]), PORTS, IPV6),
)
TEXT = st.text(st.characters(exclude_characters="\0", exclude_categories=["Cs"]), min_size=1)


def message(text: str) -> str:
    with pytest.raises(ValueError, match=r".") as caught:
        parse(text)
    assert type(caught.value) is ValueError
    return str(caught.value)


class TestInet:
    @given(INET_ADDRESSES)
    def test_what_an_address_prints_can_be_read_again(self, address: InetAddress) -> None:
        """The text in a log or a status can be put into a configuration."""
        assert parse(str(address)) == address

    @pytest.mark.parametrize("transport", ["tcp", "tcp6", "udp", "udp6"])
    def test_a_port_alone_means_every_address(self, transport: str) -> None:
        """Without an interface a service listens on all addresses, as Twisted has it."""
        assert parse(f"{transport}:10037") == InetAddress(Transport(transport), 10037)

    @pytest.mark.parametrize("port", [0, 65535])
    def test_the_ends_of_the_port_range_are_ports(self, port: int) -> None:
        """Port 0 asks for a free one, and 65535 is the last."""
        assert parse(f"tcp:{port}") == InetAddress(Transport.TCP, port)

    @pytest.mark.parametrize(
        "interface", ["[::1]", r"\:\:1", "[0:0:0:0:0:0:0:1]", r"[\:\:1]"], ids=str
    )
    def test_one_ipv6_address_is_one_value_however_written(self, interface: str) -> None:
        """Brackets, Twisted's escapes and long forms are equal, so a reload sees no change."""
        assert parse(f"tcp6:80:interface={interface}") == InetAddress(Transport.TCP6, 80, "::1")

    def test_a_scope_stays(self) -> None:
        """A link-local address is nothing without its link."""
        expected = InetAddress(Transport.UDP6, 53, "fe80::1%eth0")
        assert parse("udp6:53:interface=[fe80::1%eth0]") == expected

    def test_a_host_name_becomes_its_address(self) -> None:
        """A name is looked up at once, so that what was checked is what is bound."""
        expected = InetAddress(Transport.TCP, 80, "127.0.0.1")
        assert parse("tcp:80:interface=localhost") == expected

    def test_a_lookup_that_fails_shows_its_code(self) -> None:
        """The EAI code tells an unknown name from a name server that is out of reach."""
        # A short IPv4 address is refused for IPv6 without asking a name server.
        assert re.fullmatch(
            r'interface "127\.1": EAI_[A-Z]+ \(-\d+\) \S.+', message("tcp6:80:interface=127.1")
        )

    def test_a_name_that_cannot_be_one_is_refused_in_words(self) -> None:
        """What the IDNA codec says of a label that is too long is no help to an operator."""
        text = message(f"tcp:80:interface={'a' * 64}.example")
        assert text.endswith("is neither an address nor a host name")


class TestInetErrors:
    @pytest.mark.parametrize("port", ["65536", "-1", "+80", "http", " 80", "٣", "9" * 5000])
    def test_a_port_is_a_number_in_range(self, port: str) -> None:
        """What is no port is named, with the range that is right."""
        assert message(f"tcp:{port}") == f'port "{port}" is not a number from 0 to 65535'

    def test_an_ipv6_address_needs_the_other_transport(self) -> None:
        """Who writes an IPv6 address after tcp: is told the word that takes it."""
        expected = 'interface "::1" is an IPv6 address: use tcp6:'
        assert message("tcp:80:interface=[::1]") == expected

    def test_an_ipv4_address_needs_the_other_transport(self) -> None:
        """Who writes an IPv4 address after udp6: is told the word that takes it."""
        expected = 'interface "127.0.0.1" is an IPv4 address: use udp:'
        assert message("udp6:80:interface=127.0.0.1") == expected

    def test_an_ipv6_address_without_brackets_is_told_about_them(self) -> None:
        """The commonest slip with IPv6 falls apart at its colons; the message says how to hold."""
        expected = (
            '"" is not an option NAME=VALUE: write an IPv6 address in brackets, interface=[::1]'
        )
        assert message("tcp6:80:interface=fe80::1") == expected

    def test_a_bracket_is_closed(self) -> None:
        """A bracket left open would take the rest of the text with it."""
        text = message("tcp6:80:interface=[::1")
        assert (
            text
            == r'"tcp6:80:interface=[::1" has a "[" without its "]": write "\[" for '
            + "a literal one"
        )

    def test_an_option_has_a_value(self) -> None:
        """An empty interface, from a template say, must not come to mean all of them."""
        expected = 'option "interface" is empty: give it a value or leave it out'
        assert message("tcp:80:interface=").startswith(expected)

    def test_an_ipv6_address_without_brackets(self) -> None:
        """Its colons cut it up; what is then said names the brackets."""
        assert "interface=[::1]" in message("tcp6:80:interface=::1")

    def test_an_option_stands_once(self) -> None:
        """Of two interfaces neither is quietly forgotten."""
        text = message("tcp:80:interface=127.0.0.1:interface=127.0.0.2")
        assert text == 'option "interface" is given twice'

    def test_an_unknown_option_brings_the_nearest_to_mind(self) -> None:
        """A misspelt option is named, with the one that was probably meant."""
        text = message("tcp:80:interfaces=127.0.0.1")
        assert text == (
            'tcp: has no option "interfaces": did you mean "interface"?; known are interface'
        )


class TestUnix:
    def test_a_path_has_mode_660_and_whoever_binds(self) -> None:
        """Where nothing is said the owner and the group of the daemon get in, nobody else."""
        assert parse("unix:/run/time") == UnixAddress(Transport.UNIX, "/run/time", 0o660)

    @pytest.mark.parametrize("mode", ["600", "0600"])
    def test_a_mode_is_octal(self, mode: str) -> None:
        """A mode reads as chmod's does."""
        expected = UnixAddress(Transport.UNIXGRAM, "/run/time", 0o600)
        assert parse(f"unixgram:/run/time:mode={mode}") == expected

    def test_owner_and_group_may_be_names(self) -> None:
        """Names of the system's accounts become their numbers."""
        user, group = pwd.getpwuid(0), grp.getgrgid(0)
        address = parse(f"unix:/run/time:user={user.pw_name}:group={group.gr_name}")
        assert address == UnixAddress(Transport.UNIX, "/run/time", user=0, group=0)

    def test_owner_and_group_may_be_numbers(self) -> None:
        """A container's accounts need not be in its passwd file."""
        address = parse("unix:/run/time:user=4242424:group=4242425")
        assert address == UnixAddress(Transport.UNIX, "/run/time", user=4242424, group=4242425)

    @given(TEXT.filter(lambda path: not path.startswith("@")))
    def test_any_path_can_be_written(self, path: str) -> None:
        """With every special character escaped, what comes out is the path that was meant."""
        address = parse("unix:" + re.sub(r"([\\:\[\]])", r"\\\1", path) + ":mode=600")
        assert address == UnixAddress(Transport.UNIX, path, 0o600)

    def test_colons_in_brackets_belong_to_the_path(self) -> None:
        """Brackets hold a path together as they do an address, and stay part of it."""
        expected = UnixAddress(Transport.UNIX, "/run/[a:b]", 0o600)
        assert parse("unix:/run/[a:b]:mode=600") == expected

    def test_a_name_with_an_at_sign_is_abstract(self) -> None:
        """Abstract names are taken as they are."""
        address = parse("unixgram:@netd/time")
        assert address == UnixAddress(Transport.UNIXGRAM, "@netd/time")
        assert isinstance(address, UnixAddress)
        assert address.is_abstract


class TestUnixErrors:
    @pytest.mark.parametrize("mode", ["999", "66", "rw-", "0o660", "1777", "-660"])
    def test_a_mode_that_is_not_octal_is_refused(self, mode: str) -> None:
        """Nothing but permission bits, in the form chmod takes, is a mode."""
        expected = f'mode "{mode}" is not octal from 000 to 777, such as 660'
        assert message(f"unix:/run/time:mode={mode}") == expected

    @pytest.mark.parametrize("kind", ["user", "group"])
    @pytest.mark.parametrize("name", ["no-such-account", "4294967295", "-1"])
    def test_an_unknown_account_is_refused(self, kind: str, name: str) -> None:
        """Neither a name nobody has nor the number chown(2) reads as "leave it" is an owner."""
        assert message(f"unix:/run/time:{kind}={name}") == (
            f'unknown {kind} "{name}": write a name that this system knows, or a number'
        )

    @pytest.mark.parametrize("option", ["mode=600", "user=root", "group=root"])
    def test_an_abstract_name_has_no_owner(self, option: str) -> None:
        """A mode that protects nothing is refused, with the reason and what does protect."""
        assert message(f"unix:@time:{option}") == (
            f'"@time" is an abstract name, which is not in the file system and has no '
            f"{option.partition('=')[0]}: use the service's access table instead"
        )

    def test_an_abstract_name_is_not_empty(self) -> None:
        """An at sign alone is a slip, although the kernel would take it."""
        assert message("unix:@") == 'an abstract name needs a character after its "@"'

    def test_an_abstract_name_fits_into_sun_path(self) -> None:
        """A name of 107 bytes is taken, one of 108 refused with the limit."""
        parse("unix:@" + "n" * 107)
        name = "@" + "é" * 54
        assert message(f"unix:{name}") == (
            f'"{name}" is 108 bytes long, the name of a Unix socket at most 107 (unix(7))'
        )

    def test_a_colon_in_a_path_is_told_about_escapes(self) -> None:
        """A path falls apart at its colon; the message says how to hold it together."""
        expected = r'"b" is not an option NAME=VALUE: a colon in a path is written "\:"'
        assert message("unix:/run/a:b") == expected

    def test_an_option_of_another_transport_is_unknown(self) -> None:
        """A path has no interface; what it has is listed."""
        assert message("unix:/run/time:interface=127.0.0.1") == (
            'unix: has no option "interface"; known are mode, user, group, tls'
        )

    def test_packets_have_no_tls(self) -> None:
        """TLS is for streams."""
        assert message("unixgram:/run/time:tls=yes") == (
            'unixgram: has no option "tls"; known are mode, user, group'
        )

    def test_tls_is_yes_or_no(self) -> None:
        """Nothing else means either."""
        assert message("unix:/run/time:tls=on") == 'tls is "yes" or "no", not "on"'


class TestTransport:
    KNOWN = "known are tcp, tcp6, tls, tls6, udp, udp6, unix, unixgram, systemd"

    @pytest.mark.parametrize(
        ("word", "meant"), [("tpc", "tcp"), ("UDP6", "udp6"), ("unixdgram", "unixgram")]
    )
    def test_a_misspelt_word_brings_the_nearest_to_mind(self, word: str, meant: str) -> None:
        """A slip is answered with the word that was probably meant, and with all there are."""
        expected = f'unknown transport "{word}": did you mean "{meant}"?; {self.KNOWN}'
        assert message(f"{word}:80") == expected

    def test_a_strange_word_brings_all_to_mind(self) -> None:
        """Where no word is near, none is suggested."""
        assert message("carrier-pigeon:80") == f'unknown transport "carrier-pigeon"; {self.KNOWN}'

    def test_a_bare_port_is_told_its_transport(self) -> None:
        """A port alone is the commonest first try."""
        assert message("80") == f'"80" names no transport: write "tcp:80"; {self.KNOWN}'

    def test_a_bare_path_is_told_its_transport(self) -> None:
        """A path alone is the second commonest."""
        expected = f'"/run/time" names no transport: write "unix:/run/time"; {self.KNOWN}'
        assert message("/run/time") == expected

    def test_something_follows_the_word(self) -> None:
        """A transport alone is no place; the message shows one."""
        assert message("tcp") == '"tcp" has no port: write "tcp:10037"'
        assert message("udp6:") == '"udp6:" has no port: write "udp6:10037"'
        assert message("unix:") == '"unix:" has no path: write "unix:/run/time"'

    def test_a_backslash_escapes_something(self) -> None:
        """A backslash at the end escapes nothing and is not dropped."""
        assert message("unix:/run/x\\") == r'"unix:/run/x\" ends in a backslash: write "\\" for one'

    def test_what_cannot_reach_the_kernel_is_refused(self) -> None:
        """NUL would cut a path short, and half a surrogate pair has no bytes."""
        assert message("unix:/run/a\0b") == r"'unix:/run/a\x00b' contains a NUL character"
        assert message("unix:/run/\udcff") == r"'unix:/run/\udcff' is not UTF-8 text"

    @given(st.sampled_from(["", "tcp:", "tcp6:80:", "unix:", "unixgram:@"]), st.text())
    def test_no_text_does_worse_than_a_message(self, start: str, rest: str) -> None:
        """Whatever stands in a file, it is an address or a plain ValueError."""
        with contextlib.suppress(ValueError):
            parse(start + rest)


class TestResolved:
    def test_a_relative_path_belongs_to_the_directory(self) -> None:
        """A path stands relative to the file that names it, not to where twistd was started."""
        address = UnixAddress(Transport.UNIX, "../run/./time", 0o600, 1, 2)
        expected = UnixAddress(Transport.UNIX, "/srv/run/time", 0o600, 1, 2)
        assert resolved(address, "/srv/conf") == expected

    def test_a_relative_directory_counts_from_here(self) -> None:
        """The result is absolute, for twistd changes its directory later."""
        address = resolved(UnixAddress(Transport.UNIX, "time"), "conf")
        assert address == UnixAddress(Transport.UNIX, os.path.join(os.getcwd(), "conf", "time"))

    @pytest.mark.parametrize(
        "text", ["tcp:80:interface=127.0.0.1", "udp6:53", "unix:@time", "unix:/run/time"]
    )
    def test_everything_else_stays_as_it_is(self, text: str) -> None:
        """Only a relative path depends on where its file stands."""
        assert resolved(parse(text), "/srv") == parse(text)

    def test_the_whole_path_fits_into_sun_path(self) -> None:
        """A path of 107 bytes is taken, one of 108 refused with the limit."""
        resolved(UnixAddress(Transport.UNIX, "n" * 102), "/srv")
        with pytest.raises(ValueError, match=r"is 108 bytes long, .* at most 107 \(unix\(7\)\)"):
            resolved(UnixAddress(Transport.UNIX, "n" * 103), "/srv")


class TestAbsolute:
    @pytest.mark.parametrize(
        ("text", "expected"),
        [
            ("unix:run/time", "unix:/srv/run/time"),
            ("unixgram:../t:mode=600:user=0", "unixgram:/t:mode=600:user=0"),
            (r"unix:a\:b", r"unix:/srv/a\:b"),
            (r"unix:a\\b", r"unix:/srv/a\\b"),
            ("unix:[a:b]", r"unix:/srv/\[a\:b]"),
            ("unix:/run/time", "unix:/run/time"),
            ("unix:@a/b", "unix:@a/b"),
            ("tcp6:80:interface=[::1]", "tcp6:80:interface=[::1]"),
        ],
    )
    def test_is_a_text_again(self, text: str, expected: str) -> None:
        """What a person would write in a file somewhere else."""
        assert absolute(text, "/srv") == expected

    @given(
        st.sampled_from(["unix", "unixgram"]),
        st.text(st.sampled_from("a/.[]@é\\:"), min_size=1, max_size=8),
        st.sampled_from(["", ":mode=600", ":user=0:group=0:mode=007"]),
    )
    def test_means_what_is_resolved(self, word: str, path: str, options: str) -> None:
        """Whatever is in the path, the text reads as the address that is bound."""
        text = f"{word}:{path}{options}"
        try:
            address = parse(text)
        except ValueError:
            return
        assert parse(absolute(text, "/srv")) == resolved(address, "/srv")


class TestPassed:
    """Sockets of the service manager's."""

    def test_by_name(self) -> None:
        """Which kind it is shows when it is passed."""
        assert parse("systemd:web.socket") == PassedAddress("web.socket", Transport.SYSTEMD)
        assert parse("systemd:0:tls=yes").is_tls
        assert str(parse("systemd:web")) == "systemd:web"

    def test_means_the_same_everywhere(self) -> None:
        address = parse("systemd:web")
        assert resolved(address, "/srv") == address
        assert absolute("systemd:web", "/srv") == "systemd:web"

    @pytest.mark.parametrize(
        ("text", "why"),
        [
            (
                "systemd:",
                '"systemd:" has no name: write "systemd:web", the FileDescriptorName= of the'
                " socket unit",
            ),
            (
                "systemd:é",
                '"é" is not the name of a passed socket: write what FileDescriptorName= of the'
                " socket unit says, at most 255 ASCII characters",
            ),
            ("systemd:a:mode=600", 'systemd: has no option "mode"; known are tls'),
            (
                "systemd:a:b",
                '"b" is not an option NAME=VALUE: a name has no colon (systemd.socket(5))',
            ),
        ],
    )
    def test_nonsense(self, text: str, why: str) -> None:
        assert message(text) == why
