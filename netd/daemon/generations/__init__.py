"""A configuration at work, and how the next one replaces it: reload, upgrade, drain.

``controller`` holds the generation that serves and starts every change to it. Everything here runs
in the reactor's thread and uses only the daemon's own packages: what a service runs is imported by
its workers. Three rules hold:

* What can fail comes first: reading, importing, binding and starting. The old generation serves
  until the new one is ready, and goes on serving if that never happens.
* Only one generation accepts. Workers of a new one are held until the switch.
* A listening socket is passed on and never bound twice, so its backlog loses no connection.
"""
