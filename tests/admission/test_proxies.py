"""``netd.admission.proxies``: who has to say whose connection it is."""

from __future__ import annotations

import pytest

from netd.admission.proxies import Proxies
from netd.model.peer import Credentials


@pytest.mark.parametrize(
    ("peer", "expected"),
    [
        (("10.0.0.5", 1), True),
        (("10.0.0.6", 1), False),
        (("::ffff:10.1.2.3", 1, 0, 0), True),
        (("2001:db8::1", 1, 0, 0), True),
        (("fe80::1%eth0", 1, 0, 2), False),
        (("", 1), False),
    ],
)
def test_peers(peer: tuple[str, int], expected: bool) -> None:
    entries = ["10.0.0.5", "10.1.0.0/16", "2001:db8::/32"]
    assert Proxies(entries, of_unix=False).has(peer, None) is expected
    assert not Proxies(entries, of_unix=True).has("", Credentials(0, 0))


def test_of_a_unix_socket() -> None:
    assert Proxies(["unix"], of_unix=True).has("", None)
    assert Proxies(["unix"], of_unix=True).has("", Credentials(0, 0))
    assert not Proxies(["unix"], of_unix=False).has(("10.0.0.5", 1), None)
