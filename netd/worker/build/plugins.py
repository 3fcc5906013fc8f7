"""Hosting a twistd plugin: finding it, parsing its arguments, and running its service.

A worker does here for each plugin what twistd does for one (``twisted.application.app``).
"""

from __future__ import annotations

import contextlib
import difflib
import io
from collections.abc import Callable

from twisted.application.service import IService, IServiceMaker
from twisted.internet.defer import Deferred, maybeDeferred
from twisted.plugin import getPlugins
from twisted.python import usage
from twisted.python.failure import Failure

from netd.admission.lists import AccessLists
from netd.model.service import Plugin

OURS = "netd"
"""netd's own plugin, which cannot be hosted: a daemon in a worker would have no supervisor."""


class NoSuchPlugin(Exception):
    """No plugin of this name is installed."""


class BadArguments(Exception):
    """A plugin refuses its arguments. The text is the plugin's."""


def find_maker(name: str) -> IServiceMaker:
    """Return the service maker of this name. Raises NoSuchPlugin."""
    makers: dict[str, IServiceMaker] = {maker.tapname: maker for maker in getPlugins(IServiceMaker)}
    makers.pop(OURS, None)
    try:
        return makers[name]
    except KeyError:
        near = difflib.get_close_matches(name, makers, 1)
        hint = f'did you mean "{near[0]}"?' if near else f"there are {', '.join(sorted(makers))}"
        raise NoSuchPlugin(f'there is no twistd plugin "{name}"; {hint}') from None


def parse_arguments(plugin: Plugin) -> tuple[IServiceMaker, usage.Options]:
    """Return the plugin's service maker and its options. Raises NoSuchPlugin, BadArguments."""
    maker = find_maker(plugin.name)
    printed = io.StringIO()
    try:
        # Options such as --help print and exit; a service can use neither.
        with contextlib.redirect_stdout(printed):
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
    """The service of a twistd plugin in a worker (``Execution``). In the reactor's thread.

    It binds its own sockets when it is started, as the worker's user. *say* logs a level and a
    text.
    """

    def __init__(self, plugin: Plugin, say: Callable[[str, str], None]) -> None:
        """Make the service. Raises NoSuchPlugin, BadArguments, and what the plugin raises."""
        maker, options = parse_arguments(plugin)
        self._name = plugin.name
        self._say = say
        self._service = IService(maker.makeService(options))

    def start(self, accepting: bool = True) -> None:
        """Start it; it accepts immediately. Raises what it raises, such as CannotListenError."""
        # Both, as twistd does; the rights are those of the worker's user in either.
        self._service.privilegedStartService()
        self._service.startService()

    def suspend(self) -> None:
        """Change nothing: only the plugin knows what it listens on."""
        self._say("warn", f"plugin {self._name} cannot be suspended: it listens for itself")

    def resume(self) -> None:
        """Change nothing."""

    def stop(self, stopped: Callable[[], None]) -> None:
        """Stop it; *stopped* is called when its ``stopService()`` has finished."""

        def ended(result: object) -> None:
            if isinstance(result, Failure):
                text = f"plugin {self._name}: stopService() raised {result.getErrorMessage()}"
                self._say("error", text)
            stopped()

        ending: Deferred[object] = maybeDeferred(self._service.stopService)
        ending.addBoth(ended)

    def recheck(self, lists: AccessLists) -> None:
        """Nothing to do: a plugin has no lists."""

    def disconnect(self, connection: int) -> None:
        """Nothing to do: a plugin has connections of its own."""

    def kill(self) -> None:
        """Nothing to do: nothing of it is outside this process."""
