"""The daemon: it binds, starts and supervises workers, reloads, upgrades and stops.

It may import ``accept``, ``config`` and everything below them, but neither ``worker`` nor
``execution``: what a service runs is imported by its workers. Rules that hold in all of it:

* It runs no user code, so that no handler, filter or import can end it or hold it up.
* Everything but the log's writer and the check of a configuration runs in the reactor's thread.
* What can happen in which state is a table (``states``). The code asks the table before it begins
  something, and records in it what has happened.
"""
