"""netd serves ``socketserver`` handlers as a Twisted daemon, from a configuration file.

Reading order: ``docs/architecture.md`` first, then the packages in the order a connection
passes them: ``config``, ``listening``, ``admission``, ``execution``, ``worker``; ``daemon``
stands above them and never runs a user's code.
"""

__version__ = "0.1.0"
