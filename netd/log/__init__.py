"""The log: from a record in a worker's thread to a file, a terminal, the journal or syslog.

``record`` and ``format`` are what happened and its lines, ``buffer`` is a worker's queue,
``capture`` what user code prints and logs, ``writer`` the daemon's queue and its thread, and
``destination`` with ``file``, ``datagram``, ``journald`` and ``syslog`` where the lines go.

Imports ``model`` and ``core``. Three rules hold here:

* No thread waits for the log. Every queue is bounded, and records that do not fit are counted.
* A line is made once, in the worker: the daemon writes it as it is, and its reactor reads none.
* Lines come from processes that run user code. What takes them apart (``entry``) accepts anything.

The journal, syslog and a log of twistd's own take fields instead of lines. For these, workers write
the lines of ``log.format = "json"``, and the daemon's writing thread reads them. A form of its own,
without the text in between, was considered and rejected. Both forms have to be parsed with the same
suspicion: whatever the worker sends, the daemon must check the level, name the fields, escape
control characters and cut texts, so a worker cannot send finished datagrams. JSON is a form that
exists anyway, is one line a record (which makes drops countable, and lines convertible while a
reload changes the form), and costs little: writing it takes 2.4 µs a record more than text, and
reading it 12 µs in the daemon's writing thread, as much as the datagram's system calls.
"""
