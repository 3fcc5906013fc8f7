"""Building a service in its worker: what it runs, on its listeners, under its admission rules.

The one place that knows both the configuration's values and the classes of ``execution``. ``build``
chooses the way, ``context`` is what every way needs of the process, and ``blocking``, ``reactor``,
``programs`` and ``plugins`` are the ways. Nothing accepts before everything is built: what fails
raises ``importing.CannotImport``, and then no client has been touched.
"""
