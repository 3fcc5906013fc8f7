"""What programs are told of TLS: environment variables by the names that mod_ssl gives them.

https://httpd.apache.org/docs/2.4/mod/mod_ssl.html#envvars
"""

from __future__ import annotations

from datetime import datetime

from netd.tls.peer import ClientCertificate


def environment(
    protocol: str | None,
    cipher: str | None,
    server_name: str | None,
    certificate: ClientCertificate | None,
) -> dict[str, str]:
    """The variables of one connection: its *protocol* (``TLSv1.3``) and *cipher*, the *server_name*
    that its client has asked for, and the client's verified *certificate*."""
    found = {"HTTPS": "on", "SSL_CLIENT_VERIFY": "NONE" if certificate is None else "SUCCESS"}
    known = {"SSL_PROTOCOL": protocol, "SSL_CIPHER": cipher, "SSL_TLS_SNI": server_name}
    found |= {key: value for key, value in known.items() if value}
    if certificate is not None:
        found |= _of_client(certificate)
    # Nothing that a certificate says can be in the way of the program's start (execve(2)).
    return {key: value for key, value in found.items() if "\0" not in value}


def _of_client(certificate: ClientCertificate) -> dict[str, str]:
    found = {
        "SSL_CLIENT_S_DN": certificate.subject,
        "SSL_CLIENT_I_DN": certificate.issuer,
        "SSL_CLIENT_M_SERIAL": certificate.serial,
        "SSL_CLIENT_V_START": _time(certificate.not_before),
        "SSL_CLIENT_V_END": _time(certificate.not_after),
    }
    kinds = {"DNS": certificate.hosts, "IP": certificate.addresses, "URI": certificate.uris}
    for kind, names in kinds.items():
        found |= {f"SSL_CLIENT_SAN_{kind}_{number}": name for number, name in enumerate(names)}
    return found


def _time(when: datetime) -> str:
    """As OpenSSL writes it (ASN1_TIME_print(3))."""
    return f"{when:%b} {when.day:2} {when:%H:%M:%S %Y} GMT"
