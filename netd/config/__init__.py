"""From configuration files to frozen values, or to problems with file and line.

May import ``admission``, ``listening``, ``handlers`` and what is below them; never ``daemon``,
``worker`` or ``execution``. Rules that hold here:

* Every problem is collected, and one run reports all of them. Only ``load`` raises.
* ``schema`` is the one list of keys. Code that prints or lists keys asks it.
* Nothing is imported, bound or written: that a configuration loads has no effect.
"""
