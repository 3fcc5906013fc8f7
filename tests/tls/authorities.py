"""Certificates for tests: authorities of trustme's, and what they issue, with quick EC keys."""

from __future__ import annotations

import datetime
from functools import lru_cache
from typing import Any, Final

import trustme

from netd.model.tls import Identity, Pem, Tls

USUAL: Final = "netd tests"
"""The authority that everybody trusts."""


def authority(name: str = USUAL) -> trustme.CA:
    """The authority of that *name*."""
    return _authority(name)


@lru_cache
def _authority(name: str) -> trustme.CA:
    return trustme.CA(organization_name=name, key_type=trustme.KeyType.ECDSA)


def issued(*names: str, by: str = USUAL, days: float | None = None) -> trustme.LeafCert:
    """A certificate for *names* that ends in so many *days*; fewer than 0 are past."""
    ends: dict[str, Any] = {}
    if days is not None:
        ends["not_after"] = datetime.datetime.now(datetime.UTC) + datetime.timedelta(days)
    return authority(by).issue_cert(*names, key_type=trustme.KeyType.ECDSA, **ends)


@lru_cache
def identity(*names: str, by: str = USUAL) -> Identity:
    """An identity in two files that do not exist."""
    leaf = issued(*names, by=by)
    chain = b"".join(each.bytes() for each in leaf.cert_chain_pems)
    return Identity(
        Pem(f"/{names[0]}.pem", chain), Pem(f"/{names[0]}.key", leaf.private_key_pem.bytes())
    )


def client_ca(name: str = USUAL) -> Pem:
    """The authority's own certificate as a file."""
    return Pem("/ca.pem", authority(name).cert_pem.bytes())


def table(**keys: Any) -> Tls:
    """A service's table, for ``host.example`` where nothing else is said."""
    return Tls(**{"identity": identity("host.example"), **keys})
