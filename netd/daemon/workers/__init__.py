"""The worker processes of a service as the daemon sees them: started, watched, scaled, replaced.

Imports no user code, and neither ``netd.worker`` nor ``netd.execution``: a worker is reached by its
channel (``netd.ipc.worker``) and its blocks of the scoreboards. Three rules hold here:

* Everything runs in the reactor's thread and never blocks.
* A ``WorkerHandle`` keeps its index, and so its blocks, for life; processes come and go in it.
* A worker is ended by an order first, so that it can end the programs that it started. SIGKILL is
  for a worker that does not obey.
"""
