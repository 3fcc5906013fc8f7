"""Reads a configuration and tries what it names: all that can be known without binding."""

from __future__ import annotations

import errno
import os
from collections.abc import Iterator

from netd.config.load import load
from netd.daemon.check.probe import ask, located_at, resolve
from netd.daemon.check.rights import Rights, lacking
from netd.ipc.probe import ProbeError
from netd.listening.options.apply import CannotSet, try_out
from netd.model.problem import ConfigurationError, Problem
from netd.model.service import Configuration, Owner, Plugin, Service
from netd.model.socket_options import fitting


def check(file: str, owner: Owner = Owner()) -> Configuration:  # noqa: B008
    """Return the configuration in *file*, whose code the probe has imported. Binds nothing.

    The code of services that name no user is imported as *owner*. Raises ConfigurationError with
    every problem.
    """
    return check_loaded(load(file), owner)


def check_loaded(configuration: Configuration, owner: Owner = Owner()) -> Configuration:  # noqa: B008
    """Check a *configuration* that has been read, as ``check`` does."""
    try:
        answers = ask(configuration, owner)
    except OSError as error:
        why = f"what the services run cannot be imported: {error}"
        place = configuration.locations.get("", (configuration.file, 1))
        raise ConfigurationError([Problem(*place, "", why)]) from error
    checked, found = resolve(configuration, answers)
    found += _worker_conflicts(checked)
    found += [
        ProbeError(service.name, f"socket.{error.option}", _refusal(error))
        for service in configuration.services
        for error in _refused_options(service)
        # A user without the right may check a file that root runs.
        if not _is_permission(error)
    ]
    if found:
        raise ConfigurationError([located_at(error, configuration) for error in found])
    return checked


def _worker_conflicts(configuration: Configuration) -> list[ProbeError]:
    """Services that share a worker but want different numbers or kinds of processes."""
    # Only after the probe: mix-ins of a server class decide how it is executed.
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


def _refused_options(service: Service) -> Iterator[CannotSet]:
    """The socket options of a service that this system refuses; each once."""
    found = set()
    for transport in dict.fromkeys(address.transport for address in service.listen):
        for name, error in try_out(transport, fitting(service.socket, transport)).items():
            if name not in found:
                found.add(name)
                yield error


def _is_permission(error: CannotSet) -> bool:
    return error.errno in (errno.EPERM, errno.EACCES)


def _refusal(error: CannotSet) -> str:
    if error.errno == errno.ENOPROTOOPT:
        return "this system's kernel does not support it: remove it"
    return f"this system refuses the value: {error.reason}"


def check_rights(configuration: Configuration, owner: Owner) -> None:
    """Raise ConfigurationError if the daemon will lack a right that a service needs.

    *owner* is what twistd's ``--uid`` and ``--gid`` make of the daemon.
    """
    found = [
        located_at(ProbeError(service.name, key, why), configuration)
        for service in configuration.services
        for key, why in lacking(service.environment, Rights.of_daemon(owner))
    ]
    found += [
        located_at(
            ProbeError(service.name, f"socket.{error.option}", f"needs a right: {error.reason}"),
            configuration,
        )
        for service in configuration.services
        for error in _refused_options(service)
        if _is_permission(error)
    ]
    for service in configuration.services:
        if service.owner == Owner():
            continue
        why = None
        if owner != Owner():
            why = "twistd's --uid and --gid give up the right to become another user"
        elif os.geteuid() != 0 and not _is_us(service.owner):
            why = f"only root can become another user, and netd was started by uid {os.geteuid()}"
        if why is not None:
            key = "user" if service.owner.uid is not None else "group"
            found.append(located_at(ProbeError(service.name, key, why), configuration))
    if found:
        # In the order of the file, where the checks above go by kind.
        raise ConfigurationError(sorted(found, key=lambda problem: (problem.file, problem.line)))


def _is_us(owner: Owner) -> bool:
    return owner.uid in (None, os.geteuid()) and owner.gid in (None, os.getegid())
