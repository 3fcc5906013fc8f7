"""Reading a configuration and trying what it names: all that can be known without binding."""

from __future__ import annotations

import os

from netd.config.document import dotted
from netd.config.load import load
from netd.daemon.probing import ask, faults
from netd.values.probe import Fault
from netd.values.problem import ConfigurationError, Problem
from netd.values.service import Configuration, Owner


def check(file: str, as_whom: Owner = Owner()) -> Configuration:  # noqa: B008
    """Return the configuration in *file*, every handler of it imported once, elsewhere.

    Handlers of services that name no user are imported as *as_whom*. Binds nothing. Raises
    ConfigurationError with every problem.
    """
    configuration = load(file)
    try:
        answers = ask(configuration, as_whom)
    except OSError as error:
        why = f"what the services run cannot be imported: {error}"
        raise ConfigurationError([Problem(configuration.file, 1, "", why)]) from error
    found = faults(configuration.services, answers)
    if found:
        raise ConfigurationError([_located(fault, configuration) for fault in found])
    return configuration


def check_rights(configuration: Configuration, as_whom: Owner) -> None:
    """Raise ConfigurationError where a service's user cannot be become when the daemon runs.

    *as_whom* is what twistd's ``--uid`` and ``--gid`` make of the daemon.
    """
    found = []
    for service in configuration.services:
        if service.owner == Owner():
            continue
        why = None
        if as_whom != Owner():
            why = "twistd's --uid and --gid give up the right to become another user"
        elif os.geteuid() != 0 and not _is_us(service.owner):
            why = f"only root can become another user, and netd was started by uid {os.geteuid()}"
        if why is not None:
            key = "user" if service.owner.uid is not None else "group"
            found.append(_located(Fault(service.name, key, why), configuration))
    if found:
        raise ConfigurationError(found)


def _is_us(owner: Owner) -> bool:
    return owner.uid in (None, os.geteuid()) and owner.gid in (None, os.getegid())


def _located(fault: Fault, configuration: Configuration) -> Problem:
    """Put a fault at its key, or at the nearest table around it that is written somewhere."""
    path = ("services", fault.service, *fault.key.split("."))
    around = (dotted(path[:length]) for length in range(len(path), 0, -1))
    written = next((key for key in around if key in configuration.places), "")
    file, line = configuration.places.get(written, (configuration.file, 1))
    return Problem(file, line, dotted(path), fault.message)
