"""A worker process: it inherits listeners, imports what its services run, and serves.

``process`` is the way in (``__main__``), ``probe`` the process that only imports and reports.
Nothing here is ever imported by the daemon; the two speak ``netd.ipc.worker``.
"""
