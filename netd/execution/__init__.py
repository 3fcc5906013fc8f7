"""How a service runs what it runs: threads, forks, the reactor, programs.

Imports ``accept`` and what is below it; the daemon imports nothing of this. User code runs here, so
whatever it raises is caught where it is called.
"""
