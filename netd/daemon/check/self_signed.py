"""Makes the self-signed certificates that a configuration asks netd for."""

from __future__ import annotations

from dataclasses import replace
from datetime import UTC, datetime

from netd.daemon.check.probe import located_at
from netd.ipc.probe import ProbeError
from netd.model.problem import ConfigurationError
from netd.model.service import Configuration, Owner, Service
from netd.model.tls import Pem, Tls


def with_certificates(
    configuration: Configuration,
    owner: Owner = Owner(),  # noqa: B008
) -> Configuration:
    """Return *configuration* with the ``self_signed`` files made that are missing or have expired.

    They belong to *owner*, what twistd makes of the daemon, so that it can read them later. A file
    that several services name is made once. Raises ConfigurationError if one cannot be made.
    """
    made: dict[str, Pem] = {}
    services = []
    for service in configuration.services:
        tls = service.tls
        if tls is not None and tls.identity.is_missing:
            path = tls.identity.certificate.path
            # Written twice, services would have different certificates in one file.
            if path not in made:
                made[path] = _made(path, service, configuration, owner)
            service = replace(service, tls=_with(tls, made[path]))
        services.append(service)
    return replace(configuration, services=tuple(services)) if made else configuration


def _with(tls: Tls, file: Pem) -> Tls:
    return replace(tls, identity=replace(tls.identity, certificate=file, private_key=file))


def _made(path: str, service: Service, configuration: Configuration, owner: Owner) -> Pem:
    # Imported here, because it loads cryptography and most daemons have nothing to sign.
    from netd.tls import self_signed

    content = self_signed.made(datetime.now(UTC))
    try:
        self_signed.write(path, content, owner.uid, owner.gid)
    except OSError as error:
        why = f"cannot make {path}: {error.strerror}"
        problem = located_at(ProbeError(service.name, "tls.self_signed", why), configuration)
        raise ConfigurationError([problem]) from error
    return Pem(path, content)
