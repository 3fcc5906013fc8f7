"""A service joined up in its worker: what runs, on its listeners, under its rules.

The one place that knows both the configuration's values and the classes of ``execution``.
"""
