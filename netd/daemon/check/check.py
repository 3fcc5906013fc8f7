"""Reading a configuration and trying what it names: all that can be known without binding."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from netd.config.load import load
from netd.daemon.check.probe import ask, located_at, settle
from netd.daemon.check.rights import Rights, lacking
from netd.ipc.probe import ProbeError
from netd.listening.options.apply import CannotSet, try_out
from netd.model.problem import ConfigurationError, Problem
from netd.model.service import Configuration, Owner, Plugin, Service
from netd.model.socket_options import fitting


def check(file: str, as_whom: Owner = Owner()) -> Configuration:  # noqa: B008
    """Return the configuration in *file*, every handler of it imported once, elsewhere.

    Handlers of services that name no user are imported as *as_whom*. Binds nothing. Raises
    ConfigurationError with every problem.
    """
    return check_loaded(load(file), as_whom)


def check_loaded(configuration: Configuration, as_whom: Owner = Owner()) -> Configuration:  # noqa: B008
    """Do as ``check`` does with a *configuration* that was read."""
    try:
        answers = ask(configuration, as_whom)
    except OSError as error:
        why = f"what the services run cannot be imported: {error}"
        place = configuration.locations.get("", (configuration.file, 1))
        raise ConfigurationError([Problem(*place, "", why)]) from error
    checked, found = settle(configuration, answers)
    found += _strange_companions(checked)
    found += [
        ProbeError(service.name, f"socket.{error.option}", _refusal(error))
        for service in configuration.services
        for error in _untakeable(service)
        if not _is_right(error)  # who checks need not be who runs it
    ]
    if found:
        raise ConfigurationError([located_at(fault, configuration) for fault in found])
    return checked


def _strange_companions(configuration: Configuration) -> list[ProbeError]:
    """Services that share a worker, but would not have it run in the same processes."""
    first_of: dict[str, Service] = {}
    found = []
    for service in configuration.services:
        first = first_of.setdefault(service.worker, service)
        if _processes(first) != _processes(service):
            text = (
                f"shares worker {service.worker} with services.{first.name}, which is run in "
                f"{_processes(first)}, and this one in {_processes(service)}: give both the same, "
                "or each a worker"
            )
            found.append(ProbeError(service.name, "worker", text))
    return found


def _processes(service: Service) -> str:
    if isinstance(service.runs, Plugin):
        return "a worker of its own"
    if service.forks:
        return "a process for each request"
    kept = "up to " if service.concurrency == "process" else ""
    return f"{kept}{service.processes} process{'es' if service.processes > 1 else ''}"


def _untakeable(service: Service) -> Iterator[CannotSet]:
    """The socket options of a service that this system does not take; each once."""
    said = set()
    for transport in dict.fromkeys(address.transport for address in service.listen):
        for name, error in try_out(transport, fitting(service.socket, transport)).items():
            if name not in said:
                said.add(name)
                yield error


def _is_right(error: CannotSet) -> bool:
    return error.errno in (errno.EPERM, errno.EACCES)


def _refusal(error: CannotSet) -> str:
    if error.errno == errno.ENOPROTOOPT:
        return "this system's kernel does not have it: leave it out"
    return f"this system does not take that value: {error.reason}"


def check_rights(configuration: Configuration, as_whom: Owner) -> None:
    """Raise ConfigurationError where the daemon will lack a right that a service needs of it.

    *as_whom* is what twistd's ``--uid`` and ``--gid`` make of the daemon.
    """
    found = [
        located_at(ProbeError(service.name, key, why), configuration)
        for service in configuration.services
        for key, why in lacking(service.environment, Rights.of_daemon(as_whom))
    ]
    found += [
        located_at(
            ProbeError(service.name, f"socket.{error.option}", f"needs a right: {error.reason}"),
            configuration,
        )
        for service in configuration.services
        for error in _untakeable(service)
        if _is_right(error)
    ]
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
            found.append(located_at(ProbeError(service.name, key, why), configuration))
    if found:
        raise ConfigurationError(sorted(found, key=lambda problem: (problem.file, problem.line)))


def _is_us(owner: Owner) -> bool:
    return owner.uid in (None, os.geteuid()) and owner.gid in (None, os.getegid())
