"""From the text of a ``listen`` key to a bound socket, and what is shown and set on that.

Imports the model, ``proxy`` and ``core``. The daemon binds here, and workers use the sockets; no
user's code runs here. Three rules:

* A socket is bound once and then shared, taken over or handed over. It is not closed and bound
  again, because the connections in its queue would be lost.
* Its descriptor has one owner, ``Listeners``. Flags such as O_NONBLOCK belong to the open file,
  which all processes share: only the daemon sets them.
* What is bound is what was checked: names are looked up when the file is read.
"""
