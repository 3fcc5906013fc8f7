"""Which entry of a service's lists admits or refuses a client: ``netdctl explain``."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass

from netd.admission.explain import Described, Explained, explained
from netd.admission.proxies import Proxies
from netd.model.service import Configuration, Service


@dataclass(frozen=True)
class Explanation:
    """Whether a client is admitted, and why."""

    service: str
    client: str
    admitted: bool
    """Whether the lists admit it."""
    why: str
    key: str | None
    """The dotted key of the list that decides."""
    entry: str | None
    """The entry that decides, as netd reads it; None if it decides that no entry matches."""
    location: tuple[str, int] | None
    """File and line of the list."""
    besides: tuple[str, ...]
    """Remarks about what the lists do not decide."""

    def lines(self) -> Iterator[str]:
        """Yield the explanation as lines of text."""
        where = "" if self.location is None else f" ({self.location[0]}:{self.location[1]})"
        verdict = "admitted" if self.admitted else "refused"
        yield f"{self.client}: {verdict}: {self.why}{where}"
        yield from self.besides

    def as_json(self) -> Mapping[str, object]:
        """Return the explanation as a JSON object."""
        file, line = self.location or (None, None)
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
    """Explain whether the service *name* admits the client that *words* describe.

    Raises KeyError if there is no such service, and ValueError if *words* describe no client.
    """
    service = next((one for one in configuration.services if one.name == name), None)
    if service is None:
        raise KeyError(name)
    client = Described.by(words)
    found = explained(service.access, client)
    key = None if found.by is None else f"services.{name}.access.{found.by}"
    location = None if key is None else configuration.locations.get(key)
    return Explanation(
        name,
        " ".join(words),
        found.refusal is None,
        _why(found, key, name),
        key,
        found.entry,
        location,
        tuple(_besides(service, client)),
    )


def _why(found: Explained, key: str | None, name: str) -> str:
    if key is None and found.refusal is not None:
        return "an entry needs the client's user, which --from does not give (uid:N or user:NAME)"
    if key is None:
        return f"no entry of services.{name}.access.deny matches, and there is no allow list"
    if found.entry is None:
        return f"no entry of {key} matches"
    return f'by "{found.entry}" in {key}'


def _besides(service: Service, client: Described) -> Iterator[str]:
    """Yield remarks about what the lists do not decide."""
    access = service.access
    is_unix = client.host is None
    if not any(address.transport.is_unix is is_unix for address in service.listen):
        kind = "Unix socket" if is_unix else "Internet address"
        yield f"services.{service.name} listens on no {kind}"
    if client.certificate is not None and service.tls is None:
        yield f"services.{service.name} has no TLS, so it sees no certificate"
    if Proxies(service.proxies, of_unix=is_unix).has((client.host or "", 0), client.peer):
        yield "it is a proxy: the lists are evaluated for the client that its header names"
    if access.verify_request is not None:
        yield f"an admitted client is then passed to verify_request: {access.verify_request}"
    if access.dry_run:
        yield "dry_run is on: a refusal is logged and counted, but the client is admitted"
