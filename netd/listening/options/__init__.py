"""Socket options: a table of what each takes and fits, and how a value is packed and set.

``table`` is data, ``values`` reads and packs what a file says, ``apply`` calls setsockopt(2). An
option is checked twice: its form when the file is read, and the kernel's view of it on a socket
that is bound to nothing.
"""
