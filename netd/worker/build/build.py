"""The choice of how a service is built, by what it runs and by its concurrency."""

from __future__ import annotations

from netd.execution.interfaces import Execution
from netd.model.service import Plugin, Program
from netd.worker.build.blocking import by_forks, by_threads
from netd.worker.build.context import ServiceContext
from netd.worker.build.programs import by_inetd_wait, by_programs
from netd.worker.build.reactor import by_reactor
from netd.worker.importing import CannotImport


def build_service(context: ServiceContext) -> Execution:
    """Build a service, not yet started. Raises ``importing.CannotImport``."""
    runs = context.service.runs
    if isinstance(runs, Program):
        return by_inetd_wait(context, runs) if runs.wait else by_programs(context, runs)
    if isinstance(runs, Plugin):
        return _hosted_plugin(context, runs)
    if context.service.concurrency == "reactor":
        return by_reactor(context)
    return by_forks(context) if context.service.forks else by_threads(context)


def _hosted_plugin(context: ServiceContext, plugin: Plugin) -> Execution:
    # Imported here: most workers host no plugin, and twisted.plugin costs them time and memory.
    from netd.worker.build.plugins import HostedPlugin

    try:
        return HostedPlugin(plugin, context.say)
    except Exception as error:  # whatever the plugin's makeService raises
        raise CannotImport(f'plugin "{plugin}": {error}') from error
