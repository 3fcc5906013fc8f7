"""The probe process: ``main`` imports what services run, ``inspection`` says what that is.

It runs user code, so each service is imported in a child of its own, and the daemon reads the
replies with suspicion (``netd.ipc.probe``). Imports what a worker does.
"""
