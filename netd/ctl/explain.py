"""What a service's configuration says of a client, with file and line, for ``netdctl explain``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from netd.admission.explain import Described, Explained, explained
from netd.admission.proxies import Proxies
from netd.model.service import Configuration, Service


@dataclass(frozen=True)
class Explanation:
    """What becomes of a client, and why."""

    service: str
    client: str
    admitted: bool
    """By the lists."""
    why: str
    key: str | None
    """Of the list that decides."""
    entry: str | None
    """The entry that decides, as netd reads it; None where it is that none matches."""
    place: tuple[str, int] | None
    """File and line of the list."""
    besides: tuple[str, ...]
    """What else there is to know."""

    def lines(self) -> Iterator[str]:
        """The explanation as text."""
        where = "" if self.place is None else f" ({self.place[0]}:{self.place[1]})"
        verdict = "admitted" if self.admitted else "refused"
        yield f"{self.client}: {verdict}: {self.why}{where}"
        yield from self.besides

    def as_json(self) -> Mapping[str, Any]:
        """The same for programs."""
        file, line = self.place or (None, None)
        return {
            "service": self.service,
            "client": self.client,
            "admitted": self.admitted,
            "why": self.why,
            "key": self.key,
            "entry": self.entry,
            "file": file,
            "line": line,
            "besides": list(self.besides),
        }


def explain(configuration: Configuration, name: str, words: tuple[str, ...]) -> Explanation:
    """Explain what becomes of the client that *words* describe at a service.

    Raises KeyError if there is no such service, and ValueError if there is no such client.
    """
    service = next((one for one in configuration.services if one.name == name), None)
    if service is None:
        raise KeyError(name)
    client = Described.by(words)
    found = explained(service.access, client)
    key = None if found.by is None else f"services.{name}.access.{found.by}"
    place = None if key is None else configuration.locations.get(key)
    return Explanation(
        name,
        " ".join(words),
        found.refusal is None,
        _why(found, key, name),
        key,
        found.entry,
        place,
        tuple(_besides(service, client)),
    )


def _why(found: Explained, key: str | None, name: str) -> str:
    if key is None and found.refusal is not None:
        return "an entry asks who it is, which nobody has said (uid:N or user:NAME)"
    if key is None:
        return f"no entry of services.{name}.access.deny matches, and there is no allow list"
    if found.entry is None:
        return f"no entry of {key} matches"
    return f'by "{found.entry}" in {key}'


def _besides(service: Service, client: Described) -> Iterator[str]:
    """What the lists do not say."""
    access = service.access
    is_unix = client.host is None
    if not any(address.transport.is_unix is is_unix for address in service.listen):
        kind = "Unix socket" if is_unix else "address of the Internet"
        yield f"services.{service.name} listens on no {kind}"
    if client.certificate is not None and service.tls is None:
        yield f"services.{service.name} has no TLS, and sees no certificate"
    if Proxies(service.proxies, of_unix=is_unix).has((client.host, 0), client.peer):
        yield "it is a proxy: the lists are asked about the client that it names"
    if access.verify_request is not None:
        yield f"whoever is admitted is shown to verify_request: {access.verify_request}"
    if access.dry_run:
        yield "dry_run is on: a refusal is logged and counted, and the client comes in"
