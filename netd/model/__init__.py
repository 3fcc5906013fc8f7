"""Frozen values that every room may use: services, addresses, peers, problems, units.

Imports nothing else of netd, so that every room may import it. Rules that hold here:

* A value is frozen: ``config`` creates it once, and daemon and workers compare copies of it.
* A value is picklable, since the daemon sends it to workers.
* Defaults are here; ``config/schema`` refers to them.
"""
