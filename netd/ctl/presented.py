"""The certificate that a TLS service presents, and whether a client should accept it. Pure."""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from datetime import datetime

from netd.tls.peer import ShownCertificate


@dataclass(frozen=True)
class Presented:
    """A certificate, and the connection on which the service presented it."""

    certificate: ShownCertificate
    fingerprint: str
    """SHA-256 of its DER, in hexadecimal digits."""
    name: str | None
    """The expected host name or address; None if none is expected."""
    distrust: str | None
    """Why it is not trusted; None if a trusted authority has issued it."""
    protocol: str | None
    """``TLSv1.3``; None if the handshake failed."""
    cipher: str | None
    refusal: str | None = None
    """Why the service ended the handshake, for example because it requires a client certificate.
    That is no problem of its own certificate."""

    @property
    def is_for_name(self) -> bool | None:
        """Whether it is for the expected name; None if none is expected."""
        return None if self.name is None else self.certificate.is_for(self.name)

    def problems(self) -> Iterator[str]:
        """Yield the reasons why a client should not accept it."""
        if self.distrust is not None:
            yield f"it is not trusted: {self.distrust}"
        if self.is_for_name is False:
            yield f"it is not for {self.name}"

    def facts(self, now: datetime) -> dict[str, object]:
        """Return all of it as a JSON object."""
        shown = self.certificate
        return {
            "subject": shown.subject,
            "names": list(shown.names),
            "issuer": shown.issuer,
            "serial": shown.serial,
            "sha256": self.fingerprint,
            "not_before": f"{shown.not_before:%Y-%m-%dT%H:%M:%SZ}",
            "not_after": f"{shown.not_after:%Y-%m-%dT%H:%M:%SZ}",
            "days_left": (shown.not_after - now).days,
            "protocol": self.protocol,
            "cipher": self.cipher,
            "trusted": self.distrust is None,
            "name": self.name,
            "is_for_name": self.is_for_name,
            "refusal": self.refusal,
            "problems": list(self.problems()),
        }

    def lines(self, now: datetime) -> Iterator[str]:
        """Yield all of it as lines of text."""
        shown = self.certificate
        days = (shown.not_after - now).days
        left = f"{days} days left" if days >= 0 else f"expired {-days} days ago"
        facts = {
            "subject": shown.subject or "none",
            "names": ", ".join(shown.names) or "none",
            "issuer": shown.issuer or "none",
            "serial": shown.serial,
            "sha256": self.fingerprint,
            "valid": f"{shown.not_before:%Y-%m-%d} to {shown.not_after:%Y-%m-%d}, {left}",
            "protocol": self.protocol,
            "cipher": self.cipher,
            "trusted": "yes" if self.distrust is None else f"no: {self.distrust}",
            f"for {self.name}": {True: "yes", False: "no", None: None}[self.is_for_name],
            "refused": self.refusal,
        }
        width = max(len(key) for key, value in facts.items() if value is not None)
        for key, value in facts.items():
            if value is not None:
                yield f"{key + ':':{width + 1}} {value}"
