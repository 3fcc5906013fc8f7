"""What the listeners of one reactor service have in common."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from netd.accept.pause import Pause
from netd.accept.pending import PendingConnections
from netd.execution.reactor.accounts import Accounts
from netd.execution.reactor.tls import Tls


@dataclass(frozen=True)
class ServiceParts:
    """One of each for a service, so that its bounds hold over all its listeners."""

    name: str
    accounts: Accounts
    pause: Pause
    pending: PendingConnections
    tls: Tls | None
    """For TLS listeners, and for handlers that start TLS."""
    reactor: Any
    """Twisted's own, which transports use far beyond ``netd.core.reactor``."""
