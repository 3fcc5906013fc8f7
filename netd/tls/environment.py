"""The environment variables that tell programs about TLS, with the names of Apache's mod_ssl.

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
    """The variables of one connection.

    *protocol* is, for example, ``TLSv1.3``; *server_name* is what the client has asked for;
    *certificate* is the client's verified one.
    """
    found = {"HTTPS": "on", "SSL_CLIENT_VERIFY": "NONE" if certificate is None else "SUCCESS"}
    known = {"SSL_PROTOCOL": protocol, "SSL_CIPHER": cipher, "SSL_TLS_SNI": server_name}
    found |= {key: value for key, value in known.items() if value}
    if certificate is not None:
        found |= _client_variables(certificate)
    # execve(2) refuses a NUL: a name in a certificate must not keep the program from starting.
    return {key: value for key, value in found.items() if "\0" not in value}


def _client_variables(certificate: ClientCertificate) -> dict[str, str]:
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
    """A time in OpenSSL's form (ASN1_TIME_print(3))."""
    return f"{when:%b} {when.day:2} {when:%H:%M:%S %Y} GMT"
