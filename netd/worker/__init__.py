"""A worker process: it inherits listeners, imports what its services run, and serves them.

``__main__`` is the program of netd's own processes: the fork server (``forkserver``), which becomes
workers by forking, and the probe (``probe``), which only imports and reports. ``process`` is a
worker until its reactor runs, ``worker`` obeys the daemon from then on, ``channel_link`` brings it
what services ask, ``log_stream`` brings it the log, and ``leaving`` ends the process. ``build``
builds each service from its configuration.

Imports ``execution`` and everything below it; never ``daemon``. Three rules hold here:

* The daemon imports nothing of this package: the two speak ``netd.ipc``.
* A process enters its service's environment and drops its rights before the first line of user
  code (``environment``, ``privilege``).
* User code that raises anything, SystemExit included, costs its own service a message.
"""
