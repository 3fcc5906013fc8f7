"""How the daemon starts processes: the fork server and its client, spawned processes, and orphans.

A process is known by its pidfd. The daemon reaps only processes that were started for it.
"""
