"""What two processes say to each other: messages of the channels, handoff, and the scoreboard.

Down a channel goes pickle, since the daemon commands its workers; up comes JSON, which is checked,
since user code runs in a worker. Imports ``model`` and ``core``.
"""
