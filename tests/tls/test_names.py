"""``netd.tls.names``: server names."""

from __future__ import annotations

import pytest
from hypothesis import given
from hypothesis import strategies as st

from netd.tls.names import ServerNames, canonical

LABELS = st.sampled_from(["a", "b", "www", "xn--bcher-kva"])
HOSTS = st.lists(LABELS, min_size=1, max_size=4).map(".".join)
ENTRIES = st.lists(HOSTS | HOSTS.map(lambda host: f"*.{host}"), unique=True, max_size=6)


def fits(entry: str, host: str) -> bool:
    """The rule of RFC 9525 for one entry."""
    if not entry.startswith("*."):
        return entry == host
    label, dot, rest = host.partition(".")
    return bool(label and dot) and rest == entry.removeprefix("*.")


class TestFind:
    """Whom a client means."""

    @given(ENTRIES, HOSTS)
    def test_is_the_rule(self, entries: list[str], host: str) -> None:
        """The name itself, else its wildcard, else nobody: for any names and any question."""
        found = ServerNames((entry, entry) for entry in entries).find(host)
        if host in entries:
            assert found == host
        else:
            assert found in [entry for entry in entries if fits(entry, host)] or (
                found is None and not any(fits(entry, host) for entry in entries)
            )

    @given(ENTRIES, st.none() | st.text() | st.binary())
    def test_raises_nothing(self, entries: list[str], asked: str | bytes | None) -> None:
        """Whatever a client sends in the place of a name."""
        names = ServerNames((entry, entry) for entry in entries)
        assert names.find(asked) in [None, *entries]

    @pytest.mark.parametrize(
        ("asked", "expected"),
        [
            ("host.example", 1),
            (b"host.example", 1),
            ("HOST.Example", 1),
            ("host.example.", 1),
            ("www.host.example", 2),
            ("a.www.host.example", None),
            (".host.example", None),
            ("example", None),
            ("", None),
            (None, None),
            (b"host.example\xff", None),
            ("*.host.example", 2),
        ],
    )
    def test_examples(self, asked: str | bytes | None, expected: int | None) -> None:
        """Upper case is the same, a wildcard is for one label."""
        assert ServerNames([("host.example", 1), ("*.host.example", 2)]).find(asked) == expected


class TestCanonical:
    """How an operator writes a name, and how a client sends it."""

    @pytest.mark.parametrize(
        ("written", "expected"),
        [
            ("host.example", "host.example"),
            ("Host.EXAMPLE.", "host.example"),
            ("*.host.example", "*.host.example"),
            ("bücher.example", "xn--bcher-kva.example"),
            ("*.BÜCHER.example", "*.xn--bcher-kva.example"),
            ("my_host.example", "my_host.example"),
            ("localhost", "localhost"),
        ],
    )
    def test_names(self, written: str, expected: str) -> None:
        """A-labels in lower case, without the dot of the root."""
        assert canonical(written) == expected

    @pytest.mark.parametrize(
        ("written", "said"),
        [
            ("", "not a host name"),
            (".", "not a host name"),
            ("a..b", "not a host name"),
            ("-a.example", "not a host name"),
            ("a b.example", "not a host name"),
            ("a" * 64 + ".example", "not a host name"),
            (".".join(["a" * 60] * 5), "not a host name"),
            ("host.example:443", "not a host name"),
            ("ü b.example", "not a host name"),
            ("*", '"*"'),
            ("www.*.example", '"*"'),
            ("w*.example", '"*"'),
            ("*.*.example", '"*"'),
            ("192.0.2.1", "never addresses"),
            ("::1", "not a host name"),
        ],
    )
    def test_no_names(self, written: str, said: str) -> None:
        """What cannot be asked for is said."""
        with pytest.raises(ValueError, match=said.replace("*", r"\*")):
            canonical(written)

    @given(st.text(max_size=80))
    def test_any_text(self, text: str) -> None:
        """Any text is a name, which stays as it is, or a ValueError."""
        try:
            name = canonical(text)
        except ValueError:
            return
        assert canonical(name) == name
        assert name.isascii()
