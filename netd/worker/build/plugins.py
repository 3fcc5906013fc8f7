"""Hosting a twistd plugin: finding it, reading its arguments, and running its service.

What twistd does for one plugin (``twisted.application.app``), a worker does here for each.
"""

from __future__ import annotations

import contextlib
import difflib
import io
from collections.abc import Callable
from typing import Any

from twisted.application.service import IService, IServiceMaker
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.python.failure import Failure

from netd.admission.lists import AccessLists
from netd.model.service import Plugin

OURS = "netd"
"""netd's own plugin: a daemon inside a worker would be nobody's."""


class NoSuchPlugin(Exception):
    """No plugin of this name is installed."""


class BadArguments(Exception):
    """A plugin does not understand its arguments; the text is its own."""


def found(name: str) -> Any:
    """The service maker of this name. Raises NoSuchPlugin."""
    makers = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}
    makers.pop(OURS, None)
    try:
        return makers[name]
    except KeyError:
        near = difflib.get_close_matches(name, makers, 1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(sorted(makers))}"
        raise NoSuchPlugin(f'there is no twistd plugin "{name}"; {hint}') from None


def parsed(plugin: Plugin) -> tuple[Any, Any]:
    """Return the plugin's service maker and its options. Raises NoSuchPlugin, BadArguments."""
    maker = found(plugin.name)
    said = io.StringIO()
    try:
        # Options such as --help print and leave; neither is for a service.
        with contextlib.redirect_stdout(said):
            options = maker.options()
            options.parent = usage.Options()
            options.parent.subCommand = plugin.name
            options.parseOptions(list(plugin.arguments))
    except usage.UsageError as error:
        raise BadArguments(f"{plugin.name}: {error}") from error
    except SystemExit as error:
        raise BadArguments(f"{plugin.name}: an argument makes it print and leave") from error
    except BaseException as error:
        raise BadArguments(f"{plugin.name}: {type(error).__name__}: {error}") from error
    return maker, options


class HostedPlugin:
    """The service of a twistd plugin, as a worker runs it. In the reactor's thread.

    It binds for itself when it is started, as whom the worker runs as. *say* logs a level and a
    text.
    """

    def __init__(self, plugin: Plugin, say: Callable[[str, str], None]) -> None:
        """Make the service. Raises NoSuchPlugin, BadArguments, and what the plugin raises."""
        maker, options = parsed(plugin)
        self._name = plugin.name
        self._say = say
        self._service = IService(maker.makeService(options))

    def start(self, accepting: bool = True) -> None:
        """Start it, which takes by itself. Raises what it raises, such as CannotListenError."""
        self._service.privilegedStartService()
        self._service.startService()

    def suspend(self) -> None:
        """Change nothing: only the plugin knows what it listens on."""
        self._say("warn", f"plugin {self._name} cannot be suspended: it listens for itself")

    def resume(self) -> None:
        """Change nothing."""

    def stop(self, stopped: Callable[[], None]) -> None:
        """Stop it; *stopped* is called when it says that it has."""

        def ended(result: object) -> None:
            if isinstance(result, Failure):
                text = f"plugin {self._name}: stopService() raised {result.getErrorMessage()}"
                self._say("error", text)
            stopped()

        ending: Deferred[Any] = maybeDeferred(self._service.stopService)
        ending.addBoth(ended)

    def recheck(self, lists: AccessLists) -> None:
        """Nothing to do: a plugin has no lists."""

    def disconnect(self, connection: int) -> None:
        """Nothing to do: a plugin has connections of its own."""

    def kill(self) -> None:
        """Nothing of it is outside this process."""
