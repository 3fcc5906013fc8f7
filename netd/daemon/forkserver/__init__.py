"""How the daemon starts worker processes: the fork server and its client, and orphans.

The fork server is a process that has imported what all workers need and forks them within
milliseconds. It may use ``netd.core`` and ``netd.ipc``; the worker's program is known by its path
only. Three rules hold:

* A process is known by its pidfd: a pid may belong to another process by the time it is used.
* The daemon reaps only what was started for it, because others of its parts wait for children, too.
* The death of the fork server costs no worker. A new one is started, and the workers become the
  daemon's own children.
"""
